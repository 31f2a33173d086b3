import type { ClaimRecord, Examples, Results } from '../study/results.js';
import { accuracyCurves } from './charts.js';
import {
  attackName,
  bitsLabel,
  count,
  duration,
  epsilonText,
  figure,
  fixed,
  listing,
  networkLabel,
  percent,
  recipeLabel,
  span,
  trainingHeading,
} from './format.js';
import { heatmap, heatScale } from './heatmap.js';
import { exampleFigures, fallColor, riseColor, selectExamples } from './images.js';
import { html, Markup } from './markup.js';
import { styleSheet } from './style.js';
import {
  attackKinds,
  distinct,
  type Measured,
  type Summary,
  summarize,
  type TransferMatrix,
  trainingKey,
  transferMatrix,
  type Variant,
} from './summary.js';
import {
  headlineTable,
  lossTables,
  modeTables,
  networksTable,
  provenance,
  zeroGradientTable,
} from './tables.js';

/** Rows of example images shown; the rest stay in examples.json. */
const exampleLimit = 40;

type Verdict = ClaimRecord['verdict'];

const verdictMarks = {
  holds: { mark: '✓', className: 'holds' },
  fails: { mark: '✗', className: 'fails' },
  'not tested': { mark: '–', className: 'untested' },
} as const;

function badge(verdict: Verdict): Markup {
  const { mark, className } = verdictMarks[verdict];
  return html`<span class="badge ${className}"><span aria-hidden="true">${mark} </span>${verdict}</span>`;
}

const threatLabels = { none: 'no attack', 'white-box': 'white-box', transfer: 'black-box transfer' } as const;

/** '2026-01-02T03:04:05.678Z' → '2026-01-02 03:04 UTC'; any other text as it is. */
function moment(iso: string): string {
  return iso.replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:[\d.]+)?Z$/, '$1 $2 UTC');
}

/** The paper's question, answered in one or two sentences that follow from the verdicts of claims 2 and 5. */
function shortAnswer(claims: readonly ClaimRecord[]): string {
  const of = (id: number): Verdict => claims.find((claim) => claim.id === id)?.verdict ?? 'not tested';
  const some = (id: number): boolean =>
    claims.find((claim) => claim.id === id)?.verdicts.some((test) => test.verdict === 'holds') ?? false;
  const single = of(2);
  const multi = of(5);
  const first = {
    holds: 'Against single-step attacks, yes.',
    fails: some(2)
      ? 'Against single-step attacks, only in part.'
      : 'Against single-step attacks, not as the paper claims.',
    'not tested': 'Single-step attacks were not tested far enough to say.',
  }[single];
  const second = {
    holds:
      'Against multi-step attacks discretization alone does not hold, and discretization with adversarial training is the better defence.',
    fails: some(5)
      ? 'What the paper says of multi-step attacks and adversarial training holds only in part.'
      : 'What the paper says of multi-step attacks and adversarial training did not hold here.',
    'not tested': 'Multi-step attacks were not tested far enough to say.',
  }[multi];
  return `${first} ${second}`;
}

/** 'Of the paper's five claims, 3 hold (1, 2 and 5), 1 fails (4) and 1 was not tested (3).' */
function tallySentence(claims: readonly ClaimRecord[]): string {
  const ids = (verdict: Verdict) =>
    claims.filter((claim) => claim.verdict === verdict).map((claim) => String(claim.id));
  const part = (verdict: Verdict, one: string, many: string) => {
    const list = ids(verdict);
    return list.length === 0 ? [] : [`${list.length} ${list.length === 1 ? one : many} (${listing(list)})`];
  };
  const parts = [
    ...part('holds', 'holds', 'hold'),
    ...part('fails', 'fails', 'fail'),
    ...part('not tested', 'was not tested', 'were not tested'),
  ];
  return parts.length === 0 ? '' : `Of the paper’s claims, ${listing(parts)}.`;
}

