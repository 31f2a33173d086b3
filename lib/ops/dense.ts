import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import { floatGradients, type GradientDraw, gradientOptions } from './gradient-arithmetic.js';
import { combinePlanes, type QuantizedOperand } from './quantized-weights.js';
import type { Tape, Variable } from './tape.js';

/**
 * How an f32 sum of products is rounded: `free` as oneDNN likes, `fixed` term by term, the bias last, the same on every CPU and
 * thread count and in a deployed network.
 */
export type SummationOrder = 'free' | 'fixed';

/**
 * y = x·Wᵀ + b in fp32. x [N, K], weight [M, K], bias [M] or null → [N, M]. Saves x and W, each where
 * the other one is differentiated.
 *
 * @throws ERR_HARDBIT_SHAPE where the feature counts differ.
 */
export function dense(
  tape: Tape,
  x: Variable,
  weight: Variable,
  bias: Variable | null,
  order: SummationOrder = 'free',
): Variable {
  const core = native();
  const forward = order === 'fixed' ? core.orderedDenseForward : core.denseForward;
  const y = new Tensor(
    forward(x.value.handle, weight.value.handle, bias === null ? null : bias.value.handle),
  );
  const inputs = bias === null ? [x, weight] : [x, weight, bias];
  const saved = [
    ...(x.requiresGradient ? [weight.value] : []),
    ...(weight.requiresGradient ? [x.value] : []),
  ];
  return tape.record(inputs, y, saved, (dy) => [
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
 * dW = dYᵀ·X, in the arithmetic of `draw`, passed on by the operand's quantizer. Saves the packed operands only.
 */
export function binaryDense(
  tape: Tape,
  x: Variable,
  inputBits: number | null,
  operand: QuantizedOperand,
  draw: GradientDraw = floatGradients,
): Variable {
  const core = native();
  const { weights, latent } = operand;
  const { planes, coefficients } = weights;
  const sums = new Tensor(
    inputBits === null
      ? core.binaryMatmul(x.value.handle, planes.handle)
      : core.codesMatmul(x.value.handle, inputBits, planes.handle),
  );
  const y = combinePlanes(sums, coefficients);
  if (y !== sums) sums.dispose();
  const saved = latent.requiresGradient ? [x.value, latent.value] : [];
  const { inputs, weights: ofWeights } = gradientOptions(draw);
  return tape.record([x, latent], y, saved, (dy) => {
    let dLatent: Tensor | null = null;
    if (latent.requiresGradient) {
      const dWeights = core.binaryMatmulBackwardWeight(dy.handle, x.value.handle, inputBits, ofWeights);
      dLatent = operand.gradient(new Tensor(dWeights));
    }
    if (!x.requiresGradient) return [null, dLatent];
    const scale = typeof weights.scale === 'number' ? weights.scale : weights.scale.handle;
    const dx = core.binaryMatmulBackwardInput(dy.handle, planes.handle, coefficients, scale, inputs);
    return [new Tensor(dx), dLatent];
  });
}
