import type { NetworkRecord, Results } from '../study/results.js';
import { scrollTable } from './cells.js';
import { bitsLabel, count, duration, percent, recipeText, span, trainingLabel } from './format.js';
import { html, type Markup } from './markup.js';
import { fold, networkLink } from './page.js';
import type { Summary } from './summary.js';

function networksTable(model: string, networks: readonly NetworkRecord[]): Markup {
  return scrollTable(
    html`<b>Networks of ${model}</b>. Clean accuracy on n = ${span(networks.map((network) => network.n))} test images, no attack; the seed is that of training. A name leads to the network’s page.`,
    `Networks of ${model}`,
    html`<thead>
<tr><th scope="col">Network</th><th scope="col" class="text">Recipe</th><th scope="col" class="text">Input</th><th scope="col" class="text">Training</th><th scope="col">Seed</th><th scope="col">Clean, %</th><th scope="col">Parameters</th><th scope="col">Epochs</th><th scope="col">Batch</th><th scope="col">Time</th></tr>
</thead>
<tbody>
${networks.map(
  (network) =>
    html`<tr><th scope="row">${networkLink(network, html`<code>${network.id}</code>`)}${network.twin && html` <span class="quiet">twin</span>`}</th><td class="text">${recipeText(
      network.recipe,
    )}</td><td class="text">${bitsLabel(network.inputBits)}</td><td class="text">${trainingLabel(network.training)}</td><td>${network.seed}</td><td>${percent(
      network.cleanAccuracy,
    )}</td><td>${count(network.parameters)}</td><td>${network.epochs}</td><td>${network.batchSize}</td><td>${duration(network.trainSeconds)}</td></tr>
`,
)}</tbody>
`,
    'networks',
  );
}

/** Up to so many networks of a model stand open. */
const openLimit = 40;

/** Every network as it was trained, twins included, by model. */
export function networksSection({ models }: Summary, results: Results): Markup {
  const all = [...new Set([...models, ...results.networks.map(({ model }) => model)])];
  return html`${all.map((model) => {
    const networks = results.networks.filter((network) => network.model === model);
    const table = networksTable(model, networks);
    return all.length === 1 && networks.length <= openLimit
      ? table
      : fold(`${model}: ${count(networks.length)} networks`, table);
  })}`;
}
