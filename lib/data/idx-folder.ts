import { existsSync } from 'node:fs';
import { readFile as readFileAsync } from 'node:fs/promises';
import { join } from 'node:path';
import { HardbitError, throwIfAborted } from '../errors.js';
import { readFile, sha256 } from '../files.js';
import { Tensor } from '../tensor/tensor.js';
import { createDataset, type Dataset } from './dataset.js';
import { decodeIdx } from './idx.js';

/** What the name of a folder of IDX files begins with: `idx:FOLDER`. */
export const IDX_PREFIX = 'idx:';

interface IdxPair {
  readonly imageFile: string;
  readonly labelFile: string;
  readonly shape: readonly number[];
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
}

/** The prefix of the test files: LeCun's `t10k`, else `test`. */
function testPrefix(folder: string): string {
  return ['t10k', 'test'].find((prefix) => existsSync(join(folder, `${prefix}-images-idx3-ubyte`))) ?? 't10k';
}

/**
 * Any folder of four IDX files as a dataset: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same two of
 * `t10k` or `test`. Images of any one size; the classes are 0 to the largest label of all.
 *
 * @param name the dataset's name, `idx:FOLDER`
 * @throws ERR_HARDBIT_READ where a file is missing; ERR_HARDBIT_FORMAT where one is not what its name says;
 * ERR_HARDBIT_SHAPE where training and test images differ in size; ERR_HARDBIT_ABORTED
 */
export async function loadIdxFolder(
  name: string,
  signal?: AbortSignal,
): Promise<{ train: Dataset; test: Dataset; sha256: Record<string, string> }> {
  const folder = name.slice(IDX_PREFIX.length);
  if (folder === '') {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `'${name}' names no folder; give one that holds IDX files, e.g. idx:digits.`,
    );
  }
  const hashes: Record<string, string> = {};
  const read = async (file: string): Promise<Buffer> => {
    const path = join(folder, file);
    // readFile() says in the library's words why it cannot be read.
    const data = await readFileAsync(path).catch(() => readFile(path));
    throwIfAborted(signal);
    hashes[file] = sha256(data);
    return data;
  };
  const pair = async (prefix: string): Promise<IdxPair> => {
    const imageFile = `${prefix}-images-idx3-ubyte`;
    const labelFile = `${prefix}-labels-idx1-ubyte`;
    const images = decodeIdx(await read(imageFile), 3, join(folder, imageFile));
    const labels = decodeIdx(await read(labelFile), 1, join(folder, labelFile));
    if (labels.data.length !== images.shape[0] || labels.data.length === 0) {
      throw new HardbitError(
        'ERR_HARDBIT_FORMAT',
        `${join(folder, labelFile)} has ${labels.data.length} labels for the ${images.shape[0]} images of ${imageFile}; expected one an image, and at least one.`,
      );
    }
    return { imageFile, labelFile, shape: images.shape, pixels: images.data, labels: labels.data };
  };
  const train = await pair('train');
  const test = await pair(testPrefix(folder));
  if (train.shape[1] !== test.shape[1] || train.shape[2] !== test.shape[2]) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `The images of ${folder} are ${train.shape.slice(1).join('×')} for training and ${test.shape.slice(1).join('×')} for tests; expected one size.`,
    );
  }
  const largest = [train, test].reduce(
    (most, { labels }) => labels.reduce((a, b) => Math.max(a, b), most),
    0,
  );
  const dataset = ({ shape, pixels, labels }: IdxPair): Dataset =>
    createDataset(
      name,
      largest + 1,
      Tensor.from('u8', [...shape, 1], pixels),
      Tensor.from('i32', [labels.length], Int32Array.from(labels)),
    );
  return { train: dataset(train), test: dataset(test), sha256: hashes };
}
