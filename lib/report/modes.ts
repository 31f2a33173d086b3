import type { GradientModeRecord } from '../study/results.js';
import { type Basis, classes, modeHead, provenance, scrollTable, tenths, variantBodies } from './cells.js';
import { count, epsilonText, fixed, isMasking, modeLabel, percent, recipeText } from './format.js';
import { html, type Markup } from './markup.js';
import { mean } from './statistics.js';
import {
  type AttackKind,
  compareModes,
  distinct,
  grouped,
  modeKey,
  type Summary,
  type Variant,
} from './summary.js';

/** Zero-gradient fractions from here on are flagged: an attack cannot follow a gradient that is not there. */
export const zeroGradientFlag = 0.01;

const hasChoice = (mode: GradientModeRecord) => mode.sign !== null;

/** Which mode was the strongest alone, how often and by how much, by model, recipe and attack. Null without a choice. */
export function modeSummaryTable(summary: Summary): Markup | null {
  const honest = summary.results.whiteBox.filter(
    ({ gradientMode, coverage }) => coverage === 'all' && hasChoice(gradientMode) && !isMasking(gradientMode),
  );
  const modes = distinct(
    honest.map(({ gradientMode }) => gradientMode),
    modeKey,
  ).sort(compareModes);
  if (modes.length < 2) return null;
  const seen: Basis[] = [];
  const rows = summary.models.flatMap((model) =>
    summary.recipes.flatMap((recipe) =>
      summary.attacks.flatMap((attack) => {
        const cells = summary
          .of(model)
          .filter((variant) => variant.recipe === recipe)
          .flatMap((variant) =>
            attack.epsilons.map((epsilon) => compareAt(summary, variant, attack, epsilon)),
          )
          .filter((cell) => cell !== null);
        if (cells.length === 0) return [];
        seen.push(...cells);
        const won = modes.map(
          (mode) => cells.filter((cell) => modeKey(cell.strongest) === modeKey(mode)).length,
        );
        const gains = cells.map((cell) => cell.gain);
        const joint = cells.map((cell) => cell.joint);
        return [{ model, recipe, label: attack.label, cells: cells.length, won, gains, joint }];
      }),
    ),
  );
  if (rows.length === 0) return null;
  return scrollTable(
    html`<b>Which gradient mode was the strongest, and by how much.</b> ${provenance(seen, 'White-box').replace('mean ± sample standard deviation over', 'mean over')}; one comparison a network variant and ε, among modes in which every image was attacked, identity through the discretizer. Gain: points of accuracy that the strongest single mode takes beyond the default one; then what the per-example worst over all modes takes beyond the strongest single one.`,
    'Strongest gradient modes by model, recipe and attack',
    html`<thead>
<tr><th scope="col" rowspan="2">Model</th><th scope="col" rowspan="2" class="text">Recipe</th><th scope="col" rowspan="2" class="text">Attack</th><th scope="col" rowspan="2">Compared</th><th scope="colgroup" colspan="${modes.length}" class="edge">Strongest alone, times</th><th scope="colgroup" colspan="2" class="edge">Gain over the default</th><th scope="colgroup" colspan="2" class="edge">Worst beyond strongest</th></tr>
<tr>${modes.map((mode, i) => html`<th scope="col"${classes(i === 0 && 'edge')}>${modeHead(mode)}</th>`)}<th scope="col" class="edge">mean</th><th scope="col">largest</th><th scope="col" class="edge">mean</th><th scope="col">largest</th></tr>
</thead>
<tbody>
${rows.map(({ model, recipe, label, cells, won, gains, joint }) => {
  const most = Math.max(...won);
  const points = (values: readonly number[], pick: (of: readonly number[]) => number) =>
    fixed(100 * pick(values), 1);
  return html`<tr><th scope="row">${model}</th><td class="text">${recipeText(recipe)}</td><td class="text">${label}</td><td>${count(cells)}</td>${won.map(
    (times, i) =>
      html`<td${classes(i === 0 && 'edge')}>${times === most ? html`<b>${times}</b>` : times}</td>`,
  )}<td class="edge">${points(gains, mean)}</td><td>${points(gains, (of) => Math.max(...of))}</td><td class="edge">${points(joint, mean)}</td><td>${points(joint, (of) => Math.max(...of))}</td></tr>
`;
})}</tbody>
`,
    'modes',
  );
}

interface Comparison extends Basis {
  readonly strongest: GradientModeRecord;
  /** Accuracy under the default mode minus that under the strongest. */
  readonly gain: number;
  /** Accuracy under the strongest mode minus the per-example worst. */
  readonly joint: number;
}

/** Null where fewer than two honest modes were tried on every image. */
function compareAt(
  summary: Summary,
  variant: Variant,
  attack: AttackKind,
  epsilon: number,
): Comparison | null {
  const tried = summary
    .inModes(variant, attack, epsilon)
    .filter(({ mode, coverage }) => coverage === 'all' && hasChoice(mode) && !isMasking(mode));
  const worst = summary.worst(variant, attack, epsilon);
  const [first] = tried;
  if (first === undefined || tried.length < 2 || worst === null) return null;
  const strongest = tried.reduce((a, b) => (b.accuracy < a.accuracy ? b : a));
  return {
    strongest: strongest.mode,
    gain: first.accuracy - strongest.accuracy,
    joint: strongest.accuracy - worst.accuracy,
    n: strongest.n,
    seeds: strongest.seeds,
  };
}

