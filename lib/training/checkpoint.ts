import { existsSync } from 'node:fs';
import { z } from 'zod';
import { HardbitError } from '../errors.js';
import { readFile, writeFileAtomic } from '../files.js';
import type { Model } from '../nn/model.js';
import { floatEntry } from '../nn/model-file.js';
import type { MovingAverage } from '../optim/average.js';
import type { Optimizer } from '../optim/optimizer.js';
import { decodeSafetensors, encodeSafetensors, type SafetensorsEntry } from '../tensor/safetensors.js';
import type { Tensor } from '../tensor/tensor.js';

const epochSchema = z.strictObject({
  epoch: z.number().int(),
  loss: z.number(),
  accuracy: z.number(),
  validationLoss: z.number().optional(),
  validationAccuracy: z.number().optional(),
  flipRatio: z.record(z.string(), z.number()).optional(),
});

/**
 * What one finished epoch left: mean loss and accuracy in training mode; loss and accuracy on the validation set, where
 * there is one; by quantized parameter the mean fraction of weights whose sign changed in a step, where asked for.
 */
export type EpochRecord = z.infer<typeof epochSchema>;

const positionSchema = z.strictObject({
  format: z.literal(2),
  /** The training the checkpoint belongs to: resuming another one is an error. */
  run: z.string(),
  /** Next epoch and step within it, from 0. */
  epoch: z.number().int().min(0),
  step: z.number().int().min(0),
  optimizerSteps: z.number().int().min(0),
  /** Of the epoch so far. */
  lossSum: z.number(),
  correct: z.number(),
  seen: z.number(),
  /** Sign changes of the epoch so far, by quantized parameter; empty where they are not counted. */
  flips: z.record(z.string(), z.number().int().min(0)),
  history: z.array(epochSchema),
});

/** Where a training stands. All randomness is counter-based, so this and the tensors are its whole state. */
export type Position = Omit<z.infer<typeof positionSchema>, 'format' | 'optimizerSteps'>;

/** Parameters and buffers of a network by path name. */
export type ModelState = ReadonlyMap<string, Float32Array>;

/** What a training keeps in tensors. */
export interface TrainingState {
  readonly model: Model;
  readonly optimizer: Optimizer;
  /** The moving average of the weights; null where there is none. */
  readonly average: MovingAverage | null;
  /** The network of the best epoch; null before there is one. */
  best: ModelState | null;
}

/** Tensors by name, f32 in their shapes, all of a group under one prefix. */
function group(prefix: string, tensors: ReadonlyMap<string, Tensor>): [string, SafetensorsEntry][] {
  return [...tensors].map(([name, tensor]) => [
    `${prefix}.${name}`,
    floatEntry(tensor.shape, tensor.toFloat32Array()),
  ]);
}

/**
 * Writes everything a training needs to go on as if it had never stopped: latent weights, buffers, moments, averages,
 * the best epoch's network and the position; one safetensors file, atomically.
 */
export function writeCheckpoint(path: string, state: TrainingState, position: Position): void {
  const { model, optimizer, average, best } = state;
  const tensors = new Map<string, SafetensorsEntry>();
  for (const [name, { shape, values }] of model.state()) {
    tensors.set(`model.${name}`, floatEntry(shape, values));
    const kept = best?.get(name);
    if (kept !== undefined) tensors.set(`best.${name}`, floatEntry(shape, kept));
  }
  for (const [name, entry] of group('optimizer', optimizer.slots)) tensors.set(name, entry);
  if (average !== null) {
    for (const [name, entry] of group('average', average.averages)) tensors.set(name, entry);
  }
  const header: z.infer<typeof positionSchema> = {
    format: 2,
    optimizerSteps: optimizer.steps,
    ...position,
  };
  writeFileAtomic(path, encodeSafetensors(tensors, { 'hardbit-checkpoint': JSON.stringify(header) }));
}

function parsePosition(text: string | undefined, path: string): z.infer<typeof positionSchema> {
  if (text === undefined) {
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `'${path}' is not a checkpoint of hardbit; remove it to start anew.`,
    );
  }
  try {
    return positionSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `The position in checkpoint '${path}' is malformed; remove the file to start anew.`,
      { cause },
    );
  }
}

/**
 * Restores a training from its checkpoint, or returns null where there is none yet.
 *
 * @param run identifies the training
 * @throws ERR_HARDBIT_RESUME where the checkpoint belongs to another training; ERR_HARDBIT_FORMAT where it is damaged.
 */
export function readCheckpoint(path: string, state: TrainingState, run: string): Position | null {
  if (!existsSync(path)) return null;
  const { model, optimizer, average } = state;
  const { tensors, metadata } = decodeSafetensors(readFile(path), path);
  const {
    format: _format,
    optimizerSteps,
    ...position
  } = parsePosition(metadata['hardbit-checkpoint'], path);
  if (position.run !== run) {
    throw new HardbitError(
      'ERR_HARDBIT_RESUME',
      `Checkpoint '${path}' belongs to a training with other options or data; use those options, or another checkpoint file.`,
    );
  }
  const values = (name: string, count: number): Float32Array => {
    const entry = tensors.get(name);
    if (entry === undefined || !(entry.data instanceof Float32Array) || entry.data.length !== count) {
      throw new HardbitError(
        'ERR_HARDBIT_FORMAT',
        `Checkpoint '${path}' lacks tensor '${name}' of ${count} f32 numbers; remove the file to start anew.`,
      );
    }
    return entry.data;
  };
  const ofModel = (prefix: string): ModelState =>
    new Map(
      [...model.state()].map(([name, current]) => [name, values(`${prefix}.${name}`, current.values.length)]),
    );
  const ofGroup = (prefix: string, targets: ReadonlyMap<string, Tensor>) =>
    [...targets].map(([name, target]) => {
      const count = target.shape.reduce((a, b) => a * b, 1);
      return { target, data: values(`${prefix}.${name}`, count) };
    });
  // Everything is looked at before anything is overwritten.
  const latent = ofModel('model');
  const best = [...tensors.keys()].some((name) => name.startsWith('best.')) ? ofModel('best') : null;
  const kept = [
    ...ofGroup('optimizer', optimizer.slots),
    ...(average === null ? [] : ofGroup('average', average.averages)),
  ];
  model.loadState(latent);
  for (const { target, data } of kept) target.write(data);
  optimizer.resumeAt(optimizerSteps);
  state.best = best;
  return position;
}
