// Writes the seeds of the fuzzers: small files, sound and broken, one folder a reader.
//
//   node test/fuzz/make-seeds.mjs FOLDER
import { createHash } from 'node:crypto';
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

const binary = { product: 1, result: 1, height: 1, width: 1, channels: 1, outputs: 1 };

/** A deployed network (docs/hbit.md); arrays by their order in a layer's record, null where there is none. */
function hbit({ image = [1, 1, 1], bits = 1, classes = 1, layers }) {
  const header = Buffer.alloc(256 * (1 + layers.length));
  const parts = [header];
  let end = header.length;
  const place = (data, at) => {
    header.writeBigUInt64LE(BigInt(end), at);
    const padded = Buffer.alloc(Math.ceil(data.length / 64) * 64);
    data.copy(padded);
    parts.push(padded);
    end += padded.length;
  };
  header.write('\x89HBT\r\n\x1a\n', 'latin1');
  header.writeUInt32LE(1, 8);
  header.writeUInt32LE(layers.length, 12);
  [...image, bits, classes].forEach((value, i) => {
    header.writeUInt32LE(value, 64 + 4 * i);
  });
  header.write('model', 96);
  header.write('recipe', 128);
  place(Buffer.from(Uint8Array.from({ length: 256 }, (_, v) => Math.floor((v * (2 ** bits - 1)) / 255))), 88);
  layers.forEach((layer, i) => {
    const at = 256 * (1 + i);
    const { kernel = [1, 1], stride = [1, 1], dilation = [1, 1], padding = [0, 0, 0, 0], ones = 0 } = layer;
    const { groups = 1, pool = [1, 1], poolStride = [1, 1], poolPadding = [0, 0, 0, 0] } = layer;
    const { norm = 0, relu = 0, arrays } = layer;
    [
      ...[layer.product, layer.result, layer.height, layer.width, layer.channels, layer.outputs],
      ...[...kernel, ...stride, ...dilation, ...padding, ones, groups],
      ...[...pool, ...poolStride, ...poolPadding, norm, relu],
    ].forEach((value, j) => {
      header.writeUInt32LE(value, at + 4 * j);
    });
    header.write('layer', at + 176);
    arrays.forEach((array, j) => {
      if (array !== null) place(array, at + 112 + 8 * j);
    });
  });
  header.writeBigUInt64LE(BigInt(end), 16);
  const file = Buffer.concat(parts);
  createHash('sha256').update(file.subarray(56)).digest().copy(file, 24);
  return file;
}

/** Rows of bits in whole words. */
const signs = (rows, columns) => {
  const words = Math.ceil(columns / 64);
  const mask = (1n << BigInt(columns - 64 * (words - 1))) - 1n;
  const data = Buffer.alloc(8 * rows * words);
  for (let word = 0; word < rows * words; word++) {
    const value = (0x9e3779b97f4a7c15n * BigInt(word + 1)) & 0xffffffffffffffffn;
    data.writeBigUInt64LE((word + 1) % words === 0 ? value & mask : value, 8 * word);
  }
  return data;
};
const floats = (count) => Buffer.from(Float32Array.from({ length: count }, (_, i) => (i % 7) / 4).buffer);
const integers = (count) => Buffer.from(Int32Array.from({ length: count }, (_, i) => (i % 5) - 2).buffer);

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
  hbit: {
    least: hbit({
      layers: [{ ...binary, result: 2, arrays: [signs(1, 1), null, null, floats(1)] }],
    }),
    float: hbit({
      image: [2, 3, 1],
      bits: 8,
      classes: 2,
      layers: [
        {
          ...{ ...binary, product: 2, result: 1, height: 2, width: 3, outputs: 4, kernel: [2, 2] },
          ...{ padding: [1, 0, 0, 1], pool: [2, 2], poolStride: [1, 2], norm: 1 },
          arrays: [floats(16), null, null, null, null, floats(4), floats(4), floats(4)],
        },
        {
          ...{ ...binary, result: 2, height: 1, width: 1, channels: 4, outputs: 3, norm: 1, relu: 1 },
          arrays: [signs(3, 4), null, null, floats(3), null, floats(3), floats(3), floats(3)],
        },
        {
          ...{ ...binary, product: 2, result: 2, channels: 3, outputs: 2 },
          arrays: [floats(6), null, null, null, floats(2)],
        },
      ],
    }),
    binary: hbit({
      image: [5, 4, 3],
      bits: 2,
      classes: 3,
      layers: [
        {
          ...{ ...binary, height: 5, width: 4, channels: 3, outputs: 10, kernel: [3, 3] },
          ...{ padding: [1, 1, 1, 1], pool: [2, 2], poolStride: [2, 2], poolPadding: [1, 0, 0, 1] },
          arrays: [signs(10, 27), integers(10), signs(1, 10)],
        },
        {
          ...{ ...binary, height: 3, width: 2, channels: 10, outputs: 66, kernel: [2, 2], groups: 2 },
          ...{ dilation: [2, 1], stride: [1, 2], padding: [0, 0, 0, 1], ones: 1 },
          arrays: [signs(66, 20), integers(66)],
        },
        {
          ...{ ...binary, result: 2, height: 1, width: 1, channels: 66, outputs: 3 },
          arrays: [signs(3, 66), null, null, floats(3)],
        },
      ],
    }),
    short: hbit({ image: [64, 64, 64], layers: [{ ...binary, result: 2, arrays: [] }] }),
    huge: hbit({
      image: [1048576, 1, 1],
      layers: [
        {
          ...binary,
          result: 2,
          height: 1048576,
          outputs: 1048576,
          kernel: [1048576, 1],
          arrays: [signs(1, 1)],
        },
      ],
    }),
    other: Buffer.from('\x89PNG\r\n\x1a\n'.padEnd(256, '\0'), 'latin1'),
  },
};

for (const [reader, files] of Object.entries(seeds)) {
  mkdirSync(join(folder, reader), { recursive: true });
  for (const [name, data] of Object.entries(files)) writeFileSync(join(folder, reader, name), data);
}
