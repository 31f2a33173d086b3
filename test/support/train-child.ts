/** Trains with checkpoints, for tests that kill it: train-child.ts OUT CHECKPOINT RECIPE. Prints a line a step. */
import { createModel, saveModel } from '../../lib/models/registry.js';
import { fit } from '../../lib/training/fit.js';
import { tinyDigits } from './tiny-data.js';

const [out = '', path = '', recipe = 'none'] = process.argv.slice(2);
const data = tinyDigits(640);
const model = createModel('mnist-fcn', { inputBits: 2, recipe, seed: 7 });
await fit(model, data, {
  epochs: 8,
  batchSize: 32,
  seed: 3,
  adversarial: { attack: 'r-fgsm', epsilon: 0.1, mix: 0.5 },
  checkpoint: { path, everySteps: 1 },
  resume: true,
  onProgress: ({ epoch, step }) => process.stdout.write(`${epoch} ${step}\n`),
});
saveModel(model, out);
