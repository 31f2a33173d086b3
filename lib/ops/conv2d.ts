import { type Conv2dGeometry, native, type PaddingValue } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import { inputValues } from './discretize.js';
import { combinePlanes, outputChannels, type QuantizedOperand, weightValues } from './quantized-weights.js';
import type { Tape, Variable } from './tape.js';

export type { Conv2dGeometry, PaddingValue } from '../native.js';

/** Rows and columns of x [N, H, W, C]. */
function sizeOf(x: Tensor): readonly [number, number] {
  return [x.shape[1] ?? 0, x.shape[2] ?? 0];
}

/**
 * Cross-correlation in fp32, padded with zeros: x [N, H, W, C], weight [M, KH, KW, C/groups], bias [M] or null →
 * [N, OH, OW, M]. Saves x and the weights.
 *
 * @throws ERR_HARDBIT_SHAPE, ERR_HARDBIT_ARGUMENT where weights or geometry do not fit x.
 */
export function conv2d(
  tape: Tape,
  x: Variable,
  weight: Variable,
  bias: Variable | null,
  geometry: Conv2dGeometry,
): Variable {
  const core = native();
  const y = new Tensor(
    core.conv2dForward(
      x.value.handle,
      weight.value.handle,
      bias === null ? null : bias.value.handle,
      geometry,
    ),
  );
  const [, rows = 1, columns = 1] = weight.value.shape;
  const inputs = bias === null ? [x, weight] : [x, weight, bias];
  return tape.record(inputs, y, (dy) => [
    x.requiresGradient
      ? new Tensor(core.conv2dBackwardInput(dy.handle, weight.value.handle, sizeOf(x.value), geometry))
      : null,
    weight.requiresGradient
      ? new Tensor(core.conv2dBackwardWeight(dy.handle, x.value.handle, [rows, columns], geometry))
      : null,
    bias?.requiresGradient ? sumPixels(dy) : null,
  ]);
}

/** Sums over examples and pixels: [N, OH, OW, M] → [M]. */
function sumPixels(dy: Tensor): Tensor {
  const [n = 0, rows = 0, columns = 0, channels = 0] = dy.shape;
  const flat = dy.reshape([n * rows * columns, channels]);
  return new Tensor(native().sumRows(flat.handle));
}

/**
 * The planes in the order that a grouped convolution asks for: the filters of a group stand together, so that group j holds its
 * part of plane 0, of plane 1, ….
 */
function groupFilters(operand: QuantizedOperand, groups: number): Tensor {
  const { planes, coefficients } = operand.weights;
  if (groups === 1 || coefficients.length === 1) return planes;
  const channels = outputChannels(operand.weights);
  const each = channels / groups;
  const order = Int32Array.from({ length: planes.rows }, (_, i) => {
    const group = Math.floor(i / (each * coefficients.length));
    const plane = Math.floor(i / each) % coefficients.length;
    return plane * channels + group * each + (i % each);
  });
  const indices = Tensor.from('i32', [planes.rows], order);
  const filters = new Tensor(native().gather(planes.handle, indices.handle));
  indices.dispose();
  return filters;
}

/** x − 1, in place. */
function subtractOne(x: Tensor): void {
  const ones = Tensor.from('f32', x.shape, new Float32Array(x.shape.reduce((a, b) => a * b, 1)).fill(1));
  native().axpy(x.handle, -1, ones.handle);
  ones.dispose();
}

/** gradient[m, …] + sums[m]. */
function addToRows(gradient: Tensor, sums: Tensor): Tensor {
  const columns = gradient.shape.slice(1).reduce((a, b) => a * b, 1);
  const ones = Tensor.from('f32', [columns, 1], new Float32Array(columns).fill(1));
  const rows = new Tensor(native().denseForward(sums.reshape([sums.rows, 1]).handle, ones.handle, null));
  native().axpy(gradient.handle, 1, rows.reshape(gradient.shape).handle);
  ones.dispose();
  rows.dispose();
  return gradient;
}

/** Where a quantized convolution's window goes, and what a padded pixel stands for. */
export interface BinaryConv2dGeometry extends Conv2dGeometry {
  /** Rows, columns. */
  readonly kernel: readonly [number, number];
  readonly paddingValue: PaddingValue;
}

/**
 * The integer cross-correlation Σ x·w with quantized weights, exact, [N, OH, OW, M]: i16 or i32.
 *
 * x is bits [N, H, W, C] (±1; `inputBits` null) or u8 codes of `inputBits` bits; w is the whole number Σ_p c_p·s_p, its
 * planes [P·M, KH·KW·(C/groups)]. The real pre-activation is `productScale` times the result; gradients are with
 * respect to the real values and computed in fp32, dW passed on by the operand's quantizer. Saves the packed operands only.
 *
 * @throws ERR_HARDBIT_SHAPE, ERR_HARDBIT_ARGUMENT where weights or geometry do not fit x.
 */
export function binaryConv2d(
  tape: Tape,
  x: Variable,
  inputBits: number | null,
  operand: QuantizedOperand,
  geometry: BinaryConv2dGeometry,
): Variable {
  const core = native();
  const { kernel, paddingValue, stride, dilation, padding, groups } = geometry;
  const window: Conv2dGeometry = { stride, dilation, padding, groups };
  const { weights, latent } = operand;
  const filters = groupFilters(operand, groups);
  const sums = new Tensor(
    inputBits === null
      ? core.binaryConv2d(x.value.handle, filters.handle, kernel, window, paddingValue)
      : core.codesConv2d(x.value.handle, inputBits, filters.handle, kernel, window, paddingValue),
  );
  const [n = 0, rows = 0, columns = 0] = sums.shape;
  const channels = outputChannels(weights);
  const grouped = sums.reshape([n, rows, columns, groups, (sums.shape[3] as number) / groups]);
  const y = combinePlanes(grouped, weights.coefficients).reshape([n, rows, columns, channels]);
  return tape.record([x, latent], y, (dy) => {
    let dx: Tensor | null = null;
    if (x.requiresGradient) {
      const values = weightValues(weights);
      const shaped = values.reshape([
        channels,
        ...kernel,
        (values.shape[1] as number) / (kernel[0] * kernel[1]),
      ]);
      dx = new Tensor(core.conv2dBackwardInput(dy.handle, shaped.handle, sizeOf(x.value), window));
      shaped.dispose();
      values.dispose();
    }
    let dLatent: Tensor | null = null;
    if (latent.requiresGradient) {
      const real = inputValues(x.value, inputBits);
      // Padding of 1: y = conv(x − 1, W) padded with zeros, plus Σ_k W[m, k]; so Σ dy[m] is added to dW[m, k].
      if (paddingValue === 'one') subtractOne(real);
      const product = new Tensor(core.conv2dBackwardWeight(dy.handle, real.handle, kernel, window));
      real.dispose();
      const dWeights = product.reshape(latent.value.shape);
      dLatent = operand.gradient(paddingValue === 'one' ? addToRows(dWeights, sumPixels(dy)) : dWeights);
    }
    return [dx, dLatent];
  });
}
