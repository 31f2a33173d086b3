import { expect } from 'chai';
import fc from 'fast-check';
import { byTime, peerOf, quantile, summarize } from '../../lib/bench/statistics.js';

describe('statistics of samples', () => {
  it('takes quantiles between order statistics', () => {
    const samples = [5, 1, 4, 2, 3];
    expect([0, 0.1, 0.25, 0.5, 0.9, 1].map((q) => quantile(samples, q))).to.deep.equal([
      1, 1.4, 2, 3, 4.6, 5,
    ]);
    expect(samples).to.deep.equal([5, 1, 4, 2, 3]);
    expect(quantile([7], 0.9)).to.equal(7);
    expect(quantile([1, 2], 0.5)).to.equal(1.5);
  });

  it('lies between the extremes and does not depend on the order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 1e-9, max: 1e3, noNaN: true }), { minLength: 1 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (samples, q) => {
          const value = quantile(samples, q);
          expect(value).to.be.within(Math.min(...samples), Math.max(...samples));
          expect(quantile([...samples].reverse(), q)).to.equal(value);
        },
      ),
    );
  });

  it('sums up eleven samples', () => {
    const samples = [10, 0, 9, 1, 8, 2, 7, 3, 6, 4, 5];
    expect(summarize(samples)).to.deep.equal({ median: 5, p10: 1, p90: 9, samples: 11 });
  });

  it('compares medians, whatever an outlier says', () => {
    const ours = summarize([2, 2, 1000]);
    const peers = [peerOf('slow', [8, 8, 0.1], ours), peerOf('fast', [1, 1, 1], ours, 70)];
    expect(peers.map(({ ratio }) => ratio)).to.deep.equal([4, 0.5]);
    expect(byTime(peers).map(({ name }) => name)).to.deep.equal(['fast', 'slow']);
    expect(peers.map(({ peakMegabytes }) => peakMegabytes)).to.deep.equal([undefined, 70]);
  });
});
