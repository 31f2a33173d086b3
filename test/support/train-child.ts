/** Trains with checkpoints, for tests that kill it: train-child.ts OUT CHECKPOINT RECIPE [all]. Prints a line a step. */
import { createModel, saveModel } from '../../lib/models/registry.js';
import { bop } from '../../lib/optim/optimizer.js';
import { fit } from '../../lib/training/fit.js';
import { tinyDigits } from './tiny-data.js';

const [out = '', path = '', recipe = 'none', all] = process.argv.slice(2);
const data = tinyDigits(640);
const model = createModel('mnist-fcn', { inputBits: 2, recipe, seed: 7 });
await fit(model, data, {
  epochs: 4,
  batchSize: 32,
  seed: 3,
  adversarial: { attack: 'r-fgsm', epsilon: 0.1, mix: 0.5 },
  // All that a checkpoint can hold.
  ...(all === undefined
    ? {}
    : {
        optimizer: bop({ gamma: 0.1 }),
        validation: tinyDigits(100, 9),
        earlyStopping: { patience: 2, metric: 'accuracy' as const },
        average: { decay: 0.9 },
        flipRatio: true,
      }),
  checkpoint: { path, everySteps: 1 },
  resume: true,
  onProgress: ({ epoch, step }) => process.stdout.write(`${epoch} ${step}\n`),
});
saveModel(model, out);
