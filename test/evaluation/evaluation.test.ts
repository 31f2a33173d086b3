import { expect } from 'chai';
import { resolveAttack, runAttack } from '../../lib/attacks/registry.js';
import type { Dataset } from '../../lib/data/dataset.js';
import {
  type AttackEvaluationOptions,
  evaluateAttack,
  type WhiteBoxEvaluation,
} from '../../lib/evaluation/attack.js';
import { evaluateClean } from '../../lib/evaluation/clean.js';
import { evaluateTransfer } from '../../lib/evaluation/transfer.js';
import { native } from '../../lib/native.js';
import { scope } from '../../lib/tensor/scope.js';
import type { Tensor } from '../../lib/tensor/tensor.js';
import {
  imageTensor,
  labelTensor,
  randomLabels,
  randomLinear,
  randomSource,
  referenceBall,
  referenceClass,
  referenceLoss,
  rowsOf,
} from '../attacks/linear.js';
import { datasetOf, discretizedLinear } from './discretized.js';

const N = 60;
const network = randomLinear(21);
const twinNetwork = randomLinear(22);
const random = randomSource(23);
const bytes = Uint8Array.from({ length: N * 12 }, () => Math.floor(256 * random()));
const unit = Float32Array.from(bytes, (k) => k / 255);
const quantized = (x: number) => Math.floor(Math.fround(Math.fround(x * 3) + 0.5));
const codeRows = rowsOf(
  unit.map((x) => Math.fround(quantized(x) / 3)),
  N,
);
/** Three quarters labelled as the 2-bit network classifies them, the rest at random. */
const labels = randomLabels(24, N, network.classes).map((label, i) =>
  i % 4 === 0 ? label : referenceClass(network, codeRows[i] as Float32Array),
);
const model = discretizedLinear(network, 2);

/** Runs `body` on a fresh dataset and checks that it leaves no tensor behind. */
async function withData<T>(
  body: (data: Dataset) => Promise<T>,
  pixels: Uint8Array | Float32Array = bytes,
): Promise<T> {
  const before = native().memory().liveTensors;
  const data = datasetOf(pixels, labels, network.inputShape, network.classes);
  try {
    return await body(data);
  } finally {
    data.dispose();
    expect(native().memory().liveTensors).to.be.at.most(before);
  }
}

async function errorOf(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error');
}

/** Everything of an evaluation but its time. */
function figures(evaluation: WhiteBoxEvaluation): object {
  const { seconds, adversarial, ...rest } = evaluation;
  expect(seconds).to.be.at.least(0);
  return rest;
}

describe('evaluateClean', () => {
  it('agrees with the float64 reference, whatever the batch size', async () => {
    const correct = codeRows.map((row, i) => Number(referenceClass(network, row) === labels[i]));
    const loss =
      codeRows.reduce((sum, row, i) => sum + referenceLoss(network, row, labels[i] as number), 0) / N;
    for (const batchSize of [1, 7, 60, undefined]) {
      const result = await withData((data) => evaluateClean(model, data, { batchSize }));
      expect(result.n).to.equal(N);
      expect([...result.correct]).to.deep.equal(correct);
      expect(result.accuracy).to.be.closeTo(correct.reduce((a, b) => a + b, 0) / N, 1e-12);
      expect(result.loss).to.be.closeTo(loss, 1e-5);
    }
  });

  it('takes float images as they are', async () => {
    const fromBytes = await withData((data) => evaluateClean(model, data));
    const fromFloats = await withData((data) => evaluateClean(model, data), unit);
    expect(fromFloats).to.deep.equal(fromBytes);
  });
});

