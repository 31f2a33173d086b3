import { classesOf, crossEntropy } from '../attacks/objective.js';
import type { Dataset } from '../data/dataset.js';
import { type EvaluatedModel, type EvaluationOptions, forEachBatch, fractionOf } from './batches.js';

export interface CleanEvaluation {
  readonly n: number;
  /** Fraction of images classified as labelled. */
  readonly accuracy: number;
  /** Per example 1 (correct) or 0. */
  readonly correct: Uint8Array;
  /** Mean cross-entropy in nats. */
  readonly loss: number;
}

/**
 * Accuracy and loss of a network on a dataset as it is.
 *
 * @throws as `forEachBatch`; ERR_HARDBIT_LABELS for a label outside the network's classes
 */
export async function evaluateClean(
  model: EvaluatedModel,
  data: Dataset,
  options: EvaluationOptions = {},
): Promise<CleanEvaluation> {
  const correct = new Uint8Array(data.size);
  let loss = 0;
  await forEachBatch(model, data, options, ({ images, labels, begin }) => {
    const logits = model.logits(images);
    const wanted = labels.toInt32Array();
    correct.set(
      classesOf(logits).map((value, i) => Number(value === wanted[i])),
      begin,
    );
    for (const value of crossEntropy(logits, labels).losses.toFloat32Array()) loss += value;
  });
  return { n: data.size, accuracy: fractionOf(correct), correct, loss: loss / data.size };
}
