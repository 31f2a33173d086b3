import { provenance } from './cells.js';
import { epsilonText, listing, slug } from './format.js';
import { heatmap } from './heatmap.js';
import { html, type Markup } from './markup.js';
import { fold } from './page.js';
import { mostTelling, type TransferMatrix } from './transfer-matrix.js';

/** File name of the matrix in figures/. */
export function matrixFile({ model, attack, epsilon }: TransferMatrix): string {
  return `transfer-${slug(model)}-${slug(attack.label)}-${slug(String(epsilon))}.svg`;
}

export function matrixTitle({ model, attack, epsilon }: TransferMatrix): string {
  return `${model}, ${attack.label} at ε = ${epsilonText(epsilon)}: the target’s accuracy in %`;
}

/** What a matrix rests on, and what its marks are. */
export function matrixBasis(matrix: TransferMatrix): string {
  const signs = [...new Set(matrix.modes.flatMap(({ sign }) => sign ?? []))];
  const discretizers = [...new Set(matrix.modes.map(({ discretizer }) => discretizer))];
  const marks = new Set(matrix.measured.map(({ diagonal }) => diagonal));
  const diagonal = [
    marks.has('twin') && 'T, a twin of the target from another seed',
    marks.has('white-box') && 'W, the target itself, which is white-box',
  ].filter((text) => text !== false);
  return (
    `${provenance(matrix.measured, 'Black-box transfer').replace('mean ± sample standard deviation', 'mean')}; ` +
    `gradient mode of the source: ${listing(discretizers)} through the discretizer` +
    `${signs.length > 0 ? `, ${listing(signs)} through quantized activations` : ''}.` +
    `${diagonal.length > 0 ? ` Framed: the source is ${listing(diagonal)}.` : ''}`
  );
}

function caption(matrix: TransferMatrix, others: readonly TransferMatrix[]): Markup {
  return html`<b>${matrixTitle(matrix)}</b> on images made on the source. ${matrixBasis(matrix)} <a href="figures/${matrixFile(matrix)}">As a file</a>${
    others.length > 0 &&
    html`; shown at the ε where cells differ most, ${others.map(
      (other, i) =>
        html`${i > 0 && ', '}<a href="figures/${matrixFile(other)}">ε = ${epsilonText(other.epsilon)}</a>`,
    )}`
  }.`;
}

/** The matrices of one model: one an attack in full, the first open, the other ε as files. */
export function transfer(matrices: readonly TransferMatrix[]): Markup {
  const labels = [...new Set(matrices.map(({ attack }) => attack.label))];
  return html`${labels.map((label, i) => {
    const ofAttack = matrices.filter(({ attack }) => attack.label === label);
    const matrix = mostTelling(ofAttack);
    if (matrix === undefined) return null;
    const figure = html`<figure class="table">
<figcaption>${caption(
      matrix,
      ofAttack.filter((other) => other !== matrix),
    )}</figcaption>
${heatmap(matrix)}
</figure>
`;
    return i === 0 ? figure : fold(`Transfer of ${label} images`, figure);
  })}`;
}
