import { classes, figureCell, modeLegend, provenance, scrollTable, tenths, variantLink } from './cells.js';
import { epsilonText, recipeText, trainingLabel } from './format.js';
import { html, type Markup } from './markup.js';
import { grouped, type Measured, type Summary, type Variant } from './summary.js';

/** At most so many ε an attack stand in the table; the attack's own table has all. */
const epsilonLimit = 3;

/**
 * Attack against training: for each network that was trained in several ways, what is left under each L∞ attack.
 * Null where every network was trained in one way.
 */
export function trainingTable(summary: Summary, model: string): Markup | null {
  const groups = [
    ...grouped(summary.of(model), ({ recipe, inputBits }) => `${recipe} ${inputBits}`).values(),
  ].filter((group) => group.length > 1);
  const trainedAt = new Set(
    groups.flat().flatMap(({ training }) => (training.kind === 'natural' ? [] : [training.epsilon])),
  );
  const attacks = summary.attacks
    .filter(({ norm }) => norm === 'linf')
    .map((attack) => {
      const here = attack.epsilons.filter((epsilon) =>
        groups.flat().some((variant) => summary.worst(variant, attack, epsilon) !== null),
      );
      // Those at which something was trained tell most; then the largest.
      const ranked = [...here].sort((a, b) => Number(trainedAt.has(b)) - Number(trainedAt.has(a)) || b - a);
      return { attack, epsilons: here.filter((epsilon) => ranked.slice(0, epsilonLimit).includes(epsilon)) };
    })
    .filter(({ epsilons }) => epsilons.length > 0);
  if (groups.length === 0 || attacks.length === 0) return null;
  const columns = attacks.flatMap(({ attack, epsilons }) =>
    epsilons.map((epsilon, i) => ({ attack, epsilon, first: i === 0 })),
  );
  const seen: (Measured | null)[] = [];
  const bodies = groups.map((group) => {
    const rows = group.map((variant) =>
      columns.map(({ attack, epsilon }) => summary.worst(variant, attack, epsilon)),
    );
    seen.push(...rows.flat());
    const best = columns.map((_, c) => {
      const kept = rows.flatMap((row) => {
        const cell = row[c];
        return cell == null ? [] : [tenths(cell.accuracy)];
      });
      // Nothing is best where all are equal.
      return kept.some((value) => value !== kept[0]) ? Math.max(...kept) : Number.NaN;
    });
    const { recipe } = group[0] as Variant;
    return html`<tbody>
<tr class="group"><th scope="rowgroup" colspan="${1 + columns.length}"><span>${recipeText(recipe)}, ${variantLink(group[0] as Variant)}</span></th></tr>
${group.map(
  (variant, r) => html`<tr><th scope="row">${trainingLabel(variant.training)}</th>${columns.map(
    (column, c) => {
      const cell = rows[r]?.[c] ?? null;
      return figureCell(cell, {
        edge: column.first,
        best: cell !== null && tenths(cell.accuracy) === best[c],
      });
    },
  )}</tr>
`,
)}</tbody>
`;
  });
  return scrollTable(
    html`<b>Attack against training, ${model}: accuracy in %.</b> ${provenance(seen, 'White-box')}. <mark>Marked</mark>: the best training of a network against that attack. ${modeLegend(seen)}`,
    `Accuracy by attack and training, ${model}`,
    html`<thead>
<tr><th rowspan="2" scope="col">Trained</th>${attacks.map(
      ({ attack, epsilons }) =>
        html`<th scope="colgroup" colspan="${epsilons.length}" class="edge">${attack.label}</th>`,
    )}</tr>
<tr>${columns.map(
      ({ epsilon, first }) =>
        html`<th scope="col"${classes(first && 'edge')}>ε = ${epsilonText(epsilon)}</th>`,
    )}</tr>
</thead>
${bodies}`,
    'trainings',
  );
}
