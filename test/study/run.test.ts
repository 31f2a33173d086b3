import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { mergeShards } from '../../lib/study/merge.js';
import type { Shard } from '../../lib/study/plan.js';
import { type Preset, presets } from '../../lib/study/presets.js';
import type { StudyEvent } from '../../lib/study/progress.js';
import { type Examples, examplesSchema, type Results, resultsSchema } from '../../lib/study/results.js';
import { runPreset } from '../../lib/study/run.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { liveTensors } from '../support/live-tensors.js';
import { bars } from './helpers.js';

const { quick } = presets.mnist;
const [core] = quick.blocks;
if (core === undefined) throw new Error('The quick study has no networks.');

/** The quick study's shape in a size for tests. */
const small: Preset = {
  ...quick,
  name: 'small',
  blocks: [{ ...core, inputBits: [8, 2] }],
  fit: { ...quick.fit, epochs: 2, batchSize: 64 },
  whiteBox: [
    { name: 'fgsm', epsilons: [0.1, 0.2], gradientModes: 'all' },
    { name: 'pgd', epsilons: [0.2], steps: 3, gradientModes: 'all' },
  ],
  transfer: [
    { name: 'fgsm', epsilons: [0.1, 0.2] },
    { name: 'pgd', epsilons: [0.2], steps: 3 },
  ],
  images: 60,
};

const IMAGES = 100;

async function run(
  out: string,
  options: {
    preset?: Preset;
    resume?: boolean;
    signal?: AbortSignal;
    seeds?: number;
    images?: number;
    shard?: Shard;
    onEvent?: (event: StudyEvent) => void;
  } = {},
) {
  const { preset = small, ...rest } = options;
  const load = async () => ({ train: bars(256, 1), test: bars(IMAGES, 2), sha256: { bars: 'none' } });
  return runPreset(preset, load, { out, command: 'hardbit test', ...rest });
}

/** Everything but times. */
function timeless(results: Results): unknown {
  return JSON.parse(
    JSON.stringify(results, (key, value) =>
      ['seconds', 'trainSeconds', 'finishedAt'].includes(key) ? undefined : value,
    ),
  );
}

async function codeOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'no error',
    (error: { code?: unknown }) => error.code,
  );
}

