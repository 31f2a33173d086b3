import { expect } from 'chai';
import { evaluateAttack } from '../../lib/evaluation/attack.js';
import { resolveAttack } from '../../lib/evaluation/attack-options.js';
import { createModel, type GradientArithmetic, type ModelSpec } from '../../lib/models/registry.js';
import { native } from '../../lib/native.js';
import type { LayerSpec } from '../../lib/nn/layer.js';
import { Model } from '../../lib/nn/model.js';
import { softmaxCrossEntropy } from '../../lib/ops/cross-entropy.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { numbers } from '../ops/numeric.js';
import { failure, rejection } from '../support/failure.js';
import { tinyDigits } from '../support/tiny-data.js';
import { conv, dense, norm, spec } from './networks.js';

/** A binary network on 6×6×2: convolutions of whole and of grouped channels, and a dense layer, by one quantizer. */
function network(weights: string, activations = 'ste-sign'): ModelSpec {
  const quantize = (name: string): LayerSpec => ({ type: 'quantize', name, quantizer: activations });
  return spec([
    conv('conv1', 2, 24, { weightQuantizer: weights }),
    norm('norm1', 24),
    quantize('sign1'),
    conv('conv2', 24, 32, { weightQuantizer: weights, groups: 2 }),
    { type: 'max-pool', name: 'pool2', kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
    norm('norm2', 32),
    quantize('sign2'),
    conv('conv3', 32, 40, { weightQuantizer: weights, paddingValue: 'one', stride: [2, 2] }),
    norm('norm3', 40),
    quantize('sign3'),
    { type: 'flatten', name: 'flatten' },
    dense('dense', 160, 3, weights),
    norm('norm4', 3),
  ]);
}

function batch(n: number): { images: Tensor; labels: Tensor } {
  const pixels = numbers(n * 72, 7).map((v) => (v + 1) / 2);
  return {
    images: Tensor.from('f32', [n, 6, 6, 2], pixels),
    labels: Tensor.from(
      'i32',
      [n],
      Int32Array.from({ length: n }, (_, i) => i % 3),
    ),
  };
}

type Gradients = ReadonlyMap<string, Float32Array>;

/** One training step's gradients by name, and those of the pixels under attack. */
function gradientsOf(model: Model, arithmetic: GradientArithmetic, step = 0, seed = 3): Gradients {
  return scope(() => {
    const { images, labels } = batch(24);
    const draw = { seed, step, gradientArithmetic: arithmetic };
    const { gradients } = model.trainingGradients(images, labels, draw);
    return new Map(model.parameters.map(({ name }, i) => [name, gradients[i]!.toFloat32Array()]));
  });
}

function pixelGradient(model: Model, arithmetic: GradientArithmetic, calls = 1): Float32Array {
  return scope(() => {
    const { images, labels } = batch(24);
    const attackable = model.attackable({ arithmetic });
    const cotangent = (logits: Tensor) => softmaxCrossEntropy(logits, labels, 1).gradient;
    let last = attackable.vjp(images, cotangent);
    for (let i = 1; i < calls; i++) last = attackable.vjp(images, cotangent);
    return last.gradient.toFloat32Array();
  });
}

/** ‖a − b‖/‖b‖ */
function distance(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0];
  a.forEach((v, i) => {
    difference += (v - b[i]!) ** 2;
    size += b[i]! ** 2;
  });
  return Math.sqrt(difference / size);
}

const reduced = (['bf16', 'int8'] as const).filter((arithmetic) =>
  native().supportsGradientArithmetic(arithmetic),
);
/** Relative error of a gradient that went through up to four products: bf16 has 8 bits of mantissa, int8 steps of max/127. */
const bounds = { bf16: 0.006, int8: 0.045 };

