import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { locate } from '../../lib/data/cache.js';
import { decodeFashionMnist, fashionMnist } from '../../lib/data/fashion-mnist.js';
import { loadDataset } from '../../lib/data/registry.js';
import { native } from '../../lib/native.js';
import { failure, rejection } from '../support/failure.js';

/** Image i of class c: its first two pixels say which it is. */
const row = (c: number, i: number): number[] => [
  c,
  i % 256,
  Math.floor(i / 256),
  ...new Array<number>(781).fill(9),
];

const file = (rows: readonly (readonly unknown[])[]): Uint8Array =>
  Buffer.from(JSON.stringify({ data: rows }));

const whole = (c: number): number[][] => Array.from({ length: 7000 }, (_, i) => row(c, i));

describe('Fashion-MNIST', function () {
  this.timeout(60_000);
  let files: Map<string, Uint8Array>;
  let live: number;
  before(() => {
    live = native().memory().liveTensors;
    files = new Map(fashionMnist.files.map(({ name }, c) => [name, file(whole(c))]));
  });
  after(() => expect(native().memory().liveTensors).to.be.at.most(live));

  it('tests on the first thousand images of each class, trains on the others, classes in turn', () => {
    // As in the published file of class 0: an empty row between the two parts, and one at the end.
    const gapped = [...whole(0).slice(0, 1000), [], ...whole(0).slice(1000), []];
    const { train, test } = decodeFashionMnist(new Map([...files, ['0.json', file(gapped)]]));
    expect([train.name, train.classes, train.imageShape]).to.deep.equal(['fashion-mnist', 10, [28, 28, 1]]);
    for (const [split, size, first] of [
      [train, 60_000, 1000],
      [test, 10_000, 0],
    ] as const) {
      expect(split.images.shape).to.deep.equal([size, 28, 28, 1]);
      const pixels = split.images.read() as Uint8Array;
      split.labels.toInt32Array().forEach((label, i) => {
        if (label !== i % 10) expect.fail(`label ${i} is ${label}`);
        const expected = row(label, first + Math.floor(i / 10)).slice(0, 3);
        const found = [...pixels.subarray(784 * i, 784 * i + 3)];
        if (found.join() !== expected.join()) expect(found).to.deep.equal(expected);
      });
      split.dispose();
    }
  });

  it('refuses files that do not hold the images of a class', () => {
    const images = whole(0);
    const wrong: readonly (readonly [Uint8Array, string])[] = [
      [Buffer.from('{'), '0.json does not hold the images of a class: it is not JSON'],
      [Buffer.from('null'), 'it has no list of images'],
      [file(images.slice(1)), 'it has 6999 images, expected 7000'],
      [file([...images.slice(0, 6999), [1, 2]]), 'image 6999 is not a list of 784 levels'],
      [file([[...row(0, 0).slice(1), 256], ...images.slice(1)]), 'level 783 of image 0 is 256'],
      [file([[...row(0, 0).slice(1), 0.5], ...images.slice(1)]), 'level 783 of image 0 is 0.5'],
      [file([[...row(0, 0).slice(1), null], ...images.slice(1)]), 'level 783 of image 0 is null'],
    ];
    for (const [data, sentence] of wrong) {
      const error = failure(() => decodeFashionMnist(new Map([...files, ['0.json', data]])));
      expect(error.message).to.contain(sentence);
      expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
    }
  });

  it('verifies each file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hardbit-fashion-'));
    try {
      for (const { name } of fashionMnist.files) writeFileSync(join(folder, name), '{"data":[]}');
      const error = await rejection(loadDataset('fashion-mnist', { root: folder }));
      expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
      expect(error.message).to.contain('0.json has 11 bytes, expected 16261761');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('loads the published files, where they are here', async function () {
    const folder = locate(fashionMnist);
    if (folder === undefined || !existsSync(folder)) return this.skip();
    const { train, test, sha256 } = await loadDataset('fashion-mnist');
    expect([train.size, test.size, Object.keys(sha256).length]).to.deep.equal([60_000, 10_000, 10]);
    const mean = (images: Uint8Array) => images.reduce((a, b) => a + b, 0) / images.length;
    // Measured with NumPy on the package's files.
    expect(mean(train.images.read() as Uint8Array)).to.be.closeTo(72.9568306122449, 1e-9);
    expect(mean(test.images.read() as Uint8Array)).to.be.closeTo(73.16080497448979, 1e-9);
    train.dispose();
    test.dispose();
  });
});
