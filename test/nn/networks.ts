import type { LayerSpec, ModelSpec } from '../../lib/nn/model.js';

type Conv = Extract<LayerSpec, { type: 'conv2d' }>;

/** A 3×3 convolution that keeps the size. */
export function conv(name: string, inputs: number, outputs: number, options: Partial<Conv> = {}): Conv {
  return {
    type: 'conv2d',
    name,
    inputs,
    outputs,
    kernel: [3, 3],
    stride: [1, 1],
    dilation: [1, 1],
    padding: [1, 1, 1, 1],
    paddingValue: 'zero',
    groups: 1,
    bias: false,
    weightQuantizer: null,
    ...options,
  };
}

export function norm(name: string, features: number): LayerSpec {
  return { type: 'batch-norm', name, features, epsilon: 1e-5, momentum: 0.1 };
}

export function dense(
  name: string,
  inputs: number,
  outputs: number,
  weightQuantizer: string | null,
): LayerSpec {
  return { type: 'dense', name, inputs, outputs, bias: weightQuantizer === null, weightQuantizer };
}

export function spec(layers: readonly LayerSpec[], options: Partial<ModelSpec> = {}): ModelSpec {
  return {
    model: 'test',
    recipe: 'test',
    inputShape: [6, 6, 2],
    classes: 3,
    inputBits: 2,
    layers: [{ type: 'discretizer', name: 'discretizer', bits: options.inputBits ?? 2 }, ...layers],
    ...options,
  };
}

/** Every type of layer, on images of 6×6×2: float, binary, ternary and multi-bit weights, a residual block inside another. */
export const everyLayer: ModelSpec = spec([
  conv('conv1', 2, 4, { bias: true }),
  norm('norm1', 4),
  { type: 'hardtanh', name: 'hardtanh' },
  { type: 'quantize', name: 'sign1', quantizer: 'ste-sign' },
  {
    type: 'residual',
    name: 'block',
    body: [
      conv('conv2', 4, 6, { weightQuantizer: 'ste-sign', paddingValue: 'one' }),
      norm('norm2', 6),
      {
        type: 'residual',
        name: 'inner',
        body: [
          { type: 'quantize', name: 'sign2', quantizer: 'approx-sign' },
          conv('conv3', 6, 6, { weightQuantizer: 'ste-tern', groups: 2 }),
        ],
        shortcut: [],
      },
    ],
    shortcut: [
      conv('conv4', 4, 6, { weightQuantizer: 'magnitude-sign', kernel: [1, 1], padding: [0, 0, 0, 0] }),
    ],
  },
  { type: 'max-pool', name: 'pool1', kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  { type: 'relu', name: 'relu' },
  { type: 'dropout', name: 'dropout', rate: 0.2 },
  { type: 'average-pool', name: 'pool2', kernel: [2, 2], stride: [1, 1], padding: [0, 0, 0, 0] },
  norm('norm3', 6),
  { type: 'quantize', name: 'codes', quantizer: 'dorefa-2' },
  { type: 'flatten', name: 'flatten' },
  dense('dense1', 24, 8, 'dorefa-3'),
  norm('norm4', 8),
  dense('dense2', 8, 3, null),
]);
