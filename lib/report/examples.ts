import type { Examples, Results } from '../study/results.js';
import { count, networkLabel } from './format.js';
import { exampleFigures, fallColor, riseColor, selectExamples } from './images.js';
import { html, type Markup } from './markup.js';
import { networkLink } from './page.js';
import { distinct } from './summary.js';

/** Rows of example images shown; the rest stay in examples.json. */
const exampleLimit = 40;

export async function exampleSection(results: Results, examples: Examples | null): Promise<Markup> {
  if (examples === null || examples.examples.length === 0) {
    return html`<p>This study kept no example images.</p>`;
  }
  const shown = selectExamples(examples.examples, exampleLimit);
  const byId = new Map(results.networks.map((network) => [network.id, network]));
  const swatch = (color: readonly number[]) =>
    html`<span class="swatch" style="background:rgb(${color.join(',')})"></span>`;
  const groups = await Promise.all(
    distinct(shown, (example) => example.network).map(async ({ network: id }) => {
      const figures = await exampleFigures(
        shown.filter((example) => example.network === id),
        examples.imageShape,
      );
      const network = byId.get(id);
      return html`<h3>${network === undefined ? id : networkLink(network, networkLabel(network))}</h3>
<div class="examples">
${figures}</div>
`;
    }),
  );
  return html`<p>From left to right: the clean image; what the network sees of it after discretization; the attacked image; what the network sees of that; and the change of the codes, ${swatch(riseColor)}raised and ${swatch(fallColor)}lowered, stronger colour for a larger change, with the share of codes that changed and the largest change.</p>
${shown.length < examples.examples.length && html`<p>${shown.length} of ${count(examples.examples.length)} examples are shown, spread over the networks; the rest are in examples.json.</p>`}
${groups}`;
}
