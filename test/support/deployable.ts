import { expect } from 'chai';
import { deploymentOf } from '../../lib/nn/deployment.js';
import { Model, type ModelSpec } from '../../lib/nn/model.js';
import { requireWeightQuantizer } from '../../lib/nn/quantizers.js';
import { productScale } from '../../lib/ops/quantized-weights.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';

/** Numbers in [0, 1) from a seed. */
export function generator(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Images of bytes whose codes are just about to change, black and white ones among them, [N, H, W, C]. */
export function byteImages(spec: ModelSpec, count: number, seed: number): Uint8Array {
  const next = generator(seed);
  const size = spec.inputShape.reduce((a, b) => a * b, 1);
  const levels = 2 ** spec.inputBits - 1;
  return Uint8Array.from({ length: count * size }, (_, i) => {
    const image = Math.floor(i / size);
    if (image === 0) return 0;
    if (image === 1) return 255;
    if (image % 2 === 0) return Math.floor(256 * next());
    // On both sides of the middle between two codes.
    const middle = ((Math.floor(next() * levels) + 0.5) / levels) * 255;
    return Math.min(255, Math.max(0, Math.round(middle + 3 * next() - 1.5)));
  });
}

/** Bytes as the training graph takes them: f32 in [0, 1], fl(k/255). */
export function pixels(spec: ModelSpec, images: Uint8Array): Tensor {
  const [height, width, channels] = spec.inputShape;
  const count = images.length / (height * width * channels);
  return Tensor.from(
    'f32',
    [count, height, width, channels],
    Float32Array.from(images, (k) => k / 255),
  );
}

/**
 * A network that can be deployed, with statistics as unkind as they can be: gammas of both signs and zeros, means that are reached
 * exactly, so that batch norm gives 0, whose sign is +1, and channels whose sign never changes.
 */
export function unkindModel(spec: ModelSpec, seed: number): Model {
  const model = new Model(spec, seed);
  const next = generator(seed + 1);
  const images = pixels(spec, byteImages(spec, 6, seed + 2));
  const { layers } = deploymentOf(spec);
  for (const layer of layers ?? []) {
    const state = new Map([...model.state()].map(([name, { values }]) => [name, values]));
    const { product, norm } = layer;
    if (product.bias) {
      state.set(
        `${product.name}.bias`,
        Float32Array.from({ length: product.outputs }, () => next() - 0.5),
      );
    }
    if (norm !== null) {
      const reached = scope(() => reachedValues(model, layer.binary ? product.name : null, layer, images));
      const values = (make: (channel: number) => number) =>
        Float32Array.from({ length: norm.features }, (_, c) => make(c));
      state.set(
        `${norm.name}.gamma`,
        values((c) => ([-1, 1, 0.5, -2, 0, 1, -0.01][c % 7] as number) * (0.5 + next())),
      );
      state.set(
        `${norm.name}.beta`,
        values((c) => (c % 3 === 0 ? 0 : c % 31 === 1 ? 90 : next() - 0.5)),
      );
      state.set(
        `${norm.name}.runningMean`,
        values((c) => {
          const own = reached.length / norm.features;
          return reached[Math.floor(next() * own) * norm.features + c] ?? next() - 0.5;
        }),
      );
      state.set(
        `${norm.name}.runningVariance`,
        values(() => 0.05 + 3 * next()),
      );
    }
    model.loadState(state);
  }
  images.dispose();
  return model;
}

/** The integers are the same, or in a channel whose weights are negated all of them with the other sign. */
export function expectSameIntegers(actual: Int32Array, expected: Int32Array, channels: number): void {
  expect(actual.length).to.equal(expected.length);
  for (let c = 0; c < channels; c++) {
    let same = true;
    let negated = true;
    for (let i = c; i < actual.length; i += channels) {
      same &&= actual[i] === expected[i];
      negated &&= actual[i] === -(expected[i] as number);
    }
    expect(same || negated, `channel ${c}`).to.equal(true);
  }
}

/** What comes to a batch norm, as far as it is known: n·scale of the product's integers, [..., C]. */
function reachedValues(
  model: Model,
  name: string | null,
  layer: NonNullable<ReturnType<typeof deploymentOf>['layers']>[number],
  images: Tensor,
): Float32Array {
  if (name === null) return new Float32Array(0);
  const sums = model.integerPreactivations(images).get(name) as Int32Array;
  const { product, input } = layer;
  const latent = model.state().get(`${name}.weight`)?.values as Float32Array;
  const { scale } = requireWeightQuantizer(product.weightQuantizer as string).quantize(
    Tensor.from('f32', [product.outputs, latent.length / product.outputs], latent),
  );
  const unit = productScale(input === 'codes' ? model.spec.inputBits : null, scale);
  const scales = typeof unit === 'number' ? null : unit.toFloat32Array();
  return Float32Array.from(
    sums,
    (n, i) => Math.fround(n) * (scales === null ? (unit as number) : (scales[i % product.outputs] as number)),
  );
}
