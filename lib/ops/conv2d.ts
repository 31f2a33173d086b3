import {
  type Conv2dGeometry,
  type MaxPooling,
  native,
  type PaddingValue,
  type Pool2dGeometry,
} from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import type { SummationOrder } from './dense.js';
import { floatGradients, type GradientDraw, gradientOptions } from './gradient-arithmetic.js';
import { combinePlanes, outputChannels, type QuantizedOperand } from './quantized-weights.js';
import type { Tape, Variable } from './tape.js';

export type { Conv2dGeometry, PaddingValue } from '../native.js';

/** Rows and columns of x [N, H, W, C]. */
function sizeOf(x: Tensor): readonly [number, number] {
  return [x.shape[1] ?? 0, x.shape[2] ?? 0];
}

/**
 * Cross-correlation in fp32, padded with zeros: x [N, H, W, C], weight [M, KH, KW, C/groups], bias [M] or null →
 * [N, OH, OW, M]. Saves x and the weights, each where the
 * other one is differentiated.
 *
 * @throws ERR_HARDBIT_SHAPE, ERR_HARDBIT_ARGUMENT where weights or geometry do not fit x.
 */
export function conv2d(
  tape: Tape,
  x: Variable,
  weight: Variable,
  bias: Variable | null,
  geometry: Conv2dGeometry,
  order: SummationOrder = 'free',
): Variable {
  const core = native();
  const forward = order === 'fixed' ? core.orderedConv2dForward : core.conv2dForward;
  const y = new Tensor(
    forward(x.value.handle, weight.value.handle, bias === null ? null : bias.value.handle, geometry),
  );
  const size = sizeOf(x.value);
  const [, rows = 1, columns = 1] = weight.value.shape;
  const inputs = bias === null ? [x, weight] : [x, weight, bias];
  const saved = [
    ...(x.requiresGradient ? [weight.value] : []),
    ...(weight.requiresGradient ? [x.value] : []),
  ];
  return tape.record(inputs, y, saved, (dy) => [
    x.requiresGradient
      ? new Tensor(core.conv2dBackwardInput(dy.handle, weight.value.handle, size, geometry))
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

/** The integers of the planes […, M] from a convolution with `groupFilters`; it frees `sums` where it makes new ones. */
function combineGroups(sums: Tensor, coefficients: readonly number[], groups: number): Tensor {
  if (coefficients.length === 1 && coefficients[0] === 1) return sums;
  const [n = 0, rows = 0, columns = 0, outputs = 0] = sums.shape;
  const grouped = sums.reshape([n, rows, columns, groups, outputs / groups]);
  const combined = combinePlanes(grouped, coefficients);
  const y = combined.reshape([n, rows, columns, outputs / coefficients.length]);
  for (const tensor of [sums, grouped, combined]) tensor.dispose();
  return y;
}

/** Where a quantized convolution's window goes, and what a padded pixel stands for. */
export interface BinaryConv2dGeometry extends Conv2dGeometry {
  /** Rows, columns. */
  readonly kernel: readonly [number, number];
  readonly paddingValue: PaddingValue;
}

/** Windows side by side, from the first pixel on. */
function areSideBySide({ kernel, stride, padding }: Pool2dGeometry): boolean {
  return kernel[0] === stride[0] && kernel[1] === stride[1] && padding.every((width) => width === 0);
}

/** Rows and columns of what a convolution makes of `size`. */
function outputSize(size: readonly [number, number], geometry: BinaryConv2dGeometry): [number, number] {
  const { kernel, stride, dilation, padding } = geometry;
  const along = (axis: 0 | 1) => {
    const padded = size[axis] + padding[(2 * axis) as 0 | 2] + padding[(2 * axis + 1) as 1 | 3];
    return Math.floor((padded - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis]) + 1;
  };
  return [along(0), along(1)];
}

/**
 * The integer cross-correlation Σ x·w with quantized weights, exact, [N, OH, OW, M]: i16 or i32; with `pool` the largest of each
 * of its windows.
 *
 * x is bits [N, H, W, C] (±1; `inputBits` null) or u8 codes of `inputBits` bits; w is the whole number Σ_p c_p·s_p, its
 * planes [P·M, KH·KW·(C/groups)]. The real pre-activation is `productScale` times the result; gradients are with
 * respect to the real values, in the arithmetic of `draw`, dW passed on by the operand's quantizer. Saves the packed operands,
 * and with `pool` the place of each largest, one byte an output. That is `maxPool2d` of the sums in all its results; int8
 * gradients are made of pooled ones without those of all sums.
 *
 * @throws ERR_HARDBIT_SHAPE, ERR_HARDBIT_ARGUMENT where weights or geometry do not fit x.
 */
export function binaryConv2d(
  tape: Tape,
  x: Variable,
  inputBits: number | null,
  operand: QuantizedOperand,
  geometry: BinaryConv2dGeometry,
  draw: GradientDraw = floatGradients,
  pool: Pool2dGeometry | null = null,
): Variable {
  const core = native();
  const { kernel, paddingValue, stride, dilation, padding, groups } = geometry;
  const window: Conv2dGeometry = { stride, dilation, padding, groups };
  const { weights, latent } = operand;
  const { planes, coefficients } = weights;
  const filters = groupFilters(operand, groups);
  const convolve = () => {
    const sums = new Tensor(
      inputBits === null
        ? core.binaryConv2d(x.value.handle, filters.handle, kernel, window, paddingValue)
        : core.codesConv2d(x.value.handle, inputBits, filters.handle, kernel, window, paddingValue),
    );
    return combineGroups(sums, coefficients, groups);
  };
  const size = sizeOf(x.value);
  const saved = latent.requiresGradient ? [x.value, latent.value] : [];
  const { inputs, weights: ofWeights } = gradientOptions(draw);

  const backward = (dy: Tensor, pooling: MaxPooling | null): readonly (Tensor | null)[] => {
    let dLatent: Tensor | null = null;
    if (latent.requiresGradient) {
      const rest = [x.value.handle, inputBits, kernel, window, paddingValue, ofWeights] as const;
      const dWeights =
        pooling === null
          ? core.binaryConv2dBackwardWeight(dy.handle, ...rest)
          : core.binaryConv2dPoolBackwardWeight(dy.handle, pooling, ...rest);
      dLatent = operand.gradient(new Tensor(dWeights));
    }
    if (!x.requiresGradient) return [null, dLatent];
    const scale = typeof weights.scale === 'number' ? weights.scale : weights.scale.handle;
    const rest = [planes.handle, coefficients, scale, size, kernel, window, inputs] as const;
    const dx =
      pooling === null
        ? core.binaryConv2dBackwardInput(dy.handle, ...rest)
        : core.binaryConv2dPoolBackwardInput(dy.handle, pooling, ...rest);
    return [new Tensor(dx), dLatent];
  };
  if (pool === null) return tape.record([x, latent], convolve(), saved, (dy) => backward(dy, null));

  const differentiated = x.requiresGradient || latent.requiresGradient;
  const pooled = () => {
    if (coefficients.length === 1 && coefficients[0] === 1) {
      const operands = [x.value.handle, inputBits, filters.handle] as const;
      return core.binaryConv2dPool(...operands, kernel, window, paddingValue, pool, differentiated);
    }
    const sums = convolve();
    const result = core.maxPool2d(sums.handle, pool, differentiated);
    sums.dispose();
    return result;
  };
  const { y, index } = pooled();
  const places = index === null ? [] : [new Tensor(index)];
  return tape.record([x, latent], new Tensor(y), [...saved, ...places], (dy) => {
    const [place] = places as [Tensor];
    // Two gradients that both need dy of all sums share it.
    const both = x.requiresGradient && latent.requiresGradient;
    if (!both || (draw.arithmetic === 'int8' && areSideBySide(pool))) {
      return backward(dy, { ...pool, index: place.handle });
    }
    const spread = new Tensor(
      core.maxPool2dBackward(dy.handle, place.handle, outputSize(size, geometry), pool),
    );
    const gradients = backward(spread, null);
    spread.dispose();
    return gradients;
  });
}
