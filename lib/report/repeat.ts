import type { Results } from '../study/results.js';
import { count, duration, percent } from './format.js';
import { html, type Markup } from './markup.js';
import { datasetLabel, machineLine } from './page.js';

function shardTable({ shards }: Results): Markup | null {
  if (shards.length < 2) return null;
  return html`<figure class="table"><figcaption><b>Shards</b>: the plan was worked off in parts.</figcaption>
<div class="scroll" role="region" tabindex="0" aria-label="Shards"><table>
<thead><tr><th scope="col">Shard</th><th scope="col">Networks</th><th scope="col">Measurements</th><th scope="col">Work</th><th scope="col" class="text">Finished</th><th scope="col" class="text">Machine</th></tr></thead>
<tbody>
${shards.map(
  ({ index, count: of, networks, cells, seconds, finishedAt, machine }) =>
    html`<tr><th scope="row">${index} of ${of}</th><td>${count(networks.finished)} of ${count(networks.planned)}</td><td>${count(
      cells.finished,
    )} of ${count(cells.planned)}</td><td>${duration(seconds)}</td><td class="text">${finishedAt ?? 'not finished'}</td><td class="text">${machine.cpu}, ${machine.threads} threads, ${machine.isa}${machine.gpu === undefined ? '' : `, ${machine.gpu}`}</td></tr>
`,
)}</tbody></table></div></figure>
`;
}

/** Command, library, machine, time and data. */
export function repeat(results: Results): Markup {
  const { dataset, library } = results;
  const training = results.networks.reduce((sum, network) => sum + network.trainSeconds, 0);
  const share =
    results.seconds > 0 ? `, ${percent(Math.min(1, training / results.seconds))} % of it training` : '';
  return html`<pre><code>${results.command}</code></pre>
<p>The same seed on the same machine with the same number of threads gives the same networks, bit for bit. Every figure of this report stands in <a href="networks.csv">networks.csv</a>, <a href="worst-case.csv">worst-case.csv</a>, <a href="white-box.csv">white-box.csv</a>, <a href="transfer.csv">transfer.csv</a> and <a href="claims.csv">claims.csv</a> beside it, and in results.json.</p>
<dl class="facts">
<dt>Library</dt><dd>${library.name} ${library.version}</dd>
<dt>Preset</dt><dd>${results.preset}; plan ${results.planHash.slice(0, 12)}; ${results.complete ? 'complete' : 'not complete'}</dd>
<dt>Seeds</dt><dd>${results.seeds.join(', ')}</dd>
<dt>Machine</dt><dd>${machineLine(results)}</dd>
<dt>Time</dt><dd>${duration(results.seconds)} of work${share}; ${
    results.finishedAt === null ? 'not finished' : `finished ${results.finishedAt}`
  }</dd>
<dt>Data</dt><dd>${datasetLabel(dataset.name)}: ${count(dataset.trainExamples)} training and ${count(dataset.testExamples)} test images</dd>
${Object.entries(dataset.sha256).map(
  ([file, hash]) => html`<dt>SHA-256 of ${file}</dt><dd><code>${hash}</code></dd>
`,
)}</dl>
${shardTable(results)}`;
}
