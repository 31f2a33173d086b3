import { expect } from 'chai';
import fc from 'fast-check';
import { createModel } from '../../lib/models/registry.js';
import { variable } from '../../lib/ops/tape.js';
import {
  adam,
  bop,
  Optimizer,
  type OptimizerSpec,
  resolveOptimizer,
  sgd,
  type Trainable,
} from '../../lib/optim/optimizer.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { createTrainer } from '../../lib/training/step.js';
import { failure } from '../support/failure.js';

const floats = (values: readonly number[]) => Tensor.from('f32', [values.length], Float32Array.from(values));

function parameter(name: string, values: readonly number[], rest: Partial<Trainable> = {}): Trainable {
  return { name, variable: variable(floats(values)), clip: 0, decay: false, binary: false, ...rest };
}

describe('Bop', () => {
  const value = fc.double({ min: -2, max: 2, noNaN: true });

  it('flips where the moving average asks for it, as a scalar loop does', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(value, value, value, value), { minLength: 1, maxLength: 40 }),
        fc.constantFrom(1, 0.5, 1e-2, 1e-4),
        fc.constantFrom(0, 1e-8, 1e-3, 0.3),
        (rows, gamma, threshold) =>
          scope(() => {
            const weights = parameter(
              'w',
              rows.map(([w]) => w),
              { binary: true, clip: 1 },
            );
            const optimizer = new Optimizer(bop({ gamma, threshold }), [weights]);
            const w: number[] = rows.map(([first]) => (Math.fround(first) >= 0 ? 1 : -1));
            const m = rows.map(() => 0);
            expect([...weights.variable.value.toFloat32Array()]).to.deep.equal(w);
            for (const step of [1, 2, 3] as const) {
              const gradient = rows.map((row) => Math.fround(row[step]));
              optimizer.step([floats(gradient)], 1);
              gradient.forEach((g, i) => {
                // In double: m is compared below, and a flip only where rounding cannot decide it.
                m[i] = (1 - gamma) * (m[i] as number) + gamma * g;
              });
              const means = optimizer.slots.get('mean.w')?.toFloat32Array() as Float32Array;
              means.forEach((mean, i) => {
                expect(mean).to.be.closeTo(m[i] as number, 1e-6);
                m[i] = mean;
                if ((w[i] as number) * mean > Math.fround(threshold)) w[i] = -(w[i] as number);
              });
              expect([...weights.variable.value.toFloat32Array()]).to.deep.equal(w);
            }
            optimizer.dispose();
          }),
      ),
      { numRuns: 60 },
    );
  });

  it('gives all other parameters exactly the steps of its Adam', () => {
    scope(() => {
      const start = [0.5, -1.25, 3];
      const other = adam({ learningRate: 0.01, weightDecay: 0.1 });
      const binary = parameter('b', [0.3, -0.2], { binary: true });
      const beside = parameter('a', start, { decay: true });
      const alone = parameter('a', start, { decay: true });
      const flipping = new Optimizer(bop({ other }), [binary, beside]);
      const plain = new Optimizer(other, [alone]);
      for (const [i, rate] of [1, 0.5, 0.25].entries()) {
        const gradient = floats([i + 1, -0.5, 0.1]);
        flipping.step([floats([0, 0]), gradient], rate);
        plain.step([gradient], rate);
        expect(beside.variable.value.toFloat32Array()).to.deep.equal(alone.variable.value.toFloat32Array());
      }
      expect([...flipping.slots.keys()]).to.deep.equal(['mean.b', 'first.a', 'second.a']);
      expect([...binary.variable.value.toFloat32Array()]).to.deep.equal([1, -1]);
      flipping.dispose();
      plain.dispose();
    });
  });

  it('needs a binary parameter, and leaves nothing behind where there is none', () => {
    const before = memoryInfo().liveTensors;
    const model = createModel('mnist-fcn', { inputBits: 2, recipe: 'none', seed: 1 });
    const error = failure(() => createTrainer(model, { optimizer: bop() }));
    expect(error.code).to.equal('ERR_HARDBIT_ARGUMENT');
    expect(error.message).to.contain('this network has none');
    model.dispose();
    expect(memoryInfo().liveTensors).to.be.at.most(before);
  });
});

describe('weight decay', () => {
  const optimizers: readonly OptimizerSpec[] = [
    adam({ learningRate: 0.1, weightDecay: 0.5 }),
    sgd({ learningRate: 0.1, momentum: 0.9, weightDecay: 0.5 }),
    bop({ other: { learningRate: 0.1, weightDecay: 0.5 } }),
  ];
  for (const recipe of ['none', 'bnn']) {
    for (const optimizer of optimizers) {
      if (optimizer.name === 'bop' && recipe === 'none') continue;
      it(`alone leaves biases, batch norm and latent binary weights as they are (${optimizer.name}, ${recipe})`, () => {
        using model = createModel('mnist-fcn', { inputBits: 2, recipe, seed: 1 });
        const trainer = createTrainer(model, { optimizer });
        const before = model.state();
        scope(() => {
          const zeros = model.parameters.map((each) => Tensor.from('f32', each.variable.value.shape));
          trainer.optimizer.step(zeros, 1);
        });
        const after = model.state();
        let shrunk = 0;
        for (const { name, binary } of model.parameters) {
          const [old, now] = [before, after].map((state) => state.get(name)?.values as Float32Array);
          if (name.endsWith('.weight') && !binary) {
            shrunk += 1;
            expect(now?.every((x, i) => Math.abs(x) < Math.abs(old?.[i] as number) || x === 0)).to.equal(
              true,
            );
          } else {
            expect(now, name).to.deep.equal(old);
          }
        }
        expect(shrunk).to.equal(recipe === 'none' ? 3 : 0);
        trainer.dispose();
      });
    }
  }
});

describe('optimizers from a configuration', () => {
  it('are those of their functions', () => {
    expect(resolveOptimizer('adam')).to.deep.equal(adam());
    expect(resolveOptimizer({ name: 'sgd', nesterov: true })).to.deep.equal(sgd({ nesterov: true }));
    expect(resolveOptimizer({ name: 'bop', gamma: 1e-3, other: { learningRate: 0.01 } })).to.deep.equal(
      bop({ gamma: 1e-3, other: { learningRate: 0.01 } }),
    );
    for (const spec of [adam(), sgd(), bop()]) expect(resolveOptimizer({ ...spec })).to.deep.equal(spec);
  });

  it('refuse unknown settings and values out of range', () => {
    const wrong: readonly (readonly [Parameters<typeof resolveOptimizer>[0], string])[] = [
      ['adm', "did you mean 'adam'"],
      [{}, 'There is no optimizer'],
      [{ name: 'adam', momentum: 0.9 }, "'momentum'"],
      [{ name: 'adam', learningRate: '0.1' }, 'learningRate is 0.1'],
      [{ name: 'sgd', nesterov: 'yes' }, 'nesterov is yes'],
      [{ name: 'bop', gamma: 2 }, 'gamma is 2'],
      [{ name: 'bop', threshold: Number.NaN }, 'threshold is NaN'],
      [{ name: 'bop', other: 'adam' }, 'expected settings of adam'],
      [{ name: 'bop', other: { momentum: 1 } }, "'momentum'"],
    ];
    for (const [setting, sentence] of wrong) {
      expect(failure(() => resolveOptimizer(setting)).message).to.contain(sentence);
    }
  });
});
