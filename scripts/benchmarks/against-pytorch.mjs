#!/usr/bin/env node
// Training steps (Adam) or PGD attacks of one network: hardbit against PyTorch on the CPU, in one interleaved run.
//
//   npm run build && node scripts/benchmarks/against-pytorch.mjs [--json FILE]
//     --model mnist-fcn        or lenet5, mnist-cnn
//     --task train             or pgd: gradients and steps of PGD-20 on a batch, with a random start
//     --recipe none,bnn        none, bnn, xnor: quantized layers, which PyTorch simulates in float
//     --threads 1,N            thread counts of each side (default: 1 and the processors this process may use)
//     --batch 128  --bits 8    batch size, input bits
//     --rounds 12  --steps 30  timed blocks of each side, training steps (pgd: attacked batches, 3) a block
//     --layouts first,last     PyTorch's memory layouts to measure (default: both where the network has convolutions)
//     --python /usr/bin/python3
//     --blas DIR[,DIR]         folders of a libblas.so.3 for PyTorch (LD_LIBRARY_PATH), each measured; 'system': none.
//                              Default: Debian's OpenBLAS folders, where installed, else the system's
//     --allow-reference-blas   measure against Netlib's reference BLAS, though no one should quote that
//
// Every configuration (side, threads, BLAS, layout) is a process of its own that makes its data and model, warms up, and then
// waits; each round times one block of steps of each, one after the other, the order reversed every second round, with
// a pause between blocks for worker threads to stop spinning. The ratio is of medians: the fastest PyTorch
// configuration against hardbit at its default thread count.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const processors = availableParallelism();
const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'mnist-fcn' },
    task: { type: 'string', default: 'train' },
    recipe: { type: 'string', default: 'none,bnn' },
    layouts: { type: 'string' },
    threads: { type: 'string', default: processors === 1 ? '1' : `1,${processors}` },
    batch: { type: 'string', default: '128' },
    bits: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '12' },
    steps: { type: 'string' },
    python: { type: 'string', default: '/usr/bin/python3' },
    blas: { type: 'string' },
    'allow-reference-blas': { type: 'boolean', default: false },
    json: { type: 'string' },
    serve: { type: 'boolean', default: false },
  },
});

function fail(message) {
  process.stderr.write(`against-pytorch: ${message}\n`);
  process.exit(2);
}

function count(name, least = 1) {
  const value = Number(options[name]);
  if (!Number.isInteger(value) || value < least)
    fail(`--${name} is ${options[name]}; expected a number of ${least} or more.`);
  return value;
}

const { model: network, task } = options;
if (!['mnist-fcn', 'lenet5', 'mnist-cnn'].includes(network))
  fail(`--model is ${network}; expected mnist-fcn, lenet5 or mnist-cnn.`);
if (task !== 'train' && task !== 'pgd') fail(`--task is ${task}; expected train or pgd.`);
options.steps ??= task === 'train' ? '30' : '3';
const layouts = (options.layouts ?? (network === 'mnist-fcn' ? 'first' : 'first,last')).split(',');
const batch = count('batch', 2);
const bits = count('bits');
const WARMUP = task === 'train' ? 20 : 2;
const POOL = 16;
/** As peers/pytorch_steps.py. */
const ATTACK = { epsilon: 0.2, steps: 20 };

