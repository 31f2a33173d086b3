import { HardbitError } from '../errors.js';
import { readFile } from '../files.js';
import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import { toFloatImages } from './dataset.js';

/**
 * NumPy's `.npy` format (numpy.lib.format, versions 1.0 to 3.0): the magic \x93NUMPY, two version bytes, the header's
 * length (2 bytes in 1.0, else 4, little-endian), the header as a Python dict literal padded so that the data begins at
 * a multiple of 64 bytes, then the elements.
 */
export type NpyDType = 'f32' | 'u8' | 'i32';

export interface NpyArray {
  readonly dtype: NpyDType;
  readonly shape: readonly number[];
  readonly data: Float32Array | Uint8Array | Int32Array;
}

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');
/** Digits NumPy leaves room for in the first dimension, so that a file can grow in place. */
const GROWTH_DIGITS = 21;

const descriptors = { f32: '<f4', u8: '|u1', i32: '<i4' } as const;

interface RawArray {
  readonly shape: number[];
  readonly data: Float32Array | Uint8Array | Int32Array | BigInt64Array;
}

const arrays = { f4: Float32Array, u1: Uint8Array, i4: Int32Array, i8: BigInt64Array } as const;

/** Reads the container; the elements stay of the file's own type. */
function decodeRaw(data: Uint8Array, what: string): RawArray {
  const { descriptor, shape, offset, length } = native().readNpy(data, what);
  // The copy is aligned, whatever the offset.
  const copy = new Uint8Array(data.subarray(offset, offset + length)).buffer;
  return { shape: [...shape], data: new arrays[descriptor](copy) };
}

/**
 * Decodes a `.npy` file: little-endian, C order, float32, uint8, int32 or int64 (returned as i32).
 *
 * @param what the file's name, for the sentences
 * @throws ERR_HARDBIT_FORMAT where the bytes are not such a file or are in Fortran order; ERR_HARDBIT_DTYPE for another
 * element type or an int64 beyond 32 bits.
 */
export function decodeNpy(
  data: Uint8Array,
  what: string,
): { dtype: NpyDType; shape: number[]; fortranOrder: false; data: Float32Array | Uint8Array | Int32Array } {
  const { shape, data: elements } = decodeRaw(data, what);
  if (elements instanceof Float32Array) return { dtype: 'f32', shape, fortranOrder: false, data: elements };
  if (elements instanceof Uint8Array) return { dtype: 'u8', shape, fortranOrder: false, data: elements };
  if (elements instanceof Int32Array) return { dtype: 'i32', shape, fortranOrder: false, data: elements };
  const bad = elements.findIndex((value) => value !== BigInt.asIntN(32, value));
  if (bad >= 0) {
    throw new HardbitError(
      'ERR_HARDBIT_DTYPE',
      `Element ${bad} of ${what} is ${elements[bad]}, which does not fit 32 bits; save smaller integers.`,
    );
  }
  return { dtype: 'i32', shape, fortranOrder: false, data: Int32Array.from(elements, Number) };
}

/**
 * A `.npy` file, byte for byte what numpy.save writes (NumPy ≥ 1.26).
 *
 * @throws ERR_HARDBIT_SHAPE where data and shape differ in length.
 */
export function encodeNpy(array: NpyArray): Uint8Array {
  const { dtype, shape, data } = array;
  if (shape.reduce((count, size) => count * size, 1) !== data.length) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `The array has ${data.length} elements; its shape [${shape.join(', ')}] asks for another number.`,
    );
  }
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const growth = shape.length > 0 ? ' '.repeat(Math.max(0, GROWTH_DIGITS - String(shape[0]).length)) : '';
  const text = `{'descr': '${descriptors[dtype]}', 'fortran_order': False, 'shape': ${tuple}, }${growth}`;
  const prefix = MAGIC.length + 4;
  const headerLength = Math.ceil((prefix + text.length + 1) / 64) * 64 - prefix;
  const file = Buffer.alloc(prefix + headerLength + data.byteLength);
  MAGIC.copy(file);
  file[6] = 1;
  file.writeUInt16LE(headerLength, 8);
  file.write(`${text.padEnd(headerLength - 1)}\n`, prefix, 'latin1');
  file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), prefix + headerLength);
  return file;
}

/** Throws ERR_HARDBIT_PIXELS with the first pixel that is NaN or outside [0, 1]. */
function requirePixels(pixels: Float32Array, imageLength: number, what: string): void {
  const bad = pixels.findIndex((value) => !(value >= 0 && value <= 1));
  if (bad < 0) return;
  const value = pixels[bad] as number;
  const hint = value > 1 && value <= 255 ? ': divide by 255, or save uint8' : ': clip or repair the array';
  throw new HardbitError(
    'ERR_HARDBIT_PIXELS',
    `Pixel ${bad % imageLength} of image ${Math.floor(bad / imageLength)} in ${what} is ${value}; expected 0 to 1${hint}.`,
  );
}