describe('a study', function () {
  this.timeout(300_000);
  let root: string;
  let whole: string;
  let results: Results;
  const events: StudyEvent[] = [];
  let leaked: number;

  before(async () => {
    root = mkdtempSync(join(tmpdir(), 'hardbit-study-'));
    whole = join(root, 'whole');
    const tensors = await liveTensors();
    results = await run(whole, { onEvent: (event) => events.push(event) });
    leaked = memoryInfo().liveTensors - tensors;
  });
  after(() => rmSync(root, { recursive: true, force: true }));

  it('leaves valid results, all the networks and no tensors', () => {
    const file: unknown = JSON.parse(readFileSync(join(whole, 'results.json'), 'utf8'));
    expect(resultsSchema.parse(file)).to.deep.equal(results);
    expect(results.networks).to.have.length(8);
    for (const { file: model, n } of results.networks) {
      expect(existsSync(join(whole, model))).to.equal(true);
      expect(n).to.equal(IMAGES);
    }
    expect(
      readdirSync(join(whole, 'networks')).filter((name) => name.endsWith('.checkpoint')),
    ).to.have.length(0);
    // 4 networks × 3 attacks in one mode, 4 × 3 in every mode, and masking on each.
    const modes = new Set(results.whiteBox.flatMap(({ gradientMode }) => gradientMode.sign ?? [])).size;
    expect(modes).to.be.at.least(3);
    expect(results.whiteBox).to.have.length(12 + 12 * modes + 8);
    expect(results.worstCase).to.have.length(8 * 3);
    expect(results.transfer).to.have.length(8 * 8 * 3);
    for (const { byThreatModel } of results.claims) {
      expect(byThreatModel.map(({ verdict }) => verdict)).to.not.deep.equal(['not tested']);
    }
    expect(results.complete).to.equal(true);
    expect(results.shards).to.have.length(1);
    expect(results.shards[0]).to.deep.include({
      index: 1,
      count: 1,
      networks: { finished: 8, planned: 8 },
      cells: { finished: results.whiteBox.length + 192, planned: results.whiteBox.length + 192 },
    });
    for (const { history, macs, parameters, epochs } of results.networks) {
      expect(history.map(({ epoch }) => epoch)).to.deep.equal([1, 2]);
      expect(epochs).to.equal(2);
      // 784-600-400-10.
      expect(macs).to.equal(784 * 600 + 600 * 400 + 400 * 10);
      expect(parameters).to.be.greaterThan(macs);
    }
    expect(leaked).to.be.at.most(0);
  });

  it('says what it will take and how far it is', () => {
    const [first, ...rest] = events;
    expect(first).to.include({ kind: 'estimate', networks: 8, keptNetworks: 0, keptTasks: 0 });
    expect(first?.kind === 'estimate' && first.seconds).to.be.greaterThan(0);
    const fractions = rest.map((event) => (event.kind === 'progress' ? event.fraction : Number.NaN));
    expect(
      fractions.every(
        (fraction, i) =>
          fraction >= 0 && fraction <= 1 && (i === 0 || fraction >= (fractions[i - 1] as number) - 1e-9),
      ),
    ).to.equal(true);
    expect(Math.max(...fractions)).to.be.greaterThan(0.9);
  });

  it('measures what it says: losses, masking and the diagonal agree with each other', () => {
    for (const cell of [...results.whiteBox, ...results.transfer]) {
      expect(cell.n).to.equal(60);
      expect(cell.adversarialLoss).to.be.closeTo(cell.cleanAccuracy - cell.adversarialAccuracy, 1e-12);
    }
    for (const cell of results.whiteBox.filter(({ gradientMode }) => gradientMode.discretizer === 'exact')) {
      expect(cell).to.include({ zeroGradientFraction: 1, adversarialLoss: 0 });
    }
    for (const cell of results.transfer.filter(({ diagonal }) => diagonal === 'white-box')) {
      const same = results.whiteBox.find(
        (each) =>
          each.network === cell.source &&
          each.attack.name === cell.attack.name &&
          each.epsilon === cell.epsilon &&
          each.gradientMode.discretizer === 'identity' &&
          (each.gradientMode.sign ?? 'clipped') === 'clipped',
      );
      expect(cell.source).to.equal(cell.target);
      expect(same?.adversarialAccuracy).to.equal(cell.adversarialAccuracy);
    }
  });

  it('keeps example images that show what the network saw', () => {
    const examples: Examples = examplesSchema.parse(
      JSON.parse(readFileSync(join(whole, 'examples.json'), 'utf8')),
    );
    expect(examples.examples).to.have.length(10);
    for (const { inputBits, cleanCodes, clean, attack, adversarial } of examples.examples) {
      const codes = Buffer.from(cleanCodes, 'base64');
      const pixels = Buffer.from(clean, 'base64');
      const attacked = Buffer.from(adversarial, 'base64');
      const top = 2 ** inputBits - 1;
      expect([...codes]).to.deep.equal(
        [...pixels].map((k) => Math.floor(Math.fround(Math.fround(Math.fround(k / 255) * top) + 0.5))),
      );
      expect(Math.max(...attacked.map((k, i) => Math.abs(k - (pixels[i] as number))))).to.be.at.most(
        Math.ceil(255 * attack.epsilon),
      );
    }
  });

  it('goes on after every interruption and ends in the same results and files', async () => {
    const out = join(root, 'interrupted');
    let runs = 0;
    let done: Results | undefined;
    while (done === undefined) {
      runs += 1;
      const controller = new AbortController();
      let seen = 0;
      const code = await codeOf(
        run(out, {
          resume: true,
          signal: controller.signal,
          onEvent: ({ kind }) => {
            if (kind === 'progress' && ++seen === 50 + 30 * runs) controller.abort();
          },
        }).then((finished) => {
          done = finished;
        }),
      );
      if (done === undefined) expect(code).to.equal('ERR_HARDBIT_ABORTED');
      expect(runs).to.be.lessThan(50);
    }
    expect(runs).to.be.greaterThan(3);
    expect(timeless(done)).to.deep.equal(timeless(results));
    for (const { file } of results.networks) {
      expect(readFileSync(join(out, file)).equals(readFileSync(join(whole, file))), file).to.equal(true);
    }
    expect(readFileSync(join(out, 'examples.json'), 'utf8')).to.equal(
      readFileSync(join(whole, 'examples.json'), 'utf8'),
    );
  });

  it('repeats cells and networks whose files are damaged or gone, and nothing else', async () => {
    const cells = readdirSync(join(whole, 'cells')).sort();
    const [first, second, third] = [cells[0], cells[7], cells[11]].map((name) =>
      join(whole, 'cells', name as string),
    );
    truncateSync(first as string, 40);
    writeFileSync(second as string, 'no JSON');
    rmSync(third as string);
    const model = join(whole, results.networks[7]?.file as string);
    const bytes = readFileSync(model);
    bytes[bytes.length - 5] = (bytes[bytes.length - 5] as number) ^ 1;
    writeFileSync(model, bytes);
    const again: StudyEvent[] = [];
    const repaired = await run(whole, { resume: true, onEvent: (event) => again.push(event) });
    expect(again[0]).to.include({ kind: 'estimate', keptNetworks: 7 });
    expect(timeless(repaired)).to.deep.equal(timeless(results));
  });

  it('does nothing again once it is finished', async () => {
    const again: StudyEvent[] = [];
    const repeated = await run(whole, { resume: true, onEvent: (event) => again.push(event) });
    expect(again.filter(({ kind }) => kind === 'progress')).to.have.length(0);
    expect(timeless(repeated)).to.deep.equal(timeless(results));
  });

  it('is not overwritten, nor continued by another one', async () => {
    expect(await codeOf(run(whole))).to.equal('ERR_HARDBIT_RESUME');
    expect(await codeOf(run(whole, { resume: true, seeds: 2 }))).to.equal('ERR_HARDBIT_RESUME');
    expect(await codeOf(run(whole, { resume: true, preset: { ...small, images: 59 } }))).to.equal(
      'ERR_HARDBIT_RESUME',
    );
  });

  it('takes as the worst case of each network what no mode won', () => {
    for (const worst of results.worstCase) {
      const cells = results.whiteBox.filter(
        ({ network, attack, epsilon, gradientMode }) =>
          network === worst.network &&
          attack.name === worst.attack.name &&
          epsilon === worst.epsilon &&
          gradientMode.discretizer === 'identity',
      );
      const least = Math.min(...cells.map(({ adversarialAccuracy }) => adversarialAccuracy));
      expect(worst.everyMode).to.equal(true);
      expect(worst.gradientModes).to.deep.equal(cells.map(({ gradientMode }) => gradientMode));
      expect(worst.worstMode.adversarialAccuracy).to.equal(least);
      expect(worst.adversarialAccuracy).to.be.at.most(least);
      expect(worst.interval.low).to.be.at.most(worst.adversarialAccuracy);
      expect(worst.interval.high).to.be.at.least(worst.adversarialAccuracy);
    }
  });

  it('with twins and two seeds, has a diagonal of twins', async () => {
    const preset: Preset = {
      ...small,
      blocks: [
        { ...core, inputBits: [8, 2], recipes: ['none'], trainings: [{ kind: 'natural' }], twins: 'all' },
      ],
      fit: { ...small.fit, epochs: 1 },
      whiteBox: [{ name: 'fgsm', epsilons: [0.2], gradientModes: 'all' }],
      transfer: [{ name: 'fgsm', epsilons: [0.2] }],
    };
    const twins = await run(join(root, 'twins'), { preset, seeds: 2 });
    expect(twins.networks.filter(({ twin }) => twin)).to.have.length(4);
    expect(twins.transfer.map(({ diagonal }) => diagonal).sort()).to.deep.equal([
      null,
      null,
      null,
      null,
      'twin',
      'twin',
      'twin',
      'twin',
    ]);
    expect(twins.seeds).to.deep.equal([1, 2]);
    const ids = new Set(twins.networks.filter(({ twin }) => !twin).map(({ id }) => id));
    expect(twins.whiteBox.every(({ network }) => ids.has(network))).to.equal(true);
  });
});

