import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import { inputValues } from './discretize.js';
import { combinePlanes, type QuantizedOperand, weightValues } from './quantized-weights.js';
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
 * The integer product Σ x·w of quantized weights, exact, [N, M]: i16 or i32.
 *
 * x is bits [N, K] (±1; `inputBits` null) or u8 codes [N, K] of `inputBits` bits; w is the whole number Σ_p c_p·s_p. The real
 * pre-activation is `productScale` times the result; gradients are with respect to the real values: dX = dY·W,
 * dW = dYᵀ·X, passed on by the operand's quantizer. Saves the packed operands only.
 */
export function binaryDense(
  tape: Tape,
  x: Variable,
  inputBits: number | null,
  operand: QuantizedOperand,
): Variable {
  const core = native();
  const { weights, latent } = operand;
  const { planes, coefficients } = weights;
  const sums = new Tensor(
    inputBits === null
      ? core.binaryMatmul(x.value.handle, planes.handle)
      : core.codesMatmul(x.value.handle, inputBits, planes.handle),
  );
  return tape.record([x, latent], combinePlanes(sums, coefficients), (dy) => {
    let dx: Tensor | null = null;
    if (x.requiresGradient) {
      const values = weightValues(weights);
      dx = new Tensor(core.denseBackwardInput(dy.handle, values.handle));
      values.dispose();
    }
    let dLatent: Tensor | null = null;
    if (latent.requiresGradient) {
      const real = inputValues(x.value, inputBits);
      dLatent = operand.gradient(new Tensor(core.denseBackwardWeight(dy.handle, real.handle)));
      real.dispose();
    }
    return [dx, dLatent];
  });
}
