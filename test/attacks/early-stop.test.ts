import { expect } from 'chai';
import fc from 'fast-check';
import type { Attackable } from '../../lib/attacks/attackable.js';
import { type AttackOptions, type AttackSpec, resolveAttack, runAttack } from '../../lib/attacks/registry.js';
import { native } from '../../lib/native.js';
import { uniformStart } from '../../lib/ops/attack-step.js';
import { scope } from '../../lib/tensor/scope.js';
import {
  imageTensor,
  labelTensor,
  randomImages,
  randomLabels,
  randomLinear,
  referenceClass,
  referenceLoss,
  referenceWalk,
  rowsOf,
  rowwiseAttackable,
} from './linear.js';

const N = 40;
const model = randomLinear(41);
const pixels = randomImages(42, N, model.inputShape);
/** Most are classified as labelled, so that there is something to fool. */
const labels = randomLabels(43, N, model.classes).map((label, i) =>
  i % 5 === 0 ? label : referenceClass(model, rowsOf(pixels, N)[i] as Float32Array),
);

interface Run {
  readonly adversarial: Float32Array;
  readonly firstGradientZero: readonly number[];
  readonly gradientCalls: readonly number[];
}

function attack(
  spec: AttackSpec,
  options: {
    victim?: Attackable;
    data?: Float32Array;
    labels?: Int32Array;
    firstRow?: number;
    rows?: readonly number[];
  } = {},
): Run {
  const { victim = rowwiseAttackable(model), data = pixels, firstRow, rows } = options;
  return scope(() => {
    const result = runAttack(
      spec,
      victim,
      imageTensor(data, model.inputShape),
      labelTensor(options.labels ?? labels),
      { seed: 5, ...(firstRow === undefined ? {} : { firstRow }), rows },
    );
    return {
      adversarial: result.adversarial.toFloat32Array(),
      firstGradientZero: [...result.firstGradientZero],
      gradientCalls: [...result.gradientCalls],
    };
  });
}

const variants: readonly (readonly [string, AttackOptions])[] = [
  ['bim', { epsilon: 0.2 }],
  ['bim', { epsilon: 0.2, targeted: true }],
  ['bim', { epsilon: 0.6, norm: 'l2' }],
  ['pgd', { epsilon: 0.15 }],
  ['pgd', { epsilon: 0.15, restarts: 4, steps: 3, stepSize: 0.04 }],
  ['pgd', { epsilon: 0.15, restarts: 3, steps: 3, stepSize: 0.04, targeted: true }],
  ['pgd', { epsilon: 0.5, norm: 'l2', restarts: 4, steps: 3, stepSize: 0.1 }],
];