/** Small, with all that the paper's plan has: blocks, ensembles, remaining images, L2; its two seeds make two shards. */
const blocks: Preset = {
  ...small,
  name: 'blocks',
  blocks: [
    {
      name: 'core',
      models: ['mnist-fcn'],
      inputBits: [8, 2],
      recipes: ['none', 'bnn'],
      trainings: [{ kind: 'natural' }],
      twins: 'natural',
    },
    {
      name: 'trainings',
      models: ['mnist-fcn'],
      inputBits: [2],
      recipes: ['bnn'],
      trainings: [
        { kind: 'adversarial', attack: 'pgd', epsilon: 0.2, mix: 0.5, steps: 2 },
        {
          kind: 'ensemble',
          attack: 'fgsm',
          epsilon: 0.2,
          mix: 0.5,
          sources: [
            { recipe: 'none', inputBits: 8 },
            { recipe: 'bnn', inputBits: 8 },
          ],
        },
      ],
      twins: 'none',
    },
  ],
  fit: { ...small.fit, epochs: 1, batchSize: 64 },
  whiteBox: [
    { name: 'fgsm', epsilons: [0.1], gradientModes: 'all' },
    { name: 'pgd', epsilons: [0.2], steps: 3, earlyStop: true, gradientModes: 'remaining' },
    { name: 'pgd', norm: 'l2', epsilons: [1], steps: 3, gradientModes: 'default' },
  ],
  transfer: [{ name: 'fgsm', epsilons: [0.1], images: 40, from: { trainings: ['natural'] } }],
  images: 50,
  examples: [
    { model: 'mnist-fcn', recipe: 'none', inputBits: 8, training: 'natural', attack: 'fgsm', epsilon: 0.1 },
    {
      model: 'mnist-fcn',
      recipe: 'bnn',
      inputBits: 2,
      training: 'adversarial',
      attack: 'fgsm',
      epsilon: 0.1,
    },
  ],
};

