import { classes, scrollTable } from './cells.js';
import { bitsLabel, count, intervalText, percent, recipeText, span, trainingLabel } from './format.js';
import { html, type Markup } from './markup.js';
import { networkLink } from './page.js';
import { deviation, mean, wilson } from './statistics.js';
import { grouped, type Summary, trainingKey, type Variant } from './summary.js';

function cleanCell(variant: Variant | undefined): Markup {
  const [first] = variant?.networks ?? [];
  if (variant === undefined || first === undefined) return html`<td class="none">–</td>`;
  const accuracies = variant.networks.map((network) => network.cleanAccuracy);
  const spread = deviation(accuracies);
  const under =
    spread === null ? intervalText(wilson(first.cleanAccuracy, first.n)) : `±\u2009${percent(spread)}`;
  return html`<td>${networkLink(first, percent(mean(accuracies)))}<small>${under}</small></td>`;
}

/** Clean accuracy by model, training, recipe and bits; each figure leads to its network's page. */
export function cleanTable(summary: Summary): Markup {
  const { inputBits, results } = summary;
  const main = results.networks.filter((network) => !network.twin);
  const seeds = new Set(main.map((network) => network.seed));
  const bodies = summary.models.map((model) => {
    const trainings = [...grouped(summary.of(model), ({ training }) => trainingKey(training)).values()];
    const size = main.find((network) => network.model === model);
    return html`<tbody>
<tr class="group"><th scope="rowgroup" colspan="${2 + inputBits.length}"><span>${model}${
      size !== undefined &&
      html` <i>${count(size.parameters)} parameters, ${count(size.macs)} multiply-accumulates an image</i>`
    }</span></th></tr>
${trainings.map((ofTraining) => {
  const recipes = [...grouped(ofTraining, ({ recipe }) => recipe).values()];
  return recipes.map((ofRecipe, i) => {
    const { training, recipe } = ofRecipe[0] as Variant;
    return html`<tr${classes(i === 0 && 'first')}>${
      i === 0 &&
      html`<th scope="rowgroup" rowspan="${recipes.length}" class="recipe">${trainingLabel(training)}</th>`
    }<th scope="row">${recipeText(recipe)}</th>${inputBits.map((bits) =>
      cleanCell(ofRecipe.find((variant) => variant.inputBits === bits)),
    )}</tr>
`;
  });
})}</tbody>
`;
  });
  const under =
    seeds.size > 1
      ? `mean ± sample standard deviation over seeds ${span(seeds, String)}`
      : `seed ${span(seeds, String)}, 95 % Wilson interval beneath`;
  return scrollTable(
    html`<b>Clean accuracy in %</b> by model, training, recipe and input bits. No attack, so no gradient mode; n = ${span(
      main.map((network) => network.n),
    )} test images, ${under}. A figure leads to its network’s page.`,
    'Clean accuracy by model, training, recipe and input bits',
    html`<thead>
<tr><th scope="col">Training</th><th scope="col" class="text">Recipe</th>${inputBits.map(
      (bits) => html`<th scope="col">${bitsLabel(bits)}</th>`,
    )}</tr>
</thead>
${bodies}`,
    'clean',
  );
}
