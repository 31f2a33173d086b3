// What gradients summed in bf16 and int8 cost in accuracy beside those in float, on MNIST with 2-bit inputs:
//
//   node scripts/studies/gradient-arithmetic.mjs --out DIR [--seeds 1,2,3] [--images 10000] [--threads 1] [--only trainings|attacks] [--document FILE]
//
// Trainings: clean accuracy of lenet5, bnn and xnor, by the fit of the preset `paper`. Attacks: adversarial accuracy of three bnn
// networks trained in float, each arithmetic from the same starts, so that images are paired. `float, other starts` is float
// again from other random starts: how far two runs of one arithmetic are apart.
//
// Each finished measurement is a file in DIR, so that a repeated command goes on where it was stopped. What is there so far stands
// in docs/results/gradient-arithmetic.json, or FILE; tables in Markdown go to standard output. HARDBIT_BF16=emulate measures bf16 too on a
// CPU with AVX-512 that does not multiply it.
import { existsSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine, onThreads } from '../../dist/bench/machine.js';
import { makeFolder, readFile, writeFileAtomic } from '../../dist/files.js';
import * as hardbit from '../../dist/index.js';
import { planStudy } from '../../dist/study/plan.js';
import { findPreset } from '../../dist/study/presets.js';
import { gradientArithmetics, requireGradientArithmetic } from '../../dist/training/options.js';

const DOCUMENT = resolve(import.meta.dirname, '..', '..', 'docs', 'results', 'gradient-arithmetic.json');
const INPUT_BITS = 2;
const CHECKPOINT_STEPS = 200;
/** Added to a network's seed, which its random starts are drawn by. */
const OTHER_STARTS = 1000;
/** Points that reduced gradients may cost, of clean accuracy and of attack success. */
const limits = { training: 0.3, attack: 0.2 };

const trainedModels = [
  { model: 'lenet5', recipe: 'bnn' },
  { model: 'lenet5', recipe: 'xnor' },
];
const attackedModels = ['mnist-fcn', 'lenet5', 'mnist-cnn'];
/**
 * On which networks each is made, by the random starts. At ε = 0.1 few pixels of 2 bits can change; in L2 the accuracy of the
 * same network stands nearer its middle.
 */
const attackOptions = [
  { steps: 20, norm: 'linf', epsilon: 0.1, starts: { same: attackedModels, other: ['mnist-fcn'] } },
  { steps: 40, norm: 'linf', epsilon: 0.1, starts: { same: attackedModels } },
  { steps: 20, norm: 'l2', epsilon: 1.5, starts: { same: ['mnist-fcn'] } },
];

function readOptions() {
  const texts = { out: '', seeds: '1,2,3', images: '10000', threads: '1', only: '', document: DOCUMENT };
  const options = Object.fromEntries(Object.keys(texts).map((name) => [name, { type: 'string' }]));
  const given = { ...texts, ...parseArgs({ options }).values };
  const numbers = (name, low) => {
    const values = given[name].split(',').map(Number);
    if (values.every((value) => Number.isSafeInteger(value) && value >= low)) return values;
    throw new Error(`--${name} is '${given[name]}'; expected whole numbers of ${low} or more.`);
  };
  if (given.out === '')
    throw new Error('There is no folder for the measurements; give --out, e.g. --out study.');
  if (!['', 'trainings', 'attacks'].includes(given.only)) {
    throw new Error(`--only is '${given.only}'; expected trainings or attacks.`);
  }
  const [images] = numbers('images', 2);
  const [threads] = numbers('threads', 1);
  return {
    out: given.out,
    seeds: numbers('seeds', 0),
    images,
    threads,
    only: given.only,
    document: resolve(given.document),
  };
}

/** The arithmetics that this CPU has, and why it lacks the others. */
function findArithmetics() {
  const arithmetics = [];
  const unsupported = [];
  for (const name of gradientArithmetics) {
    try {
      arithmetics.push(requireGradientArithmetic(name));
    } catch (error) {
      if (!hardbit.isHardbitError(error) || error.code !== 'ERR_HARDBIT_UNSUPPORTED') throw error;
      unsupported.push({ arithmetic: name, reason: error.message });
    }
  }
  return { arithmetics, unsupported };
}

const planned = planStudy(findPreset('mnist', 'paper'), 1, () => [{}]).networks;

