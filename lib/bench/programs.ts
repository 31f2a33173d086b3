import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { HardbitError } from '../errors.js';
import type { Subject } from './interleave.js';

/** A program that does a piece of work on request: how to start it. */
export interface Configuration {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A module of this folder as a program; in a checkout it is TypeScript, run with the loader that the tests use. */
export function ownProgram(
  name: 'steps' | 'predictions',
  args: readonly string[],
  threads: number,
): Configuration {
  const isSource = import.meta.url.endsWith('.ts');
  const path = fileURLToPath(new URL(`./${name}.${isSource ? 'ts' : 'js'}`, import.meta.url));
  return {
    name: 'hardbit',
    command: process.execPath,
    args: [...(isSource ? ['--import', 'tsx'] : []), path, ...args],
    env: { HARDBIT_NUM_THREADS: String(threads) },
  };
}

/** What a program says of one request. */
interface Reply {
  readonly seconds: number;
  readonly peakMegabytes?: number;
}

/** Between two programs' turns: worker threads of the one before stop spinning. */
const PAUSE_MILLISECONDS = 60;

/**
 * A program that is running and warm. The protocol: it prints one line of JSON when it is ready, then for each line
 * `go N` on its standard input does its work N times and prints {"seconds": …}. The end of its input ends it.
 */
export interface Program extends Subject {
  readonly name: string;
  /** What it said when it was ready. */
  readonly hello: Readonly<Record<string, unknown>>;
  /** As its last reply had it. */
  peakMegabytes(): number | undefined;
  stop(): Promise<void>;
}

/** @throws ERR_HARDBIT_UNSUPPORTED where the program does not start or ends before it is ready, with its last words */
export async function startProgram(configuration: Configuration): Promise<Program> {
  const { name, command, args, env } = configuration;
  // In a process group of its own: a Ctrl-C of the terminal is for us, who then end its input.
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: 'pipe', detached: true });
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-4000);
  });
  // A request to a program that has died is answered by the end of its output.
  child.stdin.on('error', () => undefined);
  const ended = new Promise<Error | null>((resolve) => {
    child.on('error', resolve);
    child.on('close', () => resolve(null));
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const failed = async (): Promise<HardbitError> => {
    const error = await ended;
    const reason = error?.message ?? words.trim().split('\n').at(-1) ?? '';
    return new HardbitError(
      'ERR_HARDBIT_UNSUPPORTED',
      `${name} ended early${reason === '' ? '' : `: ${reason.replace(/\.$/, '')}`}.`,
    );
  };
  const read = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    if (done === true) throw await failed();
    try {
      return JSON.parse(value);
    } catch {
      child.kill();
      throw new HardbitError(
        'ERR_HARDBIT_UNSUPPORTED',
        `${name} printed '${value}' where JSON was expected.`,
      );
    }
  };
  const hello = (await read()) as Record<string, unknown>;
  let last: Reply = { seconds: 0 };
  const go = async (times: number): Promise<number> => {
    child.stdin.write(`go ${times}\n`);
    last = (await read()) as Reply;
    return last.seconds;
  };
  return {
    name,
    hello,
    async run(times) {
      await sleep(PAUSE_MILLISECONDS);
      await go(1); // wakes its threads
      return go(times);
    },
    peakMegabytes: () => last.peakMegabytes,
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}
