#!/usr/bin/env node
// What hardbit does on a GPU, beside PyTorch on the same one: binary layers, deployed inference, training steps and PGD-20.
// Sides take turns; times are medians. PyTorch runs in bf16, channels last, with and without torch.compile.
//
//   node scripts/gpu-bench.mjs [--out FILE] [--python python3] [--rounds 10] [--batch 1024] [--model vgg-small]
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { interleave } from '../dist/bench/interleave.js';
import { measuredLayers, shapeText } from '../dist/bench/layers.js';
import { layerSizes, validMacs } from '../dist/bench/operations.js';
import { startProgram } from '../dist/bench/programs.js';
import { summarize } from '../dist/bench/statistics.js';
import { compile, GpuNetwork, models, runtimeInfo, synchronize, Tensor } from '../dist/index.js';
import { native } from '../dist/native.js';

const { values: options } = parseArgs({
  options: {
    out: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    rounds: { type: 'string', default: '10' },
    batch: { type: 'string', default: '1024' },
    model: { type: 'string', default: 'vgg-small' },
  },
});
const root = resolve(import.meta.dirname, '..');
const { cuda } = runtimeInfo();
if (cuda.devices.length === 0) {
  console.error(`gpu-bench: ${cuda.reason}`);
  process.exit(2);
}
const timing = { rounds: Number(options.rounds), sampleSeconds: 0.05 };
const batch = Number(options.batch);
const report = { gpu: cuda.devices[0], date: new Date().toISOString(), layers: [], work: [] };

for (const layer of measuredLayers) {
  for (const images of [1, 32, batch]) {
    const job = native().benchCudaLayer(layerSizes(layer, images), layer.bits, layer.pool);
    const [samples] = await interleave([job], timing);
    const seconds = summarize(samples);
    const operations = 2 * images * Math.max(layer.bits, 1) * validMacs(layer);
    report.layers.push({
      shape: shapeText(layer, images),
      bits: layer.bits,
      kernel: job.kernel,
      seconds,
      operationsPerSecond: operations / seconds.median,
    });
    console.error(`${shapeText(layer, images)}: ${(operations / seconds.median / 1e12).toFixed(1)} Top/s`);
  }
}

/** PyTorch's program of a task, as an ordinary user would run it and as a patient one would. */
async function peers(task) {
  const programs = [];
  for (const compiled of [false, true]) {
    const name = `PyTorch, bf16, channels last${compiled ? ', torch.compile' : ''}`;
    try {
      programs.push(
        await startProgram({
          name,
          command: options.python,
          args: [
            join(root, 'scripts/peers/pytorch_steps.py'),
            ...['--model', options.model, '--recipe', 'bnn', '--task', task, '--batch', String(batch)],
            ...['--bits', '2', '--threads', '8', '--layout', 'last', '--device', 'cuda', '--bf16'],
            ...(compiled ? ['--compile'] : []),
          ],
        }),
      );
    } catch (error) {
      report.work.push({ task, name, absent: error.message });
    }
  }
  return programs;
}

async function compare(task, ours) {
  const others = await peers(task);
  const all = [...ours, ...others];
  const samples = await interleave(all, timing);
  all.forEach((program, i) => {
    const seconds = summarize(samples[i]);
    report.work.push({ task, name: program.name, batch, seconds });
    console.error(`${task}, ${program.name}: ${(1000 * seconds.median).toFixed(2)} ms`);
  });
  await Promise.all(all.map((program) => program.stop?.()));
}

const folder = mkdtempSync(join(tmpdir(), 'hardbit-gpu-bench-'));
try {
  const file = join(folder, 'network.hbit');
  const model = models.createModel(options.model, { recipe: 'bnn', inputBits: 2, seed: 0 });
  compile(model, file);
  model.dispose();
  const network = GpuNetwork.load(readFileSync(file));
  const images = Tensor.from('u8', [batch, ...network.inputShape]).to('cuda');
  await compare('predict', [
    {
      name: 'hardbit, deployed',
      run(times) {
        const begin = performance.now();
        for (let i = 0; i < times; i++) network.logits(images).dispose();
        synchronize('cuda');
        return (performance.now() - begin) / 1000;
      },
    },
  ]);
  for (const task of ['train', 'attack']) {
    const ours = [];
    for (const arithmetic of ['float', 'bf16', 'int8']) {
      const program = await startProgram({
        name: `hardbit, ${arithmetic} gradients`,
        command: process.execPath,
        args: [
          join(root, 'dist/bench/steps.js'),
          ...['--model', options.model, '--recipe', 'bnn', '--task', task, '--batch', String(batch)],
          ...['--bits', '2', '--gradient-arithmetic', arithmetic, '--epsilon', '0.2', '--attack-steps', '20'],
          ...['--device', 'cuda'],
        ],
      });
      ours.push(program);
    }
    await compare(task, ours);
  }
} finally {
  rmSync(folder, { recursive: true });
}

const text = `${JSON.stringify(report, null, 2)}\n`;
if (options.out === undefined) process.stdout.write(text);
else writeFileSync(options.out, text);
