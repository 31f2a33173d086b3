import { Model } from '../../lib/nn/model.js';
import { softmaxCrossEntropy } from '../../lib/ops/cross-entropy.js';
import { Tape, variable } from '../../lib/ops/tape.js';
import { adam } from '../../lib/optim/optimizer.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { createTrainer } from '../../lib/training/step.js';
import { expectClose, expectWithin, Fixture } from '../support/fixtures.js';
import {
  type NetworkSize,
  networks,
  referenceImages,
  referenceLabels,
  referenceRecipes,
  referenceSpec,
  referenceState,
} from '../support/reference-weights.js';

/** PyTorch's fp32 gradients and parameters are within 1e−6 of its fp64 ones here; twice that for the other side. */
const TOLERANCE = 2e-6;

describe('training steps against PyTorch', () => {
  const fixture = new Fixture('training');

  /** Large tensors of the full network are stored as every 199th element. */
  function sampled(values: Float32Array, size: NetworkSize): Float32Array {
    if (size === 'small' || values.length <= 4000) return values;
    return values.filter((_, i) => i % 199 === 0);
  }

  for (const recipe of referenceRecipes) {
    for (const [size, inputBits, batch] of [
      ['small', 2, 8],
      ['full', 8, 16],
    ] as const) {
      const prefix = `${recipe}/${size}`;
      const { side, sizes, images: imageStream, labels: labelStream } = networks[size];
      const makeBatch = () => ({
        images: Tensor.from('f32', [batch, side, side, 1], referenceImages(imageStream, batch, sizes[0])),
        labels: Tensor.from('i32', [batch], referenceLabels(labelStream, batch)),
      });
      const makeModel = (state: ReadonlyMap<string, Float32Array>) => {
        const model = new Model(referenceSpec(recipe, inputBits, size), 0);
        model.loadState(state);
        return model;
      };

      /** The stored parameters after `step` steps. */
      const stored = (step: number): ReadonlyMap<string, Float32Array> =>
        step === 0
          ? referenceState(recipe, size)
          : new Map(
              [...referenceState(recipe, size).keys()].map((name) => [
                name,
                fixture.floats(`${prefix}/step${step}/parameters/${name}`),
              ]),
            );

      for (const step of size === 'small' ? [1, 2, 3] : [1]) {
        it(`${recipe}, ${sizes.join('-')}: logits, loss and all gradients of step ${step}`, () => {
          using model = makeModel(stored(step - 1));
          scope(() => {
            const { images, labels } = makeBatch();
            const tape = new Tape();
            const logits = model.forward(tape, variable(images, false), { mode: 'train', seed: 0, step: 0 });
            const { losses, gradient } = softmaxCrossEntropy(logits.value, labels, 1 / batch);
            const gradients = tape.backward(
              logits,
              gradient,
              model.parameters.map((parameter) => parameter.variable),
            );
            const key = `${prefix}/step${step}`;
            expectWithin(logits.value.toFloat32Array(), fixture.floats(`${key}/logits`), 1e-5, 'logits');
            const loss = losses.toFloat32Array().reduce((sum, each) => sum + each, 0) / batch;
            expectClose([loss], fixture.floats(`${key}/loss`), TOLERANCE, 'loss');
            model.parameters.forEach(({ name }, i) => {
              const actual = sampled((gradients[i] as Tensor).toFloat32Array(), size);
              expectClose(actual, fixture.floats(`${key}/gradients/${name}`), 1e-5, `gradient of ${name}`);
            });
          });
        });
      }

      it(`${recipe}, ${sizes.join('-')}: losses, parameters and running statistics over three Adam steps`, () => {
        using model = makeModel(stored(0));
        // ε as in make_fixtures.py, which says why.
        const trainer = createTrainer(model, { optimizer: adam({ learningRate: 1e-3, epsilon: 1e-4 }) });
        try {
          scope(() => {
            const { images, labels } = makeBatch();
            for (let step = 1; step <= 3; step++) {
              const key = `${prefix}/step${step}`;
              const { lossSum } = trainer.step(images, labels);
              expectClose(
                [lossSum / batch],
                fixture.floats(`${key}/loss`),
                5 * TOLERANCE,
                `loss of step ${step}`,
              );
              for (const [name, { values }] of model.state()) {
                const expected = fixture.floats(`${key}/parameters/${name}`);
                const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
                expectWithin(
                  sampled(values, size),
                  expected,
                  TOLERANCE * largest,
                  `${name} after step ${step}`,
                );
              }
            }
          });
        } finally {
          trainer.dispose();
        }
      });
    }
  }
});
