import { expect } from 'chai';
import { runAttack } from '../../lib/attacks/registry.js';
import { createModel, type Model } from '../../lib/models/registry.js';
import { softmaxCrossEntropy } from '../../lib/ops/cross-entropy.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import {
  adversarialBatch,
  drawSource,
  modelDigest,
  resolveAdversarial,
} from '../../lib/training/adversarial.js';
import { failure } from '../support/failure.js';

describe('ensemble adversarial training', () => {
  let model: Model;
  let first: Model;
  let second: Model;
  const batch = 6;
  const images = (): Tensor =>
    Tensor.from(
      'f32',
      [batch, 28, 28, 1],
      Float32Array.from({ length: batch * 784 }, (_, i) => ((i * 31) % 256) / 255),
    );
  const labels = (): Tensor => Tensor.from('i32', [batch], Int32Array.of(3, 1, 4, 1, 5, 9));
  let live: number;

  before(() => {
    live = memoryInfo().liveTensors;
    model = createModel('mnist-fcn', { inputBits: 4, recipe: 'none', seed: 1 });
    first = createModel('mnist-fcn', { inputBits: 8, recipe: 'none', seed: 2 });
    second = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 3 });
  });
  after(() => {
    for (const each of [model, first, second]) each.dispose();
    expect(memoryInfo().liveTensors).to.be.at.most(live);
  });

  const ensemble = () =>
    resolveAdversarial(
      {
        attack: 'r-fgsm',
        epsilon: 0.2,
        sources: [
          { name: 'first', model: first },
          { name: 'second', model: second },
        ],
      },
      model,
    );

  it('draws the sources and the network itself equally often, by seed and step', () => {
    const training = ensemble();
    const counts = new Map<Model, number>();
    for (let step = 0; step < 900; step++) {
      const drawn = drawSource(training, model, 5, step);
      expect(drawSource(training, model, 5, step)).to.equal(drawn);
      counts.set(drawn, (counts.get(drawn) ?? 0) + 1);
    }
    // Four standard deviations around 300.
    for (const each of [model, first, second]) expect(counts.get(each)).to.be.within(243, 357);
    const alone = resolveAdversarial({ attack: 'fgsm', epsilon: 0.1 }, model);
    expect(drawSource(alone, model, 5, 0)).to.equal(model);
  });

  it('gives the clean batch and the images that the drawn network is fooled with', () => {
    const training = ensemble();
    const drawn = new Set<Model>();
    for (let step = 0; step < 12; step++) {
      scope(() => {
        const x = images();
        const y = labels();
        const position = { seed: 5, step, firstRow: 100 * step };
        const made = adversarialBatch(model, training, x, y, position);
        const source = drawSource(training, model, 5, step);
        drawn.add(source);
        const { adversarial } = runAttack(training.attack, source.attackable(), x, y, {
          seed: 5,
          firstRow: 100 * step,
        });
        expect(made.images.shape).to.deep.equal([2 * batch, 28, 28, 1]);
        expect(made.images.slice(0, batch).toFloat32Array()).to.deep.equal(x.toFloat32Array());
        expect(made.images.slice(batch, 2 * batch).toFloat32Array()).to.deep.equal(
          adversarial.toFloat32Array(),
        );
        expect([...made.labels.toInt32Array()]).to.deep.equal([...y.toInt32Array(), ...y.toInt32Array()]);
      });
    }
    expect(drawn.size).to.equal(3);
  });

  it('the mean loss of its batch is the mean of the clean and the adversarial loss', () => {
    scope(() => {
      const x = images();
      const y = labels();
      const made = adversarialBatch(model, ensemble(), x, y, { seed: 5, step: 0, firstRow: 0 });
      // In evaluation mode, where rows do not see each other.
      const mean = (rows: Tensor, wanted: Tensor) =>
        softmaxCrossEntropy(model.logits(rows), wanted, 1)
          .losses.toFloat32Array()
          .reduce((a, b) => a + b, 0) / wanted.rows;
      const clean = mean(x, y);
      const attacked = mean(made.images.slice(batch, 2 * batch), y);
      expect(attacked).to.not.equal(clean);
      expect(mean(made.images, made.labels)).to.be.closeTo((clean + attacked) / 2, 1e-6);
    });
  });

  it('mixed batches stay as they were: the first rows attacked, the others clean', () => {
    scope(() => {
      const x = images();
      const y = labels();
      const training = resolveAdversarial({ attack: 'pgd', epsilon: 0.1, steps: 2, mix: 0.4 }, model);
      const made = adversarialBatch(model, training, x, y, { seed: 1, step: 3, firstRow: 0 });
      expect(made.images.shape).to.deep.equal(x.shape);
      expect(made.images.slice(3, batch).toFloat32Array()).to.deep.equal(x.slice(3, batch).toFloat32Array());
      const { adversarial } = runAttack(training.attack, model.attackable(), x.slice(0, 3), y.slice(0, 3), {
        seed: 1,
        firstRow: 0,
      });
      expect(made.images.slice(0, 3).toFloat32Array()).to.deep.equal(adversarial.toFloat32Array());
    });
  });

  it('sources are told apart by what they compute with', () => {
    using twin = createModel('mnist-fcn', { inputBits: 8, recipe: 'none', seed: 2 });
    expect(modelDigest(twin)).to.equal(modelDigest(first));
    const weight = twin.parameters[0]?.variable.value as Tensor;
    const values = weight.toFloat32Array();
    values[17] = (values[17] as number) + 2 ** -20;
    weight.write(values);
    expect(modelDigest(twin)).to.not.equal(modelDigest(first));
  });

  it('refuses the network itself as a source', () => {
    const error = failure(() =>
      resolveAdversarial({ attack: 'fgsm', epsilon: 0.1, sources: [{ name: 'me', model }] }, model),
    );
    expect(error.code).to.equal('ERR_HARDBIT_ARGUMENT');
    expect(error.message).to.contain('takes part anyway');
  });
});
