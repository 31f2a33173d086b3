import { setImmediate } from 'node:timers/promises';
import { type Dataset, epochOrder, requireDataset } from '../data/dataset.js';
import { Prefetcher } from '../data/prefetch.js';
import { HardbitError, isHardbitError, throwIfAborted } from '../errors.js';
import { sha256 } from '../files.js';
import { type GradientArithmetic, type Model, requireGradientArithmetic } from '../nn/model.js';
import { MovingAverage, requireDecay } from '../optim/average.js';
import { FlipCounter } from '../optim/flips.js';
import { adam, type OptimizerSpec, takeSigns } from '../optim/optimizer.js';
import { rateFactor, resolveSchedule, type Schedule, type ScheduleSpec } from '../optim/schedule.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  type AdversarialOptions,
  type AdversarialTraining,
  adversarialBatch,
  describeAdversarial,
  resolveAdversarial,
} from './adversarial.js';
import {
  type EpochRecord,
  type Position,
  readCheckpoint,
  type TrainingState,
  writeCheckpoint,
} from './checkpoint.js';
import {
  type EarlyStopping,
  type EarlyStoppingOptions,
  judge,
  resolveEarlyStopping,
} from './early-stopping.js';
import { Trainer } from './step.js';
import { type Validation, validate } from './validation.js';

export type { AdversarialOptions, AdversarialSource } from './adversarial.js';
export type { EpochRecord } from './checkpoint.js';
export type { EarlyStoppingOptions } from './early-stopping.js';

export interface FitOptions {
  readonly epochs: number;
  /** Examples a step, at least 2. */
  readonly batchSize: number;
  /**
   * Fixes the order of the examples, the attacks' draws, what dropout drops and how gradients are rounded; integer in
   * [0, 2^53).
   */
  readonly seed: number;
  /** Adam with its defaults, unless given. */
  readonly optimizer?: OptimizerSpec | undefined;
  /** Learning rate over the whole training, by name or with settings; 'constant' unless given. */
  readonly schedule?: Schedule | undefined;
  /**
   * In what arithmetic the gradients of products of quantized operands are summed: 'float' (exact, unless given), 'bf16' where
   * the device has it, or 'int8' with stochastic rounding. The attacks of adversarial training stay exact.
   */
  readonly gradientArithmetic?: GradientArithmetic | undefined;
  readonly adversarial?: AdversarialOptions | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after every step. */
  readonly onProgress?: ((progress: FitProgress) => void) | undefined;
  /** Measured after every epoch. */
  readonly validation?: Dataset | undefined;
  /** Ends the training where `validation` no longer becomes better; the best epoch's network stays. */
  readonly earlyStopping?: EarlyStoppingOptions | undefined;
  /**
   * Keeps an exponential moving average of parameters and buffers, `decay` in [0, 1): it is what `validation` measures, and
   * the trained network.
   */
  readonly average?: { readonly decay: number } | undefined;
  /** Records, by quantized parameter, how many weights change their sign in a step. */
  readonly flipRatio?: boolean | undefined;
  /** Where the training's whole state is kept: every `everySteps` steps and when it is aborted. */
  readonly checkpoint?: { readonly path: string; readonly everySteps: number } | undefined;
  /** Go on from the checkpoint, where there is one; the result equals an uninterrupted run's. */
  readonly resume?: boolean | undefined;
}

export interface FitProgress {
  /** From 1. */
  readonly epoch: number;
  readonly epochs: number;
  /** Steps made in this epoch. */
  readonly step: number;
  readonly steps: number;
  /**
   * Mean cross-entropy of the epoch so far, in training mode. On a GPU the last steps may be missing from it, and from the
   * accuracy: it goes on working while they are looked at now and then.
   */
  readonly loss: number;
  /** Accuracy of the epoch so far, in training mode. */
  readonly accuracy: number;
  /** Since `fit` was called. */
  readonly secondsElapsed: number;
}