describe('a study in shards', function () {
  this.timeout(300_000);
  let root: string;
  let results: Results;
  const shards: string[] = [];
  const merging = (dirs: readonly string[], name: string, partial = false) =>
    mergeShards(dirs, { out: join(root, name), partial, command: 'hardbit test', preset: blocks });

  before(async () => {
    root = mkdtempSync(join(tmpdir(), 'hardbit-shards-'));
    results = await run(join(root, 'whole'), { preset: blocks, seeds: 2 });
    for (const index of [1, 2]) {
      const out = join(root, `shard-${index}`);
      shards.push(out);
      await run(out, { preset: blocks, seeds: 2, shard: { index, count: 2 } });
    }
  });
  after(() => rmSync(root, { recursive: true, force: true }));

  /** Everything but times and shards. */
  const comparable = (of: Results) => ({ ...(timeless(of) as object), shards: null, complete: null });

  it('is judged as a whole once merged, and equals the study that was not cut', async () => {
    const part = resultsSchema.parse(JSON.parse(readFileSync(join(root, 'shard-1', 'results.json'), 'utf8')));
    expect(part.complete).to.equal(false);
    expect(part.planHash).to.equal(results.planHash);
    expect(part.networks.every(({ seed }) => seed % 1000 === 1)).to.equal(true);
    const merged = await merging([...shards].reverse(), 'merged');
    expect(merged.complete).to.equal(true);
    expect(merged.shards.map(({ index, count }) => [index, count])).to.deep.equal([
      [1, 2],
      [2, 2],
    ]);
    expect(comparable(merged)).to.deep.equal(comparable(results));
    expect(readFileSync(join(root, 'merged', 'examples.json'), 'utf8')).to.equal(
      readFileSync(join(root, 'whole', 'examples.json'), 'utf8'),
    );
    expect(JSON.parse(readFileSync(join(root, 'merged', 'results.json'), 'utf8'))).to.deep.equal(merged);
    // The same folder may take the merge again.
    expect(comparable(await merging(shards, 'merged'))).to.deep.equal(comparable(results));
  });

  it('merges a study of as many images as was asked for', async () => {
    const few = await run(join(root, 'few'), { preset: small, images: 5 });
    expect(new Set([...few.whiteBox, ...few.transfer].map(({ n }) => n))).to.deep.equal(new Set([5]));
    const merged = await mergeShards([join(root, 'few')], {
      ...{ out: join(root, 'few-merged'), command: 'hardbit test', preset: small },
    });
    expect(merged.planHash).to.equal(few.planHash);
    expect(merged.whiteBox).to.deep.equal(few.whiteBox);
  });

  it('merges without model files', async () => {
    const bare = join(root, 'bare');
    cpSync(shards[0] as string, bare, {
      recursive: true,
      filter: (path) => !path.endsWith('.safetensors'),
    });
    const merged = await merging([bare, shards[1] as string], 'merged-bare');
    expect(comparable(merged)).to.deep.equal(comparable(results));
  });

  it('merges what is published of shards, without models and example images', async () => {
    const published = shards.map((shard, i) => {
      const out = join(root, `published-${i}`);
      execFileSync(process.execPath, ['scripts/studies/publish-shard.mjs', shard, out]);
      return out;
    });
    const text = published.flatMap((out) =>
      readdirSync(join(out, 'cells')).map((name) => readFileSync(join(out, 'cells', name), 'utf8')),
    );
    expect(text.some((cell) => cell.includes('"example":{'))).to.equal(false);
    const merged = await merging(published, 'merged-published');
    expect(comparable(merged)).to.deep.equal(comparable(results));
    const shown = (name: string): Examples =>
      examplesSchema.parse(JSON.parse(readFileSync(join(root, name, 'examples.json'), 'utf8')));
    expect(shown('whole').examples).to.not.have.length(0);
    expect(shown('merged-published').examples).to.have.length(0);
  });

  it('refuses what does not belong together', async () => {
    const [first, second] = shards as [string, string];
    const message = async (work: Promise<unknown>): Promise<string> =>
      work.then(
        () => 'no error',
        (error: { code?: unknown; message?: unknown }) => `${error.code}: ${error.message}`,
      );
    expect(await message(merging([first], 'x1'))).to.match(/^ERR_HARDBIT_RESUME: Of 2 shards, 2 is missing/);
    expect(await message(merging([first, second, first], 'x2'))).to.match(
      /^ERR_HARDBIT_RESUME: .*both hold shard 1 of 2/,
    );
    expect(await message(merging([first, join(root, 'whole')], 'x3'))).to.match(
      /^ERR_HARDBIT_RESUME: .*cut once/,
    );
    const other = join(root, 'other');
    cpSync(second, other, { recursive: true });
    const head = join(other, 'study.json');
    writeFileSync(head, readFileSync(head, 'utf8').replace(results.planHash, 'f'.repeat(64)));
    expect(await message(merging([first, other], 'x4'))).to.match(/^ERR_HARDBIT_RESUME: .*different studies/);
    expect(await message(merging([other], 'x5', true))).to.match(/^ERR_HARDBIT_RESUME: .*another version/);
    expect(await message(merging([join(root, 'nothing')], 'x6'))).to.match(/^ERR_HARDBIT_READ/);
    expect(await message(merging([first, second], 'shard-1'))).to.match(/^ERR_HARDBIT_RESUME: .*of its own/);
    const cell = join(other, 'cells', readdirSync(join(other, 'cells'))[0] as string);
    writeFileSync(head, readFileSync(head, 'utf8').replace('f'.repeat(64), results.planHash));
    truncateSync(cell, 10);
    expect(await message(merging([first, other], 'x7'))).to.match(/^ERR_HARDBIT_RESUME: .*not finished/);
  });

  it('takes what is there where that is asked for', async () => {
    const one = await merging(shards.slice(0, 1), 'partial', true);
    expect(one.complete).to.equal(false);
    expect(one.networks.every(({ seed }) => seed % 1000 === 1)).to.equal(true);
    const out = join(root, 'interrupted');
    const controller = new AbortController();
    const code = await codeOf(
      run(out, {
        preset: blocks,
        seeds: 2,
        shard: { index: 2, count: 2 },
        signal: controller.signal,
        onEvent: (event) => {
          if (event.kind === 'progress' && event.doing.startsWith('Attack 15')) controller.abort();
        },
      }),
    );
    expect(code).to.equal('ERR_HARDBIT_ABORTED');
    expect(await codeOf(merging([shards[0] as string, out], 'x8'))).to.equal('ERR_HARDBIT_RESUME');
    const both = await merging([shards[0] as string, out], 'partial', true);
    expect(both.complete).to.equal(false);
    expect(both.shards[1]).to.deep.include({ index: 2, finishedAt: null });
    expect(both.whiteBox.length).to.be.greaterThan(one.whiteBox.length).and.lessThan(results.whiteBox.length);
    for (const cell of both.whiteBox) {
      const same = results.whiteBox.find(
        ({ network, attack, epsilon, gradientMode }) =>
          network === cell.network &&
          attack.name === cell.attack.name &&
          epsilon === cell.epsilon &&
          JSON.stringify(gradientMode) === JSON.stringify(cell.gradientMode),
      );
      expect(same?.adversarialAccuracy).to.equal(cell.adversarialAccuracy);
    }
    // A shard's folder goes on with its own shard and no other.
    expect(await codeOf(run(out, { preset: blocks, seeds: 2, resume: true }))).to.equal('ERR_HARDBIT_RESUME');
    await run(out, { preset: blocks, seeds: 2, shard: { index: 2, count: 2 }, resume: true });
    expect(comparable(await merging([shards[0] as string, out], 'resumed'))).to.deep.equal(
      comparable(results),
    );
  });

  it('attacks in further modes only what withstood those before, and counts the rest as lost', () => {
    const chains = new Map<string, typeof results.whiteBox>();
    for (const cell of results.whiteBox.filter(
      ({ attack, norm }) => attack.name === 'pgd' && norm === 'linf',
    )) {
      chains.set(cell.network, [...(chains.get(cell.network) ?? []), cell]);
    }
    let further = 0;
    for (const chain of chains.values()) {
      chain.forEach((cell, i) => {
        expect(cell.coverage).to.equal(i === 0 ? 'all' : 'remaining');
        const before = chain[i - 1];
        const expected = before === undefined ? cell.n : Math.round(before.adversarialAccuracy * cell.n);
        expect(cell.attacked).to.equal(expected);
        if (before === undefined) return;
        further += 1;
        expect(cell.adversarialAccuracy).to.be.at.most(before.adversarialAccuracy);
        expect(cell.meanPerturbation === null).to.equal(cell.attacked === 0);
        expect(cell.zeroGradientFraction === null).to.equal(cell.attacked === 0);
      });
      const last = chain.at(-1);
      const worst = results.worstCase.find(
        ({ network, attack, norm }) => network === last?.network && attack.name === 'pgd' && norm === 'linf',
      );
      expect(worst?.adversarialAccuracy).to.equal(last?.adversarialAccuracy);
      expect(worst?.worstMode.gradientMode).to.deep.equal(chain[0]?.gradientMode);
      expect(worst?.everyMode).to.equal(true);
    }
    expect(further).to.be.greaterThan(0);
  });

  it('says which worst cases rest on the default mode alone', () => {
    const recipes = new Map(results.networks.map(({ id, recipe }) => [id, recipe]));
    for (const worst of results.worstCase.filter(({ norm }) => norm === 'l2')) {
      expect(worst.everyMode).to.equal(recipes.get(worst.network) === 'none');
      expect(worst.flippableFraction).to.equal(null);
    }
  });

  it('records ensembles with their sources, and cells with their own numbers of images', () => {
    const ensemble = results.networks.find(({ training }) => training.kind === 'ensemble');
    const ids = new Set(results.networks.filter(({ twin }) => twin).map(({ id }) => id));
    expect(
      ensemble?.training.kind === 'ensemble' && ensemble.training.sources.every((id) => ids.has(id)),
    ).to.equal(true);
    expect(results.transfer.every(({ n }) => n === 40)).to.equal(true);
    expect(results.whiteBox.every(({ n }) => n === 50)).to.equal(true);
  });
});
