import { expect } from 'chai';
import fc from 'fast-check';
import { decodeIdx, decodeIdxLabels } from '../../lib/data/idx.js';
import { failure, mayFail } from '../support/failure.js';

/** An IDX file of unsigned bytes. */
function idx(shape: readonly number[], data: Uint8Array): Buffer {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header[2] = 8;
  header[3] = shape.length;
  for (const [i, size] of shape.entries()) header.writeUInt32BE(size, 4 + 4 * i);
  return Buffer.concat([header, data]);
}

const arrays = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 4 }).chain((shape) => {
  const length = shape.reduce((a, b) => a * b, 1);
  return fc.record({
    shape: fc.constant(shape),
    data: fc.uint8Array({ minLength: length, maxLength: length }),
  });
});

describe('IDX files', () => {
  it('gives back the shape and bytes that were stored', () => {
    fc.assert(
      fc.property(arrays, ({ shape, data }) => {
        const decoded = decodeIdx(idx(shape, data), shape.length, 'x');
        expect(decoded.shape).to.deep.equal(shape);
        expect([...decoded.data]).to.deep.equal([...data]);
      }),
    );
  });

  it('refuses a file cut at any byte, or with a byte to spare, by name', () => {
    const whole = idx(
      [2, 3, 2],
      Uint8Array.from({ length: 12 }, (_, i) => i),
    );
    for (let length = 0; length < whole.length; length++) {
      const error = failure(() => decodeIdx(whole.subarray(0, length), 3, 'train-images'));
      expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
      expect(error.message).to.contain('train-images');
    }
    expect(
      failure(() => decodeIdx(Buffer.concat([whole, Buffer.of(0)]), 3, 'train-images')).message,
    ).to.equal(
      'train-images is not a complete IDX file: its shape [2, 3, 2] needs 12 bytes of data, but 13 follow; get it anew.',
    );
  });

  it('says what a wrong file is', () => {
    const whole = idx([2], Uint8Array.of(1, 2));
    const changed = (at: number, value: number) => {
      const copy = Buffer.from(whole);
      copy[at] = value;
      return copy;
    };
    const cases: [Uint8Array, number, string][] = [
      [Buffer.of(0x1f, 0x8b, 8, 0, 0, 0), 1, 'it is still compressed: run gunzip on it'],
      [changed(0, 1), 1, 'it does not begin with two zero bytes'],
      [changed(1, 1), 1, 'it does not begin with two zero bytes'],
      [changed(2, 13), 1, 'it holds 32-bit floats, expected unsigned bytes'],
      [changed(2, 99), 1, 'it holds elements of unknown type 99, expected unsigned bytes'],
      [whole, 3, 'it has 1 dimensions, expected 3'],
      [idx([0xffffffff, 0xffffffff, 0xffffffff], Uint8Array.of(1)), 3, 'but 1 follow'],
    ];
    for (const [bytes, dimensions, problem] of cases) {
      const error = failure(() => decodeIdx(bytes, dimensions, 'x'));
      expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
      expect(error.message).to.contain(problem);
    }
  });

  it('refuses labels out of range and names the first', () => {
    expect([...decodeIdxLabels(idx([3], Uint8Array.of(0, 9, 5)), 10, 'labels')]).to.deep.equal([0, 9, 5]);
    const error = failure(() => decodeIdxLabels(idx([4], Uint8Array.of(0, 9, 10, 255)), 10, 'labels'));
    expect(error.code).to.equal('ERR_HARDBIT_LABELS');
    expect(error.message).to.equal('Label 2 in labels is 10; expected 0 to 9: get the file anew.');
  });

  it('meets any bytes with a result or a coded error', () => {
    fc.assert(
      fc.property(arrays, fc.nat(), fc.nat(255), ({ shape, data }, at, value) => {
        const bytes = idx(shape, data);
        bytes[at % bytes.length] = value;
        mayFail(() => decodeIdx(bytes, shape.length, 'x'));
      }),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 1, max: 4 }), (bytes, dimensions) => {
        mayFail(() => decodeIdx(bytes, dimensions, 'x'));
      }),
    );
  });
});