describe('the arithmetic of gradients', () => {
  for (const weights of ['ste-sign', 'magnitude-sign', 'ste-tern', 'dorefa-3']) {
    for (const arithmetic of reduced) {
      it(`${arithmetic} comes close to float in a network of ${weights}, and is not float`, () => {
        using model = new Model(network(weights), 5);
        const exact = gradientsOf(model, 'float');
        for (const [name, gradient] of gradientsOf(model, arithmetic)) {
          const error = distance(gradient, exact.get(name)!);
          expect(error, name).to.be.at.most(bounds[arithmetic]);
          // The last batch norm stands behind all products.
          if (!name.startsWith('norm4')) expect(error, name).to.be.above(0);
        }
        const error = distance(pixelGradient(model, arithmetic), pixelGradient(model, 'float'));
        expect(error, 'pixels').to.be.at.most(bounds[arithmetic]).and.above(0);
      });
    }
  }

  it('int8 is right on average: the mean over many steps comes closer than one', () => {
    using model = new Model(network('ste-sign'), 5);
    const exact = gradientsOf(model, 'float').get('conv1.weight')!;
    const steps = 64;
    const mean = new Float32Array(exact.length);
    let alone = 0;
    for (let step = 0; step < steps; step++) {
      const gradient = gradientsOf(model, 'int8', step).get('conv1.weight')!;
      alone += distance(gradient, exact) / steps;
      gradient.forEach((v, i) => {
        mean[i]! += v / steps;
      });
    }
    // Independent unbiased errors shrink by √64 = 8; a third of that leaves room for chance.
    expect(distance(mean, exact)).to.be.below((3 * alone) / 8);
  });

  it('int8 draws by seed, layer and step, on any number of threads', () => {
    using model = new Model(network('ste-sign'), 5);
    const first = gradientsOf(model, 'int8', 4);
    const weights = (gradients: Gradients) => [...gradients.get('conv1.weight')!];
    const threads = native().info().threads;
    for (const count of [1, 2, 5]) {
      native().setThreads(count);
      try {
        expect(weights(gradientsOf(model, 'int8', 4))).to.deep.equal(weights(first));
      } finally {
        native().setThreads(threads);
      }
    }
    expect(weights(gradientsOf(model, 'int8', 5))).to.not.deep.equal(weights(first));
    expect(weights(gradientsOf(model, 'int8', 4, 9))).to.not.deep.equal(weights(first));
    expect(pixelGradient(model, 'int8', 2)).to.deep.equal(pixelGradient(model, 'int8', 2));
    expect(pixelGradient(model, 'int8', 2)).to.not.deep.equal(pixelGradient(model, 'int8', 1));
    expect(pixelGradient(model, 'float', 2)).to.deep.equal(pixelGradient(model, 'float', 1));
  });

  it('an attack names it beside its figures, unless it is float', async () => {
    using model = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 1 });
    const data = tinyDigits(20);
    const attack = resolveAttack('pgd', { epsilon: 0.1, steps: 2 });
    const modeOf = async (arithmetic: GradientArithmetic) =>
      (await evaluateAttack(model, data, attack, { seed: 1, gradient: { arithmetic } })).gradientMode;
    expect(await modeOf('float')).to.deep.equal({ discretizer: 'identity', sign: 'clipped' });
    for (const arithmetic of reduced) {
      expect(await modeOf(arithmetic)).to.deep.equal({
        discretizer: 'identity',
        sign: 'clipped',
        arithmetic,
      });
    }
    data.dispose();
  });

  it('is refused where there is none of the name, or this CPU lacks it', async () => {
    using model = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 1 });
    const unknown = failure(() => model.attackable({ arithmetic: 'int4' as 'int8' }));
    expect(unknown.code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
    expect(unknown.message).to.contain("'int8'");
    using wide = new Model(network('dorefa-7'), 5);
    const tooMany = failure(() => gradientsOf(wide, 'int8'));
    expect(tooMany.code).to.equal('ERR_HARDBIT_UNSUPPORTED');
    expect(tooMany.message).to.contain("choose 'float'");
    if (reduced.includes('bf16')) return;
    expect(failure(() => model.attackable({ arithmetic: 'bf16' })).code).to.equal('ERR_HARDBIT_UNSUPPORTED');
    const data = tinyDigits(20);
    const { fit } = await import('../../lib/training/fit.js');
    const options = { epochs: 1, batchSize: 10, seed: 1, gradientArithmetic: 'bf16' } as const;
    expect((await rejection(fit(model, data, options))).code).to.equal('ERR_HARDBIT_UNSUPPORTED');
    data.dispose();
  });
});
