import type {
  Examples,
  GradientModeRecord,
  NetworkRecord,
  TransferRecord,
  WhiteBoxRecord,
} from '../study/results.js';
import { classes, modeHead, scrollTable } from './cells.js';
import { attackCurves, trainingCurves } from './charts.js';
import {
  attackLabel,
  bitsLabel,
  count,
  duration,
  epsilonText,
  fixed,
  intervalText,
  isMasking,
  modeLabel,
  networkLabel,
  percent,
  recipeText,
  trainingHeading,
  trainingLabel,
} from './format.js';
import { exampleFigures } from './images.js';
import { html, type Markup } from './markup.js';
import { zeroGradientFlag } from './modes.js';
import { datasetLabel, document, networkLink, section, typeset } from './page.js';
import { wilson } from './statistics.js';
import { compareModes, distinct, grouped, modeKey, type Summary } from './summary.js';

/** What the pages of all networks look up. */
export interface NetworkIndex {
  readonly summary: Summary;
  readonly examples: Examples | null;
  readonly bySource: ReadonlyMap<string, readonly TransferRecord[]>;
  readonly byTarget: ReadonlyMap<string, readonly TransferRecord[]>;
}

export function indexNetworks(summary: Summary, examples: Examples | null): NetworkIndex {
  const { transfer } = summary.results;
  return {
    summary,
    examples,
    bySource: grouped(transfer, ({ source }) => source),
    byTarget: grouped(transfer, ({ target }) => target),
  };
}

/** Rows of the transfer tables; the rest stands in transfer.csv. */
const transferLimit = 8;

function facts(network: NetworkRecord, { summary }: NetworkIndex): Markup {
  const siblings = summary.results.networks.filter(
    (other) => other.variant === network.variant && other.id !== network.id,
  );
  const { training } = network;
  const sources = training.kind === 'ensemble' ? training.sources : [];
  const link = (id: string) => {
    const other = summary.byId.get(id);
    return other === undefined ? id : networkLink(other, networkLabel(other), '../');
  };
  return html`<dl class="facts">
<dt>Model</dt><dd>${network.model}: ${count(network.parameters)} parameters, ${count(network.macs)} multiply-accumulates an image</dd>
<dt>Recipe</dt><dd>${recipeText(network.recipe)}, ${bitsLabel(network.inputBits)} input</dd>
<dt>Training</dt><dd>${trainingHeading(training)}; ${network.epochs} epochs in batches of ${network.batchSize}, seed ${network.seed}, ${duration(network.trainSeconds)}</dd>
${sources.length > 0 && html`<dt>Static sources</dt><dd>${sources.map((id, i) => html`${i > 0 && '; '}${link(id)}`)}</dd>`}
<dt>Clean accuracy</dt><dd><b>${percent(network.cleanAccuracy)} %</b>, 95 % interval ${intervalText(
    wilson(network.cleanAccuracy, network.n),
  )} %, n = ${count(network.n)} test images</dd>
<dt>Model file</dt><dd><code>${network.file}</code></dd>
${siblings.length > 0 && html`<dt>Same, other seeds</dt><dd>${siblings.map((other, i) => html`${i > 0 && '; '}${networkLink(other, `seed ${other.seed}${other.twin ? ' (twin)' : ''}`, '../')}`)}</dd>`}
</dl>
`;
}

function modeCell(cell: WhiteBoxRecord | undefined, mode: GradientModeRecord, lowest: number): Markup {
  if (cell === undefined) return html`<td class="none">–</td>`;
  const masked = isMasking(mode);
  const remaining = cell.coverage === 'remaining';
  const text = percent(cell.adversarialAccuracy);
  const notes = [
    remaining && `of the ${count(cell.attacked)} left`,
    cell.zeroGradientFraction !== null &&
      cell.zeroGradientFraction >= zeroGradientFlag &&
      !masked &&
      `${percent(cell.zeroGradientFraction)} % without gradient`,
  ].filter((note) => note !== false);
  const worst = !masked && !remaining && cell.adversarialAccuracy === lowest;
  return html`<td${classes(masked && 'masking')}>${worst ? html`<mark>${text}</mark>` : text}${
    notes.length > 0 && html`<small>${notes.join(', ')}</small>`
  }</td>`;
}

