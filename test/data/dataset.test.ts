import { expect } from 'chai';
import fc from 'fast-check';
import {
  createDataset,
  type Dataset,
  drawIndex,
  epochOrder,
  requireDataset,
  shuffledBatch,
  splitLast,
  takeFirst,
  takeRows,
  toFloatImages,
} from '../../lib/data/dataset.js';
import { native } from '../../lib/native.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { failure } from '../support/failure.js';
import { liveTensors } from '../support/live-tensors.js';

/** n images of 1×2×1: pixels (i mod 256, 255 − i mod 256), label i mod 10. */
function numbered(n: number, dtype: 'u8' | 'f32' = 'u8'): Dataset {
  const bytes = Uint8Array.from({ length: 2 * n }, (_, i) => (i % 2 === 0 ? i / 2 : 255 - (i - 1) / 2));
  const pixels = dtype === 'u8' ? bytes : Float32Array.from(bytes, (k) => k / 255);
  return createDataset(
    'numbered',
    10,
    Tensor.from(dtype, [n, 1, 2, 1], pixels),
    Tensor.from(
      'i32',
      [n],
      Int32Array.from({ length: n }, (_, i) => i % 10),
    ),
  );
}

/** The first 2n pixels of `numbered`. */
const numberedPixels = (n: number) =>
  Uint8Array.from({ length: 2 * n }, (_, i) => (i % 2 === 0 ? i / 2 : 255 - (i - 1) / 2));

const live = () => native().memory().liveTensors;

