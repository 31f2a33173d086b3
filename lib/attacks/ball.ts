import { HardbitError } from '../errors.js';
import { countFlippable, countInvalidPixels, perturbation } from '../ops/attack-step.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * Checks a batch of images before it is attacked: f32 [N, H, W, C], N ≥ 1, every pixel in [0, 1].
 *
 * @throws ERR_HARDBIT_DTYPE, ERR_HARDBIT_SHAPE, ERR_HARDBIT_PIXELS
 */
export function requireImages(images: Tensor, inputShape: readonly number[]): void {
  if (images.dtype !== 'f32') {
    throw new HardbitError(
      'ERR_HARDBIT_DTYPE',
      `The images are ${images.dtype}; expected f32 in [0, 1] (toFloatImages() converts u8).`,
    );
  }
  const [rows, ...shape] = images.shape;
  const fits = shape.length === inputShape.length && shape.every((size, i) => size === inputShape[i]);
  if (!fits || rows === undefined || rows < 1) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `The images have shape [${images.shape.join(', ')}]; expected [N, ${inputShape.join(', ')}] with N ≥ 1.`,
    );
  }
  const invalid = countInvalidPixels(images);
  if (invalid > 0) {
    throw new HardbitError(
      'ERR_HARDBIT_PIXELS',
      `${invalid} pixels are NaN or outside [0, 1]; expected pixels in [0, 1]: divide 0 … 255 by 255.`,
    );
  }
}

/**
 * Checks the labels (or targets) of a batch: i32 [N]. Their range is checked where the loss is computed.
 *
 * @throws ERR_HARDBIT_LABELS
 */
export function requireLabels(labels: Tensor, rows: number): void {
  if (labels.dtype !== 'i32' || labels.shape.length !== 1 || labels.rows !== rows) {
    throw new HardbitError(
      'ERR_HARDBIT_LABELS',
      `The labels are ${labels.dtype} [${labels.shape.join(', ')}]; expected i32 [${rows}], one for each image.`,
    );
  }
}

/**
 * How far attacked images are from the clean ones (both f32 of one shape): Σ|x′ − x| and max |x′ − x| in units of
 * pixels in [0, 1], and the number of pixels outside the ball max(0, fl(x − ε)) … min(1, fl(x + ε)).
 */
export function measurePerturbation(
  adversarial: Tensor,
  images: Tensor,
  epsilon: number,
): { readonly sum: number; readonly max: number; readonly outside: number } {
  return perturbation(adversarial, images, epsilon);
}

/** Number of pixels whose code of `inputBits` bits can change inside the ball; images f32 in [0, 1]. */
export function flippablePixels(images: Tensor, epsilon: number, inputBits: number): number {
  return countFlippable(images, epsilon, inputBits);
}
