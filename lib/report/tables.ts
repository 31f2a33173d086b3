import type { GradientModeRecord, Results } from '../study/results.js';
import {
  attackLabel,
  attackName,
  bitsLabel,
  count,
  duration,
  epsilonText,
  fixed,
  isMasking,
  listing,
  modeLabel,
  percent,
  recipeLabel,
  span,
  trainingHeading,
  trainingLabel,
} from './format.js';
import { html, type Markup, type Renderable } from './markup.js';
import {
  type AttackKind,
  compareModes,
  distinct,
  type Measured,
  modeKey,
  type Summary,
  trainingKey,
  type Variant,
} from './summary.js';

/** Zero-gradient fractions from here on are flagged: an attack cannot follow a gradient that is not there. */
export const zeroGradientFlag = 0.01;

/** 'White-box, n = 2,000 test images, seed 1', from what the cells say. */
export function provenance(cells: readonly (Measured | null)[], threatModel: string): string {
  const present = cells.filter((cell) => cell !== null);
  const seeds = new Set(present.flatMap((cell) => cell.seeds));
  return (
    `${threatModel}, n = ${span(present.flatMap((cell) => cell.n))} test images, ` +
    `${seeds.size > 1 ? `mean over seeds ${span(seeds, String)}` : `seed ${span(seeds, String)}`}`
  );
}

/** A table with its caption, in a container that scrolls by itself on a narrow screen. */
export function scrollTable(caption: Markup, label: string, body: Markup, className = ''): Markup {
  return html`<figure class="table">
<figcaption>${caption}</figcaption>
<div class="scroll" role="region" tabindex="0" aria-label="${label}"><table${
    className && html` class="${className}"`
  }>
${body}</table></div>
</figure>
`;
}

const modeLetters: Readonly<Record<string, string>> = {
  clipped: 'c',
  identity: 'i',
  approx: 'a',
  exact: 'e',
};

/** Letters of the gradient modes a figure was found under; nothing for the plain identity discretizer. */
function modeLetter(modes: readonly GradientModeRecord[]): Markup | null {
  const letters = modes
    .map(
      (mode) =>
        `${mode.sign === null ? '' : modeLetters[mode.sign]}${mode.discretizer === 'exact' ? 'd' : ''}`,
    )
    .filter((letter) => letter !== '');
  if (letters.length === 0) return null;
  return html`<abbr title="${modes.map(modeLabel).join(' / ')}">${letters.join('/')}</abbr>`;
}

/** What stands beside a figure, in a slot of fixed width so that the figures above and below stay aligned. */
function marks(...pieces: readonly (Markup | null)[]): Markup {
  return html`<sup class="marks">${pieces}</sup>`;
}

/** What the letters mean, only those that occur. */
export function modeLegend(cells: readonly (Measured | null)[]): string {
  const modes = distinct(
    cells.flatMap((cell) => cell?.modes ?? []),
    modeKey,
  );
  modes.sort(compareModes);
  const signs = distinct(
    modes.flatMap((mode) => (mode.sign === null ? [] : [mode.sign])),
    (sign) => sign,
  );
  const parts = signs.map((sign) => `${modeLetters[sign]} sign ${sign}`);
  if (modes.some((mode) => mode.discretizer === 'exact')) parts.push('d discretizer exact');
  const identity = modes.every((mode) => mode.discretizer === 'identity')
    ? ', discretizer identity throughout'
    : '';
  return parts.length === 0
    ? `Gradient mode: ${distinct(modes, modeKey).map(modeLabel).join(' / ') || 'none'}.`
    : `Gradient mode: the one that hurt most, named by a letter (${parts.join(', ')})${identity}; ` +
        'no letter: a network without sign layers.';
}

const flagSign = '∅';

function flag(cell: Measured): Markup | null {
  return cell.zeroGradient >= zeroGradientFlag
    ? html`<abbr class="flag" title="${percent(cell.zeroGradient)} % of the images have an exactly zero first gradient">${flagSign}</abbr>`
    : null;
}

