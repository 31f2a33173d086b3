import { statSync } from 'node:fs';
import type { Command } from 'commander';
import type { Compiled } from '../compile/compile.js';
import { addJson } from './options.js';
import { fixed, kibibytes, print, printJson, table } from './terminal.js';

interface Flags {
  readonly out: string;
  readonly json?: boolean;
}

/** What `hardbit compile` says on the screen; sizes in bytes. */
function compiledText({ path, byteLength, hash, layers }: Compiled, modelBytes: number): string {
  const rows = layers.map(({ name, weights, weightCount, input, inputShape, result, outputShape }) => [
    name,
    `${weightCount.toLocaleString('en-US')} ${weights}`,
    `${inputShape.join('×')} ${input}`,
    `${outputShape.join('×')} ${result}`,
  ]);
  return [
    table(['layer', 'weights', 'input', 'result'], rows),
    '',
    `${path}: ${kibibytes(byteLength)}; the model file has ${kibibytes(modelBytes)}, ${fixed(modelBytes / byteLength)} times as much.`,
    `Contents (SHA-256): ${hash}`,
  ].join('\n');
}

export function addCompile(program: Command): void {
  addJson(
    program
      .command('compile')
      .description('Compile a network for deployment: one .hbit file, which hardbit/packed runs.')
      .argument('<model>', 'model file (.safetensors)')
      .requiredOption('-o, --out <file>', 'where to write the deployed network (.hbit)')
      .addHelpText(
        'after',
        '\nRecipes that compile: bnn, xnor, xnor-constant, xnor-chain.\n' +
          '\nExample:\n  hardbit compile model.safetensors -o net.hbit',
      ),
  ).action(async (path: string, { out, json }: Flags) => {
    const { loadModel } = await import('../models/registry.js');
    const { compile } = await import('../compile/compile.js');
    const { requireWritable } = await import('../files.js');
    requireWritable(out);
    using model = loadModel(path);
    const compiled = compile(model, out);
    const modelBytes = statSync(path).size;
    if (json === true) printJson({ ...compiled, modelBytes });
    else print(compiledText(compiled, modelBytes));
  });
}
