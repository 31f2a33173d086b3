/**
 * Every error hardbit throws on purpose carries a `code` from this list and one sentence that says what was
 * wrong, what was expected and what to do. The native core throws ordinary `Error` objects with the same codes.
 */
export const errorCodes = [
  'ERR_HARDBIT_SHAPE', // a tensor or array has the wrong shape
  'ERR_HARDBIT_DTYPE', // a tensor or array has the wrong element type
  'ERR_HARDBIT_ARGUMENT', // a number or option is outside its range
  'ERR_HARDBIT_DISPOSED', // a tensor is used after dispose()
  'ERR_HARDBIT_SCOPE', // scope() was given an asynchronous function
  'ERR_HARDBIT_UNKNOWN_NAME', // a name is not in the list of known names
  'ERR_HARDBIT_PIXELS', // pixels are NaN or outside [0, 1]
  'ERR_HARDBIT_LABELS', // labels are not integers in [0, classes)
  'ERR_HARDBIT_FORMAT', // a file is truncated or malformed
  'ERR_HARDBIT_READ', // a file cannot be read
  'ERR_HARDBIT_WRITE', // a file cannot be written (permissions, full disk)
  'ERR_HARDBIT_CONFIG', // a configuration file does not validate
  'ERR_HARDBIT_DOWNLOAD', // a dataset cannot be fetched
  'ERR_HARDBIT_CHECKSUM', // a file's SHA-256 is not the expected one
  'ERR_HARDBIT_RESUME', // kept state belongs to a different run
  'ERR_HARDBIT_ABORTED', // stopped by an AbortSignal or Ctrl-C
  'ERR_HARDBIT_NOT_BUILT', // the native addon is missing or does not load
  'ERR_HARDBIT_NO_CUDA', // CUDA was asked for and is not there
  'ERR_HARDBIT_CUDA', // the GPU failed or was lost
  'ERR_HARDBIT_ISA', // HARDBIT_ISA names an instruction set this CPU lacks
  'ERR_HARDBIT_MEMORY', // an allocation failed
  'ERR_HARDBIT_UNSUPPORTED', // a valid request this version cannot serve
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** Texts out of files stand in messages: their line breaks and escape sequences must not reach a terminal or a log. */
const controlCharacters = /[\p{Cc}\u2028\u2029]+/gu;

export class HardbitError extends Error {
  override readonly name = 'HardbitError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message.replace(controlCharacters, ' '), options);
  }
}

/** True for errors of hardbit, thrown by TypeScript or by the native core. */
export function isHardbitError(error: unknown): error is Error & { readonly code: ErrorCode } {
  return (
    error instanceof Error &&
    typeof (error as { code?: unknown }).code === 'string' &&
    (errorCodes as readonly string[]).includes((error as unknown as { code: string }).code)
  );
}

/** Levenshtein distance between two short strings. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[j] as number) + 1, (current[j - 1] as number) + 1));
    }
    previous = current;
  }
  return previous[b.length] as number;
}

/**
 * Returns `name` if it is one of `known`, else throws ERR_HARDBIT_UNKNOWN_NAME with the nearest known name.
 *
 * @param what what the name names, for the sentence: 'attack', 'model', …
 */
export function requireName<T extends string>(what: string, name: string, known: readonly T[]): T {
  if ((known as readonly string[]).includes(name)) return name as T;
  const ranked = [...known].sort((a, b) => editDistance(name, a) - editDistance(name, b));
  const nearest = ranked[0];
  const hint =
    nearest !== undefined && editDistance(name, nearest) <= Math.max(2, nearest.length / 3)
      ? `did you mean '${nearest}'? Known`
      : 'known';
  throw new HardbitError(
    'ERR_HARDBIT_UNKNOWN_NAME',
    `There is no ${what} '${name}'; ${hint}: ${known.join(', ')}.`,
  );
}

/** Throws ERR_HARDBIT_ABORTED if the signal is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new HardbitError('ERR_HARDBIT_ABORTED', 'Stopped on request; what was finished is kept.', {
      cause: signal.reason,
    });
  }
}