/** Explains the flag where one occurs. */
function flagLegend(cells: readonly (Measured | null)[]): Markup | null {
  return cells.some((cell) => cell !== null && cell.zeroGradient >= zeroGradientFlag)
    ? html` <b class="flag">${flagSign}</b>: ${percent(zeroGradientFlag)} % or more of the images have a zero gradient, so the attack is partly blind.`
    : null;
}

/** The range over seeds under a mean of several. */
function seedRange(cell: Measured, show: (accuracy: number) => string): Markup | null {
  return cell.seeds.length > 1 ? html`<small>${show(cell.lowest)} to ${show(cell.highest)}</small>` : null;
}

function variantAt(
  summary: Summary,
  model: string,
  training: string,
  recipe: string,
  bits: number,
): Variant | undefined {
  return summary.variants.find(
    (variant) =>
      variant.model === model &&
      trainingKey(variant.training) === training &&
      variant.recipe === recipe &&
      variant.inputBits === bits,
  );
}

/** Test images behind the clean accuracies, which are more than those attacked. */
function cleanCount(summary: Summary): string {
  return span(summary.results.networks.map((network) => network.n));
}

function cleanOf(variant: Variant): number {
  return variant.networks.reduce((sum, network) => sum + network.cleanAccuracy, 0) / variant.networks.length;
}

/** A fraction in points as it is printed. */
function tenths(fraction: number): number {
  return Number((100 * fraction).toFixed(1));
}

function classes(...names: readonly (string | false)[]): Markup | null {
  const given = names.filter((name) => name !== false);
  return given.length === 0 ? null : html` class="${given.join(' ')}"`;
}

/** Table bodies with a heading row for each model, recipe and training, and a row for each bit depth. */
function groupedBodies(
  summary: Summary,
  variants: readonly Variant[],
  columns: number,
  cells: (variant: Variant) => Renderable,
): Markup {
  const groupOf = (variant: Variant) =>
    JSON.stringify([variant.model, trainingKey(variant.training), variant.recipe]);
  const severalModels = summary.models.length > 1;
  return html`${distinct(variants, groupOf).map(
    (group) => html`<tbody>
<tr class="group"><th scope="rowgroup" colspan="${columns}">${severalModels && `${group.model}, `}${recipeLabel(
      group.recipe,
    )}, ${trainingLabel(group.training)}</th></tr>
${variants
  .filter((variant) => groupOf(variant) === groupOf(group))
  .map(
    (variant) => html`<tr><th scope="row">${bitsLabel(variant.inputBits)}</th>${cells(variant)}</tr>
`,
  )}</tbody>
`,
  )}`;
}

/** Accuracy kept by every network under the strongest single-step and the strongest multi-step attack. */
export function headlineTable(summary: Summary): Markup {
  const families = [
    { title: 'Strongest single-step attack', attacks: summary.attacks.filter((attack) => !attack.multiStep) },
    { title: 'Strongest multi-step attack', attacks: summary.attacks.filter((attack) => attack.multiStep) },
  ].filter((family) => family.attacks.length > 0);
  const seen: (Measured | null)[] = [];
  const cell = (variant: Variant, attacks: readonly AttackKind[], epsilon: number): Markup => {
    const measured = summary.strongest(variant, attacks, epsilon);
    seen.push(measured);
    if (measured === null) return html`<td class="none">–</td>`;
    return html`<td class="bar" style="--v:${measured.accuracy.toFixed(3)}">${percent(measured.accuracy)}${marks(
      modeLetter(measured.modes),
      flag(measured),
    )}${seedRange(measured, percent)}</td>`;
  };
  const columns = 2 + families.length * summary.epsilons.length;
  const body = groupedBodies(summary, summary.variants, columns, (variant) => [
    html`<td>${percent(cleanOf(variant))}</td>`,
    ...families.map((family) => summary.epsilons.map((epsilon) => cell(variant, family.attacks, epsilon))),
  ]);
  const names = families.map(
    (family) =>
      `${family.title.toLowerCase()}: of ${family.attacks.map((attack) => attack.label).join(', ')}`,
  );
  return scrollTable(
    html`<b>Accuracy in %, clean and under attack.</b> ${provenance(seen, 'White-box')}; clean: n = ${cleanCount(summary)}; ${names.join('; ')}. ${modeLegend(seen)}${flagLegend(seen)}`,
    'Accuracy of every network, clean and under attack',
    html`<thead>
<tr><th rowspan="2" scope="col">Input</th><th rowspan="2" scope="col">Clean</th>${families.map(
      (family) => html`<th scope="colgroup" colspan="${summary.epsilons.length}">${family.title}</th>`,
    )}</tr>
<tr>${families.map(() => summary.epsilons.map((epsilon) => html`<th scope="col" class="slot">ε = ${epsilonText(epsilon)}</th>`))}</tr>
</thead>
${body}`,
    'headline',
  );
}

