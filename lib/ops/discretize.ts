import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tape, Variable } from './tape.js';

/**
 * How an attacker differentiates the input discretizer: `identity` passes the gradient through (BPDA), `exact` is the
 * true derivative, zero almost everywhere, and exists only to show masking.
 */
export const discretizerGradients = ['identity', 'exact'] as const;
export type DiscretizerGradient = (typeof discretizerGradients)[number];

/**
 * Input discretizer (Panda et al. 2019, §III): u8 codes floor(fl(fl(x·(2^b − 1)) + ½)) in fp32 for x in [0, 1]; a code c
 * stands for c/(2^b − 1). Any shape. The gradient is with respect to that value.
 *
 * @param bits 1 … 8
 */
export function discretize(tape: Tape, x: Variable, bits: number, gradient: DiscretizerGradient): Variable {
  const codes = new Tensor(native().discretize(x.value.handle, bits));
  return tape.record([x], codes, [], (dy) => [gradient === 'identity' ? dy : Tensor.zerosLike(dy)]);
}

/** u8 codes as f32 fl(code / (2^bits − 1)); the gradient passes unchanged. */
export function codesToFloat(tape: Tape, codes: Variable, bits: number): Variable {
  return tape.record([codes], new Tensor(native().codesToFloat(codes.value.handle, bits)), [], (dy) => [dy]);
}
