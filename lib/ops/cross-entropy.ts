import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Softmax cross-entropy of each example, −log softmax(z)_y, by the stable log-softmax (the row's maximum is subtracted
 * first, so that a confident network does not underflow), and its gradient.
 *
 * @param logits f32 [N, C]
 * @param labels i32 [N] in [0, C)
 * @param gradientScale multiplies the gradient: 1 for the loss summed over the batch, 1/N for its mean
 * @returns losses f32 [N] (not scaled) and gradientScale·(softmax(z) − onehot(y)) f32 [N, C]
 * @throws ERR_HARDBIT_LABELS for a label outside [0, C); ERR_HARDBIT_SHAPE or ERR_HARDBIT_DTYPE for other tensors.
 */
export function softmaxCrossEntropy(
  logits: Tensor,
  labels: Tensor,
  gradientScale: number,
): { readonly losses: Tensor; readonly gradient: Tensor } {
  const result = native().softmaxCrossEntropy(logits.handle, labels.handle, gradientScale);
  return { losses: new Tensor(result.losses), gradient: new Tensor(result.gradient) };
}

/** Index of the largest logit of each row, i32 [N]: the first among equals; NaN never wins. logits f32 [N, C]. */
export function argmax(logits: Tensor): Tensor {
  return new Tensor(native().argmax(logits.handle));
}
