import { expect } from 'chai';
import { defaultGradientMode, type LayerSpec, Model, type ModelSpec } from '../../lib/nn/model.js';
import { weightQuantizers } from '../../lib/nn/quantizers.js';
import { softmaxCrossEntropy } from '../../lib/ops/cross-entropy.js';
import { randomUniform } from '../../lib/ops/random.js';
import type { SignGradient } from '../../lib/ops/sign.js';
import { Tape, variable } from '../../lib/ops/tape.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { numbers } from '../ops/numeric.js';
import { convolve } from '../ops/windows.js';
import { conv, dense, everyLayer, norm, spec } from './networks.js';

/** Images of 6×6×2 in [0, 1], and labels. */
function batch(n: number, seed = 7): { images: Tensor; labels: Tensor } {
  return {
    images: Tensor.from(
      'f32',
      [n, 6, 6, 2],
      numbers(n * 72, seed).map((v) => (v + 1) / 2),
    ),
    labels: Tensor.from(
      'i32',
      [n],
      Int32Array.from({ length: n }, (_, i) => i % 3),
    ),
  };
}

const draw = { seed: 11, step: 4 };
const flatten: LayerSpec = { type: 'flatten', name: 'flatten' };
const quantize = (quantizer: string, name = 'quantize'): LayerSpec => ({ type: 'quantize', name, quantizer });
const head = [flatten, dense('dense', 72, 3, null)];

/** The gradients of one training step, by parameter name. */
function gradients(model: Model, images: Tensor, labels: Tensor, at = draw): Map<string, Float32Array> {
  const result = model.trainingGradients(images, labels, at);
  return new Map(model.parameters.map(({ name }, i) => [name, result.gradients[i]!.toFloat32Array()]));
}

/** Mean cross-entropy in training mode. */
function lossOf(model: Model, images: Tensor, labels: Tensor): number {
  return scope(() => {
    const losses = model.trainingGradients(images, labels, draw).losses.toFloat32Array();
    return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  });
}

