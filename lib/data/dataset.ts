import { HardbitError } from '../errors.js';
import { native } from '../native.js';
import { keep, scope } from '../tensor/scope.js';
import { type Device, Tensor } from '../tensor/tensor.js';

/** Labelled images in the memory of one device. It owns its tensors: `dispose()` frees them. */
export interface Dataset {
  readonly name: string;
  readonly classes: number;
  /** Height, width and channels of one image. */
  readonly imageShape: readonly [number, number, number];
  /** [N, H, W, C]: f32 in [0, 1], or u8, where k means k/255. */
  readonly images: Tensor;
  /** i32 [N] in [0, classes). */
  readonly labels: Tensor;
  /** N. */
  readonly size: number;
  /**
   * The dataset on `device`, in tensors of its own, which share memory where they are there already; either may be disposed of
   * first. Batches are then gathered there.
   *
   * @throws ERR_HARDBIT_NO_CUDA for 'cuda' where there is none; ERR_HARDBIT_MEMORY
   */
  to(device: Device): Dataset;
  dispose(): void;
}

/** Examples of a dataset, ready for a network. */
export interface Batch {
  /** f32 [B, H, W, C] in [0, 1]. */
  readonly images: Tensor;
  /** i32 [B]. */
  readonly labels: Tensor;
  /** i32 [B], the examples' positions in the dataset; always on the cpu. */
  readonly indices: Tensor;
}

/** First Philox stream of the order of examples; epoch e takes stream EPOCH_STREAM + e. */
const EPOCH_STREAM = 0x2000_0000;
/** First Philox stream of `drawIndex`; step s takes stream DRAW_STREAM + s. */
const DRAW_STREAM = 0x3000_0000;

/** Datasets whose tensors were checked: they cannot change their dtype or shape, and are not meant to be written to. */
const checked = new WeakSet<Dataset>();

/**
 * Finds out, once a dataset, whether its tensors are what `Dataset` says: for objects made without `createDataset`.
 *
 * @throws ERR_HARDBIT_SHAPE, ERR_HARDBIT_DTYPE, ERR_HARDBIT_PIXELS, ERR_HARDBIT_LABELS where they are not;
 * ERR_HARDBIT_ARGUMENT where they are on two devices
 */
export function requireDataset(dataset: Dataset): void {
  if (checked.has(dataset)) return;
  const { name, classes, images, labels, size, imageShape } = dataset;
  if (images.shape.length !== 4) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `The images of '${name}' have shape [${images.shape.join(', ')}]; expected [N, H, W, C].`,
    );
  }
  if (images.dtype !== 'f32' && images.dtype !== 'u8') {
    throw new HardbitError(
      'ERR_HARDBIT_DTYPE',
      `The images of '${name}' are ${images.dtype}; expected f32 in [0, 1] or u8.`,
    );
  }
  const invalid = images.dtype === 'f32' ? native().countInvalidPixels(images.handle) : 0;
  if (invalid > 0) {
    throw new HardbitError(
      'ERR_HARDBIT_PIXELS',
      `${invalid} pixels of '${name}' are NaN or outside [0, 1]; expected f32 in [0, 1].`,
    );
  }
  if (labels.dtype !== 'i32') {
    throw new HardbitError('ERR_HARDBIT_DTYPE', `The labels of '${name}' are ${labels.dtype}; expected i32.`);
  }
  if (labels.device !== images.device) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The images of '${name}' are on ${images.device} and its labels on ${labels.device}; copy both to one device with to().`,
    );
  }
  if (labels.shape.length !== 1 || labels.rows !== images.rows) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `The labels of '${name}' have shape [${labels.shape.join(', ')}]; expected [${images.rows}], one an image.`,
    );
  }
  const wrong = labels.toInt32Array().findIndex((label) => label < 0 || label >= classes);
  if (wrong >= 0) {
    throw new HardbitError(
      'ERR_HARDBIT_LABELS',
      `Label ${wrong} of '${name}' is ${labels.toInt32Array()[wrong]}; expected 0 to ${classes - 1}.`,
    );
  }
  if (size !== images.rows || imageShape.some((length, i) => length !== images.shape[i + 1])) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `'${name}' is said to hold ${size} images [${imageShape.join(', ')}], but its tensor is [${images.shape.join(', ')}].`,
    );
  }
  checked.add(dataset);
}

/**
 * A dataset of the given tensors, which it then owns.
 *
 * @param images f32 in [0, 1] or u8, [N, H, W, C]
 * @param labels i32 [N] in [0, classes)
 * @throws ERR_HARDBIT_SHAPE, ERR_HARDBIT_DTYPE, ERR_HARDBIT_PIXELS, ERR_HARDBIT_LABELS, ERR_HARDBIT_ARGUMENT where they do not
 * fit each other or this description.
 */
export function createDataset(name: string, classes: number, images: Tensor, labels: Tensor): Dataset {
  const dataset = describe(name, classes, images, labels);
  requireDataset(dataset);
  return dataset;
}

/** A dataset of the given tensors, unchecked. */
function describe(name: string, classes: number, images: Tensor, labels: Tensor): Dataset {
  const [size = 1, height = 1, width = 1, channels = 1] = images.shape;
  const dataset: Dataset = {
    name,
    classes,
    imageShape: [height, width, channels],
    images,
    labels,
    size,
    to: (device) => derived(dataset, (x) => x.to(device)),
    dispose() {
      images.dispose();
      labels.dispose();
    },
  };
  return dataset;
}

/** New handles of a dataset's tensors, made by `make`, as a dataset; what was checked in the one holds in the other. */
function derived(dataset: Dataset, make: (x: Tensor) => Tensor): Dataset {
  const { name, classes } = dataset;
  const { images, labels } = scope(() => ({ images: make(dataset.images), labels: make(dataset.labels) }));
  const result = describe(name, classes, images, labels);
  if (checked.has(dataset)) checked.add(result);
  return result;
}

/** Training and test images on a device; frees the given ones, whatever happens. */
export function moveSplits<T extends { readonly train: Dataset; readonly test: Dataset }>(
  splits: T,
  device: Device,
): T {
  const { train, test } = splits;
  let moved: Dataset | undefined;
  try {
    moved = train.to(device);
    return { ...splits, train: moved, test: test.to(device) };
  } catch (error) {
    moved?.dispose();
    throw error;
  } finally {
    train.dispose();
    test.dispose();
  }
}

/** Rows [begin, end) as a dataset that shares memory; what was checked in the whole holds in its part. */
function part(dataset: Dataset, begin: number, end: number): Dataset {
  return derived(dataset, (x) => x.slice(begin, end));
}

/**
 * The first n examples, in the dataset's order. Shares memory; either of the two may be disposed of first.
 *
 * @param n integer in [1, dataset.size]
 * @throws ERR_HARDBIT_ARGUMENT for another n.
 */
export function takeFirst(dataset: Dataset, n: number): Dataset {
  if (!Number.isInteger(n) || n < 1 || n > dataset.size) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `Cannot take the first ${n} examples of '${dataset.name}'; expected a whole number from 1 to ${dataset.size}.`,
    );
  }
  return part(dataset, 0, n);
}

/**
 * Splits off the last ⌈fraction·N⌉ examples, in the dataset's order, for validation. Both parts share its memory; any of
 * the three may be disposed of first.
 *
 * @param fraction above 0 and below 1, such that two examples stay for training
 * @throws ERR_HARDBIT_ARGUMENT for another fraction.
 */
export function splitLast(
  dataset: Dataset,
  fraction: number,
): { readonly train: Dataset; readonly validation: Dataset } {
  const count = Math.ceil(fraction * dataset.size);
  if (!(fraction > 0 && fraction < 1) || dataset.size - count < 2) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The validation split is ${fraction} of ${dataset.size} examples; expected a fraction above 0 and below 1 that leaves at least two for training.`,
    );
  }
  const begin = dataset.size - count;
  return { train: part(dataset, 0, begin), validation: part(dataset, begin, dataset.size) };
}

