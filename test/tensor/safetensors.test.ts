import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import {
  decodeSafetensors,
  encodeSafetensors,
  type SafetensorsDType,
  type SafetensorsEntry,
} from '../../lib/tensor/safetensors.js';
import { failure, mayFail } from '../support/failure.js';

interface Fixtures {
  readonly fixtures: {
    readonly base64: string;
    readonly float64: string;
    readonly metadata: Record<string, string>;
    readonly tensors: Record<string, { dtype: string; shape: number[]; values: number[] }>;
  };
}
const { fixtures } = JSON.parse(
  readFileSync(new URL('../fixtures/safetensors.json', import.meta.url), 'utf8'),
) as Fixtures;

const dtypeOf: Readonly<Record<string, SafetensorsDType>> = {
  float32: 'F32',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  uint32: 'U32',
};

/** A file of any header and data, whatever it says. */
function file(header: string, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

const bytesOf = ({ data }: SafetensorsEntry) =>
  Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');

const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 });
const entries: fc.Arbitrary<SafetensorsEntry> = fc
  .tuple(fc.constantFrom(Float32Array, Int32Array, Int16Array, Int8Array, Uint8Array, Uint32Array), shapes)
  .chain(([ArrayType, shape]) => {
    const bytes = shape.reduce((a, b) => a * b, 1) * ArrayType.BYTES_PER_ELEMENT;
    return fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((raw) => {
      const data = new ArrayType(Uint8Array.from(raw).buffer);
      const name = data.constructor.name.replace('Array', '').toLowerCase();
      return { dtype: dtypeOf[name] as SafetensorsDType, shape, data };
    });
  });
const names = fc.string({ unit: 'binary', maxLength: 12 }).filter((name) => name !== '__metadata__');
const files = fc.tuple(
  fc.array(fc.tuple(names, entries), { maxLength: 6 }).map((list) => new Map(list)),
  fc.dictionary(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), { maxKeys: 3 }),
);