function codeOf(body: () => unknown): string | undefined {
  try {
    body();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

describe('a network', () => {
  it('counts its layers depth-first for the initial weights, which the seed and that index fix', () => {
    scope(() => {
      using model = new Model(everyLayer, 5);
      const initial = (index: number, shape: readonly number[], bound: number) => [
        ...randomUniform(shape, -bound, bound, 5, 0x1000_0000 + index).toFloat32Array(),
      ];
      const expected: [string, number, readonly number[], number][] = [
        ['conv1.weight', 1, [4, 3, 3, 2], 1 / Math.sqrt(18)],
        ['conv2.weight', 6, [6, 3, 3, 4], Math.sqrt(6 / (36 + 54))],
        ['conv3.weight', 10, [6, 3, 3, 3], Math.sqrt(6 / (27 + 54))],
        ['conv4.weight', 11, [6, 1, 1, 4], Math.sqrt(6 / (4 + 6))],
        ['dense1.weight', 19, [8, 24], Math.sqrt(6 / (24 + 8))],
        ['dense2.weight', 21, [3, 8], 1 / Math.sqrt(8)],
      ];
      const state = model.state();
      for (const [name, index, shape, bound] of expected) {
        expect(state.get(name)!.shape, name).to.deep.equal(shape);
        expect([...state.get(name)!.values], name).to.deep.equal(initial(index, shape, bound));
      }
    });
  });

  it('says of each parameter what it goes through', () => {
    using model = new Model(everyLayer, 5);
    const rows = model.parameters.map((p) => [p.name, p.quantizer, p.binary, p.decay, p.clip]);
    expect(rows).to.deep.equal([
      ['conv1.weight', null, false, true, 0],
      ['conv1.bias', null, false, false, 0],
      ['norm1.gamma', null, false, false, 0],
      ['norm1.beta', null, false, false, 0],
      ['conv2.weight', 'ste-sign', true, false, 1],
      ['norm2.gamma', null, false, false, 0],
      ['norm2.beta', null, false, false, 0],
      ['conv3.weight', 'ste-tern', false, false, 1],
      ['conv4.weight', 'magnitude-sign', false, false, 1],
      ['norm3.gamma', null, false, false, 0],
      ['norm3.beta', null, false, false, 0],
      ['dense1.weight', 'dorefa-3', false, false, 0],
      ['norm4.gamma', null, false, false, 0],
      ['norm4.beta', null, false, false, 0],
      ['dense2.weight', null, false, true, 0],
      ['dense2.bias', null, false, false, 0],
    ]);
    expect(model.buffers.map(({ name }) => name)).to.deep.equal(
      ['norm1', 'norm2', 'norm3', 'norm4'].flatMap((name) => [
        `${name}.runningMean`,
        `${name}.runningVariance`,
      ]),
    );
  });

  it('of float layers has the gradients of its loss, through residual blocks and batch norm on images', () => {
    const layers: LayerSpec[] = [
      conv('conv1', 2, 3, { bias: true }),
      {
        type: 'residual',
        name: 'block',
        body: [norm('norm1', 3), conv('conv2', 3, 3), norm('norm2', 3)],
        shortcut: [conv('conv3', 3, 3, { kernel: [1, 1], padding: [0, 0, 0, 0] })],
      },
      { type: 'residual', name: 'identity', body: [conv('conv4', 3, 3)], shortcut: [] },
      { type: 'average-pool', name: 'pool', kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
      flatten,
      dense('dense', 27, 3, null),
    ];
    scope(() => {
      using model = new Model(spec(layers), 3);
      const { images, labels } = batch(6);
      const found = gradients(model, images, labels);
      for (const { name, variable } of model.parameters) {
        const values = variable.value.toFloat32Array();
        const gradient = found.get(name)!;
        const most = gradient.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
        for (const i of [0, Math.floor(values.length / 2), values.length - 1]) {
          const h = 2e-3;
          const at = (shift: number) => {
            const moved = values.slice();
            moved[i]! += shift;
            variable.value.write(moved);
            model.invalidate();
            return lossOf(model, images, labels);
          };
          const expected = (at(h) - at(-h)) / (2 * h);
          at(0);
          // The loss is f32: about 1e-7 of noise over 2h.
          expect(gradient[i], `${name}[${i}]`).to.be.closeTo(expected, 0.01 * most + 2e-4);
        }
      }
    });
  });

  it('with every type of layer gives all its parameters a gradient, the same for the same draw', () => {
    scope(() => {
      const [one, same, other] = [draw, draw, { ...draw, step: 5 }].map((at) => {
        using model = new Model(everyLayer, 5);
        const { images, labels } = batch(8);
        return gradients(model, images, labels, at);
      });
      for (const [name, gradient] of one!) {
        expect(gradient.every(Number.isFinite), name).to.equal(true);
        expect([...same!.get(name)!], name).to.deep.equal([...gradient]);
      }
      for (const name of ['dense1.weight', 'conv2.weight', 'conv3.weight', 'conv4.weight']) {
        expect(
          one!.get(name)!.some((v) => v !== 0),
          name,
        ).to.equal(true);
        // Dropout of another step.
        expect([...other!.get(name)!], name).to.not.deep.equal([...one!.get(name)!]);
      }
    });
  });

  it('trains every kind of quantized weights on real inputs and on codes', () => {
    scope(() => {
      const { images, labels } = batch(8);
      for (const { name } of weightQuantizers) {
        for (const before of [[], [{ type: 'hardtanh', name: 'real' } as LayerSpec]]) {
          const layers = [
            ...before,
            conv('conv', 2, 4, { weightQuantizer: name }),
            norm('norm1', 4),
            flatten,
            dense('dense', 144, 3, name),
            norm('norm2', 3),
          ];
          using model = new Model(spec(layers), 3);
          for (const [parameter, gradient] of gradients(model, images, labels)) {
            expect(gradient.every(Number.isFinite), `${name}: ${parameter}`).to.equal(true);
            expect(
              gradient.some((v) => v !== 0),
              `${name}: ${parameter}`,
            ).to.equal(true);
          }
        }
      }
    });
  });

  it('computes the same on codes as on the real numbers they stand for', () => {
    scope(() => {
      const { images } = batch(5);
      for (const { name } of weightQuantizers) {
        // An average over one place makes reals of codes.
        const real: LayerSpec = {
          type: 'average-pool',
          name: 'real',
          kernel: [1, 1],
          stride: [1, 1],
          padding: [0, 0, 0, 0],
        };
        const rest = [conv('conv', 2, 3, { weightQuantizer: name }), flatten, dense('dense', 108, 3, null)];
        using packed = new Model(spec(rest), 3);
        using float = new Model(spec([real, ...rest]), 3);
        float.loadState(new Map([...packed.state()].map(([key, { values }]) => [key, values])));
        const [a, b] = [packed, float].map((model) => model.logits(images).toFloat32Array());
        const most = b!.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
        a!.forEach((v, i) => {
          expect(v, `${name}[${i}]`).to.be.closeTo(b![i]!, 1e-5 * most);
        });
      }
    });
  });

  it('forgets derived weights where parameters change, on codes and on reals', () => {
    scope(() => {
      const { images } = batch(3);
      for (const before of [[], [{ type: 'hardtanh', name: 'real' } as LayerSpec]]) {
        using model = new Model(
          spec([...before, conv('conv', 2, 2, { weightQuantizer: 'magnitude-sign' }), ...head]),
          3,
        );
        const first = [...model.logits(images).toFloat32Array()];
        const state = new Map([...model.state()].map(([name, { values }]) => [name, values]));
        state.set(
          'conv.weight',
          state.get('conv.weight')!.map((v) => -2 * v),
        );
        model.loadState(state);
        const second = [...model.logits(images).toFloat32Array()];
        expect(second).to.not.deep.equal(first);
        state.set(
          'conv.weight',
          state.get('conv.weight')!.map((v) => -v / 2),
        );
        model.loadState(state);
        expect([...model.logits(images).toFloat32Array()]).to.deep.equal(first);
      }
    });
  });

  it('drops nothing in evaluation', () => {
    scope(() => {
      const { images } = batch(4);
      using plain = new Model(spec(head), 3);
      using dropped = new Model(spec([{ type: 'dropout', name: 'dropout', rate: 0.9 }, ...head]), 3);
      dropped.loadState(new Map([...plain.state()].map(([name, { values }]) => [name, values])));
      expect([...dropped.logits(images).toFloat32Array()]).to.deep.equal([
        ...plain.logits(images).toFloat32Array(),
      ]);
    });
  });

  it('flattens and pools signs as it does the numbers ±1', () => {
    scope(() => {
      const { images } = batch(4);
      const sign = quantize('ste-sign');
      const pool: LayerSpec = {
        type: 'max-pool',
        name: 'pool',
        kernel: [2, 2],
        stride: [2, 2],
        padding: [0, 0, 0, 0],
      };
      const bits = spec([
        conv('conv', 2, 5),
        norm('norm', 5),
        sign,
        pool,
        flatten,
        dense('dense', 45, 3, 'ste-sign'),
      ]);
      using model = new Model(bits, 3);
      const { images: more, labels } = batch(16, 8);
      model.trainingGradients(more, labels, draw);
      // Between pool and flatten the signs become reals.
      const real: LayerSpec = { type: 'hardtanh', name: 'real' };
      const layers = [...bits.layers.slice(0, 5), real, ...bits.layers.slice(5)];
      using float = new Model({ ...bits, layers }, 3);
      float.loadState(new Map([...model.state()].map(([name, { values }]) => [name, values])));
      expect([...model.logits(images).toFloat32Array()]).to.deep.equal([
        ...float.logits(images).toFloat32Array(),
      ]);
    });
  });

  it('reports the exact sums of all integer layers, nested ones too', () => {
    scope(() => {
      using model = new Model(everyLayer, 5);
      const { images } = batch(2);
      const found = model.integerPreactivations(images);
      expect([...found].map(([name, sums]) => [name, sums.length])).to.deep.equal([
        ['conv2', 432],
        ['conv3', 432],
        ['conv4', 432],
        ['dense1', 16],
      ]);

      using first = new Model(spec([conv('conv', 2, 2, { weightQuantizer: 'ste-tern' }), ...head]), 3);
      const w = first.state().get('conv.weight')!.values;
      const levels = w.map(
        (v) => (Math.fround(v + 0.05) >= 0 ? 1 : -1) + (Math.fround(v - 0.05) >= 0 ? 1 : -1),
      );
      const sums = convolve(first.codes(images), levels, {
        n: 2,
        size: [6, 6],
        inputs: 2,
        outputs: 2,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [1, 1, 1, 1],
        groups: 1,
      });
      expect([...first.integerPreactivations(images).get('conv')!]).to.deep.equal([...sums]);
    });
  });

  it('frees all that a training step, an attack step and a prediction made', () => {
    using model = new Model(everyLayer, 5);
    const { images, labels } = batch(8);
    const run = () =>
      scope(() => {
        model.trainingGradients(images, labels, draw);
        model.invalidate();
        model
          .attackable({ sign: 'identity' })
          .vjp(images, (logits) => softmaxCrossEntropy(logits, labels, 1).gradient);
        model.predict(images);
        model.invalidate();
      });
    run();
    const before = memoryInfo().liveTensors;
    for (let i = 0; i < 3; i++) run();
    expect(memoryInfo().liveTensors).to.be.at.most(before);
    images.dispose();
    labels.dispose();
  });

  it('holds no more than a few values at a time where no gradient is wanted', () => {
    const blocks = Array.from(
      { length: 20 },
      (_, i): LayerSpec => ({
        type: 'residual',
        name: `block${i}`,
        body: [{ type: 'hardtanh', name: `hardtanh${i}` }, norm(`norm${i}`, 2)],
        shortcut: [],
      }),
    );
    const end = [quantize('ste-sign'), flatten, dense('dense', 72, 3, 'ste-sign')];
    using model = new Model(spec([...blocks, ...end]), 5);
    scope(() => {
      const { images } = batch(500);
      const before = memoryInfo().liveBytes;
      let held = 0;
      model.forward(new Tape(), variable(images, false), {
        mode: 'evaluate',
        ordered: false,
        gradientMode: defaultGradientMode,
        onIntegers: () => {
          held = memoryInfo().liveBytes - before;
        },
      });
      expect(held).to.be.within(1, images.byteLength);
    });
  });

  it('frees its parameters with itself', () => {
    const before = memoryInfo().liveTensors;
    scope(() => {
      const model = new Model(everyLayer, 5);
      model.logits(batch(2).images);
      model.dispose();
    });
    expect(memoryInfo().liveTensors).to.be.at.most(before);
  });
});

describe('the surrogates an attack can choose', () => {
  const cases: [readonly LayerSpec[], readonly SignGradient[]][] = [
    [[], []],
    [[quantize('ste-sign')], ['clipped', 'identity', 'approx', 'swish']],
    [[quantize('heaviside')], ['clipped', 'identity', 'approx', 'swish']],
    [[quantize('dorefa-2')], ['clipped', 'identity']],
    [
      [
        quantize('swish-sign'),
        { type: 'residual', name: 'block', body: [quantize('dorefa-1', 'inner')], shortcut: [] },
      ],
      ['clipped', 'identity'],
    ],
  ];
  for (const [layers, expected] of cases) {
    const what = layers.map((layer) => (layer.type === 'quantize' ? layer.quantizer : layer.type)).join(', ');
    it(`with ${what || 'no quantized activations'}: ${expected.join(', ') || 'none'}`, () => {
      scope(() => {
        const network: ModelSpec = spec([norm('norm', 2), ...layers, ...head]);
        using model = new Model(network, 3);
        expect(model.activationGradients).to.deep.equal(expected);
        expect(model.hasSign).to.equal(expected.length > 0);
        const { images, labels } = batch(4);
        const pixels = (sign: SignGradient) =>
          model
            .attackable({ sign })
            .vjp(images, (logits) => softmaxCrossEntropy(logits, labels, 1).gradient)
            .gradient.toFloat32Array();
        for (const sign of ['clipped', 'identity', 'approx', 'swish'] as const) {
          if (expected.length === 0 || expected.includes(sign)) {
            expect(
              pixels(sign).some((v) => v !== 0),
              sign,
            ).to.equal(true);
          } else {
            expect(
              codeOf(() => model.attackable({ sign })),
              sign,
            ).to.equal('ERR_HARDBIT_UNSUPPORTED');
          }
        }
        const zero = expected.length > 0 && layers.every((layer) => layer.type === 'quantize');
        if (zero) expect(pixels('exact').every((v) => v === 0)).to.equal(true);
      });
    });
  }

  it('the default is the mask that the networks are trained with', () => {
    scope(() => {
      using model = new Model(spec([norm('norm', 2), quantize('ste-sign'), ...head]), 3);
      const { images, labels } = batch(4);
      const loss = (logits: Tensor) => softmaxCrossEntropy(logits, labels, 1).gradient;
      const [fallback, clipped] = [{}, { sign: 'clipped' } as const].map((mode) => [
        ...model.attackable(mode).vjp(images, loss).gradient.toFloat32Array(),
      ]);
      expect(fallback).to.deep.equal(clipped);
    });
  });
});
