import { Worker } from 'node:worker_threads';
import { expect } from 'chai';

/** Logits of a small network trained in a worker thread of its own. */
function trainInWorker(): Promise<Float32Array> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('../support/train-worker.mjs', import.meta.url));
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

describe('worker threads', () => {
  it('eight at once give what one gives', async function () {
    this.timeout(120_000);
    const alone = await trainInWorker();
    expect(alone.some((value) => value !== 0)).to.equal(true);
    const together = await Promise.all(Array.from({ length: 8 }, trainInWorker));
    for (const logits of together) expect([...logits]).to.deep.equal([...alone]);
  });
});
