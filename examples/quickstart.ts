import { adam, attacks, data, evaluateAttack, fit, models } from 'hardbit';

// MNIST, fetched once and verified; every image is 28 × 28 × 1.
const mnist = await data.loadDataset('mnist');

// A fully connected network: 2-bit pixels, binary weights, binary activations.
const model = models.createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 1 });

await fit(model, mnist.train, {
  epochs: Number(process.env['EPOCHS'] ?? 3),
  batchSize: 128,
  seed: 1,
  optimizer: adam({ learningRate: 1e-3 }),
  schedule: 'linear',
  onProgress: ({ epoch, step, steps, loss }) => {
    if (step === steps) console.log(`epoch ${epoch}: loss ${loss.toFixed(3)}`);
  },
});

// The attacker passes gradients straight through the discretizer and, where |x| ≤ 1, through sign.
for (const epsilon of [0.1, 0.2]) {
  const attack = attacks.resolveAttack('pgd', { epsilon, steps: 20 });
  const { cleanAccuracy, adversarialLoss } = await evaluateAttack(model, mnist.test, attack, { seed: 1 });
  console.log(
    `ε ${epsilon}: clean ${(100 * cleanAccuracy).toFixed(1)} %, lost to PGD-20 ${(100 * adversarialLoss).toFixed(1)} points`,
  );
}
models.saveModel(model, 'net.safetensors');
