#!/usr/bin/env node
// Latency of a deployed network in one Node process: closed loops of callers on PackedNetwork.predict(), one image a call,
// and how long the event loop is kept from its work meanwhile.
//
//   node scripts/studies/latency.mjs [--model vgg-small] [--recipe bnn] [--bits 2] [--seconds 10] [--out FILE]
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { compile } from '../../dist/compile/compile.js';
import { createModel } from '../../dist/models/registry.js';
import { PackedNetwork } from '../../dist/packed/packed.js';
import { runtimeInfo } from '../../dist/tensor/runtime.js';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'vgg-small' },
    recipe: { type: 'string', default: 'bnn' },
    bits: { type: 'string', default: '2' },
    seconds: { type: 'string', default: '10' },
    out: { type: 'string' },
  },
});

const folder = mkdtempSync(join(tmpdir(), 'hardbit-latency-'));
const file = join(folder, 'network.hbit');
const model = createModel(options.model, {
  recipe: options.recipe,
  inputBits: Number(options.bits),
  seed: 0,
});
compile(model, file);
model.dispose();
const network = await PackedNetwork.load(file);
rmSync(folder, { recursive: true });
const pixels = network.inputShape.reduce((product, size) => product * size, 1);

/** Milliseconds of every call of `callers` loops that run for some seconds. */
async function run(callers, seconds) {
  const latencies = [];
  const until = performance.now() + 1000 * seconds;
  await Promise.all(
    Array.from({ length: callers }, async (_, i) => {
      const image = Uint8Array.from({ length: pixels }, (_, p) => (p * 37 + i * 101) % 256);
      while (performance.now() < until) {
        const begin = performance.now();
        await network.predict(image);
        latencies.push(performance.now() - begin);
      }
    }),
  );
  return latencies.sort((a, b) => a - b);
}

const cores = availableParallelism();
const rows = [];
for (const callers of [1, cores, 8]) {
  await run(callers, 1); // warm
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const latencies = await run(callers, Number(options.seconds));
  delay.disable();
  const quantile = (q) => latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))];
  rows.push({
    callers,
    calls: latencies.length,
    milliseconds: { median: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99), max: quantile(1) },
    p99ByMedian: quantile(0.99) / quantile(0.5),
    // The histogram counts a millisecond of its own timer.
    eventLoopDelayMilliseconds: {
      mean: delay.mean / 1e6,
      p99: delay.percentile(99) / 1e6,
      max: delay.max / 1e6,
    },
  });
}
const { cpu, isa } = runtimeInfo();
const report = {
  network: `${options.model}, ${options.recipe}, ${options.bits}-bit pixels`,
  machine: { cpu, isa, processors: cores, date: new Date().toISOString() },
  rows,
};
const text = `${JSON.stringify(report, null, 2)}\n`;
if (options.out === undefined) process.stdout.write(text);
else writeFileSync(options.out, text);
