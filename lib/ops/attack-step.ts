import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';

// The L∞ ball around an image x₀ is defined once, in the native core, in fp32:
// lo = max(0, fl(x₀ − ε)), hi = min(1, fl(x₀ + ε)). Images are f32 [N, …]; ε and step sizes are in units of pixels in [0, 1].

/**
 * One sign-gradient step, projected to the ball of `origin`: clamp(fl(x + fl(stepSize·sign(gradient))), lo, hi), with
 * sign(0) = 0. All three tensors have one shape. A negative `stepSize` descends.
 */
export function attackStep(
  x: Tensor,
  gradient: Tensor,
  origin: Tensor,
  stepSize: number,
  epsilon: number,
): Tensor {
  return new Tensor(native().attackStep(x.handle, gradient.handle, origin.handle, stepSize, epsilon));
}

/** Where a random draw comes from: row i of a batch uses (seed, stream, firstRow + i), so batching changes nothing. */
export interface DrawSource {
  /** Integer in [0, 2^53). */
  readonly seed: number;
  /** Integer in [0, 2^32). */
  readonly stream: number;
  /** Number of the batch's row 0 in the dataset. */
  readonly firstRow: number;
}

/** clamp(x₀ + U[−radius, radius), lo, hi), each pixel drawn on its own. */
export function uniformStart(origin: Tensor, radius: number, epsilon: number, source: DrawSource): Tensor {
  const { seed, stream, firstRow } = source;
  return new Tensor(native().attackUniformStart(origin.handle, radius, epsilon, seed, stream, firstRow));
}

/** clamp(x₀ + alpha·sign(N(0, I)), lo, hi): a fair coin a pixel. */
export function signStart(origin: Tensor, alpha: number, epsilon: number, source: DrawSource): Tensor {
  const { seed, stream, firstRow } = source;
  return new Tensor(native().attackSignStart(origin.handle, alpha, epsilon, seed, stream, firstRow));
}

/** Number of pixels whose code can change within the ball: Q(lo) ≠ Q(hi) for the discretizer Q of `bits` bits, 1 … 8. */
export function countFlippable(images: Tensor, epsilon: number, bits: number): number {
  return native().countFlippable(images.handle, epsilon, bits);
}

/** Per row of an f32 [N, …]: 1 where every element is exactly 0, u8 [N]. */
export function zeroRows(gradient: Tensor): Tensor {
  return new Tensor(native().zeroRows(gradient.handle));
}

/**
 * How far `a` is from `origin`, over all elements and in double precision: Σ|a − origin|, max |a − origin|, and the
 * number of elements of `a` outside the ball of `origin`.
 */
export function perturbation(
  a: Tensor,
  origin: Tensor,
  epsilon: number,
): { readonly sum: number; readonly max: number; readonly outside: number } {
  return native().perturbation(a.handle, origin.handle, epsilon);
}

/** Row i of `a` where mask[i] ≠ 0, else of `b`; mask u8 [N], a and b of one shape. */
export function selectRows(mask: Tensor, a: Tensor, b: Tensor): Tensor {
  return new Tensor(native().selectRows(mask.handle, a.handle, b.handle));
}

/** Number of elements of an f32 tensor that are NaN or outside [0, 1]. */
export function countInvalidPixels(images: Tensor): number {
  return native().countInvalidPixels(images.handle);
}
