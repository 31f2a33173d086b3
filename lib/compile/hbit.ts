import { createHash } from 'node:crypto';
import { HardbitError } from '../errors.js';
import { hbitHash, hbitMagic } from '../packed/format.js';

/** Rows and columns. */
type Pair = readonly [number, number];

/** A layer as docs/hbit.md describes it; sizes in values, not bytes. */
export interface HbitLayer {
  readonly name: string;
  readonly product: 'binary' | 'float';
  readonly result: 'signs' | 'reals';
  /** [H, W, C] */
  readonly inputShape: readonly [number, number, number];
  readonly outputs: number;
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly dilation: Pair;
  /** Above, below, left, right. */
  readonly padding: readonly [number, number, number, number];
  readonly paddingValue: 'zero' | 'one';
  readonly groups: number;
  readonly pool: {
    readonly kernel: Pair;
    readonly stride: Pair;
    readonly padding: readonly [number, number, number, number];
  } | null;
  readonly relu: boolean;
  /** Bits [m][K] in whole words a row, or f32 [m][K]. */
  readonly weights: BigUint64Array | Float32Array;
  /** Signs of a binary product: n ≥ minimum. */
  readonly minimum: Int32Array | null;
  /** The same behind a pool: 1 where all bits of the window count, 0 where any; one a channel. */
  readonly all: Uint8Array | null;
  /** Reals of a binary product. */
  readonly scale: Float32Array | null;
  readonly bias: Float32Array | null;
  readonly norm: {
    readonly mean: Float32Array;
    readonly factor: Float32Array;
    readonly beta: Float32Array;
  } | null;
}

export interface HbitNetwork {
  readonly model: string;
  readonly recipe: string;
  /** [H, W, C] */
  readonly inputShape: readonly [number, number, number];
  readonly inputBits: number;
  readonly classes: number;
  /** The code of each of the 256 values of a pixel. */
  readonly pixelTable: Uint8Array;
  readonly layers: readonly HbitLayer[];
}

const VERSION = 1;
/** Bytes of the header with the network's record, and of a layer's. */
const RECORD = 256;
const ALIGNMENT = 64;
const TEXT = 32;

/** The sizes that a reader accepts (docs/hbit.md, Limits). */
const LIMITS = {
  layers: 256,
  size: 2 ** 20,
  padding: 2 ** 12,
  values: 2 ** 22,
  sum: 2 ** 30,
  borders: 4096,
} as const;

const aligned = (offset: number): number => Math.ceil(offset / ALIGNMENT) * ALIGNMENT;

/** Little-endian bytes of numbers, whatever the machine. */
function bytesOf(values: BigUint64Array | Float32Array | Int32Array): Uint8Array {
  const bytes = new Uint8Array(values.byteLength);
  const view = new DataView(bytes.buffer);
  const { BYTES_PER_ELEMENT: size } = values;
  for (const [i, value] of values.entries()) {
    if (typeof value === 'bigint') view.setBigUint64(size * i, value, true);
    else if (values instanceof Float32Array) view.setFloat32(size * i, value, true);
    else view.setInt32(size * i, value, true);
  }
  return bytes;
}

/** One flag a channel as bits [1][m]. */
function packFlags(flags: Uint8Array): BigUint64Array {
  const words = new BigUint64Array(Math.ceil(flags.length / 64));
  for (const [i, flag] of flags.entries()) {
    if (flag !== 0) words[i >> 6] = (words[i >> 6] as bigint) | (1n << BigInt(i & 63));
  }
  return words;
}

/** Writes the fields of a record one after the other. */
class Record {
  readonly #view: DataView;
  #at = 0;

  constructor(file: Uint8Array, offset: number) {
    this.#view = new DataView(file.buffer, file.byteOffset + offset, RECORD);
  }

  u32(...values: readonly number[]): this {
    for (const value of values) {
      this.#view.setUint32(this.#at, value, true);
      this.#at += 4;
    }
    return this;
  }

  u64(value: number): this {
    this.#view.setBigUint64(this.#at, BigInt(value), true);
    this.#at += 8;
    return this;
  }

  /** What ASCII lacks becomes '?', and what is too long is cut off: names only inform. */
  text(text: string): this {
    const shown = text.replace(/[^\x20-\x7e]/gu, '?').slice(0, TEXT - 1) || '?';
    for (let i = 0; i < shown.length; i++) this.#view.setUint8(this.#at + i, shown.charCodeAt(i));
    this.#at += TEXT;
    return this;
  }
}

/** All arrays of a layer in the order of its record's offsets; null where it has none. */
function arraysOf(layer: HbitLayer): readonly (Uint8Array | null)[] {
  const all = layer.all === null ? null : packFlags(layer.all);
  const { weights, minimum, scale, bias, norm } = layer;
  return [weights, minimum, all, scale, bias, norm?.mean, norm?.factor, norm?.beta].map((values) =>
    values === null || values === undefined ? null : bytesOf(values),
  );
}