/** The same comparison for every study: 2 against 8 bits, full precision, natural, at the smallest and largest ε. */
function measuredSentence(summary: Summary): string {
  const pick = (bits: number): Variant | undefined =>
    summary.variants.find(
      (variant) =>
        variant.inputBits === bits && variant.recipe === 'none' && variant.training.kind === 'natural',
    );
  const fine = pick(8);
  const coarse = pick(2);
  if (fine === undefined || coarse === undefined) return '';
  const single = summary.attacks.filter((attack) => !attack.multiStep);
  const multi = summary.attacks.filter((attack) => attack.multiStep);
  const smallest = summary.epsilons[0];
  const largest = summary.epsilons[summary.epsilons.length - 1];
  const families = [
    { name: 'single-step', attacks: single },
    { name: 'multi-step', attacks: multi },
  ];
  const sentences = [...new Set([smallest, largest])].flatMap((epsilon) => {
    if (epsilon === undefined) return [];
    const kept = families.flatMap(({ name, attacks }) => {
      const two = summary.strongest(coarse, attacks, epsilon);
      const eight = summary.strongest(fine, attacks, epsilon);
      return two === null || eight === null
        ? []
        : [{ name, two: `${percent(two.accuracy)} %`, eight: `${percent(eight.accuracy)} %` }];
    });
    const eights = listing(kept.map(({ eight }) => eight));
    const twos = listing(
      epsilon === smallest
        ? kept.map(
            ({ name, two }, i) => `${two}${i === 0 ? ' accuracy' : ''} under the strongest ${name} attack`,
          )
        : kept.map(({ two }) => two),
    );
    const subject =
      epsilon === smallest
        ? 'the naturally trained full-precision network with 2-bit input keeps'
        : 'it keeps';
    return kept.length === 0
      ? []
      : [
          `${epsilon === smallest ? 'At' : 'at'} ε = ${epsilonText(epsilon)} ${subject} ${twos} (8-bit input: ${eights})`,
        ];
  });
  return sentences.length === 0 ? '' : `${sentences.join('; ')}.`;
}

function header(summary: Summary): Markup {
  const { results } = summary;
  const { claims } = results;
  const cells = results.whiteBox;
  const facts = [
    `${datasetLabel(results.dataset.name)}, ${listing(summary.models)}`,
    cells.length > 0 && `n = ${span(cells.map((cell) => cell.n))} test images`,
    `seed ${span(results.seeds, String)}`,
    'white-box under the strongest gradient mode found unless it says otherwise',
  ].filter((fact) => fact !== false);
  return html`<header>
<p class="kicker">A robustness study with ${results.library.name} · ${datasetLabel(results.dataset.name)} · preset ${results.preset}</p>
<h1>Do discretized inputs and binary weights make neural networks robust against adversarial attacks?</h1>
<p class="lead"><b>${shortAnswer(claims)}</b> ${tallySentence(claims)} ${measuredSentence(summary)} Attacked accuracy only bounds robustness from above: a stronger attack may lower it.</p>
<p class="byline">${facts.join('; ')}. The question and the claims are those of Panda, Chakraborty and Roy, “Discretization based Solutions for Secure Machine Learning against Adversarial Attacks” (IEEE Access 2019, arXiv 1902.03151). Finished ${moment(results.finishedAt)} after ${duration(results.seconds)}.</p>
<ul class="tally">${claims.map(
    (claim) =>
      html`<li>${badge(claim.verdict)}<a href="#claim-${claim.id}">${claim.id}. ${claim.title}</a></li>`,
  )}</ul>
<nav aria-label="Contents"><ol>${sections.map(
    ([id, title]) => html`<li><a href="#${id}">${title}</a></li>`,
  )}</ol></nav>
</header>
`;
}

const sections = [
  ['claims', 'The claims'],
  ['headline', 'Headline figures'],
  ['loss', 'Adversarial loss'],
  ['curves', 'Accuracy against ε'],
  ['gradients', 'Gradient modes'],
  ['transfer', 'Transfer'],
  ['examples', 'Examples'],
  ['networks', 'Networks'],
  ['repeat', 'How to repeat it'],
  ['method', 'Method'],
] as const;