export interface FitResult {
  readonly history: readonly EpochRecord[];
  /** The epoch, from 1, whose network was kept by early stopping; null without it. */
  readonly bestEpoch: number | null;
  /** Early stopping ended the training before its last epoch. */
  readonly stoppedEarly: boolean;
  /** Wall time of this call. */
  readonly seconds: number;
}

function requireCount(what: string, value: number, low: number): void {
  if (!Number.isSafeInteger(value) || value < low) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `${what} is ${value}; expected a whole number, at least ${low}.`,
    );
  }
}

/**
 * Steps on a GPU after which the host looks at their losses: often enough for people who watch, seldom enough that the GPU
 * never runs out of work.
 */
const READ_STEPS = 32;

/** Row ranges of an epoch's steps; a last batch of one example joins its neighbour, as batch norm needs two. */
function batches(size: number, batchSize: number): readonly (readonly [number, number])[] {
  const ranges: [number, number][] = [];
  for (let begin = 0; begin < size; begin += batchSize)
    ranges.push([begin, Math.min(size, begin + batchSize)]);
  const last = ranges.at(-1);
  const before = ranges.at(-2);
  if (last !== undefined && before !== undefined && last[1] - last[0] === 1) {
    before[1] = last[1];
    ranges.pop();
  }
  return ranges;
}

function requireFitting(model: Model, data: Dataset): void {
  requireDataset(data);
  if (data.imageShape.some((size, i) => size !== model.inputShape[i]) || data.classes > model.classes) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `Dataset '${data.name}' has images [${data.imageShape.join(', ')}] of ${data.classes} classes; model '${model.spec.model}' expects [${model.inputShape.join(', ')}] and ${model.classes} classes.`,
    );
  }
}

/** A training with everything decided. */
interface Plan {
  readonly optimizer: OptimizerSpec;
  readonly schedule: ScheduleSpec;
  readonly adversarial: AdversarialTraining | null;
  readonly earlyStopping: EarlyStopping | null;
  readonly averageDecay: number | null;
  readonly gradientArithmetic: GradientArithmetic;
  /** Of an epoch's order, one a step. */
  readonly ranges: readonly (readonly [number, number])[];
  /** Of everything that decides the result: only equal trainings may continue each other. */
  readonly run: string;
}

