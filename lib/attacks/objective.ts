import { argmax, softmaxCrossEntropy } from '../ops/cross-entropy.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * The attacker's objective: cross-entropy on logits f32 [N, classes] with labels i32 [N]. Losses f32 [N] per example, and
 * the gradient of their sum, so that one example's gradient does not depend on the others in the batch.
 *
 * @throws ERR_HARDBIT_LABELS for a label outside [0, classes).
 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
): { readonly losses: Tensor; readonly gradient: Tensor } {
  return softmaxCrossEntropy(logits, labels, 1);
}

/** The class of each row of logits, as numbers: the first of the largest. */
export function classesOf(logits: Tensor): Int32Array {
  const classes = argmax(logits);
  const values = classes.toInt32Array();
  classes.dispose();
  return values;
}