describe('evaluateAttack', () => {
  const spec = resolveAttack('pgd', { epsilon: 0.2, steps: 5, restarts: 2 });
  const evaluate = (options: Partial<AttackEvaluationOptions> = {}, attack = spec, victim = model) =>
    withData((data) => evaluateAttack(victim, data, attack, { seed: 6, ...options }));

  it('gives the same figures for every batch size', async () => {
    const whole = figures(await evaluate());
    for (const batchSize of [1, 13, 59]) expect(figures(await evaluate({ batchSize }))).to.deep.equal(whole);
  });

  it('reports what runAttack made and what the network predicts for it afresh', async () => {
    await withData(async (data) => {
      const result = await evaluateAttack(model, data, spec, {
        seed: 6,
        batchSize: 17,
        keepAdversarial: true,
      });
      const adversarial = result.adversarial as Tensor;
      const made = scope(() => {
        const images = imageTensor(unit, network.inputShape);
        return runAttack(spec, model.attackable(), images, labelTensor(labels), {
          seed: 6,
        }).adversarial.toFloat32Array();
      });
      const values = adversarial.toFloat32Array();
      expect([...adversarial.shape]).to.deep.equal([N, 3, 2, 2]);
      adversarial.dispose();
      expect(values).to.deep.equal(made);

      const rows = rowsOf(
        values.map((x) => Math.fround(quantized(x) / 3)),
        N,
      );
      const correct = rows.map((row, i) => Number(referenceClass(network, row) === labels[i]));
      const distances = Array.from(values, (x, j) => Math.abs(x - (unit[j] as number)));
      const flippable = [...unit].filter((x) => {
        const [low, high] = referenceBall(x, 0.2);
        return quantized(low) !== quantized(high);
      });
      expect([...result.adversarialCorrect]).to.deep.equal(correct);
      expect(result.adversarialAccuracy).to.be.closeTo(correct.reduce((a, b) => a + b, 0) / N, 1e-12);
      expect(result.cleanAccuracy).to.be.at.least(0.75);
      expect(result.adversarialLoss).to.equal(result.cleanAccuracy - result.adversarialAccuracy);
      expect(result.adversarialLoss).to.be.above(0.2);
      expect(result.meanPerturbation).to.be.closeTo(
        distances.reduce((a, b) => a + b, 0) / distances.length,
        1e-9,
      );
      expect(result.maxPerturbation).to.equal(Math.max(...distances));
      expect(result.flippableFraction).to.be.closeTo(flippable.length / unit.length, 1e-12);
      expect(result.zeroGradientFraction).to.equal(0);
      expect(result).to.include({ epsilon: 0.2, threatModel: 'white-box', source: null, n: N, seed: 6 });
      expect(result).to.include({ labels: 'given', targetSuccess: null, outsideBall: 0 });
      expect(result.attack).to.deep.equal(spec);
      expect(result.gradientMode).to.deep.equal({ discretizer: 'identity', sign: null });
    });
  });

  it('shows masking: the exact gradient of the discretizer is zero everywhere, and nothing is lost', async () => {
    const fgsm = resolveAttack('fgsm', { epsilon: 0.3 });
    const masked = await evaluate({ gradient: { discretizer: 'exact' } }, fgsm);
    expect(masked).to.include({ zeroGradientFraction: 1, adversarialLoss: 0, meanPerturbation: 0 });
    expect(masked.gradientMode.discretizer).to.equal('exact');
    const open = await evaluate({}, fgsm);
    expect(open.adversarialLoss).to.be.above(0.2);
  });

  it('names the sign gradient only for networks that have sign layers', async () => {
    const signed = discretizedLinear(network, 2, ['clipped', 'approx']);
    const fgsm = resolveAttack('fgsm', { epsilon: 0.1 });
    const plain = await evaluate({}, fgsm, signed);
    expect(plain.gradientMode).to.deep.equal({ discretizer: 'identity', sign: 'clipped' });
    const approx = await evaluate({ gradient: { sign: 'approx' } }, fgsm, signed);
    expect(approx.gradientMode).to.deep.equal({ discretizer: 'identity', sign: 'approx' });
  });

  it('moves away from predicted labels only where asked to, and says so', async () => {
    const fgsm = resolveAttack('fgsm', { epsilon: 0.2 });
    const predicted = await evaluate({ labels: 'predicted' }, fgsm);
    const given = await evaluate({ labels: 'given' }, fgsm);
    expect([predicted.labels, given.labels]).to.deep.equal(['predicted', 'given']);
    expect(predicted.cleanAccuracy).to.equal(given.cleanAccuracy);
    // Examples classified as labelled are attacked alike; of the others, some move elsewhere.
    given.cleanCorrect.forEach((correct, i) => {
      if (correct) expect(predicted.adversarialCorrect[i]).to.equal(given.adversarialCorrect[i]);
    });
    expect(predicted.adversarialCorrect).not.to.deep.equal(given.adversarialCorrect);
  });

  it('targeted: the classes to reach come from `targets`, accuracy from the labels', async () => {
    const targeted = resolveAttack('bim', { epsilon: 0.5, targeted: true });
    const wanted = labels.map((label) => (label + 1) % network.classes);
    const result = await withData(async (data) => {
      const targets = labelTensor(wanted);
      const evaluation = await evaluateAttack(model, data, targeted, { seed: 1, targets, batchSize: 11 });
      targets.dispose();
      return evaluation;
    });
    expect(result.targetSuccess).to.be.above(0.5);
    expect(result.adversarialAccuracy + (result.targetSuccess as number)).to.be.at.most(1);

    const refused: Partial<AttackEvaluationOptions>[] = [{}, { labels: 'predicted' }];
    for (const options of refused) {
      expect((await errorOf(evaluate(options, targeted))).code).to.equal('ERR_HARDBIT_ARGUMENT');
    }
    const targets = labelTensor(wanted);
    const short = labelTensor(wanted.slice(1));
    expect((await errorOf(evaluate({ targets }))).code).to.equal('ERR_HARDBIT_ARGUMENT');
    expect((await errorOf(evaluate({ targets, labels: 'predicted' }, targeted))).code).to.equal(
      'ERR_HARDBIT_ARGUMENT',
    );
    expect((await errorOf(evaluate({ targets: short }, targeted))).code).to.equal('ERR_HARDBIT_LABELS');
    targets.dispose();
    short.dispose();
  });

  it('a known clean result is used instead of predicting again', async () => {
    const { correct } = await withData((data) => evaluateClean(model, data));
    const usual = figures(await evaluate());
    expect(figures(await evaluate({ cleanCorrect: correct }))).to.deep.equal(usual);
    let predictions = 0;
    const counting = {
      ...model,
      predict: (images: Tensor) => {
        predictions++;
        return model.predict(images);
      },
    };
    await evaluate({ cleanCorrect: correct }, spec, counting);
    expect(predictions).to.equal(1);
    const short = await errorOf(evaluate({ cleanCorrect: correct.slice(1) }));
    expect(short.code).to.equal('ERR_HARDBIT_SHAPE');
  });

  it('reports progress and lets others run between batches', async () => {
    const done: number[] = [];
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    try {
      const onProgress = (progress: { done: number }) => {
        done.push(progress.done);
        const until = performance.now() + 5;
        while (performance.now() < until); // long enough for the timer to be due
      };
      await evaluate({ batchSize: 20, onProgress });
    } finally {
      clearInterval(timer);
    }
    expect([...new Set(done)].filter((count) => count > 0)).to.deep.equal([20, 40, 60]);
    expect(turns).to.be.at.least(2);
  });

  it('stops at an aborted signal and frees what it had kept', async () => {
    const controller = new AbortController();
    const error = await errorOf(
      evaluate({
        batchSize: 20,
        keepAdversarial: true,
        signal: controller.signal,
        onProgress: ({ done }) => {
          if (done === 40) controller.abort();
        },
      }),
    );
    expect(error.code).to.equal('ERR_HARDBIT_ABORTED');
  });

  it('refuses data and options that do not fit, with a code', async () => {
    const codeOf = async (promise: Promise<unknown>) => (await errorOf(promise)).code;
    const bad = Float32Array.from(unit, (x, i) => (i === 500 ? Number.NaN : x));
    const fails = (pixels: Float32Array, victim = model) =>
      withData((data) => evaluateAttack(victim, data, spec, { seed: 1 }), pixels);
    expect(await codeOf(fails(bad))).to.equal('ERR_HARDBIT_PIXELS');
    expect(await codeOf(withData((data) => evaluateClean(model, data), bad))).to.equal('ERR_HARDBIT_PIXELS');
    const other = discretizedLinear(randomLinear(1, [2, 2, 3]), 2);
    expect(await codeOf(fails(unit, other))).to.equal('ERR_HARDBIT_SHAPE');
    expect(await codeOf(evaluate({ batchSize: 0 }))).to.equal('ERR_HARDBIT_ARGUMENT');
    expect(await codeOf(evaluate({ seed: -1 }))).to.equal('ERR_HARDBIT_ARGUMENT');
    const few = discretizedLinear(randomLinear(1, [3, 2, 2], 2), 2);
    expect(await codeOf(fails(unit, few))).to.equal('ERR_HARDBIT_LABELS');
  });
});