function requireLimit(layer: HbitLayer, what: string, value: number, most: number): void {
  if (value > most) {
    throw new HardbitError(
      'ERR_HARDBIT_UNSUPPORTED',
      `Layer '${layer.name}' cannot be deployed: it has ${what} of ${value}, and a deployed network at most ${most}.`,
    );
  }
}

/** Values of K of one output. */
function columnsOf({ kernel, inputShape, groups }: HbitLayer): number {
  return kernel[0] * kernel[1] * (inputShape[2] / groups);
}

/** Windows of rows (axis 0) or columns (1), and how many of them reach into the padding. */
function windowsOf({ inputShape, kernel, stride, dilation, padding }: HbitLayer, axis: 0 | 1): Pair {
  const [before, after] = axis === 0 ? [padding[0], padding[1]] : [padding[2], padding[3]];
  const reach = dilation[axis] * (kernel[axis] - 1) + 1;
  const count = Math.floor((inputShape[axis] + before + after - reach) / stride[axis]) + 1;
  let outside = 0;
  for (let i = 0; i < count; i++) {
    const begin = i * stride[axis] - before;
    if (begin < 0 || begin + reach > inputShape[axis]) outside++;
  }
  return [count, outside];
}

function requireLimits(network: HbitNetwork): void {
  const [first] = network.layers;
  if (first === undefined || network.layers.length > LIMITS.layers) {
    throw new HardbitError(
      'ERR_HARDBIT_UNSUPPORTED',
      `Model '${network.model}' cannot be deployed: it has ${network.layers.length} layers with weights; expected 1 to ${LIMITS.layers}.`,
    );
  }
  for (const layer of network.layers) {
    const { inputShape, outputs, kernel, stride, dilation, padding, groups, pool } = layer;
    const sizes = [...inputShape, outputs, ...kernel, ...stride, ...dilation, groups];
    requireLimit(layer, 'a size', Math.max(...sizes, ...(pool?.stride ?? [])), LIMITS.size);
    requireLimit(layer, 'a padding', Math.max(...padding), LIMITS.padding);
    const [height, width, channels] = inputShape;
    const padded = (height + padding[0] + padding[1]) * (width + padding[2] + padding[3]) * channels;
    requireLimit(layer, 'a padded input', padded, LIMITS.values);
    const [rows, outerRows] = windowsOf(layer, 0);
    const [columns, outerColumns] = windowsOf(layer, 1);
    requireLimit(layer, 'a product', rows * columns * outputs, LIMITS.values);
    if (layer.product === 'binary') {
      requireLimit(layer, 'kinds of borders', (outerRows + 1) * (outerColumns + 1), LIMITS.borders);
    }
    const largest = layer === first && layer.product === 'binary' ? 2 ** network.inputBits - 1 : 1;
    requireLimit(layer, 'sums', columnsOf(layer) * largest, LIMITS.sum);
  }
}

/**
 * The bytes of a deployed network, as docs/hbit.md has them: the same network gives the same bytes.
 *
 * @throws ERR_HARDBIT_UNSUPPORTED where the network is larger than the format allows
 */
export function encodeHbit(network: HbitNetwork): Uint8Array {
  requireLimits(network);
  const { layers } = network;
  let end = RECORD * (1 + layers.length);
  const place = (bytes: Uint8Array) => {
    const offset = aligned(end);
    end = offset + bytes.length;
    return { offset, bytes };
  };
  const pixels = place(network.pixelTable);
  const arrays = layers.map((layer) =>
    arraysOf(layer).map((bytes) => (bytes === null ? null : place(bytes))),
  );
  const file = new Uint8Array(aligned(end));
  for (const array of [pixels, ...arrays.flat()]) if (array !== null) file.set(array.bytes, array.offset);

  file.set(hbitMagic);
  new Record(file, hbitMagic.length).u32(VERSION, layers.length).u64(file.length);
  new Record(file, ALIGNMENT)
    .u32(...network.inputShape, network.inputBits, network.classes, 0)
    .u64(pixels.offset)
    .text(network.model)
    .text(network.recipe);
  layers.forEach((layer, i) => {
    const padded = layer.padding.some((side) => side > 0);
    const record = new Record(file, RECORD * (1 + i))
      .u32(layer.product === 'binary' ? 1 : 2, layer.result === 'signs' ? 1 : 2)
      .u32(...layer.inputShape, layer.outputs)
      .u32(...layer.kernel, ...layer.stride, ...layer.dilation, ...layer.padding)
      .u32(padded && layer.paddingValue === 'one' ? 1 : 0, layer.groups)
      .u32(...(layer.pool?.kernel ?? [1, 1]), ...(layer.pool?.stride ?? [1, 1]))
      .u32(...(layer.pool?.padding ?? [0, 0, 0, 0]))
      .u32(layer.norm === null ? 0 : 1, layer.relu ? 1 : 0);
    for (const array of arrays[i] ?? []) record.u64(array?.offset ?? 0);
    record.text(layer.name);
  });
  file.set(createHash('sha256').update(file.subarray(hbitHash.end)).digest(), hbitHash.begin);
  return file;
}