/** As in the paper: adversarial loss by bits and recipe, one table an attack (and model). */
export function lossTables(summary: Summary): Markup[] {
  return summary.attacks.flatMap((attack) =>
    summary.models.flatMap((model) => {
      const table = lossTable(summary, attack, model);
      return table === null ? [] : [table];
    }),
  );
}

function lossTable(summary: Summary, attack: AttackKind, model: string): Markup | null {
  const { recipes, inputBits } = summary;
  const seen: Measured[] = [];
  const bodies = summary.trainings.map((training) => {
    const key = trainingKey(training);
    const grid = inputBits.map((bits) => ({
      bits,
      variants: recipes.map((recipe) => variantAt(summary, model, key, recipe, bits)),
    }));
    const rows = grid.filter((row) => row.variants.some((variant) => variant !== undefined));
    if (rows.length === 0) return null;
    const cells = rows.map((row) =>
      attack.epsilons.map((epsilon) =>
        row.variants.map((variant) =>
          variant === undefined ? null : summary.headline(variant, attack, epsilon),
        ),
      ),
    );
    // Nothing is best where all are equal.
    const best = attack.epsilons.map((_, e) => {
      const losses = cells
        .flatMap((row) => (row[e] as (Measured | null)[]).map(rounded))
        .filter(Number.isFinite);
      return losses.some((loss) => loss !== losses[0]) ? Math.min(...losses) : Number.NaN;
    });
    for (const cell of cells.flat(2)) if (cell !== null) seen.push(cell);
    return html`<tbody>
<tr class="group"><th scope="rowgroup" colspan="${1 + recipes.length + attack.epsilons.length * (1 + recipes.length)}">${trainingHeading(training)}</th></tr>
${rows.map(
  (row, r) => html`<tr><th scope="row">${bitsLabel(row.bits)}</th>${row.variants.map(
    (variant) => html`<td>${variant === undefined ? '–' : percent(cleanOf(variant))}</td>`,
  )}${attack.epsilons.map((_, e) => {
    const inRow = (cells[r] as (Measured | null)[][])[e] as (Measured | null)[];
    return html`${flippableCell(inRow)}${inRow.map((cell) => lossCell(cell, best[e] as number))}`;
  })}</tr>
`,
)}</tbody>
`;
  });
  if (seen.length === 0) return null;
  const recipeHeads = (slot: string | false) =>
    recipes.map((recipe) => html`<th scope="col"${classes(slot)}>${recipeLabel(recipe)}</th>`);
  return scrollTable(
    html`<b>Adversarial loss under ${attack.label}${summary.models.length > 1 && `, ${model}`}</b>, in points (clean minus adversarial accuracy; lower is better). ${provenance(
      seen,
      'White-box',
    )}; the losses are against the clean accuracy on these, the column beside them is on n = ${cleanCount(summary)}. <mark>Marked</mark>: the smallest loss of its training and ε. ${modeLegend(seen)}${flagLegend(seen)}`,
    `Adversarial loss under ${attack.label} by input bits and recipe`,
    html`<thead>
<tr><th rowspan="2" scope="col">Input</th><th scope="colgroup" colspan="${recipes.length}">Clean accuracy, %</th>${attack.epsilons.map(
      (epsilon) =>
        html`<th scope="colgroup" colspan="${1 + recipes.length}" class="edge">ε = ${epsilonText(epsilon)}</th>`,
    )}</tr>
<tr>${recipeHeads(false)}${attack.epsilons.map(
      () =>
        html`<th scope="col" class="edge quiet"><abbr title="Share of pixels whose code can change within ε">flippable, %</abbr></th>${recipeHeads('slot')}`,
    )}</tr>
</thead>
${bodies}`,
    'loss',
  );
}

