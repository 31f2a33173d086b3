import { setImmediate as nextTurn } from 'node:timers/promises';
import { requireImages, requireLabels } from '../attacks/ball.js';
import { requireInteger } from '../attacks/options.js';
import { type Dataset, toFloatImages } from '../data/dataset.js';
import { HardbitError, throwIfAborted } from '../errors.js';
import type { Model } from '../models/registry.js';
import { keep, scope } from '../tensor/scope.js';
import type { Device, Tensor } from '../tensor/tensor.js';

/** What an evaluation asks of a network; it computes on the cpu unless it says where. */
export type EvaluatedModel = Pick<
  Model,
  'inputShape' | 'classes' | 'inputBits' | 'activationGradients' | 'logits' | 'predict' | 'attackable'
> &
  Placed;

/** What computes on a device: the cpu unless it says where. */
interface Placed {
  readonly device?: Device;
}

/** Where a network computes. */
export function deviceOf({ device = 'cpu' }: Placed): Device {
  return device;
}

export interface EvaluationOptions {
  /** Images at a time, 500 by default; it changes no random draw but the rounding of int8 gradients. */
  readonly batchSize?: number | undefined;
  /** Looked at between batches and between attack steps. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each batch, and now and then during a long one. */
  readonly onProgress?: ((progress: EvaluationProgress) => void) | undefined;
}

export interface EvaluationProgress {
  /** Images finished. */
  readonly done: number;
  readonly total: number;
  /** Of the whole work, in [0, 1]: it also counts the steps of an attack on images that are not finished. */
  readonly fraction: number;
}

/** Tensors of a batch are on the device of the network. */
export interface EvaluationBatch {
  /** f32 [B, H, W, C] */
  readonly images: Tensor;
  /** i32 [B] */
  readonly labels: Tensor;
  /** Rows [begin, end) of the dataset. */
  readonly begin: number;
  readonly end: number;
}

/**
 * Calls `body` with each batch of the dataset in order, each in a scope of its own, and gives way to the event loop after
 * each one.
 *
 * @throws as `forEachBatchAsync`
 */
export function forEachBatch(
  model: Pick<EvaluatedModel, 'inputShape' | 'device'>,
  data: Dataset,
  options: EvaluationOptions,
  body: (batch: EvaluationBatch) => void,
): Promise<void> {
  return forEachBatchAsync(model, data, options, async (batch) => scope(() => body(batch)));
}

/**
 * Calls `body` with each batch of the dataset in order, and gives way to the event loop after each one. The batch is freed
 * when the promise of `body` settles; what `body` makes is its own.
 *
 * @param body reports the fraction of its batch that is done by its second argument, where it takes long
 * @throws ERR_HARDBIT_ARGUMENT for an empty dataset or a bad batch size; ERR_HARDBIT_SHAPE, ERR_HARDBIT_PIXELS,
 * ERR_HARDBIT_LABELS for data that do not suit the model; ERR_HARDBIT_ABORTED
 */
export async function forEachBatchAsync(
  model: Pick<EvaluatedModel, 'inputShape' | 'device'>,
  data: Dataset,
  options: EvaluationOptions,
  body: (batch: EvaluationBatch, onFraction: (ofBatch: number) => void) => Promise<void>,
): Promise<void> {
  const { signal, onProgress } = options;
  const total = data.size;
  if (total < 1) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      'There are no images to evaluate on; expected at least one.',
    );
  }
  const batchSize = requireInteger('batchSize', options.batchSize ?? 500, 1, 2 ** 31 - 1);
  requireLabels(data.labels, total);
  const device = deviceOf(model);
  for (let begin = 0; begin < total; begin += batchSize) {
    throwIfAborted(signal);
    const end = Math.min(total, begin + batchSize);
    const images = keep(scope(() => toFloatImages(data.images.slice(begin, end).to(device))));
    const labels = keep(scope(() => data.labels.slice(begin, end).to(device)));
    try {
      requireImages(images, model.inputShape);
      await body({ images, labels, begin, end }, (ofBatch) =>
        onProgress?.({ done: begin, total, fraction: (begin + (end - begin) * ofBatch) / total }),
      );
    } finally {
      images.dispose();
      labels.dispose();
    }
    onProgress?.({ done: end, total, fraction: end / total });
    await nextTurn();
  }
}

/** Per example 1 where the two classes agree, else 0. */
export function agreement(predicted: Tensor, labels: Tensor): Uint8Array {
  const wanted = labels.toInt32Array();
  return Uint8Array.from(predicted.toInt32Array(), (value, i) => Number(value === wanted[i]));
}

/** The fraction of ones. */
export function fractionOf(flags: Uint8Array): number {
  return flags.reduce((sum, flag) => sum + flag, 0) / flags.length;
}
