import { expect } from 'chai';
import { type AttackSpec, resolveAttack } from '../../lib/attacks/registry.js';
import type { Dataset } from '../../lib/data/dataset.js';
import { evaluateAttack } from '../../lib/evaluation/attack.js';
import type { EvaluatedModel } from '../../lib/evaluation/batches.js';
import { gradientModesFor } from '../../lib/evaluation/gradient-mode.js';
import {
  evaluateWorstCase,
  type WorstCaseEvaluation,
  type WorstCaseOptions,
} from '../../lib/evaluation/worst-case.js';
import { native } from '../../lib/native.js';
import { argmax } from '../../lib/ops/cross-entropy.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import {
  randomImages,
  randomLabels,
  randomLinear,
  referenceClass,
  rowsOf,
  rowwiseAttackable,
} from '../attacks/linear.js';
import { datasetOf, discretizedLinear } from './discretized.js';

const N = 50;
const network = randomLinear(61);
const pixels = randomImages(62, N, network.inputShape);
const labels = randomLabels(63, N, network.classes).map((label, i) =>
  i % 6 === 0 ? label : referenceClass(network, rowsOf(pixels, N)[i] as Float32Array),
);

/** A network whose surrogates see different pixels, so that each fools images that others do not. */
function surrogateModel(): EvaluatedModel {
  const inner = rowwiseAttackable(network);
  const visible = { clipped: 0, identity: 1, approx: 2, swish: 3 } as const;
  return {
    inputShape: network.inputShape,
    classes: network.classes,
    inputBits: 8,
    activationGradients: ['clipped', 'identity', 'approx'],
    logits: inner.logits,
    predict: (images) => scope(() => argmax(inner.logits(images))),
    attackable: (mode) => ({
      ...inner,
      vjp: (images, cotangent) => {
        const { logits, gradient } = inner.vjp(images, cotangent);
        const sign = mode?.sign ?? 'clipped';
        const seen = gradient
          .toFloat32Array()
          .map((g, j) => (sign !== 'exact' && Math.floor(j / 2) % 3 === visible[sign] % 3 ? g : 0));
        gradient.dispose();
        return { logits, gradient: Tensor.from('f32', images.shape, seen) };
      },
    }),
  };
}

const model = surrogateModel();

async function withData<T>(body: (data: Dataset) => Promise<T>): Promise<T> {
  const before = native().memory().liveTensors;
  const data = datasetOf(pixels, labels, network.inputShape, network.classes);
  try {
    return await body(data);
  } finally {
    data.dispose();
    expect(native().memory().liveTensors).to.be.at.most(before);
  }
}

const worstCase = (specs: readonly AttackSpec[], options: Partial<WorstCaseOptions> = {}) =>
  withData((data) => evaluateWorstCase(model, data, specs, { seed: 6, ...options }));

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
  } catch (error) {
    return (error as { code?: string }).code;
  }
  return undefined;
}

function headline({ runs, skippedFooled, worstAlone, ...rest }: WorstCaseEvaluation): object {
  return rest;
}

const fgsm = resolveAttack('fgsm', { epsilon: 0.2 });
const pgd = resolveAttack('pgd', { epsilon: 0.2, steps: 5, restarts: 2 });

