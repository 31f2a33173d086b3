import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tape, Variable } from './tape.js';

/**
 * The surrogate gradients of sign, by name:
 * `clipped` dy·1[|x| ≤ 1] (ste-sign, Hubara et al. 2016, eq. 4); `identity` dy; `approx` dy·(2 − 2|x|)·1[|x| ≤ 1]
 * (Bi-Real Net, Liu et al. 2018); `exact` the true derivative, zero, only to show masking.
 */
export const signGradients = ['clipped', 'identity', 'approx', 'exact'] as const;
export type SignGradient = (typeof signGradients)[number];

/**
 * f32 [N, K] → bits [N, K] with sign(0) = +1. Saves for the backward pass: `clipped` one mask bit an element,
 * `approx` x itself, the others nothing.
 */
export function sign(tape: Tape, x: Variable, gradient: SignGradient): Variable {
  if (gradient === 'clipped' && x.requiresGradient) {
    const { signs, mask } = native().signForward(x.value.handle);
    const saved = new Tensor(mask);
    return tape.record([x], new Tensor(signs), (dy) => [
      new Tensor(native().maskBackward(dy.handle, saved.handle)),
    ]);
  }
  const signs = new Tensor(native().packSigns(x.value.handle));
  return tape.record([x], signs, (dy) => {
    if (gradient === 'identity') return [dy];
    if (gradient === 'approx') return [new Tensor(native().approxSignBackward(dy.handle, x.value.handle))];
    return [Tensor.from('f32', x.value.shape)];
  });
}

/** bits → f32 of ±1; shape unchanged. */
export function unpackSigns(bits: Tensor): Tensor {
  return new Tensor(native().unpackSigns(bits.handle));
}

/** f32 → bits, sign(0) = +1; shape unchanged. */
export function packSigns(x: Tensor): Tensor {
  return new Tensor(native().packSigns(x.handle));
}
