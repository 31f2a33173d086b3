import {
  figureCell,
  modeLegend,
  provenance,
  scrollTable,
  spreadLegend,
  tenths,
  variantBodies,
} from './cells.js';
import { bitsLabel, epsilonText, percent } from './format.js';
import { html, type Markup } from './markup.js';
import {
  type AttackKind,
  distinct,
  grouped,
  type Measured,
  type Summary,
  trainingKey,
  type Variant,
} from './summary.js';

function ballText(attack: AttackKind): string {
  return attack.norm === 'l2' ? 'White-box, ε in L2' : 'White-box';
}

/** The variants of a model that met the attack. */
export function attacked(summary: Summary, model: string, attack: AttackKind): Variant[] {
  return summary
    .of(model)
    .filter((variant) => attack.epsilons.some((epsilon) => summary.worst(variant, attack, epsilon) !== null));
}

/**
 * One attack on one model: accuracy kept (or lost) by every variant at every ε, each the per-example worst over gradient
 * modes. Marked is the best of a training at an ε. Null where nothing was measured.
 */
export function attackTable(
  summary: Summary,
  model: string,
  attack: AttackKind,
  what: 'accuracy' | 'loss',
): Markup | null {
  const variants = attacked(summary, model, attack);
  if (variants.length === 0) return null;
  const loss = what === 'loss';
  const value = (cell: Measured) => tenths(loss ? cell.loss : -cell.accuracy);
  const cells = new Map(
    variants.map((variant) => [
      variant,
      attack.epsilons.map((epsilon) => summary.worst(variant, attack, epsilon)),
    ]),
  );
  const best = new Map(
    [...grouped(variants, ({ training }) => trainingKey(training))].map(([key, ofTraining]) => [
      key,
      attack.epsilons.map((_, e) => {
        const values = ofTraining.flatMap((variant) => {
          const cell = cells.get(variant)?.[e];
          return cell == null ? [] : [value(cell)];
        });
        // Nothing is best where all are equal.
        return values.some((other) => other !== values[0]) ? Math.min(...values) : Number.NaN;
      }),
    ]),
  );
  const seen = [...cells.values()].flat();
  const bodies = variantBodies(variants, 1 + attack.epsilons.length, (variant) => {
    const row = cells.get(variant) ?? [];
    const clean = row.find((cell) => cell !== null);
    return [
      html`<td class="quiet">${clean === undefined ? '–' : percent(clean.cleanAccuracy)}</td>`,
      row.map((cell, e) =>
        figureCell(cell, {
          loss,
          best: cell !== null && value(cell) === best.get(trainingKey(variant.training))?.[e],
        }),
      ),
    ];
  });
  const title = loss
    ? html`<b>Adversarial loss under ${attack.label}, ${model}</b>, in points: clean minus attacked accuracy, lower is better.`
    : html`<b>Accuracy in % under ${attack.label}, ${model}.</b>`;
  return scrollTable(
    html`${title} ${provenance(seen, ballText(attack))}; clean accuracy on these images. <mark>Marked</mark>: the best of its training at that ε. ${modeLegend(seen)}${
      loss ? '' : spreadLegend(seen)
    }`,
    `${loss ? 'Adversarial loss' : 'Accuracy'} under ${attack.label}, ${model}`,
    html`<thead>
<tr><th scope="col">Recipe</th><th scope="col" class="text">Input</th><th scope="col">Clean</th>${attack.epsilons.map(
      (epsilon) => html`<th scope="col">ε = ${epsilonText(epsilon)}</th>`,
    )}</tr>
</thead>
${bodies}`,
    'attack',
  );
}

/** Pixels whose code an attacker can change at all, by bits and ε: it depends on nothing else. */
export function flippableTable(summary: Summary): Markup | null {
  const cells = summary.results.worstCase.filter((cell) => cell.flippableFraction !== null);
  const epsilons = [...new Set(cells.map((cell) => cell.epsilon))].sort((a, b) => a - b);
  if (epsilons.length === 0) return null;
  const found = grouped(
    cells,
    ({ network, epsilon }) => `${summary.byId.get(network)?.inputBits} ${epsilon}`,
  );
  return scrollTable(
    html`<b>Flippable pixels in %</b>: the share whose code can change within ε in L∞, by input bits. ${provenance(
      cells.map(({ n, seed }) => ({ n: [n], seeds: [seed] })),
      'Any threat model and gradient mode',
    ).replace(
      /mean ± sample standard deviation over /,
      '',
    )}; it depends on the images alone. Where it is near zero, a small loss says little.`,
    'Flippable pixels by input bits and ε',
    html`<thead>
<tr><th scope="col">Input</th>${epsilons.map((epsilon) => html`<th scope="col">ε = ${epsilonText(epsilon)}</th>`)}</tr>
</thead>
<tbody>
${summary.inputBits.map(
  (bits) => html`<tr><th scope="row">${bitsLabel(bits)}</th>${epsilons.map((epsilon) => {
    const texts = distinct(
      (found.get(`${bits} ${epsilon}`) ?? []).map((cell) => percent(cell.flippableFraction ?? 0)),
      (text) => text,
    );
    return html`<td>${texts.length === 0 ? '–' : texts.join(' / ')}</td>`;
  })}</tr>
`,
)}</tbody>
`,
  );
}
