import type { ClaimRecord, VerdictRecord } from '../study/results.js';
import { count, listing, seedsText, span } from './format.js';
import { html, type Markup } from './markup.js';
import { fold } from './page.js';

type GroupRecord = ClaimRecord['byThreatModel'][number];

const verdictMarks = {
  holds: { mark: '✓', className: 'holds' },
  fails: { mark: '✗', className: 'fails' },
  mixed: { mark: '±', className: 'mixed' },
  'not tested': { mark: '–', className: 'untested' },
} as const;

export function badge(verdict: GroupRecord['verdict']): Markup {
  const { mark, className } = verdictMarks[verdict];
  return html`<span class="badge ${className}"><span aria-hidden="true">${mark} </span>${verdict}</span>`;
}

const threatLabels = {
  none: 'Clean accuracy',
  'white-box': 'White-box',
  transfer: 'Black-box transfer',
} as const;

/** 'White-box, worst over gradient modes', 'White-box, clipped alone', 'Black-box transfer', 'Clean accuracy'. */
export function viewLabel({
  threatModel,
  gradientMode,
}: Pick<VerdictRecord, 'threatModel' | 'gradientMode'>): string {
  const label = threatLabels[threatModel];
  if (threatModel !== 'white-box') return label;
  if (gradientMode === null) return `${label}, worst over gradient modes`;
  return `${label}, ${gradientMode.sign ?? gradientMode.discretizer} gradient alone`;
}

/** The verdicts that count: under every mode at once, under transfer, or of clean accuracy. */
export function headline(claim: ClaimRecord): GroupRecord[] {
  return claim.byThreatModel.filter(({ gradientMode }) => gradientMode === null);
}

function tally({ holds, fails, notTested }: GroupRecord): string {
  const tested = holds + fails;
  const parts = [
    tested > 0 && `holds in ${count(holds)} of ${count(tested)}`,
    notTested > 0 && `${count(notTested)} not tested`,
  ].filter((part) => part !== false);
  return parts.join(', ');
}

const viewKey = ({ threatModel, gradientMode }: Pick<VerdictRecord, 'threatModel' | 'gradientMode'>) =>
  JSON.stringify([threatModel, gradientMode]);

function verdictList(verdicts: readonly VerdictRecord[]): Markup {
  return html`<ul class="tests">
${verdicts.map(
  ({ verdict, scope, measured }) =>
    html`<li><div>${badge(verdict)}</div><div><span class="scope">${scope}</span><br>${measured}</div></li>
`,
)}</ul>
`;
}

function basis(verdicts: readonly VerdictRecord[]): string {
  const tested = verdicts.filter(({ n }) => n > 0);
  if (tested.length === 0) return '';
  const n = span(tested.map((verdict) => verdict.n));
  const seeds = seedsText(tested.flatMap((verdict) => verdict.seeds));
  return `n = ${n} test images, ${seeds}`;
}

/** So many verdicts of one view stand open; more are folded. */
const openLimit = 6;

function view(claim: ClaimRecord, group: GroupRecord): Markup {
  const verdicts = claim.verdicts.filter((verdict) => viewKey(verdict) === viewKey(group));
  const single = group.gradientMode !== null;
  const open = !single && verdicts.length <= openLimit;
  const label = html`${badge(group.verdict)} <b>${viewLabel(group)}</b> <span class="quiet">${[
    tally(group),
    basis(verdicts),
  ]
    .filter((text) => text !== '')
    .join('; ')}</span>`;
  return fold(label, verdictList(verdicts), open);
}

function article(claim: ClaimRecord): Markup {
  return html`<article class="claim" id="claim-${claim.id}">
<h3>${claim.id}. ${claim.title}</h3>
<p>${claim.statement}</p>
<p class="criterion">Criterion, fixed beforehand: ${claim.criterion}</p>
<p class="heading">${claim.heading}</p>
${claim.caveat !== null && html`<p class="caveat"><b>Caution:</b> ${claim.caveat}</p>`}
${claim.byThreatModel.map((group) => view(claim, group))}
</article>
`;
}

export function claimsSection(claims: readonly ClaimRecord[]): Markup {
  if (claims.length === 0) return html`<p>This study judged no claims.</p>`;
  return html`<p>The paper makes five claims. Each was judged by a criterion fixed before anything was measured, for each threat model on its own; a claim counts as holding under a threat model only where every case does. Verdicts under one gradient mode alone show what a weaker attacker would have found: they decide nothing. All figures behind them are in claims.csv.</p>
${claims.map(article)}`;
}

/** 'Under white-box attacks 2 claims hold (1 and 5), 3 fail or hold in part (2, 3 and 4).', one sentence a threat model. */
export function tallySentences(claims: readonly ClaimRecord[]): string {
  const views = [
    ['white-box', 'Against white-box attacks under the worst gradient mode'],
    ['transfer', 'against black-box transfer'],
  ] as const;
  const sentences = views.flatMap(([threatModel, name]) => {
    const groups = claims.flatMap((claim) =>
      headline(claim)
        .filter((group) => group.threatModel === threatModel)
        .map(({ verdict }) => ({ id: String(claim.id), verdict })),
    );
    const part = (verdict: GroupRecord['verdict'], one: string, many: string) => {
      const ids = groups.filter((group) => group.verdict === verdict).map(({ id }) => id);
      return ids.length === 0
        ? []
        : [`${ids.length === 1 ? `claim ${ids[0]} ${one}` : `claims ${listing(ids)} ${many}`}`];
    };
    const parts = [
      ...part('holds', 'holds', 'hold'),
      ...part('mixed', 'holds in part', 'hold in part'),
      ...part('fails', 'fails', 'fail'),
      ...part('not tested', 'was not tested', 'were not tested'),
    ];
    return parts.length === 0 ? [] : [`${name} ${listing(parts)}`];
  });
  return sentences.length === 0 ? '' : `${sentences.join('; ')}.`;
}
