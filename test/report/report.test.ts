import { expect } from 'chai';
import fc from 'fast-check';
import sharp from 'sharp';
import { isHardbitError } from '../../lib/errors.js';
import { spreadLabels } from '../../lib/report/charts.js';
import { duration, epsilonText, fixed, listing, percent, span } from '../../lib/report/format.js';
import { renderReport } from '../../lib/report/html.js';
import { decodePixels, selectExamples } from '../../lib/report/images.js';
import { escapeHtml, html, Markup } from '../../lib/report/markup.js';
import { summarize, transferMatrix } from '../../lib/report/summary.js';
import {
  type Example,
  type Examples,
  examplesSchema,
  type Results,
  resultsSchema,
} from '../../lib/study/results.js';
import { fgsmTraining, networkId, sampleExamples, sampleResults } from './sample-results.js';

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
  return page.slice(start, page.indexOf('</section>', start));
}

/** Tables of a fragment as rows of cell texts, without the marks beside figures. */
function tables(fragment: string): string[][][] {
  return [...fragment.matchAll(/<table[\s\S]*?<\/table>/g)].map(([table]) =>
    [...table.matchAll(/<tr[\s\S]*?<\/tr>/g)].map(([row]) =>
      [...row.matchAll(/<t[hd][\s\S]*?<\/t[hd]>/g)].map(([cell]) =>
        words(cell.replace(/<sup[\s\S]*?<\/sup>/g, '')).trim(),
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

/** The sample with the white-box cells of one network, attack and ε replaced. */
function withCells(
  results: Results,
  network: string,
  attack: string,
  epsilon: number,
  change: (cell: Results['whiteBox'][number]) => Partial<Results['whiteBox'][number]>,
): Results {
  return {
    ...results,
    whiteBox: results.whiteBox.map((cell) =>
      cell.network === network && cell.attack.name === attack && cell.epsilon === epsilon
        ? { ...cell, ...change(cell) }
        : cell,
    ),
  };
}

describe('report: the page', function () {
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
    const ids = [...page.matchAll(/<section id="([a-z]+)"/g)].map((match) => match[1]);
    expect(ids).to.deep.equal([
      'claims',
      'headline',
      'loss',
      'curves',
      'gradients',
      'transfer',
      'examples',
      'networks',
      'repeat',
      'method',
    ]);
  });

  it('refers to nothing outside itself and runs no script', () => {
    expect(page.replace(/base64,[A-Za-z0-9+/=]+/g, '')).to.not.match(/\/\/[a-z0-9]/i);
    expect(page).to.not.match(/<script|<link|<iframe|<object|@import|javascript:| on[a-z]+="/i);
    expect(page.match(/url\(/g)).to.equal(null);
    const sources = [...page.matchAll(/ src="([^"]*)"/g)].map((match) => match[1] as string);
    expect(sources).to.have.length(5 * 32);
    for (const source of sources) expect(source).to.match(/^data:image\/png;base64,[A-Za-z0-9+/=]+$/);
    for (const [, href] of page.matchAll(/ href="([^"]*)"/g)) {
      expect(href).to.match(/^#/);
      expect(page).to.include(`id="${(href as string).slice(1)}"`);
    }
  });

  it('balances its tags and repeats no id', () => {
    const open: string[] = [];
    const empty = new Set(['meta', 'br', 'img']);
    for (const [, slash, name, rest] of page.matchAll(/<(\/?)([a-z][a-z0-9]*)((?:"[^"]*"|[^>"])*)>/g)) {
      if (empty.has(name as string) || (rest as string).endsWith('/')) continue;
      if (slash === '') open.push(name as string);
      else expect(open.pop()).to.equal(name);
    }
    expect(open).to.deep.equal([]);
    const ids = [...page.matchAll(/ id="([^"]*)"/g)].map((match) => match[1]);
    expect(new Set(ids).size).to.equal(ids.length);
  });

  it('is the same bytes for the same input', async () => {
    expect(await renderReport(structuredClone(results), structuredClone(examples))).to.equal(page);
  });

  it('stays small', () => {
    expect(Buffer.byteLength(page)).to.be.lessThan(1_000_000);
  });

  it('shows every claim with its verdicts, criterion, threat models and figures', () => {
    const claims = section(page, 'claims');
    const text = words(claims);
    const badges = [...claims.matchAll(/class="badge (holds|fails|untested)"/g)].map((match) => match[1]);
    expect(badges.filter((badge) => badge === 'holds')).to.have.length(2 + 2 + 2 + 1);
    expect(badges.filter((badge) => badge === 'fails')).to.have.length(2 + 1 + 1);
    expect(badges.filter((badge) => badge === 'untested')).to.have.length(1 + 1 + 1);
    for (const claim of results.claims) {
      expect(text).to.include(`${claim.id}. ${claim.title}`);
      expect(text).to.include(claim.statement);
      expect(text).to.include(`Criterion, fixed beforehand: ${claim.criterion}`);
      for (const test of claim.verdicts) {
        expect(text).to.include(test.scope);
        expect(text).to.include(test.measured);
        for (const name of Object.keys(test.figures)) expect(text).to.include(name);
      }
    }
    expect(text).to.include('fails in 1 of 3 tests');
    expect(text).to.include('· black-box transfer');
    expect(text).to.include('difference −0.0812');
  });

  it('answers from the verdicts and the measured cells', () => {
    const answer = words(page.slice(0, page.indexOf('</header>')));
    expect(answer).to.include('Against single-step attacks, only in part.');
    expect(answer).to.include('Against multi-step attacks discretization alone does not hold');
    expect(answer).to.include(
      'Of the paper’s claims, 2 hold (1 and 5), 2 fail (2 and 3) and 1 was not tested (4).',
    );
    const at = (bits: number, multi: boolean) => {
      const id = networkId('none', bits, { kind: 'natural' }, 1);
      const cells = results.whiteBox.filter(
        (cell) => cell.network === id && cell.epsilon === 0.1 && (cell.attack.name === 'pgd') === multi,
      );
      return percent(Math.min(...cells.map((cell) => cell.adversarialAccuracy)));
    };
    expect(answer).to.include(
      `At ε = 0.1 the naturally trained full-precision network with 2-bit input keeps ${at(2, false)} % accuracy ` +
        `under the strongest single-step attack and ${at(2, true)} % under the strongest multi-step attack ` +
        `(8-bit input: ${at(8, false)} % and ${at(8, true)} %)`,
    );
  });

  it('answers differently where the claims come out differently', async () => {
    const judged = async (two: 'holds' | 'fails' | 'not tested', five: 'holds' | 'fails' | 'not tested') => {
      const claims = results.claims.map((claim) => {
        const verdict = claim.id === 2 ? two : claim.id === 5 ? five : claim.verdict;
        return { ...claim, verdict, verdicts: claim.verdicts.map((test) => ({ ...test, verdict })) };
      });
      const small = sampleResults({ inputBits: [2], recipes: ['none'], trainings: [{ kind: 'natural' }] });
      return words(await renderReport({ ...small, claims }, null));
    };
    expect(await judged('holds', 'holds')).to.include('Against single-step attacks, yes.');
    expect(await judged('fails', 'fails'))
      .to.include('not as the paper claims')
      .and.to.include('did not hold here');
    expect(await judged('not tested', 'not tested')).to.include(
      'Multi-step attacks were not tested far enough',
    );
  });

  it('prints the loss of the worst gradient mode by bits and recipe, with the clean accuracy and flippable fraction', async () => {
    const network = networkId('bnn', 2, { kind: 'natural' }, 1);
    const changed = withCells(results, network, 'fgsm', 0.2, (cell) => {
      const adversarialAccuracy = cell.gradientMode.sign === 'approx' ? 0.1111 : 0.7;
      return {
        cleanAccuracy: 0.9,
        adversarialAccuracy,
        adversarialLoss: 0.9 - adversarialAccuracy,
        flippableFraction: 0.4321,
        zeroGradientFraction: cell.gradientMode.sign === 'approx' ? 0.25 : 0,
      };
    });
    const loss = section(await renderReport(changed, null), 'loss');
    const table = tables(loss)[0] as string[][];
    expect(table[0]).to.deep.equal(['Input', 'Clean accuracy, %', 'ε = 0.1', 'ε = 0.2', 'ε = 0.3']);
    expect(table[2]).to.deep.equal(['Natural training']);
    const row = table[5] as string[];
    const clean = changed.networks.find((other) => other.id === network)?.cleanAccuracy as number;
    expect(row[0]).to.equal('2 bit');
    expect(row[2]).to.equal(percent(clean));
    // Input, clean ×2, then for each ε: flippable, full precision, BNN.
    expect(row[3 + 3 + 2]).to.equal('78.9');
    expect(row[3 + 3]).to.equal('100.0 / 43.2');
    expect(loss).to.include('<abbr title="discretizer identity, sign approx">a</abbr>');
    expect(loss).to.include('title="25.0\u00a0% of the images have an exactly zero first gradient"');
  });

  it('prefers the honest gradient mode where modes are equally strong', () => {
    const network = networkId('bnn', 8, { kind: 'natural' }, 1);
    const equal = withCells(results, network, 'fgsm', 0.1, () => ({ adversarialAccuracy: 0.5 }));
    const summary = summarize({ ...equal, whiteBox: [...equal.whiteBox].reverse() });
    const variant = summary.variants.find((v) => v.networks[0]?.id === network);
    const attack = summary.attacks.find((kind) => kind.label === 'FGSM');
    if (variant === undefined || attack === undefined) throw new Error('sample lacks the cell');
    expect(summary.headline(variant, attack, 0.1)?.modes).to.deep.equal([
      { discretizer: 'identity', sign: 'clipped' },
    ]);
  });

  it('marks the smallest loss of each training and ε, and ties with it, but nothing where all are equal', async () => {
    const network = (recipe: string, bits: number) => networkId(recipe, bits, { kind: 'natural' }, 1);
    const losses = new Map([
      [network('none', 8), [0.5, 0.8, 0.9]],
      [network('none', 2), [0.0203, 0.6, 0.9]],
      [network('bnn', 8), [0.6, 0.8, 0.9]],
      [network('bnn', 2), [0.0198, 0.7, 0.9]],
    ]);
    const sample = sampleResults({ inputBits: [8, 2], trainings: [{ kind: 'natural' }] });
    const changed = {
      ...sample,
      whiteBox: sample.whiteBox.map((cell) => {
        const adversarialLoss = losses.get(cell.network)?.[[0.1, 0.2, 0.3].indexOf(cell.epsilon)] as number;
        return { ...cell, adversarialLoss, adversarialAccuracy: 1 - adversarialLoss, cleanAccuracy: 1 };
      }),
    };
    const loss = section(await renderReport(changed, null), 'loss');
    const first = loss.slice(loss.indexOf('<tbody>'), loss.indexOf('</tbody>'));
    expect([...first.matchAll(/<mark>([^<]*)<\/mark>/g)].map((match) => match[1])).to.deep.equal([
      '2.0',
      '2.0',
      '60.0',
    ]);
  });

  it('says n, seed, threat model and gradient mode in every caption of figures', () => {
    for (const id of ['headline', 'loss', 'curves', 'gradients', 'transfer']) {
      const captions = [...section(page, id).matchAll(/<figcaption>([\s\S]*?)<\/figcaption>/g)].map((match) =>
        words(match[1] as string),
      );
      expect(captions, id).to.not.have.length(0);
      for (const caption of captions) {
        expect(caption).to.match(/n = 2,000 test images, seed 1\b/);
        expect(caption).to.match(/White-box|Black-box transfer/);
        expect(caption).to.match(/gradient/i);
      }
    }
    expect(words(section(page, 'examples'))).to.include('(white-box, discretizer identity, sign clipped)');
  });

  it('draws a panel for every training, recipe and attack, with the clean point and a line a bit depth', () => {
    const curves = section(page, 'curves');
    const panels = [
      ...curves.matchAll(/<div class="chart" role="img" aria-label="([^"]*)">([\s\S]*?)<\/svg>/g),
    ];
    expect(panels).to.have.length(2 * 2 * 3);
    for (const [, label, svg] of panels) {
      expect(label).to.match(/8 bit: [\d.]+\u00a0% at 0, [\d.]+\u00a0% at 0\.1,/);
      for (const bits of ['8 bit', '4 bit', '2 bit', '1 bit']) expect(svg).to.include(`>${bits}</text>`);
      expect(svg).to.include('fill="currentColor"');
      expect(svg).to.not.match(/fill="(black|#000|#888|white)"/);
      expect((svg as string).match(/NaN|undefined|Infinity/)).to.equal(null);
    }
    const fgsm = networkId('none', 8, { kind: 'natural' }, 1);
    const cell = results.whiteBox.find(
      (c) => c.network === fgsm && c.attack.name === 'fgsm' && c.epsilon === 0.1,
    );
    expect(panels[0]?.[1]).to.include(`${percent(cell?.adversarialAccuracy as number)}\u00a0% at 0.1`);
  });

  it('compares gradient modes and labels the exact one as a masking demonstration', () => {
    const gradients = section(page, 'gradients');
    expect(tables(gradients)).to.have.length(3 + 1 + 1);
    const head = (tables(gradients)[0] as string[][])[1] as string[];
    expect(head.slice(0, 4)).to.deep.equal(['clipped', 'identity', 'approx', 'exactmasking demo']);
    expect(words(gradients)).to.include('they demonstrate masking and measure no robustness');
    expect(gradients).to.include('flagged: the attack is blind on these images');
  });

  it('compares modes only where more than one was tried', async () => {
    const sample = sampleResults({ inputBits: [2], trainings: [{ kind: 'natural' }] });
    const few = {
      ...sample,
      whiteBox: sample.whiteBox.filter(
        ({ attack, epsilon, gradientMode }) =>
          (attack.name === 'fgsm' && epsilon === 0.1) ||
          (gradientMode.discretizer === 'identity' && (gradientMode.sign ?? 'clipped') === 'clipped'),
      ),
    };
    const [sign, discretizer, zeros, ...more] = tables(section(await renderReport(few, null), 'gradients'));
    expect(sign?.[0]).to.deep.equal(['Input', 'ε = 0.1']);
    expect(discretizer?.[0]).to.deep.equal(['Input', 'FGSM, ε = 0.1']);
    expect(zeros).to.not.equal(undefined);
    expect(more).to.deep.equal([]);
  });

  it('shows one transfer matrix an attack with the twins framed', () => {
    const transfer = section(page, 'transfer');
    const maps = tables(transfer);
    expect(maps).to.have.length(3);
    for (const map of maps) {
      expect(map.slice(3)).to.have.length(16);
      for (const row of map.slice(3))
        expect(row.slice(-16).every((cell) => /^\d+\.\d$/.test(cell))).to.equal(true);
    }
    expect(transfer.match(/class="diagonal"/g)).to.have.length(3 * 16);
    expect(words(transfer)).to.include(
      'Framed: the source is T, a twin of the target trained from another seed.',
    );
  });

  it('puts a transfer figure where its source and target cross', () => {
    const summary = summarize(results);
    const attack = summary.attacks.find((kind) => kind.label === 'PGD-20');
    if (attack === undefined) throw new Error('sample lacks PGD');
    const matrix = transferMatrix(summary, attack, 0.2);
    for (const record of results.transfer) {
      if (record.attack.name !== 'pgd' || record.epsilon !== 0.2) continue;
      const bare = record.source.replace('-twin', '');
      const source = summary.variants.find((v) => v.networks.some((network) => network.id === bare));
      const target = summary.variants.find((v) => v.networks.some((network) => network.id === record.target));
      if (source === undefined || target === undefined) throw new Error('unknown network');
      expect(matrix.cell(source, target)?.accuracy).to.equal(record.adversarialAccuracy);
      expect(matrix.cell(source, target)?.diagonal).to.equal(record.diagonal);
    }
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

  it('lists every network, twins included', () => {
    const rows = (tables(section(page, 'networks'))[0] as string[][]).slice(1);
    expect(rows).to.have.length(32);
    expect(rows.filter((row) => row[0]?.endsWith(' twin'))).to.have.length(16);
    expect(rows[0]).to.include('715,610');
  });
});

describe('report: unusual studies', function () {
  this.timeout(60_000);

  it('escapes every name it is given', async () => {
    const evil = `<script>alert("1")</script> & 'x' 50 %`;
    const results = sampleResults({ inputBits: [2], recipes: ['none'], trainings: [{ kind: 'natural' }] });
    const only = results.networks[0];
    if (only === undefined) throw new Error('empty sample');
    const renamed = {
      ...results,
      command: evil,
      preset: evil,
      library: { name: evil, version: evil },
      dataset: { ...results.dataset, name: evil, sha256: { [evil]: evil } },
      machine: { ...results.machine, cpu: evil, isa: evil, platform: evil },
      networks: results.networks.map((network) => ({
        ...network,
        id: network.id === only.id ? evil : network.id,
        model: evil,
        recipe: evil,
      })),
      whiteBox: results.whiteBox.map((cell) => ({
        ...cell,
        network: evil,
        attack: { ...cell.attack, name: evil + cell.attack.name },
      })),
      transfer: results.transfer.map((cell) => ({
        ...cell,
        target: evil,
        attack: { ...cell.attack, name: evil },
      })),
      claims: results.claims.map((claim) => ({
        ...claim,
        title: evil,
        statement: evil,
        criterion: evil,
        verdicts: claim.verdicts.map((test) => ({
          ...test,
          scope: evil,
          measured: evil,
          figures: { [evil]: 1 },
        })),
      })),
    };
    const examples = sampleExamples(results, 1);
    const page = await renderReport(renamed, {
      ...examples,
      examples: examples.examples.map((example) => ({
        ...example,
        network: evil,
        attack: { ...example.attack, name: evil },
      })),
    });
    expect(page).to.not.match(/<script/i);
    expect(page).to.include(`<pre><code>${escapeHtml(evil)}</code></pre>`);
    expect(page).to.not.include(`alert("1")`);
    // Nothing that came from data closed an attribute.
    for (const [tag] of page.matchAll(/<[a-z](?:"[^"]*"|[^>"])*>/g)) expect(tag).to.not.match(/alert\("/);
  });

  it('averages over seeds and prints the range', async () => {
    const results = sampleResults({
      seeds: [1, 2, 3],
      inputBits: [8, 2],
      recipes: ['none'],
      trainings: [{ kind: 'natural' }],
      epsilons: [0.1],
    });
    const summary = summarize(results);
    expect(summary.variants).to.have.length(2);
    const [variant] = summary.variants;
    const [attack] = summary.attacks;
    if (variant === undefined || attack === undefined) throw new Error('empty sample');
    const accuracies = [1, 2, 3].map((seed) =>
      Math.min(
        ...results.whiteBox
          .filter(
            (cell) =>
              cell.network === networkId('none', 8, { kind: 'natural' }, seed) && cell.attack.name === 'fgsm',
          )
          .map((cell) => cell.adversarialAccuracy),
      ),
    );
    const cell = summary.headline(variant, attack, 0.1);
    expect(cell?.accuracy).to.be.closeTo(accuracies.reduce((a, b) => a + b) / 3, 1e-12);
    expect(cell?.lowest).to.equal(Math.min(...accuracies));
    const page = await renderReport(results, null);
    expect(words(page)).to.include('mean over seeds 1 to 3');
    expect(page).to.include(
      `<small>${percent(Math.min(...accuracies))} to ${percent(Math.max(...accuracies))}</small>`,
    );
  });

  it('renders a study without attacks, transfer, examples or claims', async () => {
    const results = sampleResults({
      inputBits: [2],
      recipes: ['none'],
      trainings: [{ kind: 'natural' }],
      twins: false,
    });
    const page = words(await renderReport({ ...results, whiteBox: [], transfer: [], claims: [] }, null));
    expect(page).to.include('This study has no white-box attacks.');
    expect(page).to.include('This study has no transfer attacks.');
    expect(page).to.include('This study kept no example images.');
    expect(page).to.not.match(/NaN|undefined|Infinity/);
  });

  it('keeps two architectures, further bit depths and a missing cell apart', async () => {
    const one = sampleResults({ inputBits: [8, 5, 3], recipes: ['none', 'bnn'], twins: false });
    const other = {
      ...one,
      networks: [
        ...one.networks,
        ...one.networks.map((n) => ({ ...n, id: `cnn-${n.id}`, model: 'mnist-cnn' })),
      ],
      whiteBox: [
        ...one.whiteBox,
        ...one.whiteBox.map((cell) => ({ ...cell, network: `cnn-${cell.network}` })),
      ].slice(5),
    };
    const page = await renderReport(other, null);
    expect(tables(section(page, 'loss'))).to.have.length(6);
    expect(words(section(page, 'loss'))).to.include('Adversarial loss under PGD-20, mnist-cnn');
    expect(section(page, 'loss')).to.include('<td class="none">–</td>');
    expect(words(section(page, 'transfer'))).to.include('that is white-box');
    expect(page).to.not.match(/NaN|undefined|Infinity/);
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
    expect(listing(['a', 'b', 'c'])).to.equal('a, b and c');
    expect(span([2000, 500, 2000])).to.equal('500 and 2,000');
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