/** Every attack by ε and gradient mode, the strongest single mode marked. */
function attacksTable(network: NetworkRecord, { summary }: NetworkIndex): Markup {
  const cells = summary.whiteBoxOf(network.id);
  if (cells.length === 0) {
    return html`<p>${network.twin ? 'A twin is trained only as the source of transfer attacks and of ensemble training; it was not attacked itself.' : 'This network was not attacked.'}</p>`;
  }
  const modes = distinct(
    cells.map(({ gradientMode }) => gradientMode),
    modeKey,
  ).sort(compareModes);
  const worst = summary.worstOf(network.id);
  const ns = [...new Set(cells.map(({ n }) => n))];
  const bodies = [...grouped(cells, ({ attack }) => attackLabel(attack))].map(([label, ofAttack]) => {
    const epsilons = [...new Set(ofAttack.map(({ epsilon }) => epsilon))].sort((a, b) => a - b);
    return html`<tbody>
<tr class="group"><th scope="rowgroup" colspan="${4 + modes.length}"><span>${label}</span></th></tr>
${epsilons.map((epsilon) => {
  const at = ofAttack.filter((cell) => cell.epsilon === epsilon);
  const headline = worst.find((cell) => cell.epsilon === epsilon && attackLabel(cell.attack) === label);
  const honest = at.filter(({ gradientMode, coverage }) => coverage === 'all' && !isMasking(gradientMode));
  const accuracies = honest.map(({ adversarialAccuracy }) => adversarialAccuracy);
  // Nothing is strongest where all are equal.
  const lowest = accuracies.some((value) => value !== accuracies[0]) ? Math.min(...accuracies) : Number.NaN;
  return html`<tr><th scope="row">ε = ${epsilonText(epsilon)}</th>${
    headline === undefined
      ? html`<td class="none">–</td><td class="none">–</td>`
      : html`<td><b>${percent(headline.adversarialAccuracy)}</b><small>${intervalText(headline.interval)}</small></td><td>${fixed(
          100 * headline.adversarialLoss,
          1,
        )}</td>`
  }<td class="quiet">${headline?.flippableFraction == null ? '–' : percent(headline.flippableFraction)}</td>${modes.map(
    (mode) =>
      modeCell(
        at.find(({ gradientMode }) => modeKey(gradientMode) === modeKey(mode)),
        mode,
        lowest,
      ),
  )}</tr>
`;
})}</tbody>
`;
  });
  const alone = worst.some(({ everyMode }) => !everyMode);
  return scrollTable(
    html`<b>Accuracy in % under white-box attacks.</b> n = ${ns.map(count).join(' and ')} test images, seed ${network.seed}. Worst: per example over the honest gradient modes, with its 95 % Wilson interval; loss against the clean accuracy on these images, in points. <mark>Marked</mark>: the strongest single mode. ‘Of the … left’: attacked only where the modes before had failed, so that the figure is the worst so far.${
      alone &&
      ' Where an attack has one mode only, it is the default one, and the worst over all may be lower.'
    }${modes.some(isMasking) && ' Grey: exact gradients, which mask and measure no robustness.'}`,
    'Accuracy by attack, ε and gradient mode',
    html`<thead>
<tr><th scope="col">Attack</th><th scope="col">worst</th><th scope="col">loss</th><th scope="col">flippable</th>${modes.map(
      (mode) => html`<th scope="col"${classes(isMasking(mode) && 'masking')}>${modeHead(mode)}</th>`,
    )}</tr>
</thead>
${bodies}`,
    'modes',
  );
}

