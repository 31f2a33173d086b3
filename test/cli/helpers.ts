import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { run } from '../../lib/cli/program.js';
import { packageRoot } from '../../lib/version.js';

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Looks at the process while it runs. */
  readonly onStart?: (child: { kill(signal: NodeJS.Signals): void }) => void;
  readonly onOutput?: (all: string, child: { kill(signal: NodeJS.Signals): void }) => void;
}

/** Runs the command line in a process of its own, its output not on a terminal. */
export async function hardbit(args: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  const env: NodeJS.ProcessEnv = { ...process.env, ...options.env };
  for (const name of ['NO_COLOR', 'FORCE_COLOR', 'HARDBIT_DEBUG', 'HARDBIT_DEVICE']) {
    if (options.env?.[name] === undefined) delete env[name];
  }
  const main = join(packageRoot, 'lib', 'cli', 'main.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', main, ...args], {
    cwd: packageRoot,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    options.onOutput?.(stderr, child);
  });
  options.onStart?.(child);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the colours of a terminal.
const colours = /\u001b\[\d+m/g;

/** Runs the command line in this process, which takes milliseconds; for commands that end before they compute. */
export async function hardbitHere(...args: string[]): Promise<Omit<Ended, 'signal'>> {
  const written = { stdout: '', stderr: '' };
  const writes = { stdout: process.stdout.write, stderr: process.stderr.write };
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = ((text: string) => {
      written[name] += text;
      return true;
    }) as typeof process.stdout.write;
  }
  try {
    const code = await run(args);
    return {
      code,
      stdout: written.stdout.replace(colours, ''),
      stderr: written.stderr.replace(colours, ''),
    };
  } finally {
    process.stdout.write = writes.stdout;
    process.stderr.write = writes.stderr;
  }
}
