import { expect } from 'chai';
import { native } from '../../lib/native.js';
import { keep, scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { failure } from '../support/failure.js';

const one = () => Tensor.from('f32', [1], Float32Array.of(1));
const live = () => native().memory().liveTensors;

describe('scope', () => {
  it('frees everything that is not returned', () => {
    const before = live();
    const made: Tensor[] = [];
    const kept = scope(() => {
      for (let i = 0; i < 5; i++) made.push(one());
      return made[2];
    });
    expect(made.map((x) => x.disposed)).to.deep.equal([true, true, false, true, true]);
    expect(live()).to.equal(before + 1);
    kept?.dispose();
    expect(live()).to.equal(before);
  });

  it('finds returned tensors in arrays and plain objects, nested', () => {
    const result = scope(() => ({ list: [one(), { inner: one() }], number: 3, nothing: null }));
    const [first, second] = result.list as [Tensor, { inner: Tensor }];
    expect([first.disposed, second.inner.disposed]).to.deep.equal([false, false]);
    first.dispose();
    second.inner.dispose();
  });

  it('hands what it returns to the enclosing scope', () => {
    const before = live();
    let inner: Tensor | undefined;
    scope(() => {
      inner = scope(() => one());
      expect(inner.disposed).to.equal(false);
    });
    expect(inner?.disposed).to.equal(true);
    expect(live()).to.equal(before);
  });

  it('keep() takes a tensor out of every scope', () => {
    let kept: Tensor | undefined;
    scope(() => {
      scope(() => {
        kept = keep(one());
      });
    });
    expect(kept?.disposed).to.equal(false);
    kept?.dispose();
  });

  it('leaves tensors from outside alone', () => {
    using outside = one();
    scope(() => {
      outside.clone();
      return 1;
    });
    expect(outside.disposed).to.equal(false);
  });

  it('frees all on an exception, and the enclosing scope goes on', () => {
    const before = live();
    scope(() => {
      const mine = one();
      expect(() =>
        scope(() => {
          one();
          throw new Error('on purpose');
        }),
      ).to.throw('on purpose');
      expect(mine.disposed).to.equal(false);
      expect(live()).to.equal(before + 1);
    });
    expect(live()).to.equal(before);
  });

  it('a tensor that is disposed inside is not disposed again', () => {
    const before = live();
    scope(() => {
      const x = one();
      x.dispose();
      one();
    });
    expect(live()).to.equal(before);
  });

  it('refuses a promise and frees what was made before the first await', () => {
    const before = live();
    expect(
      failure(() =>
        scope(async () => {
          one();
          await null;
        }),
      ).code,
    ).to.equal('ERR_HARDBIT_SCOPE');
    expect(live()).to.equal(before);
    // The scope is closed: what comes next belongs to nobody.
    using free = one();
    expect(free.disposed).to.equal(false);
  });

  it('a rejected promise inside is not an unhandled rejection', async () => {
    expect(failure(() => scope(() => Promise.reject(new Error('nobody hears this')))).code).to.equal(
      'ERR_HARDBIT_SCOPE',
    );
    await new Promise((resolve) => setTimeout(resolve, 1));
  });
});