/** How the preset trains a network. */
function fitOf({ model, recipe }) {
  const { fit } = planned.find(
    (each) =>
      each.model === model &&
      each.recipe === recipe &&
      each.inputBits === INPUT_BITS &&
      each.training.kind === 'natural',
  );
  return fit;
}

/** Everything to measure, in order: what answers the question first, and of that the cheap networks. */
function planWork({ seeds, only }, arithmetics) {
  const trainings = trainedModels.flatMap((network) =>
    seeds.flatMap((seed) => arithmetics.map((arithmetic) => ({ ...network, seed, arithmetic }))),
  );
  const cells = attackOptions.flatMap(({ starts, ...attack }) =>
    Object.entries(starts).flatMap(([start, on]) =>
      on.flatMap((model) =>
        seeds.flatMap((seed) =>
          (start === 'same' ? arithmetics : ['float']).map((arithmetic) => ({
            model,
            recipe: 'bnn',
            seed,
            attack,
            arithmetic,
            starts: start,
          })),
        ),
      ),
    ),
  );
  const extra = ({ attack, starts }) => 2 * Number(attack.norm === 'l2') + Number(starts === 'other');
  cells.sort(
    (a, b) => extra(a) - extra(b) || attackedModels.indexOf(a.model) - attackedModels.indexOf(b.model),
  );
  return { trainings: only === 'attacks' ? [] : trainings, cells: only === 'trainings' ? [] : cells };
}

/** The measurements in a folder: of one version and number of threads, others are made anew. */
class Measurements {
  constructor({ out, images, threads }, dataset) {
    Object.assign(this, { out, images, threads, dataset });
    this.test = hardbit.data.takeFirst(dataset.test, images);
  }

  path(name) {
    return join(this.out, name);
  }

  find(name) {
    if (!existsSync(this.path(`${name}.json`))) return undefined;
    const { version, threads, ...figures } = JSON.parse(readFile(this.path(`${name}.json`)).toString());
    return version === hardbit.version && threads === this.threads ? figures : undefined;
  }

  keep(name, figures) {
    const { threads } = this;
    writeFileAtomic(
      this.path(`${name}.json`),
      JSON.stringify({ version: hardbit.version, threads, ...figures }),
    );
    process.stderr.write(`${new Date().toISOString()} ${name}\n`);
    return figures;
  }

  trainingName = ({ model, recipe, arithmetic, seed }) => `train-${model}-${recipe}-${arithmetic}-${seed}`;
  attackName = ({ model, seed, attack: { steps, norm, epsilon }, arithmetic, starts }) =>
    `attack-${model}-${seed}-pgd${steps}-${norm}-${epsilon}-${arithmetic}-${starts}-${this.images}`;

  /** Trains a network unless it is there; its accuracy is on all test images. */
  async train(network) {
    const name = this.trainingName(network);
    const kept = this.find(name);
    if (kept !== undefined && existsSync(this.path(`${name}.safetensors`))) return kept;
    const { model: architecture, recipe, arithmetic, seed } = network;
    const fit = fitOf(network);
    const checkpoint = { path: this.path(`${name}.checkpoint`), everySteps: CHECKPOINT_STEPS };
    const model = hardbit.models.createModel(architecture, { inputBits: INPUT_BITS, recipe, seed });
    try {
      const options = { ...fit, seed, gradientArithmetic: arithmetic, checkpoint, resume: true };
      const { history } = await hardbit.fit(model, this.dataset.train, options);
      const { accuracy, n } = await hardbit.evaluateClean(model, this.dataset.test);
      hardbit.models.saveModel(model, this.path(`${name}.safetensors`), {
        dataset: 'mnist',
        ...fit,
        ...network,
      });
      return this.keep(name, { accuracy, n, trainingLoss: history.at(-1).loss });
    } finally {
      model.dispose();
      rmSync(checkpoint.path, { force: true });
    }
  }

