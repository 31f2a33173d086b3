import { HardbitError } from '../errors.js';

/** The hyper-parameters an attack may have; which of them one has, and its defaults, stand in that attack's file. */
export interface AttackOptions {
  /** Radius of the L∞ ball, in [0, 1]: pixels are in [0, 1]. */
  readonly epsilon: number;
  readonly steps?: number | undefined;
  /** Size of each step, in [0, 1]. */
  readonly stepSize?: number | undefined;
  /** Size of R+FGSM's random step, in [0, epsilon]. */
  readonly alpha?: number | undefined;
  readonly randomStart?: boolean | undefined;
  readonly restarts?: number | undefined;
  /** The given labels are the classes to reach: the attack descends on their loss. */
  readonly targeted?: boolean | undefined;
}

/** What every attack's result depends on besides its hyper-parameters. */
export interface AttackContext {
  /** Integer in [0, 2^53). Random draws depend on (seed, restart, firstRow + i) alone. */
  readonly seed: number;
  /** Number of the batch's row 0 in the dataset, so that splitting into batches changes no draw; 0 by default. */
  readonly firstRow?: number;
  readonly signal?: AbortSignal | undefined;
}

function invalid(message: string): HardbitError {
  return new HardbitError('ERR_HARDBIT_ARGUMENT', message);
}

/** An ε in [0, 1]. @throws ERR_HARDBIT_ARGUMENT */
export function requireEpsilon(epsilon: number): number {
  if (typeof epsilon === 'number' && epsilon > 1) {
    const level = Number.isInteger(epsilon) && epsilon <= 255 ? epsilon : 8;
    throw invalid(
      `epsilon is ${epsilon}; expected a number in [0, 1], since pixels are in [0, 1]: ` +
        `${level}/255 is ${(level / 255).toFixed(4)}.`,
    );
  }
  if (!(typeof epsilon === 'number' && epsilon >= 0)) {
    throw invalid(`epsilon is ${epsilon}; expected a number in [0, 1], such as 0.1 or 8/255.`);
  }
  return epsilon;
}

/** A number in [0, limit]. @throws ERR_HARDBIT_ARGUMENT */
export function requireSize(name: string, value: number, limit: number, limitName = `${limit}`): number {
  if (!(typeof value === 'number' && value >= 0 && value <= limit)) {
    throw invalid(
      `${name} is ${value}; expected a number in [0, ${limitName}], in units of pixels in [0, 1].`,
    );
  }
  return value;
}

/** An integer in [low, high]. @throws ERR_HARDBIT_ARGUMENT */
export function requireInteger(name: string, value: number, low: number, high: number): number {
  if (!(Number.isInteger(value) && value >= low && value <= high)) {
    throw invalid(`${name} is ${value}; expected an integer from ${low} to ${high}.`);
  }
  return value;
}

export function requireSteps(steps: number): number {
  return requireInteger('steps', steps, 1, 1_000_000);
}

/** A flag; anything but true and false is an error, so that 'no' does not mean yes. */
export function requireFlag(name: string, value: boolean): boolean {
  if (typeof value !== 'boolean') throw invalid(`${name} is ${String(value)}; expected true or false.`);
  return value;
}

/** 2.5·ε/steps (Madry et al. 2018), at most 1: a larger step reaches no further. */
export function defaultStepSize(epsilon: number, steps: number): number {
  return Math.min(1, (2.5 * epsilon) / steps);
}

/** @throws ERR_HARDBIT_ARGUMENT for an option that the attack does not have. */
export function requireKnownOptions(attack: string, options: object, known: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !known.includes(name)) {
      throw invalid(`The attack ${attack} has no option '${name}'; it has: ${known.join(', ')}.`);
    }
  }
}

/** @throws ERR_HARDBIT_ARGUMENT */
export function requireContext(context: AttackContext): void {
  requireInteger('seed', context.seed, 0, Number.MAX_SAFE_INTEGER);
  requireInteger('firstRow', context.firstRow ?? 0, 0, 2 ** 32 - 1);
}

const decimal = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?`;
const fractionPattern = new RegExp(String.raw`^\s*(${decimal})\s*(?:/\s*(${decimal})\s*)?$`, 'i');

/**
 * Reads an ε written as a number or a fraction: '0.1', '8/255'.
 *
 * @throws ERR_HARDBIT_ARGUMENT for other text and for values outside [0, 1].
 */
export function parseEpsilon(text: string): number {
  const match = fractionPattern.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) / Number(match[2] ?? 1);
  if (!Number.isFinite(value)) {
    throw invalid(`'${text}' is not an epsilon; expected a number in [0, 1] such as 0.1 or 8/255.`);
  }
  return requireEpsilon(value);
}