function transferTable(
  cells: readonly TransferRecord[],
  side: 'source' | 'target',
  { summary }: NetworkIndex,
): Markup {
  const outward = side === 'target';
  const foreign = cells.filter(({ diagonal }) => diagonal !== 'white-box');
  if (foreign.length === 0) {
    return html`<p>${outward ? 'No images were made on this network for others.' : 'No images of other networks were shown to this one.'}</p>`;
  }
  const columns = distinct(
    [...foreign]
      .sort((a, b) => a.epsilon - b.epsilon)
      .map(({ attack, epsilon }) => ({ label: attackLabel(attack), epsilon })),
    ({ label, epsilon }) => `${label} ${epsilon}`,
  ).sort((a, b) => (a.label < b.label ? -1 : a.label > b.label ? 1 : a.epsilon - b.epsilon));
  const others = [...grouped(foreign, (cell) => cell[side])]
    .map(([id, ofOther]) => ({
      id,
      cells: ofOther,
      loss: ofOther.reduce((sum, { adversarialLoss }) => sum + adversarialLoss, 0) / ofOther.length,
    }))
    .sort((a, b) => b.loss - a.loss);
  const shown = others.slice(0, transferLimit);
  const modes = distinct(
    foreign.map(({ gradientMode }) => gradientMode),
    modeKey,
  );
  const ns = [...new Set(foreign.map(({ n }) => n))];
  const title = outward
    ? 'Networks that suffer most from images made on this one'
    : 'Networks whose images hurt this one most';
  const more =
    others.length > shown.length ? ` ${shown.length} of ${others.length}; all in transfer.csv.` : '';
  return scrollTable(
    html`<b>${title}</b>: the target’s accuracy in %, the largest mean loss first. Black-box transfer, n = ${ns.map(count).join(' and ')} test images, seed ${foreign[0]?.seed ?? ''}; gradient mode of the source: ${modes.map(modeLabel).join(' / ')}.${more}`,
    title,
    html`<thead>
<tr><th scope="col">${outward ? 'Target' : 'Source'}</th><th scope="col">mean loss</th>${columns.map(
      ({ label, epsilon }) => html`<th scope="col">${label}<small>ε = ${epsilonText(epsilon)}</small></th>`,
    )}</tr>
</thead>
<tbody>
${shown.map(({ id, cells: ofOther, loss }) => {
  const other = summary.byId.get(id);
  return html`<tr><th scope="row">${other === undefined ? id : networkLink(other, `${bitsLabel(other.inputBits)} ${recipeText(other.recipe)}, ${trainingLabel(other.training)}${other.twin ? ' (twin)' : ''}`, '../')}</th><td><b>${fixed(100 * loss, 1)}</b></td>${columns.map(
    ({ label, epsilon }) => {
      const cell = ofOther.find((each) => each.epsilon === epsilon && attackLabel(each.attack) === label);
      return cell === undefined
        ? html`<td class="none">–</td>`
        : html`<td>${percent(cell.adversarialAccuracy)}</td>`;
    },
  )}</tr>
`;
})}</tbody>
`,
    'transfers',
  );
}

/** The page of one network: what it is, how it was trained, how it fares under every attack, and its transfers. */
export async function renderNetworkPage(network: NetworkRecord, index: NetworkIndex): Promise<string> {
  const { summary, examples } = index;
  const { results } = summary;
  const own = examples?.examples.filter((example) => example.network === network.id) ?? [];
  const variant = summary.variants.find(({ networks }) => networks.some(({ id }) => id === network.id));
  const alone = variant === undefined ? undefined : { ...variant, networks: [network] };
  const curves = [
    ...(await trainingCurves(network)),
    ...(alone === undefined
      ? []
      : [await attackCurves(summary, alone, 'linf'), await attackCurves(summary, alone, 'l2')]),
  ].filter((panel) => panel !== null);
  const label = networkLabel(network);
  const body = html`<header>
<p class="kicker"><a href="../report.html">Report</a> · ${datasetLabel(results.dataset.name)} · preset ${results.preset}</p>
<h1 class="small">${label}</h1>
<p class="byline"><code>${network.id}</code></p>
${facts(network, index)}</header>
<main>
${section(
  'training',
  'Training and attacks at a glance',
  curves.length === 0
    ? html`<p>No history of the training was kept.</p>`
    : html`<figure class="curves"><figcaption>Training as it went, on the training images, adversarial ones included; accuracy against ε: white-box, per-example worst over gradient modes, seed ${network.seed}${
        variant !== undefined &&
        summary.worstOf(network.id).length > 0 &&
        `, n = ${[...new Set(summary.worstOf(network.id).map(({ n }) => n))].map(count).join(' and ')} test images`
      }.</figcaption>
<div class="panels">
${curves.map(({ markup }) => markup)}</div></figure>
`,
)}${section('attacks', 'White-box attacks', attacksTable(network, index))}${section(
  'transfer',
  'Transfer',
  html`${!network.twin && transferTable(index.byTarget.get(network.id) ?? [], 'source', index)}${transferTable(index.bySource.get(network.id) ?? [], 'target', index)}`,
)}${
  own.length > 0 &&
  examples !== null &&
  section(
    'examples',
    'Examples',
    html`<div class="examples">
${await exampleFigures(own, examples.imageShape)}</div>
`,
  )
}</main>
<footer><p><a href="../report.html">Back to the report</a>. Written by ${results.library.name} ${results.library.version}.</p></footer>
`;
  return document(
    results,
    {
      title: `${label} · ${results.library.name}`,
      description: `${label} on ${datasetLabel(results.dataset.name)}`,
    },
    typeset(body),
  );
}
