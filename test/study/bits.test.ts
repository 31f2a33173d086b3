import { expect } from 'chai';
import fc from 'fast-check';
import { bothBits, countBits, decodeBits, encodeBits, packBits, unpackBits } from '../../lib/study/bits.js';

const flags = fc.array(fc.integer({ min: 0, max: 1 }), { maxLength: 70 });

describe('correctness as bits', () => {
  it('comes back as it was', () => {
    fc.assert(
      fc.property(flags, (each) => {
        const bits = packBits(Uint8Array.from(each));
        expect([...unpackBits(bits, each.length)]).to.deep.equal(each);
        expect(decodeBits(encodeBits(bits), each.length)).to.deep.equal(bits);
        expect(decodeBits(encodeBits(bits), each.length + 8)).to.equal(null);
        expect(countBits(bits)).to.equal(each.filter((flag) => flag === 1).length);
      }),
    );
  });

  it('is not read from anything else', () => {
    expect(decodeBits(encodeBits(packBits(Uint8Array.of(1, 1, 1))), 2)).to.equal(null);
    expect(decodeBits('!', 8)).to.equal(null);
    expect(decodeBits('', 1)).to.equal(null);
  });

  it('is set in both where it is set in each', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.boolean()), { maxLength: 40 }), (pairs) => {
        const pack = (which: 0 | 1) => packBits(Uint8Array.from(pairs, (pair) => Number(pair[which])));
        expect([...unpackBits(bothBits(pack(0), pack(1)), pairs.length)]).to.deep.equal(
          pairs.map(([a, b]) => Number(a && b)),
        );
      }),
    );
  });
});
