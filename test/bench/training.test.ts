import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { startProgram } from '../../lib/bench/programs.js';
import { pytorchConfigurations } from '../../lib/bench/pytorch.js';
import { benchTraining } from '../../lib/bench/training.js';
import { failure, rejection } from '../support/failure.js';

/** A program of the protocol, in a line of JavaScript. */
const program = (body: string) => startProgram({ name: 'it', command: process.execPath, args: ['-e', body] });

const obedient = `
  console.log(JSON.stringify({ torch: '1' }));
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    console.log(JSON.stringify({ seconds: 2 * Number(line.slice(3)), peakMegabytes: 5 }));
  });`;

describe('programs that take turns', () => {
  it('say who they are, work on request, and end with their input', async () => {
    const it = await program(obedient);
    expect(it.hello).to.deep.equal({ torch: '1' });
    expect(await it.run(3)).to.equal(6);
    expect(it.peakMegabytes()).to.equal(5);
    await it.stop();
  });

  const failing: readonly (readonly [string, string, string])[] = [
    ['does not start', 'process.stderr.write("no such thing\\n"); process.exit(1)', 'no such thing'],
    ['says nothing', '', 'it ended early.'],
    ['says something else', 'console.log("hello"); setTimeout(() => {}, 60000)', "printed 'hello'"],
  ];
  for (const [what, body, words] of failing) {
    it(`tells of one that ${what}`, async () => {
      const { code, message } = await rejection(program(body));
      expect(code).to.equal('ERR_HARDBIT_UNSUPPORTED');
      expect(message).to.contain(words);
    });
  }

  it('tells of one that is not there, and of one that dies on the way', async () => {
    const missing = startProgram({ name: 'it', command: '/nonexistent/program', args: [] });
    expect((await rejection(missing)).message).to.contain('ENOENT');
    const dying = await program(`console.log('{}'); process.stdin.once('data', () => process.exit(3));`);
    expect((await rejection(Promise.resolve(dying.run(1)))).code).to.equal('ERR_HARDBIT_UNSUPPORTED');
    await dying.stop();
  });
});

describe("PyTorch's configurations", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-'));
    writeFileSync(join(folder, 'python'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
  });
  after(() => rmSync(folder, { recursive: true }));

  const work = {
    task: 'train',
    model: 'lenet5',
    recipe: 'bnn',
    batch: 8,
    bits: 2,
    gradientArithmetic: 'float',
    attackSteps: 20,
  } as const;

  it('are every layout and thread count', () => {
    const { configurations, absent } = pytorchConfigurations(work, 2, join(folder, 'python'));
    const names = configurations.map(({ name }) => name.replace(/, openblas.*/, ''));
    expect([...new Set(names)]).to.deep.equal([
      'PyTorch, 1 thread, channels first',
      'PyTorch, 2 threads, channels first',
      'PyTorch, 1 thread, channels last',
      'PyTorch, 2 threads, channels last',
    ]);
    expect(absent).to.deep.equal([]);
  });

  it('are none, with the reason, for work that nobody wrote down for it', () => {
    for (const [change, reason] of [
      [{ model: 'other' }, 'no program for other'],
      [{ recipe: 'bwn' }, 'no program for the recipe bwn'],
    ] as const) {
      const { configurations, absent } = pytorchConfigurations({ ...work, ...change }, 1);
      expect(configurations).to.deep.equal([]);
      expect(absent[0]?.reason).to.contain(reason);
    }
  });

  it('are an error where the Python that was asked for has no torch', () => {
    const { code } = failure(() => pytorchConfigurations(work, 1, '/nonexistent/python'));
    expect(code).to.equal('ERR_HARDBIT_UNSUPPORTED');
  });
});

describe('measurements of training and attacks', function () {
  this.timeout(120_000);

  const quick = {
    threads: 1,
    rounds: 2,
    sampleSeconds: 0,
    batch: 4,
    bits: 2,
    gradientArithmetics: ['float'],
    attackSteps: 20,
  };

  for (const task of ['train', 'attack'] as const) {
    it(`time ${task} in a process of its own`, async () => {
      // No PyTorch program knows this recipe, so this needs none.
      const { benchmark, rows } = await benchTraining({
        ...quick,
        task,
        model: 'mnist-fcn',
        recipes: ['bwn'],
      });
      expect(benchmark).to.equal(task);
      expect(rows).to.have.length(1);
      expect(rows[0]).to.deep.include({ name: 'mnist-fcn, bwn, float', operations: null, peers: [] });
      expect(rows[0]?.seconds.median).to.be.above(0);
      expect(rows[0]?.peakMegabytes).to.be.within(20, 2000);
      expect(rows[0]?.absent).to.have.length(1);
    });
  }

  it('take turns with arithmetics of the gradients, a row each', async () => {
    const { rows } = await benchTraining({
      ...quick,
      task: 'train',
      model: 'mnist-fcn',
      recipes: ['xnor-chain'],
      gradientArithmetics: ['float', 'int8'],
      attackSteps: 20,
    });
    expect(rows.map(({ name }) => name)).to.deep.equal([
      'mnist-fcn, xnor-chain, float',
      'mnist-fcn, xnor-chain, int8',
    ]);
  });

  it('refuse unknown names and batches too small before anything starts', async () => {
    const base = { ...quick, task: 'train', model: 'lenet5', recipes: ['bnn'] } as const;
    for (const [change, code] of [
      [{ model: 'lenet6' }, 'ERR_HARDBIT_UNKNOWN_NAME'],
      [{ recipes: ['bnn', 'bbn'] }, 'ERR_HARDBIT_UNKNOWN_NAME'],
      [{ gradientArithmetics: ['flaot'] }, 'ERR_HARDBIT_UNKNOWN_NAME'],
      [{ bits: 9 }, 'ERR_HARDBIT_ARGUMENT'],
      [{ batch: 1 }, 'ERR_HARDBIT_ARGUMENT'],
    ] as const) {
      expect((await rejection(benchTraining({ ...base, ...change }))).code).to.equal(code);
    }
  });
});
