import { expect } from 'chai';
import { MovingAverage } from '../../lib/optim/average.js';
import { FlipCounter } from '../../lib/optim/flips.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { failure } from '../support/failure.js';

describe('the moving average of weights', () => {
  it('begins with a copy and follows the recurrence', () => {
    const before = memoryInfo().liveTensors;
    using value = Tensor.from('f32', [2, 2], Float32Array.of(1, -2, 0.5, 0));
    const average = new MovingAverage([{ name: 'w', value }], 0.75);
    average.update(true);
    expect([...(average.values().get('w') ?? [])]).to.deep.equal([1, -2, 0.5, 0]);
    value.write(Float32Array.of(2, 2, 0.5, 8));
    average.update(false);
    // Dyadic numbers: exact.
    expect([...(average.values().get('w') ?? [])]).to.deep.equal([1.25, -1, 0.5, 2]);
    average.dispose();
    expect(memoryInfo().liveTensors).to.be.at.most(before + 1);
  });

  it('refuses a decay outside [0, 1)', () => {
    for (const decay of [1, -0.1, Number.NaN, '0.9' as unknown as number]) {
      expect(failure(() => new MovingAverage([], decay)).code).to.equal('ERR_HARDBIT_ARGUMENT');
    }
  });
});

describe('the count of flips', () => {
  it('is that of a loop over the signs, whatever the shape', () => {
    let state = 1;
    const next = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 31 - 1;
    };
    const before = memoryInfo().liveTensors;
    for (const shape of [
      [1, 1],
      [3, 65],
      [7, 64],
      [5, 3, 3, 2],
      [2, 1, 1, 130],
    ]) {
      const count = shape.reduce((a, b) => a * b, 1);
      using value = Tensor.from('f32', shape);
      const flips = new FlipCounter([{ name: 'w', value }]);
      let signs = new Float32Array(count);
      let expected = 0;
      let counts: Record<string, number> = {};
      for (let step = 0; step < 4; step++) {
        const now = Float32Array.from({ length: count }, () => (next() < -0.8 ? -0 : next()));
        value.write(now);
        expected += now.reduce((sum, x, i) => sum + (x >= 0 === (signs[i] as number) >= 0 ? 0 : 1), 0);
        signs = now;
        counts = flips.add(counts);
        expect(counts).to.deep.equal({ w: expected });
      }
      expect(flips.ratios(counts, 4)).to.deep.equal({ w: expected / (4 * count) });
      flips.dispose();
    }
    expect(memoryInfo().liveTensors).to.be.at.most(before);
  });
});