function planFit(model: Model, data: Dataset, options: FitOptions): Plan {
  const { epochs, batchSize, seed, validation, checkpoint } = options;
  requireCount('epochs', epochs, 1);
  requireCount('batchSize', batchSize, 2);
  requireCount('seed', seed, 0);
  if (checkpoint !== undefined) requireCount('checkpoint.everySteps', checkpoint.everySteps, 1);
  if (options.resume === true && checkpoint === undefined) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      'resume needs a checkpoint to resume from: give checkpoint.path.',
    );
  }
  requireFitting(model, data);
  requireCount('The number of training examples', data.size, 2);
  if (validation !== undefined) {
    requireFitting(model, validation);
    requireCount('The number of validation examples', validation.size, 1);
  }
  const optimizer = options.optimizer ?? adam();
  const schedule = resolveSchedule(options.schedule ?? 'constant');
  const adversarial =
    options.adversarial === undefined ? null : resolveAdversarial(options.adversarial, model);
  const earlyStopping =
    options.earlyStopping === undefined
      ? null
      : resolveEarlyStopping(options.earlyStopping, validation !== undefined);
  const averageDecay = options.average === undefined ? null : requireDecay(options.average.decay);
  const gradientArithmetic = requireGradientArithmetic(options.gradientArithmetic ?? 'float', model.device);
  const ranges = batches(data.size, batchSize);
  const steps = epochs * ranges.length;
  if ('warmUpSteps' in schedule && schedule.warmUpSteps >= steps) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The schedule ${schedule.name} warms up for ${schedule.warmUpSteps} steps, but this training has ${steps}; expected fewer.`,
    );
  }
  const run = sha256(
    Buffer.from(
      JSON.stringify({
        spec: model.spec,
        modelSeed: model.seed,
        data: [data.name, data.size],
        epochs,
        batchSize,
        seed,
        optimizer,
        schedule,
        adversarial: adversarial === null ? null : describeAdversarial(adversarial),
        validation: validation === undefined ? null : [validation.name, validation.size],
        earlyStopping,
        averageDecay,
        flipRatio: options.flipRatio ?? false,
        // Left out where it is exact, as in checkpoints from before there was a choice.
        ...(gradientArithmetic === 'float' ? {} : { gradientArithmetic }),
      }),
    ),
  );
  return {
    optimizer,
    schedule,
    adversarial,
    earlyStopping,
    averageDecay,
    gradientArithmetic,
    ranges,
    run,
  };
}

/** Parameters, latent ones where quantized, and buffers. */
function tensorsOf(model: Model): { readonly name: string; readonly value: Tensor }[] {
  return [
    ...model.parameters.map(({ name, variable }) => ({ name, value: variable.value })),
    ...model.buffers.map(({ name, value }) => ({ name, value })),
  ];
}

/** Measures the network that would result if training ended here: the averaged one where there is an average. */
async function measure(
  { model, average }: TrainingState,
  data: Dataset,
  signal: AbortSignal | undefined,
): Promise<Validation> {
  if (average === null) return validate(model, data, signal);
  const latent = new Map([...model.state()].map(([name, { values }]) => [name, values]));
  model.loadState(average.values());
  try {
    return await validate(model, data, signal);
  } finally {
    model.loadState(latent);
  }
}

/**
 * Trains `model` in place on the mean cross-entropy, on its device. Equal options, data, device and thread count give
 * bit-identical weights, with or without an interruption between. Data may be on the cpu or on the model's device: a dataset
 * that was copied to a GPU (`data.to('cuda')`) is batched there, any other is uploaded batch by batch.
 *
 * @throws ERR_HARDBIT_ARGUMENT, ERR_HARDBIT_UNKNOWN_NAME, ERR_HARDBIT_SHAPE, ERR_HARDBIT_DTYPE, ERR_HARDBIT_PIXELS,
 * ERR_HARDBIT_LABELS for options or data that do not fit; ERR_HARDBIT_UNSUPPORTED for gradients in bf16 where the device lacks it;
 * ERR_HARDBIT_CUDA where the GPU failed; ERR_HARDBIT_ABORTED when `signal` fires, after writing the checkpoint where one is
 * asked for; ERR_HARDBIT_RESUME where the checkpoint belongs to another training.
 */
export async function fit(model: Model, data: Dataset, options: FitOptions): Promise<FitResult> {
  const started = performance.now();
  const plan = planFit(model, data, options);
  const { adversarial, earlyStopping, ranges, run } = plan;
  const { checkpoint, epochs, seed, signal, validation } = options;
  const trainer = new Trainer(model, plan.optimizer, seed, plan.gradientArithmetic);
  const state: TrainingState = {
    model,
    optimizer: trainer.optimizer,
    average: plan.averageDecay === null ? null : new MovingAverage(tensorsOf(model), plan.averageDecay),
    best: null,
  };
  const { average } = state;
  const readSteps = model.device === 'cpu' ? 1 : READ_STEPS;
  let flips: FlipCounter | null = null;
  let position: Position = {
    run,
    epoch: 0,
    step: 0,
    lossSum: 0,
    correct: 0,
    seen: 0,
    flips: {},
    history: [],
  };
  /** Takes what the steps made since the last look have to tell into `position`. */
  const look = (): void => {
    const { lossSum, correct, rows } = trainer.readSteps();
    position = {
      ...position,
      lossSum: position.lossSum + lossSum,
      correct: position.correct + correct,
      seen: position.seen + rows,
    };
    if (!Number.isFinite(position.lossSum)) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `The loss became ${position.lossSum} in epoch ${position.epoch + 1}, step ${position.step}; try a smaller learning rate.`,
      );
    }
  };
  const save = (): void => {
    if (checkpoint === undefined) return;
    look();
    writeCheckpoint(checkpoint.path, state, position);
  };

  /** One step on a batch of rows [begin, end) of the epoch's order. */
  const trainOn = (images: Tensor, labels: Tensor, begin: number): void => {
    const { epoch, step } = position;
    const made = trainer.optimizer.steps;
    scope(() => {
      const batch =
        adversarial === null
          ? { images, labels }
          : adversarialBatch(model, adversarial, images, labels, {
              seed,
              step: made,
              firstRow: epoch * data.size + begin,
            });
      const factor = rateFactor(plan.schedule, made, epochs * ranges.length, epochs);
      trainer.queueStep(batch.images, batch.labels, factor);
    });
    average?.update(made === 0);
    position = {
      ...position,
      step: step + 1,
      flips: flips === null ? position.flips : flips.add(position.flips),
    };
    if (position.seen === 0 || trainer.unreadSteps >= readSteps) look();
  };

  /** What is left of the epoch that `position` stands in. */
  const trainEpoch = async (): Promise<void> => {
    const order = epochOrder(data, seed, position.epoch);
    const left = ranges.slice(position.step);
    const prefetcher = new Prefetcher(data, order, left, undefined, model.device);
    try {
      for (const [begin] of left) {
        if (signal?.aborted) {
          save();
          throwIfAborted(signal);
        }
        const batch = await prefetcher.next();
        if (batch === null) break;
        try {
          trainOn(batch.images, batch.labels, begin);
        } finally {
          for (const tensor of [batch.images, batch.labels, batch.indices]) tensor.dispose();
        }
        const { epoch, step } = position;
        options.onProgress?.({
          epoch: epoch + 1,
          epochs,
          step,
          steps: ranges.length,
          loss: position.lossSum / position.seen,
          accuracy: position.correct / position.seen,
          secondsElapsed: (performance.now() - started) / 1000,
        });
        if (checkpoint !== undefined && step % checkpoint.everySteps === 0) save();
        await setImmediate();
      }
      look();
    } finally {
      await prefetcher.close();
      order.dispose();
    }
  };

  /** The record of the finished epoch; `position` moves on to the next one. */
  const closeEpoch = async (): Promise<void> => {
    let measured: Validation | null = null;
    try {
      measured = validation === undefined ? null : await measure(state, validation, signal);
    } catch (error) {
      if (isHardbitError(error) && error.code === 'ERR_HARDBIT_ABORTED') save();
      throw error;
    }
    const record: EpochRecord = {
      epoch: position.epoch + 1,
      loss: position.lossSum / position.seen,
      accuracy: position.correct / position.seen,
      ...(measured === null ? {} : { validationLoss: measured.loss, validationAccuracy: measured.accuracy }),
      ...(flips === null ? {} : { flipRatio: flips.ratios(position.flips, ranges.length) }),
    };
    const history = [...position.history, record];
    if (earlyStopping !== null && judge(earlyStopping, history).bestEpoch === record.epoch) {
      state.best =
        average?.values() ?? new Map([...model.state()].map(([name, { values }]) => [name, values]));
    }
    position = { run, epoch: record.epoch, step: 0, lossSum: 0, correct: 0, seen: 0, flips: {}, history };
  };

  const verdict = () =>
    earlyStopping === null ? { bestEpoch: null, stop: false } : judge(earlyStopping, position.history);

  try {
    if (options.resume === true && checkpoint !== undefined) {
      position = readCheckpoint(checkpoint.path, state, run) ?? position;
    }
    if (options.flipRatio === true) {
      const quantized = model.parameters.filter(({ quantizer }) => quantizer !== null);
      flips = new FlipCounter(quantized.map(({ name, variable }) => ({ name, value: variable.value })));
    }
    while (position.epoch < epochs && !verdict().stop) {
      await trainEpoch();
      await closeEpoch();
    }
    const final = state.best ?? average?.values();
    if (final !== undefined) model.loadState(final);
    if (plan.optimizer.name === 'bop') {
      // Averages of ±1 are not ±1; the network computes with their signs alone.
      for (const { binary, variable } of model.parameters) if (binary) takeSigns(variable.value);
      model.invalidate();
    }
    return {
      history: position.history,
      bestEpoch: verdict().bestEpoch,
      stoppedEarly: position.epoch < epochs,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    trainer.dispose();
    average?.dispose();
    flips?.dispose();
  }
}