/** The loss as it is printed, so that equal figures are marked alike. */
function rounded(cell: Measured | null): number {
  return cell === null ? Number.POSITIVE_INFINITY : tenths(cell.loss);
}

function lossCell(cell: Measured | null, best: number): Markup {
  if (cell === null) return html`<td class="none">–</td>`;
  const number = fixed(100 * cell.loss, 1);
  const range = seedRange(cell, (accuracy) => fixed(100 * (cell.cleanAccuracy - accuracy), 1));
  return html`<td>${rounded(cell) === best ? html`<mark>${number}</mark>` : number}${marks(
    modeLetter(cell.modes),
    flag(cell),
  )}${range}</td>`;
}

/** One figure where recipes agree, as they do: it depends on images, bits and ε alone. */
function flippableCell(cells: readonly (Measured | null)[]): Markup {
  const values = distinct(
    cells.flatMap((cell) => (cell === null ? [] : [percent(cell.flippable)])),
    (text) => text,
  );
  return html`<td class="edge quiet">${values.length === 0 ? '–' : values.join(' / ')}</td>`;
}

/** Every gradient mode beside the others, for networks whose gradient is a choice; one table an attack. */
export function modeTables(summary: Summary): Markup[] {
  const modesOf = new Map<string, GradientModeRecord[]>();
  for (const cell of summary.results.whiteBox) {
    const key = `${cell.network}\n${attackLabel(cell.attack)}\n${cell.epsilon}`;
    const list = modesOf.get(key) ?? [];
    list.push(cell.gradientMode);
    modesOf.set(key, list);
  }
  /** The modes under which any of the networks met an attack at an ε. */
  const modesAt = (variants: readonly Variant[], attack: AttackKind, epsilon: number) =>
    distinct(
      variants.flatMap((variant) =>
        variant.networks.flatMap(
          (network) => modesOf.get(`${network.id}\n${attack.label}\n${epsilon}`) ?? [],
        ),
      ),
      modeKey,
    ).sort(compareModes);
  const columnsOf = (variants: readonly Variant[], attack: AttackKind): ModeColumn[] =>
    attack.epsilons
      .map((epsilon) => ({
        attack,
        epsilon,
        label: `ε = ${epsilonText(epsilon)}`,
        modes: modesAt(variants, attack, epsilon),
      }))
      .filter(({ modes }) => modes.length > 1);
  const hasSign = (variant: Variant) =>
    summary.attacks.some((attack) =>
      attack.epsilons.some((epsilon) =>
        modesAt([variant], attack, epsilon).some((mode) => mode.sign !== null),
      ),
    );
  const withSign = summary.variants.filter(hasSign);
  const without = summary.variants.filter((variant) => !withSign.includes(variant));
  const tables = summary.attacks.flatMap((attack) => {
    const columns = columnsOf(withSign, attack);
    return columns.length === 0 ? [] : [modeTable(summary, withSign, columns, 'sign', attack.label)];
  });
  // Without sign layers the only other mode is the exact one, which says the same at every ε: one ε an attack will do.
  const columns = summary.attacks
    .flatMap((attack) => columnsOf(without, attack).slice(-1))
    .map((column) => ({ ...column, label: `${column.attack.label}, ${column.label}` }));
  if (columns.length > 0) {
    const names = listing(columns.map((column) => column.attack.label));
    tables.push(modeTable(summary, without, columns, 'discretizer', names));
  }
  return tables;
}

