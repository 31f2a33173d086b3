import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';

// The L∞ ball around an image x₀ is defined once, in the native core, in fp32:
// lo = max(0, fl(x₀ − ε)), hi = min(1, fl(x₀ + ε)). The L2 ball is ‖x − x₀‖₂ ≤ ε with x in [0, 1], up to the rounding of
// double: where pixels rounded to fp32 would leave it, they are rounded towards x₀. Images are f32 [N, …]; ε and step sizes are in units of pixels in [0, 1].

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

/**
 * One gradient step in L2: each row moves by stepSize·g/‖g‖₂ (a row of zero gradient stays), then onto the L2 ball of
 * `origin`, then into [0, 1]. All three tensors have one shape. A negative `stepSize` descends.
 */
export function attackStepL2(
  x: Tensor,
  gradient: Tensor,
  origin: Tensor,
  stepSize: number,
  epsilon: number,
): Tensor {
  return new Tensor(native().attackStepL2(x.handle, gradient.handle, origin.handle, stepSize, epsilon));
}

/** Each row uniform in the L2 ball of radius ε around `origin`, then clipped to [0, 1]. */
export function uniformStartL2(origin: Tensor, epsilon: number, source: DrawSource): Tensor {
  const { seed, stream, firstRow } = source;
  return new Tensor(native().attackUniformStartL2(origin.handle, epsilon, seed, stream, firstRow));
}

/** ‖a − b‖₂ of each row, f32 [N]. */
export function rowDistances(a: Tensor, b: Tensor): Tensor {
  return new Tensor(native().rowDistances(a.handle, b.handle));
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

/** A copy of the given rows, in the order of `rows`: integers in [0, N), repeated at will. */
export function gatherRows(x: Tensor, rows: readonly number[]): Tensor {
  const indices = Tensor.from('i32', [rows.length], Int32Array.from(rows));
  const gathered = new Tensor(native().gather(x.handle, indices.handle));
  indices.dispose();
  return gathered;
}

/** Number of elements of an f32 tensor that are NaN or outside [0, 1]. */
export function countInvalidPixels(images: Tensor): number {
  return native().countInvalidPixels(images.handle);
}
