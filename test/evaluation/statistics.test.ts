import { expect } from 'chai';
import fc from 'fast-check';
import { meanAndDeviation, pairedDifference, wilsonInterval } from '../../lib/evaluation/statistics.js';
import { randomSource } from '../attacks/linear.js';

const bit = fc.integer({ min: 0, max: 1 });

describe('pairedDifference', () => {
  it('follows d̄ ± 1.96·s/√n', () => {
    // Differences 1, 1, 0, −1, 1, 0, 1, 1: mean .5, Σ(d − .5)² = 4, s² = 4/7.
    const a = Uint8Array.of(1, 1, 1, 0, 1, 0, 1, 1);
    const b = Uint8Array.of(0, 0, 1, 1, 0, 0, 0, 0);
    const { difference, low, high, n } = pairedDifference(a, b);
    const half = 1.959963984540054 * Math.sqrt(4 / 7 / 8);
    expect(n).to.equal(8);
    expect(difference).to.equal(0.5);
    expect(low).to.be.closeTo(0.5 - half, 1e-12);
    expect(high).to.be.closeTo(0.5 + half, 1e-12);
  });

  it('is antisymmetric, contains its difference, and has width zero where the two agree', () => {
    const pairs = fc.array(fc.tuple(bit, bit), { minLength: 2, maxLength: 50 });
    fc.assert(
      fc.property(pairs, (rows) => {
        const a = Uint8Array.from(rows, ([x]) => x);
        const b = Uint8Array.from(rows, ([, y]) => y);
        const ab = pairedDifference(a, b);
        const ba = pairedDifference(b, a);
        expect(ba.difference).to.be.closeTo(-ab.difference, 1e-12);
        expect(ba.low).to.be.closeTo(-ab.high, 1e-12);
        expect(ab.low).to.be.at.most(ab.difference);
        expect(pairedDifference(a, a)).to.deep.equal({ difference: 0, low: 0, high: 0, n: a.length });
      }),
    );
  });

  it('covers the true difference in about 95 % of samples', () => {
    const random = randomSource(5);
    const trials = 2000;
    let covered = 0;
    for (let t = 0; t < trials; t++) {
      const a = new Uint8Array(400);
      const b = new Uint8Array(400);
      for (let i = 0; i < 400; i++) {
        const shared = random() < 0.5; // both right; else independent chances of .6 and .4: the true difference is .1
        a[i] = Number(shared || random() < 0.6);
        b[i] = Number(shared || random() < 0.4);
      }
      const { low, high } = pairedDifference(a, b);
      if (low <= 0.1 && 0.1 <= high) covered++;
    }
    expect(covered / trials).to.be.within(0.935, 0.965);
  });

  it('refuses results on different images, and too few', () => {
    expect(() => pairedDifference(new Uint8Array(3), new Uint8Array(4)))
      .to.throw()
      .with.property('code', 'ERR_HARDBIT_SHAPE');
    for (const n of [0, 1]) {
      expect(() => pairedDifference(new Uint8Array(n), new Uint8Array(n)))
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_ARGUMENT');
    }
  });
});

describe('wilsonInterval', () => {
  it("follows Wilson's formula, computed by hand", () => {
    // 8 of 10, z² = 3.841459: centre (.8 + .192073)/1.384146 = .716740, half 1.959964·√(.016 + .009604)/1.384146 = .226578.
    const { accuracy, low, high, n } = wilsonInterval(8, 10);
    expect([accuracy, n]).to.deep.equal([0.8, 10]);
    expect(low).to.be.closeTo(0.490162, 1e-6);
    expect(high).to.be.closeTo(0.943318, 1e-6);
    // Its ends solve |p − q| = z·√(q(1 − q)/n).
    for (const end of [low, high]) {
      expect(Math.abs(0.8 - end)).to.be.closeTo(1.959963984540054 * Math.sqrt((end * (1 - end)) / 10), 1e-12);
    }
  });

  it('stays within [0, 1], contains the accuracy, and never has width zero', () => {
    const counts = fc
      .integer({ min: 1, max: 20_000 })
      .chain((n) => fc.tuple(fc.integer({ min: 0, max: n }), fc.constant(n)));
    fc.assert(
      fc.property(counts, ([correct, n]) => {
        const { accuracy, low, high } = wilsonInterval(correct, n);
        expect(low).to.be.within(0, accuracy);
        expect(high).to.be.within(accuracy, 1);
        expect(high - low).to.be.above(0);
        const mirrored = wilsonInterval(n - correct, n);
        expect(mirrored.low).to.be.closeTo(1 - high, 1e-12);
      }),
    );
    // With no success its upper end is z²/(n + z²).
    const z2 = 1.959963984540054 ** 2;
    expect(wilsonInterval(0, 100).low).to.equal(0);
    expect(wilsonInterval(0, 100).high).to.be.closeTo(z2 / (100 + z2), 1e-12);
    expect(wilsonInterval(100, 100).high).to.equal(1);
  });

  it('refuses what is not a count', () => {
    for (const [correct, n] of [
      [1, 0],
      [-1, 5],
      [6, 5],
      [0.5, 5],
      [Number.NaN, 5],
      [1, Number.POSITIVE_INFINITY],
    ] as const) {
      expect(() => wilsonInterval(correct, n))
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_ARGUMENT');
    }
  });
});

describe('meanAndDeviation', () => {
  it('is the mean and the sample standard deviation', () => {
    // Deviations −3, −1, −1, −1, 0, 0, 2, 4 from 5: Σ = 32, 32/7.
    expect(meanAndDeviation([2, 4, 4, 4, 5, 5, 7, 9])).to.deep.equal({
      mean: 5,
      deviation: Math.sqrt(32 / 7),
      n: 8,
    });
    expect(meanAndDeviation([0.25, 0.25])).to.deep.equal({ mean: 0.25, deviation: 0, n: 2 });
    expect(meanAndDeviation([0.5])).to.deep.equal({ mean: 0.5, deviation: null, n: 1 });
  });

  it('refuses nothing, and what is not finite', () => {
    for (const values of [[], [1, Number.NaN], [Number.POSITIVE_INFINITY]]) {
      expect(() => meanAndDeviation(values))
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_ARGUMENT');
    }
  });
});