describe('evaluateWorstCase', () => {
  it('is, image by image, the AND of every attack in every gradient mode', async () => {
    const worst = await worstCase([fgsm, pgd], { batchSize: 13 });
    const correct = new Array<number>(N).fill(1);
    const accuracies: number[] = [];
    await withData(async (data) => {
      for (const attack of [fgsm, pgd]) {
        for (const gradient of gradientModesFor(model)) {
          const single = await evaluateAttack(model, data, attack, { seed: 6, gradient });
          single.adversarialCorrect.forEach((flag, i) => {
            correct[i] = (correct[i] as number) & flag;
          });
          const { seconds: _, ...figures } = single;
          const run = worst.runs[accuracies.length] as (typeof worst.runs)[number];
          const { seconds: __, ...own } = run.evaluation;
          expect(own).to.deep.equal(figures);
          accuracies.push(single.adversarialAccuracy);
        }
      }
    });
    const accuracy = correct.reduce((a, b) => a + b, 0) / N;
    expect([...worst.adversarialCorrect]).to.deep.equal(correct);
    expect(worst.adversarialAccuracy).to.be.closeTo(accuracy, 1e-12);
    expect(worst.adversarialLoss).to.equal(worst.cleanAccuracy - worst.adversarialAccuracy);
    expect(worst.worstAlone).to.equal(accuracies.indexOf(Math.min(...accuracies)));
    // The modes complement each other: together they are worse than any alone.
    expect(accuracy).to.be.below(Math.min(...accuracies));
    expect(worst).to.include({ n: N, seed: 6, norm: 'linf', epsilon: 0.2, skippedFooled: false });
    expect(worst.attacks).to.deep.equal([fgsm, pgd]);
    expect(worst.gradientModes.map(({ sign }) => sign)).to.deep.equal(['clipped', 'identity', 'approx']);
    expect(worst.runs.map(({ rows }) => rows.length)).to.deep.equal(new Array(6).fill(N));
  });

  it('leaving out what is fooled already changes the work, not the headline', async () => {
    const all = await worstCase([pgd]);
    const skipping = await worstCase([pgd], { skipFooled: true, batchSize: 7 });
    expect(headline(skipping)).to.deep.equal(headline(all));
    expect([skipping.skippedFooled, skipping.worstAlone]).to.deep.equal([true, null]);
    let left = N;
    for (const [k, run] of skipping.runs.entries()) {
      expect(run.rows).to.have.length(left);
      expect(run.evaluation.n).to.equal(left);
      expect(run.newlyFooled).to.equal(all.runs[k]?.newlyFooled);
      left -= run.newlyFooled;
    }
    expect(skipping.runs.at(-1)?.rows.length).to.be.below(N);
    expect(left / N).to.be.closeTo(all.adversarialAccuracy, 1e-12);
  });

  it('keeps of each image the first that fools the network', async () => {
    for (const skipFooled of [false, true]) {
      await withData(async (data) => {
        const worst = await evaluateWorstCase(model, data, [pgd], {
          seed: 6,
          skipFooled,
          keepAdversarial: true,
        });
        const adversarial = worst.adversarial as Tensor;
        const rows = rowsOf(adversarial.toFloat32Array(), N);
        adversarial.dispose();
        rows.forEach((row, i) => {
          const correct = referenceClass(network, row) === labels[i];
          expect(Number(correct), `image ${i}`).to.equal(worst.adversarialCorrect[i]);
          row.forEach((x, j) => {
            expect(Math.abs(x - (pixels[i * 12 + j] as number))).to.be.below(0.2 + 1e-6);
          });
        });
        expect(rows.some((row, i) => row.some((x, j) => x !== pixels[i * 12 + j]))).to.equal(true);
      });
    }
  });

  it('takes the modes asked for, and ends where nothing is left to attack', async () => {
    const one = await worstCase([fgsm], { gradients: [{ sign: 'approx' }] });
    const single = await withData((data) =>
      evaluateAttack(model, data, fgsm, { seed: 6, gradient: { sign: 'approx' } }),
    );
    expect(one.adversarialAccuracy).to.equal(single.adversarialAccuracy);
    expect(one.worstAlone).to.equal(0);
    const wrong = labels.map(
      (_, i) => (referenceClass(network, rowsOf(pixels, N)[i] as Float32Array) + 1) % network.classes,
    );
    const data = datasetOf(pixels, wrong, network.inputShape, network.classes);
    const tiny = resolveAttack('fgsm', { epsilon: 0 });
    const none = await evaluateWorstCase(model, data, [tiny], { seed: 1, skipFooled: true });
    data.dispose();
    expect(none.runs).to.have.length(1);
    expect(none.adversarialAccuracy).to.equal(0);
  });

  it('in L2 too', async () => {
    const l2 = resolveAttack('pgd', { epsilon: 0.5, norm: 'l2', steps: 5, earlyStop: true });
    const worst = await worstCase([l2]);
    expect(worst).to.include({ norm: 'l2', epsilon: 0.5 });
    for (const { evaluation } of worst.runs) {
      expect(evaluation.flippableFraction).to.equal(null);
      expect(evaluation.maxL2Distance).to.be.within(0.3, 0.5 * (1 + 2 ** -23));
      expect(evaluation.meanL2Distance).to.be.within(0.01, 0.5);
      expect(evaluation.meanGradientCalls).to.be.within(1, 5);
    }
  });

  it('reports progress from 0 to 1, and frees everything when it is stopped', async () => {
    const fractions: number[] = [];
    await worstCase([fgsm, pgd], { onProgress: ({ fraction }) => fractions.push(fraction) });
    expect([...fractions].sort((a, b) => a - b)).to.deep.equal(fractions);
    expect(fractions.at(-1)).to.equal(1);
    const controller = new AbortController();
    let runs = 0;
    const stopped = worstCase([fgsm, pgd], {
      signal: controller.signal,
      keepAdversarial: true,
      skipFooled: true,
      onRun: () => {
        if (++runs === 3) controller.abort();
      },
    });
    expect(await codeOf(stopped)).to.equal('ERR_HARDBIT_ABORTED');
  });

  it('refuses attacks that do not share a ball or an aim', async () => {
    const codes = [
      await codeOf(worstCase([])),
      await codeOf(worstCase([fgsm], { gradients: [] })),
      await codeOf(worstCase([fgsm, resolveAttack('pgd', { epsilon: 0.1 })])),
      await codeOf(worstCase([fgsm, resolveAttack('pgd', { epsilon: 0.2, norm: 'l2' })])),
      await codeOf(worstCase([resolveAttack('pgd', { epsilon: 0.2, targeted: true })])),
    ];
    expect(codes).to.deep.equal(new Array(5).fill('ERR_HARDBIT_ARGUMENT'));
    expect(await codeOf(worstCase([fgsm], { cleanCorrect: new Uint8Array(N - 1) }))).to.equal(
      'ERR_HARDBIT_SHAPE',
    );
  });

  it('a label beyond the classes is an error that leaves nothing behind', async () => {
    const fewer = discretizedLinear(randomLinear(64, network.inputShape, 2), 8, ['clipped', 'approx']);
    const cleanCorrect = new Uint8Array(N);
    await withData(async (data) => {
      const options = { seed: 1, cleanCorrect, keepAdversarial: true, batchSize: 9 };
      expect(await codeOf(evaluateWorstCase(fewer, data, [pgd], options))).to.equal('ERR_HARDBIT_LABELS');
    });
  });

  it('says where the attacks moved away from predicted labels', async () => {
    const predicted = await worstCase([fgsm], { labels: 'predicted' });
    expect([predicted.labels, ...predicted.runs.map(({ evaluation }) => evaluation.labels)]).to.deep.equal(
      new Array(4).fill('predicted'),
    );
  });
});
