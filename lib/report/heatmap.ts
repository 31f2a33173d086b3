import { captionText, standalone } from './figure-files.js';
import { bitsLabel, epsilonText, percent, recipeText, trainingLabel } from './format.js';
import { escapeHtml, html, type Markup } from './markup.js';
import { distinct, trainingKey, type Variant } from './summary.js';
import { blocksOf, type TransferMatrix } from './transfer-matrix.js';

/** Cividis (Nuñez, Anderton, Renslow 2018), readable without colour vision; stops at equal distances from 0 to 1. */
const ramp: readonly (readonly [number, number, number])[] = [
  [0, 34, 78],
  [18, 53, 112],
  [59, 73, 108],
  [87, 93, 109],
  [112, 113, 115],
  [138, 134, 120],
  [165, 156, 116],
  [195, 179, 105],
  [225, 204, 85],
  [254, 232, 56],
];

function rampColor(value: number): readonly [number, number, number] {
  const at = Math.min(Math.max(value, 0), 1) * (ramp.length - 1);
  const below = Math.min(Math.floor(at), ramp.length - 2);
  const from = ramp[below] as readonly [number, number, number];
  const to = ramp[below + 1] as readonly [number, number, number];
  const mix = (channel: 0 | 1 | 2) =>
    Math.round(from[channel] + (at - below) * (to[channel] - from[channel]));
  return [mix(0), mix(1), mix(2)];
}

function hex(color: readonly number[]): string {
  return `#${color.map((channel) => channel.toString(16).padStart(2, '0')).join('')}`;
}

