import { expect } from 'chai';
import type { LayerSpec } from '../../lib/nn/layer.js';
import { Model } from '../../lib/nn/model.js';
import { softmaxCrossEntropy } from '../../lib/ops/cross-entropy.js';
import type { SignGradient } from '../../lib/ops/sign.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { expectClose, expectIdentical, type Fixture } from './fixtures.js';
import { referenceImages, referenceLabels, uniform } from './reference-weights.js';

/** A network as `Case.store` of scripts/reference/make_fixtures.py describes it. */
export interface ReferenceNetwork {
  readonly name: string;
  readonly layers: readonly LayerSpec[];
  readonly inputShape: readonly [number, number, number];
  readonly classes: number;
  readonly inputBits: number;
  /** Images of the batch. */
  readonly rows: number;
  readonly streams: { readonly weights: number; readonly images: number; readonly labels: number };
  /** Name, shape, low, high and bits of every trained parameter, in order. */
  readonly ranges: readonly (readonly [string, readonly number[], number, number, number])[];
  /** The surrogates by which evaluation was differentiated. */
  readonly gradients: readonly SignGradient[];
}

export function referenceNetworks(fixture: Fixture): readonly ReferenceNetwork[] {
  return JSON.parse(fixture.metadata['networks'] as string) as ReferenceNetwork[];
}

/** The network as its description has it. */
export function buildReference({ layers, inputShape, classes, inputBits }: ReferenceNetwork): Model {
  return new Model({ model: 'reference', recipe: 'none', inputShape, classes, inputBits, layers }, 0);
}

/** Every n-th of many values, as `sample_stride` has it; and all of few. */
function sampleStride(count: number): number {
  const stride = Math.ceil(count / 300);
  return stride + 1 - (stride % 2);
}

function norm(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

/** What PyTorch computed for one network, compared with what a model of hardbit computes. */
export class ReferenceCheck {
  constructor(
    readonly fixture: Fixture,
    readonly network: ReferenceNetwork,
    /** Allowed error relative to the largest value of a tensor. */
    readonly relative: number,
    /** Of each tensor every n-th value and the norm are stored, else all values. */
    readonly sampled: boolean,
  ) {}

  #compare(values: Float32Array, key: string): void {
    const path = `${this.network.name}/${key}`;
    if (!this.sampled) {
      expectClose(values, this.fixture.floats(path), this.relative, key);
      return;
    }
    const stride = sampleStride(values.length);
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const some = values.filter((_, i) => i % stride === 0);
    const expected = this.fixture.floats(path);
    expect(some.length, `${key}: length`).to.equal(expected.length);
    expected.forEach((value, i) => {
      expect(some[i], `${key}[${i * stride}]`).to.be.closeTo(value, this.relative * largest);
    });
    expectClose([norm(values)], this.fixture.floats(`${path}/norm`), this.relative, `norm of ${key}`);
  }

  #batch(): { readonly images: Tensor; readonly labels: Tensor } {
    const { rows, inputShape, streams, classes } = this.network;
    const pixels = inputShape.reduce((a, b) => a * b, 1);
    return {
      images: Tensor.from('f32', [rows, ...inputShape], referenceImages(streams.images, rows, pixels)),
      labels: Tensor.from('i32', [rows], referenceLabels(streams.labels, rows, classes)),
    };
  }

  /** Generated weights; running statistics as given, else of a fresh network. */
  #load(model: Model, statistics: (name: string) => Float32Array | undefined): void {
    const state = new Map<string, Float32Array>();
    for (const [i, [name, shape, low, high, bits]] of this.network.ranges.entries()) {
      const count = shape.reduce((a, b) => a * b, 1);
      state.set(name, uniform(this.network.streams.weights + i, count, low, high, bits));
    }
    for (const { name, value } of model.buffers) {
      const fresh = name.endsWith('runningVariance') ? 1 : 0;
      state.set(
        name,
        statistics(name) ?? new Float32Array(value.shape.reduce((a, b) => a * b, 1)).fill(fresh),
      );
    }
    model.loadState(state);
  }

  /** Logits, losses and the gradients of all parameters of a training pass. */
  training(model: Model): void {
    this.#load(model, () => undefined);
    expect(model.parameters.map(({ name }) => name)).to.deep.equal(this.network.ranges.map(([name]) => name));
    scope(() => {
      const { images, labels } = this.#batch();
      const { logits, losses, gradients } = model.trainingGradients(images, labels, { seed: 0, step: 0 });
      this.#compare(logits.toFloat32Array(), 'logits');
      this.#compare(losses.toFloat32Array(), 'losses');
      model.parameters.forEach(({ name }, i) => {
        this.#compare((gradients[i] as Tensor).toFloat32Array(), `gradients/${name}`);
      });
    });
  }

  /** Logits, exact integer sums and gradients with respect to pixels of an evaluation pass. */
  evaluation(model: Model): void {
    const { name, gradients } = this.network;
    this.#load(model, (buffer) => this.fixture.floats(`${name}/statistics/${buffer}`));
    scope(() => {
      const { images, labels } = this.#batch();
      this.#compare(model.logits(images).toFloat32Array(), 'evaluation/logits');
      const sums = model.integerPreactivations(images);
      const prefix = `${name}/sums/`;
      const stored = this.fixture.keys.filter((key) => key.startsWith(prefix));
      expect([...sums.keys()].sort()).to.deep.equal(stored.map((key) => key.slice(prefix.length)).sort());
      for (const [layer, values] of sums) {
        const stride = this.sampled ? sampleStride(values.length) : 1;
        const some = values.filter((_, i) => i % stride === 0);
        expectIdentical(some, this.fixture.integers(`${prefix}${layer}`), `sums of ${layer}`);
      }
      for (const sign of gradients) {
        const { gradient } = model
          .attackable({ discretizer: 'identity', sign })
          .vjp(images, (z) => softmaxCrossEntropy(z, labels, 1).gradient);
        this.#compare(gradient.toFloat32Array(), `evaluation/${sign}`);
      }
    });
  }
}
