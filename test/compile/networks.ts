import type { LayerSpec, ModelSpec } from '../../lib/nn/model.js';
import type { Pool2dGeometry } from '../../lib/ops/pool.js';
import { conv, dense, norm, spec } from '../nn/networks.js';

const sign = (name: string): LayerSpec => ({ type: 'quantize', name, quantizer: 'ste-sign' });
const flatten: LayerSpec = { type: 'flatten', name: 'flatten' };
const pool = (name: string, options: Partial<Pool2dGeometry> = {}): LayerSpec => ({
  type: 'max-pool',
  name,
  kernel: [2, 2],
  stride: [2, 2],
  padding: [0, 0, 0, 0],
  ...options,
});
const binary = { weightQuantizer: 'ste-sign' } as const;
const scaled = { weightQuantizer: 'magnitude-sign' } as const;

/** Networks whose layers are unlike those of the known models: every geometry and order that can be deployed. */
export const oddNetworks: Readonly<Record<string, ModelSpec>> = {
  'strides, dilation, uneven padding and groups': spec([
    conv('conv1', 2, 6, { ...binary, kernel: [2, 3], stride: [1, 2], padding: [1, 0, 2, 1], groups: 2 }),
    norm('norm1', 6),
    sign('sign1'),
    conv('conv2', 6, 9, { ...binary, dilation: [2, 1], padding: [2, 2, 0, 1], groups: 3 }),
    norm('norm2', 9),
    sign('sign2'),
    flatten,
    dense('dense', 9 * 6 * 3, 3, 'ste-sign'),
    norm('norm3', 3),
  ]),
  'padding of ones': spec([
    conv('conv1', 2, 5, { ...binary, paddingValue: 'one' }),
    norm('norm1', 5),
    sign('sign1'),
    conv('conv2', 5, 7, { ...scaled, paddingValue: 'one' }),
    norm('norm2', 7),
    sign('sign2'),
    flatten,
    dense('dense', 7 * 36, 3, 'ste-sign'),
  ]),
  'pools before and behind batch norm and sign, padded and overlapping': spec([
    conv('conv1', 2, 65, binary),
    pool('pool1', { kernel: [3, 3], stride: [1, 2], padding: [1, 1, 1, 0] }),
    norm('norm1', 65),
    sign('sign1'),
    conv('conv2', 65, 14, binary),
    norm('norm2', 14),
    pool('pool2', { kernel: [1, 2], stride: [1, 1] }),
    sign('sign2'),
    conv('conv3', 14, 21, scaled),
    norm('norm3', 21),
    sign('sign3'),
    pool('pool3'),
    { type: 'dropout', name: 'dropout', rate: 0.5 },
    flatten,
    dense('dense', 21 * 3, 3, 'ste-sign'),
    norm('norm4', 3),
  ]),
  'no batch norm, logits without flatten': spec([
    conv('conv1', 2, 64, binary),
    sign('sign1'),
    conv('conv2', 64, 63, { ...scaled, padding: [0, 0, 0, 0] }),
    pool('pool2'),
    sign('sign2'),
    conv('conv3', 63, 3, { ...binary, kernel: [2, 2], padding: [0, 0, 0, 0] }),
    flatten,
  ]),
  'full-precision edges with biases and pools': spec([
    conv('conv1', 2, 7, { bias: true, stride: [2, 1], padding: [1, 1, 0, 2] }),
    pool('pool1', { kernel: [2, 3], stride: [1, 1], padding: [1, 0, 1, 1] }),
    norm('norm1', 7),
    sign('sign1'),
    conv('conv2', 7, 10, { ...scaled, groups: 1 }),
    pool('pool2'),
    norm('norm2', 10),
    { type: 'relu', name: 'relu' },
    { type: 'dropout', name: 'dropout', rate: 0.5 },
    flatten,
    dense('dense', 10 * 3 * 1, 3, null),
    norm('norm3', 3),
  ]),
  'one scale for all weights of a layer, other sign activations': spec([
    flatten,
    dense('dense1', 72, 130, 'dorefa-1'),
    norm('norm1', 130),
    { type: 'quantize', name: 'sign1', quantizer: 'approx-sign' },
    dense('dense2', 130, 3, 'dorefa-1'),
    norm('norm2', 3),
  ]),
  'one layer': spec([flatten, dense('dense', 72, 3, 'magnitude-sign')]),
};

