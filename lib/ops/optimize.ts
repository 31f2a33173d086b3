import { type AdamParameters, native, type SgdParameters } from '../native.js';
import type { Tensor } from '../tensor/tensor.js';

export type { AdamParameters, SgdParameters } from '../native.js';

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
