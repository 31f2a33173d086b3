import { expect } from 'chai';
import fc from 'fast-check';
import sharp from 'sharp';
import { isHardbitError } from '../../lib/errors.js';
import { spreadLabels } from '../../lib/report/charts.js';
import {
  duration,
  epsilonText,
  fixed,
  intervalText,
  listing,
  percent,
  span,
  trainingHeading,
} from '../../lib/report/format.js';
import { type ReportFile, renderReport, reportFiles } from '../../lib/report/html.js';
import { decodePixels, selectExamples } from '../../lib/report/images.js';
import { escapeHtml, html, Markup } from '../../lib/report/markup.js';
import { networkPath } from '../../lib/report/page.js';
import { deviation, wilson } from '../../lib/report/statistics.js';
import { summarize, type Variant } from '../../lib/report/summary.js';
import { transferMatrices } from '../../lib/report/transfer-matrix.js';
import { findPreset } from '../../lib/study/presets.js';
import {
  type Example,
  type Examples,
  examplesSchema,
  type NetworkRecord,
  type Results,
  resultsSchema,
} from '../../lib/study/results.js';
import { ensembleTraining, fgsmTraining, sampleExamples, sampleOf, sampleResults } from './sample-results.js';

/** The page's words: tags dropped, entities decoded, white space folded. */
function words(page: string): string {
  return page
    .replace(/<style>[\s\S]*?<\/style>/g, ' ')
    .replace(/<br>|<\/(p|li|td|th|h\d|dt|dd|figcaption|tr|div)>/g, ' ')
    .replace(/<[^>]*>/g, '')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&')
    .replace(/\s+/g, ' ');
}

function section(page: string, id: string): string {
  const start = page.indexOf(`<section id="${id}"`);
  expect(start, `section ${id}`).to.be.greaterThan(0);
  let depth = 0;
  for (const tag of page.slice(start).matchAll(/<(\/?)section/g)) {
    depth += tag[1] === '' ? 1 : -1;
    if (depth === 0) return page.slice(start, start + tag.index);
  }
  throw new Error(`section ${id} does not end`);
}

/** Tables of a fragment as rows of cell texts, without the marks beside figures. */
function tables(fragment: string): string[][][] {
  return [...fragment.matchAll(/<table[\s\S]*?<\/table>/g)].map(([table]) =>
    [...table.matchAll(/<tr[\s\S]*?<\/tr>/g)].map(([row]) =>
      [...row.matchAll(/<t[hd][\s\S]*?<\/t[hd]>/g)].map(([cell]) =>
        words(cell.replace(/<(sup|small)[\s\S]*?<\/\1>/g, '')).trim(),
      ),
    ),
  );
}

async function failure(action: () => unknown): Promise<Error & { code: string }> {
  try {
    await action();
  } catch (error) {
    if (isHardbitError(error)) return error;
    throw error;
  }
  throw new Error('no error was thrown');
}

const collect = async (results: Results, examples: Examples | null): Promise<Map<string, string>> => {
  const files: ReportFile[] = [];
  for await (const file of reportFiles(results, examples)) files.push(file);
  return new Map(files.map(({ path, text }) => [path, text]));
};

function balanced(page: string): void {
  const open: string[] = [];
  const empty = new Set(['meta', 'br', 'img']);
  for (const [, slash, name, rest] of page.matchAll(/<(\/?)([a-z][a-z0-9]*)((?:"[^"]*"|[^>"])*)>/g)) {
    if (empty.has(name as string) || (rest as string).endsWith('/')) continue;
    if (slash === '') open.push(name as string);
    else expect(open.pop()).to.equal(name);
  }
  expect(open).to.deep.equal([]);
}

/** Every link leads somewhere: into the page itself, or to a file of the report. */
function linksResolve(path: string, page: string, files: ReadonlyMap<string, string>): void {
  const csv = ['networks', 'worst-case', 'white-box', 'transfer', 'claims'].map((name) => `${name}.csv`);
  const known = new Set([...files.keys(), ...csv]);
  for (const [, href] of page.matchAll(/ href="([^"]*)"/g)) {
    const link = href as string;
    if (link.startsWith('#')) expect(page).to.include(`id="${link.slice(1)}"`);
    else {
      const full = new URL(link, `file:///${path}`).pathname.slice(1);
      expect(known.has(full), `${link} in ${path}`).to.equal(true);
    }
  }
}

function find(
  results: Results,
  wanted: Partial<Pick<NetworkRecord, 'model' | 'recipe' | 'inputBits' | 'seed'>> & {
    readonly kind?: string;
  },
): NetworkRecord {
  const { kind = 'natural', ...rest } = wanted;
  const found = results.networks.find(
    (network) =>
      !network.twin &&
      network.training.kind === kind &&
      Object.entries(rest).every(([key, value]) => network[key as keyof NetworkRecord] === value),
  );
  if (found === undefined) throw new Error('the sample lacks this network');
  return found;
}