/** Attacks and the ε at which modes differ most, of one model. */
function telling(summary: Summary, variants: readonly Variant[], attack: AttackKind): number | undefined {
  const spread = (epsilon: number) =>
    variants.reduce((sum, variant) => sum + (compareAt(summary, variant, attack, epsilon)?.gain ?? 0), 0);
  const candidates = attack.epsilons.filter((epsilon) =>
    variants.some((variant) => compareAt(summary, variant, attack, epsilon) !== null),
  );
  return candidates.reduce<number | undefined>(
    (best, epsilon) => (best === undefined || spread(epsilon) > spread(best) ? epsilon : best),
    undefined,
  );
}

/** Every mode beside the others, of one model: one table an attack, at the ε where modes differ most. */
export function modeTables(summary: Summary, model: string): Markup[] {
  const variants = summary.of(model);
  return summary.attacks.flatMap((attack) => {
    const epsilon = telling(summary, variants, attack);
    if (epsilon === undefined) return [];
    const shown = variants.filter((variant) => compareAt(summary, variant, attack, epsilon) !== null);
    const modes = distinct(
      shown.flatMap((variant) => summary.inModes(variant, attack, epsilon).map(({ mode }) => mode)),
      modeKey,
    ).sort(compareModes);
    const seen: Basis[] = [];
    const bodies = variantBodies(shown, modes.length + 1, (variant) => {
      const tried = new Map(
        summary.inModes(variant, attack, epsilon).map((cell) => [modeKey(cell.mode), cell]),
      );
      seen.push(...tried.values());
      const honest = [...tried.values()].filter(({ mode }) => !isMasking(mode));
      const lowest = Math.min(...honest.map(({ accuracy }) => tenths(accuracy)));
      const worst = summary.worst(variant, attack, epsilon);
      return [
        modes.map((mode) => {
          const cell = tried.get(modeKey(mode));
          if (cell === undefined) return html`<td class="none">–</td>`;
          const text = percent(cell.accuracy);
          return html`<td${classes(isMasking(mode) && 'masking')} title="${modeLabel(mode)}">${
            !isMasking(mode) && tenths(cell.accuracy) === lowest ? html`<b>${text}</b>` : text
          }</td>`;
        }),
        html`<td class="edge">${worst === null ? '–' : percent(worst.accuracy)}</td>`,
      ];
    });
    const masking = modes.some(isMasking);
    return [
      scrollTable(
        html`<b>${model}, ${attack.label} at ε = ${epsilonText(epsilon)}: accuracy in % in each gradient mode.</b> ${provenance(seen, 'White-box').replace('mean ± sample standard deviation', 'mean')}; the column names the way through quantized activations, identity through the discretizer. <b>Bold</b>: the strongest. Worst: per example, over all honest modes. Shown at the ε where modes differ most; the others stand in white-box.csv.${
          masking &&
          ' Columns in grey take a gradient as exact, that is zero: they demonstrate masking and measure no robustness.'
        }`,
        `Gradient modes of ${model} under ${attack.label}`,
        html`<thead>
<tr><th scope="col">Recipe</th><th scope="col" class="text">Input</th>${modes.map(
          (mode) => html`<th scope="col"${classes(isMasking(mode) && 'masking')}>${modeHead(mode)}</th>`,
        )}<th scope="col" class="edge">worst</th></tr>
</thead>
${bodies}`,
        'modes',
      ),
    ];
  });
}

/**
 * The largest share of images with an exactly zero first gradient over attacks and ε, by variant and gradient mode, and what
 * an attack with the discretizer's exact gradient seems to leave.
 */
export function zeroGradientTable(summary: Summary, model: string): Markup | null {
  const variants = summary.of(model);
  const cells = variants.flatMap((variant) =>
    variant.networks.flatMap(({ id }) =>
      summary
        .whiteBoxOf(id)
        .flatMap((cell) => (cell.zeroGradientFraction === null ? [] : [{ variant, cell }])),
    ),
  );
  if (cells.length === 0) return null;
  const found = grouped(cells, ({ variant, cell }) => `${variant.key}\n${modeKey(cell.gradientMode)}`);
  const modes = distinct(
    cells.map(({ cell }) => cell.gradientMode),
    modeKey,
  ).sort(compareModes);
  const heads = distinct(modes, (mode) => (isMasking(mode) ? 'exact' : modeKey(mode)));
  const bodies = variantBodies(variants, heads.length, (variant) =>
    heads.map((head) => {
      const here = modes
        .filter((mode) => (isMasking(head) ? isMasking(mode) : modeKey(mode) === modeKey(head)))
        .flatMap((mode) => found.get(`${variant.key}\n${modeKey(mode)}`) ?? []);
      if (here.length === 0) return html`<td class="none">–</td>`;
      const largest = Math.max(...here.map(({ cell }) => cell.zeroGradientFraction ?? 0));
      const blind = largest >= zeroGradientFlag && !isMasking(head);
      return html`<td${classes(isMasking(head) && 'masking')}>${
        blind ? html`<b class="flag">${percent(largest)}</b>` : percent(largest)
      }</td>`;
    }),
  );
  return scrollTable(
    html`<b>${model}: images whose whole first input gradient is exactly zero, in %</b>; the largest over attacks and ε. ${provenance(
      cells.map(({ cell }) => ({ n: [cell.attacked], seeds: [cell.seed] })),
      'White-box',
    ).replace(
      'mean ± sample standard deviation over',
      'largest over',
    )}; gradient mode by column. <b class="flag">Coloured</b>: ${percent(zeroGradientFlag)} % and more, where a gradient attack is partly blind and accuracy kept is no evidence of robustness. Grey: exact gradients, taken on purpose to show masking.`,
    `Zero-gradient fractions of ${model}`,
    html`<thead>
<tr><th scope="col">Recipe</th><th scope="col" class="text">Input</th>${heads.map(
      (head) => html`<th scope="col"${classes(isMasking(head) && 'masking')}>${modeHead(head)}</th>`,
    )}</tr>
</thead>
${bodies}`,
    'zero',
  );
}
