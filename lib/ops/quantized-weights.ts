import { native } from '../native.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import { unpackSigns } from './sign.js';
import type { Tape, Variable } from './tape.js';

/**
 * Quantized weights of M output channels by K inputs, whatever the quantizer: scale[m]·Σ_p c_p·s_p with planes s_p of ±1.
 * A product with them is P exact products of bits, a sum of whole multiples, and one multiplication.
 */
export interface QuantizedWeights {
  /** bits [P·M, K]; plane p in rows p·M … (p + 1)·M − 1. */
  readonly planes: Tensor;
  /** Whole numbers c_p, one a plane. */
  readonly coefficients: readonly number[];
  /** One fp32 factor for all weights, or one an output channel, f32 [M]. */
  readonly scale: number | Tensor;
  /** DoReFa: the largest |tanh w|, by which the latent weights were normalized. */
  readonly maximum?: number;
}

/** Quantized weights as an operand of a product, and the way of their gradient to the latent weights. */
export interface QuantizedOperand {
  readonly weights: QuantizedWeights;
  /** f32 [M, K]. */
  readonly latent: Variable;
  /** dL/dlatent from dL/dW of the weights' real values W; both f32 [M, K]. */
  readonly gradient: (dWeights: Tensor) => Tensor;
}

/** M: the number of output channels. */
export function outputChannels(weights: QuantizedWeights): number {
  return weights.planes.rows / weights.coefficients.length;
}

/** The real values of quantized weights, f32 [M, K]. */
export function weightValues(weights: QuantizedWeights): Tensor {
  const { planes, coefficients, scale } = weights;
  if (scale === 1 && coefficients.length === 1 && coefficients[0] === 1) return unpackSigns(planes);
  const channels = outputChannels(weights);
  const scales =
    typeof scale === 'number'
      ? Tensor.from('f32', [channels], new Float32Array(channels).fill(scale), planes.device)
      : scale;
  const values = new Tensor(native().planesToFloat(planes.handle, coefficients, scales.handle));
  if (typeof scale === 'number') scales.dispose();
  return values;
}

/** The real values of quantized weights, f32 [M, K], for products with real inputs; the gradient goes to the latent weights. */
export function quantizedValues(tape: Tape, operand: QuantizedOperand): Variable {
  return tape.record([operand.latent], weightValues(operand.weights), [operand.latent.value], (dy) => [
    operand.gradient(dy),
  ]);
}

/** Σ_p c_p·y[…, p·M + m]: the integers of P planes […, P·M], i16 or i32, as i32 […, M]; for one plane of c = 1 y itself. */
export function combinePlanes(y: Tensor, coefficients: readonly number[]): Tensor {
  if (coefficients.length === 1 && coefficients[0] === 1) return y;
  const columns = y.shape.at(-1) ?? 0;
  const shape = y.shape.slice(0, -1);
  const rows = shape.reduce((product, size) => product * size, 1);
  const flat = y.reshape([rows, columns]);
  const sums = new Tensor(native().combinePlanes(flat.handle, coefficients));
  const shaped = sums.reshape([...shape, columns / coefficients.length]);
  for (const tensor of [flat, sums]) tensor.dispose();
  return shaped;
}

/**
 * What one unit of an integer product of inputs and quantized weights stands for: the product, rounded to fp32, of
 * fl(1/(2^inputBits − 1)) for codes or 1 for ±1 (`inputBits` null), and the weights' scale. One number, or one a channel,
 * f32 [M].
 */
export function productScale(inputBits: number | null, scale: number | Tensor): number | Tensor {
  const unit = inputBits === null ? 1 : Math.fround(1 / (2 ** inputBits - 1));
  if (typeof scale === 'number') return Math.fround(unit * scale);
  if (unit === 1) return scale;
  return scope(() => {
    const units = Tensor.from('f32', [1], Float32Array.of(unit), scale.device);
    const channels = scale.reshape([scale.rows, 1]);
    return new Tensor(native().scaleChannels(channels.handle, units.handle)).reshape(scale.shape);
  });
}

/** The integers […, M] of a product as f32 real values, fl(n·scale); scales a number or f32 [M]. The gradient passes unchanged. */
export function scaleProduct(tape: Tape, x: Variable, scale: number | Tensor): Variable {
  const y =
    typeof scale === 'number'
      ? native().intToFloat(x.value.handle, scale)
      : native().scaleChannels(x.value.handle, scale.handle);
  return tape.record([x], new Tensor(y), [], (dy) => [dy]);
}
