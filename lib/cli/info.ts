import type { Command } from 'commander';
import { isHardbitError } from '../errors.js';
import { version } from '../version.js';
import { addJson } from './options.js';
import { pairs, print, printJson } from './terminal.js';

async function describe() {
  const { runtimeInfo } = await import('../tensor/runtime.js');
  try {
    return { native: runtimeInfo(), problem: null };
  } catch (error) {
    if (!isHardbitError(error)) throw error;
    return { native: null, problem: { code: error.code, message: error.message } };
  }
}

export function addInfo(program: Command): void {
  addJson(
    program
      .command('info')
      .description('Show what this installation is and what it runs on; works without the native core.')
      .addHelpText('after', '\nExample:\n  hardbit info --json'),
  ).action(async ({ json }: { json?: boolean }) => {
    const { native, problem } = await describe();
    const host = { version, node: process.version, platform: `${process.platform}-${process.arch}` };
    if (json === true) {
      printJson({ ...host, native, problem });
      return;
    }
    const core: [string, string][] =
      native === null
        ? [['native core', problem?.message ?? 'missing']]
        : [
            ['native core', `${native.version}, ${native.compiler}, ${native.buildType}`],
            ['oneDNN', native.oneDnn],
            ['CPU', native.cpu],
            ['instruction set', `${native.isa} (available: ${native.isasAvailable.join(', ')})`],
            ['threads', String(native.threads)],
            [
              'kernels',
              native.kernels
                .filter((kernel) => kernel.selected)
                .map((kernel) => kernel.name)
                .join(', ') || 'none',
            ],
            ['CUDA', native.cuda.built ? native.cuda.devices.join(', ') || 'built, no device' : 'not built'],
          ];
    print(pairs([['hardbit', host.version], ['Node', `${host.node}, ${host.platform}`], ...core]));
  });
}
