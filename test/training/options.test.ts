import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Dataset, epochOrder, shuffledBatch, toFloatImages } from '../../lib/data/dataset.js';
import { createModel, loadModel, type Model, saveModel } from '../../lib/models/registry.js';
import { adam, bop, sgd } from '../../lib/optim/optimizer.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { modelDigest } from '../../lib/training/adversarial.js';
import { judge, resolveEarlyStopping } from '../../lib/training/early-stopping.js';
import { type FitOptions, type FitResult, fit } from '../../lib/training/fit.js';
import { createTrainer } from '../../lib/training/step.js';
import { failure, rejection } from '../support/failure.js';
import { tinyDigits } from '../support/tiny-data.js';

const options: FitOptions = { epochs: 3, batchSize: 32, seed: 3 };

/** Trains a fresh network on 160 examples: five steps an epoch. */
async function trained(
  recipe: string,
  extra: Partial<FitOptions>,
  look: (model: Model) => void = () => undefined,
): Promise<{ readonly state: string; readonly result: FitResult }> {
  const data = tinyDigits(160);
  const model = createModel('mnist-fcn', { inputBits: 2, recipe, seed: 7 });
  try {
    const result = await fit(model, data, { ...options, ...extra });
    look(model);
    return { state: modelDigest(model), result };
  } finally {
    model.dispose();
    data.dispose();
  }
}

