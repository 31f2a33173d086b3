import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import { packSigns, unpackSigns } from './sign.js';
import type { Tape, Variable } from './tape.js';

/**
 * y = x·Wᵀ + b in fp32. x [N, K], weight [M, K], bias [M] or null → [N, M]. Saves x and W.
 *
 * @throws ERR_HARDBIT_SHAPE where the feature counts differ.
 */
export function dense(tape: Tape, x: Variable, weight: Variable, bias: Variable | null): Variable {
  const y = new Tensor(
    native().denseForward(x.value.handle, weight.value.handle, bias === null ? null : bias.value.handle),
  );
  const inputs = bias === null ? [x, weight] : [x, weight, bias];
  return tape.record(inputs, y, (dy) => [
    x.requiresGradient ? new Tensor(native().denseBackwardInput(dy.handle, weight.value.handle)) : null,
    weight.requiresGradient ? new Tensor(native().denseBackwardWeight(dy.handle, x.value.handle)) : null,
    bias?.requiresGradient ? new Tensor(native().sumRows(dy.handle)) : null,
  ]);
}

/**
 * The integer product Σ x·w of a binary layer, exact: i16 where K·(2^b − 1) ≤ 32767, else i32, [N, M].
 *
 * x is bits [N, K] (±1; `inputBits` null) or u8 codes [N, K] of `inputBits` bits. `weight` is bits [M, K], the signs
 * of `latent` (or ±1 weights themselves). The real pre-activation is `scale` times the result, with
 * scale = denseScale(inputBits); gradients are with respect to the real values: dX = dY·W, dW = dYᵀ·X, passed to
 * `latent` unchanged (straight-through; latent weights are clipped to [−1, 1] by the optimizer).
 * Saves the packed operands only.
 */
export function binaryDense(
  tape: Tape,
  x: Variable,
  inputBits: number | null,
  latent: Variable,
  weight: Tensor,
): Variable {
  const core = native();
  const y = new Tensor(
    inputBits === null
      ? core.binaryMatmul(x.value.handle, weight.handle)
      : core.codesMatmul(x.value.handle, inputBits, weight.handle),
  );
  return tape.record([x, latent], y, (dy) => {
    let dx: Tensor | null = null;
    if (x.requiresGradient) {
      const signs = unpackSigns(weight);
      dx = new Tensor(core.denseBackwardInput(dy.handle, signs.handle));
      signs.dispose();
    }
    let dWeight: Tensor | null = null;
    if (latent.requiresGradient) {
      const real =
        inputBits === null ? unpackSigns(x.value) : new Tensor(core.codesToFloat(x.value.handle, inputBits));
      dWeight = new Tensor(core.denseBackwardWeight(dy.handle, real.handle));
      real.dispose();
    }
    return [dx, dWeight];
  });
}

/** What one unit of `binaryDense`'s integer result stands for: fl(1 / (2^inputBits − 1)) for codes, 1 for ±1. */
export function denseScale(inputBits: number | null): number {
  return inputBits === null ? 1 : Math.fround(1 / (2 ** inputBits - 1));
}

/** The integers of `binaryDense` as f32 real values; the gradient passes unchanged. */
export function scaleIntegers(tape: Tape, x: Variable, scale: number): Variable {
  return tape.record([x], new Tensor(native().intToFloat(x.value.handle, scale)), (dy) => [dy]);
}

/** The signs of latent weights as bits, sign(0) = +1. */
export function binarizeWeights(latent: Tensor): Tensor {
  return packSigns(latent);
}
