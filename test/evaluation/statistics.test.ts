import { expect } from 'chai';
import fc from 'fast-check';
import { pairedDifference } from '../../lib/evaluation/statistics.js';
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
