import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { claimTable, lossTable, studySummary } from '../../lib/cli/summary.js';
import { type Preset, presets } from '../../lib/study/presets.js';
import type { Results } from '../../lib/study/results.js';
import { runPreset } from '../../lib/study/run.js';
import { bars } from '../study/helpers.js';
import { hardbitHere } from './helpers.js';

const { quick } = presets.mnist;

describe('the commands of studies', () => {
  for (const [line, says] of [
    ['reproduce mnist --out x --shard 2', "--shard is '2'"],
    ['reproduce mnist --out x --shard 1-3', "--shard is '1-3'"],
    ['reproduce mnist --out x --shard -1/3', "--shard is '-1/3'"],
    ['report a b', 'merged into a folder of its own'],
    ['report a --partial', '--partial merges into a folder of its own'],
  ] as const) {
    it(`refuse: hardbit ${line}`, async () => {
      const { code, stdout, stderr } = await hardbitHere(...line.split(' '));
      expect(stderr).to.match(/^hardbit: \S.*\. \[ERR_HARDBIT_ARGUMENT\]\n$/);
      expect(stderr).to.contain(says);
      expect(stdout).to.equal('');
      expect(code).to.not.equal(0);
    });
  }
});

describe('what a study says on the screen', function () {
  this.timeout(60_000);
  let results: Results;
  before(async () => {
    const out = mkdtempSync(join(tmpdir(), 'hardbit-summary-'));
    const preset: Preset = {
      ...quick,
      name: 'summary',
      blocks: quick.blocks.map((block) => ({
        ...block,
        inputBits: [8, 2],
        trainings: [{ kind: 'natural' }],
      })),
      fit: { ...quick.fit, epochs: 1 },
      whiteBox: [{ name: 'fgsm', epsilons: [0.1, 0.2], gradientModes: 'all' }],
      transfer: [{ name: 'fgsm', epsilons: [0.1] }],
      images: 40,
    };
    const load = async () => ({ train: bars(256, 1), test: bars(40, 2), sha256: {} });
    results = await runPreset(preset, load, { out, command: 'hardbit test' });
    rmSync(out, { recursive: true });
  });

  it('gives the worst case of each network and attack', () => {
    const lines = lossTable(results).split('\n');
    for (const name of ['8-bit full precision', '2-bit full precision', '8-bit BNN', '2-bit BNN']) {
      const line = lines.find((each) => each.startsWith(name)) ?? '';
      const network = results.networks.find(
        ({ inputBits, recipe }) =>
          name.startsWith(`${inputBits}`) && name.endsWith('BNN') === (recipe === 'bnn'),
      );
      const losses = results.worstCase
        .filter((each) => each.network === network?.id)
        .map(({ adversarialLoss }) => (100 * adversarialLoss).toFixed(1));
      expect(losses).to.have.length(2);
      expect(line.replaceAll('−', '-').split(/\s+/).slice(-2)).to.deep.equal(losses);
    }
  });

  it('gives each claim its verdicts by threat model', () => {
    const text = claimTable(results);
    for (const { id, title, heading } of results.claims) {
      expect(text).to.contain(`${id}  ${title}: `);
      expect(text).to.contain(heading);
    }
    expect(text).to.match(/4 {2}.*: white-box not tested/);
    expect(text).to.match(/3 {2}.*: white-box (holds|fails|mixed), transfer (holds|fails|mixed)/);
  });

  it('says where it is not the whole study', () => {
    expect(studySummary(results)).to.not.contain('Not all of the plan');
    expect(studySummary({ ...results, complete: false })).to.contain('Not all of the plan');
  });
});