/** The array of images in a `.npy` file, its shape checked, and N ≥ 1. */
function imageArray(
  path: string,
  inputShape: readonly [number, number, number],
): { readonly count: number; readonly dtype: NpyDType; readonly data: NpyArray['data'] } {
  const { dtype, shape, data } = decodeNpy(readFile(path), path);
  const [height, width, channels] = inputShape;
  const imageLength = height * width * channels;
  const accepted = [[height, width, channels], [imageLength], ...(channels === 1 ? [[height, width]] : [])];
  const [count = 0, ...rest] = shape;
  if (count < 1 || !accepted.some((dimensions) => String(dimensions) === String(rest))) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `${path} has shape (${shape.join(', ')}); expected ${accepted.map((dimensions) => `N×${dimensions.join('×')}`).join(' or ')} with N ≥ 1: reshape and save again.`,
    );
  }
  return { count, dtype, data };
}

/**
 * Images from a `.npy` file as f32 [N, H, W, C].
 *
 * @param inputShape [H, W, C] of the network
 * The file holds float32 in [0, 1] or uint8 (k means k/255), as N×H×W×C, N×(H·W·C), or N×H×W where C = 1; N ≥ 1.
 * @throws ERR_HARDBIT_READ, ERR_HARDBIT_FORMAT; ERR_HARDBIT_DTYPE and ERR_HARDBIT_SHAPE for another type or shape;
 * ERR_HARDBIT_PIXELS with the first pixel that is NaN or outside [0, 1].
 */
export function readImages(path: string, inputShape: readonly [number, number, number]): Tensor {
  const { count, dtype, data } = imageArray(path, inputShape);
  if (dtype === 'i32') {
    throw new HardbitError(
      'ERR_HARDBIT_DTYPE',
      `${path} holds int32 or int64; expected images as float32 in [0, 1] or uint8: convert and save again.`,
    );
  }
  if (data instanceof Float32Array) requirePixels(data, data.length / count, path);
  const raw = Tensor.from(dtype, [count, ...inputShape], data);
  if (dtype === 'f32') return raw;
  try {
    return toFloatImages(raw);
  } finally {
    raw.dispose();
  }
}

/**
 * Images of bytes from a `.npy` file of uint8, [N, H, W, C], for a deployed network; shapes as `readImages`.
 *
 * @throws as `readImages`; ERR_HARDBIT_DTYPE for float32 too
 */
export function readByteImages(path: string, inputShape: readonly [number, number, number]): Uint8Array {
  const { data } = imageArray(path, inputShape);
  if (data instanceof Uint8Array) return data;
  throw new HardbitError(
    'ERR_HARDBIT_DTYPE',
    `${path} does not hold uint8, the bytes that deployed networks take; convert and save again.`,
  );
}

/**
 * Labels from a `.npy` file as i32 [N]. The file holds uint8, int32 or int64.
 *
 * @param classes labels are in [0, classes)
 * @param expected the number of labels, where images go with them
 * @throws ERR_HARDBIT_READ, ERR_HARDBIT_FORMAT; ERR_HARDBIT_DTYPE and ERR_HARDBIT_SHAPE for another type or shape;
 * ERR_HARDBIT_LABELS with the first label out of range.
 */
export function readLabels(path: string, classes: number, expected?: number): Tensor {
  const { shape, data } = decodeRaw(readFile(path), path);
  if (data instanceof Float32Array) {
    throw new HardbitError(
      'ERR_HARDBIT_DTYPE',
      `${path} holds float32; expected labels as uint8, int32 or int64: save labels.astype(numpy.int32).`,
    );
  }
  if (shape.length !== 1) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `${path} has shape (${shape.join(', ')}); expected one label an image, shape (N,): reshape and save again.`,
    );
  }
  if (expected !== undefined && data.length !== expected) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `${path} has ${data.length} labels for ${expected} images; expected one each.`,
    );
  }
  const labels = Array.from<number | bigint>(data as Iterable<number | bigint>);
  const bad = labels.findIndex((label) => label < 0 || label >= classes);
  if (bad >= 0) {
    throw new HardbitError(
      'ERR_HARDBIT_LABELS',
      `Label ${bad} in ${path} is ${labels[bad]}; expected 0 to ${classes - 1}: correct it and save again.`,
    );
  }
  return Tensor.from('i32', shape, Int32Array.from(labels, Number));
}
