import { HardbitError } from '../errors.js';
import { countFlippable, countInvalidPixels, perturbation, rowDistances } from '../ops/attack-step.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Norm } from './options.js';

/**
 * Checks a batch of images before it is attacked: f32 [N, H, W, C], N ≥ 1, every pixel in [0, 1].
 *
 * @param pixelsKnown the pixels were looked at before
 * @throws ERR_HARDBIT_DTYPE, ERR_HARDBIT_SHAPE, ERR_HARDBIT_PIXELS
 */
export function requireImages(images: Tensor, inputShape: readonly number[], pixelsKnown = false): void {
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
  const invalid = pixelsKnown ? 0 : countInvalidPixels(images);
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

export interface Perturbation {
  /** Σ|x′ − x| over all pixels of all images. */
  readonly sum: number;
  /** Largest |x′ − x| of a pixel. */
  readonly max: number;
  /** ‖x′ − x‖₂ of each image, f32. */
  readonly distances: Float32Array;
  /** What lies outside the ball: in L∞ pixels, in L2 pixels outside [0, 1] and images too far away. */
  readonly outside: number;
}

/**
 * How much farther than ε an image may be in L2: 2⁻²³·ε. Steps and starts stay within ε up to the rounding of double, and
 * the distance is rounded to fp32 (by at most 2⁻²⁴ of it).
 */
export function l2Tolerance(epsilon: number): number {
  return 2 ** -23 * epsilon;
}

/**
 * How far attacked images are from the clean ones (both f32 [N, …] of one shape), in units of pixels in [0, 1], and what is
 * outside the ball: in L∞ max(0, fl(x − ε)) … min(1, fl(x + ε)) a pixel, exactly; in L2 [0, 1] a pixel, exactly, and
 * ‖x′ − x‖₂ ≤ ε + `l2Tolerance` an image. A NaN is outside.
 */
export function measurePerturbation(
  adversarial: Tensor,
  images: Tensor,
  epsilon: number,
  norm: Norm = 'linf',
): Perturbation {
  const distances = scope(() => rowDistances(adversarial, images).toFloat32Array());
  if (norm === 'linf') return { ...perturbation(adversarial, images, epsilon), distances };
  const { sum, max, outside } = perturbation(adversarial, images, 1);
  const limit = epsilon + l2Tolerance(epsilon);
  const far = distances.filter((distance) => !(distance <= limit)).length;
  return { sum, max, distances, outside: outside + far };
}

/** Number of pixels whose code of `inputBits` bits can change inside the ball; images f32 in [0, 1]. */
export function flippablePixels(images: Tensor, epsilon: number, inputBits: number): number {
  return countFlippable(images, epsilon, inputBits);
}