/** Networks that cannot be deployed, and what is said of each. */
export const undeployable: readonly (readonly [spec: ModelSpec, sentence: RegExp])[] = [
  [
    spec([flatten, dense('a', 72, 4, null), { type: 'relu', name: 'r' }, dense('b', 4, 3, null)]),
    /^Model 'test' cannot be deployed: it has no binary weights\.$/,
  ],
  [
    spec([
      flatten,
      dense('a', 72, 4, null),
      { type: 'relu', name: 'r' },
      dense('b', 4, 4, null),
      sign('s'),
      dense('c', 4, 3, 'ste-sign'),
    ]),
    /^Layer 'b' cannot be deployed: it has full-precision weights between others/,
  ],
  [
    spec([flatten, dense('a', 72, 4, 'ste-sign'), sign('s'), dense('b', 4, 3, null)]),
    /^Layer 'b' cannot be deployed: it has full-precision weights on signs\.$/,
  ],
  [
    spec([flatten, dense('a', 72, 4, null), { type: 'relu', name: 'r' }, dense('b', 4, 3, 'ste-sign')]),
    /^Layer 'b' cannot be deployed: it has binary weights on real inputs/,
  ],
  [
    spec([flatten, dense('a', 72, 3, 'ste-tern')]),
    /^Layer 'a' cannot be deployed: it has weights of 2 planes of bits \('ste-tern'\)/,
  ],
  [
    spec([
      flatten,
      dense('a', 72, 4, 'ste-sign'),
      { type: 'quantize', name: 'codes', quantizer: 'dorefa-2' },
      dense('b', 4, 3, 'ste-sign'),
    ]),
    /^Layer 'codes' cannot be deployed: it makes codes of 2 bits \('dorefa-2'\)/,
  ],
  [
    spec([
      {
        type: 'residual',
        name: 'block',
        body: [conv('c', 2, 2, binary)],
        shortcut: [],
      },
      flatten,
      dense('a', 72, 3, 'ste-sign'),
    ]),
    /^Layer 'block' cannot be deployed: it is a residual block/,
  ],
  [
    spec([
      conv('a', 2, 4, binary),
      { type: 'average-pool', name: 'mean', kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
      sign('s'),
      flatten,
      dense('b', 36, 3, 'ste-sign'),
    ]),
    /^Layer 'mean' cannot be deployed: it is of type average-pool/,
  ],
  [
    spec([norm('n', 2), flatten, dense('a', 72, 3, 'ste-sign')]),
    /^Layer 'n' cannot be deployed: it stands where deployed networks have no such layer/,
  ],
  [
    spec([conv('a', 2, 4, binary), flatten, norm('n', 144), sign('s'), dense('b', 144, 3, 'ste-sign')]),
    /^Layer 'n' cannot be deployed: it stands where/,
  ],
  [
    spec([conv('a', 2, 4), norm('n', 4), pool('p'), sign('s'), flatten, dense('b', 36, 3, 'ste-sign')]),
    /^Layer 'p' cannot be deployed: it pools behind batch norm/,
  ],
  [
    spec([
      conv('a', 2, 4, binary),
      pool('p', { kernel: [1, 1] }),
      sign('s'),
      flatten,
      dense('b', 36, 3, 'ste-sign'),
    ]),
    /^Layer 'p' cannot be deployed: it only leaves out places/,
  ],
  [
    spec([flatten, dense('a', 72, 3, 'ste-sign'), sign('s')]),
    /^Layer 'a' cannot be deployed: it gives the logits as signs/,
  ],
  [
    spec([conv('a', 2, 1, { ...binary, padding: [0, 0, 0, 0], stride: [3, 2] }), flatten], { classes: 4 }),
    /^Layer 'a' cannot be deployed: it gives the logits as an image/,
  ],
];
