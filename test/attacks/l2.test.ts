import { expect } from 'chai';
import fc from 'fast-check';
import { l2Tolerance, measurePerturbation } from '../../lib/attacks/ball.js';
import { type AttackSpec, resolveAttack, runAttack } from '../../lib/attacks/registry.js';
import { uniformStartL2 } from '../../lib/ops/attack-step.js';
import { scope } from '../../lib/tensor/scope.js';
import type { Tensor } from '../../lib/tensor/tensor.js';
import {
  imageTensor,
  type Linear,
  labelTensor,
  linearAttackable,
  randomImages,
  randomLabels,
  randomLinear,
  referenceDistance,
  referenceLogits,
  referenceWalkL2,
  rowsOf,
} from './linear.js';

const N = 9;
const model = randomLinear(1);
const pixels = randomImages(2, N, model.inputShape);
const labels = randomLabels(3, N, model.classes);

function attack(
  spec: AttackSpec,
  victim: Linear = model,
  data = pixels,
  given = labels,
  seed = 5,
): Float32Array {
  return scope(() => {
    const images = imageTensor(data, victim.inputShape);
    const context = { seed };
    return runAttack(
      spec,
      linearAttackable(victim),
      images,
      labelTensor(given),
      context,
    ).adversarial.toFloat32Array();
  });
}

/** Compares with the float64 reference from the given starts. */
function expectWalk(
  actual: Float32Array,
  starts: Float32Array,
  walk: { epsilon: number; steps: number; stepSize: number },
  given = labels,
): void {
  const origins = rowsOf(pixels, N);
  const from = rowsOf(starts, N);
  rowsOf(actual, N).forEach((row, i) => {
    const expected = referenceWalkL2(
      model,
      origins[i] as Float32Array,
      from[i] as Float32Array,
      given[i] as number,
      walk,
    );
    expect(referenceDistance(row, expected), `image ${i}`).to.be.below(1e-5 * walk.epsilon + 1e-6);
  });
}

describe('attacks in L2 against an independent float64 reference', () => {
  for (const epsilon of [0.05, 0.5, 2, Math.sqrt(12)]) {
    it(`FGM is x + ε·∇J/‖∇J‖₂, clipped to [0, 1], ε = ${epsilon.toFixed(2)}`, () => {
      const adversarial = attack(resolveAttack('fgsm', { epsilon, norm: 'l2' }));
      expectWalk(adversarial, pixels, { epsilon, steps: 1, stepSize: epsilon });
    });

    it(`BIM projects every step, ε = ${epsilon.toFixed(2)}`, () => {
      const walk = { epsilon, steps: 7, stepSize: epsilon / 3 };
      const { steps, stepSize } = walk;
      expectWalk(attack(resolveAttack('bim', { epsilon, norm: 'l2', steps, stepSize })), pixels, walk);
      const targets = labels.map((label) => (label + 1) % model.classes);
      const targeted = resolveAttack('bim', { epsilon, norm: 'l2', steps, stepSize, targeted: true });
      expectWalk(attack(targeted, model, pixels, targets), pixels, { ...walk, stepSize: -stepSize }, targets);
    });

    it(`PGD starts uniformly in the ball from stream 0 and takes 20 steps of 2.5ε/20, ε = ${epsilon.toFixed(2)}`, () => {
      const start = scope(() =>
        uniformStartL2(imageTensor(pixels, model.inputShape), epsilon, {
          seed: 5,
          stream: 0,
          firstRow: 0,
        }).toFloat32Array(),
      );
      const adversarial = attack(resolveAttack('pgd', { epsilon, norm: 'l2' }));
      expectWalk(adversarial, start, { epsilon, steps: 20, stepSize: (2.5 * epsilon) / 20 });
    });
  }

  it('between two classes the margin falls by exactly ε·‖w₁ − w₀‖₂, and no attack does better', () => {
    const two = randomLinear(31, [3, 2, 2], 2);
    const [w0, w1] = two.weights as [Float32Array, Float32Array];
    const difference = Array.from(w1, (w, j) => w - (w0[j] as number));
    const length = Math.hypot(...difference);
    // Grey is so far from black and white that nothing is clipped.
    const grey = new Float32Array(12).fill(0.5);
    const epsilon = 0.3;
    const margin = (x: Float32Array) => {
      const [z0, z1] = referenceLogits(two, x) as [number, number];
      return z0 - z1;
    };
    const best = Float32Array.from(difference, (d) => 0.5 + (epsilon * d) / length);
    for (const spec of [
      resolveAttack('fgsm', { epsilon, norm: 'l2' }),
      resolveAttack('bim', { epsilon, norm: 'l2' }),
      resolveAttack('pgd', { epsilon, norm: 'l2', steps: 200, stepSize: 0.05 }),
    ]) {
      const adversarial = attack(spec, two, grey, Int32Array.of(0));
      expect(margin(grey) - margin(adversarial), spec.name).to.be.closeTo(epsilon * length, 2e-6);
      expect(referenceDistance(adversarial, best), spec.name).to.be.below(spec.name === 'pgd' ? 1e-4 : 1e-6);
    }
  });
});