/**
 * The given examples as a dataset of their own, in the order of `rows`; a copy.
 *
 * @param rows positions in the dataset, in [0, dataset.size)
 */
export function takeRows(dataset: Dataset, rows: readonly number[]): Dataset {
  const indices = Tensor.from('i32', [rows.length], Int32Array.from(rows));
  const gather = (x: Tensor) => keep(new Tensor(native().gather(x.handle, indices.handle)));
  try {
    return createDataset(dataset.name, dataset.classes, gather(dataset.images), gather(dataset.labels));
  } finally {
    indices.dispose();
  }
}

/**
 * Images as f32 in a new handle: u8 k becomes fl(k/255); f32 is passed on and shares memory.
 *
 * @throws ERR_HARDBIT_DTYPE for any other dtype.
 */
export function toFloatImages(images: Tensor): Tensor {
  if (images.dtype === 'u8') return new Tensor(native().u8ToFloat(images.handle));
  if (images.dtype === 'f32') return images.slice(0, images.rows);
  throw new HardbitError(
    'ERR_HARDBIT_DTYPE',
    `The images are ${images.dtype}; expected f32 in [0, 1] or u8.`,
  );
}

/**
 * The examples order[begin], …, order[end − 1], on the dataset's device.
 *
 * @param order i32 [N] on the cpu, positions in the dataset, as from epochOrder()
 * @throws ERR_HARDBIT_ARGUMENT where begin and end are not whole numbers, 0 ≤ begin < end ≤ N.
 */
export function shuffledBatch(dataset: Dataset, order: Tensor, begin: number, end: number): Batch {
  if (!(Number.isInteger(begin) && Number.isInteger(end) && begin >= 0 && begin < end && end <= order.rows)) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `A batch of examples ${begin} to ${end} was asked for; expected 0 ≤ begin < end ≤ ${order.rows}.`,
    );
  }
  return scope(() => {
    const indices = order.slice(begin, end);
    const gather = (x: Tensor) => new Tensor(native().gather(x.handle, indices.handle));
    return { images: toFloatImages(gather(dataset.images)), labels: gather(dataset.labels), indices };
  });
}

/**
 * The order of the examples in one epoch: i32 [N] on the cpu, a uniform permutation by (seed, epoch), the same on every
 * machine and thread count.
 *
 * @param seed integer in [0, 2^53)
 * @param epoch integer in [0, 2^28)
 */
export function epochOrder(dataset: Dataset, seed: number, epoch: number): Tensor {
  return new Tensor(native().permutation(dataset.size, seed, EPOCH_STREAM + epoch));
}

/**
 * A uniform draw from 0 … count − 1 by (seed, step), the same on every machine and thread count. No value is more
 * likely than another by more than 2^−32.
 *
 * @param seed integer in [0, 2^53)
 * @param step integer in [0, 2^30)
 */
export function drawIndex(count: number, seed: number, step: number): number {
  return scope(() => {
    const [bits = 0] = new Tensor(native().randomIntegers(1, seed, DRAW_STREAM + step)).toInt32Array();
    return Math.floor(((bits >>> 0) / 2 ** 32) * count);
  });
}
