import { expect } from 'chai';
import fc from 'fast-check';
import { isHardbitError } from '../../lib/errors.js';
import { type LayerSpec, layerShapes, Model, type ModelSpec, type Sides } from '../../lib/nn/model.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { outputSize } from '../ops/windows.js';
import { conv, dense, everyLayer, norm, spec } from './networks.js';

const flatten: LayerSpec = { type: 'flatten', name: 'flatten' };

describe('the shapes of a network', () => {
  it('are walked depth-first, with parameters, multiply-accumulates and precisions', () => {
    const rows = layerShapes(everyLayer).map((each) => [
      each.name,
      each.depth,
      each.inputShape.join('×'),
      each.outputShape.join('×'),
      each.parameters,
      each.macs,
      each.precision === null ? null : `${each.precision.weightBits}/${each.precision.inputBits}`,
    ]);
    expect(rows).to.deep.equal([
      ['discretizer', 0, '6×6×2', '6×6×2', 0, 0, null],
      ['conv1', 0, '6×6×2', '6×6×4', 76, 2592, '32/2'],
      ['norm1', 0, '6×6×4', '6×6×4', 8, 0, null],
      ['hardtanh', 0, '6×6×4', '6×6×4', 0, 0, null],
      ['sign1', 0, '6×6×4', '6×6×4', 0, 0, null],
      ['block', 0, '6×6×4', '6×6×6', 0, 0, null],
      ['conv2', 1, '6×6×4', '6×6×6', 216, 7776, '1/1'],
      ['norm2', 1, '6×6×6', '6×6×6', 12, 0, null],
      ['inner', 1, '6×6×6', '6×6×6', 0, 0, null],
      ['sign2', 2, '6×6×6', '6×6×6', 0, 0, null],
      ['conv3', 2, '6×6×6', '6×6×6', 162, 5832, '2/1'],
      ['conv4', 1, '6×6×4', '6×6×6', 24, 864, '1/1'],
      ['pool1', 0, '6×6×6', '3×3×6', 0, 0, null],
      ['relu', 0, '3×3×6', '3×3×6', 0, 0, null],
      ['dropout', 0, '3×3×6', '3×3×6', 0, 0, null],
      ['pool2', 0, '3×3×6', '2×2×6', 0, 0, null],
      ['norm3', 0, '2×2×6', '2×2×6', 12, 0, null],
      ['codes', 0, '2×2×6', '2×2×6', 0, 0, null],
      ['flatten', 0, '2×2×6', '24', 0, 0, null],
      ['dense1', 0, '24', '8', 192, 192, '3/2'],
      ['norm4', 0, '8', '8', 16, 0, null],
      ['dense2', 0, '8', '3', 27, 24, '32/32'],
    ]);
  });

  it('agree with the parameters of the network that is built', () => {
    using model = new Model(everyLayer, 1);
    const total = layerShapes(everyLayer).reduce((sum, { parameters }) => sum + parameters, 0);
    expect(model.parameterCount()).to.equal(total);
  });

  it('follow strides, one-sided padding and dilation', () => {
    const network = spec(
      [
        conv('conv', 2, 4, { kernel: [3, 2], stride: [2, 3], padding: [0, 1, 2, 0], dilation: [2, 3] }),
        flatten,
        dense('dense', 16, 3, null),
      ],
      { inputShape: [7, 9, 2] },
    );
    // Rows ⌊(7 + 1 − 5)/2⌋ + 1 = 2, columns ⌊(9 + 2 − 4)/3⌋ + 1 = 3: 24 values, so the next layer is refused.
    expect(() => layerShapes(network)).to.throw(/gets values of shape \[24\]/);
  });

  it('are those that the network computes, for windows of any size, stride, padding and dilation', () => {
    const small = fc.integer({ min: 1, max: 3 });
    const side = fc.integer({ min: 0, max: 2 });
    const window = fc.record({
      kernel: fc.tuple(small, small),
      stride: fc.tuple(small, small),
      padding: fc.tuple(side, side, side, side),
      dilation: fc.tuple(small, small),
    });
    const names = fc.constantFrom(null, 'ste-sign', 'ste-tern');
    fc.assert(
      fc.property(
        window,
        window,
        fc.integer({ min: 5, max: 9 }),
        small,
        names,
        (first, second, size, groups, name) => {
          const convolved = outputSize({ ...first, size: [size, size + 1] });
          fc.pre(convolved.every((each) => each > 0));
          const { kernel, stride } = second;
          const padding = second.padding.map((each, i) => Math.min(each, kernel[i < 2 ? 0 : 1] - 1));
          const pooled = { kernel, stride, padding: padding as unknown as Sides };
          const [rows, columns] = outputSize({ ...pooled, dilation: [1, 1], size: convolved });
          fc.pre(rows > 0 && columns > 0);
          const channels = 2 * groups;
          const network = spec(
            [
              conv('conv', channels, channels, { ...first, groups, weightQuantizer: name }),
              { type: 'max-pool', name: 'max', ...pooled },
              { type: 'average-pool', name: 'mean', kernel: [1, 1], stride: [1, 1], padding: [0, 0, 0, 0] },
              flatten,
              dense('dense', rows * columns * channels, 3, null),
            ],
            { inputShape: [size, size + 1, channels] },
          );
          scope(() => {
            using model = new Model(network, 1);
            const logits = model.logits(Tensor.from('f32', [2, ...network.inputShape]));
            expect(logits.shape).to.deep.equal([2, 3]);
          });
        },
      ),
      { numRuns: 100 },
    );
  });

  const residual = (body: readonly LayerSpec[], shortcut: readonly LayerSpec[] = []): LayerSpec => ({
    type: 'residual',
    name: 'block',
    body,
    shortcut,
  });
  const end = [flatten, dense('dense', 72, 3, null)];
  const pool = (options: Partial<Extract<LayerSpec, { type: 'max-pool' | 'average-pool' }>>): LayerSpec => ({
    type: 'max-pool',
    name: 'pool',
    kernel: [2, 2],
    stride: [2, 2],
    padding: [0, 0, 0, 0],
    ...options,
  });
  const wrong: readonly [string, string, RegExp, ModelSpec][] = [
    ['a first layer that does not discretize', 'ARGUMENT', /first layer/, { ...spec(end), layers: end }],
    ['bits that differ', 'ARGUMENT', /3 input bits/, { ...spec(end), inputBits: 3 }],
    ['bits beyond 8', 'ARGUMENT', /'discretizer'/, spec(end, { inputBits: 9 })],
    [
      'a second discretizer',
      'ARGUMENT',
      /'again'/,
      spec([{ type: 'discretizer', name: 'again', bits: 2 }, ...end]),
    ],
    ['a name used twice', 'ARGUMENT', /'flatten'/, spec([flatten, ...end])],
    [
      'a name used twice, in a block',
      'ARGUMENT',
      /'flatten'/,
      spec([residual([{ type: 'relu', name: 'flatten' }]), ...end]),
    ],
    ['no name', 'ARGUMENT', /no name/, spec([{ type: 'relu', name: '' }, ...end])],
    ['channels that differ', 'SHAPE', /'conv' takes 3 channels/, spec([conv('conv', 3, 4), ...end])],
    [
      'a kernel larger than the image',
      'SHAPE',
      /'conv' has a window of 9 rows over 8/,
      spec([conv('conv', 2, 2, { kernel: [9, 3] }), ...end]),
    ],
    [
      'groups that do not divide',
      'ARGUMENT',
      /'conv' has 2 groups/,
      spec([conv('conv', 2, 3, { groups: 2 }), ...end]),
    ],
    [
      'a stride of 0',
      'ARGUMENT',
      /'conv' has a stride of 0/,
      spec([conv('conv', 2, 2, { stride: [0, 1] }), ...end]),
    ],
    [
      'a negative padding',
      'ARGUMENT',
      /'conv' has a padding of -1/,
      spec([conv('conv', 2, 2, { padding: [-1, 1, 1, 1] }), ...end]),
    ],
    ['half a channel', 'ARGUMENT', /'conv' has a width of 2.5/, spec([conv('conv', 2.5, 2), ...end])],
    [
      'a convolution behind flatten',
      'SHAPE',
      /'conv' gets values of shape \[72\]/,
      spec([flatten, conv('conv', 2, 2)]),
    ],
    ['a dense layer on an image', 'SHAPE', /'dense' takes 72 inputs/, spec([dense('dense', 72, 3, null)])],
    [
      'a bias behind quantized weights',
      'UNSUPPORTED',
      /'conv' has quantized weights and a bias/,
      spec([conv('conv', 2, 2, { weightQuantizer: 'ste-sign', bias: true }), ...end]),
    ],
    [
      'padding of ones in float',
      'UNSUPPORTED',
      /'conv' pads with ones/,
      spec([conv('conv', 2, 2, { paddingValue: 'one' }), ...end]),
    ],
    [
      'padding of ones behind dropout',
      'UNSUPPORTED',
      /'conv' pads with ones/,
      spec([
        { type: 'dropout', name: 'dropout', rate: 0.5 },
        conv('conv', 2, 2, { paddingValue: 'one', weightQuantizer: 'ste-sign' }),
        ...end,
      ]),
    ],
    [
      'an unknown weight quantizer',
      'UNKNOWN_NAME',
      /'ste-sing'.*'ste-sign'/,
      spec([conv('conv', 2, 2, { weightQuantizer: 'ste-sing' }), ...end]),
    ],
    [
      'an unknown activation quantizer',
      'UNKNOWN_NAME',
      /'heavyside'.*'heaviside'/,
      spec([{ type: 'quantize', name: 'q', quantizer: 'heavyside' }, ...end]),
    ],
    ['a batch norm of another width', 'SHAPE', /'norm' has 3 features/, spec([norm('norm', 3), ...end])],
    [
      'a batch norm without epsilon',
      'ARGUMENT',
      /'norm' has epsilon 0/,
      spec([{ type: 'batch-norm', name: 'norm', features: 2, epsilon: 0, momentum: 0.1 }, ...end]),
    ],
    [
      'a rate of 1',
      'ARGUMENT',
      /'dropout' has rate 1/,
      spec([{ type: 'dropout', name: 'dropout', rate: 1 }, ...end]),
    ],
    [
      'a pool padded by its window',
      'ARGUMENT',
      /'pool' has padding/,
      spec([pool({ padding: [2, 0, 0, 0] }), ...end]),
    ],
    [
      'a pool of more than 256 places',
      'ARGUMENT',
      /'pool' has a window of 17 × 17/,
      spec([pool({ kernel: [17, 17] }), ...end], { inputShape: [20, 20, 2] }),
    ],
    [
      'a shortcut of another shape',
      'SHAPE',
      /'block' adds a body of shape \[6, 6, 4\]/,
      spec([residual([conv('conv', 2, 4)]), ...end]),
    ],
    ['the wrong number of classes', 'SHAPE', /\[4\], a logit a class/, spec(end, { classes: 4 })],
  ];
  for (const [what, code, message, network] of wrong) {
    it(`refuse ${what}`, () => {
      try {
        new Model(network, 1).dispose();
      } catch (error) {
        if (!isHardbitError(error)) throw error;
        expect(error.code).to.equal(`ERR_HARDBIT_${code}`);
        expect(error.message).to.match(message);
        return;
      }
      expect.fail('expected an error');
    });
  }
});