/** Keeps 'ε = 0.1' and '95 %' on one line. */
function typeset(markup: Markup): Markup {
  return new Markup(markup.text.replaceAll('ε = ', 'ε\u00a0=\u00a0').replace(/(\d) %/g, '$1\u00a0%'));
}

type SectionId = (typeof sections)[number][0];

function section(id: SectionId, title: string, body: Markup): Markup {
  return html`<section id="${id}" aria-labelledby="${id}-title">
<h2 id="${id}-title">${title}</h2>
${body}</section>
`;
}

function datasetLabel(name: string): string {
  return name === 'mnist' ? 'MNIST' : name;
}

function claimArticle(claim: ClaimRecord): Markup {
  const tested = claim.verdicts.filter((test) => test.verdict !== 'not tested');
  const held = tested.filter((test) => test.verdict === 'holds');
  const tally =
    claim.verdict === 'fails' && held.length > 0
      ? ` in ${tested.length - held.length} of ${tested.length} tests`
      : '';
  return html`<article class="claim" id="claim-${claim.id}">
<h3><span>${claim.id}. ${claim.title}</span><span>${badge(claim.verdict)}<small class="quiet">${tally}</small></span></h3>
<p>${claim.statement}</p>
<p class="criterion">Criterion, fixed beforehand: ${claim.criterion}</p>
<ul class="tests">
${claim.verdicts.map((test) => {
  const figures = Object.entries(test.figures);
  const label = threatLabels[test.threatModel];
  const threat = !test.scope.includes(test.threatModel) && html` <span>· ${label}</span>`;
  return html`<li><div>${badge(test.verdict)}</div><div><span class="scope">${test.scope}${threat}</span><br>${test.measured}${
    figures.length > 0 &&
    html`<details><summary>Figures</summary><dl class="figures">${figures.map(
      ([name, value]) => html`<div><dt>${name}</dt><dd>${figure(value)}</dd></div>`,
    )}</dl></details>`
  }</div></li>
`;
})}</ul>
</article>
`;
}

/** Panels by training, then recipe, then attack. */
async function curves(summary: Summary): Promise<Markup> {
  const blocks: Markup[] = [];
  for (const model of summary.models) {
    for (const training of summary.trainings) {
      const panels: Markup[] = [];
      const seen: (Measured | null)[] = [];
      for (const recipe of summary.recipes) {
        const variants = summary.variants.filter(
          (variant) =>
            variant.model === model &&
            variant.recipe === recipe &&
            trainingKey(variant.training) === trainingKey(training),
        );
        for (const attack of summary.attacks) {
          const panel = await accuracyCurves(summary, variants, attack);
          if (panel === null) continue;
          panels.push(panel);
          for (const variant of variants) {
            seen.push(...attack.epsilons.map((epsilon) => summary.headline(variant, attack, epsilon)));
          }
        }
      }
      if (panels.length === 0) continue;
      blocks.push(html`<figure class="curves">
<figcaption><b>${summary.models.length > 1 && `${model}, `}${trainingHeading(training)}: accuracy against ε.</b> ${provenance(
        seen,
        'White-box',
      )}, strongest gradient mode at each point. The point at ε = 0 is the clean accuracy; labels name the input’s bit depth.</figcaption>
<div class="panels">
${panels}</div>
</figure>
`);
    }
  }
  return html`${blocks}`;
}

function gradients(summary: Summary): Markup {
  const tables = modeTables(summary);
  const zeros = zeroGradientTable(summary);
  return html`<p>A discretizer and a sign layer have no useful derivative, so an attacker must choose a substitute. These tables compare the choices; everywhere else each cell stands under the choice that hurt most. The substitutes are explained under <a href="#method">Method</a>.</p>
${tables.length > 0 ? tables : html`<p>Every network of this study was attacked under one gradient mode only, so there is nothing to compare.</p>`}
${zeros}`;
}