describe('the L2 ball', () => {
  const pixel = fc.oneof(
    fc.constantFrom(0, 1),
    fc.integer({ min: 0, max: 255 }).map((k) => Math.fround(k / 255)),
    fc.float({ min: 0, max: 1, noNaN: true }),
  );
  const radius = fc.oneof(
    fc.constantFrom(0.1, 0.5, 1, Math.sqrt(12), 1e-9),
    fc.double({ min: 1e-12, max: Math.sqrt(12), noNaN: true }),
  );

  it('no attack leaves it, nor [0, 1]', () => {
    const property = fc.property(
      fc.array(pixel, { minLength: 12, maxLength: 12 }),
      radius,
      fc.constantFrom('fgsm', 'bim', 'pgd'),
      fc.boolean(),
      fc.boolean(),
      fc.nat(),
      (image, epsilon, name, targeted, earlyStop, seed) => {
        const data = Float32Array.from(image);
        const spec = resolveAttack(name, {
          epsilon,
          norm: 'l2',
          targeted,
          ...(name === 'fgsm' ? {} : { earlyStop }),
        });
        const adversarial = attack(spec, model, data, Int32Array.of(1), seed);
        for (const value of adversarial) expect(value).to.be.within(0, 1);
        expect(referenceDistance(adversarial, data)).to.be.at.most(epsilon + l2Tolerance(epsilon));
        scope(() => {
          const [a, b] = [adversarial, data].map((values) => imageTensor(values, model.inputShape));
          expect(measurePerturbation(a as Tensor, b as Tensor, epsilon, 'l2').outside).to.equal(0);
        });
      },
    );
    fc.assert(property, { numRuns: 200 });
  });

  it('measures each image, and counts those too far away and pixels outside [0, 1]', () => {
    scope(() => {
      const origin = imageTensor(new Float32Array(36).fill(0.5), model.inputShape);
      const moved = new Float32Array(36).fill(0.5);
      moved[0] = 0.5 + 0.375; // 0.375 and 0.5: a distance of 0.625
      moved[1] = 1;
      moved[12] = 0.75;
      const measure = (data: Float32Array, epsilon: number) =>
        measurePerturbation(imageTensor(data, model.inputShape), origin, epsilon, 'l2');
      const { distances, outside, max, sum } = measure(moved, 0.625);
      expect([...distances]).to.deep.equal([0.625, 0.25, 0]);
      expect({ outside, max, sum }).to.deep.equal({ outside: 0, max: 0.5, sum: 1.125 });
      expect(measure(moved, 0.6249).outside).to.equal(1);
      expect(measure(moved, 0.2).outside).to.equal(2);
      moved[35] = 1.25;
      expect(measure(moved, 3).outside).to.equal(1);
      moved[34] = Number.NaN;
      expect(measure(moved, 3).outside).to.equal(3); // two pixels, and the image whose distance is unknown
    });
  });

  it('is at most as wide as from black to white', () => {
    const run = (epsilon: number) => () => attack(resolveAttack('pgd', { epsilon, norm: 'l2' }));
    expect(run(3.47)).to.throw('√(3·2·2) = 3.46').with.property('code', 'ERR_HARDBIT_ARGUMENT');
    expect(run(Math.sqrt(12))).not.to.throw();
  });

  it('a zero gradient moves nothing', () => {
    const numb: Linear = { ...model, weights: model.weights.map((row) => row.map(() => 0)) };
    const adversarial = attack(resolveAttack('bim', { epsilon: 1, norm: 'l2' }), numb);
    expect(adversarial).to.deep.equal(pixels);
  });
});