/** Relative luminance (WCAG 2). */
function luminance(color: readonly [number, number, number]): number {
  const linear = color.map((channel) => {
    const c = channel / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (linear[0] as number) + 0.7152 * (linear[1] as number) + 0.0722 * (linear[2] as number);
}

/** Background and the more legible of black and white on it. */
function cellColors(value: number): { readonly background: string; readonly ink: string } {
  const color = rampColor(value);
  const light = luminance(color);
  const dark = (light + 0.05) / 0.05 > 1.05 / (light + 0.05);
  return { background: hex(color), ink: dark ? '#000' : '#fff' };
}

/** Steps of the scale that the style sheet knows; the number in a cell is exact. */
const steps = 50;
const stepOf = (value: number) => Math.round(Math.min(Math.max(value, 0), 1) * steps);

/** The style rules of the scale's steps, .h0 to .h50. */
export const heatStyles = Array.from({ length: steps + 1 }, (_, i) => {
  const { background, ink } = cellColors(i / steps);
  return `.h${i}{background:${background};color:${ink}}`;
}).join('');

interface Group {
  readonly label: string;
  readonly variants: readonly Variant[];
}

/** Runs of variants with the same key, in order. */
function groups(
  variants: readonly Variant[],
  key: (v: Variant) => string,
  label: (v: Variant) => string,
): Group[] {
  return distinct(variants, key).map((first) => ({
    label: label(first),
    variants: variants.filter((variant) => key(variant) === key(first)),
  }));
}

const byTraining = (variant: Variant) => trainingKey(variant.training);
const byRecipe = (variant: Variant) => JSON.stringify([byTraining(variant), variant.recipe]);
const trainingsOf = (variants: readonly Variant[]) =>
  groups(variants, byTraining, (variant) => trainingLabel(variant.training));
const recipesOf = (variants: readonly Variant[]) =>
  groups(variants, byRecipe, (variant) => recipeText(variant.recipe));

/**
 * The matrix as a table coloured by the target's accuracy, inside its own scrolling container; one table a block of networks that were shown each other's images. The longer side, the targets,
 * runs downwards, so that head and first columns can stay in sight.
 */
export function heatmap(matrix: TransferMatrix): Markup {
  return html`${blocksOf(matrix).map((block) => blockTable({ ...matrix, ...block }))}`;
}

function blockTable(matrix: TransferMatrix): Markup {
  const { sources, targets } = matrix;
  const trainings = trainingsOf(targets);
  const recipes = recipesOf(targets);
  const firstOfTraining = new Map(trainings.map((group) => [group.variants[0], group]));
  const firstOfRecipe = new Map(recipes.map((group) => [group.variants[0], group]));

  const cell = (source: Variant, target: Variant): Markup => {
    const measured = matrix.cell(source, target);
    if (measured === null) return html`<td class="none">–</td>`;
    const { diagonal } = measured;
    const mark = diagonal === null ? '' : diagonal === 'twin' ? 'T' : 'W';
    return html`<td class="h${stepOf(measured.accuracy)}${diagonal !== null && ' diagonal'}">${percent(measured.accuracy)}${
      mark && html`<sup>${mark}</sup>`
    }</td>`;
  };
  const row = (target: Variant): Markup => {
    const training = firstOfTraining.get(target);
    const recipe = firstOfRecipe.get(target);
    return html`<tr>${
      training &&
      html`<th scope="rowgroup" rowspan="${training.variants.length}" class="span">${training.label}</th>`
    }${
      recipe &&
      html`<th scope="rowgroup" rowspan="${recipe.variants.length}" class="span">${recipe.label}</th>`
    }<th scope="row">${bitsLabel(target.inputBits)}</th>${sources.map((source) => cell(source, target))}</tr>
`;
  };
  const span = (group: Group) =>
    html`<th scope="colgroup" colspan="${group.variants.length}">${group.label}</th>`;
  const label = `Transfer matrix of ${matrix.model}, ${matrix.attack.label} at ε = ${epsilonText(matrix.epsilon)}`;
  return html`<div class="scroll" role="region" tabindex="0" aria-label="${label}"><table class="heat">
<thead>
<tr><th colspan="3" rowspan="3" class="corner">source →<br>target ↓</th>${trainingsOf(sources).map(span)}</tr>
<tr>${recipesOf(sources).map(span)}</tr>
<tr>${sources.map((source) => html`<th scope="col">${source.inputBits}<small>bit</small></th>`)}</tr>
</thead>
<tbody>
${targets.map(row)}</tbody>
</table></div>
`;
}

/** The colour scale, 0 % to 100 %. */
export function heatScale(): Markup {
  const stops = Array.from({ length: 11 }, (_, i) => i / 10);
  return html`<div class="heat-scale" role="img" aria-label="Colour scale from dark blue, 0 %, to yellow, 100 %"><span>0 %</span><span class="strip">${stops.map(
    (value) => html`<i class="h${stepOf(value)}"></i>`,
  )}</span><span>100 %</span></div>`;
}

const side = 30;
const tall = 18;

/** The same as an SVG file. */
export function heatmapFile(matrix: TransferMatrix, title: string, caption: string): string {
  const { sources, targets } = matrix;
  const name = (variant: Variant) =>
    `${recipeText(variant.recipe)} ${variant.inputBits}${variant.training.kind === 'natural' ? '' : `, ${trainingLabel(variant.training)}`}`;
  const left = 16 + 6.2 * Math.max(...targets.map((variant) => name(variant).length));
  const top = 40 + 6.2 * Math.max(...sources.map((variant) => name(variant).length));
  const column = (s: number) => (left + side * s).toFixed(1);
  const line = (t: number) => (top + tall * t).toFixed(1);
  const body = [
    `<g font-size="11"><text x="12" y="20" font-size="12" font-weight="600">${escapeHtml(title)}</text>`,
    ...sources.map(
      (source, s) =>
        `<text transform="translate(${column(s + 0.5)} ${(top - 6).toFixed(1)}) rotate(-90)" dominant-baseline="central">${escapeHtml(name(source))}</text>`,
    ),
    ...targets.flatMap((target, t) => [
      `<text x="${(left - 6).toFixed(1)}" y="${line(t + 0.5)}" text-anchor="end" dominant-baseline="central">${escapeHtml(name(target))}</text>`,
      ...sources.flatMap((source, s) => {
        const measured = matrix.cell(source, target);
        if (measured === null) return [];
        const { background, ink } = cellColors(measured.accuracy);
        const mark = measured.diagonal !== null ? ` stroke="${ink}" stroke-width="1.5"` : '';
        return [
          `<rect x="${column(s)}" y="${line(t)}" width="${side - 1}" height="${tall - 1}" fill="${background}"${mark}/>` +
            `<text x="${column(s + 0.5)}" y="${line(t + 0.5)}" font-size="8.5" fill="${ink}" text-anchor="middle" dominant-baseline="central">${percent(measured.accuracy)}</text>`,
        ];
      }),
    ]),
    '</g>',
  ];
  const width = Math.ceil(Math.max(left + side * sources.length + 12, 12 + 6.8 * title.length));
  const height = Math.ceil(top + tall * targets.length);
  const text = captionText(caption, 12, height, width - 12);
  return standalone(width, height + text.height + 8, title, body.join('') + text.svg);
}