/** Of one attack, the ε at which the matrix tells most: where accuracies differ most between its cells. */
function mostTelling(matrices: readonly TransferMatrix[]): TransferMatrix | undefined {
  const spread = (matrix: TransferMatrix) => {
    const values = matrix.measured.map((cell) => cell.accuracy);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  };
  return matrices.reduce<TransferMatrix | undefined>(
    (best, matrix) => (best === undefined || spread(matrix) > spread(best) ? matrix : best),
    undefined,
  );
}

function transfer(summary: Summary): Markup {
  const { results } = summary;
  if (results.transfer.length === 0) return html`<p>This study has no transfer attacks.</p>`;
  const kinds = attackKinds(results.transfer);
  const maps = kinds.flatMap((attack) => {
    const matrix = mostTelling(attack.epsilons.map((epsilon) => transferMatrix(summary, attack, epsilon)));
    if (matrix === undefined) return [];
    const others = attack.epsilons.filter((epsilon) => epsilon !== matrix.epsilon).map(epsilonText);
    const modes = distinct(
      matrix.measured.flatMap((cell) => cell.modes),
      (mode) => `${mode.discretizer} ${mode.sign}`,
    );
    const signs = listing([...new Set(modes.flatMap((mode) => (mode.sign === null ? [] : [mode.sign])))]);
    const discretizers = listing([...new Set(modes.map((mode) => mode.discretizer))]);
    const marks = new Set(
      matrix.variants
        .map((variant) => matrix.cell(variant, variant)?.diagonal)
        .filter((mark) => mark != null),
    );
    const diagonal = [
      marks.has('twin') && 'T, a twin of the target trained from another seed',
      marks.has('white-box') && 'W, the target itself, that is white-box',
    ].filter((text) => text !== false);
    return [
      html`<figure class="table">
<figcaption><b>${attack.label} at ε = ${epsilonText(matrix.epsilon)}: the target’s accuracy in %</b> on images made against the source. ${provenance(
        matrix.measured,
        'Black-box transfer',
      )}; gradients of the source with discretizer ${discretizers}${signs !== '' && `, sign ${signs}`}.${
        diagonal.length > 0 && ` Framed: the source is ${listing(diagonal)}.`
      }${others.length > 0 && ` Shown at the ε where cells differ most; ${listing(others)} ${others.length > 1 ? 'are' : 'is'} in transfer.csv.`}</figcaption>
${heatmap(matrix)}
</figure>
`,
    ];
  });
  return html`<p>Here the attacker cannot see the target: images are made with the gradients of a source network and shown to another. Dark cells are attacks that carried over.</p>
${heatScale()}
${maps}`;
}

async function exampleSection(results: Results, examples: Examples | null): Promise<Markup> {
  if (examples === null || examples.examples.length === 0) {
    return html`<p>This study kept no example images.</p>`;
  }
  const shown = selectExamples(examples.examples, exampleLimit);
  const byId = new Map(results.networks.map((network) => [network.id, network]));
  const swatch = (color: readonly number[]) =>
    html`<span class="swatch" style="background:rgb(${color.join(',')})"></span>`;
  const groups = await Promise.all(
    distinct(shown, (example) => example.network).map(async ({ network: id }) => {
      const figures = await exampleFigures(
        shown.filter((example) => example.network === id),
        examples.imageShape,
      );
      const network = byId.get(id);
      return html`<h3>${network === undefined ? id : networkLabel(network)}</h3>
<div class="examples">
${figures}</div>
`;
    }),
  );
  return html`<p>From left to right: the clean image; what the network sees of it after discretization; the attacked image; what the network sees of that; and the change of the codes, ${swatch(riseColor)}raised and ${swatch(fallColor)}lowered, stronger colour for a larger change, with the share of codes that changed and the largest change.</p>
${shown.length < examples.examples.length && html`<p>${shown.length} of ${count(examples.examples.length)} examples are shown, spread over the networks; the rest are in examples.json.</p>`}
${groups}`;
}