describe('report: the front page', function () {
  this.timeout(60_000);
  const results = sampleResults();
  const examples = sampleExamples(results);
  let page: string;

  before(async () => {
    page = await renderReport(results, examples);
  });

  it('is made from a sample that follows the schema', () => {
    expect(resultsSchema.safeParse(results).error).to.equal(undefined);
    expect(examplesSchema.safeParse(examples).error).to.equal(undefined);
    expect(results.networks).to.have.length(32);
  });

  it('has the sections in their order', () => {
    const ids = [...page.matchAll(/<section id="([a-z0-9-]+)"/g)].map((match) => match[1]);
    expect(ids).to.deep.equal([
      'claims',
      'clean',
      'gradients',
      'model-mnist-fcn',
      'model-mnist-fcn-curves',
      'model-mnist-fcn-accuracy',
      'model-mnist-fcn-loss',
      'model-mnist-fcn-trainings',
      'model-mnist-fcn-gradients',
      'model-mnist-fcn-transfer',
      'examples',
      'networks',
      'repeat',
      'method',
    ]);
    const nav = page.slice(page.indexOf('<nav'), page.indexOf('</nav>'));
    for (const id of ids) expect(nav).to.include(`href="#${id}"`);
  });

  it('asks for nothing from elsewhere and runs no script', () => {
    expect(page.replace(/base64,[A-Za-z0-9+/=]+/g, '')).to.not.match(/\/\/[a-z0-9]/i);
    expect(page).to.not.match(/<script|<link|<iframe|<object|@import|javascript:| on[a-z]+="/i);
    expect(page.match(/url\(/g)).to.equal(null);
    const sources = [...page.matchAll(/ src="([^"]*)"/g)].map((match) => match[1] as string);
    expect(sources).to.have.length(5 * 32);
    for (const source of sources) expect(source).to.match(/^data:image\/png;base64,[A-Za-z0-9+/=]+$/);
  });

  it('balances its tags and repeats no id', () => {
    balanced(page);
    const ids = [...page.matchAll(/ id="([^"]*)"/g)].map((match) => match[1]);
    expect(new Set(ids).size).to.equal(ids.length);
  });

  it('is the same bytes for the same input', async () => {
    expect(await renderReport(structuredClone(results), structuredClone(examples))).to.equal(page);
  });

  it('shows every claim with its criterion and a verdict for each threat model and gradient mode', () => {
    const text = words(section(page, 'claims'));
    for (const claim of results.claims) {
      expect(text).to.include(`${claim.id}. ${claim.title}`);
      expect(text).to.include(claim.statement);
      expect(text).to.include('Criterion, fixed beforehand: ');
      const start = page.indexOf(`<article class="claim" id="claim-${claim.id}">`);
      const article = page.slice(start, page.indexOf('</article>', start));
      const heads = [...article.matchAll(/<summary>([\s\S]*?)<\/summary>/g)].map((match) =>
        words(match[1] as string),
      );
      expect(heads).to.have.length(claim.byThreatModel.length);
      claim.byThreatModel.forEach((group, i) => {
        expect(heads[i]).to.include(group.verdict);
        if (group.gradientMode?.sign != null) {
          expect(heads[i]).to.include(`${group.gradientMode.sign} gradient alone`);
        }
        if (group.holds + group.fails > 0) {
          expect(heads[i]).to.include(`holds in ${group.holds} of ${group.holds + group.fails}`);
        }
      });
      expect(article.match(/class="scope"/g) ?? []).to.have.length(claim.verdicts.length);
    }
  });

  it('says a caveat at the top and beside its claim', async () => {
    const caveat = 'It holds only where the attacker takes the clipped gradient.';
    const claims = results.claims.map((claim) => ({ ...claim, caveat: claim.id === 2 ? caveat : null }));
    const warned = await renderReport({ ...results, claims }, null);
    const top = words(warned.slice(0, warned.indexOf('</header>')));
    expect(top).to.include(`Claim 2: ${caveat}`);
    expect(words(section(warned, 'claims'))).to.include(`Caution: ${caveat}`);
    const calm = await renderReport(
      { ...results, claims: claims.map((claim) => ({ ...claim, caveat: null })) },
      null,
    );
    expect(calm.slice(calm.indexOf('<body>'))).to.not.include('caveat');
  });

  it('answers from the white-box verdicts under the worst mode', async () => {
    type Overall = Results['claims'][number]['byThreatModel'][number]['verdict'];
    const small = sampleResults({ inputBits: [8, 2], recipes: ['none'], trainings: [{ kind: 'natural' }] });
    const judged = async (two: Overall, five: Overall) => {
      const claims = small.claims.map((claim) => ({
        ...claim,
        byThreatModel: claim.byThreatModel.map((group) => ({
          ...group,
          verdict:
            group.threatModel === 'white-box' && group.gradientMode === null
              ? claim.id === 2
                ? two
                : claim.id === 5
                  ? five
                  : group.verdict
              : ('holds' as const),
        })),
      }));
      const all = await renderReport({ ...small, claims }, null);
      return words(all.slice(0, all.indexOf('</header>')));
    };
    expect(await judged('holds', 'holds')).to.include('Against single-step attacks, yes.');
    expect(await judged('mixed', 'fails'))
      .to.include('only in part')
      .and.to.include('did not hold here');
    expect(await judged('not tested', 'not tested')).to.include(
      'Multi-step attacks were not tested far enough',
    );
  });

  it('prints the per-example worst under every attack, with its interval, and the loss', () => {
    const accuracy = section(page, 'model-mnist-fcn-accuracy');
    const loss = section(page, 'model-mnist-fcn-loss');
    const labels = [...accuracy.matchAll(/<summary>([^<]*)<\/summary>/g)].map((match) => match[1]);
    expect(labels).to.deep.equal(['Accuracy under FGSM', 'Accuracy under R-FGSM', 'Accuracy under PGD-20']);
    const [fgsm] = tables(accuracy);
    const [fgsmLoss] = tables(loss);
    expect(fgsm?.[0]).to.deep.equal(['Recipe', 'Input', 'Clean', 'ε = 0.1', 'ε = 0.2', 'ε = 0.3']);
    // The heading row of a training, then full precision and BNN by bits.
    const cell = (bits: number, recipe: string, epsilon: number) =>
      results.worstCase.find(
        (each) =>
          each.network === find(results, { recipe, inputBits: bits }).id &&
          each.attack.name === 'fgsm' &&
          each.epsilon === epsilon,
      );
    ['none', 'bnn'].forEach((recipe, r) => {
      [8, 4, 2, 1].forEach((bits, b) => {
        const rows = [fgsm, fgsmLoss].map((table) => (table as string[][]).slice(2)[4 * r + b] as string[]);
        [0.1, 0.2, 0.3].forEach((epsilon, e) => {
          const record = cell(bits, recipe, epsilon);
          expect(rows[0]?.at(-3 + e)).to.equal(percent(record?.adversarialAccuracy as number));
          expect(rows[1]?.at(-3 + e)).to.equal(fixed(100 * (record?.adversarialLoss as number), 1));
          expect(accuracy).to.include(
            `<small>${intervalText(record?.interval as { low: number; high: number })}</small>`,
          );
        });
      });
    });
  });

  it('marks the best of each training and ε, and ties with it, but nothing where all are equal', async () => {
    const sample = sampleResults({ inputBits: [8, 2], trainings: [{ kind: 'natural' }] });
    const kept = new Map([
      [find(sample, { recipe: 'none', inputBits: 8 }).id, [0.5, 0.2, 0.1]],
      [find(sample, { recipe: 'none', inputBits: 2 }).id, [0.9797, 0.4, 0.1]],
      [find(sample, { recipe: 'bnn', inputBits: 8 }).id, [0.4, 0.2, 0.1]],
      [find(sample, { recipe: 'bnn', inputBits: 2 }).id, [0.9802, 0.3, 0.1]],
    ]);
    const changed = {
      ...sample,
      worstCase: sample.worstCase.map((cell) => ({
        ...cell,
        adversarialAccuracy: kept.get(cell.network)?.[[0.1, 0.2, 0.3].indexOf(cell.epsilon)] as number,
      })),
    };
    const accuracy = section(await renderReport(changed, null), 'model-mnist-fcn-accuracy');
    const first = accuracy.slice(accuracy.indexOf('<tbody>'), accuracy.indexOf('</tbody>'));
    expect([...first.matchAll(/<mark>([^<]*)<\/mark>/g)].map((match) => match[1])).to.deep.equal([
      '98.0',
      '40.0',
      '98.0',
    ]);
  });

  it('says n, seed, threat model and gradient mode in every caption of attacked figures', () => {
    for (const id of ['curves', 'accuracy', 'loss', 'trainings', 'gradients', 'transfer']) {
      const captions = [
        ...section(page, `model-mnist-fcn-${id}`).matchAll(/<figcaption>([\s\S]*?)<\/figcaption>/g),
      ].map((match) => words(match[1] as string));
      expect(captions, id).to.not.have.length(0);
      for (const caption of captions) {
        expect(caption).to.match(/n = [\d, to and]+ test images, seed 1\b/);
        expect(caption).to.match(/White-box|Black-box transfer/);
        expect(caption).to.match(/gradient mode/i);
      }
    }
    expect(words(section(page, 'examples'))).to.include('(white-box, discretizer identity, sign clipped)');
  });

  it('draws a panel for every training, recipe and attack, with the clean point and a line a bit depth', () => {
    const panels = [
      ...section(page, 'model-mnist-fcn-curves').matchAll(
        /<div class="chart" role="img" aria-label="([^"]*)">([\s\S]*?)<\/svg>/g,
      ),
    ];
    expect(panels).to.have.length(2 * 2 * 3);
    for (const [, label, svg] of panels) {
      expect(label).to.match(/8 bit: [\d.]+\u00a0% at 0, [\d.]+\u00a0% at 0\.1,/);
      for (const bits of ['8 bit', '4 bit', '2 bit', '1 bit']) expect(svg).to.include(`>${bits}</text>`);
      for (const epsilon of ['0.1', '0.2', '0.3']) expect(svg).to.include(`>${epsilon}</text>`);
      expect(svg).to.include('fill="currentColor"');
      expect(svg).to.not.match(/fill="(black|#000|#888|white)"/);
      expect(svg).to.not.match(/NaN|undefined|Infinity/);
    }
  });

  it('compares gradient modes and labels the exact one as a masking demonstration', () => {
    const gradients = section(page, 'model-mnist-fcn-gradients');
    const [fgsm] = tables(gradients) as [string[][]];
    expect(fgsm[0]).to.deep.equal([
      'Recipe',
      'Input',
      'clipped',
      'identity',
      'approx',
      'swish',
      'discretizer exact',
      'worst',
    ]);
    expect(words(gradients)).to.include('they demonstrate masking and measure no robustness');
    const summaryTable = tables(section(page, 'gradients')).at(1) as string[][];
    // Twelve comparisons an attack: natural and trained, four bit depths, but not more than were made.
    for (const row of summaryTable.slice(2)) {
      const [compared, ...won] = row.slice(3, 8).map(Number);
      expect(compared).to.equal(2 * 4 * 3);
      expect(won.reduce((a, b) => a + b, 0)).to.equal(compared);
    }
  });

  it('finds an attack that is weaker than it should be', async () => {
    const good = section(page, 'gradients');
    expect(words(good)).to.include('More steps are no weaker');
    const network = find(results, { recipe: 'none', inputBits: 8 }).id;
    const blind = {
      ...results,
      worstCase: results.worstCase.map((cell) =>
        cell.network === network && cell.attack.name === 'pgd' && cell.epsilon === 0.3
          ? { ...cell, adversarialAccuracy: 0.9 }
          : cell,
      ),
    };
    const table = tables(section(await renderReport(blind, null), 'gradients'))[0] as string[][];
    expect(table.find((row) => row[0]?.startsWith('More steps'))?.[1]).to.equal('47 of 48');
    expect(table.find((row) => row[0]?.startsWith('A larger'))?.[1]).to.match(/^95 of 96$|^9\d of 96$/);
    expect((tables(good)[0] as string[][]).find((row) => row[0]?.startsWith('More steps'))?.[1]).to.equal(
      'all 48',
    );
  });

  it('shows a transfer matrix an attack with the twins framed', () => {
    const transfer = section(page, 'model-mnist-fcn-transfer');
    const maps = tables(transfer);
    expect(maps).to.have.length(2);
    for (const map of maps) {
      expect(map.slice(3)).to.have.length(16);
      for (const row of map.slice(3)) {
        expect(row.slice(-16).every((cell) => /^\d+\.\d$/.test(cell))).to.equal(true);
      }
    }
    expect(transfer.match(/<td class="h\d+ diagonal">/g)).to.have.length(2 * 16);
    expect(words(transfer)).to.include('Framed: the source is T, a twin of the target from another seed.');
  });

  it('draws networks that were not shown to each other as matrices of their own', async () => {
    const short = (id: string) => results.networks.find((network) => network.id === id)?.recipe;
    const apart = {
      ...results,
      transfer: results.transfer.filter(({ source, target }) => short(source) === short(target)),
    };
    const maps = tables(section(await renderReport(apart, null), 'model-mnist-fcn-transfer'));
    expect(maps).to.have.length(2 * 2);
    for (const map of maps) {
      expect(map.slice(3)).to.have.length(8);
      for (const row of map.slice(3)) expect(row).to.not.include('–');
    }
  });

  it('puts a transfer figure where its source and target cross', () => {
    const summary = summarize(results);
    const matrix = transferMatrices(summary).find(
      ({ attack, epsilon }) => attack.label === 'PGD-20' && epsilon === 0.2,
    );
    if (matrix === undefined) throw new Error('sample lacks PGD');
    const variant = (id: string) =>
      summary.variants.find(({ key }) => key === summary.byId.get(id)?.variant) as Variant;
    let compared = 0;
    for (const record of results.transfer) {
      if (record.attack.name !== 'pgd' || record.epsilon !== 0.2) continue;
      const cell = matrix.cell(variant(record.source), variant(record.target));
      expect(cell?.accuracy).to.equal(record.adversarialAccuracy);
      expect(cell?.diagonal).to.equal(record.diagonal);
      compared++;
    }
    expect(compared).to.equal(16 * 16);
  });

  it('shows five images an example, whose pixels are those of the file', async () => {
    const figures = section(page, 'examples');
    const first = figures.slice(figures.indexOf('<figure'), figures.indexOf('</figure>'));
    const pixels = await Promise.all(
      [...first.matchAll(/src="data:image\/png;base64,([^"]*)"/g)].map(async (match) => {
        const image = sharp(Buffer.from(match[1] as string, 'base64'));
        return (await image.raw().toBuffer({ resolveWithObject: true })).data;
      }),
    );
    const example = examples.examples[0] as Example;
    expect(pixels).to.have.length(5);
    const grey = (text: string) => [...Buffer.from(text, 'base64')];
    const greys = (data: Buffer) => [...data].filter((_, i) => i % (data.length / (28 * 28)) === 0);
    expect(greys(pixels[0] as Buffer)).to.deep.equal(grey(example.clean));
    expect(greys(pixels[2] as Buffer)).to.deep.equal(grey(example.adversarial));
    expect(greys(pixels[3] as Buffer)).to.deep.equal(grey(example.adversarialCodes));
    const difference = pixels[4] as Buffer;
    const clean = grey(example.cleanCodes);
    grey(example.adversarialCodes).forEach((code, i) => {
      const [red, , blue, alpha] = difference.subarray(4 * i, 4 * i + 4) as unknown as [
        number,
        number,
        number,
        number,
      ];
      const change = code - (clean[i] as number);
      expect(alpha > 0).to.equal(change !== 0);
      if (change !== 0) expect(red > blue).to.equal(change > 0);
    });
    expect(words(first)).to.include(
      `Test image ${example.index}, a ${example.label}: read as ${example.cleanPrediction}`,
    );
    expect(first.match(/ alt="[^"]+"/g)).to.have.length(5);
  });

  it('says how to repeat it', () => {
    const repeat = section(page, 'repeat');
    expect(repeat).to.include(`<pre><code>${results.command}</code></pre>`);
    for (const [file, hash] of Object.entries(results.dataset.sha256)) {
      expect(words(repeat)).to.include(`SHA-256 of ${file} ${hash}`);
    }
    expect(words(repeat)).to.include(
      'Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz; kernels avx512; 2 threads; Node 20.19.0',
    );
  });

  it('lists every network, twins included, with a link to its page', () => {
    const networks = section(page, 'networks');
    const rows = (tables(networks)[0] as string[][]).slice(1);
    expect(rows).to.have.length(32);
    expect(rows.filter((row) => row[0]?.endsWith(' twin'))).to.have.length(16);
    expect(rows[0]).to.include('715,610');
    for (const { id } of results.networks) expect(networks).to.include(`href="${networkPath(id)}"`);
  });
});

