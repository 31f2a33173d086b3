import type { Command } from 'commander';
import { HardbitError } from '../errors.js';
import type { ModelSpec, ModelSummary } from '../models/registry.js';
import { addJson, wholeNumber } from './options.js';
import { fixed, kibibytes, print, printJson, table } from './terminal.js';

interface Flags {
  readonly model?: string;
  readonly recipe?: string;
  readonly bits?: number;
  readonly json?: boolean;
}

/** 1234567 → '1,234,567'; 0 → ''. */
function whole(value: number): string {
  return value === 0 ? '' : value.toLocaleString('en-US');
}

/** '1×2'; '32' where there are no products. */
function bitsText({ weightBits, inputBits }: { weightBits: number; inputBits: number | null }): string {
  return inputBits === null ? String(weightBits) : `${weightBits}×${inputBits}`;
}

/** What `hardbit summary` says on the screen. */
export function summaryText(summary: ModelSummary): string {
  const layers = table(
    ['layer', 'output', 'parameters', 'MACs', 'bits'],
    summary.layers.map((layer) => [
      '  '.repeat(layer.depth) + layer.name,
      layer.outputShape.join('×'),
      whole(layer.parameters),
      whole(layer.macs),
      layer.precision === null ? '' : bitsText(layer.precision),
    ]),
  );
  const precisions = table(
    ['bits', 'parameters', 'MACs'],
    [
      ...summary.byPrecision.map((each) => [bitsText(each), whole(each.parameters), whole(each.macs)]),
      ['all', whole(summary.parameters), whole(summary.macs)],
    ],
  );
  const { weightBytes, floatBytes } = summary;
  return [
    `${summary.model}, ${summary.recipe}: ${summary.inputShape.join('×')} pixels of ${summary.inputBits} bits, ${summary.classes} classes.`,
    '',
    layers,
    '',
    precisions,
    '',
    `Bits: weights × inputs. MACs: multiply-accumulates of one image.`,
    `Parameters take ${kibibytes(weightBytes)} at their precision, ${kibibytes(floatBytes)} in f32: ${fixed(floatBytes / weightBytes)} times as much.`,
  ].join('\n');
}

async function specOf(path: string | undefined, flags: Flags): Promise<ModelSpec> {
  const { describeModel, loadModel } = await import('../models/registry.js');
  if (path === undefined) {
    if (flags.model === undefined) {
      throw new HardbitError('ERR_HARDBIT_ARGUMENT', 'Give a model file, or --model NAME.');
    }
    return describeModel(flags.model, { recipe: flags.recipe ?? 'none', inputBits: flags.bits ?? 8 });
  }
  const given = (['model', 'recipe', 'bits'] as const).find((name) => flags[name] !== undefined);
  if (given !== undefined) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `--${given} has no meaning beside a model file, which says it; leave one of them out.`,
    );
  }
  using model = loadModel(path);
  return model.spec;
}

export function addSummary(program: Command): void {
  addJson(
    program
      .command('summary')
      .description('Show the layers of a network, with their parameters, multiply-accumulates and bits.')
      .argument('[model]', 'model file (.safetensors)')
      .option('--model <name>', 'a known architecture in place of a file, e.g. lenet5')
      .option('--recipe <name>', 'how its weights and activations are quantized, e.g. xnor (default: none)')
      .option('--bits <n>', 'bits a pixel of its inputs, 1 to 8 (default: 8)', wholeNumber('--bits', 1))
      .addHelpText(
        'after',
        '\nExamples:\n' +
          '  hardbit summary model.safetensors\n' +
          '  hardbit summary --model lenet5 --recipe dorefa-w1a2 --bits 2',
      ),
  ).action(async (path: string | undefined, flags: Flags) => {
    const { summarizeModel } = await import('../models/registry.js');
    const summary = summarizeModel(await specOf(path, flags));
    if (flags.json === true) printJson(summary);
    else print(summaryText(summary));
  });
}