  /** Attacks a network that was trained in float, unless that is done. */
  async attack(cell) {
    const name = this.attackName(cell);
    const kept = this.find(name);
    if (kept !== undefined) return kept;
    const network = { ...cell, arithmetic: 'float' };
    await this.train(network);
    const model = hardbit.models.loadModel(this.path(`${this.trainingName(network)}.safetensors`));
    try {
      const attack = hardbit.attacks.resolveAttack('pgd', { ...cell.attack, earlyStop: true });
      const { cleanAccuracy, adversarialAccuracy, zeroGradientFraction, n, adversarialCorrect } =
        await hardbit.evaluateAttack(model, this.test, attack, {
          seed: cell.starts === 'same' ? cell.seed : cell.seed + OTHER_STARTS,
          gradient: { arithmetic: cell.arithmetic },
        });
      const figures = { cleanAccuracy, adversarialAccuracy, zeroGradientFraction, n };
      return this.keep(name, { ...figures, correct: adversarialCorrect.join('') });
    } finally {
      model.dispose();
    }
  }
}

const toPoints = (fraction) => 100 * fraction;

/** Records in groups of equal key, in order. */
function groupsOf(records, keyOf) {
  const groups = new Map();
  for (const record of records) {
    const key = JSON.stringify(keyOf(record));
    groups.set(key, [...(groups.get(key) ?? []), record]);
  }
  return [...groups.values()];
}

/** Mean, deviation and the single values of differences in points, beside what they may be. */
function judge(differences, limit) {
  const { mean, deviation } = hardbit.meanAndDeviation(differences);
  return { mean, deviation, bySeed: differences, limit, within: mean <= limit };
}

/** Clean accuracy that each arithmetic loses against float, seed by seed. */
function compareTrainings(networks) {
  const floats = networks.filter(({ arithmetic }) => arithmetic === 'float');
  return groupsOf(networks, ({ model, recipe, arithmetic }) => [model, recipe, arithmetic]).map((group) => {
    const { model, recipe, arithmetic } = group[0];
    const losses = group.flatMap((each) => {
      const float = floats.find(
        (other) => other.model === model && other.recipe === recipe && other.seed === each.seed,
      );
      return arithmetic === 'float' || float === undefined ? [] : [toPoints(float.accuracy - each.accuracy)];
    });
    return {
      model,
      recipe,
      arithmetic,
      seeds: group.map(({ seed }) => seed),
      accuracy: hardbit.meanAndDeviation(group.map(({ accuracy }) => accuracy)),
      lostPoints: losses.length === 0 ? null : judge(losses, limits.training),
    };
  });
}

const bitsOf = (correct) => Uint8Array.from(correct, Number);

/** Success that an attack loses against float from the same starts, on one network. */
function pair(cell, float) {
  const [own, reference] = [bitsOf(cell.correct), bitsOf(float.correct)];
  const { difference, low, high } = hardbit.pairedDifference(own, reference);
  const count = (a, b) => a.reduce((sum, value, i) => sum + Number(value === 0 && b[i] === 1), 0);
  return {
    seed: cell.seed,
    lostPoints: toPoints(difference),
    low: toPoints(low),
    high: toPoints(high),
    fooledByFloatAlone: count(reference, own),
    fooledByThisAlone: count(own, reference),
  };
}

function compareAttacks(cells) {
  return groupsOf(cells, ({ model, attack, arithmetic, starts }) => [model, attack, arithmetic, starts]).map(
    (group) => {
      const { model, attack, arithmetic, starts, n } = group[0];
      const isFloat = arithmetic === 'float' && starts === 'same';
      const pairs = group.flatMap((cell) => {
        const float = cells.find(
          (other) =>
            other.arithmetic === 'float' &&
            other.starts === 'same' &&
            other.model === model &&
            other.seed === cell.seed &&
            other.attack === attack,
        );
        return isFloat || float === undefined ? [] : [pair(cell, float)];
      });
      const losses = pairs.map(({ lostPoints }) => lostPoints);
      return {
        model,
        attack,
        arithmetic,
        starts,
        n,
        seeds: group.map(({ seed }) => seed),
        cleanAccuracy: hardbit.meanAndDeviation(group.map(({ cleanAccuracy }) => cleanAccuracy)),
        adversarialAccuracy: hardbit.meanAndDeviation(
          group.map(({ adversarialAccuracy }) => adversarialAccuracy),
        ),
        lostPoints: losses.length === 0 ? null : judge(losses, limits.attack),
        pairs,
      };
    },
  );
}

