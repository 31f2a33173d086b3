import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Dataset } from '../../lib/data/dataset.js';
import { Model } from '../../lib/models/registry.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import type { Device } from '../../lib/tensor/tensor.js';
import { type FitOptions, fit } from '../../lib/training/fit.js';
import { dense, norm, spec } from '../nn/networks.js';
import { pooledProducts, runPooled } from '../nn/pooled-products.js';
import { rejection } from '../support/failure.js';
import { liveTensors } from '../support/live-tensors.js';
import { describeOnGpu, noisy } from './support.js';

const options: FitOptions = { epochs: 2, batchSize: 8, seed: 4 };

/** Small, since an emulated GPU is slow. */
const small = spec([
  { type: 'flatten', name: 'flatten' },
  dense('dense1', 72, 32, 'ste-sign'),
  norm('norm1', 32),
  { type: 'dropout', name: 'dropout', rate: 0.1 },
  { type: 'quantize', name: 'sign1', quantizer: 'ste-sign' },
  dense('dense2', 32, 3, 'magnitude-sign'),
  norm('norm2', 3),
]);

const create = (device: Device, seed = 1) => new Model(small, seed, device);

const stateOf = (model: Model) => new Map([...model.state()].map(([name, { values }]) => [name, values]));

async function trained(device: Device, data: Dataset, more: Partial<FitOptions> = {}) {
  using model = create(device);
  const { history } = await fit(model, data, { ...options, ...more });
  return { state: stateOf(model), history };
}

describeOnGpu('training on a GPU', () => {
  let host: Dataset;
  let there: Dataset;
  before(() => {
    host = noisy(20, [6, 6, 2], 3);
    there = host.to('cuda');
  });
  after(() => {
    host.dispose();
    there.dispose();
  });

  it('gives the same network from a dataset on either device, and nothing is left behind', async () => {
    const before = await liveTensors();
    const uploaded = await trained('cuda', host);
    const gathered = await trained('cuda', there);
    expect(gathered.state).to.deep.equal(uploaded.state);
    expect(gathered.history).to.deep.equal(uploaded.history);
    expect(memoryInfo().liveTensors).to.be.at.most(before);
    const onHost = await trained('cpu', there);
    expect(onHost.state).to.deep.equal((await trained('cpu', host)).state);
    expect(uploaded.history[0]?.loss).to.be.closeTo(onHost.history[0]?.loss as number, 0.5);
  });

  it('makes int8 gradients of pooled convolutions as the cpu does, bit by bit', () => {
    const context = { mode: 'train', seed: 1, step: 2, gradientArithmetic: 'int8' } as const;
    for (const product of pooledProducts) {
      if (product.inputs < 8) continue; // summed in fp32
      const expected = runPooled(product, context);
      expect(runPooled(product, context, 'cuda'), JSON.stringify(product)).to.deep.equal(expected);
      expect(runPooled(product, context, 'cuda', false)).to.deep.equal(expected);
    }
  });

  it('measures, averages and counts flips there', async () => {
    const { history } = await trained('cuda', there, {
      validation: host,
      average: { decay: 0.9 },
      flipRatio: true,
      earlyStopping: { patience: 1 },
    });
    expect(history[0]?.validationLoss).to.be.above(0);
    expect(Object.keys(history[0]?.flipRatio ?? {})).to.have.length(2);
  });

  it('goes on from a checkpoint as if it had never stopped', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hardbit-cuda-'));
    const checkpoint = { path: join(folder, 'checkpoint'), everySteps: 100 };
    try {
      const whole = await trained('cuda', there);
      const abort = new AbortController();
      const stopped = trained('cuda', there, {
        checkpoint,
        signal: abort.signal,
        onProgress: ({ epoch, step }) => {
          if (epoch === 2 && step === 1) abort.abort();
        },
      });
      expect((await rejection(stopped)).code).to.equal('ERR_HARDBIT_ABORTED');
      expect(existsSync(checkpoint.path)).to.equal(true);
      const resumed = await trained('cuda', there, { checkpoint, resume: true });
      expect(resumed.state).to.deep.equal(whole.state);
      expect(resumed.history).to.deep.equal(whole.history);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('trains adversarially, through source networks too', async () => {
    using source = create('cuda', 9);
    for (const sources of [[], [{ name: 'source', model: source }]]) {
      const adversarial = { attack: 'pgd', epsilon: 0.2, steps: 2, sources };
      const { history } = await trained('cuda', there, { epochs: 1, adversarial });
      expect(history[0]?.loss).to.be.above(0);
    }
    using elsewhere = create('cpu', 9);
    const adversarial = { attack: 'fgsm', epsilon: 0.2, sources: [{ name: 'source', model: elsewhere }] };
    const error = await rejection(trained('cuda', there, { adversarial }));
    expect(error.code).to.equal('ERR_HARDBIT_ARGUMENT');
    expect(error.message).to.contain("'source' is on cpu; expected cuda");
  });
});
