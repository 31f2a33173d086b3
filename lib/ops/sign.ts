import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tape, Variable } from './tape.js';

/**
 * The surrogate gradients of sign, by name:
 * `clipped` dy·1[|x| ≤ 1] (ste-sign, Hubara et al. 2016, eq. 4); `identity` dy; `approx` dy·(2 − 2|x|)·1[|x| ≤ 1]
 * (Bi-Real Net, Liu et al. 2018); `swish` dy·β(2 − βx·tanh(βx/2))/(1 + cosh βx), β = 5 (Darabi et al. 2018, SignSwish);
 * `exact` the true derivative, zero, only to show masking.
 */
export const signGradients = ['clipped', 'identity', 'approx', 'swish', 'exact'] as const;
export type SignGradient = (typeof signGradients)[number];

/** β of the `swish` surrogate. */
const SWISH_BETA = 5;

/**
 * dL/dx of a step at 0 by a surrogate that needs x itself or nothing; `clipped` is a mask, saved in the forward pass.
 */
export function surrogateGradient(dy: Tensor, x: Tensor, gradient: Exclude<SignGradient, 'clipped'>): Tensor {
  switch (gradient) {
    case 'identity':
      return dy;
    case 'approx':
      return new Tensor(native().approxSignBackward(dy.handle, x.handle));
    case 'swish':
      return new Tensor(native().swishSignBackward(dy.handle, x.handle, SWISH_BETA));
    case 'exact':
      return Tensor.zerosLike(dy);
  }
}

/** What `surrogateGradient` reads of x. */
export function surrogateSaves(x: Variable, gradient: SignGradient): readonly Tensor[] {
  return gradient === 'approx' || gradient === 'swish' ? [x.value] : [];
}

/**
 * f32 […, K] → bits […, K] with sign(0) = +1. Saves for the backward pass: `clipped` one mask bit an element,
 * `approx` and `swish` x itself, the others nothing.
 */
export function sign(tape: Tape, x: Variable, gradient: SignGradient): Variable {
  if (gradient === 'clipped' && x.requiresGradient) {
    const { signs, mask } = native().signForward(x.value.handle);
    const saved = new Tensor(mask);
    return tape.record([x], new Tensor(signs), [saved], (dy) => [
      new Tensor(native().maskBackward(dy.handle, saved.handle)),
    ]);
  }
  const signs = packSigns(x.value);
  // Without a gradient to compute, `clipped` comes here too, and nothing is recorded.
  return tape.record([x], signs, surrogateSaves(x, gradient), (dy) => [
    surrogateGradient(dy, x.value, gradient as Exclude<SignGradient, 'clipped'>),
  ]);
}

/** bits as f32 of ±1; the gradient passes unchanged. */
export function signsToFloat(tape: Tape, signs: Variable): Variable {
  return tape.record([signs], unpackSigns(signs.value), [], (dy) => [dy]);
}

/**
 * Signs under another shape, the last dimension included; the gradient is reshaped back. Rows of bits are packed one by one:
 * where that leaves the words as they are, the memory is shared, else the bits are moved.
 */
export function reshapeSigns(tape: Tape, signs: Variable, shape: readonly number[]): Variable {
  const before = signs.value.shape;
  const reshaped = new Tensor(native().reshapeSigns(signs.value.handle, shape));
  return tape.record([signs], reshaped, [], (dy) => [dy.reshape(before)]);
}

/** bits → f32 of ±1; shape unchanged. */
export function unpackSigns(bits: Tensor): Tensor {
  return new Tensor(native().unpackSigns(bits.handle));
}

/** f32 → bits, sign(0) = +1; shape unchanged. */
export function packSigns(x: Tensor): Tensor {
  return new Tensor(native().packSigns(x.handle));
}