/** The mode for a column head, in a table that compares gradients of one kind of layer. */
function modeHead(mode: GradientModeRecord, kind: 'sign' | 'discretizer'): Markup {
  const layer = kind === 'sign' && mode.discretizer === 'exact' ? 'discretizer' : kind;
  const notes = [
    layer !== kind && mode.sign !== null && `sign ${mode.sign}`,
    isMasking(mode) && 'masking demo',
  ].filter((note) => note !== false);
  const name = layer === kind ? mode[kind] : `${layer} ${mode[layer]}`;
  return html`${name}${notes.map((note) => html`<small>${note}</small>`)}`;
}

interface ModeColumn {
  readonly attack: AttackKind;
  readonly epsilon: number;
  readonly label: string;
  readonly modes: readonly GradientModeRecord[];
}

function modeTable(
  summary: Summary,
  variants: readonly Variant[],
  columns: readonly ModeColumn[],
  kind: 'sign' | 'discretizer',
  attacks: string,
): Markup {
  const seen: (Measured | null)[] = [];
  const classOf = (mode: GradientModeRecord, m: number) =>
    classes(m === 0 && 'edge', isMasking(mode) && 'masking');
  const cellsAt = (variant: Variant, { attack, epsilon, modes }: ModeColumn): readonly Markup[] => {
    const byMode = modes.map((mode) => ({ mode, cell: summary.inMode(variant, attack, epsilon, mode) }));
    seen.push(...byMode.map(({ cell }) => cell));
    const accuracies = byMode.flatMap(({ cell }) => (cell === null ? [] : [tenths(cell.accuracy)]));
    const lowest = Math.min(...accuracies);
    const differ = accuracies.some((accuracy) => accuracy !== lowest);
    return byMode.map(({ mode, cell }, m) => {
      if (cell === null) return html`<td${classOf(mode, m)}>–</td>`;
      const number = percent(cell.accuracy);
      const strongest = differ && tenths(cell.accuracy) === lowest;
      return html`<td${classOf(mode, m)}>${strongest ? html`<b>${number}</b>` : number}${marks(
        isMasking(mode) ? null : flag(cell),
      )}${seedRange(cell, percent)}</td>`;
    });
  };
  const width = 1 + columns.reduce((sum, column) => sum + column.modes.length, 0);
  const bodies = groupedBodies(summary, variants, width, (variant) =>
    columns.map((column) => cellsAt(variant, column)),
  );
  const title = kind === 'sign' ? 'networks with sign layers' : 'networks without sign layers';
  const honest = seen.filter((cell) => cell !== null && !cell.modes.some(isMasking));
  const masking = columns.some((column) => column.modes.some(isMasking));
  return scrollTable(
    html`<b>${attacks}: accuracy in % under different ${kind} gradients</b>, ${title}. ${provenance(seen, 'White-box')}${
      kind === 'sign' && '; discretizer gradient identity unless the column says otherwise'
    }. <b>Bold</b>: the strongest mode.${
      masking &&
      ' Columns in grey take a gradient as exact, that is zero: they demonstrate masking and measure no robustness.'
    }${flagLegend(honest)}`,
    `Gradient modes, ${attacks}, ${title}`,
    html`<thead>
<tr><th rowspan="2" scope="col">Input</th>${columns.map(
      (column) =>
        html`<th scope="colgroup" colspan="${column.modes.length}" class="edge">${column.label}</th>`,
    )}</tr>
<tr>${columns.map(({ modes }) =>
      modes.map((mode, m) => html`<th scope="col"${classOf(mode, m)}>${modeHead(mode, kind)}</th>`),
    )}</tr>
</thead>
${bodies}`,
    'modes',
  );
}

