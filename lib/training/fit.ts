import { setImmediate } from 'node:timers/promises';
import { type Dataset, epochOrder, shuffledBatch, toFloatImages } from '../data/dataset.js';
import { HardbitError, requireName, throwIfAborted } from '../errors.js';
import { sha256 } from '../files.js';
import type { Model } from '../nn/model.js';
import { adam, type OptimizerSpec } from '../optim/optimizer.js';
import { rateFactor, type Schedule, scheduleNames } from '../optim/schedule.js';
import { scope } from '../tensor/scope.js';
import { type AdversarialOptions, adversarialBatch, resolveAdversarial } from './adversarial.js';
import { type EpochRecord, type Position, readCheckpoint, writeCheckpoint } from './checkpoint.js';
import { Trainer } from './step.js';

export type { AdversarialOptions } from './adversarial.js';
export type { EpochRecord } from './checkpoint.js';

export interface FitOptions {
  readonly epochs: number;
  /** Examples a step, at least 2. */
  readonly batchSize: number;
  /** Fixes the order of the examples and the attacks' draws; integer in [0, 2^53). */
  readonly seed: number;
  /** Adam with its defaults, unless given. */
  readonly optimizer?: OptimizerSpec | undefined;
  /** Learning rate over the whole training; 'constant' unless given. */
  readonly schedule?: Schedule | undefined;
  readonly adversarial?: AdversarialOptions | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after every step. */
  readonly onProgress?: ((progress: FitProgress) => void) | undefined;
  /** Measured after every epoch. */
  readonly validation?: Dataset | undefined;
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
  /** Mean cross-entropy of the epoch so far, in training mode. */
  readonly loss: number;
  /** Accuracy of the epoch so far, in training mode. */
  readonly accuracy: number;
  /** Since `fit` was called. */
  readonly secondsElapsed: number;
}

export interface FitResult {
  readonly history: readonly EpochRecord[];
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

/** Accuracy of `model` on all of `data`, in evaluation mode; yields between batches. */
async function accuracyOn(model: Model, data: Dataset, signal: AbortSignal | undefined): Promise<number> {
  let correct = 0;
  for (let begin = 0; begin < data.size; begin += 1000) {
    throwIfAborted(signal);
    correct += scope(() => {
      const end = Math.min(data.size, begin + 1000);
      const predictions = model.predict(toFloatImages(data.images.slice(begin, end))).toInt32Array();
      const labels = data.labels.slice(begin, end).toInt32Array();
      return predictions.reduce((sum, prediction, i) => sum + (prediction === labels[i] ? 1 : 0), 0);
    });
    await setImmediate();
  }
  return correct / data.size;
}

/**
 * Trains `model` in place on the mean cross-entropy. Equal options, data and thread count give bit-identical
 * weights, with or without an interruption between.
 *
 * @throws ERR_HARDBIT_ARGUMENT, ERR_HARDBIT_SHAPE for options or data that do not fit; ERR_HARDBIT_ABORTED when
 * `signal` fires, after writing the checkpoint where one is asked for; ERR_HARDBIT_RESUME where the checkpoint
 * belongs to another training.
 */
export async function fit(model: Model, data: Dataset, options: FitOptions): Promise<FitResult> {
  const started = performance.now();
  const optimizer = options.optimizer ?? adam();
  const schedule = requireName('schedule', options.schedule ?? 'constant', scheduleNames);
  const adversarial = options.adversarial === undefined ? null : resolveAdversarial(options.adversarial);
  requireCount('epochs', options.epochs, 1);
  requireCount('batchSize', options.batchSize, 2);
  requireCount('seed', options.seed, 0);
  if (options.checkpoint !== undefined)
    requireCount('checkpoint.everySteps', options.checkpoint.everySteps, 1);
  if (options.resume === true && options.checkpoint === undefined) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      'resume needs a checkpoint to resume from: give checkpoint.path.',
    );
  }
  if (data.imageShape.some((size, i) => size !== model.inputShape[i]) || data.classes > model.classes) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `Dataset '${data.name}' has images [${data.imageShape.join(', ')}] of ${data.classes} classes; model '${model.spec.model}' expects [${model.inputShape.join(', ')}] and ${model.classes} classes.`,
    );
  }
  requireCount('The number of training examples', data.size, 2);

  const run = sha256(
    Buffer.from(
      JSON.stringify({
        spec: model.spec,
        modelSeed: model.seed,
        data: [data.name, data.size],
        epochs: options.epochs,
        batchSize: options.batchSize,
        seed: options.seed,
        optimizer,
        schedule,
        adversarial,
        validation:
          options.validation === undefined ? null : [options.validation.name, options.validation.size],
      }),
    ),
  );
  const trainer = new Trainer(model, optimizer);
  try {
    const ranges = batches(data.size, options.batchSize);
    const { checkpoint } = options;
    let position: Position = { run, epoch: 0, step: 0, lossSum: 0, correct: 0, seen: 0, history: [] };
    if (options.resume === true && checkpoint !== undefined) {
      position = readCheckpoint(checkpoint.path, model, trainer.optimizer, run) ?? position;
    }
    const save = (): void => {
      if (checkpoint !== undefined) writeCheckpoint(checkpoint.path, model, trainer.optimizer, position);
    };

    while (position.epoch < options.epochs) {
      const { epoch } = position;
      const order = epochOrder(data, options.seed, epoch);
      try {
        for (let { step } = position; step < ranges.length; step++) {
          if (options.signal?.aborted) {
            save();
            throwIfAborted(options.signal);
          }
          const [begin, end] = ranges[step] as readonly [number, number];
          const result = scope(() => {
            const batch = shuffledBatch(data, order, begin, end);
            const images =
              adversarial === null
                ? batch.images
                : adversarialBatch(
                    model,
                    adversarial,
                    batch.images,
                    batch.labels,
                    options.seed,
                    epoch * data.size + begin,
                  );
            const factor = rateFactor(schedule, epoch * ranges.length + step, options.epochs * ranges.length);
            return trainer.step(images, batch.labels, factor);
          });
          position = {
            ...position,
            step: step + 1,
            lossSum: position.lossSum + result.lossSum,
            correct: position.correct + result.correct,
            seen: position.seen + (end - begin),
          };
          if (!Number.isFinite(position.lossSum)) {
            throw new HardbitError(
              'ERR_HARDBIT_ARGUMENT',
              `The loss became ${position.lossSum} in epoch ${epoch + 1}, step ${step + 1}; try a smaller learning rate.`,
            );
          }
          options.onProgress?.({
            epoch: epoch + 1,
            epochs: options.epochs,
            step: step + 1,
            steps: ranges.length,
            loss: position.lossSum / position.seen,
            accuracy: position.correct / position.seen,
            secondsElapsed: (performance.now() - started) / 1000,
          });
          if (checkpoint !== undefined && (step + 1) % checkpoint.everySteps === 0) save();
          await setImmediate();
        }
      } finally {
        order.dispose();
      }
      const record: EpochRecord = {
        epoch: epoch + 1,
        loss: position.lossSum / position.seen,
        accuracy: position.correct / position.seen,
        ...(options.validation === undefined
          ? {}
          : { validationAccuracy: await accuracyOn(model, options.validation, options.signal) }),
      };
      position = {
        run,
        epoch: epoch + 1,
        step: 0,
        lossSum: 0,
        correct: 0,
        seen: 0,
        history: [...position.history, record],
      };
    }
    return { history: position.history, seconds: (performance.now() - started) / 1000 };
  } finally {
    trainer.dispose();
  }
}