describe('evaluateTransfer', () => {
  const spec = resolveAttack('fgsm', { epsilon: 0.2 });
  const twin = discretizedLinear(twinNetwork, 2);
  const info = {
    source: 'twin',
    attack: spec,
    gradientMode: { discretizer: 'identity', sign: null },
    seed: 6,
  } as const;

  it('on its own images a network fares as in the white box', async () => {
    await withData(async (data) => {
      const own = await evaluateAttack(model, data, spec, { seed: 6, keepAdversarial: true });
      const adversarial = own.adversarial as Tensor;
      const again = await evaluateTransfer(
        model,
        data,
        adversarial,
        { ...info, source: 'itself' },
        { batchSize: 13 },
      );
      adversarial.dispose();
      expect(again).to.include({
        threatModel: 'transfer',
        source: 'itself',
        zeroGradientFraction: null,
        n: N,
      });
      for (const key of [
        'cleanCorrect',
        'adversarialCorrect',
        'flippableFraction',
        'maxPerturbation',
      ] as const) {
        expect(again[key], key).to.deep.equal(own[key]);
      }
    });
  });

  it("another network's images hurt, but less than its own", async () => {
    await withData(async (data) => {
      const own = await evaluateAttack(model, data, spec, { seed: 6 });
      const foreign = await evaluateAttack(twin, data, spec, { seed: 6, keepAdversarial: true });
      const adversarial = foreign.adversarial as Tensor;
      const transfer = await evaluateTransfer(model, data, adversarial, info);
      adversarial.dispose();
      expect(transfer.cleanAccuracy).to.equal(own.cleanAccuracy);
      expect(transfer.adversarialAccuracy).to.be.above(own.adversarialAccuracy);
      expect(transfer.gradientMode).to.deep.equal(info.gradientMode);
    });
  });

  it('refuses images that are not of this dataset or this ε', async () => {
    await withData(async (data) => {
      const { adversarial } = await evaluateAttack(twin, data, spec, { seed: 6, keepAdversarial: true });
      const images = adversarial as Tensor;
      const smaller = { ...info, attack: resolveAttack('fgsm', { epsilon: 0.19 }) };
      expect((await errorOf(evaluateTransfer(model, data, images, smaller))).code).to.equal(
        'ERR_HARDBIT_PIXELS',
      );
      const fewer = images.slice(0, N - 1);
      expect((await errorOf(evaluateTransfer(model, data, fewer, info))).code).to.equal('ERR_HARDBIT_SHAPE');
      fewer.dispose();
      images.dispose();
    });
  });
});
