import type { ClaimRecord } from '../study/results.js';
import { badge, headline, tallySentences } from './claims.js';
import { count, epsilonText, listing, percent, seedsText, span } from './format.js';
import { html, type Markup } from './markup.js';
import { datasetLabel, factLine, runLine } from './page.js';
import type { Summary, Variant } from './summary.js';

type Overall = ClaimRecord['byThreatModel'][number]['verdict'];

/** The verdict of a claim against white-box attacks under the worst gradient mode. */
function whiteBox(claims: readonly ClaimRecord[], id: number): Overall {
  const claim = claims.find((each) => each.id === id);
  const group =
    claim === undefined ? undefined : headline(claim).find(({ threatModel }) => threatModel === 'white-box');
  return group?.verdict ?? 'not tested';
}

/** The paper's question, answered in two sentences that follow from the verdicts of claims 2 and 5. */
export function shortAnswer(claims: readonly ClaimRecord[]): string {
  const single = {
    holds: 'Against single-step attacks, yes.',
    mixed: 'Against single-step attacks, only in part.',
    fails: 'Against single-step attacks, not as the paper claims.',
    'not tested': 'Single-step attacks were not tested far enough to say.',
  }[whiteBox(claims, 2)];
  const multi = {
    holds:
      'Against multi-step attacks discretization alone does not hold, and discretization with adversarial training is the better defence.',
    mixed: 'What the paper says of multi-step attacks and adversarial training holds only in part.',
    fails: 'What the paper says of multi-step attacks and adversarial training did not hold here.',
    'not tested': 'Multi-step attacks were not tested far enough to say.',
  }[whiteBox(claims, 5)];
  return `${single} ${multi}`;
}

/** The same comparison for every study: 2 against 8 bits, full precision, natural, where both kinds of attack were made. */
function measuredSentence(summary: Summary): string {
  const linf = summary.attacks.filter(({ norm }) => norm === 'linf');
  const families = [
    { name: 'single-step', attacks: linf.filter(({ multiStep }) => !multiStep) },
    { name: 'multi-step', attacks: linf.filter(({ multiStep }) => multiStep) },
  ];
  for (const model of summary.models) {
    const pick = (bits: number): Variant | undefined =>
      summary
        .of(model)
        .find(
          ({ inputBits, recipe, training }) =>
            inputBits === bits && recipe === 'none' && training.kind === 'natural',
        );
    const [fine, coarse] = [pick(8), pick(2)];
    if (fine === undefined || coarse === undefined) continue;
    const epsilons = [...new Set(linf.flatMap((attack) => attack.epsilons))].sort((a, b) => a - b);
    const rows = epsilons.flatMap((epsilon) => {
      const kept = families.flatMap(({ name, attacks }) => {
        const two = summary.strongest(coarse, attacks, epsilon);
        const eight = summary.strongest(fine, attacks, epsilon);
        return two === null || eight === null
          ? []
          : [{ name, two: `${percent(two.accuracy)} %`, eight: `${percent(eight.accuracy)} %` }];
      });
      return kept.length === families.length ? [{ epsilon, kept }] : [];
    });
    const first = rows[0];
    if (first === undefined) continue;
    const twos = listing(first.kept.map(({ two, name }) => `${two} under the strongest ${name} attack`));
    const eights = listing(first.kept.map(({ eight }) => eight));
    const where = summary.models.length > 1 ? `${model} ` : 'network ';
    return (
      `At ε = ${epsilonText(first.epsilon)} the naturally trained full-precision ${where}with 2-bit input keeps ${twos} ` +
      `(8-bit input: ${eights}).`
    );
  }
  return '';
}

export interface Entry {
  readonly id: string;
  readonly title: string;
  readonly children?: readonly Entry[];
}

function contents(entries: readonly Entry[]): Markup {
  return html`<ol>${entries.map(
    ({ id, title, children = [] }) =>
      html`<li><a href="#${id}">${title}</a>${children.length > 0 && contents(children)}</li>`,
  )}</ol>`;
}

const shortViews = { none: 'clean', 'white-box': 'white-box', transfer: 'transfer' } as const;

function claimItem(claim: ClaimRecord): Markup {
  return html`<li><a href="#claim-${claim.id}">${claim.id}. ${claim.title}</a><span class="views">${headline(
    claim,
  ).map(
    ({ threatModel, verdict }) =>
      html`<span>${badge(verdict)} <small>${shortViews[threatModel]}</small></span>`,
  )}</span></li>`;
}

/** Question, answer, what it rests on, the claims by threat model, the cautions and the contents. */
export function header(summary: Summary, entries: readonly Entry[]): Markup {
  const { results } = summary;
  const { claims, networks } = results;
  const cautions = claims.filter(({ caveat }) => caveat !== null);
  const main = networks.filter(({ twin }) => !twin);
  const cells = results.worstCase;
  const facts = factLine([
    `${count(networks.length)} networks (${listing(summary.models)}${
      main.length < networks.length ? `; ${count(networks.length - main.length)} of them twins` : ''
    })`,
    cells.length > 0 && `n = ${span(cells.map((cell) => cell.n))} attacked test images`,
    seedsText(results.seeds),
    'white-box figures are the per-example worst over gradient modes unless it says otherwise',
  ]);
  return html`<header>
<p class="kicker">A robustness study with ${results.library.name} ${results.library.version} · ${datasetLabel(results.dataset.name)} · preset ${results.preset}</p>
<h1>Do discretized inputs and binary weights make neural networks robust against adversarial attacks?</h1>
<p class="lead"><b>${shortAnswer(claims)}</b> ${measuredSentence(summary)}</p>
<p>${tallySentences(claims)} Attacked accuracy only bounds robustness from above: a stronger attack may lower it.</p>
<ul class="tally">${claims.map(claimItem)}</ul>
${
  cautions.length > 0 &&
  html`<div class="caveat"><p><b>Caution: weak gradients flatter.</b></p><ul>${cautions.map(
    ({ id, caveat }) => html`<li><a href="#claim-${id}">Claim ${id}</a>: ${caveat}</li>`,
  )}</ul></div>`
}
<p class="byline">${facts}. The question and the claims are those of Panda, Chakraborty and Roy, “Discretization based Solutions for Secure Machine Learning against Adversarial Attacks” (IEEE Access 2019, arXiv 1902.03151). ${runLine(results)} <a href="#repeat">Command, machine and data</a>.</p>
<nav aria-label="Contents">${contents(entries)}</nav>
</header>
`;
}
