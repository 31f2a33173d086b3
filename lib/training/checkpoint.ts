import { existsSync } from 'node:fs';
import { z } from 'zod';
import { HardbitError } from '../errors.js';
import { readFile, writeFileAtomic } from '../files.js';
import type { Model } from '../nn/model.js';
import { floatEntry } from '../nn/model-file.js';
import type { Optimizer } from '../optim/optimizer.js';
import { decodeSafetensors, encodeSafetensors, type SafetensorsEntry } from '../tensor/safetensors.js';

const epochSchema = z.strictObject({
  epoch: z.number().int(),
  loss: z.number(),
  accuracy: z.number(),
  validationAccuracy: z.number().optional(),
});

/** What one finished epoch left: mean loss and accuracy in training mode, and accuracy on the validation set. */
export type EpochRecord = z.infer<typeof epochSchema>;

const positionSchema = z.strictObject({
  format: z.literal(1),
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
  history: z.array(epochSchema),
});

/** Where a training stands. All randomness is counter-based, so this and the tensors are its whole state. */
export type Position = Omit<z.infer<typeof positionSchema>, 'format' | 'optimizerSteps'>;

/**
 * Writes everything a training needs to go on as if it had never stopped: latent weights, buffers, moments and
 * position; one safetensors file, atomically.
 */
export function writeCheckpoint(path: string, model: Model, optimizer: Optimizer, position: Position): void {
  const tensors = new Map<string, SafetensorsEntry>();
  for (const [name, { shape, values }] of model.state())
    tensors.set(`model.${name}`, floatEntry(shape, values));
  for (const [name, slot] of optimizer.slots) {
    tensors.set(`optimizer.${name}`, floatEntry(slot.shape, slot.toFloat32Array()));
  }
  const header: z.infer<typeof positionSchema> = {
    format: 1,
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
export function readCheckpoint(
  path: string,
  model: Model,
  optimizer: Optimizer,
  run: string,
): Position | null {
  if (!existsSync(path)) return null;
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
  const state = new Map<string, Float32Array>();
  for (const [name, current] of model.state())
    state.set(name, values(`model.${name}`, current.values.length));
  const slots = [...optimizer.slots].map(
    ([name, slot]) =>
      [
        slot,
        values(
          `optimizer.${name}`,
          slot.shape.reduce((a, b) => a * b, 1),
        ),
      ] as const,
  );
  model.loadState(state);
  for (const [slot, data] of slots) slot.write(data);
  optimizer.resumeAt(optimizerSteps);
  return position;
}
