import type { GradientModeRecord } from '../study/results.js';
import {
  bitsLabel,
  fixed,
  intervalText,
  isMasking,
  modeLabel,
  percent,
  recipeText,
  span,
  trainingHeading,
} from './format.js';
import { html, type Markup, type Renderable } from './markup.js';
import { networkLink } from './page.js';
import {
  compareModes,
  distinct,
  grouped,
  type Measured,
  modeKey,
  trainingKey,
  type Variant,
} from './summary.js';

/** What figures rest on. */
export interface Basis {
  readonly n: readonly number[];
  readonly seeds: readonly number[];
}

/** 'White-box, n = 2,000 test images, seed 1', from what the cells say. */
export function provenance(cells: readonly (Basis | null)[], threatModel: string): string {
  const present = cells.filter((cell) => cell !== null);
  const seeds = new Set(present.flatMap((cell) => cell.seeds));
  return (
    `${threatModel}, n = ${span(present.flatMap((cell) => cell.n))} test images, ` +
    `${seeds.size > 1 ? `mean ± sample standard deviation over seeds ${span(seeds, String)}` : `seed ${span(seeds, String)}`}`
  );
}

/** What the small figures beneath are. */
export function spreadLegend(cells: readonly (Measured | null)[]): string {
  return cells.some((cell) => cell?.interval != null) ? ' Beneath each figure its 95 % Wilson interval.' : '';
}

export function classes(...names: readonly (string | false)[]): Markup | null {
  const given = names.filter((name) => name !== false);
  return given.length === 0 ? null : html` class="${given.join(' ')}"`;
}

/** A table with its caption, in a container that scrolls by itself. */
export function scrollTable(caption: Markup, label: string, body: Markup, className = ''): Markup {
  return html`<figure class="table">
<figcaption>${caption}</figcaption>
<div class="scroll" role="region" tabindex="0" aria-label="${label}"><table${classes(className !== '' && className)}>
${body}</table></div>
</figure>
`;
}

const modeLetters: Readonly<Record<string, string>> = {
  clipped: 'c',
  identity: 'i',
  approx: 'a',
  swish: 's',
  exact: 'e',
};

/** Letters of the gradient modes a figure was found under; nothing for the plain identity discretizer. */
export function modeLetter(modes: readonly GradientModeRecord[]): Markup | null {
  const letters = modes
    .map(
      (mode) =>
        `${mode.sign === null ? '' : modeLetters[mode.sign]}${mode.discretizer === 'exact' ? 'd' : ''}`,
    )
    .filter((letter) => letter !== '');
  if (letters.length === 0) return null;
  return html`<sup title="${modes.map(modeLabel).join(' / ')}">${letters.join('/')}</sup>`;
}

/** The gradient mode behind worst-case figures, and what the letters mean: only those that occur. */
export function modeLegend(cells: readonly (Measured | null)[]): string {
  const present = cells.filter((cell) => cell !== null);
  const modes = distinct(
    present.flatMap((cell) => cell.modes),
    modeKey,
  ).sort(compareModes);
  const letters = distinct(
    modes.flatMap((mode) => (mode.sign === null ? [] : [mode.sign])),
    (sign) => sign,
  ).map((sign) => `${modeLetters[sign]} ${sign}`);
  const through = modes.every((mode) => mode.discretizer === 'identity')
    ? ', identity through the discretizer'
    : '';
  if (letters.length === 0)
    return `Gradient mode: identity through the discretizer; these networks leave no other choice.`;
  const alone = present.filter((cell) => !cell.everyMode);
  const how =
    alone.length === present.length ||
    alone.length === present.filter((cell) => cell.modes.some((mode) => mode.sign !== null)).length
      ? 'the default one alone where activations are quantized, so the worst may be lower'
      : alone.length > 0
        ? 'per-example worst over the modes tried; in places the default one alone'
        : 'per-example worst over all modes';
  return `Gradient mode: ${how}${through}; the letter names the strongest single one through quantized activations (${letters.join(', ')}), no letter: there are none.`;
}

/** A number with its spread beneath: ± over seeds, or the interval of one seed. */
export function figureCell(
  cell: Measured | null,
  options: {
    readonly loss?: boolean;
    readonly best?: boolean;
    readonly edge?: boolean;
  } = {},
): Markup {
  const edge = options.edge === true && 'edge';
  if (cell === null) return html`<td${classes('none', edge)}>–</td>`;
  const loss = options.loss === true;
  const text = loss ? fixed(100 * cell.loss, 1) : percent(cell.accuracy);
  const spread = loss ? cell.lossDeviation : cell.deviation;
  const under =
    spread !== null
      ? `±\u2009${percent(spread)}`
      : !loss && cell.interval !== null
        ? intervalText(cell.interval)
        : null;
  return html`<td${classes(edge, options.best === true && 'best')}>${
    options.best === true ? html`<mark>${text}</mark>` : text
  }${modeLetter(cell.modes)}${under !== null && html`<small>${under}</small>`}</td>`;
}

/** Bits, linked to the page of the variant's first network. */
export function variantLink(variant: Variant): Markup {
  const [first] = variant.networks;
  const text = bitsLabel(variant.inputBits);
  return first === undefined ? html`${text}` : networkLink(first, text);
}

/**
 * Table bodies of one model's variants: a heading row for each training, in it a row for each recipe and bit depth.
 *
 * @param columns those beyond recipe and bits
 */
export function variantBodies(
  variants: readonly Variant[],
  columns: number,
  cells: (variant: Variant) => Renderable,
): Markup {
  const trainings = [...grouped(variants, ({ training }) => trainingKey(training)).values()];
  return html`${trainings.map(
    (ofTraining) => html`<tbody>
<tr class="group"><th scope="rowgroup" colspan="${2 + columns}"><span>${trainingHeading((ofTraining[0] as Variant).training)}</span></th></tr>
${[...grouped(ofTraining, ({ recipe }) => recipe).values()].map((ofRecipe) =>
  ofRecipe.map(
    (variant, i) => html`<tr${classes(i === 0 && 'first')}>${
      i === 0 &&
      html`<th scope="rowgroup" rowspan="${ofRecipe.length}" class="recipe">${recipeText(variant.recipe)}</th>`
    }<th scope="row">${variantLink(variant)}</th>${cells(variant)}</tr>
`,
  ),
)}</tbody>
`,
  )}`;
}

/** A fraction in points as it is printed, so that ties are ties of what a reader sees. */
export function tenths(fraction: number): number {
  return Number((100 * fraction).toFixed(1));
}

/** 'sign clipped', with 'discretizer exact' where it masks; a network without a choice: 'no choice'. */
export function modeHead(mode: GradientModeRecord): Markup {
  const name = mode.sign === null ? 'no choice' : mode.sign;
  return html`${mode.discretizer === 'exact' ? 'discretizer exact' : name}${isMasking(mode) && html`<small>masking demo</small>`}`;
}