/** The largest fraction of images with an exactly zero first gradient, by network and gradient mode. */
export function zeroGradientTable(summary: Summary): Markup | null {
  const cells = new Map<string, number>();
  const variantOf = new Map(
    summary.variants.flatMap((variant) => variant.networks.map((network) => [network.id, variant] as const)),
  );
  const numbers: { n: number; seed: number }[] = [];
  for (const cell of summary.results.whiteBox) {
    const variant = variantOf.get(cell.network);
    if (variant === undefined) continue;
    const key = `${variant.key}\n${modeKey(cell.gradientMode)}`;
    cells.set(key, Math.max(cells.get(key) ?? 0, cell.zeroGradientFraction));
    numbers.push(cell);
  }
  if (cells.size === 0) return null;
  const modes = distinct(
    summary.results.whiteBox.map((cell) => cell.gradientMode),
    modeKey,
  ).sort(compareModes);
  const bodies = groupedBodies(summary, summary.variants, 1 + modes.length, (variant) =>
    modes.map((mode) => {
      const value = cells.get(`${variant.key}\n${modeKey(mode)}`);
      if (value === undefined) return html`<td class="none">–${marks()}</td>`;
      const blind = value >= zeroGradientFlag && !isMasking(mode);
      return html`<td${classes(isMasking(mode) && 'masking')}>${percent(value)}${marks(
        blind
          ? html`<abbr class="flag" title="flagged: the attack is blind on these images">${flagSign}</abbr>`
          : null,
      )}</td>`;
    }),
  );
  return scrollTable(
    html`<b>Images whose whole first input gradient is exactly zero, in %</b>; the largest over attacks and ε. White-box, n = ${span(
      numbers.map((cell) => cell.n),
    )} test images, seed ${span(
      numbers.map((cell) => cell.seed),
      String,
    )}. <b class="flag">${flagSign}</b> flags ${percent(zeroGradientFlag)} % and more: on these images a gradient attack is blind, and accuracy kept there is no evidence of robustness. Grey columns use exact gradients on purpose, to show masking.`,
    'Zero-gradient fractions by network and gradient mode',
    html`<thead>
<tr><th scope="col">Input</th>${modes.map(
      (mode) =>
        html`<th scope="col"${classes(isMasking(mode) && 'masking')}>${
          mode.sign === null
            ? html`discretizer ${mode.discretizer}<small>no sign layers</small>`
            : html`${mode.discretizer === 'exact' ? 'discretizer exact' : `sign ${mode.sign}`}${
                mode.discretizer === 'exact' && html`<small>sign ${mode.sign}</small>`
              }`
        }</th>`,
    )}</tr>
</thead>
${bodies}`,
    'zero',
  );
}

/** Every network as it was trained, twins included. */
export function networksTable(results: Results): Markup {
  return scrollTable(
    html`<b>Networks</b>, clean accuracy on n = ${span(results.networks.map((network) => network.n))} test images; the seed is that of training.`,
    'Networks of the study',
    html`<thead>
<tr><th scope="col">Network</th><th scope="col" class="text">Model</th><th scope="col" class="text">Recipe</th><th scope="col" class="text">Input</th><th scope="col" class="text">Training</th><th scope="col">Seed</th><th scope="col">Clean, %</th><th scope="col">Parameters</th><th scope="col">Epochs</th><th scope="col">Batch</th><th scope="col">Time</th></tr>
</thead>
<tbody>
${results.networks.map((network) => {
  const { training } = network;
  const how =
    training.kind === 'natural'
      ? 'natural'
      : `${attackName(training.attack)}, ε = ${epsilonText(training.epsilon)}, mix ${training.mix}`;
  return html`<tr><th scope="row"><code>${network.id}</code>${network.twin && html` <span class="quiet">twin</span>`}</th><td class="text">${network.model}</td><td class="text">${recipeLabel(
    network.recipe,
  )}</td><td class="text">${bitsLabel(network.inputBits)}</td><td class="text">${how}</td><td>${network.seed}</td><td>${percent(
    network.cleanAccuracy,
  )}</td><td>${count(network.parameters)}</td><td>${network.epochs}</td><td>${network.batchSize}</td><td>${duration(
    network.trainSeconds,
  )}</td></tr>
`;
})}</tbody>
`,
    'networks',
  );
}
