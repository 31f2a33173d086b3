import { HardbitError } from '../errors.js';

/**
 * The IDX format of the MNIST files (Y. LeCun, "The MNIST database", "File formats for the MNIST database"): two zero
 * bytes, the element type, the number of dimensions, each dimension as a big-endian 32-bit number, then the elements,
 * row-major.
 */
export interface IdxArray {
  readonly shape: readonly number[];
  /** A view of the file's bytes. */
  readonly data: Uint8Array;
}

const UNSIGNED_BYTE = 0x08;
const elementTypes: Readonly<Record<number, string>> = {
  8: 'unsigned bytes',
  9: 'signed bytes',
  11: '16-bit integers',
  12: '32-bit integers',
  13: '32-bit floats',
  14: '64-bit floats',
};

/**
 * Decodes an IDX file of unsigned bytes.
 *
 * @param dimensions the expected number of dimensions: 3 for images, 1 for labels
 * @param what the file's name, for the sentences
 * @throws ERR_HARDBIT_FORMAT where it is another kind of file, truncated, or has bytes to spare.
 */
export function decodeIdx(data: Uint8Array, dimensions: number, what: string): IdxArray {
  const fail = (problem: string) =>
    new HardbitError('ERR_HARDBIT_FORMAT', `${what} is not a complete IDX file: ${problem}; get it anew.`);

  if (data[0] === 0x1f && data[1] === 0x8b) throw fail('it is still compressed: run gunzip on it');
  const headerLength = 4 + 4 * dimensions;
  if (data.length < 4) throw fail(`it has ${data.length} bytes, less than its header`);
  if (data[0] !== 0 || data[1] !== 0) throw fail('it does not begin with two zero bytes');
  const [, , type, rank] = data as unknown as [number, number, number, number];
  if (type !== UNSIGNED_BYTE) {
    throw fail(
      `it holds ${elementTypes[type] ?? `elements of unknown type ${type}`}, expected unsigned bytes`,
    );
  }
  if (rank !== dimensions) throw fail(`it has ${rank} dimensions, expected ${dimensions}`);
  if (data.length < headerLength) {
    throw fail(`it has ${data.length} bytes, less than its header of ${headerLength}`);
  }

  const view = new DataView(data.buffer, data.byteOffset, headerLength);
  const shape = Array.from({ length: dimensions }, (_, i) => view.getUint32(4 + 4 * i));
  const expected = shape.reduce((count, size) => count * size, 1);
  const found = data.length - headerLength;
  if (found !== expected) {
    throw fail(`its shape [${shape.join(', ')}] needs ${expected} bytes of data, but ${found} follow`);
  }
  return { shape, data: data.subarray(headerLength) };
}

/**
 * Decodes labels: an IDX file of one dimension, each element in [0, classes).
 *
 * @throws ERR_HARDBIT_FORMAT as decodeIdx; ERR_HARDBIT_LABELS with the first label out of range.
 */
export function decodeIdxLabels(data: Uint8Array, classes: number, what: string): Int32Array {
  const labels = Int32Array.from(decodeIdx(data, 1, what).data);
  const bad = labels.findIndex((label) => label >= classes);
  if (bad >= 0) {
    throw new HardbitError(
      'ERR_HARDBIT_LABELS',
      `Label ${bad} in ${what} is ${labels[bad]}; expected 0 to ${classes - 1}: get the file anew.`,
    );
  }
  return labels;
}