/** What a folder holds of the planned work. */
function assemble(measurements, { seeds, images, threads, only }, { arithmetics, unsupported }) {
  const { trainings, cells } = planWork({ seeds, only }, arithmetics);
  const found = (each, name) => {
    const figures = measurements.find(name);
    return figures === undefined ? [] : [{ ...each, ...figures }];
  };
  const networks = trainings.flatMap((each) => found(each, measurements.trainingName(each)));
  const attacked = cells.flatMap((each) => found(each, measurements.attackName(each)));
  const fits = [...trainedModels, ...attackedModels.map((model) => ({ model, recipe: 'bnn' }))];
  return {
    study: 'gradient-arithmetic',
    machine: describeMachine(threads),
    bf16: process.env['HARDBIT_BF16'] === 'emulate' ? 'emulated' : "the processor's",
    command: `node scripts/studies/gradient-arithmetic.mjs --out DIR --seeds ${seeds} --images ${images} --threads ${threads}${only === '' ? '' : ` --only ${only}`}`,
    complete: networks.length === trainings.length && attacked.length === cells.length,
    dataset: 'mnist',
    inputBits: INPUT_BITS,
    unsupported,
    fits: groupsOf(fits, (each) => each).map(([each]) => ({ ...each, ...fitOf(each) })),
    trainings: { comparisons: compareTrainings(networks), networks },
    attacks: {
      comparisons: compareAttacks(attacked),
      networks: attacked.map(({ correct: _, ...figures }) => figures),
    },
  };
}

const fixed = (value) => value.toFixed(2).replace('-', '−');
const withDeviation = ({ mean, deviation }, scale = 1) =>
  deviation === null ? fixed(scale * mean) : `${fixed(scale * mean)} ± ${fixed(scale * deviation)}`;

function lossCells(lostPoints) {
  return lostPoints === null
    ? ['', '']
    : [lostPoints.bySeed.map(fixed).join(', '), withDeviation(lostPoints)];
}

function table(head, rows) {
  const lines = [head, head.map(() => '---'), ...rows];
  return `${lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}\n`;
}

function printTables({ trainings, attacks, unsupported }) {
  const losses = ['lost points by seed', 'mean'];
  const training = trainings.comparisons.map(({ model, recipe, arithmetic, seeds, accuracy, lostPoints }) => [
    ...[`${model} ${recipe}`, arithmetic, seeds.join(', '), `${withDeviation(accuracy, 100)} %`],
    ...lossCells(lostPoints),
  ]);
  const attack = attacks.comparisons.map((row) => [
    ...[
      row.model,
      `PGD-${row.attack.steps}, ${row.attack.norm === 'l2' ? 'L2 ' : ''}ε = ${row.attack.epsilon}`,
    ],
    row.starts === 'same' ? row.arithmetic : `${row.arithmetic}, other starts`,
    `${withDeviation(row.adversarialAccuracy, 100)} %`,
    ...lossCells(row.lostPoints),
    row.pairs.map((each) => `${each.fooledByFloatAlone} / ${each.fooledByThisAlone}`).join(', '),
  ]);
  const parts = [
    table(['network', 'gradients', 'seeds', 'clean accuracy', ...losses], training),
    table(
      [
        'network',
        'attack',
        'gradients',
        'adversarial accuracy',
        ...losses,
        'fooled by float / by this alone',
      ],
      attack,
    ),
    ...unsupported.map(({ arithmetic, reason }) => `${arithmetic} is not measured: ${reason}\n`),
  ];
  process.stdout.write(parts.join('\n'));
}

async function run(options) {
  const dataset = await hardbit.data.loadDataset('mnist');
  makeFolder(options.out);
  const measurements = new Measurements(options, dataset);
  const found = findArithmetics();
  const { trainings, cells } = planWork(options, found.arithmetics);
  const write = () => {
    const assembled = assemble(measurements, options, found);
    writeFileAtomic(options.document, `${JSON.stringify(assembled, null, 2)}\n`);
    return assembled;
  };
  for (const training of trainings) {
    await measurements.train(training);
    write();
  }
  for (const cell of cells) {
    await measurements.attack(cell);
    write();
  }
  printTables(write());
}

try {
  const options = readOptions();
  await onThreads(options.threads, () => run(options));
} catch (error) {
  process.stderr.write(`hardbit: ${error.message}\n`);
  process.exitCode = 1;
}