/** hardbit's side of the protocol that peers/pytorch_steps.py describes. */
async function serve() {
  const library = (file) => import(new URL(`../../dist/${file}`, import.meta.url).href);
  const { native } = await library('native.js');
  const { createModel } = await library('models/registry.js');
  const { adam } = await library('optim/optimizer.js');
  const { Tensor } = await library('tensor/tensor.js');
  const { createTrainer } = await library('training/step.js');
  const { resolveAttack, runAttack } = await library('attacks/registry.js');

  const model = createModel(network, { inputBits: bits, recipe: options.recipe, seed: 0 });
  const trainer = createTrainer(model, { optimizer: adam({ learningRate: 1e-3 }) });
  const images = Array.from({ length: POOL }, () =>
    Tensor.from('f32', [batch, 28, 28, 1], Float32Array.from({ length: batch * 784 }, Math.random)),
  );
  const labels = Array.from({ length: POOL }, () =>
    Tensor.from(
      'i32',
      [batch],
      Int32Array.from({ length: batch }, () => Math.floor(Math.random() * 10)),
    ),
  );
  const attack = resolveAttack('pgd', ATTACK);
  const attackable = model.attackable();
  const one =
    task === 'train'
      ? (x, y) => trainer.step(x, y).lossSum / batch
      : (x, y) => {
          runAttack(attack, attackable, x, y, { seed: done }).adversarial.dispose();
          return null;
        };
  let done = 0;
  const run = (steps) => {
    let loss = null;
    const cpu = process.cpuUsage();
    const begin = process.hrtime.bigint();
    for (let i = 0; i < steps; i++, done++) {
      loss = one(images[done % POOL], labels[done % POOL]);
    }
    const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
    const { user, system } = process.cpuUsage(cpu);
    return { seconds, cpuSeconds: (user + system) / 1e6, loss };
  };
  const reply = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

  run(WARMUP);
  const { version, compiler, oneDnn, isa, threads } = native().info();
  reply({ hardbit: version, compiler, oneDnn, isa, threads, node: process.version });
  for await (const line of createInterface({ input: process.stdin })) reply(run(Number(line.split(' ')[1])));
  trainer.dispose();
  model.dispose();
}

/** A configuration's process: `hello` once it is warm, and `go(steps)`. */
async function start(configuration) {
  const { command, args, env } = configuration;
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const read = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${configuration.name} ended early`);
    return JSON.parse(value);
  };
  const stopped = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  stopped.catch(() => undefined);
  const hello = await Promise.race([
    read(),
    stopped.then(() => Promise.reject(new Error(`${configuration.name} did not start`))),
  ]);
  return {
    ...configuration,
    hello,
    blocks: [],
    async go(steps) {
      child.stdin.write(`go ${steps}\n`);
      return read();
    },
    async stop() {
      child.stdin.end();
      await stopped;
    },
  };
}

function blasFolders() {
  if (options.blas !== undefined) return options.blas.split(',');
  const known = ['openblas-pthread', 'openblas-openmp'].flatMap((name) =>
    ['x86_64', 'aarch64'].map((arch) => `/usr/lib/${arch}-linux-gnu/${name}`),
  );
  const found = known.filter((folder) => existsSync(join(folder, 'libblas.so.3')));
  return found.length > 0 ? found : ['system'];
}

function configurations(recipe, threadCounts) {
  const shared = [
    ...['--model', network, '--task', task, '--recipe', recipe],
    ...['--batch', String(batch), '--bits', String(bits)],
  ];
  const script = new URL('peers/pytorch_steps.py', import.meta.url).pathname;
  const list = threadCounts.map((threads) => ({
    name: `hardbit, ${threads} threads`,
    side: 'hardbit',
    threads,
    command: process.execPath,
    args: [new URL(import.meta.url).pathname, '--serve', ...shared],
    env: { HARDBIT_NUM_THREADS: String(threads) },
  }));
  for (const folder of blasFolders()) {
    for (const layout of layouts) {
      for (const threads of threadCounts) {
        const blas = folder === 'system' ? "system's BLAS" : folder.split('/').at(-1);
        list.push({
          name: `PyTorch, ${threads} threads, ${blas}${layouts.length > 1 ? `, channels ${layout}` : ''}`,
          side: 'pytorch',
          threads,
          command: options.python,
          args: [
            script,
            ...shared,
            ...['--threads', String(threads), '--layout', layout, '--attack-steps', String(ATTACK.steps)],
            ...['--warmup', String(WARMUP), '--pool', String(POOL)],
          ],
          env: folder === 'system' ? {} : { LD_LIBRARY_PATH: folder },
        });
      }
    }
  }
  return list;
}

/** Linear interpolation between order statistics. */
function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

const spread = (values) => ({
  median: quantile(values, 0.5),
  minimum: Math.min(...values),
  lowerQuartile: quantile(values, 0.25),
  upperQuartile: quantile(values, 0.75),
  maximum: Math.max(...values),
});

async function measure(recipe, threadCounts, rounds, steps) {
  const peers = [];
  try {
    for (const configuration of configurations(recipe, threadCounts)) peers.push(await start(configuration));
    const slow = peers.find((peer) => peer.hello.referenceBlas);
    if (slow !== undefined && !options['allow-reference-blas']) {
      throw new Error(
        `${slow.name}: PyTorch uses Netlib's reference BLAS (${slow.hello.blas}), about 15 times slower than OpenBLAS, so a ` +
          "comparison would mean nothing; install Debian's libopenblas0-openmp and libopenblas0-pthread, or name the folder of " +
          'an optimized libblas.so.3 by --blas.',
      );
    }
    for (let round = 0; round < rounds; round++) {
      for (const peer of round % 2 === 0 ? peers : [...peers].reverse()) {
        await sleep(60);
        await peer.go(task === 'train' ? 3 : 1);
        peer.blocks.push(await peer.go(steps));
      }
      process.stderr.write(`\r${recipe}: round ${round + 1} of ${rounds} `);
    }
    process.stderr.write('\n');
  } finally {
    await Promise.all(peers.map((peer) => peer.stop().catch(() => undefined)));
  }

  const results = peers.map(({ name, side, threads, hello, blocks }) => {
    const milliseconds = blocks.map((block) => (1e3 * block.seconds) / steps);
    const cores = blocks.map((block) => block.cpuSeconds / block.seconds);
    return {
      name,
      side,
      threads,
      ...hello,
      millisecondsPerStep: spread(milliseconds),
      coresBusy: quantile(cores, 0.5),
      blocks: milliseconds,
    };
  });
  const fastest = (list) =>
    list.reduce((a, b) => (b.millisecondsPerStep.median < a.millisecondsPerStep.median ? b : a));
  const ours = results.filter((result) => result.side === 'hardbit');
  const hardbit = ours.find((result) => result.threads === processors) ?? fastest(ours);
  const pytorch = fastest(results.filter((result) => result.side === 'pytorch'));
  return {
    recipe,
    ratio: pytorch.millisecondsPerStep.median / hardbit.millisecondsPerStep.median,
    /** The same ratio within each round: how much it wanders. */
    ratioByRound: spread(hardbit.blocks.map((block, i) => pytorch.blocks[i] / block)),
    hardbit: hardbit.name,
    pytorch: pytorch.name,
    configurations: results,
  };
}

