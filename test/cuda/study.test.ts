import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Preset, presets } from '../../lib/study/presets.js';
import { resultsSchema } from '../../lib/study/results.js';
import { runPreset } from '../../lib/study/run.js';
import { gpuName, memoryInfo } from '../../lib/tensor/runtime.js';
import { bars } from '../study/helpers.js';
import { describeOnGpu } from './support.js';

const { quick } = presets.mnist;

/** One network and its twin, which are attacked and shown each other's images. */
const tiny: Preset = {
  ...quick,
  name: 'tiny',
  blocks: [
    {
      name: 'core',
      models: ['mnist-fcn'],
      inputBits: [2],
      recipes: ['bnn'],
      trainings: [{ kind: 'natural' }],
      twins: 'all',
    },
  ],
  fit: { ...quick.fit, epochs: 1, batchSize: 4 },
  whiteBox: [{ name: 'fgsm', epsilons: [0.2], gradientModes: 'default' }],
  transfer: [{ name: 'fgsm', epsilons: [0.2] }],
  masking: [],
  examples: [
    {
      model: 'mnist-fcn',
      recipe: 'bnn',
      inputBits: 2,
      training: 'natural',
      attack: 'fgsm',
      epsilon: 0.2,
    },
  ],
  images: 4,
};

describeOnGpu('a study on a GPU', () => {
  it('says what computed it, and leaves nothing behind', async () => {
    const out = mkdtempSync(join(tmpdir(), 'hardbit-cuda-'));
    const before = memoryInfo().liveTensors;
    try {
      const load = async () => ({ train: bars(8, 1), test: bars(4, 2), sha256: {} });
      await runPreset(tiny, load, { out, command: 'hardbit test', device: 'cuda' });
      const written: unknown = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8'));
      const { shards, networks, whiteBox } = resultsSchema.parse(written);
      expect(shards[0]?.machine).to.include({ device: 'cuda', gpu: gpuName() });
      expect([networks.length, whiteBox.length]).to.deep.equal([2, 1]);
      expect(memoryInfo().liveTensors).to.be.at.most(before); // forgotten ones of other tests may be collected meanwhile
    } finally {
      rmSync(out, { recursive: true });
    }
  });
});
