import { Worker } from 'node:worker_threads';
import { expect } from 'chai';

/** Trains a small network in a worker and returns the sum and a few of its logits. */
const program = `
import { parentPort } from 'node:worker_threads';
import { register } from 'tsx/esm/api';
register();
const { createModel } = await import('LIB/models/registry.ts');
const { fit } = await import('LIB/training/fit.ts');
const { toFloatImages } = await import('LIB/data/dataset.ts');
const { tinyDigits } = await import('LIB/../test/support/tiny-data.ts');
const data = tinyDigits(96);
const model = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 3 });
await fit(model, data, { epochs: 1, batchSize: 32, seed: 2 });
parentPort.postMessage(model.logits(toFloatImages(data.images)).toFloat32Array());
model.dispose();
data.dispose();
`;

function inWorker(): Promise<Float32Array> {
  return new Promise((resolve, reject) => {
    const source = program.replaceAll('LIB', new URL('../../lib', import.meta.url).href);
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

describe('worker threads', () => {
  it('eight at once give what one gives', async function () {
    this.timeout(120_000);
    const alone = await inWorker();
    expect(alone.some((value) => value !== 0)).to.equal(true);
    const together = await Promise.all(Array.from({ length: 8 }, inWorker));
    for (const logits of together) expect([...logits]).to.deep.equal([...alone]);
  });
});
