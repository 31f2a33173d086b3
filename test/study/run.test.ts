import {
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
import { type Preset, presets } from '../../lib/study/plan.js';
import type { StudyEvent } from '../../lib/study/progress.js';
import { type Examples, examplesSchema, type Results, resultsSchema } from '../../lib/study/results.js';
import { runPreset } from '../../lib/study/run.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { bars } from './helpers.js';

/** The quick study's shape in a size for tests. */
const small: Preset = {
  ...presets.quick,
  name: 'small',
  inputBits: [8, 2],
  epochs: 2,
  batchSize: 64,
  attacks: [
    { name: 'fgsm', epsilons: [0.1, 0.2], gradientModes: 'all', transfer: true },
    { name: 'pgd', epsilons: [0.2], steps: 3, gradientModes: 'all', transfer: true },
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
    const tensors = memoryInfo().liveTensors;
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
    // 4 networks × 3 attacks in one mode, 4 × 3 in three, and masking on each.
    expect(results.whiteBox).to.have.length(12 + 36 + 8);
    expect(results.transfer).to.have.length(8 * 8 * 3);
    expect(results.claims.map(({ verdict }) => verdict)).to.not.include('not tested');
    expect(leaked).to.equal(0);
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
            if (kind === 'progress' && ++seen === 45 + 13 * runs) controller.abort();
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
    expect(await codeOf(run(whole, { resume: true, preset: { ...small, epochs: 3 } }))).to.equal(
      'ERR_HARDBIT_RESUME',
    );
  });

  it('with twins and two seeds, has a diagonal of twins', async () => {
    const preset: Preset = {
      ...small,
      recipes: ['none'],
      trainings: [{ kind: 'natural' }],
      epochs: 1,
      attacks: [{ name: 'fgsm', epsilons: [0.2], gradientModes: 'all', transfer: true }],
      twins: true,
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
