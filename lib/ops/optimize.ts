import { type AdamParameters, type BopParameters, native, type SgdParameters } from '../native.js';
import type { Tensor } from '../tensor/tensor.js';

export type { AdamParameters, BopParameters, SgdParameters } from '../native.js';

/**
 * One Adam step in place (Kingma & Ba 2015, with decoupled weight decay, Loshchilov & Hutter 2019); value, gradient and
 * both moments are f32 of one shape. `clip` > 0 clips the result to [−clip, clip] in the same pass.
 */
export function adamStep(
  value: Tensor,
  gradient: Tensor,
  m: Tensor,
  v: Tensor,
  parameters: AdamParameters,
): void {
  native().adamStep(value.handle, gradient.handle, m.handle, v.handle, parameters);
}

/** One step of SGD in place, with (Nesterov) momentum where `velocity` is given; f32 tensors of one shape. */
export function sgdStep(
  value: Tensor,
  gradient: Tensor,
  velocity: Tensor | null,
  parameters: SgdParameters,
): void {
  native().sgdStep(value.handle, gradient.handle, velocity === null ? null : velocity.handle, parameters);
}

/**
 * One step of Bop in place (Helwegen et al. 2019, algorithm 1) on weights of ±1: m ← (1 − γ)m + γg, then w ← −w where
 * w·m > τ; f32 tensors of one shape.
 */
export function bopStep(weights: Tensor, gradient: Tensor, m: Tensor, parameters: BopParameters): void {
  native().bopStep(weights.handle, gradient.handle, m.handle, parameters);
}

/** average ← decay·average + (1 − decay)·value in place; f32 tensors of one shape. */
export function averageStep(average: Tensor, value: Tensor, decay: number): void {
  native().averageStep(average.handle, value.handle, decay);
}

/** Places where two bits tensors of one shape differ. */
export function countDifferentSigns(a: Tensor, b: Tensor): number {
  return native().countDifferentSigns(a.handle, b.handle);
}