async function main() {
  const threadCounts = [...new Set(options.threads.split(',').map(Number))];
  if (threadCounts.some((value) => !Number.isInteger(value) || value < 1)) {
    fail(`--threads is ${options.threads}; expected numbers of 1 or more, separated by commas.`);
  }
  const rounds = count('rounds');
  const steps = count('steps');
  const load = loadavg()[0];
  if (load > 0.5) {
    process.stderr.write(
      `The machine is busy (load average ${load.toFixed(1)}): these figures will not be worth quoting.\n`,
    );
  }
  const results = [];
  for (const recipe of options.recipe.split(','))
    results.push(await measure(recipe, threadCounts, rounds, steps));

  const model = readFileSync('/proc/cpuinfo', 'utf8').match(/^model name\s*: (.*)$/m)?.[1];
  const report = {
    benchmark: 'against-pytorch',
    model: network,
    task,
    ...(task === 'pgd' ? { attack: { name: 'pgd', ...ATTACK } } : {}),
    date: new Date().toISOString(),
    cpu: model ?? cpus()[0]?.model ?? 'unknown',
    processors,
    loadAverageBefore: load,
    batch,
    inputBits: bits,
    rounds,
    stepsPerBlock: steps,
    results,
  };
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
  else process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);

  const line = (...cells) =>
    process.stderr.write(
      `${cells.map((cell, i) => (i === 0 ? cell.padEnd(44) : cell.padStart(11))).join('')}\n`,
    );
  process.stderr.write(
    `\n${report.cpu}, ${processors} processors; ${network}, ${task}, batch ${batch}, ${bits}-bit input; ms a ${task === 'train' ? 'step' : 'batch'}\n`,
  );
  for (const result of results) {
    line(`\n${result.recipe}`, 'median', 'quartiles', '', 'cores busy');
    for (const { name, millisecondsPerStep: ms, coresBusy } of result.configurations) {
      line(
        name,
        ms.median.toFixed(2),
        ms.lowerQuartile.toFixed(2),
        ms.upperQuartile.toFixed(2),
        coresBusy.toFixed(2),
      );
    }
    const { minimum, maximum } = result.ratioByRound;
    process.stderr.write(
      `${result.pytorch} / ${result.hardbit}: ${result.ratio.toFixed(2)} × (by round ${minimum.toFixed(2)} … ${maximum.toFixed(2)})\n`,
    );
  }
}

if (options.serve) await serve();
else await main().catch((error) => fail(error.message));
