import { HardbitError } from '../errors.js';
import { native } from '../native.js';
import { scope } from './scope.js';
import { Tensor } from './tensor.js';

/**
 * The rows of all `parts` in order, in new memory: [N₁, …], [N₂, …], … → [N₁ + N₂ + …, …], dtype and trailing shape
 * as in the parts. Joins neighbours in pairs, so that each row is copied log₂(parts) times and not `parts` times.
 *
 * @throws ERR_HARDBIT_SHAPE without parts or where trailing shapes differ; ERR_HARDBIT_DTYPE where dtypes differ.
 */
export function concatRows(parts: readonly Tensor[]): Tensor {
  const [first, second] = parts;
  if (first === undefined) {
    throw new HardbitError('ERR_HARDBIT_SHAPE', 'concatRows() was given no tensors; expected at least one.');
  }
  if (second === undefined) return first.clone();
  return scope(() => {
    if (parts.length === 2) return new Tensor(native().concat(first.handle, second.handle));
    const half = Math.ceil(parts.length / 2);
    const left = concatRows(parts.slice(0, half));
    const right = concatRows(parts.slice(half));
    return new Tensor(native().concat(left.handle, right.handle));
  });
}
