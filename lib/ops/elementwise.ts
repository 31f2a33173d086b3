import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tape, Variable } from './tape.js';

/**
 * y = max(x, 0) on f32 of any shape; dx = dy·1[y > 0]. Saves y.
 */
export function relu(tape: Tape, x: Variable): Variable {
  const y = new Tensor(native().relu(x.value.handle));
  return tape.record([x], y, (dy) => [new Tensor(native().reluBackward(dy.handle, y.handle))]);
}

/** The same numbers under another shape; the gradient is reshaped back. */
export function reshape(tape: Tape, x: Variable, shape: readonly number[]): Variable {
  const before = x.value.shape;
  return tape.record([x], x.value.reshape(shape), (dy) => [dy.reshape(before)]);
}
