import type { Command } from 'commander';
import type { Dataset } from '../data/registry.js';
import { HardbitError } from '../errors.js';
import type { Model } from '../models/registry.js';
import type { EpochRecord } from '../training/fit.js';
import type { Schedule } from '../training/options.js';
import { interruptible } from './interrupt.js';
import { addDevice, addJson, anyNumber, requireDevice, wholeNumber } from './options.js';
import { bar, clearProgress, duration, note, percent, print, printJson, progress } from './terminal.js';
import type { TrainConfig } from './train-config.js';

const CHECKPOINT_STEPS = 200;

/** Room for the description of a network in its file, generously. */
const MODEL_HEADER = 1 << 18;

/** Numbers in a network's file. */
function countNumbers(model: Model): number {
  let count = 0;
  for (const { values } of model.state().values()) count += values.length;
  return count;
}

/** Networks to attack through, by their files; disposed of together. */
function openSources(files: readonly string[], load: (file: string) => Model) {
  const opened: { readonly name: string; readonly model: Model }[] = [];
  const dispose = () => {
    for (const { model } of opened) model.dispose();
  };
  try {
    for (const file of files) opened.push({ name: file, model: load(file) });
  } catch (error) {
    dispose();
    throw error;
  }
  return { opened, [Symbol.dispose]: dispose };
}

/** One line on a finished epoch. */
function epochLine(epoch: EpochRecord): string {
  const { loss, accuracy, validationLoss, validationAccuracy, flipRatio } = epoch;
  const parts = [`Epoch ${epoch.epoch}: loss ${loss.toFixed(4)}, training accuracy ${percent(accuracy)}`];
  if (validationLoss !== undefined && validationAccuracy !== undefined) {
    parts.push(`validation loss ${validationLoss.toFixed(4)}, accuracy ${percent(validationAccuracy)}`);
  }
  if (flipRatio !== undefined) {
    const ratios = Object.entries(flipRatio).map(([name, ratio]) => `${name} ${ratio.toExponential(2)}`);
    parts.push(`flips ${ratios.length === 0 ? 'none: no quantized weights' : ratios.join(', ')}`);
  }
  return parts.join('; ');
}

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
  readonly weightDecay?: number;
  readonly schedule?: string;
  readonly seed?: number;
  readonly validationSplit?: number;
  readonly earlyStopping?: number;
  readonly earlyStoppingMetric?: string;
  readonly minDelta?: number;
  readonly average?: number;
  readonly flipRatio?: boolean;
  readonly gradientArithmetic?: string;
  readonly adversarial?: string;
  readonly epsilon?: string;
  readonly mix?: number;
  readonly steps?: number;
  readonly stepSize?: string;
  readonly alpha?: string;
  readonly randomStart: boolean;
  readonly sourceModel?: readonly string[];
  readonly out?: string;
  readonly checkpoint?: string;
  readonly resume?: boolean;
  readonly device: string;
  readonly json?: boolean;
}

function invalid(message: string): HardbitError {
  return new HardbitError('ERR_HARDBIT_ARGUMENT', message);
}

/** The adversarial training asked for, without its source models. */
async function adversarialOf(flags: Flags, file: TrainConfig) {
  const { parseEpsilon, attackNames } = await import('../evaluation/attack-options.js');
  const { requireName } = await import('../errors.js');
  const size = (flag: string, text: string | undefined): number | undefined => {
    try {
      return text === undefined ? undefined : parseEpsilon(text);
    } catch {
      throw invalid(`${flag} is '${text}'; expected a number in [0, 1] such as 0.01 or 2/255.`);
    }
  };
  const attack = flags.adversarial ?? file.adversarial;
  const epsilon = flags.epsilon === undefined ? file.epsilon : parseEpsilon(flags.epsilon);
  const sources = flags.sourceModel ?? file.sourceModel ?? [];
  const rest = {
    mix: flags.mix ?? file.mix,
    steps: flags.steps ?? file.steps,
    stepSize: size('--step-size', flags.stepSize) ?? file.stepSize,
    alpha: size('--alpha', flags.alpha) ?? file.alpha,
    randomStart: flags.randomStart ? file.randomStart : false,
  };
  const sourceFiles = typeof sources === 'string' ? [sources] : sources;
  if (attack === undefined) {
    const given = Object.values({ epsilon, ...rest }).some((value) => value !== undefined);
    if (given || sourceFiles.length > 0) {
      throw invalid(
        'epsilon, mix, the options of attacks and source models belong to adversarial training; name its attack, e.g. --adversarial fgsm.',
      );
    }
    return undefined;
  }
  if (epsilon === undefined) throw invalid('--adversarial needs --epsilon, e.g. --epsilon 0.2.');
  return { options: { attack: requireName('attack', attack, attackNames), epsilon, ...rest }, sourceFiles };
}