describe('early stop', () => {
  for (const [name, options] of variants) {
    it(`gives each example what it gets alone: ${name} ${JSON.stringify(options)}`, () => {
      const spec = resolveAttack(name, { ...options, earlyStop: true });
      const whole = attack(spec);
      const alone = rowsOf(pixels, N).map((data, i) =>
        attack(spec, { data, labels: labels.slice(i, i + 1), firstRow: i }),
      );
      expect(alone.flatMap((run) => [...run.adversarial])).to.deep.equal([...whole.adversarial]);
      expect(alone.flatMap((run) => run.gradientCalls)).to.deep.equal(whole.gradientCalls);
      expect(alone.flatMap((run) => run.firstGradientZero)).to.deep.equal(whole.firstGradientZero);
      // Some stopped, at different steps, and some did not.
      expect(new Set(whole.gradientCalls).size).to.be.above(1);
    });
  }

  it('gives each example what it gets alone, for any network, labels and batch', () => {
    const property = fc.property(
      fc.nat(),
      fc.integer({ min: 1, max: 20 }),
      fc.constantFrom('linf' as const, 'l2' as const),
      fc.boolean(),
      fc.integer({ min: 1, max: 3 }),
      fc.double({ min: 0.01, max: 0.6, noNaN: true }),
      (seed, count, norm, targeted, restarts, epsilon) => {
        const network = randomLinear(seed);
        const victim = rowwiseAttackable(network);
        const data = randomImages(seed + 1, count, network.inputShape);
        const given = randomLabels(seed + 2, count, network.classes);
        const options = { epsilon, norm, targeted, restarts, steps: 4, earlyStop: true };
        const spec = resolveAttack('pgd', options);
        const whole = attack(spec, { victim, data, labels: given });
        rowsOf(data, count).forEach((row, i) => {
          const alone = attack(spec, {
            victim,
            data: row,
            labels: given.slice(i, i + 1),
            firstRow: i,
          });
          expect(alone.adversarial).to.deep.equal(rowsOf(whole.adversarial, count)[i]);
          expect(alone.gradientCalls).to.deep.equal([whole.gradientCalls[i]]);
        });
      },
    );
    fc.assert(property, { numRuns: 40 });
  });

  /** One walk of one example, from the definition: the gradients it took, and where it ended. */
  function referenceStop(origin: Float32Array, start: Float32Array, label: number, steps: number) {
    let x = start;
    for (let step = 0; step < steps; step++) {
      if (referenceClass(model, x) !== label) return { x, calls: step + 1, fooled: true };
      x = referenceWalk(model, origin, x, label, { epsilon: 0.15, steps: 1, stepSize: 0.04 });
    }
    return { x, calls: steps, fooled: referenceClass(model, x) !== label };
  }

  it('agrees with the definition: the first image that is misclassified, of the first restart that finds one', () => {
    const restarts = 4;
    const steps = 3;
    const spec = resolveAttack('pgd', { epsilon: 0.15, steps, stepSize: 0.04, restarts, earlyStop: true });
    const { adversarial, gradientCalls } = attack(spec);
    const starts = Array.from({ length: restarts }, (_, stream) =>
      scope(() => {
        const x = imageTensor(pixels, model.inputShape);
        return rowsOf(uniformStart(x, 0.15, 0.15, { seed: 5, stream, firstRow: 0 }).toFloat32Array(), N);
      }),
    );
    const found = new Set<number>();
    rowsOf(adversarial, N).forEach((row, i) => {
      const label = labels[i] as number;
      const origin = rowsOf(pixels, N)[i] as Float32Array;
      const runs = starts.map((start) => referenceStop(origin, start[i] as Float32Array, label, steps));
      const first = runs.findIndex((run) => run.fooled);
      found.add(first);
      const losses = runs.map((run) => referenceLoss(model, run.x, label));
      const chosen = first >= 0 ? first : losses.indexOf(Math.max(...losses));
      expect(row, `image ${i}`).to.deep.equal(runs[chosen]?.x);
      const taken = first >= 0 ? runs.slice(0, first + 1) : runs;
      expect(gradientCalls[i]).to.equal(taken.reduce((sum, run) => sum + run.calls, 0));
    });
    // None, the first, and a later restart.
    expect([...found].filter((restart) => restart > 0)).not.to.have.length(0);
    expect([found.has(-1), found.has(0)]).to.deep.equal([true, true]);
  });

  it('an example that is misclassified from the start stays as it is', () => {
    const wrong = labels.map(
      (_, i) => (referenceClass(model, rowsOf(pixels, N)[i] as Float32Array) + 1) % model.classes,
    );
    const spec = resolveAttack('bim', { epsilon: 0.2, earlyStop: true });
    const { adversarial, gradientCalls } = attack(spec, { labels: wrong });
    expect(adversarial).to.deep.equal(pixels);
    expect(gradientCalls).to.deep.equal(new Array(N).fill(1));
  });

  it('fools whatever is fooled without it', () => {
    for (const [name, options] of variants.filter(([, each]) => each.targeted !== true)) {
      const fooled = (run: Run) =>
        rowsOf(run.adversarial, N).map((row, i) => referenceClass(model, row) !== labels[i]);
      const late = fooled(attack(resolveAttack(name, options)));
      const early = fooled(attack(resolveAttack(name, { ...options, earlyStop: true })));
      late.forEach((each, i) => {
        if (each) expect(early[i], `${name} ${JSON.stringify(options)} ${i}`).to.equal(true);
      });
    }
  });

  it('saves the work, and gathers only where an eighth of the rows has stopped', () => {
    const sizes: number[] = [];
    const inner = rowwiseAttackable(model);
    const watched: Attackable = {
      ...inner,
      vjp: (images, cotangent) => {
        sizes.push(images.rows);
        return inner.vjp(images, cotangent);
      },
    };
    const spec = resolveAttack('pgd', {
      epsilon: 0.15,
      steps: 20,
      stepSize: 0.01,
      restarts: 2,
      earlyStop: true,
    });
    const { gradientCalls } = attack(spec, { victim: watched });
    const first = sizes.slice(0, 20);
    expect(first[0]).to.equal(N);
    for (let step = 1; step < first.length; step++) {
      const [before, after] = [first[step - 1], first[step]] as [number, number];
      expect(after === before || after <= (7 / 8) * before, `${before} → ${after}`).to.equal(true);
    }
    expect(Math.min(...first)).to.be.below(N);
    const needed = gradientCalls.reduce((sum, calls) => sum + calls, 0);
    const computed = sizes.reduce((sum, rows) => sum + rows, 0);
    // Ballast is less than an eighth of each batch.
    expect(computed).to.be.within(needed, needed / (7 / 8));
    expect(computed).to.be.below(0.8 * 2 * 20 * N);
    // The second restart begins with those that the first has not fooled.
    expect(sizes[20]).to.be.below(N);
  });

  it('frees every tensor but its result, on errors too', () => {
    const images = imageTensor(pixels, model.inputShape);
    const given = labelTensor(labels);
    const before = native().memory().liveTensors;
    const live: number[] = [];
    for (const [name, options] of variants) {
      let calls = 0;
      const inner = rowwiseAttackable(model);
      const failing: Attackable = {
        ...inner,
        vjp: (x, cotangent) => {
          live.push(native().memory().liveTensors - before);
          if (++calls === 4) throw new Error('no more');
          return inner.vjp(x, cotangent);
        },
      };
      const spec = resolveAttack(name, { ...options, earlyStop: true });
      runAttack(spec, inner, images, given, { seed: 1 }).adversarial.dispose();
      expect(native().memory().liveTensors, name).to.be.at.most(before);
      expect(() => runAttack(spec, failing, images, given, { seed: 1 })).to.throw('no more');
      expect(native().memory().liveTensors, name).to.be.at.most(before);
    }
    expect(Math.max(...live)).to.be.below(12);
    for (const tensor of [images, given]) tensor.dispose();
  });
});

describe('the rows of a part of a dataset', () => {
  it('have the random starts that they have in the whole', () => {
    const rows = [0, 1, 2, 7, 11, 12, 39];
    const data = Float32Array.from(rows.flatMap((row) => [...(rowsOf(pixels, N)[row] as Float32Array)]));
    const given = Int32Array.from(rows, (row) => labels[row] as number);
    for (const [name, options] of [...variants, ['r-fgsm', { epsilon: 0.2 }] as const]) {
      const spec = resolveAttack(name, options);
      const whole = rowsOf(attack(spec).adversarial, N);
      const part = rowsOf(attack(spec, { data, labels: given, rows }).adversarial, rows.length);
      rows.forEach((row, k) => {
        expect(part[k], `${name} ${row}`).to.deep.equal(whole[row]);
      });
    }
  });

  it('are as many as the images, and stand in place of firstRow', () => {
    const spec = resolveAttack('pgd', { epsilon: 0.1 });
    const numbers = Array.from({ length: N }, (_, i) => i);
    for (const context of [{ rows: [1] }, { rows: numbers, firstRow: 0 }, { rows: numbers.map((i) => -i) }]) {
      expect(() => attack(spec, context))
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_ARGUMENT');
    }
  });
});
