import { type ErrorCode, HardbitError } from '../errors.js';
import type { LayerSpec, ModelSpec, Pair, Sides, SpecOf } from './layer.js';
import { requireActivationQuantizer, requireWeightQuantizer } from './quantizers.js';

/** What a layer makes of its input, for one image. */
export interface LayerShape {
  readonly name: string;
  readonly type: LayerSpec['type'];
  /** 0 for the network's own layers, 1 for those of a residual block, … */
  readonly depth: number;
  /** [H, W, C], or [K] behind `flatten`. */
  readonly inputShape: readonly number[];
  readonly outputShape: readonly number[];
  /** Trainable numbers. A residual block counts none: its layers follow and count their own, here and below. */
  readonly parameters: number;
  /**
   * Multiply-accumulates of one image, taps on padding included, as they are commonly counted; a weight of several planes
   * counts once.
   */
  readonly macs: number;
  /** Bits of the two operands of its products, 32 for f32; null where it has no products. */
  readonly precision: { readonly weightBits: number; readonly inputBits: number } | null;
}

/** A tensor of a layer in the model file. */
export interface TensorShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** What flows between layers. */
interface Flow {
  readonly shape: readonly number[];
  /** Bits a value in evaluation; 32 for reals and for sums of integers. */
  readonly bits: number;
  /** What integer products take, in training as in evaluation; other values are real there or in both. */
  readonly kind: 'signs' | 'codes' | 'other';
}

interface Walk {
  readonly names: Set<string>;
  readonly found: LayerShape[];
}

function fail(code: ErrorCode, layer: string, sentence: string): never {
  throw new HardbitError(code, `Layer '${layer}' ${sentence}`);
}

const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
const text = (shape: readonly number[]) => `[${shape.join(', ')}]`;

function requireWhole(layer: string, what: string, values: readonly number[], least: number): void {
  for (const value of values) {
    if (!Number.isSafeInteger(value) || value < least) {
      fail(
        'ERR_HARDBIT_ARGUMENT',
        layer,
        `has ${what} ${value}; expected whole numbers of at least ${least}.`,
      );
    }
  }
}

function requireImage(layer: string, { shape }: Flow): readonly [number, number, number] {
  if (shape.length !== 3) {
    fail(
      'ERR_HARDBIT_SHAPE',
      layer,
      `gets values of shape ${text(shape)}; expected [H, W, C]: put it before 'flatten'.`,
    );
  }
  return shape as unknown as readonly [number, number, number];
}

/** Rows and columns of a window's output. */
function slide(
  layer: string,
  [height, width]: readonly number[],
  spec: { readonly kernel: Pair; readonly stride: Pair; readonly padding: Sides },
  dilation: Pair,
): Pair {
  requireWhole(layer, 'a kernel of', spec.kernel, 1);
  requireWhole(layer, 'a stride of', spec.stride, 1);
  requireWhole(layer, 'a dilation of', dilation, 1);
  requireWhole(layer, 'a padding of', spec.padding, 0);
  const [above, below, left, right] = spec.padding;
  const sizes = [(height as number) + above + below, (width as number) + left + right];
  return sizes.map((size, i) => {
    const reach = (dilation[i] as number) * ((spec.kernel[i] as number) - 1) + 1;
    if (reach > size) {
      fail(
        'ERR_HARDBIT_SHAPE',
        layer,
        `has a window of ${reach} ${i === 0 ? 'rows' : 'columns'} over ${size}, padding included; expected one that fits.`,
      );
    }
    return Math.floor((size - reach) / (spec.stride[i] as number)) + 1;
  }) as unknown as Pair;
}

function checkWeights(spec: SpecOf<'dense'> | SpecOf<'conv2d'>): number {
  requireWhole(spec.name, 'a width of', [spec.inputs, spec.outputs], 1);
  if (spec.weightQuantizer === null) return 32;
  const { precision } = requireWeightQuantizer(spec.weightQuantizer);
  if (spec.bias) {
    fail(
      'ERR_HARDBIT_UNSUPPORTED',
      spec.name,
      'has quantized weights and a bias; follow it by batch norm, whose beta is the bias.',
    );
  }
  return precision;
}

function dense(spec: SpecOf<'dense'>, input: Flow): readonly [Flow, number, LayerShape['precision']] {
  const weightBits = checkWeights(spec);
  if (input.shape.length !== 1 || input.shape[0] !== spec.inputs) {
    fail(
      'ERR_HARDBIT_SHAPE',
      spec.name,
      `takes ${spec.inputs} inputs and gets values of shape ${text(input.shape)}; expected [${spec.inputs}].`,
    );
  }
  return [
    { shape: [spec.outputs], bits: 32, kind: 'other' },
    spec.inputs * spec.outputs,
    { weightBits, inputBits: input.bits },
  ];
}

