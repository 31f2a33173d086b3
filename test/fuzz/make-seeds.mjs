// Writes the seeds of the fuzzers: small files, sound and broken, one folder a reader.
//
//   node test/fuzz/make-seeds.mjs FOLDER
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  process.stderr.write('hardbit: make-seeds.mjs needs the folder to write to.\n');
  process.exit(1);
}

const bytes = (count) => Buffer.from(Uint8Array.from({ length: count }, (_, i) => 7 * i));

function idx(shape, data, type = 8) {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header[2] = type;
  header[3] = shape.length;
  shape.forEach((size, i) => {
    header.writeUInt32BE(size, 4 + 4 * i);
  });
  return Buffer.concat([header, data]);
}

function npy(text, data, major = 1) {
  const header = Buffer.from(text);
  const length = Buffer.alloc(major === 1 ? 2 : 4);
  length.writeUIntLE(header.length, 0, length.length);
  return Buffer.concat([Buffer.from('\x93NUMPY', 'latin1'), Buffer.of(major, 0), length, header, data]);
}

function safetensors(json, data = Buffer.alloc(0)) {
  const header = Buffer.from(json);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, data]);
}

const dict = (descriptor, shape, order = 'False') =>
  `{'descr': '${descriptor}', 'fortran_order': ${order}, 'shape': ${shape}, }    \n`;
const tensor = (dtype, shape, begin, end) =>
  `{"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${begin},${end}]}`;

const seeds = {
  idx: {
    images: idx([2, 3, 2], bytes(12)),
    labels: idx([5], bytes(5)),
    empty: idx([0, 28, 28], bytes(0)),
    scalar: idx([], bytes(1)),
    huge: idx([0xffffffff, 0xffffffff, 0xffffffff], bytes(1)),
    floats: idx([1], bytes(4), 13),
    short: idx([4, 4, 4], bytes(63)),
    compressed: Buffer.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0),
  },
  npy: {
    floats: npy(dict('<f4', '(2, 3)'), bytes(24)),
    bytes: npy(dict('|u1', '(2, 2, 2, 1)'), bytes(8), 2),
    integers: npy(dict('<i4', '(3,)'), bytes(12), 3),
    long: npy(dict('<i8', '(1L,)'), bytes(8)),
    scalar: npy(dict('<f4', '()'), bytes(4)),
    empty: npy(dict('<f4', '(0, 9007199254740991)'), bytes(0)),
    ordered: npy('{"shape":(2,),"fortran_order":True,"descr":"<i4"}', bytes(8)),
    fortran: npy(dict('<f4', '(2, 2)', 'True'), bytes(16)),
    doubles: npy(dict('<f8', '(1,)'), bytes(8)),
    foreign: npy(dict('>f4', '(1,)'), bytes(4)),
    records: npy(
      "{'descr': [('a', '<f4'), ('b', '<i4', (2,))], 'fortran_order': False, 'shape': (1,)}",
      bytes(12),
    ),
    wrapped: npy(dict('<f4', '(4294967296, 1073741824)'), bytes(0)),
    huge: npy(dict('<f4', '(9007199254740991, 9007199254740991)'), bytes(4)),
  },
  safetensors: {
    none: safetensors('{}'),
    metadata: safetensors('{"__metadata__":{"format":"pt","k\\u0000":"\\ud83d\\ude00 é \\"\\\\"}}   '),
    one: safetensors(`{"x":${tensor('F32', '1', 0, 4)}}`, bytes(4)),
    many: safetensors(
      `{"b":${tensor('I8', '3', 10, 13)},"__metadata__":{"a":"1"}, "a" : ${tensor('F32', '2', 0, 8)},"c":${tensor('I16', '', 8, 10)},"e":${tensor('U32', '0,7', 13, 13)}}`,
      bytes(13),
    ),
    double: safetensors(`{"x":${tensor('F64', '1', 0, 8)}}`, bytes(8)),
    hole: safetensors(`{"x":${tensor('U8', '2', 1, 3)}}`, bytes(4)),
    overlap: safetensors(`{"a":${tensor('U8', '3', 0, 3)},"b":${tensor('U8', '2', 2, 4)}}`, bytes(4)),
    twice: safetensors(`{"a":${tensor('U8', '4', 0, 4)},"\\u0061":${tensor('U8', '4', 0, 4)}}`, bytes(4)),
    huge: safetensors(`{"x":${tensor('U8', '9007199254740991,9007199254740991,0', 0, 0)}}`),
    // 2^32 · 2^30 elements of 4 bytes are 2^64 bytes, which is 0 in 64 bits.
    wrapped: safetensors(`{"x":${tensor('F32', '4294967296,1073741824', 0, 0)}}`),
    half: safetensors('{"__metadata__":{"a":"\\ud800"}}'),
    halves: safetensors('{"__metadata__":{"a":"\\ud83d\\u0041"}}'),
    nested: safetensors('{"x":{"dtype":[[[[[[[[{}]]]]]]]]}}'),
  },
};

for (const [reader, files] of Object.entries(seeds)) {
  mkdirSync(join(folder, reader), { recursive: true });
  for (const [name, data] of Object.entries(files)) writeFileSync(join(folder, reader, name), data);
}
