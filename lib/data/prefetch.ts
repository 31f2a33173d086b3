import { HardbitError } from '../errors.js';
import { native } from '../native.js';
import { keep, scope } from '../tensor/scope.js';
import { type Device, Tensor } from '../tensor/tensor.js';
import { type Batch, type Dataset, shuffledBatch } from './dataset.js';

/** Batches prepared ahead: one is consumed while the next is ready and the one after it is being gathered. */
const DEPTH = 2;

interface Prepared {
  readonly labels: Tensor;
  readonly indices: Tensor;
  readonly images: Promise<Tensor>;
}

/**
 * The batches of an epoch in order, on a device; the values are those of `shuffledBatch`. Those of a dataset on the cpu are
 * gathered and converted on the libuv pool while the caller computes; on a GPU gathering is work like any other, queued when
 * a batch is asked for. The dataset and the order must live until `close()` has resolved.
 */
export class Prefetcher {
  readonly #dataset: Dataset;
  readonly #order: Tensor;
  readonly #ranges: readonly (readonly [number, number])[];
  readonly #depth: number;
  readonly #device: Device;
  readonly #ahead: Prepared[] = [];
  #next = 0;
  #closed = false;

  /**
   * @param order i32 [N], positions in the dataset, as from epochOrder()
   * @param ranges rows [begin, end) of `order`, one a batch
   * @param depth batches prepared ahead, at least 1
   * @param device where the batches go: the dataset's own unless given
   */
  constructor(
    dataset: Dataset,
    order: Tensor,
    ranges: readonly (readonly [number, number])[],
    depth: number = DEPTH,
    device: Device = dataset.images.device,
  ) {
    this.#dataset = dataset;
    this.#order = order;
    this.#ranges = ranges;
    this.#depth = depth;
    this.#device = device;
  }

  /**
   * The next batch, whose tensors the caller owns; null after the last.
   *
   * @throws what gathering threw; ERR_HARDBIT_DISPOSED after close()
   */
  async next(): Promise<Batch | null> {
    if (this.#closed) {
      throw new HardbitError('ERR_HARDBIT_DISPOSED', 'This Prefetcher is closed; make another one.');
    }
    if (this.#dataset.images.device !== 'cpu') return this.#gather();
    this.#fill();
    const prepared = this.#ahead.shift();
    if (prepared === undefined) return null;
    const { labels, indices } = prepared;
    try {
      const images = await prepared.images;
      // The one taken makes room for another.
      if (!this.#closed) this.#fill();
      return { images, labels, indices };
    } catch (error) {
      await discard(prepared);
      throw error;
    }
  }

  /** Waits for what is under way and frees it. Batches handed out stay the caller's. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#ahead.splice(0).map(discard));
  }

  /** The next batch of a dataset on a GPU. */
  #gather(): Batch | null {
    const range = this.#ranges[this.#next];
    if (range === undefined) return null;
    this.#next += 1;
    const batch = scope(() => {
      const { images, labels, indices } = shuffledBatch(this.#dataset, this.#order, ...range);
      return { images: images.to(this.#device), labels: labels.to(this.#device), indices };
    });
    for (const tensor of [batch.images, batch.labels, batch.indices]) keep(tensor);
    return batch;
  }

  #fill(): void {
    while (this.#ahead.length < this.#depth && this.#next < this.#ranges.length) {
      const [begin, end] = this.#ranges[this.#next] as readonly [number, number];
      this.#next += 1;
      const { images, labels } = this.#dataset;
      const batch = scope(() => {
        const indices = this.#order.slice(begin, end);
        const gathered = new Tensor(native().gather(labels.handle, indices.handle));
        return { indices, labels: gathered.to(this.#device) };
      });
      keep(batch.indices);
      keep(batch.labels);
      const gather = async () => {
        using onHost = keep(
          new Tensor(await native().gatherImagesAsync(images.handle, batch.indices.handle)),
        );
        return keep(onHost.to(this.#device));
      };
      const gathered = gather();
      // A failure is told by next(); until then, and after close(), nobody waits for this promise.
      gathered.catch(() => undefined);
      this.#ahead.push({ ...batch, images: gathered });
    }
  }
}

/** Frees a prepared batch once its images are there. */
async function discard({ labels, indices, images }: Prepared): Promise<void> {
  labels.dispose();
  try {
    (await images).dispose();
  } catch {
    // There are no images to free.
  }
  indices.dispose();
}
