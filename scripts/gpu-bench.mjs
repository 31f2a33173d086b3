#!/usr/bin/env node
// What hardbit does on a GPU, beside PyTorch on the same one: binary layers, deployed inference, training steps and PGD-20.
// Sides take turns; times are medians. PyTorch runs in bf16, channels last, with and without torch.compile. FILE has what is
// measured so far at any time.
//
//   node scripts/gpu-bench.mjs [--out FILE] [--python python3] [--rounds 10] [--batch 1024] [--model vgg-small]
import { randomBytes } from 'node:crypto';
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
const text = () => `${JSON.stringify(report, null, 2)}\n`;
const save = () => options.out !== undefined && writeFileSync(options.out, text());

/** The binary 3×3 layers of ResNet-18 for 224² images. */
const resnet18 = [
  [56, 64, 64],
  [28, 128, 128],
  [14, 256, 256],
  [7, 512, 512],
].map(([size, inputs, outputs]) => ({
  ...{ height: size, width: size, inputs, outputs },
  ...{ kernel: 3, stride: 1, padding: 1, bits: 0, pool: false },
}));

/** Every layer on both operands, whichever of them the table chooses. */
async function measureLayers() {
  const brief = { rounds: 5, sampleSeconds: 0.02 };
  for (const layer of [...measuredLayers, ...resnet18]) {
    for (const images of [1, 32, batch]) {
      const chosen = native().benchCudaLayer(layerSizes(layer, images), layer.bits, layer.pool).kernel;
      for (const operand of ['b1', 's8']) {
        process.env['HARDBIT_CUDA_OPERAND'] = operand;
        const job = native().benchCudaLayer(layerSizes(layer, images), layer.bits, layer.pool);
        delete process.env['HARDBIT_CUDA_OPERAND'];
        const [samples] = await interleave([job], brief);
        const seconds = summarize(samples);
        const operations = 2 * images * Math.max(layer.bits, 1) * validMacs(layer);
        const operationsPerSecond = operations / seconds.median;
        const { kernel } = job;
        report.layers.push({
          ...{ shape: shapeText(layer, images), bits: layer.bits, kernel, chosen: kernel === chosen },
          ...{ seconds, operationsPerSecond },
        });
        console.error(
          `${shapeText(layer, images)}, ${kernel}: ${(operationsPerSecond / 1e12).toFixed(1)} Top/s`,
        );
      }
    }
  }
}

/** PyTorch's program of a task, as an ordinary user would run it and as a patient one would. */
async function peers(task) {
  const startPeer = async (compiled) => {
    const name = `PyTorch, bf16, channels last${compiled ? ', torch.compile' : ''}`;
    try {
      return await startProgram({
        name,
        command: options.python,
        args: [
          join(root, 'scripts/peers/pytorch_steps.py'),
          ...['--model', options.model, '--recipe', 'bnn', '--task', task, '--batch', String(batch)],
          ...['--bits', '2', '--threads', '8', '--layout', 'last', '--device', 'cuda', '--bf16'],
          ...(compiled ? ['--compile'] : []),
        ],
      });
    } catch (error) {
      report.work.push({ task, name, absent: error.message });
      return undefined;
    }
  };
  return (await Promise.all([startPeer(false), startPeer(true)])).filter((program) => program !== undefined);
}

async function compare(task, all) {
  const samples = await interleave(all, timing);
  all.forEach((program, i) => {
    const seconds = summarize(samples[i]);
    report.work.push({ task, name: program.name, batch, seconds });
    console.error(`${task}, ${program.name}: ${(1000 * seconds.median).toFixed(2)} ms`);
  });
  save();
  await Promise.all(all.map((program) => program.stop?.()));
}

/** hardbit's program of a task, one for each arithmetic of gradients. */
function ours(task) {
  const startOurs = (arithmetic) =>
    startProgram({
      name: `hardbit, ${arithmetic} gradients`,
      command: process.execPath,
      args: [
        join(root, 'dist/bench/steps.js'),
        ...['--model', options.model, '--recipe', 'bnn', '--task', task, '--batch', String(batch)],
        ...['--bits', '2', '--gradient-arithmetic', arithmetic, '--epsilon', '0.2', '--attack-steps', '20'],
        ...['--device', 'cuda'],
      ],
    });
  return Promise.all(['float', 'bf16', 'int8'].map(startOurs));
}

const folder = mkdtempSync(join(tmpdir(), 'hardbit-gpu-bench-'));
try {
  const file = join(folder, 'network.hbit');
  const model = models.createModel(options.model, { recipe: 'bnn', inputBits: 2, seed: 0 });
  compile(model, file);
  model.dispose();
  const network = GpuNetwork.load(readFileSync(file));
  const pixels = randomBytes(network.inputShape.reduce((a, b) => a * b, batch));
  const images = Tensor.from('u8', [batch, ...network.inputShape], pixels).to('cuda');
  const deployed = {
    name: 'hardbit, deployed',
    run(times) {
      const begin = performance.now();
      for (let i = 0; i < times; i++) network.logits(images).dispose();
      synchronize('cuda');
      return (performance.now() - begin) / 1000;
    },
  };
  // All are started and warm before anything is timed: compilers keep the processors busy for a minute.
  const [predict, train, trainPeers, attack, attackPeers] = await Promise.all([
    peers('predict'),
    ours('train'),
    peers('train'),
    ours('attack'),
    peers('attack'),
  ]);
  await measureLayers();
  save();
  await compare('predict', [deployed, ...predict]);
  await compare('train', [...train, ...trainPeers]);
  await compare('attack', [...attack, ...attackPeers]);
} catch (error) {
  console.error(`gpu-bench: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
// Programs that are still starting end with their input, when this one does.
if (process.exitCode === 1) process.exit();
if (options.out === undefined) process.stdout.write(text());
