import { expect } from 'chai';
import type { Activation, ForwardContext, Layer, LayerSpec } from '../../lib/nn/layer.js';
import { createLayers, forwardLayers } from '../../lib/nn/layers.js';
import { defaultGradientMode, Model } from '../../lib/nn/model.js';
import type { SignGradient } from '../../lib/ops/sign.js';
import { Tape, variable } from '../../lib/ops/tape.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { f32, finiteDifferences, near, numbers } from '../ops/numeric.js';
import { conv, dense, norm, spec } from './networks.js';
import { pooledProducts, runPooled } from './pooled-products.js';

const quantize = (quantizer: string): LayerSpec => ({ type: 'quantize', name: 'quantize', quantizer });

const signs = ['ste-sign', 'ste-sign-identity', 'approx-sign', 'swish-sign'];
const surrogates: readonly SignGradient[] = ['clipped', 'identity', 'approx', 'swish', 'exact'];

/** What a batch norm and a sign make of 11 rows of 70 channels, forward and backward, and what the norm learned. */
function run(layers: readonly Layer[], kind: 'integers' | 'real', context: ForwardContext, fused: boolean) {
  return scope(() => {
    const [rows, channels] = [11, 70];
    const z = numbers(rows * channels, 3).map((v) => 3 * v);
    const value =
      kind === 'real'
        ? f32([rows, channels], z)
        : Tensor.from(
            'i16',
            [rows, channels],
            Int16Array.from(z, (v) => 100 * v),
          );
    const x: Activation =
      kind === 'real'
        ? { kind, variable: variable(value) }
        : { kind, variable: variable(value), scale: 1 / 85 };
    const tape = new Tape();
    const y = fused
      ? forwardLayers(layers, tape, x, context)
      : layers.reduce<Activation>(
          (activation, layer) => forwardLayers([layer], tape, activation, context),
          x,
        );
    const parameters = layers.flatMap((layer) => layer.parameters.map((parameter) => parameter.variable));
    const dy = f32([rows, channels], numbers(rows * channels, 4));
    const targets = [x.variable, ...(context.mode === 'train' ? parameters : [])];
    const gradients = tape.backward(y.variable, dy, targets);
    return {
      kind: y.kind,
      signs: [...(y.variable.value.read() as BigUint64Array)],
      gradients: gradients.map((gradient) => [...gradient.toFloat32Array()]),
      running: layers.flatMap((layer) => layer.buffers.map((buffer) => [...buffer.value.toFloat32Array()])),
    };
  });
}

/** Fresh layers with parameters that are not their initial ones. */
function withLayers<T>(quantizer: string, use: (layers: readonly Layer[]) => T): T {
  const layers = createLayers([norm('norm', 70), quantize(quantizer)], 1);
  const [gamma, beta] = layers.flatMap((layer) => layer.parameters);
  gamma!.variable.value.write(numbers(70, 5).map((v) => 2 * v));
  beta!.variable.value.write(numbers(70, 6));
  layers[0]!.buffers[0]!.value.write(numbers(70, 7));
  layers[0]!.buffers[1]!.value.write(numbers(70, 8).map((v) => Math.abs(v) + 0.1));
  try {
    return use(layers);
  } finally {
    for (const layer of layers) layer.dispose();
  }
}

