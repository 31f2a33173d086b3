import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tape, Variable } from './tape.js';

/**
 * y = max(x, 0) on f32 of any shape; dx = dy·1[y > 0]. Saves y.
 */
export function relu(tape: Tape, x: Variable): Variable {
  const y = new Tensor(native().relu(x.value.handle));
  return tape.record([x], y, [y], (dy) => [new Tensor(native().reluBackward(dy.handle, y.handle))]);
}

/** y = clamp(x, −1, 1) on f32 of any shape; dx = dy·1[−1 < x < 1], as PyTorch's Hardtanh. Saves x. */
export function hardtanh(tape: Tape, x: Variable): Variable {
  const y = new Tensor(native().hardtanh(x.value.handle));
  return tape.record([x], y, [x.value], (dy) => [
    new Tensor(native().hardtanhBackward(dy.handle, x.value.handle)),
  ]);
}

/**
 * a + b, f32 of one shape; the gradient passes to both.
 *
 * @throws ERR_HARDBIT_SHAPE where the shapes differ.
 */
export function add(tape: Tape, a: Variable, b: Variable): Variable {
  return tape.record([a, b], new Tensor(native().add(a.value.handle, b.value.handle)), [], (dy) => [dy, dy]);
}

/** The same numbers under another shape; the gradient is reshaped back. */
export function reshape(tape: Tape, x: Variable, shape: readonly number[]): Variable {
  const before = x.value.shape;
  return tape.record([x], x.value.reshape(shape), [], (dy) => [dy.reshape(before)]);
}
