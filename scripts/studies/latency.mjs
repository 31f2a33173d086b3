#!/usr/bin/env node
// Latency of a deployed network in one Node process: closed loops of callers on PackedNetwork.predict(), one image a call,
// and how long the event loop is kept from its work meanwhile; beside them predictSync() and an idle loop, in turns.
//
//   node scripts/studies/latency.mjs [--model vgg-small] [--recipe bnn] [--bits 2] [--seconds 10] [--out FILE]
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
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

const seconds = Number(options.seconds);
if (!(seconds > 0 && seconds <= 3600)) {
  process.stderr.write(
    `hardbit: --seconds is '${options.seconds}'; expected a number above 0, up to 3600.\n`,
  );
  process.exit(1);
}

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
async function load(callers, seconds) {
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
  return latencies;
}

/** The same arithmetic on the calling thread alone, without pool and event loop: how steady the machine itself is. */
async function loadSync(seconds) {
  const latencies = [];
  const until = performance.now() + 1000 * seconds;
  const image = Uint8Array.from({ length: pixels }, (_, p) => (p * 37) % 256);
  while (performance.now() < until) {
    const begin = performance.now();
    network.predictSync(image);
    latencies.push(performance.now() - begin);
  }
  return latencies;
}

const cores = availableParallelism();
/** The first two are what the others are to be compared with. */
const scenarios = [
  { name: 'predictSync, no pool', run: loadSync, watched: false },
  { name: 'no calls', run: async (seconds) => void (await setTimeout(1000 * seconds)), watched: true },
  ...[...new Set([1, cores, 8])].map((callers) => ({
    name: `predict, ${callers} ${callers === 1 ? 'caller' : 'callers'}`,
    run: (seconds) => load(callers, seconds),
    watched: true,
  })),
].map((scenario) => ({
  ...scenario,
  latencies: [],
  delays: [],
}));

// In turns, so that a machine that slows down for a while slows all of them down.
const ROUNDS = 5;
for (const { run } of scenarios) await run(0.5);
for (let round = 0; round < ROUNDS; round++) {
  for (const { run, watched, latencies, delays } of scenarios) {
    // One a round: a monitor that goes on counts the time between as a delay.
    const monitor = monitorEventLoopDelay({ resolution: 1 });
    monitor.enable();
    for (const latency of (await run(seconds / ROUNDS)) ?? []) latencies.push(latency);
    monitor.disable();
    if (watched) delays.push({ mean: monitor.mean, p99: monitor.percentile(99), max: monitor.max });
  }
}

function summarize(latencies) {
  if (latencies.length === 0) return null;
  const sorted = latencies.sort((a, b) => a - b);
  const quantile = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  return { median: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99), max: quantile(1) };
}

/** Milliseconds beyond the timer's own one: the mean over the rounds, the worst round's p99, and the longest of all. */
function summarizeDelays(delays) {
  if (delays.length === 0) return null;
  const of = (key) => delays.map((delay) => delay[key] / 1e6 - 1);
  return {
    mean: of('mean').reduce((sum, value) => sum + value) / delays.length,
    p99: Math.max(...of('p99')),
    max: Math.max(...of('max')),
  };
}

const rows = scenarios.map(({ name, latencies, delays }) => {
  const milliseconds = summarize(latencies);
  return {
    name,
    calls: latencies.length,
    milliseconds,
    p99ByMedian: milliseconds === null ? null : milliseconds.p99 / milliseconds.median,
    eventLoopDelayMilliseconds: summarizeDelays(delays),
  };
});
const { cpu, isa } = runtimeInfo();
const report = {
  network: `${options.model}, ${options.recipe}, ${options.bits}-bit pixels`,
  machine: { cpu, isa, processors: cores, loadAverage: loadavg()[0], date: new Date().toISOString() },
  rows,
};
const text = `${JSON.stringify(report, null, 2)}\n`;
if (options.out === undefined) process.stdout.write(text);
else writeFileSync(options.out, text);
