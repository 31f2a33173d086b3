import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { decodeNpy, encodeNpy } from '../../lib/data/npy.js';
import { createModel, saveModel } from '../../lib/models/registry.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { referenceImages } from '../support/reference-weights.js';

const script = new URL('../../scripts/reference/read_model.py', import.meta.url).pathname;
const python = ['/usr/bin/python3', 'python3'].find(
  (each) => spawnSync(each, ['-c', 'import numpy, torch']).status === 0,
);
const ROWS = 8;

/** The stranger's reader, which knows docs/model-file.md alone; where Python has no PyTorch, nothing is compared. */
describe('model files read by a stranger in PyTorch', function () {
  this.timeout(60_000);
  let folder: string;
  before(function () {
    if (python === undefined) this.skip();
    folder = mkdtempSync(join(tmpdir(), 'hardbit-stranger-'));
  });
  after(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  const cases: readonly (readonly [string, string, number])[] = [
    ['mnist-fcn', 'none', 8],
    ['mnist-fcn', 'bnn', 2],
    ['lenet5', 'bnn', 1],
    ['lenet5', 'bwn', 4],
    ['mnist-cnn', 'xnor', 2],
    ['lenet5', 'ternary', 8],
    ['lenet5', 'dorefa-w1a2', 3],
    ['mnist-cnn', 'dorefa-w3a4', 2],
  ];
  for (const [name, recipe, inputBits] of cases) {
    it(`${name}, ${recipe}, ${inputBits} bits: the same logits`, () => {
      const at = (file: string) => join(folder, file);
      const pixels = referenceImages(1, ROWS, 784);
      using model = createModel(name, { inputBits, recipe, seed: 7 });
      // A pass in training gives the running statistics values of their own.
      const logits = scope(() => {
        const images = Tensor.from('f32', [ROWS, 28, 28, 1], pixels);
        const labels = Tensor.from('i32', [ROWS], new Int32Array(ROWS));
        model.trainingGradients(images, labels, { seed: 0, step: 0 });
        return model.logits(images).toFloat32Array();
      });
      saveModel(model, at('model.safetensors'));
      writeFileSync(at('x.npy'), encodeNpy({ dtype: 'f32', shape: [ROWS, 784], data: pixels }));
      execFileSync(python as string, [
        script,
        at('model.safetensors'),
        '--images',
        at('x.npy'),
        '--logits',
        at('out.npy'),
      ]);
      const read = decodeNpy(readFileSync(at('out.npy')), 'out.npy');
      expect(read.shape).to.deep.equal([ROWS, 10]);
      logits.forEach((logit, i) => {
        expect(read.data[i] as number, `logit ${i}`).to.be.closeTo(logit, 1e-4);
      });
    });
  }
});
