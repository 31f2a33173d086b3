import { CommanderError } from 'commander';
import { isHardbitError } from '../errors.js';
import { clearProgress, errorColors, printJson } from './terminal.js';

/** What the shell is told. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

const usageCodes: readonly string[] = [
  'ERR_HARDBIT_ARGUMENT',
  'ERR_HARDBIT_UNKNOWN_NAME',
  'ERR_HARDBIT_CONFIG',
];

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly exitCode: number;
}

function sentence(text: string): string {
  const trimmed = text.trim();
  const first = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

/** commander's "error: unknown option '--x'\n(Did you mean --y?)" as one sentence. */
function usageSentence(message: string): string {
  const [what = '', ...rest] = message.replace(/^error: /, '').split('\n');
  const hint = /Did you mean (?:one of )?(.+)\?\)/.exec(rest.join(' '))?.[1];
  const plain = what.replace(/\.$/, '');
  if (hint !== undefined) return sentence(`${plain}; did you mean ${hint.replace(/[^\s,]+/g, "'$&'")}?`);
  return sentence(/^unknown (command|option)/.test(plain) ? `${plain}; --help lists those known` : plain);
}

function describe(error: unknown): Failure {
  if (error instanceof CommanderError) {
    return { code: 'ERR_HARDBIT_ARGUMENT', message: usageSentence(error.message), exitCode: exitCodes.usage };
  }
  if (isHardbitError(error)) {
    const exitCode =
      error.code === 'ERR_HARDBIT_ABORTED'
        ? exitCodes.interrupted
        : usageCodes.includes(error.code)
          ? exitCodes.usage
          : exitCodes.failed;
    return { code: error.code, message: error.message.replace(/\s*\n\s*/g, ' '), exitCode };
  }
  // A defect of hardbit, or something of the system that nobody foresaw.
  const { code, message } =
    error instanceof Error ? (error as NodeJS.ErrnoException) : { message: String(error) };
  return {
    code: code ?? 'ERR_UNEXPECTED',
    message: `${sentence(`unexpected failure: ${message.split('\n', 1)[0]}`)} Set HARDBIT_DEBUG=1 to see where.`,
    exitCode: exitCodes.failed,
  };
}

/**
 * Tells of an error in one line, `hardbit: <sentence> [CODE]`, on standard error; under --json also as
 * {"error":{"code","message"}} on standard output. HARDBIT_DEBUG=1 adds the stack. Returns the exit code.
 */
export function reportFailure(error: unknown, json: boolean): number {
  clearProgress();
  const { code, message, exitCode } = describe(error);
  process.stderr.write(`hardbit: ${errorColors.red(message)} ${errorColors.dim(`[${code}]`)}\n`);
  if (process.env['HARDBIT_DEBUG'] === '1' && error instanceof Error) {
    process.stderr.write(`${error.stack ?? ''}\n`);
    if (error.cause !== undefined) process.stderr.write(`Cause: ${String(error.cause)}\n`);
  }
  if (json) printJson({ error: { code, message } });
  return exitCode;
}
