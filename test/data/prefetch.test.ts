import { expect } from 'chai';
import { createDataset, type Dataset, epochOrder, shuffledBatch } from '../../lib/data/dataset.js';
import { Prefetcher } from '../../lib/data/prefetch.js';
import { native } from '../../lib/native.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { rejection } from '../support/failure.js';
import { liveTensors } from '../support/live-tensors.js';

/** n images of 3×2×2 with all byte values among them. */
function dataset(n: number, dtype: 'u8' | 'f32'): Dataset {
  const bytes = Uint8Array.from({ length: 12 * n }, (_, i) => (i * 37) % 256);
  return createDataset(
    'counted',
    10,
    Tensor.from(dtype, [n, 3, 2, 2], dtype === 'u8' ? bytes : Float32Array.from(bytes, (k) => k / 255)),
    Tensor.from(
      'i32',
      [n],
      Int32Array.from({ length: n }, (_, i) => i % 10),
    ),
  );
}

const rangesOf = (n: number, size: number): [number, number][] =>
  Array.from({ length: Math.ceil(n / size) }, (_, i) => [i * size, Math.min(n, (i + 1) * size)]);

const live = () => native().memory().liveTensors;

describe('batches prepared ahead', () => {
  let before: number;
  beforeEach(async () => {
    before = await liveTensors();
  });
  afterEach(() => {
    expect(live()).to.be.at.most(before);
  });

  for (const dtype of ['u8', 'f32'] as const) {
    for (const [n, size, depth] of [
      [1, 4, 2],
      [25, 10, 1],
      [64, 8, 2],
      [65, 8, 20],
    ] as const) {
      it(`are those of shuffledBatch, in order (${dtype}, ${n} by ${size}, ${depth} ahead)`, async () => {
        const data = dataset(n, dtype);
        const order = epochOrder(data, 5, 1);
        const ranges = rangesOf(n, size);
        const prefetcher = new Prefetcher(data, order, ranges, depth);
        for (const [begin, end] of ranges) {
          const batch = await prefetcher.next();
          const expected = shuffledBatch(data, order, begin, end);
          for (const key of ['images', 'labels', 'indices'] as const) {
            expect(batch?.[key].shape).to.deep.equal(expected[key].shape);
            expect(batch?.[key].read()).to.deep.equal(expected[key].read());
            batch?.[key].dispose();
            expected[key].dispose();
          }
        }
        expect(await prefetcher.next()).to.equal(null);
        await prefetcher.close();
        for (const each of [data, order]) each.dispose();
      });
    }
  }

  it('leave nothing behind when closed early, at whatever point', async () => {
    const data = dataset(40, 'u8');
    const order = epochOrder(data, 1, 0);
    for (let taken = 0; taken <= 4; taken++) {
      const prefetcher = new Prefetcher(data, order, rangesOf(40, 10));
      for (let i = 0; i < taken; i++) {
        const batch = await prefetcher.next();
        for (const tensor of [batch?.images, batch?.labels, batch?.indices]) tensor?.dispose();
      }
      await prefetcher.close();
      expect(live()).to.be.at.most(before + 3);
      expect((await rejection(prefetcher.next())).code).to.equal('ERR_HARDBIT_DISPOSED');
    }
    for (const each of [data, order]) each.dispose();
  });

  it('pass on an error of the core where the batch is asked for, and go on behind it', async () => {
    const data = dataset(8, 'u8');
    const unhandled: unknown[] = [];
    const listen = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', listen);
    // A dataset whose labels are fine while its images are not: what gatherImagesAsync cannot take.
    using words = Tensor.from('i32', [8, 3, 2, 2]);
    using order = epochOrder(data, 1, 0);
    const broken = new Prefetcher({ ...data, images: words }, order, rangesOf(8, 4));
    try {
      await broken.next();
      expect.fail('expected an error');
    } catch (error) {
      expect((error as { code?: string }).code).to.equal('ERR_HARDBIT_DTYPE');
    }
    await broken.close();
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.off('unhandledRejection', listen);
    expect(unhandled).to.deep.equal([]);
    data.dispose();
  });
});