describe('batch norm and sign as one op', () => {
  for (const kind of ['integers', 'real'] as const) {
    // Both paths add the same terms in the same order.
    it(`is the two layers to the last bit, in training and under attack, on ${kind}`, () => {
      const training: ForwardContext = { mode: 'train', seed: 1, step: 0 };
      for (const quantizer of signs) {
        const [fused, apart] = [true, false].map((together) =>
          withLayers(quantizer, (layers) => run(layers, kind, training, together)),
        );
        expect(fused, quantizer).to.deep.equal(apart);
        expect(fused!.kind).to.equal('signs');
      }
      for (const sign of surrogates) {
        const context: ForwardContext = {
          mode: 'evaluate',
          gradientMode: { ...defaultGradientMode, sign },
          ordered: false,
        };
        const [fused, apart] = [true, false].map((together) =>
          withLayers('ste-sign', (layers) => run(layers, kind, context, together)),
        );
        expect(fused, sign).to.deep.equal(apart);
        const [dx] = fused!.gradients;
        expect(dx!.some((v) => v !== 0)).to.equal(sign !== 'exact');
      }
    });
  }

  it('has the gradients of batch norm under the mask, by finite differences in double', () => {
    const [rows, channels] = [11, 70];
    const z = Float64Array.from(numbers(rows * channels, 3), (v) => Math.fround(3 * v));
    const gamma = Float64Array.from(numbers(channels, 5), (v) => Math.fround(2 * v));
    const beta = Float64Array.from(numbers(channels, 6));
    const y = (at: Float64Array): Float64Array => {
      const out = new Float64Array(at.length);
      for (let c = 0; c < channels; c++) {
        let [mean, variance] = [0, 0];
        for (let r = 0; r < rows; r++) mean += at[r * channels + c]! / rows;
        for (let r = 0; r < rows; r++) variance += (at[r * channels + c]! - mean) ** 2 / rows;
        for (let r = 0; r < rows; r++) {
          const h = (at[r * channels + c]! - mean) / Math.sqrt(variance + 1e-5);
          out[r * channels + c] = gamma[c]! * h + beta[c]!;
        }
      }
      return out;
    };
    const at = y(z);
    // The surrogate is piecewise constant: the loss whose gradient it takes is Σ dy·1[|y| ≤ 1]·y, the mask held fixed.
    const masked = numbers(rows * channels, 4).map((v, i) => (Math.abs(at[i]!) <= 1 ? v : 0));
    const { gradients } = withLayers('ste-sign', (layers) =>
      run(layers, 'real', { mode: 'train', seed: 1, step: 0 }, true),
    );
    near(Float32Array.from(gradients[0]!), finiteDifferences(y, Float32Array.from(z), masked), 2e-5, 'dx');
  });

  it('keeps of a binary layer two bits, a place of pooling and 16-bit sums, and frees them in the backward pass', () => {
    const binary = (name: string, inputs: number, outputs: number) =>
      conv(name, inputs, outputs, { weightQuantizer: 'ste-sign' });
    const layers: LayerSpec[] = [
      binary('conv1', 2, 128),
      norm('norm1', 128),
      { type: 'quantize', name: 'sign1', quantizer: 'ste-sign' },
      binary('conv2', 128, 128),
      { type: 'max-pool', name: 'pool2', kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
      norm('norm2', 128),
      { type: 'quantize', name: 'sign2', quantizer: 'ste-sign' },
      { type: 'flatten', name: 'flatten' },
      dense('dense', 128 * 64, 3, 'ste-sign'),
      norm('norm3', 3),
    ];
    using model = new Model(spec(layers, { inputShape: [16, 16, 2] }), 1);
    using images = Tensor.from('f32', [64, 16, 16, 2], new Float32Array(64 * 512).fill(0.4));
    const context: ForwardContext = { mode: 'train', seed: 1, step: 0 };
    const live = () => memoryInfo().liveBytes;
    const run = () =>
      scope(() => {
        const tape = new Tape();
        const before = live();
        const logits = model.forward(tape, variable(images, false), context);
        const forward = live() - before;
        const dy = f32(logits.value.shape, numbers(64 * 3, 2));
        const targets = model.parameters.map((parameter) => parameter.variable);
        const gradients = tape.backward(logits, dy, targets);
        const values = gradients.reduce((sum, gradient) => sum + gradient.byteLength, 0);
        return { forward, backward: live() - before - values };
      });
    run();
    const pixels = 64 * 16 * 16;
    const first = pixels * (2 + 128 * (2 + 2 / 8));
    const second = (pixels / 4) * 128 * (1 + 2 + 2 / 8);
    const { forward, backward } = run();
    // What is left over: the last layer, statistics, and the allocator's rounding. The f32 values between batch norm and
    // sign alone would be 8 MiB.
    expect(forward).to.be.at.least(first + second);
    expect(forward).to.be.at.most(1.13 * (first + second));
    expect(backward).to.be.at.most(200_000);
  });
});

describe('a convolution on integers and max-pooling as one op', () => {
  it('is the two layers to the last bit, in training and under attack', () => {
    for (const product of pooledProducts) {
      for (const arithmetic of ['float', 'int8'] as const) {
        const contexts: readonly ForwardContext[] = [
          { mode: 'train', seed: 1, step: 2, gradientArithmetic: arithmetic },
          { mode: 'evaluate', gradientMode: { ...defaultGradientMode, arithmetic }, ordered: false, step: 3 },
        ];
        for (const context of contexts) {
          const [fused, apart] = [true, false].map((together) =>
            runPooled(product, context, 'cpu', together),
          );
          expect(fused, JSON.stringify(product)).to.deep.equal(apart);
          expect(fused!.gradients).to.have.length(context.mode === 'train' ? 2 : 1);
          for (const gradient of fused!.gradients) expect(gradient.some((v) => v !== 0)).to.equal(true);
        }
      }
    }
  });

  it('makes all integers for who asks for them', () => {
    const seen: (readonly number[])[] = [];
    const context: ForwardContext = {
      mode: 'evaluate',
      gradientMode: defaultGradientMode,
      ordered: false,
      onIntegers: (_, sums) => seen.push(sums.shape),
    };
    runPooled(pooledProducts[0]!, context);
    expect(seen).to.deep.equal([[3, 5, 6, 128]]);
  });
});