function repeat(results: Results): Markup {
  const { machine, dataset, library } = results;
  return html`<pre><code>${results.command}</code></pre>
<p>The same seed on the same machine with the same number of threads gives the same networks, bit for bit. Every cell behind this page is in networks.csv, white-box.csv and transfer.csv beside it, and in results.json.</p>
<dl class="facts">
<dt>Library</dt><dd>${library.name} ${library.version}</dd>
<dt>Seeds</dt><dd>${results.seeds.join(', ')}</dd>
<dt>Machine</dt><dd>${machine.cpu}; kernels ${machine.isa}; ${machine.threads} ${machine.threads === 1 ? 'thread' : 'threads'}; Node ${machine.node.replace(/^v/, '')}; ${machine.platform}</dd>
<dt>Time</dt><dd>${duration(results.seconds)} in all, of which ${duration(
    results.networks.reduce((sum, network) => sum + network.trainSeconds, 0),
  )} training; finished ${results.finishedAt}</dd>
<dt>Data</dt><dd>${datasetLabel(dataset.name)}: ${count(dataset.trainExamples)} training and ${count(dataset.testExamples)} test images</dd>
${Object.entries(dataset.sha256).map(
  ([file, hash]) => html`<dt>SHA-256 of ${file}</dt><dd><code>${hash}</code></dd>
`,
)}</dl>
`;
}

function method(summary: Summary): Markup {
  const { results } = summary;
  const specs = distinct(
    [...results.whiteBox, ...results.transfer].map((cell) => cell.attack),
    (attack) => JSON.stringify(attack),
  );
  const lines = distinct(specs, (attack) => attack.name).map((first) => {
    const same = specs.filter((attack) => attack.name === first.name);
    const sizes = (name: string, value: (attack: (typeof specs)[number]) => number | undefined) => {
      const sizesByEpsilon = same.flatMap((attack) => {
        const size = value(attack);
        return size === undefined
          ? []
          : [`${Number(size.toPrecision(4))} at ε = ${epsilonText(attack.epsilon)}`];
      });
      return sizesByEpsilon.length === 0 ? [] : [`${name} ${[...new Set(sizesByEpsilon)].join(', ')}`];
    };
    const parts = [
      ...[
        ...new Set(same.flatMap((attack) => (attack.steps === undefined ? [] : [`${attack.steps} steps`]))),
      ],
      ...sizes('step size', (attack) => attack.stepSize),
      ...sizes('α', (attack) => attack.alpha),
      ...(first.randomStart === undefined ? [] : [first.randomStart ? 'random start' : 'no random start']),
      ...(first.restarts === undefined
        ? []
        : [
            `restarts ${span(
              same.flatMap((attack) => attack.restarts ?? []),
              String,
            )}`,
          ]),
      ...(first.targeted ? ['targeted'] : []),
    ];
    return html`<dd>${attackName(first.name)}: ${parts.length === 0 ? 'one step of size ε' : parts.join('; ')}.</dd>
`;
  });
  const n = Math.min(...results.whiteBox.map((cell) => cell.n));
  const half = (accuracy: number) => fixed(196 * Math.sqrt((accuracy * (1 - accuracy)) / n), 1);
  const interval =
    Number.isFinite(n) && n > 0
      ? `With n = ${count(n)} a figure’s 95 % interval is about ±${half(0.5)} points at 50 % and ±${half(0.95)} at 95 %.`
      : '';
  return html`<dl class="notes">
<dt>Images, ε and the ball</dt>
<dd>Pixels lie in [0, 1] and ε is in the same units. An attacked image stays within lo = max(0, x − ε) and hi = min(1, x + ε) of the clean one, pixel by pixel, computed in 32-bit floats. Whether an attack succeeded is decided by predicting the stored attacked image again, not by the attack.</dd>
<dt>Discretization</dt>
<dd>A network with b-bit input rounds every pixel to the nearest of 2<sup>b</sup> evenly spaced levels, its codes 0 to 2<sup>b</sup> − 1, before its first layer. The attacker works on pixels, through the discretizer.</dd>
<dt>Flippable fraction</dt>
<dd>The share of pixels whose code can change at all within ε: those where lo and hi have different codes. Where it is small, a network is safe because the attack has little to change. At 2 bits the rounding thresholds lie at 1/6, 1/2 and 5/6, so that a pixel at exactly 0 or 1 cannot change for ε below 1/6.</dd>
<dt>Adversarial loss</dt>
<dd>Clean accuracy minus accuracy under attack, on the same images, in percentage points.</dd>
<dt>Threat models</dt>
<dd>White-box: the attacker uses the gradients of the network under attack. Black-box transfer: the attacker uses those of a named source network only. The diagonal of the transfer matrix uses a twin, the same network trained from another seed, where there is one.</dd>
<dt>Gradient modes</dt>
<dd>Rounding and sign have derivative zero almost everywhere. <i>Identity</i> passes the gradient through unchanged; <i>clipped</i> passes it where the input of the sign lies in [−1, 1]; <i>approx</i> uses a triangle over [−1, 1] in its place; <i>exact</i> uses the true derivative, zero, and exists only to show how a masked gradient passes for robustness. The mode is the attacker’s choice, independent of how the network was trained. Unless a table compares modes, each figure is the lowest accuracy over all modes tried.</dd>
<dt>Adversarial training</dt>
<dd>A share of each training batch is replaced by images attacked with the network as it is at that step.</dd>
<dt>Attacks in this study</dt>
${lines}<dt>n and seeds</dt>
<dd>n is the number of test images a figure rests on. With several seeds a figure is the mean and the small figures beneath it are the lowest and the highest. ${interval}</dd>
</dl>
`;
}

