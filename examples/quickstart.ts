import { adam, attacks, data, evaluateAttack, fit, models } from 'hardbit';

// MNIST, fetched once and verified; pixels are in [0, 1].
const mnist = await data.loadDataset('mnist');

// 784-600-400-10 with 2-bit inputs, binary weights and binary activations.
const model = models.createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 1 });

await fit(model, mnist.train, {
  epochs: 2,
  batchSize: 128,
  seed: 1,
  optimizer: adam({ learningRate: 1e-3 }),
  schedule: 'linear',
  onProgress: ({ epoch, step, steps, loss }) => {
    if (step === steps) console.log(`epoch ${epoch}: loss ${loss.toFixed(3)}`);
  },
});
models.saveModel(model, 'net.safetensors');

// White-box: gradients pass straight through the discretizer and, where |x| ≤ 1, through sign.
for (const epsilon of [0.1, 0.2]) {
  const attack = attacks.resolveAttack('pgd', { epsilon, steps: 20 });
  const { cleanAccuracy, adversarialLoss } = await evaluateAttack(model, mnist.test, attack, { seed: 1 });
  console.log(
    `ε ${epsilon}: ${percent(cleanAccuracy)} % clean, PGD-20 costs ${percent(adversarialLoss)} points`,
  );
}

function percent(fraction: number): string {
  return (100 * fraction).toFixed(1);
}
