import { type Dataset, toFloatImages } from '../data/dataset.js';
import type { AttackEvaluation } from '../evaluation/attack.js';
import type { Model } from '../models/registry.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { AttackRecord, Example } from './results.js';

/** Images are predicted in the same batches as when they were measured, so that the predictions are the same. */
const BATCH = 500;

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/**
 * The image to show: classified as labelled when clean and not when attacked, of the wanted class if there is one; else
 * any such image; else one that withstands. Always the first in the test set.
 */
export function chooseExample(
  labels: Int32Array,
  clean: Uint8Array,
  adversarial: Uint8Array,
  wantedClass: number,
): number {
  const first = (suits: (i: number) => boolean): number => labels.findIndex((_, i) => suits(i));
  const fooled = (i: number) => clean[i] === 1 && adversarial[i] === 0;
  const found = [
    first((i) => fooled(i) && labels[i] === wantedClass),
    first(fooled),
    first((i) => clean[i] === 1 && labels[i] === wantedClass),
    first((i) => clean[i] === 1),
  ].find((index) => index >= 0);
  return found ?? 0;
}

/** One row of example images from the images an attack made. */
export function takeExample(
  model: Model,
  network: string,
  data: Dataset,
  adversarial: Tensor,
  evaluation: Pick<AttackEvaluation, 'cleanCorrect' | 'adversarialCorrect' | 'gradientMode'>,
  attack: AttackRecord,
  wantedClass: number,
): Example {
  return scope(() => {
    const labels = data.labels.toInt32Array();
    const index = chooseExample(labels, evaluation.cleanCorrect, evaluation.adversarialCorrect, wantedClass);
    const begin = index - (index % BATCH);
    const end = Math.min(data.size, begin + BATCH);
    const cleanBatch = toFloatImages(data.images.slice(begin, end).to(model.device));
    const adversarialBatch = adversarial.slice(begin, end).to(model.device);
    const row = index - begin;
    const clean = cleanBatch.slice(row, row + 1);
    const attacked = adversarialBatch.slice(row, row + 1);
    const bytes = (image: Tensor) => Uint8Array.from(image.toFloat32Array(), (x) => Math.round(255 * x));
    const prediction = (batch: Tensor) => model.predict(batch).toInt32Array()[row] as number;
    return {
      network,
      attack,
      gradientMode: evaluation.gradientMode,
      index,
      label: labels[index] as number,
      cleanPrediction: prediction(cleanBatch),
      adversarialPrediction: prediction(adversarialBatch),
      inputBits: model.inputBits,
      clean: base64(bytes(clean)),
      cleanCodes: base64(model.codes(clean)),
      adversarial: base64(bytes(attacked)),
      adversarialCodes: base64(model.codes(attacked)),
    };
  });
}