/**
 * The report as one HTML document that needs nothing else: style, charts and images are inline, there is no script.
 * The same results give the same bytes.
 *
 * @throws ERR_HARDBIT_FORMAT where an example's pixels do not fit the stated image shape or bit depth
 */
export async function renderReport(results: Results, examples: Examples | null): Promise<string> {
  const summary = summarize(results);
  const loss = lossTables(summary);
  const nothing = html`<p>This study has no white-box attacks.</p>`;
  const attacked = results.whiteBox.length > 0;
  const titles = new Map<SectionId, string>(sections);
  const bodies: readonly (readonly [SectionId, Markup])[] = [
    [
      'claims',
      html`<p>The paper makes five claims. Each was judged by a criterion fixed before anything was measured, and a claim that fails is reported as failing.</p>
${results.claims.map(claimArticle)}`,
    ],
    ['headline', attacked ? headlineTable(summary) : nothing],
    [
      'loss',
      attacked
        ? html`<p>As in the paper: how many points of accuracy an attack costs, by input bits and recipe (${listing(
            summary.recipes.map(recipeLabel),
          )}). Beside each ε stands the flippable fraction, the share of pixels whose code an attacker can change at all; where it is near zero, a small loss says little.</p>
${loss}`
        : nothing,
    ],
    ['curves', attacked ? await curves(summary) : nothing],
    ['gradients', attacked ? gradients(summary) : nothing],
    ['transfer', transfer(summary)],
    ['examples', await exampleSection(results, examples)],
    ['networks', networksTable(results)],
    ['repeat', repeat(results)],
    ['method', method(summary)],
  ];
  const bits = listing(summary.inputBits.map(bitsLabel));
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="${results.library.name} ${results.library.version}">
<meta name="description" content="Robustness of networks with ${bits} input on ${datasetLabel(results.dataset.name)}: ${shortAnswer(results.claims)}">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Robustness of discretized networks on ${datasetLabel(results.dataset.name)} · ${results.library.name}</title>
<style>
${new Markup(styleSheet)}
</style>
</head>
<body>
${typeset(header(summary))}<main>
${bodies.map(([id, body]) => section(id, titles.get(id) as string, id === 'repeat' ? body : typeset(body)))}</main>
<footer><p>Written by ${results.library.name} ${results.library.version}. This page is complete in itself: no script, no request to anywhere.</p></footer>
</body>
</html>
`;
  return page.text;
}
