import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Uniform f32 in [low, high) from Philox4x32-10 (Salmon et al. 2011): element i depends on (seed, stream, i) alone, never
 * on the number of threads.
 *
 * @param seed integer in [0, 2^53)
 * @param stream integer in [0, 2^32); one purpose, one stream
 */
export function randomUniform(
  shape: readonly number[],
  low: number,
  high: number,
  seed: number,
  stream: number,
): Tensor {
  return new Tensor(native().randomUniform(shape, low, high, seed, stream));
}
