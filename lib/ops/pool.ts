import { native, type Pool2dGeometry } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tape, Variable } from './tape.js';

export type { Pool2dGeometry } from '../native.js';

/** Rows and columns of x [N, H, W, C]. */
function sizeOf(x: Tensor): readonly [number, number] {
  return [x.shape[1] ?? 0, x.shape[2] ?? 0];
}

/**
 * Largest of each window: [N, H, W, C] → [N, OH, OW, C], x f32, i16, i32 or bits (then the OR of the window), y of the same
 * dtype. The gradient goes to the first place of the window that holds the largest. Saves that place, one byte an
 * output.
 *
 * @throws ERR_HARDBIT_SHAPE, ERR_HARDBIT_ARGUMENT for a window that does not fit.
 */
export function maxPool2d(tape: Tape, x: Variable, geometry: Pool2dGeometry): Variable {
  const result = native().maxPool2d(x.value.handle, geometry, x.requiresGradient);
  const index = result.index === null ? null : new Tensor(result.index);
  const size = sizeOf(x.value);
  return tape.record([x], new Tensor(result.y), index === null ? [] : [index], (dy) => [
    index === null ? null : new Tensor(native().maxPool2dBackward(dy.handle, index.handle, size, geometry)),
  ]);
}

/**
 * Mean of each window over all its places, padding counting as zeros: f32 [N, H, W, C] → [N, OH, OW, C]. Saves nothing.
 *
 * @throws ERR_HARDBIT_SHAPE, ERR_HARDBIT_ARGUMENT for a window that does not fit.
 */
export function averagePool2d(tape: Tape, x: Variable, geometry: Pool2dGeometry): Variable {
  const size = sizeOf(x.value);
  return tape.record([x], new Tensor(native().avgPool2d(x.value.handle, geometry)), [], (dy) => [
    new Tensor(native().avgPool2dBackward(dy.handle, size, geometry)),
  ]);
}
