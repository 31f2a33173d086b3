import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Command } from 'commander';
import { HardbitError } from '../errors.js';
import { packageRoot } from '../version.js';
import { addJson, wholeNumber } from './options.js';
import { print, printJson } from './terminal.js';

export function addBuild(program: Command): void {
  addJson(
    program
      .command('build')
      .description('Build the native core in place; needs a C++ compiler, CMake and oneDNN.')
      .option('--packed', 'only the engine of deployed networks, hardbit/packed; needs no oneDNN')
      .option('--jobs <n>', 'compilers at a time (default: one a processor)', wholeNumber('--jobs', 1))
      .addHelpText('after', '\nExamples:\n  hardbit build --jobs 2\n  hardbit build --packed'),
  ).action(async ({ json, jobs, packed }: { json?: boolean; jobs?: number; packed?: boolean }) => {
    const script = join(packageRoot, 'scripts', 'build.mjs');
    const args = [script, ...(packed === true ? ['--packed'] : [])];
    if (jobs !== undefined) args.push('--jobs', String(jobs));
    // The compiler's talk goes to standard error, so that standard output holds the answer alone.
    const child = spawn(process.execPath, args, { stdio: ['ignore', 2, 2] });
    const status = await new Promise<number | null>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    if (status !== 0) {
      throw new HardbitError(
        'ERR_HARDBIT_NOT_BUILT',
        'It was not built; the lines above say why: mend that, then run the command again.',
      );
    }
    if (packed === true) {
      const { packedInfo } = await import('../packed/packed.js');
      const info = packedInfo();
      if (json === true) printJson({ packed: info });
      else print(`The engine of deployed networks is built and runs on ${info.isa}.`);
      return;
    }
    const { runtimeInfo } = await import('../tensor/runtime.js');
    const native = runtimeInfo();
    if (json === true) printJson({ native });
    else print(`The native core is built and runs on ${native.isa}.`);
  });
}
