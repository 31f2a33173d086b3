import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { BenchReport, BenchRow } from '../../lib/bench/results.js';
import { benchText } from '../../lib/cli/bench.js';
import { hardbit } from './helpers.js';

const row: BenchRow = {
  name: 'bits to bits',
  shape: '3×3, 64→64, 32², batch 1',
  threads: 2,
  seconds: { median: 12.3e-6, p10: 999e-9, p90: 1.5e-3, samples: 15 },
  operations: 1e7,
  rate: 1.2345e12,
  limit: 2.469e12,
  fraction: 0.5,
  peers: [],
  absent: [],
};

const report: BenchReport = {
  benchmark: 'layers',
  machine: {
    cpu: 'A CPU',
    isa: 'avx2',
    processors: 4,
    threads: 2,
    date: '2026-01-02T03:04:05.000Z',
    loadAverage: 0,
    versions: { hardbit: '1.2.3', node: 'v20' },
  },
  counted: 'What counts.',
  rows: [row],
};

const peer = (name: string, ratio: number) => ({ name, ratio, seconds: row.seconds });

describe('hardbit bench', function () {
  this.timeout(120_000);
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('shows times, rates and the fraction of the limit', () => {
    const text = benchText(report);
    expect(text).to.contain('12.3 µs').and.to.contain('999 ns … 1.50 ms');
    expect(text).to.match(/1,235 +2,469 +50 %/);
    expect(text).to.contain('A CPU, avx2, 2 threads; hardbit 1.2.3, node v20; 2026-01-02T03:04:05.000Z.');
    expect(text).to.contain('What counts.').and.not.to.contain('Without');
  });

  it('shows the fastest of a family of peers, names it, and says who is absent', () => {
    const absent = [{ name: 'oneDNN int8', reason: 'not built.' }];
    const peers = [peer('PyTorch, 2 threads', 3), peer('PyTorch, 1 thread', 4), peer('oneDNN fp32', 7)];
    const text = benchText({
      ...report,
      rows: [
        {
          ...row,
          rate: null,
          limit: null,
          fraction: null,
          operations: null,
          peakMegabytes: 55.4,
          peers,
          absent,
        },
      ],
    });
    expect(text).to.match(/55 +3\.00 +7\.00\n/);
    expect(text).to.contain('Fastest PyTorch: PyTorch, 2 threads.').and.not.to.contain('Fastest oneDNN');
    expect(text).to.contain('Without oneDNN int8: not built.\n'.trim());
    expect(text).not.to.contain('of limit');
  });

  it('measures kernels, prints one JSON document and writes the same to a file', async () => {
    const file = join(folder, 'kernels.json');
    const line = ['bench', 'kernels', '--threads', '1', '--rounds', '2', '--sample', '0'];
    const { code, stdout } = await hardbit([...line, '--json', '--out', file]);
    expect(code).to.equal(0);
    const { benchmark, machine, rows } = JSON.parse(stdout) as BenchReport;
    expect(JSON.parse(readFileSync(file, 'utf8'))).to.deep.equal({ ...JSON.parse(stdout) });
    expect([benchmark, machine.threads]).to.deep.equal(['kernels', 1]);
    expect(rows.length).to.be.above(10);
    expect(rows[0]?.seconds.samples).to.equal(2);
  });

  it('tells of a file that it may not write before it measures anything', async () => {
    const { code, stdout, stderr } = await hardbit([
      'bench',
      'layers',
      '--out',
      join(folder, 'no', 'x.json'),
    ]);
    expect([code, stdout]).to.deep.equal([1, '']);
    expect(stderr).to.contain('ERR_HARDBIT_WRITE');
  });
});
