import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { loadDataset } from '../../lib/data/registry.js';
import { sha256 } from '../../lib/files.js';
import { native } from '../../lib/native.js';
import { rejection } from '../support/failure.js';
import { idx, writeIdxFolder } from '../support/idx.js';

describe('a folder of IDX files', () => {
  let folder: string;
  let live: number;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-idx-'));
    live = native().memory().liveTensors;
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
    expect(native().memory().liveTensors).to.be.at.most(live);
  });

  for (const prefix of ['t10k', 'test']) {
    it(`is a dataset of any size and number of classes (${prefix})`, async () => {
      const pixels = Uint8Array.from({ length: 3 * 2 * 5 }, (_, i) => 7 * i);
      const files = {
        'train-images-idx3-ubyte': idx([3, 2, 5], pixels),
        'train-labels-idx1-ubyte': idx([3], [0, 2, 1]),
        [`${prefix}-images-idx3-ubyte`]: idx([1, 2, 5], pixels.subarray(0, 10)),
        [`${prefix}-labels-idx1-ubyte`]: idx([1], [6]),
      };
      writeIdxFolder(folder, files);
      const { train, test, sha256: hashes } = await loadDataset(`idx:${folder}`);
      expect([train.name, train.classes, test.classes]).to.deep.equal([`idx:${folder}`, 7, 7]);
      expect([train.imageShape, train.size, test.size]).to.deep.equal([[2, 5, 1], 3, 1]);
      expect(train.images.read()).to.deep.equal(pixels);
      expect([...train.labels.toInt32Array(), ...test.labels.toInt32Array()]).to.deep.equal([0, 2, 1, 6]);
      expect(hashes).to.deep.equal(
        Object.fromEntries(Object.entries(files).map(([name, data]) => [name, sha256(data)])),
      );
      train.dispose();
      test.dispose();
    });
  }

  it('is refused, with the file, where something does not fit', async () => {
    const good = {
      'train-images-idx3-ubyte': idx([2, 2, 2], new Uint8Array(8)),
      'train-labels-idx1-ubyte': idx([2], [0, 1]),
      't10k-images-idx3-ubyte': idx([1, 2, 2], new Uint8Array(4)),
      't10k-labels-idx1-ubyte': idx([1], [0]),
    };
    const tryWith = (changed: Readonly<Record<string, Uint8Array>>) => {
      writeIdxFolder(folder, { ...good, ...changed });
      return rejection(loadDataset(`idx:${folder}`));
    };
    const fewer = await tryWith({ 'train-labels-idx1-ubyte': idx([1], [0]) });
    expect(fewer.code).to.equal('ERR_HARDBIT_FORMAT');
    expect(fewer.message).to.contain('train-labels-idx1-ubyte has 1 labels for the 2 images');
    const larger = await tryWith({ 't10k-images-idx3-ubyte': idx([1, 3, 2], new Uint8Array(6)) });
    expect(larger.code).to.equal('ERR_HARDBIT_SHAPE');
    expect(larger.message).to.contain('2×2 for training and 3×2 for tests');
    const cut = await tryWith({ 't10k-images-idx3-ubyte': idx([1, 2, 2], new Uint8Array(3)) });
    expect(cut.code).to.equal('ERR_HARDBIT_FORMAT');
    const empty = await tryWith({
      't10k-images-idx3-ubyte': idx([0, 2, 2], []),
      't10k-labels-idx1-ubyte': idx([0], []),
    });
    expect(empty.message).to.contain('and at least one');
    writeIdxFolder(folder, good);
    renameSync(join(folder, 't10k-labels-idx1-ubyte'), join(folder, 'elsewhere'));
    const missing = await rejection(loadDataset(`idx:${folder}`));
    expect(missing.code).to.equal('ERR_HARDBIT_READ');
    expect(missing.message).to.contain('t10k-labels-idx1-ubyte');
    expect((await rejection(loadDataset('idx:'))).code).to.equal('ERR_HARDBIT_ARGUMENT');
    writeFileSync(join(folder, 'file'), '');
    expect((await rejection(loadDataset(`idx:${join(folder, 'file')}`))).code).to.equal('ERR_HARDBIT_READ');
  });
});
