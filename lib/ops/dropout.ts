import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tape, Variable } from './tape.js';

/** Where dropout's random numbers come from: the same three give the same mask. */
export interface DropoutDraw {
  /** Integer in [0, 2^53). */
  readonly seed: number;
  /** Integer in [0, 2^32); one layer, one stream. */
  readonly stream: number;
  /** Training steps made before. */
  readonly step: number;
}

/**
 * Inverted dropout (Srivastava et al. 2014): each element is kept with probability 1 − rate and then scaled by
 * 1/(1 − rate), else 0; f32 of any shape. The gradient goes through the same mask. Saves one bit an element.
 *
 * @param rate in [0, 1)
 */
export function dropout(tape: Tape, x: Variable, rate: number, draw: DropoutDraw): Variable {
  const result = native().dropout(x.value.handle, rate, draw.seed, draw.stream, draw.step);
  const mask = new Tensor(result.mask);
  return tape.record([x], new Tensor(result.y), [mask], (dy) => [
    new Tensor(native().dropoutBackward(dy.handle, mask.handle, rate)),
  ]);
}
