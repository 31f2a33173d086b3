import type { Command } from 'commander';
import { HardbitError } from '../errors.js';
import { interruptible } from './interrupt.js';
import { addDevice, addJson, anyNumber, requireDevice, wholeNumber } from './options.js';
import { bar, clearProgress, duration, note, percent, print, printJson, progress } from './terminal.js';
import type { TrainConfig } from './train-config.js';

const CHECKPOINT_STEPS = 200;

interface Flags {
  readonly config?: string;
  readonly model?: string;
  readonly dataset?: string;
  readonly bits?: number;
  readonly recipe?: string;
  readonly epochs?: number;
  readonly batchSize?: number;
  readonly optimizer?: string;
  readonly learningRate?: number;
  readonly schedule?: string;
  readonly seed?: number;
  readonly adversarial?: string;
  readonly epsilon?: string;
  readonly mix?: number;
  readonly out?: string;
  readonly checkpoint?: string;
  readonly resume?: boolean;
  readonly device: string;
  readonly json?: boolean;
}

/** The training's settings: flags before the file, the file before defaults. */
async function settingsOf(flags: Flags) {
  const { parseEpsilon, attackNames } = await import('../evaluation/attack-options.js');
  const { requireName } = await import('../errors.js');
  let file: TrainConfig = {};
  if (flags.config !== undefined) {
    const { readTrainConfig } = await import('./train-config.js');
    file = readTrainConfig(flags.config);
  }
  const out = flags.out ?? file.out;
  if (out === undefined) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      'There is no file to write the network to; give --out, e.g. --out model.safetensors.',
    );
  }
  const attack = flags.adversarial ?? file.adversarial;
  const epsilon = flags.epsilon === undefined ? file.epsilon : parseEpsilon(flags.epsilon);
  const mix = flags.mix ?? file.mix;
  if (attack === undefined && (epsilon !== undefined || mix !== undefined)) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      'epsilon and mix belong to adversarial training; name its attack, e.g. --adversarial fgsm.',
    );
  }
  if (attack !== undefined && epsilon === undefined) {
    throw new HardbitError('ERR_HARDBIT_ARGUMENT', '--adversarial needs --epsilon, e.g. --epsilon 0.2.');
  }
  const checkpoint = flags.checkpoint ?? file.checkpoint;
  if (flags.resume === true && checkpoint === undefined) {
    throw new HardbitError('ERR_HARDBIT_ARGUMENT', '--resume needs --checkpoint, the file to go on from.');
  }
  return {
    out,
    checkpoint,
    model: flags.model ?? file.model ?? 'mnist-fcn',
    dataset: flags.dataset ?? file.dataset ?? 'mnist',
    bits: flags.bits ?? file.bits ?? 8,
    recipe: flags.recipe ?? file.recipe ?? 'none',
    epochs: flags.epochs ?? file.epochs ?? 3,
    batchSize: flags.batchSize ?? file.batchSize ?? 128,
    optimizer: flags.optimizer ?? file.optimizer ?? 'adam',
    learningRate: flags.learningRate ?? file.learningRate,
    schedule: flags.schedule ?? file.schedule ?? 'constant',
    seed: flags.seed ?? file.seed ?? 1,
    adversarial:
      attack === undefined
        ? undefined
        : { attack: requireName('attack', attack, attackNames), epsilon: epsilon as number, mix: mix ?? 0.5 },
  };
}