function conv2d(spec: SpecOf<'conv2d'>, input: Flow): readonly [Flow, number, LayerShape['precision']] {
  const weightBits = checkWeights(spec);
  const { groups, inputs, outputs, name } = spec;
  const [height, width, channels] = requireImage(name, input);
  if (channels !== inputs) {
    fail(
      'ERR_HARDBIT_SHAPE',
      name,
      `takes ${inputs} channels and gets values of shape ${text(input.shape)}; expected [H, W, ${inputs}].`,
    );
  }
  requireWhole(name, 'a number of groups of', [groups], 1);
  if (inputs % groups !== 0 || outputs % groups !== 0) {
    fail(
      'ERR_HARDBIT_ARGUMENT',
      name,
      `has ${groups} groups; expected a number that divides its ${inputs} input and ${outputs} output channels.`,
    );
  }
  const [rows, columns] = slide(name, [height, width], spec, spec.dilation);
  if (spec.paddingValue === 'one' && spec.padding.some((side) => side > 0)) {
    if (weightBits === 32 || input.kind === 'other') {
      fail(
        'ERR_HARDBIT_UNSUPPORTED',
        name,
        "pads with ones, which only quantized weights on signs or codes can; use paddingValue 'zero'.",
      );
    }
  }
  return [
    { shape: [rows, columns, outputs], bits: 32, kind: 'other' },
    rows * columns * outputs * spec.kernel[0] * spec.kernel[1] * (inputs / groups),
    { weightBits, inputBits: input.bits },
  ];
}

function pool(spec: SpecOf<'max-pool' | 'average-pool'>, input: Flow): Flow {
  const [height, width, channels] = requireImage(spec.name, input);
  const { kernel, padding, name } = spec;
  const [rows, columns] = slide(name, [height, width], spec, [1, 1]);
  if (kernel[0] * kernel[1] > 256) {
    fail('ERR_HARDBIT_ARGUMENT', name, `has a window of ${kernel.join(' × ')}; expected at most 256 places.`);
  }
  if (padding.some((side, i) => side >= (kernel[i < 2 ? 0 : 1] as number))) {
    fail(
      'ERR_HARDBIT_ARGUMENT',
      name,
      `has padding ${text(padding)} around a window of ${kernel.join(' × ')}; expected less than the window.`,
    );
  }
  const shape = [rows, columns, channels];
  return spec.type === 'max-pool' && input.kind === 'signs'
    ? { ...input, shape }
    : { shape, bits: 32, kind: 'other' };
}

/** The tensors of one layer, without those nested in it. */
function tensorsOf(spec: LayerSpec): { readonly trained: TensorShape[]; readonly buffers: TensorShape[] } {
  const named = (name: string, shape: readonly number[]): TensorShape => ({
    name: `${spec.name}.${name}`,
    shape,
  });
  switch (spec.type) {
    case 'dense':
    case 'conv2d': {
      const shape =
        spec.type === 'dense'
          ? [spec.outputs, spec.inputs]
          : [spec.outputs, ...spec.kernel, spec.inputs / spec.groups];
      const bias = spec.bias ? [named('bias', [spec.outputs])] : [];
      return { trained: [named('weight', shape), ...bias], buffers: [] };
    }
    case 'batch-norm': {
      const shape = [spec.features];
      return {
        trained: [named('gamma', shape), named('beta', shape)],
        buffers: [named('runningMean', shape), named('runningVariance', shape)],
      };
    }
    default:
      return { trained: [], buffers: [] };
  }
}

