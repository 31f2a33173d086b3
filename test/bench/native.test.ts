import { expect } from 'chai';
import { benchGradients, gradientLayers } from '../../lib/bench/gradients.js';
import { benchKernels } from '../../lib/bench/kernels.js';
import { benchLayers, measuredLayers } from '../../lib/bench/layers.js';
import type { BenchRow } from '../../lib/bench/results.js';
import { native } from '../../lib/native.js';
import { rejection } from '../support/failure.js';
import { liveTensors } from '../support/live-tensors.js';

const quick = { threads: 1, rounds: 2, sampleSeconds: 0 };

/** What every row of a measurement must say of itself. */
function expectSound(row: BenchRow): void {
  const { seconds, operations, rate, limit, fraction } = row;
  expect(seconds.samples).to.equal(2);
  expect(seconds.median).to.be.above(0).and.within(seconds.p10, seconds.p90);
  expect(rate).to.equal((operations as number) / seconds.median);
  expect(fraction).to.equal((rate as number) / (limit as number));
}

describe('measurements of kernels', function () {
  this.timeout(60_000);

  it('cover every row of the instruction set in use, and count its operations', async () => {
    const seen: BenchRow[] = [];
    const report = await benchKernels({ ...quick, lengths: [288], onRow: (row) => seen.push(row) });
    expect(seen).to.deep.equal(report.rows);
    const info = native().info();
    const { kernels } = native().benchTables();
    const wanted = kernels.filter(({ isa, selected }) => isa === info.isa || selected);
    expect(new Set(report.rows.map(({ name }) => name))).to.deep.equal(
      new Set(wanted.map(({ name }) => name)),
    );
    for (const row of report.rows) {
      expectSound(row);
      const kernel = kernels.find(({ name }) => name === row.name)!;
      const planes = row.shape.endsWith('2 planes') ? 2 : 1;
      expect(row.operations).to.equal(2 * kernel.mr * kernel.nr * 288 * planes);
    }
    expect(report.machine).to.include({ isa: info.isa, cpu: info.cpu, threads: 1 });
    expect(report.machine.versions).to.include({ hardbit: info.version, oneDNN: info.oneDnn });
  });

  it('count the work of all threads, and set the thread count back', async () => {
    const before = native().info().threads;
    const report = await benchKernels({ ...quick, threads: 2, lengths: [288] });
    const kernel = native()
      .benchTables()
      .kernels.find(({ name }) => name === report.rows[0]!.name)!;
    expect(report.rows[0]).to.deep.include({
      threads: 2,
      operations: 2 * kernel.mr * kernel.nr * 288 * 2,
    });
    expect(native().info().threads).to.equal(before);
  });

  it('refuse a length that is no multiple of a word, and threads out of range', async () => {
    expect((await rejection(benchKernels({ ...quick, lengths: [33] }))).code).to.equal(
      'ERR_HARDBIT_ARGUMENT',
    );
    expect((await rejection(benchKernels({ ...quick, threads: 0 }))).code).to.equal('ERR_HARDBIT_ARGUMENT');
  });
});

describe('measurements of layers', function () {
  this.timeout(60_000);

  const layers = measuredLayers.filter(({ inputs }) => inputs < 128);

  it('stand beside oneDNN in fp32 and int8, and beside the limit', async () => {
    const { rows } = await benchLayers({ ...quick, layers, batches: [1, 3] });
    expect(rows.map(({ name, shape }) => `${name}: ${shape}`)).to.deep.equal([
      '2-bit pixels to bits: 3×3, 3→128, 32², batch 1',
      'bits to bits: 3×3, 64→64, 32², batch 1',
      '2-bit pixels to bits: 3×3, 3→128, 32², batch 3',
      'bits to bits: 3×3, 64→64, 32², batch 3',
    ]);
    for (const row of rows) {
      expectSound(row);
      expect(row.peers.map(({ name }) => name)).to.have.members(['oneDNN fp32', 'oneDNN int8']);
      for (const { seconds, ratio } of row.peers) expect(ratio).to.equal(seconds.median / row.seconds.median);
    }
    // Two planes of 3·128 channels and 64·64 channels, on 94 × 94 of the 96 × 96 taps of 32 pixels.
    expect(rows.map(({ operations }) => operations)).to.deep.equal([
      2 * 2 * 3 * 128 * 94 * 94,
      2 * 64 * 64 * 94 * 94,
      3 * 2 * 2 * 3 * 128 * 94 * 94,
      3 * 2 * 64 * 64 * 94 * 94,
    ]);
  });

  it('share a layer among threads, more than it has rows too', async () => {
    const tiny = { ...measuredLayers[1]!, height: 2, width: 2, pool: true };
    const { rows } = await benchLayers({ ...quick, threads: 3, layers: [tiny], batches: [1] });
    expect(rows[0]?.threads).to.equal(3);
  });

  it('refuse sizes that no layer has', async () => {
    const wrong = [{ kernel: 0 }, { padding: 3 }, { height: 1, padding: 0 }, { bits: 9 }];
    for (const change of wrong) {
      const { code } = await rejection(
        benchLayers({ ...quick, layers: [{ ...measuredLayers[1]!, ...change }], batches: [1] }),
      );
      expect(code, JSON.stringify(change)).to.equal('ERR_HARDBIT_ARGUMENT');
    }
  });
});

describe('measurements of gradients', function () {
  this.timeout(60_000);

  it('are of inputs and of weights in int8, beside float, and free what they take', async () => {
    // Frozen weights, packed, stay in a cache.
    native().emptyCache();
    const before = await liveTensors();
    const layers = gradientLayers.filter(({ inputs }) => inputs === 64);
    const { rows } = await benchGradients({ ...quick, layers, batches: [2] });
    native().emptyCache();
    expect(native().memory().liveTensors).to.be.at.most(before);
    expect(rows.map(({ name, shape }) => `${name}: ${shape}`)).to.deep.equal([
      'int8, of inputs: 3×3, 64→64, 32², batch 2',
      'float, of inputs: 3×3, 64→64, 32², batch 2',
      'int8, of weights: 3×3, 64→64, 32², batch 2',
      'float, of weights: 3×3, 64→64, 32², batch 2',
    ]);
    for (const row of rows) {
      expect(row.operations).to.equal(2 * 2 * 64 * 64 * 94 * 94);
      expectSound(row);
      const names = [...row.peers, ...row.absent].map(({ name }) => name);
      expect(names).to.have.members(row.name.startsWith('int8') ? ['float', 'bf16'] : ['oneDNN fp32']);
    }
  });
});
