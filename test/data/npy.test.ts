import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import {
  decodeNpy,
  encodeNpy,
  type NpyArray,
  type NpyDType,
  readImages,
  readLabels,
} from '../../lib/data/npy.js';
import { native } from '../../lib/native.js';
import { failure, mayFail } from '../support/failure.js';

interface Stored {
  readonly name: string;
  readonly base64: string;
}
interface Fixtures {
  readonly fixtures: {
    readonly good: readonly (Stored & { dtype: string; shape: number[]; values: number[] })[];
    readonly versions: readonly (Stored & { values: number[] })[];
    readonly refused: readonly Stored[];
  };
}
const { fixtures } = JSON.parse(
  readFileSync(new URL('../fixtures/npy.json', import.meta.url), 'utf8'),
) as Fixtures;

const bytesOf = ({ base64 }: Stored) => Buffer.from(base64, 'base64');
const dtypeOf: Readonly<Record<string, NpyDType>> = {
  float32: 'f32',
  uint8: 'u8',
  int32: 'i32',
  int64: 'i32',
};

/** A version 1.0 file with any header text. */
function file(header: string, data: Uint8Array = new Uint8Array(0)): Buffer {
  const text = Buffer.from(header, 'latin1');
  const length = Buffer.alloc(2);
  length.writeUInt16LE(text.length);
  return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), length, text, data]);
}

const arrays: fc.Arbitrary<NpyArray> = fc
  .tuple(
    fc.constantFrom<NpyDType>('f32', 'u8', 'i32'),
    fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
  )
  .chain(([dtype, shape]) => {
    const ArrayType = { f32: Float32Array, u8: Uint8Array, i32: Int32Array }[dtype];
    const length = shape.reduce((a, b) => a * b, 1) * ArrayType.BYTES_PER_ELEMENT;
    return fc
      .uint8Array({ minLength: length, maxLength: length })
      .map((raw) => ({ dtype, shape, data: new ArrayType(Uint8Array.from(raw).buffer) }));
  });