describe('what fit can do besides', function () {
  this.timeout(120_000);
  let dir: string;
  let validation: Dataset;
  let source: Model;
  before(() => {
    validation = tinyDigits(40, 9);
    source = createModel('mnist-fcn', { inputBits: 8, recipe: 'none', seed: 11 });
  });
  after(() => {
    validation.dispose();
    source.dispose();
  });
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'hardbit-options-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  /** Trainings whose resumption must be exact, each with all that it keeps. */
  const trainings: readonly (readonly [string, string, () => Partial<FitOptions>])[] = [
    ['bop and flips', 'bnn', () => ({ optimizer: bop({ gamma: 0.1, threshold: 1e-7 }), flipRatio: true })],
    ['flips of latent weights', 'bnn', () => ({ optimizer: adam({ learningRate: 0.01 }), flipRatio: true })],
    ['a moving average', 'bnn', () => ({ average: { decay: 0.8 }, validation })],
    [
      'bop under a moving average',
      'bnn',
      () => ({ optimizer: bop({ gamma: 0.1 }), average: { decay: 0.5 } }),
    ],
    [
      'early stopping of averaged weights',
      'none',
      () => ({
        validation,
        average: { decay: 0.3 },
        earlyStopping: { patience: 1, metric: 'accuracy' },
        epochs: 4,
      }),
    ],
    ['gradients in int8', 'bnn', () => ({ gradientArithmetic: 'int8' })],
    ['one cycle', 'none', () => ({ schedule: 'one-cycle', optimizer: sgd() })],
    ['steps after a warm-up', 'none', () => ({ schedule: { name: 'cosine', warmUpSteps: 4 } })],
    ['pgd on all images', 'none', () => ({ adversarial: { attack: 'pgd', epsilon: 0.1, steps: 2, mix: 1 } })],
    [
      'an ensemble',
      'bnn',
      () => ({ adversarial: { attack: 'r-fgsm', epsilon: 0.1, sources: [{ name: 'a', model: source }] } }),
    ],
  ];
  for (const [what, recipe, extra] of trainings) {
    it(`stopped anywhere and resumed, it equals an uninterrupted run: ${what}`, async () => {
      const live = memoryInfo().liveTensors;
      const whole = await trained(recipe, extra());
      for (const stopAt of [1, 5, 8, 11]) {
        const checkpoint = { path: join(dir, `checkpoint-${stopAt}`), everySteps: 3 };
        const controller = new AbortController();
        let steps = 0;
        const onProgress = () => {
          steps += 1;
          if (steps === stopAt) controller.abort();
        };
        const stopped = trained(recipe, { ...extra(), checkpoint, signal: controller.signal, onProgress });
        const code = await stopped.then(
          () => null,
          (error: { code?: string }) => error.code,
        );
        // Early stopping may be faster than the abortion.
        expect(code).to.equal(steps < stopAt ? null : 'ERR_HARDBIT_ABORTED');
        const resumed = await trained(recipe, { ...extra(), checkpoint, resume: true });
        expect(resumed.state, `stopped at step ${stopAt}`).to.equal(whole.state);
        expect({ ...resumed.result, seconds: 0 }).to.deep.equal({ ...whole.result, seconds: 0 });
      }
      expect(memoryInfo().liveTensors).to.be.at.most(live);
    });
  }

  it('is what a loop of synchronous batches and steps computes, bit for bit', async () => {
    const fitted = await trained('none', { epochs: 2 });
    const data = tinyDigits(160);
    using model = createModel('mnist-fcn', { inputBits: 2, recipe: 'none', seed: 7 });
    const trainer = createTrainer(model, { optimizer: adam(), seed: options.seed });
    for (let epoch = 0; epoch < 2; epoch++) {
      using order = epochOrder(data, options.seed, epoch);
      for (let begin = 0; begin < 160; begin += 32) {
        scope(() => {
          const { images, labels } = shuffledBatch(data, order, begin, begin + 32);
          trainer.step(images, labels);
        });
      }
    }
    trainer.dispose();
    data.dispose();
    expect(modelDigest(model)).to.equal(fitted.state);
  });

  it('gradients in int8 train as float ones do, and belong to the checkpoint', async () => {
    const { createDataset } = await import('../../lib/data/dataset.js');
    const digits = tinyDigits(640);
    const data = createDataset('digits', 10, digits.images, digits.labels);
    const lossesIn = async (gradientArithmetic: 'float' | 'int8') => {
      using model = createModel('lenet5', { inputBits: 2, recipe: 'bnn', seed: 7 });
      const losses: number[] = [];
      const onProgress = ({ loss, step }: { loss: number; step: number }) => {
        if (step === 20) losses.push(loss);
      };
      await fit(model, data, { epochs: 6, batchSize: 32, seed: 3, gradientArithmetic, onProgress });
      return losses;
    };
    const [float, int8] = [await lossesIn('float'), await lossesIn('int8')];
    digits.dispose();
    expect(int8).to.not.deep.equal(float);
    // From guessing among ten, ln 10 = 2.3, at the same pace.
    expect(float.at(-1)).to.be.below(0.5);
    int8.forEach((loss, i) => {
      expect(loss).to.be.closeTo(float[i] as number, 0.15);
    });

    const checkpoint = { path: join(dir, 'checkpoint'), everySteps: 1 };
    const base = { epochs: 1, checkpoint };
    await trained('bnn', { ...base, gradientArithmetic: 'int8' });
    const other = await rejection(trained('bnn', { ...base, resume: true }));
    expect(other.code).to.equal('ERR_HARDBIT_RESUME');
    await trained('bnn', { ...base, gradientArithmetic: 'float' });
    // A checkpoint from before there was a choice is one of float gradients.
    await trained('bnn', { ...base, resume: true });
    const unknown = await rejection(trained('bnn', { gradientArithmetic: 'int4' as 'int8' }));
    expect(unknown.code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
  });

  it('an abort during validation keeps the epoch', async () => {
    const controller = new AbortController();
    const checkpoint = { path: join(dir, 'checkpoint'), everySteps: 100 };
    const whole = await trained('none', { validation, epochs: 1, average: { decay: 0.5 } });
    const error = await rejection(
      trained('none', {
        validation,
        epochs: 1,
        average: { decay: 0.5 },
        checkpoint,
        signal: controller.signal,
        // Seen only after the last step, by the validation.
        onProgress: ({ step }) => step === 5 && controller.abort(),
      }),
    );
    expect(error.code).to.equal('ERR_HARDBIT_ABORTED');
    let steps = 0;
    const resumed = await trained('none', {
      validation,
      epochs: 1,
      average: { decay: 0.5 },
      checkpoint,
      resume: true,
      onProgress: () => {
        steps += 1;
      },
    });
    expect(steps).to.equal(0);
    expect(resumed.state).to.equal(whole.state);
  });

  it('bop learns, and leaves weights of ±1', async () => {
    for (const average of [undefined, { decay: 0.6 }]) {
      const { result } = await trained(
        'bnn',
        { optimizer: bop({ gamma: 1e-2, threshold: 1e-8 }), epochs: 6, average },
        (model) => {
          const binary = model.parameters.filter((parameter) => parameter.binary);
          expect(binary).to.have.length(3);
          for (const { variable } of binary) {
            expect(variable.value.toFloat32Array().every((w) => w === 1 || w === -1)).to.equal(true);
          }
        },
      );
      expect(result.history[5]?.loss).to.be.lessThan(0.7 * (result.history[0]?.loss as number));
    }
    const error = await rejection(trained('none', { optimizer: bop() }));
    expect(error.code).to.equal('ERR_HARDBIT_ARGUMENT');
  });

  it('flip ratios are the share of signs that changed, by quantized parameter', async () => {
    const data = tinyDigits(160);
    using model = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 7 });
    const signsNow = () =>
      model.parameters
        .filter(({ quantizer }) => quantizer !== null)
        .map(({ name, variable }) => ({
          name,
          signs: variable.value.toFloat32Array().map((w) => (w >= 0 ? 1 : -1)),
        }));
    let before = signsNow();
    const flipped: Record<string, number> = Object.fromEntries(before.map(({ name }) => [name, 0]));
    const { history } = await fit(model, data, {
      ...options,
      epochs: 1,
      optimizer: adam({ learningRate: 0.01 }),
      flipRatio: true,
      onProgress: () => {
        const now = signsNow();
        now.forEach(({ name, signs }, i) => {
          const old = before[i]?.signs as Float32Array;
          const count = signs.reduce((sum, sign, j) => sum + (sign === old[j] ? 0 : 1), 0);
          flipped[name] = (flipped[name] as number) + count / signs.length / 5;
        });
        before = now;
      },
    });
    const ratios = history[0]?.flipRatio as Record<string, number>;
    expect(Object.keys(ratios)).to.deep.equal(before.map(({ name }) => name));
    for (const [name, ratio] of Object.entries(ratios)) {
      expect(ratio)
        .to.be.greaterThan(0)
        .and.closeTo(flipped[name] as number, 1e-12);
    }
    data.dispose();
    expect(
      (await trained('none', { flipRatio: true, epochs: 1 })).result.history[0]?.flipRatio,
    ).to.deep.equal({});
    expect((await trained('bnn', { epochs: 1 })).result.history[0]).to.not.have.property('flipRatio');
  });

  it('the averaged network is that of the recurrence over the steps', async () => {
    const data = tinyDigits(160);
    using model = createModel('mnist-fcn', { inputBits: 2, recipe: 'none', seed: 7 });
    let expected: Map<string, Float64Array> | null = null;
    await fit(model, data, {
      ...options,
      epochs: 2,
      average: { decay: 0.75 },
      onProgress: () => {
        const now = new Map(
          [...model.state()].map(([name, { values }]) => [name, Float64Array.from(values)]),
        );
        if (expected === null) expected = now;
        else {
          for (const [name, values] of expected) {
            const newest = now.get(name) as Float64Array;
            for (let i = 0; i < values.length; i++) {
              values[i] = 0.75 * (values[i] as number) + 0.25 * (newest[i] as number);
            }
          }
        }
      },
    });
    for (const [name, values] of expected as unknown as Map<string, Float64Array>) {
      const found = model.state().get(name)?.values as Float32Array;
      const worst = values.reduce(
        (most, value, i) => Math.max(most, Math.abs(value - (found[i] as number)) / (1 + Math.abs(value))),
        0,
      );
      expect(worst, name).to.be.lessThan(1e-6);
    }
    data.dispose();
  });

  it('early stopping ends the training, and keeps the best epoch', async () => {
    // A rate so high that the network becomes worse: the loss on the validation set has its minimum early.
    const bad = { optimizer: adam({ learningRate: 0.3 }), validation, epochs: 12 };
    const { state, result } = await trained('none', { ...bad, earlyStopping: { patience: 2 } });
    const { history, bestEpoch, stoppedEarly } = result;
    const losses = history.map(({ validationLoss }) => validationLoss as number);
    expect(bestEpoch).to.equal(losses.indexOf(Math.min(...losses)) + 1);
    expect(stoppedEarly).to.equal(true);
    expect(history).to.have.length((bestEpoch as number) + 2);
    const until = await trained('none', { ...bad, epochs: bestEpoch as number });
    expect(state).to.equal(until.state);
    expect([until.result.bestEpoch, until.result.stoppedEarly]).to.deep.equal([null, false]);
  });

  it('refuses data and options that do not fit, before it changes anything', async () => {
    const wrong: readonly (readonly [Partial<FitOptions>, string, string])[] = [
      [{ earlyStopping: { patience: 2 } }, '--validation-split', 'ERR_HARDBIT_ARGUMENT'],
      [{ validation, earlyStopping: { patience: 0 } }, 'patience', 'ERR_HARDBIT_ARGUMENT'],
      [
        { validation, earlyStopping: { patience: 1, metric: 'los' as 'loss' } },
        "did you mean 'loss'",
        'ERR_HARDBIT_UNKNOWN_NAME',
      ],
      [{ average: { decay: 1 } }, 'decay', 'ERR_HARDBIT_ARGUMENT'],
      [{ schedule: { name: 'linear', warmUpSteps: 15 } }, 'has 15; expected fewer', 'ERR_HARDBIT_ARGUMENT'],
      [{ schedule: 'cosin' as 'cosine' }, "did you mean 'cosine'", 'ERR_HARDBIT_UNKNOWN_NAME'],
      [
        { adversarial: { attack: 'pgd', epsilon: 0.1, restarts: 2 } },
        'restarts is 2',
        'ERR_HARDBIT_ARGUMENT',
      ],
      [
        { adversarial: { attack: 'fgsm', epsilon: 0.1, targeted: true } },
        'untargeted',
        'ERR_HARDBIT_ARGUMENT',
      ],
      [
        { adversarial: { attack: 'fgsm', epsilon: 0.1, mix: 0.3, sources: [{ name: 'a', model: source }] } },
        'weighs clean and adversarial images equally',
        'ERR_HARDBIT_ARGUMENT',
      ],
      [
        {
          adversarial: {
            attack: 'fgsm',
            epsilon: 0.1,
            sources: [
              { name: 'a', model: source },
              { name: 'a', model: source },
            ],
          },
        },
        "Two source models are named 'a'",
        'ERR_HARDBIT_ARGUMENT',
      ],
    ];
    const before = memoryInfo().liveTensors;
    for (const [extra, sentence, code] of wrong) {
      const error = await rejection(trained('none', extra));
      expect(error.message).to.contain(sentence);
      expect(error.code).to.equal(code);
    }
    const data = tinyDigits(64);
    const half = new Float32Array(64 * 784).fill(0.5);
    half[99] = 1.5;
    using images = Tensor.from('f32', [64, 28, 28, 1], half);
    using model = createModel('mnist-fcn', { inputBits: 2, recipe: 'none', seed: 7 });
    for (const use of [
      fit(model, { ...data, images }, options),
      fit(model, data, { ...options, validation: { ...data, images } }),
    ]) {
      expect((await rejection(use)).code).to.equal('ERR_HARDBIT_PIXELS');
    }
    data.dispose();
    images.dispose();
    model.dispose();
    expect(memoryInfo().liveTensors).to.be.at.most(before);
  });

  it('a checkpoint belongs to its sources, validation and averages', async () => {
    using other = createModel('mnist-fcn', { inputBits: 8, recipe: 'none', seed: 12 });
    const checkpoint = { path: join(dir, 'checkpoint'), everySteps: 1 };
    const base = { epochs: 1, checkpoint };
    const attacked = (model: Model) => ({
      ...base,
      adversarial: { attack: 'fgsm', epsilon: 0.1, sources: [{ name: 'a', model }] },
    });
    await trained('none', attacked(source));
    for (const changed of [
      attacked(other),
      { ...attacked(source), average: { decay: 0.5 } },
      { ...attacked(source), validation },
      { ...attacked(source), flipRatio: true },
    ]) {
      const error = await rejection(trained('none', { ...changed, resume: true }));
      expect(error.code).to.equal('ERR_HARDBIT_RESUME');
    }
  });

  it('averaged binary weights are written as their signs, and predict the same', async () => {
    const path = join(dir, 'model.safetensors');
    let logits: readonly number[] = [];
    const logitsOf = (model: Model) =>
      scope(() => [...model.logits(toFloatImages(validation.images)).toFloat32Array()]);
    await trained('bnn', { epochs: 1, average: { decay: 0.9 } }, (model) => {
      const weight = model.parameters[0]?.variable.value.toFloat32Array() as Float32Array;
      expect(weight.some((w) => Math.abs(w) < 1)).to.equal(true);
      logits = logitsOf(model);
      saveModel(model, path);
    });
    using loaded = loadModel(path);
    expect(logitsOf(loaded)).to.deep.equal(logits);
  });
});

