/** Predicts in a worker thread, eight times at once, and posts the logits; or leaves in the middle of it. */
import { parentPort, workerData } from 'node:worker_threads';
import { register } from 'tsx/esm/api';

register();
const { PackedNetwork } = await import('../../lib/packed/packed.ts');

const network = PackedNetwork.loadSync(workerData.path);
const predictions = Array.from({ length: 8 }, () => network.predict(workerData.images));
if (workerData.leaves) process.exit(0);
const found = await Promise.all(predictions);
parentPort.postMessage(found.map(({ logits }) => [...logits]));