describe('.npy files', () => {
  for (const stored of fixtures.good) {
    it(`reads what NumPy wrote: ${stored.name}`, () => {
      const decoded = decodeNpy(bytesOf(stored), 'x.npy');
      expect(decoded.dtype).to.equal(dtypeOf[stored.dtype]);
      expect(decoded.shape).to.deep.equal(stored.shape);
      expect([...decoded.data]).to.deep.equal(stored.values);
    });
    if (stored.dtype === 'int64') continue;
    it(`writes the bytes that NumPy writes: ${stored.name}`, () => {
      const encoded = encodeNpy(decodeNpy(bytesOf(stored), 'x.npy'));
      expect(Buffer.from(encoded).equals(bytesOf(stored))).to.equal(true);
    });
  }

  for (const stored of fixtures.versions) {
    it(`reads format ${stored.name}`, () => {
      expect([...decodeNpy(bytesOf(stored), 'x.npy').data]).to.deep.equal(stored.values);
    });
  }

  for (const stored of fixtures.refused) {
    it(`refuses by its name what it does not read: ${stored.name}`, () => {
      const error = failure(() => decodeNpy(bytesOf(stored), 'x.npy'));
      expect(error.code).to.equal(
        stored.name === 'Fortran order' ? 'ERR_HARDBIT_FORMAT' : 'ERR_HARDBIT_DTYPE',
      );
      expect(error.message).to.contain(stored.name).and.to.contain('x.npy');
    });
  }

  it('says how to convert float64', () => {
    const error = failure(() => decodeNpy(bytesOf(fixtures.refused[0] as Stored), 'x.npy'));
    expect(error.message).to.equal(
      'x.npy holds float64; expected float32, uint8, int32 or int64: convert with x.astype(numpy.float32), ' +
        'or numpy.int32 for labels, and save again.',
    );
  });

  it('returns what was written, any dtype, shape and bit pattern, from any offset of a buffer', () => {
    fc.assert(
      fc.property(arrays, fc.nat(8), (array, offset) => {
        const encoded = encodeNpy(array);
        const buffer = new Uint8Array(encoded.length + offset);
        buffer.set(encoded, offset);
        const decoded = decodeNpy(buffer.subarray(offset), 'x');
        buffer.fill(0);
        expect(decoded.dtype).to.equal(array.dtype);
        expect(decoded.shape).to.deep.equal(array.shape);
        expect(Buffer.from(decoded.data.buffer).equals(Buffer.from(array.data.buffer))).to.equal(true);
      }),
      { numRuns: 300 },
    );
  });

  it('refuses a file cut at any byte, or with a byte to spare, by name', () => {
    for (const stored of [...fixtures.good, ...fixtures.versions]) {
      const whole = bytesOf(stored);
      for (let length = 0; length < whole.length; length++) {
        const error = failure(() => decodeNpy(whole.subarray(0, length), 'x.npy'));
        expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
        expect(error.message).to.contain('x.npy');
      }
      expect(failure(() => decodeNpy(Buffer.concat([whole, Buffer.of(0)]), 'x.npy')).message).to.contain(
        'follow',
      );
    }
  });

  it('reads headers as other writers make them', () => {
    const two = Buffer.from(Int32Array.of(5, 6).buffer);
    for (const header of [
      "{'shape': (2,), 'fortran_order': False, 'descr': '<i4'}",
      '{"descr":"<i4","fortran_order":True,"shape":(2,),}\n',
      "{'descr': '<i4', 'fortran_order': False, 'shape': (2L,)}",
      "{ 'descr' : '<i4' , 'fortran_order' : False , 'shape' : ( 1 , 2 ) , }     ",
    ]) {
      expect([...decodeNpy(file(header, two), 'x').data], header).to.deep.equal([5, 6]);
    }
  });

  it('refuses any other header', () => {
    for (const header of [
      '',
      '{}',
      "{'descr': '<i4', 'fortran_order': False}",
      "{'descr': '<i4', 'fortran_order': False, 'shape': (2)}",
      "{'descr': '<i4', 'fortran_order': False, 'shape': (,)}",
      "{'descr': '<i4', 'fortran_order': False, 'shape': (1,,2)}",
      "{'descr': '<i4', 'fortran_order': False, 'shape': (-2,)}",
      "{'descr': '<i4', 'fortran_order': False, 'shape': [2]}",
      "{'descr': '<i4', 'fortran_order': 0, 'shape': (2,)}",
      "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), 'more': 1}",
      "{'descr': '<i4', 'descr': '<i4', 'fortran_order': False, 'shape': (2,)}",
      "{'descr': '<i4' 'fortran_order': False, 'shape': (2,)}",
      "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)} x",
    ]) {
      expect(failure(() => decodeNpy(file(header, new Uint8Array(8)), 'x')).code, header).to.equal(
        'ERR_HARDBIT_FORMAT',
      );
    }
    const unsafe = file("{'descr': '<i4', 'fortran_order': False, 'shape': (99999999999999999999, 0)}");
    expect(failure(() => decodeNpy(unsafe, 'x')).code).to.equal('ERR_HARDBIT_FORMAT');
    const long = file("{'descr': '<i4', 'fortran_order': False, 'shape': (0,)}".padEnd(10_001));
    expect(failure(() => decodeNpy(long, 'x')).message).to.contain('10001 bytes long, more than 10000');
    const version = file('');
    version[6] = 4;
    expect(failure(() => decodeNpy(version, 'x')).message).to.contain('format version 4.0');
    expect(failure(() => decodeNpy(Buffer.from('PK\x03\x04 a .npz file'), 'x')).message).to.contain(
      '\\x93NUMPY',
    );
  });

  it('meets any damage with a result or a coded error', () => {
    const originals = [...fixtures.good, ...fixtures.versions, ...fixtures.refused].map(bytesOf);
    fc.assert(
      fc.property(
        fc.constantFrom(...originals),
        fc.array(fc.tuple(fc.nat(140), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (original, edits) => {
          const damaged = Buffer.from(original);
          for (const [at, value] of edits) if (at < damaged.length) damaged[at] = value;
          mayFail(() => decodeNpy(damaged, 'x'));
        },
      ),
      { numRuns: 5000 },
    );
    const token = fc.constantFrom(
      '{',
      '}',
      "'descr'",
      "'shape'",
      "'fortran_order'",
      ':',
      ',',
      '(',
      ')',
      '2',
      'True',
      "'<i4'",
      ' ',
      '[',
      "'",
    );
    fc.assert(
      fc.property(fc.array(token, { maxLength: 24 }), fc.uint8Array({ maxLength: 8 }), (tokens, data) => {
        mayFail(() => decodeNpy(file(tokens.join(''), data), 'x'));
      }),
      { numRuns: 2000 },
    );
  });

  it('refuses to write data that does not fill the shape', () => {
    const error = failure(() => encodeNpy({ dtype: 'u8', shape: [2, 2], data: new Uint8Array(3) }));
    expect(error.code).to.equal('ERR_HARDBIT_SHAPE');
  });
});

describe('images and labels from .npy files', () => {
  let folder: string;
  let live: number;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-npy-'));
    live = native().memory().liveTensors;
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
    expect(native().memory().liveTensors).to.be.at.most(live);
  });

  const save = (array: NpyArray) => {
    const path = join(folder, 'x.npy');
    writeFileSync(path, encodeNpy(array));
    return path;
  };
  const pixels = Float32Array.of(0, 1, 0.5, 0.25, 0.75, 1 / 3, 0, 1, 1, 0, 0.1, 0.9);

  it('accepts N×H×W×C and N×(H·W·C), and N×H×W for one channel', () => {
    const accepted: [number[], [number, number, number]][] = [
      [
        [2, 2, 3, 1],
        [2, 3, 1],
      ],
      [
        [2, 2, 3],
        [2, 3, 1],
      ],
      [
        [2, 6],
        [2, 3, 1],
      ],
      [
        [2, 1, 2, 3],
        [1, 2, 3],
      ],
      [
        [2, 6],
        [1, 2, 3],
      ],
    ];
    for (const [shape, inputShape] of accepted) {
      using images = readImages(save({ dtype: 'f32', shape, data: pixels }), inputShape);
      expect(images.shape).to.deep.equal([2, ...inputShape]);
      expect(images.toFloat32Array()).to.deep.equal(pixels);
    }
  });

  it('turns uint8 k into fl(k / 255)', () => {
    const codes = Uint8Array.from({ length: 256 }, (_, k) => k);
    using images = readImages(save({ dtype: 'u8', shape: [1, 256], data: codes }), [16, 16, 1]);
    expect(images.dtype).to.equal('f32');
    expect(images.toFloat32Array()).to.deep.equal(Float32Array.from(codes, (k) => k / 255));
  });

  it('refuses another shape and says which it accepts', () => {
    const shapes: [number[], string][] = [
      [[2, 3, 2], '(2, 3, 2)'],
      [[12], '(12)'],
      [[2, 6, 1, 1], '(2, 6, 1, 1)'],
      [[], '()'],
    ];
    for (const [shape, shown] of shapes) {
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
      const path = save({ dtype: 'f32', shape, data });
      const error = failure(() => readImages(path, [2, 3, 1]));
      expect(error.code).to.equal('ERR_HARDBIT_SHAPE');
      expect(error.message).to.equal(
        `${path} has shape ${shown}; expected N×2×3×1 or N×6 or N×2×3 with N ≥ 1: reshape and save again.`,
      );
    }
    const colour = save({ dtype: 'f32', shape: [1, 1, 2], data: new Float32Array(2) });
    expect(failure(() => readImages(colour, [1, 2, 3])).code).to.equal('ERR_HARDBIT_SHAPE');
    const none = save({ dtype: 'f32', shape: [0, 2, 3, 1], data: new Float32Array(0) });
    expect(failure(() => readImages(none, [2, 3, 1])).code).to.equal('ERR_HARDBIT_SHAPE');
  });

  it('names the first pixel that is NaN or out of range, and its value', () => {
    for (const [value, hint] of [
      [Number.NaN, 'clip or repair the array'],
      [Number.POSITIVE_INFINITY, 'clip or repair the array'],
      [-0.5, 'clip or repair the array'],
      [128, 'divide by 255, or save uint8'],
    ] as const) {
      const bad = Float32Array.from(pixels);
      bad[8] = value;
      bad[11] = value;
      const path = save({ dtype: 'f32', shape: [2, 6], data: bad });
      const error = failure(() => readImages(path, [2, 3, 1]));
      expect(error.code).to.equal('ERR_HARDBIT_PIXELS');
      expect(error.message).to.equal(`Pixel 2 of image 1 in ${path} is ${value}; expected 0 to 1: ${hint}.`);
    }
    const integers = save({ dtype: 'i32', shape: [2, 6], data: new Int32Array(12) });
    expect(failure(() => readImages(integers, [2, 3, 1])).code).to.equal('ERR_HARDBIT_DTYPE');
    expect(failure(() => readImages(join(folder, 'none.npy'), [2, 3, 1])).code).to.equal('ERR_HARDBIT_READ');
  });

  it('reads uint8, int32 and int64 labels', () => {
    for (const dtype of ['u8', 'i32'] as const) {
      const data = (dtype === 'u8' ? Uint8Array : Int32Array).of(0, 9, 3);
      using labels = readLabels(save({ dtype, shape: [3], data }), 10, 3);
      expect(labels.toInt32Array()).to.deep.equal(Int32Array.of(0, 9, 3));
    }
    const path = join(folder, 'i64.npy');
    writeFileSync(
      path,
      file(
        "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }",
        Buffer.from(BigInt64Array.of(4n, 0n).buffer),
      ),
    );
    using labels = readLabels(path, 10);
    expect(labels.toInt32Array()).to.deep.equal(Int32Array.of(4, 0));
  });

  it('refuses labels out of range, of another type, shape or number', () => {
    const range = save({ dtype: 'i32', shape: [4], data: Int32Array.of(0, 3, -1, 12) });
    const error = failure(() => readLabels(range, 10));
    expect(error.code).to.equal('ERR_HARDBIT_LABELS');
    expect(error.message).to.equal(`Label 2 in ${range} is -1; expected 0 to 9: correct it and save again.`);
    const big = join(folder, 'i64.npy');
    writeFileSync(
      big,
      file(
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }",
        Buffer.from(BigInt64Array.of(1n << 40n).buffer),
      ),
    );
    expect(failure(() => readLabels(big, 10)).code).to.equal('ERR_HARDBIT_LABELS');
    const floats = save({ dtype: 'f32', shape: [2], data: Float32Array.of(1, 2) });
    expect(failure(() => readLabels(floats, 10)).code).to.equal('ERR_HARDBIT_DTYPE');
    const column = save({ dtype: 'u8', shape: [2, 1], data: Uint8Array.of(1, 2) });
    expect(failure(() => readLabels(column, 10)).code).to.equal('ERR_HARDBIT_SHAPE');
    const few = save({ dtype: 'u8', shape: [2], data: Uint8Array.of(1, 2) });
    const number = failure(() => readLabels(few, 10, 3));
    expect(number.code).to.equal('ERR_HARDBIT_SHAPE');
    expect(number.message).to.equal(`${few} has 2 labels for 3 images; expected one each.`);
  });
});