describe('safetensors', () => {
  it('reads a file of the reference implementation', () => {
    const { tensors, metadata } = decodeSafetensors(Buffer.from(fixtures.base64, 'base64'), 'x.safetensors');
    expect(metadata).to.deep.equal(fixtures.metadata);
    expect([...tensors.keys()].sort()).to.deep.equal(Object.keys(fixtures.tensors).sort());
    for (const [name, { dtype, shape, values }] of Object.entries(fixtures.tensors)) {
      const entry = tensors.get(name) as SafetensorsEntry;
      expect(entry.dtype).to.equal(dtypeOf[dtype]);
      expect(entry.shape).to.deep.equal(shape);
      expect([...entry.data]).to.deep.equal(values);
    }
  });

  it('returns what was written, any names, shapes, bit patterns and metadata', () => {
    fc.assert(
      fc.property(files, ([tensors, metadata]) => {
        const decoded = decodeSafetensors(encodeSafetensors(tensors, metadata), 'x');
        expect(new Map(Object.entries(decoded.metadata))).to.deep.equal(new Map(Object.entries(metadata)));
        expect(decoded.tensors.size).to.equal(tensors.size);
        for (const [name, entry] of tensors) {
          const found = decoded.tensors.get(name) as SafetensorsEntry;
          expect(found.dtype).to.equal(entry.dtype);
          expect(found.shape).to.deep.equal(entry.shape);
          expect(bytesOf(found)).to.equal(bytesOf(entry));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('writes the same bytes for the same contents, aligned, in the order of the map', () => {
    const tensors = new Map<string, SafetensorsEntry>([
      ['b', { dtype: 'I8', shape: [3], data: Int8Array.of(1, -1, 1) }],
      ['a', { dtype: 'F32', shape: [2], data: Float32Array.of(0.5, 2) }],
      ['c', { dtype: 'I16', shape: [], data: Int16Array.of(-2) }],
    ]);
    const bytes = Buffer.from(encodeSafetensors(tensors, { hardbit: '{}' }));
    expect(bytes.equals(encodeSafetensors(new Map(tensors), { hardbit: '{}' }))).to.equal(true);
    const length = Number(bytes.readBigUInt64LE());
    expect(length % 8).to.equal(0);
    expect(bytes.toString('utf8', 8, 8 + length).trimEnd()).to.equal(
      '{"__metadata__":{"hardbit":"{}"},' +
        '"b":{"dtype":"I8","shape":[3],"data_offsets":[10,13]},' +
        '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' +
        '"c":{"dtype":"I16","shape":[],"data_offsets":[8,10]}}',
    );
    expect(bytes.subarray(8 + length).toString('hex')).to.equal('0000003f00000040feff01ff01');
    expect([...decodeSafetensors(bytes, 'x').tensors.keys()]).to.deep.equal(['b', 'a', 'c']);
  });

  it('reads a file from any offset of a buffer and returns copies', () => {
    const encoded = encodeSafetensors(
      new Map([['x', { dtype: 'F32', shape: [1], data: Float32Array.of(7) } as SafetensorsEntry]]),
      {},
    );
    for (let offset = 0; offset < 8; offset++) {
      const buffer = new Uint8Array(encoded.length + offset);
      buffer.set(encoded, offset);
      const { tensors } = decodeSafetensors(buffer.subarray(offset), 'x');
      buffer.fill(0);
      expect([...(tensors.get('x') as SafetensorsEntry).data]).to.deep.equal([7]);
    }
  });

  it('refuses to write what is inconsistent', () => {
    const encode = (name: string, entry: unknown) => () =>
      encodeSafetensors(new Map([[name, entry as SafetensorsEntry]]), {});
    const data = Float32Array.of(1, 2);
    expect(failure(encode('__metadata__', { dtype: 'F32', shape: [2], data })).code).to.equal(
      'ERR_HARDBIT_ARGUMENT',
    );
    expect(failure(encode('x', { dtype: 'I32', shape: [2], data })).code).to.equal('ERR_HARDBIT_DTYPE');
    expect(failure(encode('x', { dtype: 'F32', shape: [3], data })).code).to.equal('ERR_HARDBIT_SHAPE');
    expect(failure(encode('x', { dtype: 'F32', shape: [-1, -2], data })).code).to.equal('ERR_HARDBIT_SHAPE');
  });

  it('refuses a file cut at any byte, or with bytes to spare, by name', () => {
    const whole = Buffer.from(fixtures.base64, 'base64');
    for (let length = 0; length < whole.length; length++) {
      const error = failure(() => decodeSafetensors(whole.subarray(0, length), 'model.safetensors'));
      expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
      expect(error.message).to.contain('model.safetensors');
    }
    expect(failure(() => decodeSafetensors(Buffer.concat([whole, Buffer.of(0)]), 'x')).message).to.contain(
      '1 bytes of data belong to no tensor',
    );
  });

  it('refuses each way to break the format', () => {
    const four = new Uint8Array(4);
    const x = (dtype: string, shape: string, offsets: string) =>
      `{"x":{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}}`;
    const huge = Buffer.alloc(16);
    huge.writeBigUInt64LE(2n ** 63n);
    const cases: [Uint8Array, string][] = [
      [huge, 'its header would be 9223372036854775808 bytes long'],
      [file('{"x":'), 'its header is not JSON'],
      [file(' {}'), 'its header is not a JSON object'],
      [file('[]'), 'its header is not a JSON object'],
      [file('\uFEFF{}'), 'its header is not JSON'],
      [
        Buffer.concat([Buffer.of(3, 0, 0, 0, 0, 0, 0, 0), Buffer.from('{"\xff', 'latin1')]),
        'its header is not JSON',
      ],
      [file('{"__metadata__":{"a":1}}'), '__metadata__ is not an object of strings'],
      [file('{"__metadata__":[]}'), '__metadata__ is not an object of strings'],
      [file('{"x":7}'), "tensor 'x' is not described by an object"],
      [file(x('"F31"', '[1]', '[0,4]'), four), 'unknown dtype "F31"'],
      [file(x('"toString"', '[1]', '[0,4]'), four), 'unknown dtype "toString"'],
      [file(x('null', '[1]', '[0,4]'), four), 'unknown dtype null'],
      [file(x('"F32"', '[1.5]', '[0,4]'), four), "the shape of tensor 'x'"],
      [file(x('"F32"', '[-1,-1]', '[0,4]'), four), "the shape of tensor 'x'"],
      [file(x('"F32"', '"1"', '[0,4]'), four), "the shape of tensor 'x'"],
      [file(x('"F32"', '[1]', '[0]'), four), 'are not two whole numbers'],
      [file(x('"F32"', '[1]', '[0,"4"]'), four), 'are not two whole numbers'],
      [file(x('"F32"', '[1]', '[4,0]'), four), 'should lie at bytes 4 to 0'],
      [file(x('"F32"', '[1]', '[0,8]'), four), 'should lie at bytes 0 to 8 of 4'],
      [file(x('"F32"', '[2]', '[0,4]'), four), 'cannot have 4 bytes'],
      [file(x('"F32"', '[9007199254740991,9007199254740991,0]', '[0,4]'), four), 'cannot have 4 bytes'],
      [
        file(x('"U8"', '[2]', '[1,3]'), four),
        'begins at byte 1 of the data, not right behind the tensor before it',
      ],
      [
        file(
          '{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
          four,
        ),
        "tensor 'b' begins at byte 2 of the data, inside the tensor before it",
      ],
      [
        file(
          '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
          four,
        ),
        "tensor 'b' begins at byte 2 of the data, not right behind",
      ],
      [
        file(
          '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"\\u0061":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
          four,
        ),
        "the key 'a' twice",
      ],
      [file('{"__metadata__":{"k":"1","k":"2"}}'), "the key 'k' twice"],
    ];
    for (const [bytes, problem] of cases) {
      const error = failure(() => decodeSafetensors(bytes, 'bad.safetensors'));
      expect(error.code, problem).to.equal('ERR_HARDBIT_FORMAT');
      expect(error.message).to.contain(problem).and.to.contain('bad.safetensors');
    }
  });

  it('does not take a string in a value for a repeated key', () => {
    const text =
      '{"__metadata__":{"a":"\\"a\\":{\\"a\\":1}","b":"}{\\\\"},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}';
    const { metadata, tensors } = decodeSafetensors(file(text), 'x');
    expect(metadata).to.deep.equal({ a: '"a":{"a":1}', b: '}{\\' });
    expect(tensors.size).to.equal(1);
  });

  it('says which element types it reads when it meets another of the format', () => {
    const error = failure(() => decodeSafetensors(Buffer.from(fixtures.float64, 'base64'), 'x.safetensors'));
    expect(error.code).to.equal('ERR_HARDBIT_UNSUPPORTED');
    expect(error.message).to.equal(
      "Tensor 'x' in x.safetensors is F64; expected F32, I32, I16, I8, U8, U32: convert it first.",
    );
  });

  it('meets any damage, and any header, with a result or a coded error', () => {
    const whole = Buffer.from(fixtures.base64, 'base64');
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (edits) => {
          const damaged = Buffer.from(whole);
          for (const [at, value] of edits) damaged[at] = value;
          mayFail(() => decodeSafetensors(damaged, 'x'));
        },
      ),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(fc.json(), fc.uint8Array({ maxLength: 16 }), (header, data) => {
        mayFail(() => decodeSafetensors(file(header, data), 'x'));
      }),
      { numRuns: 500 },
    );
    const part = fc.oneof(fc.integer({ min: -1, max: 9 }), fc.jsonValue({ maxDepth: 1 }));
    const info = fc.record(
      {
        dtype: fc.oneof(fc.constantFrom('U8', 'I16', 'F32', 'F64'), fc.jsonValue({ maxDepth: 1 })),
        shape: fc.oneof(fc.array(part, { maxLength: 3 }), part),
        data_offsets: fc.oneof(fc.tuple(part, part), part),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ maxLength: 3 }), info),
        fc.uint8Array({ maxLength: 16 }),
        (header, data) => {
          mayFail(() => decodeSafetensors(file(JSON.stringify(header), data), 'x'));
        },
      ),
      { numRuns: 2000 },
    );
  });
});