describe('the verdict of early stopping', () => {
  const history = (losses: readonly number[]) =>
    losses.map((validationLoss, i) => ({
      epoch: i + 1,
      loss: 0,
      accuracy: 0,
      validationLoss,
      validationAccuracy: 1 - validationLoss,
    }));
  const verdict = (losses: readonly number[], settings: Parameters<typeof resolveEarlyStopping>[0]) =>
    judge(resolveEarlyStopping(settings, true), history(losses));

  it('counts the epochs since the best one', () => {
    expect(verdict([], { patience: 1 })).to.deep.equal({ bestEpoch: null, stop: false });
    expect(verdict([3, 2, 1], { patience: 1 })).to.deep.equal({ bestEpoch: 3, stop: false });
    expect(verdict([3, 1, 2], { patience: 2 })).to.deep.equal({ bestEpoch: 2, stop: false });
    expect(verdict([3, 1, 2, 2], { patience: 2 })).to.deep.equal({ bestEpoch: 2, stop: true });
    // The first of equals; an improvement of minDelta is none.
    expect(verdict([1, 1], { patience: 1 })).to.deep.equal({ bestEpoch: 1, stop: true });
    expect(verdict([1, 0.5], { patience: 1, minDelta: 0.5 })).to.deep.equal({ bestEpoch: 1, stop: true });
    expect(verdict([1, 0.49], { patience: 1, minDelta: 0.5 })).to.deep.equal({ bestEpoch: 2, stop: false });
    expect(verdict([0.5, 0.25, 0.75], { patience: 2, metric: 'accuracy' })).to.deep.equal({
      bestEpoch: 2,
      stop: false,
    });
  });

  it('needs sensible settings', () => {
    for (const minDelta of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(failure(() => resolveEarlyStopping({ patience: 1, minDelta }, true)).code).to.equal(
        'ERR_HARDBIT_ARGUMENT',
      );
    }
  });
});
