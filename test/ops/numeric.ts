import { expect } from 'chai';
import { Tape, type Variable } from '../../lib/ops/tape.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';

/** Central differences of Σ dy·f(x) in float64. */
export function finiteDifferences(
  f: (x: Float64Array) => Float64Array,
  x: Float32Array,
  dy: Float32Array,
  h = 1e-5,
): Float64Array {
  const at = Float64Array.from(x);
  const value = (): number => f(at).reduce((sum, y, i) => sum + y * (dy[i] as number), 0);
  return Float64Array.from(x, (x0, i) => {
    at[i] = x0 + h;
    const above = value();
    at[i] = x0 - h;
    const below = value();
    at[i] = x0;
    return (above - below) / (2 * h);
  });
}

/** Deterministic numbers in (−1, 1), away from the kinks of relu and sign. */
export function numbers(count: number, seed: number): Float32Array {
  let state = seed * 2654435761 + 12345;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const u = (state / 2 ** 32) * 2 - 1;
    return Math.abs(u) < 0.01 ? 0.5 : u;
  });
}

export function f32(shape: readonly number[], data: Float32Array): Tensor {
  return Tensor.from('f32', shape, data);
}

export function near(
  actual: Float32Array,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
): void {
  expect(actual.length, what).to.equal(expected.length);
  let scale = 1e-3;
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i] as number));
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs((actual[i] as number) - (expected[i] as number)) / scale;
    expect(error, `${what}[${i}]: ${actual[i]} against ${expected[i]}`).to.be.at.most(tolerance);
  }
}

/** Gradients of Σ dy·op(inputs) by the tape. */
export function gradientsOf(
  inputs: readonly Variable[],
  op: (tape: Tape) => Variable,
  dy: Float32Array,
): Float32Array[] {
  return scope(() => {
    const tape = new Tape();
    const output = op(tape);
    return tape
      .backward(output, f32(output.value.shape, dy), inputs)
      .map((gradient) => gradient.toFloat32Array());
  });
}