/** The early stopping asked for. */
async function earlyStoppingOf(flags: Flags, file: TrainConfig) {
  const { stoppingMetrics } = await import('../training/options.js');
  const { requireName } = await import('../errors.js');
  const patience = flags.earlyStopping ?? file.earlyStopping;
  const metric = flags.earlyStoppingMetric ?? file.earlyStoppingMetric;
  const minDelta = flags.minDelta ?? file.minDelta;
  if (patience !== undefined) {
    return {
      patience,
      metric: metric === undefined ? undefined : requireName('metric', metric, stoppingMetrics),
      minDelta,
    };
  }
  if (metric === undefined && minDelta === undefined) return undefined;
  throw invalid(
    'The metric and --min-delta belong to early stopping; give its patience, e.g. --early-stopping 3.',
  );
}

/** The training's settings: flags before the file, the file before defaults. */
async function settingsOf(flags: Flags) {
  const { requireGradientArithmetic, resolveOptimizer, resolveSchedule } = await import(
    '../training/options.js'
  );
  const { requireDatasetName } = await import('../data/registry.js');
  let file: TrainConfig = {};
  if (flags.config !== undefined) {
    const { readTrainConfig } = await import('./train-config.js');
    file = readTrainConfig(flags.config);
  }
  const out = flags.out ?? file.out;
  if (out === undefined) {
    throw invalid('There is no file to write the network to; give --out, e.g. --out model.safetensors.');
  }
  const adversarial = await adversarialOf(flags, file);
  const earlyStopping = await earlyStoppingOf(flags, file);
  const checkpoint = flags.checkpoint ?? file.checkpoint;
  if (flags.resume === true && checkpoint === undefined) {
    throw invalid('--resume needs --checkpoint, the file to go on from.');
  }
  const optimizer = flags.optimizer ?? file.optimizer ?? 'adam';
  const named = typeof optimizer === 'string' ? { name: optimizer } : optimizer;
  const learningRate = flags.learningRate ?? file.learningRate;
  const weightDecay = flags.weightDecay ?? file.weightDecay;
  const step = {
    ...(learningRate === undefined ? {} : { learningRate }),
    ...(weightDecay === undefined ? {} : { weightDecay }),
  };
  return {
    out,
    checkpoint,
    model: flags.model ?? file.model ?? 'mnist-fcn',
    dataset: requireDatasetName(flags.dataset ?? file.dataset ?? 'mnist'),
    bits: flags.bits ?? file.bits ?? 8,
    recipe: flags.recipe ?? file.recipe ?? 'none',
    epochs: flags.epochs ?? file.epochs ?? 3,
    batchSize: flags.batchSize ?? file.batchSize ?? 128,
    // Bop has no rate and no decay of its own: they are those of the optimizer beside it.
    optimizer: resolveOptimizer(
      named.name === 'bop'
        ? { ...named, other: { ...('other' in named ? (named.other as object) : {}), ...step } }
        : { ...named, ...step },
    ),
    schedule: resolveSchedule((flags.schedule ?? file.schedule ?? 'constant') as Schedule),
    seed: flags.seed ?? file.seed ?? 1,
    validationSplit: flags.validationSplit ?? file.validationSplit,
    earlyStopping,
    averageDecay: flags.average ?? file.average,
    flipRatio: flags.flipRatio ?? file.flipRatio ?? false,
    gradientArithmetic: requireGradientArithmetic(
      flags.gradientArithmetic ?? file.gradientArithmetic ?? 'float',
      flags.device === 'cuda' ? 'cuda' : 'cpu',
    ),
    adversarial,
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
        .option('--dataset <name>', 'mnist, fashion-mnist, or idx:FOLDER with IDX files (default: mnist)')
        .option(
          '--bits <n>',
          'bits a pixel of the input discretizer, 1 to 8 (default: 8)',
          wholeNumber('--bits', 1),
        )
        .option(
          '--recipe <name>',
          'how weights and activations are quantized: none, bnn, xnor, dorefa-w1a2, … (default: none)',
        )
        .option('--epochs <n>', 'passes over the training images (default: 3)', wholeNumber('--epochs', 1))
        .option('--batch-size <n>', 'images a step (default: 128)', wholeNumber('--batch-size', 2))
        .option('--optimizer <name>', 'adam, sgd, or bop for binary weights (default: adam)')
        .option('--learning-rate <x>', 'default: adam 0.001, sgd 0.1', anyNumber('--learning-rate'))
        .option('--weight-decay <x>', 'of real weights (default: 0)', anyNumber('--weight-decay'))
        .option(
          '--schedule <name>',
          'of the learning rate: constant, linear, cosine, step or one-cycle (default: constant)',
        )
        .option('--seed <n>', 'of weights, order and attacks (default: 1)', wholeNumber('--seed', 0))
        .option(
          '--validation-split <x>',
          'fraction of the training images, the last ones, kept for validation',
          anyNumber('--validation-split'),
        )
        .option(
          '--early-stopping <patience>',
          'stop after so many epochs without improvement on the validation images, and keep the best',
          wholeNumber('--early-stopping', 1),
        )
        .option('--early-stopping-metric <name>', 'loss or accuracy (default: loss)')
        .option('--min-delta <x>', 'smallest improvement that counts (default: 0)', anyNumber('--min-delta'))
        .option(
          '--average <decay>',
          'validate and keep the moving average of the weights, e.g. 0.999',
          anyNumber('--average'),
        )
        .option('--flip-ratio', 'record how many quantized weights change their sign in a step')
        .option(
          '--gradient-arithmetic <name>',
          'sum the gradients of quantized layers in float, bf16 or int8 (default: float)',
        )
        .option('--adversarial <attack>', 'train on images attacked so, e.g. fgsm or pgd')
        .option('--epsilon <size>', 'radius of that attack, as 0.2 or 8/255')
        .option('--steps <n>', 'its gradient steps (default: pgd 20, bim 10)', wholeNumber('--steps', 1))
        .option('--step-size <size>', 'size of its steps, as 0.01 or 2/255 (default: 2.5·ε/steps)')
        .option('--alpha <size>', "size of R-FGSM's random step (default: ε/2)")
        .option('--no-random-start', 'start pgd from the image itself')
        .option(
          '--source-model <files...>',
          'attack through these trained networks too, one drawn for each batch (ensemble adversarial training)',
        )
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
            '  hardbit train --bits 2 --adversarial pgd --epsilon 0.2 --steps 7 --mix 1 --out madry.safetensors\n' +
            '  hardbit train --config train.yaml --seed 2 --checkpoint train.checkpoint --resume',
        ),
    ),
  ).action(async (flags: Flags) => {
    const settings = await settingsOf(flags);
    const device = await requireDevice(flags.device);
    const { createModel, loadModel, saveModel } = await import('../models/registry.js');
    const { loadDataset, splitLast } = await import('../data/registry.js');
    const { fit } = await import('../training/fit.js');
    const { modelDigest } = await import('../training/options.js');
    const { evaluateClean } = await import('../evaluation/clean.js');
    const { requireWritable, reserveSpace } = await import('../files.js');
    const { model: name, dataset, bits, recipe, epochs, batchSize, optimizer, schedule, seed } = settings;
    const { out, checkpoint, validationSplit, averageDecay, flipRatio, gradientArithmetic } = settings;
    requireWritable(out);
    if (checkpoint !== undefined) requireWritable(checkpoint);
    using model = createModel(name, { inputBits: bits, recipe, seed, device });
    using space = reserveSpace(out, MODEL_HEADER + 4 * countNumbers(model));
    using sources = openSources(settings.adversarial?.sourceFiles ?? [], (file) =>
      loadModel(file, { device }),
    );
    const adversarial =
      settings.adversarial === undefined
        ? undefined
        : {
            ...settings.adversarial.options,
            sources: sources.opened,
          };
    const earlyStopping = settings.earlyStopping;
    const average = averageDecay === undefined ? undefined : { decay: averageDecay };
    /** What the network was trained with, besides its architecture. */
    const recordOf = (files: Readonly<Record<string, string>>) => ({
      dataset,
      files,
      epochs,
      batchSize,
      optimizer,
      schedule,
      seed,
      validationSplit: validationSplit ?? null,
      earlyStopping: earlyStopping ?? null,
      average: average ?? null,
      gradientArithmetic,
      adversarial:
        adversarial === undefined
          ? null
          : {
              ...adversarial,
              sources: adversarial.sources.map((source) => ({
                name: source.name,
                sha256: modelDigest(source.model),
              })),
            },
    });
    const interrupted =
      checkpoint === undefined
        ? 'nothing was kept; with --checkpoint FILE a training can be resumed.'
        : `the training is kept in '${checkpoint}'; repeat the command with --resume to go on.`;
    const { fitted, clean, record } = await interruptible(interrupted, async (signal) => {
      const data = await loadDataset(dataset, { signal, device });
      let parts: { readonly train: Dataset; readonly validation?: Dataset } = { train: data.train };
      try {
        if (validationSplit !== undefined) parts = splitLast(data.train, validationSplit);
        const fitted = await fit(model, parts.train, {
          epochs,
          batchSize,
          seed,
          optimizer,
          schedule,
          adversarial,
          validation: parts.validation,
          earlyStopping,
          average,
          flipRatio,
          gradientArithmetic,
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
        const record = recordOf(data.sha256);
        space.release();
        saveModel(model, out, record);
        return { fitted, record, clean: await evaluateClean(model, data.test, { signal }) };
      } finally {
        for (const each of [data.train, data.test, parts.train, parts.validation]) each?.dispose();
      }
    });
    const { history, bestEpoch, stoppedEarly, seconds } = fitted;
    if (flags.json === true) {
      printJson({
        out,
        model: name,
        bits,
        recipe,
        ...record,
        parameters: model.parameterCount(),
        history,
        bestEpoch,
        stoppedEarly,
        seconds,
        clean: { n: clean.n, accuracy: clean.accuracy, loss: clean.loss },
      });
      return;
    }
    for (const epoch of history) print(epochLine(epoch));
    if (bestEpoch !== null) {
      print(
        `${stoppedEarly ? 'Stopped early; kept' : 'Kept'} the network of epoch ${bestEpoch}, the best on the validation images.`,
      );
    }
    print(`${out}: accuracy ${percent(clean.accuracy)} on ${clean.n} test images.`);
    note(`Trained in ${duration(seconds)}.`);
  });
}