describe('datasets', () => {
  let before: number;
  beforeEach(async () => {
    before = await liveTensors();
  });
  afterEach(() => {
    expect(live()).to.be.at.most(before);
  });

  it('describe their tensors, and refuse those that do not fit', () => {
    const dataset = numbered(3);
    expect(dataset.imageShape).to.deep.equal([1, 2, 1]);
    expect(dataset.size).to.equal(3);
    dataset.dispose();
    scope(() => {
      const images = Tensor.from('u8', [2, 1, 1, 1]);
      const labels = Tensor.from('i32', [2]);
      const code = (x: Tensor, y: Tensor) => failure(() => createDataset('d', 10, x, y)).code;
      expect(code(Tensor.from('u8', [2, 1]), labels)).to.equal('ERR_HARDBIT_SHAPE');
      expect(code(Tensor.from('i32', [2, 1, 1, 1]), labels)).to.equal('ERR_HARDBIT_DTYPE');
      expect(code(images, Tensor.from('i32', [3]))).to.equal('ERR_HARDBIT_SHAPE');
      expect(code(images, Tensor.from('i32', [2, 1]))).to.equal('ERR_HARDBIT_SHAPE');
      expect(code(images, Tensor.from('u8', [2]))).to.equal('ERR_HARDBIT_DTYPE');
      for (const wrong of [10, -1]) {
        const error = failure(() =>
          createDataset('d', 10, images, Tensor.from('i32', [2], Int32Array.of(3, wrong))),
        );
        expect(error.code).to.equal('ERR_HARDBIT_LABELS');
        expect(error.message).to.equal(`Label 1 of 'd' is ${wrong}; expected 0 to 9.`);
      }
    });
  });

  it('give their first examples, which outlive them', () => {
    const dataset = numbered(5);
    const first = takeFirst(dataset, 2);
    dataset.dispose();
    expect([...first.images.read()]).to.deep.equal([0, 255, 1, 254]);
    expect([...first.labels.read()]).to.deep.equal([0, 1]);
    expect(first.size).to.equal(2);
    for (const n of [0, 3, -1, 1.5, Number.NaN]) {
      const error = failure(() => takeFirst(first, n));
      expect(error.code).to.equal('ERR_HARDBIT_ARGUMENT');
      expect(error.message).to.contain('a whole number from 1 to 2');
    }
    first.dispose();
  });

  it('made by hand are checked like others, once', () => {
    scope(() => {
      const { images, labels, to, dispose } = numbered(4, 'f32');
      const byHand = {
        name: 'own',
        classes: 10,
        imageShape: [1, 2, 1] as const,
        images,
        labels,
        size: 4,
        to,
        dispose,
      };
      requireDataset(byHand);
      const wrong = (change: Partial<Dataset>) =>
        failure(() => requireDataset({ ...byHand, ...change })).code;
      expect(wrong({ size: 3 })).to.equal('ERR_HARDBIT_SHAPE');
      expect(wrong({ imageShape: [2, 1, 1] })).to.equal('ERR_HARDBIT_SHAPE');
      expect(wrong({ classes: 3 })).to.equal('ERR_HARDBIT_LABELS');
      images.write(new Float32Array(8).fill(2));
      expect(wrong({})).to.equal('ERR_HARDBIT_PIXELS');
      // What was once found right is not looked at again.
      requireDataset(byHand);
    });
  });

  it('split off their last examples, which share memory', () => {
    const dataset = numbered(10);
    const { train, validation } = splitLast(dataset, 0.25);
    dataset.dispose();
    expect([train.size, validation.size, train.name]).to.deep.equal([7, 3, 'numbered']);
    expect([...validation.labels.toInt32Array()]).to.deep.equal([7, 8, 9]);
    expect([...train.images.read()]).to.deep.equal([...numberedPixels(7)]);
    for (const fraction of [0, 1, -0.1, 1.5, Number.NaN, 0.9]) {
      expect(failure(() => splitLast(train, fraction)).code).to.equal('ERR_HARDBIT_ARGUMENT');
    }
    for (const each of [train, validation]) each.dispose();
  });

  it('draws are uniform, and fixed by seed and step', () => {
    const counts = [0, 0, 0];
    for (let step = 0; step < 3000; step++) {
      const drawn = drawIndex(3, 7, step);
      counts[drawn] = (counts[drawn] as number) + 1;
      expect(drawIndex(3, 7, step)).to.equal(drawn);
    }
    // Four standard deviations.
    for (const count of counts) expect(count).to.be.within(897, 1103);
    const other = Array.from({ length: 50 }, (_, step) => drawIndex(3, 8, step));
    expect(other).to.not.deep.equal(Array.from({ length: 50 }, (_, step) => drawIndex(3, 7, step)));
  });

  it('give float images as k/255, in a handle of their own', () => {
    for (const dtype of ['u8', 'f32'] as const) {
      const dataset = numbered(256, dtype);
      const images = toFloatImages(dataset.images);
      dataset.dispose();
      expect(images.toFloat32Array()).to.deep.equal(
        Float32Array.from({ length: 512 }, (_, i) => (i % 2 === 0 ? i / 2 : 255 - (i - 1) / 2) / 255),
      );
      images.dispose();
    }
    using words = Tensor.from('i32', [1]);
    expect(failure(() => toFloatImages(words)).code).to.equal('ERR_HARDBIT_DTYPE');
  });

  it('are visited once an epoch, in an order given by seed and epoch', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.nat(), fc.nat(1000), (n, seed, epoch) =>
        scope(() => {
          const dataset = numbered(n);
          const order = epochOrder(dataset, seed, epoch).toInt32Array();
          expect([...order].sort((a, b) => a - b)).to.deep.equal([...Array(n).keys()]);
          expect(epochOrder(dataset, seed, epoch).toInt32Array()).to.deep.equal(order);
          if (n >= 50) {
            expect(epochOrder(dataset, seed, epoch + 1).toInt32Array()).not.to.deep.equal(order);
            expect(epochOrder(dataset, seed + 1, epoch).toInt32Array()).not.to.deep.equal(order);
          }
          dataset.dispose();
        }),
      ),
    );
  });

  it('come in batches whose images, labels and indices belong together, and cover everything once', () => {
    for (const dtype of ['u8', 'f32'] as const) {
      const dataset = numbered(25, dtype);
      const order = epochOrder(dataset, 1, 2);
      const seen: number[] = [];
      for (let begin = 0; begin < 25; begin += 10) {
        const { images, labels, indices } = shuffledBatch(dataset, order, begin, Math.min(begin + 10, 25));
        const rows = images.toFloat32Array();
        expect(images.shape).to.deep.equal([Math.min(10, 25 - begin), 1, 2, 1]);
        indices.toInt32Array().forEach((index, row) => {
          expect(labels.toInt32Array()[row]).to.equal(index % 10);
          expect(rows[2 * row]).to.equal(Math.fround(index / 255));
          seen.push(index);
        });
        for (const tensor of [images, labels, indices]) tensor.dispose();
      }
      expect(seen).to.deep.equal([...order.toInt32Array()]);
      for (const [begin, end] of [
        [0, 26],
        [3, 3],
        [-1, 2],
        [0.5, 2],
      ] as const) {
        expect(failure(() => shuffledBatch(dataset, order, begin, end)).code).to.equal(
          'ERR_HARDBIT_ARGUMENT',
        );
      }
      order.dispose();
      dataset.dispose();
    }
  });
});

describe('takeRows', () => {
  it('copies the given examples in their order, pixels and labels together', () => {
    const all = numbered(30);
    const before = live();
    const some = takeRows(all, [7, 2, 2, 29]);
    all.dispose();
    expect([...some.images.read()]).to.deep.equal([7, 248, 2, 253, 2, 253, 29, 226]);
    expect([...some.labels.toInt32Array()]).to.deep.equal([7, 2, 2, 9]);
    expect([some.size, some.classes, some.imageShape]).to.deep.equal([4, 10, [1, 2, 1]]);
    some.dispose();
    expect(live()).to.be.at.most(before - 2);
  });

  it('refuses an example that is not there', () => {
    const all = numbered(3);
    expect(failure(() => takeRows(all, [3])).code).to.match(/^ERR_HARDBIT_/);
    all.dispose();
  });
});
