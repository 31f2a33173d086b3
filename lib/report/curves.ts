import { modeLegend, provenance } from './cells.js';
import { bitCurves, type Panel } from './charts.js';
import { recipeText, slug, trainingHeading, trainingLabel } from './format.js';
import { html, type Markup } from './markup.js';
import { fold } from './page.js';
import { grouped, type Measured, type Summary, trainingKey, type Variant } from './summary.js';

/** Small multiples of one model and training: a panel each recipe and attack. */
export interface CurveFigure {
  readonly model: string;
  readonly training: Variant['training'];
  /** File name of the figure in figures/. */
  readonly file: string;
  /** Panels of one attack stand in one row. */
  readonly columns: number;
  readonly panels: readonly Panel[];
  readonly title: string;
  /** What the figure rests on. */
  readonly basis: string;
}

/** Every figure of accuracy against ε that the study has. */
export async function curveFigures(summary: Summary): Promise<CurveFigure[]> {
  const figures: CurveFigure[] = [];
  for (const model of summary.models) {
    for (const ofTraining of grouped(summary.of(model), ({ training }) => trainingKey(training)).values()) {
      const { training } = ofTraining[0] as Variant;
      const recipes = [...grouped(ofTraining, ({ recipe }) => recipe)];
      const panels: Panel[] = [];
      const seen: (Measured | null)[] = [];
      for (const attack of summary.attacks) {
        for (const [recipe, variants] of recipes) {
          const panel = await bitCurves(summary, variants, attack, recipeText(recipe));
          if (panel === null) continue;
          panels.push(panel);
          for (const variant of variants) {
            seen.push(...attack.epsilons.map((epsilon) => summary.worst(variant, attack, epsilon)));
          }
        }
      }
      if (panels.length === 0) continue;
      figures.push({
        model,
        training,
        file: `accuracy-${slug(model)}-${slug(trainingLabel(training).replaceAll(' = ', '-'))}.svg`,
        columns: recipes.length,
        panels,
        title: `${model}, ${trainingHeading(training)}: accuracy against ε.`,
        basis: `${provenance(seen, 'White-box').replace('mean ± sample standard deviation', 'mean')}. The point at ε = 0 is the clean accuracy; labels name the input’s bit depth. ${modeLegend(seen).replace(/; the letter names.*$/, '.')}`,
      });
    }
  }
  return figures;
}

/** The figures of one model; all but the first are folded. */
export function curves(figures: readonly CurveFigure[]): Markup {
  return html`${figures.map((figure, i) => {
    const body = html`<figure class="curves">
<figcaption><b>${figure.title}</b> ${figure.basis} <a href="figures/${figure.file}">As a file</a>.</figcaption>
${[...grouped(figure.panels, ({ title }) => title).values()].map(
  (ofAttack) => html`<div class="panels">
${ofAttack.map(({ markup }) => markup)}</div>
`,
)}</figure>
`;
    return i === 0 ? body : fold(`${trainingHeading(figure.training)}: accuracy against ε`, body);
  })}`;
}
