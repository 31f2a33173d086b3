import { setImmediate } from 'node:timers/promises';
import { type Dataset, toFloatImages } from '../data/dataset.js';
import { HardbitError, throwIfAborted } from '../errors.js';
import type { Model } from '../nn/model.js';
import { scope } from '../tensor/scope.js';
import { largest } from './step.js';

/** Images at a time. */
const BATCH = 1000;

export interface Validation {
  /** Mean cross-entropy in nats, in evaluation mode, computed in double from f32 logits. */
  readonly loss: number;
  /** Fraction of images classified as labelled. */
  readonly accuracy: number;
}

/**
 * Loss and accuracy of `model` on all of `data`, in evaluation mode; gives way to the event loop between batches.
 *
 * @throws ERR_HARDBIT_ABORTED; ERR_HARDBIT_ARGUMENT where the loss is no number
 */
export async function validate(
  model: Model,
  data: Dataset,
  signal: AbortSignal | undefined,
): Promise<Validation> {
  let correct = 0;
  let lossSum = 0;
  for (let begin = 0; begin < data.size; begin += BATCH) {
    throwIfAborted(signal);
    const end = Math.min(data.size, begin + BATCH);
    const { logits, labels } = scope(() => ({
      logits: model.logits(toFloatImages(data.images.slice(begin, end).to(model.device))).toFloat32Array(),
      labels: data.labels.slice(begin, end).toInt32Array(),
    }));
    labels.forEach((label, i) => {
      const row = i * model.classes;
      const best = largest(logits, row, row + model.classes);
      if (best === label) correct += 1;
      const top = logits[row + best] as number;
      let sum = 0;
      for (let c = 0; c < model.classes; c++) sum += Math.exp((logits[row + c] as number) - top);
      lossSum += Math.log(sum) + top - (logits[row + label] as number);
    });
    await setImmediate();
  }
  if (!Number.isFinite(lossSum)) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The loss on the validation set '${data.name}' became ${lossSum}; try a smaller learning rate.`,
    );
  }
  return { loss: lossSum / data.size, accuracy: correct / data.size };
}
