import type { Command } from 'commander';
import { isHardbitError } from '../errors.js';
import type { CudaInfo, NativeInfo } from '../tensor/runtime.js';
import { version } from '../version.js';
import { addJson } from './options.js';
import { pairs, print, printJson, table } from './terminal.js';

async function describe() {
  const { cudaLibraries, runtimeInfo } = await import('../tensor/runtime.js');
  try {
    return { native: runtimeInfo(), cudaLibraries: cudaLibraries(), problem: null };
  } catch (error) {
    if (!isHardbitError(error)) throw error;
    return { native: null, cudaLibraries: [], problem: { code: error.code, message: error.message } };
  }
}

/** The kernels of this build, which of them codes run on in layers with weights of one bit, and what sums float gradients. */
function kernelTables({ kernels, kernelChoices, floatGradients, oneDnn }: NativeInfo): string {
  const rows = kernels.map(({ name, operand, isa, mr, nr, available, selected }) => [
    name,
    operand,
    isa,
    `${mr} x ${nr}`,
    selected ? 'in use' : available ? 'available' : 'not on this CPU',
  ]);
  const bits = [...new Set(kernelChoices.map((choice) => choice.bits))];
  const layers = [...new Set(kernelChoices.map((choice) => choice.layer))];
  const chosen = (layer: string, count: number) =>
    kernelChoices.find((choice) => choice.layer === layer && choice.bits === count)?.kernel ?? '';
  return [
    table(['kernel', 'operand', 'instruction set', 'pixels x channels', ''], rows),
    '',
    'What inputs of some bits run on in layers with binary weights:',
    '',
    table(
      ['layer', ...bits.map((count) => (count === 1 ? '1 bit' : `${count} bits`))],
      layers.map((layer) => [layer, ...bits.map((count) => chosen(layer, count))]),
    ),
    '',
    'What float gradients of layers with binary weights and activations are summed by:',
    '',
    table(
      ['layer', ''],
      floatGradients.map(({ layer, kernel }) => [
        layer,
        kernel ?? (oneDnn === 'none' ? 'plain loops' : `oneDNN ${oneDnn}`),
      ]),
    ),
  ].join('\n');
}

/** The GPUs, or why there is none. */
function cudaText({ devices, reason }: CudaInfo): string {
  if (devices.length === 0) return reason;
  return devices
    .map(
      ({ name, computeCapability, multiprocessors, memoryBytes }) =>
        `${name} (compute capability ${computeCapability}, ${multiprocessors} multiprocessors, ${(memoryBytes / 2 ** 30).toFixed(1)} GiB)`,
    )
    .join(', ');
}

export function addInfo(program: Command): void {
  addJson(
    program
      .command('info')
      .description('Show what this installation is and what it runs on; works without the native core.')
      .option('--kernels', 'also list the kernels of binary layers and what runs on which')
      .addHelpText('after', '\nExamples:\n  hardbit info --kernels\n  hardbit info --json'),
  ).action(async ({ json, kernels }: { json?: boolean; kernels?: boolean }) => {
    const { native, cudaLibraries, problem } = await describe();
    const host = { version, node: process.version, platform: `${process.platform}-${process.arch}` };
    if (json === true) {
      printJson({ ...host, native, cudaLibraries, problem });
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
            ['CUDA', cudaText(native.cuda)],
            ...cudaLibraries.map((library): [string, string] => ['', library]),
          ];
    print(pairs([['hardbit', host.version], ['Node', `${host.node}, ${host.platform}`], ...core]));
    if (kernels === true && native !== null) print(`\n${kernelTables(native)}`);
  });
}
