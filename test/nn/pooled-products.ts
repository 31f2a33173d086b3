import type { Activation, ForwardContext, LayerSpec } from '../../lib/nn/layer.js';
import { createLayers, forwardLayers } from '../../lib/nn/layers.js';
import { packSigns } from '../../lib/ops/sign.js';
import { Tape, variable } from '../../lib/ops/tape.js';
import { scope } from '../../lib/tensor/scope.js';
import { type Device, Tensor } from '../../lib/tensor/tensor.js';
import { f32, numbers } from '../ops/numeric.js';
import { conv } from './networks.js';

/** A convolution on signs (`inputBits` null) or codes of 5×6 images, and max-pooling behind it. */
export interface PooledProduct {
  readonly quantizer: string;
  readonly inputs: number;
  readonly outputs: number;
  readonly inputBits: number | null;
  readonly groups: number;
  /** Rows and columns of the pooling's kernel, and its stride. */
  readonly window: readonly [number, number];
}

const plain = { quantizer: 'ste-sign', inputBits: null, groups: 1, window: [2, 2] } as const;

/** Products of one plane and of several, with one scale and with one a channel, and windows that overlap. */
export const pooledProducts: readonly PooledProduct[] = [
  { ...plain, inputs: 16, outputs: 128 },
  { ...plain, inputs: 12, outputs: 20, inputBits: 2 },
  { ...plain, inputs: 3, outputs: 16 },
  { ...plain, inputs: 8, outputs: 10, groups: 2, quantizer: 'dorefa-2' },
  { ...plain, inputs: 8, outputs: 128, quantizer: 'magnitude-sign' },
  { ...plain, inputs: 8, outputs: 6, quantizer: 'ste-tern' },
  { ...plain, inputs: 8, outputs: 16, window: [3, 2] },
];

/** What the two layers make of three images on a device, forward and backward: in one op where they can, or one after the other. */
export function runPooled(
  product: PooledProduct,
  context: ForwardContext,
  device: Device = 'cpu',
  together = true,
) {
  const { quantizer, inputs, outputs, inputBits, groups, window } = product;
  const [size, stride] = window;
  const specs: readonly LayerSpec[] = [
    conv('conv', inputs, outputs, { weightQuantizer: quantizer, groups, paddingValue: 'one' }),
    {
      type: 'max-pool',
      name: 'pool',
      kernel: [size, size],
      stride: [stride, stride],
      padding: [0, 0, 0, 0],
    },
  ];
  const layers = createLayers(specs, 1, device);
  try {
    return scope(() => {
      const z = f32([3, 5, 6, inputs], numbers(90 * inputs, 3));
      const x = (): Activation => {
        if (inputBits === null) return { kind: 'signs', variable: variable(packSigns(z).to(device)) };
        const codes = Uint8Array.from(z.toFloat32Array(), (v) => ((v + 1) / 2) * (2 ** inputBits - 1));
        return {
          kind: 'codes',
          variable: variable(Tensor.from('u8', z.shape, codes, device)),
          bits: inputBits,
        };
      };
      const input = x();
      const tape = new Tape();
      const y = together
        ? forwardLayers(layers, tape, input, context)
        : layers.reduce<Activation>((at, layer) => forwardLayers([layer], tape, at, context), input);
      const { value } = y.variable;
      const count = value.shape.reduce((product, length) => product * length, 1);
      const dy = f32(value.shape, numbers(count, 4)).to(device);
      const weights = layers.flatMap((layer) => layer.parameters.map((parameter) => parameter.variable));
      const targets = [input.variable, ...(context.mode === 'train' ? weights : [])];
      return {
        kind: y.kind,
        values: [...(y.kind === 'real' ? value.toFloat32Array() : (value.read() as Int16Array))],
        gradients: tape.backward(y.variable, dy, targets).map((gradient) => [...gradient.toFloat32Array()]),
      };
    });
  } finally {
    for (const layer of layers) layer.dispose();
  }
}
