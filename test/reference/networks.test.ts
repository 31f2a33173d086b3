import { expect } from 'chai';
import { createModel, type Model } from '../../lib/models/registry.js';
import { softmaxCrossEntropy } from '../../lib/ops/cross-entropy.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { expectClose, expectIdentical, expectWithin, Fixture } from '../support/fixtures.js';
import {
  networks,
  type ReferenceRecipe,
  referenceImages,
  referenceLabels,
  referenceRecipes,
  referenceState,
} from '../support/reference-weights.js';

const PIXELS = 784;
const bits = [8, 4, 2, 1];

function images(count: number): Tensor {
  return Tensor.from('f32', [count, 28, 28, 1], referenceImages(networks.full.images, count, PIXELS));
}

function withModel(recipe: ReferenceRecipe, inputBits: number, body: (model: Model) => void): void {
  using model = createModel('mnist-fcn', { inputBits, recipe, seed: 0 });
  model.loadState(referenceState(recipe, 'full'));
  scope(() => body(model));
}

describe('mnist-fcn against PyTorch', () => {
  const logits = new Fixture('logits');
  const gradients = new Fixture('gradients');

  for (const recipe of referenceRecipes) {
    for (const inputBits of bits) {
      const key = `${recipe}/${inputBits}`;

      it(`${recipe}, ${inputBits} bits: logits${recipe === 'bnn' ? ' and integer pre-activations' : ''}`, () => {
        withModel(recipe, inputBits, (model) => {
          const expected = logits.floats(`${key}/logits`);
          const x = images(expected.length / 10);
          expectWithin(model.logits(x).toFloat32Array(), expected, 1e-4, 'logits');
          if (recipe !== 'bnn') return;
          const sums = model.integerPreactivations(x);
          expect([...sums.keys()]).to.deep.equal(['dense1', 'dense2', 'dense3']);
          for (const [layer, values] of sums) {
            expectIdentical(values, logits.integers(`${key}/${layer}`), layer);
          }
        });
      });

      for (const sign of ['clipped', 'identity', 'approx'] as const) {
        if (recipe === 'none' && sign !== 'clipped') continue;
        const mode = recipe === 'none' ? 'identity discretizer' : `identity discretizer, ${sign} sign`;
        it(`${recipe}, ${inputBits} bits: gradient of the summed loss with respect to pixels, ${mode}`, () => {
          withModel(recipe, inputBits, (model) => {
            const expected = gradients.floats(`${key}/${sign}`);
            const count = expected.length / PIXELS;
            const labels = Tensor.from('i32', [count], referenceLabels(networks.full.labels, count));
            const { gradient } = model
              .attackable({ discretizer: 'identity', sign })
              .vjp(images(count), (z) => softmaxCrossEntropy(z, labels, 1).gradient);
            // PyTorch's own fp32 gradients are within 1e−5 of its fp64 ones, relative to the largest.
            expectClose(gradient.toFloat32Array(), expected, 1e-5, 'gradient');
          });
        });
      }
    }
  }
});