describe('report: pages and figures', function () {
  this.timeout(120_000);
  const results = sampleResults({
    models: ['mnist-fcn', 'lenet5'],
    inputBits: [8, 2],
    trainings: [{ kind: 'natural' }, fgsmTraining, ensembleTraining],
    seeds: 2,
    l2: true,
    n: 400,
  });
  const examples = sampleExamples(results, 1);
  let files: Map<string, string>;

  before(async () => {
    files = await collect(results, examples);
  });

  it('are sound: tags, links, words', () => {
    for (const [path, text] of files) {
      balanced(text);
      if (path.endsWith('.html')) linksResolve(path, text, files);
      expect(words(text), path).to.not.match(/NaN|undefined|Infinity|\[object/);
      expect(text).to.not.match(/<script|javascript:| on[a-z]+="/i);
    }
  });

  it('have a page a network, and report.html last', () => {
    expect([...files.keys()].at(-1)).to.equal('report.html');
    for (const { id } of results.networks) expect(files.has(`networks/${id}.html`)).to.equal(true);
    expect([...files.keys()].filter((path) => path.startsWith('networks/'))).to.have.length(
      results.networks.length,
    );
  });

  it('keep models apart, each with its own section', () => {
    const page = files.get('report.html') as string;
    for (const model of ['mnist-fcn', 'lenet5']) {
      const own = section(page, `model-${model}`);
      expect(own).to.include(`Accuracy in % under PGD-20, ${model}.`);
      expect(own).to.not.include(model === 'lenet5' ? 'mnist-fcn' : 'lenet5');
    }
  });

  it('give mean ± sample standard deviation over seeds', () => {
    const page = files.get('report.html') as string;
    const record = results.worstCase.find(
      ({ network, attack, epsilon }) =>
        network === find(results, { model: 'lenet5', recipe: 'bnn', inputBits: 2 }).id &&
        attack.name === 'fgsm' &&
        epsilon === 0.2,
    );
    const values = results.worstCase
      .filter(
        ({ network, attack, epsilon }) =>
          results.networks.find(({ id }) => id === network)?.variant ===
            results.networks.find(({ id }) => id === record?.network)?.variant &&
          attack.name === 'fgsm' &&
          epsilon === 0.2,
      )
      .map(({ adversarialAccuracy }) => adversarialAccuracy);
    expect(values).to.have.length(2);
    const [a, b] = values as [number, number];
    const deviated = Math.abs(a - b) / Math.SQRT2;
    const table = section(page, 'model-lenet5-accuracy');
    expect(words(table)).to.include(`${percent((a + b) / 2)}`);
    expect(table).to.include(`<small>±\u2009${percent(deviated)}</small>`);
    expect(words(table)).to.include('mean ± sample standard deviation over seeds 1 and 2');
    expect(words(section(page, 'clean'))).to.include('over seeds 1 and 2');
  });

  it('keep L2 apart from L∞ and say where the default mode stands alone', () => {
    const page = files.get('report.html') as string;
    const l2 = section(page, 'model-lenet5-l2');
    expect(words(l2)).to.include('Accuracy in % under PGD-20 (L2), lenet5');
    expect(words(l2)).to.include('ε in L2');
    expect(words(l2)).to.include('the default one alone where activations are quantized');
    expect(section(page, 'model-lenet5-accuracy')).to.not.include('(L2)');
  });

  it('compare attacks with trainings, ensemble training among them', () => {
    const table = tables(
      section(files.get('report.html') as string, 'model-lenet5-trainings'),
    )[0] as string[][];
    const rows = table.filter((row) => row[0]?.startsWith('ensemble-trained (FGSM)'));
    expect(rows).to.have.length(4);
    for (const row of rows) expect(row).to.have.length(1 + 3 * 3);
  });

  it('show of a network its training, every attack and mode, and both sides of transfer', () => {
    const network = find(results, { model: 'lenet5', recipe: 'bnn', inputBits: 2, seed: 2 });
    const page = files.get(`networks/${network.id}.html`) as string;
    const text = words(page);
    expect(text).to.include(`${percent(network.cleanAccuracy)} %`);
    expect(text).to.include(intervalText(wilson(network.cleanAccuracy, network.n)));
    expect(text).to.include('281,640 multiply-accumulates');
    expect(section(page, 'training').match(/<svg/g)).to.have.length(4);
    const rows = (tables(section(page, 'attacks'))[0] as string[][]).slice(1);
    const [fgsm] = results.worstCase.filter(
      (cell) => cell.network === network.id && cell.attack.name === 'fgsm' && cell.epsilon === 0.1,
    );
    expect(rows[1]?.slice(1, 4)).to.deep.equal([
      percent(fgsm?.adversarialAccuracy as number),
      fixed(100 * (fgsm?.adversarialLoss as number), 1),
      percent(fgsm?.flippableFraction as number),
    ]);
    const modes = ['clipped', 'identity', 'approx', 'swish'].map((sign) =>
      results.whiteBox.find(
        (cell) =>
          cell.network === network.id &&
          cell.attack.name === 'fgsm' &&
          cell.epsilon === 0.1 &&
          cell.gradientMode.sign === sign &&
          cell.gradientMode.discretizer === 'identity',
      ),
    );
    expect(rows[1]?.slice(4, 8)).to.deep.equal(
      modes.map((cell) => percent(cell?.adversarialAccuracy as number)),
    );
    expect(page).to.match(/of the \d+ left/);
    const [incoming, outgoing] = tables(section(page, 'transfer')) as [string[][], string[][]];
    for (const table of [incoming, outgoing]) {
      const losses = table.slice(1).map((row) => Number(row[1]?.replace('−', '-')));
      expect(losses).to.deep.equal([...losses].sort((a, b) => b - a));
      expect(losses).to.have.length(8);
    }
    expect(page).to.include('class="example"');
    const ensemble = find(results, { model: 'lenet5', recipe: 'bnn', inputBits: 2, kind: 'ensemble' });
    expect(words(files.get(`networks/${ensemble.id}.html`) as string)).to.include(
      'Static sources lenet5, 8 bit',
    );
  });

  it('say of a twin that it was not attacked', () => {
    const twin = results.networks.find((network) => network.twin) as NetworkRecord;
    expect(words(files.get(`networks/${twin.id}.html`) as string)).to.include('it was not attacked itself');
  });

  it('draw figures that stand alone', async () => {
    const svgs = [...files].filter(([path]) => path.startsWith('figures/'));
    expect(svgs).to.have.length(2 * 3 + 2 * 2 * 3);
    for (const [path, text] of svgs) {
      expect(text).to.match(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="\d+" height="\d+"/);
      expect(text).to.not.include('currentColor');
      const { width, height } = await sharp(Buffer.from(text)).metadata();
      expect(width, path).to.be.greaterThan(200);
      expect(height, path).to.be.greaterThan(100);
    }
  });
});

describe('report: a study of the size of the paper’s', function () {
  this.timeout(180_000);

  it('is written in seconds, the front page below 3 MB', async () => {
    const results = sampleOf({ ...findPreset('mnist', 'paper'), images: 64 }, 2, 64);
    const start = performance.now();
    const files = await collect(results, null);
    const seconds = (performance.now() - start) / 1000;
    expect(seconds).to.be.lessThan(90);
    expect(files.size).to.be.greaterThan(400);
    for (const [path, text] of files) expect(Buffer.byteLength(text), path).to.be.lessThan(3_000_000);
    const page = files.get('report.html') as string;
    linksResolve('report.html', page, files);
    expect(words(page)).to.not.match(/NaN|undefined|Infinity/);
  });
});

describe('report: unusual studies', function () {
  this.timeout(60_000);

  it('escapes every name it is given', async () => {
    const evil = `<script>alert("1")</script> & 'x' 50 % ../../x`;
    const results = sampleResults({ inputBits: [2], trainings: [{ kind: 'natural' }], n: 200 });
    const only = find(results, { recipe: 'none' });
    const rename = (id: string) => (id === only.id ? evil : id);
    const shard = results.shards[0] as Results['shards'][number];
    const renamed: Results = {
      ...results,
      command: evil,
      preset: evil,
      library: { name: evil, version: evil },
      dataset: { ...results.dataset, name: evil, sha256: { [evil]: evil } },
      shards: [{ ...shard, machine: { ...shard.machine, cpu: evil, isa: evil, platform: evil } }],
      networks: results.networks.map((network) => ({
        ...network,
        id: rename(network.id),
        model: evil,
        recipe: network.recipe === 'none' ? 'none' : evil,
        file: evil,
      })),
      whiteBox: results.whiteBox.map((cell) => ({
        ...cell,
        network: rename(cell.network),
        attack: { ...cell.attack, name: evil + cell.attack.name },
      })),
      worstCase: results.worstCase.map((cell) => ({
        ...cell,
        network: rename(cell.network),
        attack: { ...cell.attack, name: evil + cell.attack.name },
      })),
      transfer: results.transfer.map((cell) => ({
        ...cell,
        source: rename(cell.source),
        target: rename(cell.target),
        attack: { ...cell.attack, name: evil },
      })),
      claims: results.claims.map((claim) => ({
        ...claim,
        title: evil,
        statement: evil,
        criterion: evil,
        heading: evil,
        caveat: evil,
        verdicts: claim.verdicts.map((test) => ({ ...test, scope: evil, measured: evil })),
      })),
    };
    const examples = sampleExamples(results, 1);
    const files = await collect(renamed, {
      ...examples,
      examples: examples.examples.map((example) => ({
        ...example,
        network: rename(example.network),
        attack: { ...example.attack, name: evil },
      })),
    });
    for (const [path, text] of files) {
      expect(path).to.match(/^(report\.html|(networks|figures)\/[A-Za-z0-9_][A-Za-z0-9._-]*\.(html|svg))$/);
      expect(text).to.not.match(/<script/i);
      expect(text).to.not.include(`alert("1")`);
      // Nothing that came from data closed an attribute.
      for (const [tag] of text.matchAll(/<[a-z](?:"[^"]*"|[^>"])*>/g)) expect(tag).to.not.match(/alert\("/);
      if (path.endsWith('.html')) linksResolve(path, text, files);
    }
    expect(files.get('report.html')).to.include(`<pre><code>${escapeHtml(evil)}</code></pre>`);
  });

  it('renders a study without attacks, transfer, examples or claims', async () => {
    const results = sampleResults({
      inputBits: [2],
      recipes: ['none'],
      trainings: [{ kind: 'natural' }],
      twins: false,
    });
    const bare = { ...results, whiteBox: [], worstCase: [], transfer: [], claims: [] };
    const files = await collect(bare, null);
    const page = words(files.get('report.html') as string);
    expect(page).to.include('This study has no white-box attacks.');
    expect(page).to.include('This study has no transfer attacks.');
    expect(page).to.include('This study kept no example images.');
    expect(page).to.include('This study judged no claims.');
    for (const text of files.values()) expect(words(text)).to.not.match(/NaN|undefined|Infinity/);
  });

  it('renders what there is of an unfinished study', async () => {
    const results = sampleResults({ inputBits: [8, 2], n: 200 });
    const shard = results.shards[0] as Results['shards'][number];
    const cut: Results = {
      ...results,
      complete: false,
      finishedAt: null,
      shards: [
        { ...shard, index: 1, count: 2 },
        { ...shard, index: 2, count: 2, finishedAt: null, cells: { finished: 3, planned: 9 } },
      ],
      worstCase: results.worstCase.slice(5),
      whiteBox: results.whiteBox.slice(9),
      transfer: results.transfer.slice(0, 40),
    };
    const files = await collect(cut, null);
    const page = files.get('report.html') as string;
    expect(words(page)).to.include('Not all of the plan is in these results.');
    expect(words(section(page, 'repeat'))).to.include('3 of 9');
    expect(page).to.include('<td class="none">–</td>');
    for (const [path, text] of files) {
      expect(words(text)).to.not.match(/NaN|undefined|Infinity/);
      if (path.endsWith('.html')) linksResolve(path, text, files);
    }
  });

  it('shows colour images in colour', async () => {
    const results = sampleResults({
      inputBits: [4],
      recipes: ['none'],
      trainings: [fgsmTraining],
      twins: false,
    });
    const pixels = (value: (i: number) => number) =>
      Buffer.from(Uint8Array.from({ length: 12 }, (_, i) => value(i))).toString('base64');
    const template = sampleExamples(results, 1).examples[0] as Example;
    const examples: Examples = {
      schema: 'hardbit/examples',
      version: 1,
      imageShape: [2, 2, 3],
      examples: [
        {
          ...template,
          clean: pixels((i) => 17 * i),
          cleanCodes: pixels((i) => i),
          adversarial: pixels((i) => 17 * (i + 1)),
          adversarialCodes: pixels((i) => i + 1),
        },
      ],
    };
    const page = await renderReport(results, examples);
    const first = /src="data:image\/png;base64,([^"]*)"/.exec(page)?.[1] as string;
    const raw = await sharp(Buffer.from(first, 'base64')).raw().toBuffer();
    expect([...raw]).to.deep.equal(Array.from({ length: 12 }, (_, i) => 17 * i));
  });

  it('refuses example pixels of the wrong size or code', async () => {
    const results = sampleResults({ inputBits: [2], recipes: ['none'], trainings: [{ kind: 'natural' }] });
    const examples = sampleExamples(results, 1);
    const cut = { ...examples, imageShape: [28, 27, 1] as [number, number, number] };
    const error = await failure(() => renderReport(results, cut));
    expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
    expect(error.message).to.include('784 bytes').and.to.include('28×27×1');
    const high = await failure(() => decodePixels(Buffer.from([4]).toString('base64'), [1, 1, 1], "'x'", 3));
    expect(high.code).to.equal('ERR_HARDBIT_FORMAT');
    expect(high.message).to.include('code 4').and.to.include('0 to 3');
  });

  it('spreads a limited number of examples over the networks', () => {
    const results = sampleResults();
    const all = sampleExamples(results, 4).examples;
    const shown = selectExamples(all, 40);
    expect(shown).to.have.length(40);
    const counts = new Map<string, number>();
    for (const { network } of shown) counts.set(network, (counts.get(network) ?? 0) + 1);
    expect(counts.size).to.equal(16);
    expect(Math.max(...counts.values()) - Math.min(...counts.values())).to.equal(1);
    expect(selectExamples(all, 1000)).to.deep.equal(all);
  });
});

