import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import { type SignGradient, surrogateGradient, surrogateSaves } from './sign.js';
import type { Tape, Variable } from './tape.js';

/**
 * Heaviside step: f32 → u8 codes of one bit, 1[x > 0]; any shape. The surrogates are those of sign, without sign's factor 2, as
 * in Larq: `clipped` dy·1[|x| ≤ 1], and so on. Saves what `sign` saves.
 */
export function heaviside(tape: Tape, x: Variable, gradient: SignGradient): Variable {
  const codes = new Tensor(native().heaviside(x.value.handle));
  if (gradient !== 'clipped') {
    return tape.record([x], codes, surrogateSaves(x, gradient), (dy) => [
      surrogateGradient(dy, x.value, gradient),
    ]);
  }
  if (!x.requiresGradient) return tape.record([x], codes, [], () => [null]);
  const { signs, mask } = native().signForward(x.value.handle);
  signs.dispose();
  const saved = new Tensor(mask);
  return tape.record([x], codes, [saved], (dy) => [
    new Tensor(native().maskBackward(dy.handle, saved.handle)),
  ]);
}

/** The surrogates of a quantizer of several levels: `clipped` is dy·1[0 ≤ x ≤ 1]. */
export type UnitGradient = Extract<SignGradient, 'clipped' | 'identity' | 'exact'>;

/**
 * DoReFa's k-bit activations (Zhou et al. 2016, eq. 5 and 11): f32 → u8 codes floor(fl(fl(clip(x, 0, 1)·(2^k − 1)) + ½)); a
 * code c stands for c/(2^k − 1), a NaN gives 0. Any shape. Saves x where the gradient is `clipped`.
 *
 * @param bits 1 … 8
 */
export function quantizeUnit(tape: Tape, x: Variable, bits: number, gradient: UnitGradient): Variable {
  const codes = new Tensor(native().quantizeUnit(x.value.handle, bits));
  return tape.record([x], codes, gradient === 'clipped' ? [x.value] : [], (dy) => {
    switch (gradient) {
      case 'identity':
        return [dy];
      case 'clipped':
        return [new Tensor(native().unitBackward(dy.handle, x.value.handle))];
      case 'exact':
        return [Tensor.zerosLike(dy)];
    }
  });
}
