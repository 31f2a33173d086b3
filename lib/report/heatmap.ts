import { bitsLabel, epsilonText, percent, recipeLabel, trainingLabel } from './format.js';
import { html, Markup } from './markup.js';
import { distinct, type TransferMatrix, trainingKey, type Variant } from './summary.js';

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
function cellStyle(value: number): string {
  const color = rampColor(value);
  const light = luminance(color);
  const dark = (light + 0.05) / 0.05 > 1.05 / (light + 0.05);
  return `background:${hex(color)};color:${dark ? '#000' : '#fff'}`;
}

interface Group {
  readonly label: string;
  readonly variants: readonly Variant[];
}

/** Runs of neighbouring variants with the same key. */
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

const byTraining = (variant: Variant) => JSON.stringify([variant.model, trainingKey(variant.training)]);
const byRecipe = (variant: Variant) => JSON.stringify([byTraining(variant), variant.recipe]);

/** The matrix as a table coloured by the target's accuracy, inside its own scrolling container. */
export function heatmap(matrix: TransferMatrix): Markup {
  const { variants } = matrix;
  const severalModels = new Set(variants.map((variant) => variant.model)).size > 1;
  const trainingGroup = (variant: Variant) =>
    `${severalModels ? `${variant.model}, ` : ''}${trainingLabel(variant.training)}`;
  const trainings = groups(variants, byTraining, trainingGroup);
  const recipes = groups(variants, byRecipe, (variant) => recipeLabel(variant.recipe));
  const firstOfTraining = new Map(trainings.map((group) => [group.variants[0], group]));
  const firstOfRecipe = new Map(recipes.map((group) => [group.variants[0], group]));

  const cell = (source: Variant, target: Variant): Markup => {
    const measured = matrix.cell(source, target);
    if (measured === null) return html`<td class="none">–</td>`;
    const { diagonal } = measured;
    const mark = diagonal === null ? '' : diagonal === 'twin' ? 'T' : 'W';
    return html`<td${
      diagonal !== null && new Markup(' class="diagonal"')
    } style="${cellStyle(measured.accuracy)}">${percent(measured.accuracy)}${mark && html`<sup>${mark}</sup>`}</td>`;
  };

  const row = (source: Variant): Markup => {
    const training = firstOfTraining.get(source);
    const recipe = firstOfRecipe.get(source);
    return html`<tr>${
      training &&
      html`<th scope="rowgroup" rowspan="${training.variants.length}" class="span">${training.label}</th>`
    }${
      recipe &&
      html`<th scope="rowgroup" rowspan="${recipe.variants.length}" class="span">${recipe.label}</th>`
    }<th scope="row">${bitsLabel(source.inputBits)}</th>${variants.map((target) => cell(source, target))}</tr>
`;
  };

  const span = (group: Group) =>
    html`<th scope="colgroup" colspan="${group.variants.length}">${group.label}</th>`;
  return html`<div class="scroll" role="region" tabindex="0" aria-label="Transfer matrix, ${matrix.attack.label} at ε = ${epsilonText(matrix.epsilon)}"><table class="heat">
<thead>
<tr><th colspan="3" rowspan="3" class="corner">source ↓<br>target →</th>${trainings.map(span)}</tr>
<tr>${recipes.map(span)}</tr>
<tr>${variants.map((target) => html`<th scope="col">${bitsLabel(target.inputBits)}</th>`)}</tr>
</thead>
<tbody>
${variants.map(row)}</tbody>
</table></div>`;
}

/** The colour scale, 0 % to 100 %. */
export function heatScale(): Markup {
  const stops = Array.from({ length: 11 }, (_, i) => i / 10);
  return html`<div class="heat-scale" role="img" aria-label="Colour scale from dark blue, 0 %, to yellow, 100 %"><span>0 %</span><span class="strip">${stops.map(
    (value) => html`<i style="background:${hex(rampColor(value))}"></i>`,
  )}</span><span>100 %</span></div>`;
}