describe('report: words and numbers', () => {
  it('writes percentages, minus signs and ε as people do', () => {
    expect(percent(0.9432)).to.equal('94.3');
    expect(fixed(-0.04, 1)).to.equal('0.0');
    expect(fixed(-8.12, 1)).to.equal('−8.1');
    expect(epsilonText(0.1)).to.equal('0.1');
    expect(epsilonText(8 / 255)).to.equal('8/255');
    expect(epsilonText(0.1 + 0.2)).to.equal('0.3');
    expect(epsilonText(0)).to.equal('0');
    expect([duration(3.21), duration(59.6), duration(221.4), duration(7500)]).to.deep.equal([
      '3.2 s',
      '1 min 0 s',
      '3 min 41 s',
      '2 h 5 min',
    ]);
    expect(
      trainingHeading({ kind: 'ensemble', attack: 'pgd', steps: 7, epsilon: 0.2, mix: 0.5, sources: [] }),
    ).to.equal('Ensemble training with PGD-7 at ε = 0.2 (50 % of each batch adversarial)');
    expect(listing(['a', 'b', 'c'])).to.equal('a, b and c');
    expect(span([2000, 500, 2000])).to.equal('500 and 2,000');
  });

  it('gives the Wilson interval and the sample standard deviation', () => {
    // By its definition: the ends are those p from which the accuracy lies 1.96 standard errors away.
    for (const n of [1, 10, 400, 2000]) {
      for (const correct of [0, 1, Math.floor(n / 3), n - 1, n]) {
        const accuracy = correct / n;
        const { low, high } = wilson(accuracy, n);
        const errors = (end: number) => 1.959963984540054 * Math.sqrt((end * (1 - end)) / n);
        expect(accuracy - low).to.be.closeTo(errors(low), 1e-12);
        expect(high - accuracy).to.be.closeTo(errors(high), 1e-12);
      }
    }
    expect(deviation([2, 4, 4, 4, 5, 5, 7, 9])).to.be.closeTo(Math.sqrt(32 / 7), 1e-12);
    expect(deviation([3])).to.equal(null);
  });

  it('escapes what it interpolates, and markup only once', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const once = html`<b title="${text}">${text}</b>`;
        expect(once.text).to.match(/^<b title="[^"<>]*">[^<>]*<\/b>$/);
        expect(html`${once}`.text).to.equal(once.text);
      }),
    );
    expect(html`${[new Markup('<i>'), '<i>', 3, null, false, undefined]}`.text).to.equal('<i>&lt;i&gt;3');
  });

  it('keeps direct labels apart, inside and in order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 8 }),
        (values) => {
          const gap = 0.1;
          const placed = spreadLabels(values, gap);
          const sorted = [...placed].sort((a, b) => a - b);
          sorted.forEach((value, i) => {
            expect(value).to.be.within(0, 1);
            if (i > 0) expect(value - (sorted[i - 1] as number)).to.be.at.least(gap - 1e-9);
          });
          for (const [i, a] of values.entries()) {
            for (const [j, b] of values.entries()) {
              if (a < b) expect(placed[i] as number).to.be.lessThan(placed[j] as number);
            }
          }
        },
      ),
    );
  });
});