export function addTrain(program: Command): void {
  addJson(
    addDevice(
      program
        .command('train')
        .description('Train a network and write it as one .safetensors file.')
        .option(
          '--config <file>',
          'YAML with these settings under their names in camelCase; flags override it',
        )
        .option('--model <name>', 'architecture (default: mnist-fcn)')
        .option('--dataset <name>', 'dataset (default: mnist)')
        .option(
          '--bits <n>',
          'bits a pixel of the input discretizer, 1 to 8 (default: 8)',
          wholeNumber('--bits', 1),
        )
        .option('--recipe <name>', 'none (full precision) or bnn (default: none)')
        .option('--epochs <n>', 'passes over the training images (default: 3)', wholeNumber('--epochs', 1))
        .option('--batch-size <n>', 'images a step (default: 128)', wholeNumber('--batch-size', 2))
        .option('--optimizer <name>', 'adam or sgd (default: adam)')
        .option('--learning-rate <x>', 'default: adam 0.001, sgd 0.1', anyNumber('--learning-rate'))
        .option('--schedule <name>', 'of the learning rate: constant, linear or cosine (default: constant)')
        .option('--seed <n>', 'of weights, order and attacks (default: 1)', wholeNumber('--seed', 0))
        .option('--adversarial <attack>', 'train on images attacked so, e.g. fgsm')
        .option('--epsilon <size>', 'radius of that attack, as 0.2 or 8/255')
        .option(
          '--mix <x>',
          'attacked fraction of each batch, above 0 and at most 1 (default: 0.5)',
          anyNumber('--mix'),
        )
        .option('--out <file>', 'write the network here')
        .option('--checkpoint <file>', "keep the training's state here while it runs")
        .option('--resume', 'go on from the checkpoint, where there is one')
        .addHelpText(
          'after',
          '\nExamples:\n' +
            '  hardbit train --bits 2 --recipe bnn --epochs 3 --out model.safetensors\n' +
            '  hardbit train --bits 8 --adversarial fgsm --epsilon 0.2 --mix 0.5 --out robust.safetensors\n' +
            '  hardbit train --config train.yaml --seed 2 --checkpoint train.checkpoint --resume',
        ),
    ),
  ).action(async (flags: Flags) => {
    const settings = await settingsOf(flags);
    await requireDevice(flags.device);
    const { adam, optimizerNames, scheduleNames, sgd } = await import('../training/options.js');
    const { requireName } = await import('../errors.js');
    const rate = settings.learningRate === undefined ? {} : { learningRate: settings.learningRate };
    const optimizer =
      requireName('optimizer', settings.optimizer, optimizerNames) === 'adam' ? adam(rate) : sgd(rate);
    const schedule = requireName('schedule', settings.schedule, scheduleNames);
    const { createModel, saveModel } = await import('../models/registry.js');
    const { loadDataset } = await import('../data/registry.js');
    const { fit } = await import('../training/fit.js');
    const { evaluateClean } = await import('../evaluation/clean.js');
    const {
      model: name,
      dataset,
      bits,
      recipe,
      epochs,
      batchSize,
      seed,
      adversarial,
      out,
      checkpoint,
    } = settings;
    const { requireWritable } = await import('../files.js');
    requireWritable(out);
    if (checkpoint !== undefined) requireWritable(checkpoint);
    using model = createModel(name, { inputBits: bits, recipe, seed });
    const interrupted =
      checkpoint === undefined
        ? 'nothing was kept; with --checkpoint FILE a training can be resumed.'
        : `the training is kept in '${checkpoint}'; repeat the command with --resume to go on.`;
    const { fitted, clean } = await interruptible(interrupted, async (signal) => {
      const data = await loadDataset(dataset, { signal });
      try {
        const fitted = await fit(model, data.train, {
          epochs,
          batchSize,
          seed,
          optimizer,
          schedule,
          adversarial,
          signal,
          checkpoint:
            checkpoint === undefined ? undefined : { path: checkpoint, everySteps: CHECKPOINT_STEPS },
          resume: flags.resume ?? false,
          onProgress: ({ epoch, step, steps, loss, accuracy }) =>
            progress(
              `Epoch ${epoch} of ${epochs} ${bar(step / steps)} loss ${loss.toFixed(4)}, accuracy ${percent(accuracy)}`,
            ),
        });
        clearProgress();
        saveModel(model, out, {
          dataset,
          epochs,
          batchSize,
          optimizer,
          schedule,
          seed,
          adversarial: adversarial ?? null,
        });
        return { fitted, clean: await evaluateClean(model, data.test, { signal }) };
      } finally {
        data.train.dispose();
        data.test.dispose();
      }
    });
    const { history, seconds } = fitted;
    if (flags.json === true) {
      printJson({
        out,
        model: name,
        dataset,
        bits,
        recipe,
        epochs,
        batchSize,
        optimizer,
        schedule,
        seed,
        adversarial: adversarial ?? null,
        parameters: model.parameterCount(),
        history,
        seconds,
        clean: { n: clean.n, accuracy: clean.accuracy, loss: clean.loss },
      });
      return;
    }
    for (const { epoch, loss, accuracy } of history) {
      print(`Epoch ${epoch}: loss ${loss.toFixed(4)}, training accuracy ${percent(accuracy)}`);
    }
    print(`${out}: accuracy ${percent(clean.accuracy)} on ${clean.n} test images.`);
    note(`Trained in ${duration(seconds)}.`);
  });
}
