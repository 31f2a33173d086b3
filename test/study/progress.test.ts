import { expect } from 'chai';
import { chooseExample } from '../../lib/study/examples.js';
import { Meter } from '../../lib/study/progress.js';

describe('the progress of a study', () => {
  it('counts estimated time, and corrects the rest by what time really went', () => {
    let now = 0;
    const meter = new Meter(100, () => now);
    expect(meter.fraction).to.equal(0);
    expect(meter.secondsLeft).to.equal(100);
    meter.advance(40, 0.5);
    expect(meter.fraction).to.equal(0.2);
    meter.finish(40);
    now = 90;
    expect(meter.fraction).to.equal(0.4);
    expect(meter.secondsLeft).to.equal(60 * (100 / 50));
    meter.finish(60);
    expect([meter.fraction, meter.secondsLeft]).to.deep.equal([1, 0]);
  });

  it('has an end where nothing is left to do', () => {
    const meter = new Meter(0, () => 0);
    expect(meter.secondsLeft).to.be.lessThan(1e-6);
  });
});

describe('the choice of an example', () => {
  const labels = Int32Array.of(3, 5, 5, 7);
  const choose = (clean: number[], adversarial: number[], wanted: number) =>
    chooseExample(labels, Uint8Array.from(clean), Uint8Array.from(adversarial), wanted);

  it('prefers a fooled image of the wanted class, then any fooled one, then one that withstands', () => {
    expect(choose([1, 1, 1, 1], [0, 1, 0, 0], 5)).to.equal(2);
    expect(choose([1, 0, 0, 1], [0, 0, 0, 0], 5)).to.equal(0);
    expect(choose([1, 1, 1, 1], [1, 1, 1, 1], 5)).to.equal(1);
    expect(choose([1, 0, 0, 0], [1, 0, 0, 0], 5)).to.equal(0);
    expect(choose([0, 0, 0, 0], [0, 0, 0, 0], 5)).to.equal(0);
  });
});
