import { HardbitError } from '../errors.js';
import { native } from '../native.js';

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

/**
 * Decodes an IDX file of unsigned bytes.
 *
 * @param dimensions the expected number of dimensions: 3 for images, 1 for labels
 * @param what the file's name, for the sentences
 * @throws ERR_HARDBIT_FORMAT where it is another kind of file, truncated, or has bytes to spare.
 */
export function decodeIdx(data: Uint8Array, dimensions: number, what: string): IdxArray {
  const { shape, offset, length } = native().readIdx(data, dimensions, what);
  return { shape, data: data.subarray(offset, offset + length) };
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
