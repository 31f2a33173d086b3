#!/usr/bin/env node
// One training and its attacks on the CPU and on a GPU: clean and adversarial accuracy on MNIST, the same weights'
// integer pre-activations on both, and how long each took.
//
//   node scripts/studies/devices.mjs [--model lenet5] [--recipe bnn] [--bits 2] [--epochs 3] [--images 10000] [--out FILE]
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import {
  adam,
  attacks,
  data,
  evaluateAttack,
  fit,
  models,
  runtimeInfo,
  synchronize,
  Tensor,
} from '../../dist/index.js';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'lenet5' },
    recipe: { type: 'string', default: 'bnn' },
    bits: { type: 'string', default: '2' },
    epochs: { type: 'string', default: '3' },
    images: { type: 'string', default: '10000' },
    out: { type: 'string' },
  },
});
const { cpu, isa, cuda } = runtimeInfo();
if (cuda.devices.length === 0) {
  console.error(`devices: ${cuda.reason}`);
  process.exit(2);
}

const settings = { inputBits: Number(options.bits), recipe: options.recipe, seed: 1 };
const rows = [];
const trained = {};
for (const device of ['cpu', 'cuda']) {
  const mnist = await data.loadDataset('mnist', { device });
  const model = models.createModel(options.model, { ...settings, device });
  const begin = performance.now();
  await fit(model, mnist.train, {
    epochs: Number(options.epochs),
    batchSize: 128,
    seed: 1,
    optimizer: adam({ learningRate: 1e-3 }),
    schedule: 'linear',
  });
  synchronize(device);
  const trainingSeconds = (performance.now() - begin) / 1000;
  const test = data.takeFirst(mnist.test, Number(options.images));
  const results = [];
  for (const [name, epsilon] of [
    ['fgsm', 0.1],
    ['pgd', 0.1],
  ]) {
    const start = performance.now();
    const { n, cleanAccuracy, adversarialAccuracy } = await evaluateAttack(
      model,
      test,
      attacks.resolveAttack(name, { epsilon }),
      { seed: 1 },
    );
    results.push({
      attack: name,
      epsilon,
      n,
      cleanAccuracy,
      adversarialAccuracy,
      seconds: (performance.now() - start) / 1000,
    });
  }
  rows.push({ device, trainingSeconds, results });
  trained[device] = model;
  process.stderr.write(`${device}: trained in ${trainingSeconds.toFixed(1)} s\n`);
}

// The network trained on the GPU, on both devices: sums of ±1 products are the same integers.
const mnist = await data.loadDataset('mnist');
const pixels = mnist.test.images.slice(0, 200);
const images = Tensor.from(
  'f32',
  pixels.shape,
  Float32Array.from(pixels.read(), (k) => Math.fround(k / 255)),
);
const here = trained.cuda.to('cpu').integerPreactivations(images);
const there = trained.cuda.integerPreactivations(images.to('cuda'));
const differing = [...here].map(([layer, sums]) => {
  const other = there.get(layer);
  return { layer, sums: sums.length, differing: sums.filter((n, i) => n !== other[i]).length };
});
const report = {
  network: `${options.model}, ${options.recipe}, ${options.bits}-bit inputs, ${options.epochs} epochs, seed 1`,
  machine: { cpu, isa, gpu: cuda.devices[0].name, date: new Date().toISOString() },
  rows,
  integerPreactivations: differing,
};
const text = `${JSON.stringify(report, null, 2)}\n`;
if (options.out === undefined) process.stdout.write(text);
else writeFileSync(options.out, text);
if (differing.some((row) => row.differing > 0)) process.exit(1);
