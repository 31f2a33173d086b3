/** Trains a small network in a worker thread and posts its logits. */
import { parentPort } from 'node:worker_threads';
import { register } from 'tsx/esm/api';

register();
const { createModel } = await import('../../lib/models/registry.ts');
const { fit } = await import('../../lib/training/fit.ts');
const { toFloatImages } = await import('../../lib/data/dataset.ts');
const { tinyDigits } = await import('./tiny-data.ts');

const data = tinyDigits(96);
const model = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 3 });
await fit(model, data, { epochs: 1, batchSize: 32, seed: 2 });
parentPort.postMessage(model.logits(toFloatImages(data.images)).toFloat32Array());
model.dispose();
data.dispose();