/** The output of one layer without layers of its own, its multiply-accumulates and its operands. */
function apply(
  spec: Exclude<LayerSpec, { type: 'residual' }>,
  input: Flow,
): readonly [Flow, number, LayerShape['precision']] {
  const real: Flow = { shape: input.shape, bits: 32, kind: 'other' };
  switch (spec.type) {
    case 'discretizer':
      requireWhole(spec.name, 'a number of bits of', [spec.bits], 1);
      if (spec.bits > 8) {
        fail(
          'ERR_HARDBIT_ARGUMENT',
          spec.name,
          `has ${spec.bits} bits; expected a whole number from 1 to 8.`,
        );
      }
      return [{ shape: input.shape, bits: spec.bits, kind: 'codes' }, 0, null];
    case 'flatten':
      return [{ ...input, shape: [count(input.shape)] }, 0, null];
    case 'dense':
      return dense(spec, input);
    case 'conv2d':
      return conv2d(spec, input);
    case 'max-pool':
    case 'average-pool':
      return [pool(spec, input), 0, null];
    case 'batch-norm':
      if (input.shape.at(-1) !== spec.features) {
        fail(
          'ERR_HARDBIT_SHAPE',
          spec.name,
          `has ${spec.features} features and gets values of shape ${text(input.shape)}; expected them in the last dimension.`,
        );
      }
      if (!(spec.epsilon > 0) || !(spec.momentum >= 0 && spec.momentum <= 1)) {
        fail(
          'ERR_HARDBIT_ARGUMENT',
          spec.name,
          `has epsilon ${spec.epsilon} and momentum ${spec.momentum}; expected epsilon above 0 and momentum in [0, 1].`,
        );
      }
      return [real, 0, null];
    case 'relu':
    case 'hardtanh':
      return [real, 0, null];
    case 'dropout':
      if (!(spec.rate >= 0 && spec.rate < 1)) {
        fail('ERR_HARDBIT_ARGUMENT', spec.name, `has rate ${spec.rate}; expected at least 0 and below 1.`);
      }
      return [{ ...input, kind: 'other' }, 0, null];
    case 'quantize': {
      const { precision, kind } = requireActivationQuantizer(spec.quantizer);
      return [{ shape: input.shape, bits: precision, kind }, 0, null];
    }
  }
}

function walk(specs: readonly LayerSpec[], input: Flow, depth: number, state: Walk): Flow {
  return specs.reduce((flow, spec, i) => {
    if (spec.name === '') {
      throw new HardbitError('ERR_HARDBIT_ARGUMENT', `A ${spec.type} layer has no name; give it one.`);
    }
    if (state.names.has(spec.name)) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `Two layers are named '${spec.name}'; give each its own name.`,
      );
    }
    state.names.add(spec.name);
    if ((spec.type === 'discretizer') !== (depth === 0 && i === 0)) {
      fail(
        'ERR_HARDBIT_ARGUMENT',
        spec.name,
        `is a ${spec.type} layer in the wrong place; expected one discretizer, as the first layer.`,
      );
    }
    const common = { name: spec.name, type: spec.type, depth, inputShape: flow.shape };
    if (spec.type === 'residual') {
      const at = state.found.length;
      const body = walk(spec.body, flow, depth + 1, state);
      const shortcut = walk(spec.shortcut, flow, depth + 1, state);
      if (text(body.shape) !== text(shortcut.shape)) {
        fail(
          'ERR_HARDBIT_SHAPE',
          spec.name,
          `adds a body of shape ${text(body.shape)} to a shortcut of shape ${text(shortcut.shape)}; expected equal shapes.`,
        );
      }
      const whole = { outputShape: body.shape, parameters: 0, macs: 0, precision: null };
      state.found.splice(at, 0, { ...common, ...whole });
      return { shape: body.shape, bits: 32, kind: 'other' };
    }
    const [output, macs, precision] = apply(spec, flow);
    const parameters = tensorsOf(spec).trained.reduce((sum, { shape }) => sum + count(shape), 0);
    state.found.push({ ...common, outputShape: output.shape, parameters, macs, precision });
    return output;
  }, input);
}

/**
 * Walks a network's layers and checks that they fit together: for each layer, depth-first (a residual block, its body, its
 * shortcut), its shapes, sizes and precisions.
 *
 * @throws ERR_HARDBIT_SHAPE where a layer does not fit its input; ERR_HARDBIT_ARGUMENT for a number out of range, a name given
 * twice or a discretizer elsewhere than in front; ERR_HARDBIT_UNKNOWN_NAME for an unknown quantizer;
 * ERR_HARDBIT_UNSUPPORTED for layers that cannot be combined.
 */
export function layerShapes(spec: ModelSpec): readonly LayerShape[] {
  const [first] = spec.layers;
  if (first?.type !== 'discretizer' || first.bits !== spec.inputBits) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The first layer of model '${spec.model}' is not a discretizer of its ${spec.inputBits} input bits; expected one.`,
    );
  }
  const state: Walk = { names: new Set(), found: [] };
  const { shape } = walk(spec.layers, { shape: spec.inputShape, bits: 32, kind: 'other' }, 0, state);
  if (shape.length !== 1 || shape[0] !== spec.classes) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `The last layer of model '${spec.model}' gives values of shape ${text(shape)}; expected [${spec.classes}], a logit a class.`,
    );
  }
  return state.found;
}

/** All tensors of valid layers, parameters and buffers, as they stand in a model file. */
export function tensorShapes(specs: readonly LayerSpec[]): readonly TensorShape[] {
  return specs.flatMap((spec) => {
    if (spec.type === 'residual') return [...tensorShapes(spec.body), ...tensorShapes(spec.shortcut)];
    const { trained, buffers } = tensorsOf(spec);
    return [...trained, ...buffers];
  });
}
