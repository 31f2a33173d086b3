import type { Examples, Results } from '../study/results.js';
import { attackTable, flippableTable } from './attack-tables.js';
import { checksTable, maskingSentence } from './checks.js';
import { claimsSection } from './claims.js';
import { cleanTable } from './clean.js';
import { type CurveFigure, curveFigures, curves } from './curves.js';
import { exampleSection } from './examples.js';
import { panelsFile } from './figure-files.js';
import { bitsLabel, listing, slug } from './format.js';
import { type Entry, header, shortAnswer } from './header.js';
import { heatmapFile, heatScale } from './heatmap.js';
import { html, type Markup } from './markup.js';
import { method } from './method.js';
import { modeSummaryTable, modeTables, zeroGradientTable } from './modes.js';
import { indexNetworks, renderNetworkPage } from './network-page.js';
import { networksSection } from './networks.js';
import { datasetLabel, document, fold, networkPath, section, typeset } from './page.js';
import { repeat } from './repeat.js';
import { type Summary, summarize } from './summary.js';
import { trainingTable } from './trainings.js';
import { matrixBasis, matrixFile, matrixTitle, transfer } from './transfer.js';
import { type TransferMatrix, transferMatrices } from './transfer-matrix.js';

/** A file of the report, by its path relative to the report's folder. */
export interface ReportFile {
  readonly path: string;
  readonly text: string;
}

/** What more than one page or file needs. */
interface Material {
  readonly summary: Summary;
  readonly examples: Examples | null;
  readonly curves: readonly CurveFigure[];
  readonly matrices: readonly TransferMatrix[];
}

async function prepare(results: Results, examples: Examples | null): Promise<Material> {
  const summary = summarize(results);
  return { summary, examples, curves: await curveFigures(summary), matrices: transferMatrices(summary) };
}

const modelId = (model: string) => `model-${slug(model)}`;

/** The parts of a model's section; those with nothing to show are left out. */
function modelParts(
  { summary, curves: figures, matrices }: Material,
  model: string,
): (Entry & { body: Markup })[] {
  const id = modelId(model);
  const tables = (norm: 'linf' | 'l2') =>
    summary.attacks
      .filter((attack) => attack.norm === norm)
      .flatMap((attack) => {
        const accuracy = attackTable(summary, model, attack, 'accuracy');
        const loss = attackTable(summary, model, attack, 'loss');
        return accuracy === null || loss === null ? [] : [{ attack, accuracy, loss }];
      });
  const linf = tables('linf');
  const l2 = tables('l2');
  const ofModel = figures.filter((figure) => figure.model === model);
  const trainings = trainingTable(summary, model);
  const modes = modeTables(summary, model);
  const zeros = zeroGradientTable(summary, model);
  const here = matrices.filter((matrix) => matrix.model === model);
  // What hurts most stands open: the multi-step attack where there is one.
  const first = linf.find(({ attack }) => attack.multiStep) ?? linf[0];
  const parts: ((Entry & { body: Markup }) | false)[] = [
    ofModel.length > 0 && { id: `${id}-curves`, title: 'Accuracy against ε', body: curves(ofModel) },
    linf.length > 0 && {
      id: `${id}-accuracy`,
      title: 'Accuracy under attack',
      body: html`${linf.map((table) => fold(`Accuracy under ${table.attack.label}`, table.accuracy, table === first))}`,
    },
    linf.length > 0 && {
      id: `${id}-loss`,
      title: 'Adversarial loss',
      body: html`${linf.map((table) => fold(`Adversarial loss under ${table.attack.label}`, table.loss))}`,
    },
    trainings !== null && { id: `${id}-trainings`, title: 'Attack against training', body: trainings },
    l2.length > 0 && {
      id: `${id}-l2`,
      title: 'L2 attacks',
      body: html`${l2.map(({ attack, accuracy, loss }) => html`${accuracy}${fold(`Adversarial loss under ${attack.label}`, loss)}`)}`,
    },
    (modes.length > 0 || zeros !== null) && {
      id: `${id}-gradients`,
      title: 'Gradient modes and masking',
      body: html`${modes.map((table, i) => (i === 0 ? table : fold('Another attack by gradient mode', table)))}${
        zeros !== null && fold('Images without a gradient, by network and mode', zeros)
      }`,
    },
    here.length > 0 && {
      id: `${id}-transfer`,
      title: 'Transfer',
      body: html`${heatScale()}${transfer(here)}`,
    },
  ];
  return parts.filter((part) => part !== false);
}

interface Part extends Entry {
  readonly body: Markup;
}

async function parts(material: Material): Promise<Part[]> {
  const { summary, examples } = material;
  const { results } = summary;
  const attacked = results.worstCase.length > 0;
  const masking = maskingSentence(summary);
  const models = summary.models.map((model): Part => {
    const inner = modelParts(material, model);
    return {
      id: modelId(model),
      title: model,
      children: inner.map(({ id, title }) => ({ id, title })),
      body:
        inner.length === 0
          ? html`<p>This study attacked no network of this model.</p>`
          : html`${inner.map(({ id, title, body }) => section(id, title, body, 3))}`,
    };
  });
  const gradients = modeSummaryTable(summary);
  return [
    { id: 'claims', title: 'The claims', body: claimsSection(results.claims) },
    {
      id: 'clean',
      title: 'Clean accuracy',
      body:
        summary.variants.length === 0 ? html`<p>This study trained no networks.</p>` : cleanTable(summary),
    },
    {
      id: 'gradients',
      title: 'Do the attacks see?',
      body: attacked
        ? html`<p>A discretizer and a sign have no useful derivative. An attacker who takes it as it is sees nothing, and the network looks robust. These checks show whether the attacks of this study saw enough for their figures to mean something.</p>
${checksTable(summary)}${masking !== null && html`<p>${masking}</p>`}
${gradients ?? html`<p>No network of this study was attacked in more than one gradient mode, so there are none to compare.</p>`}
${flippableTable(summary)}`
        : html`<p>This study has no white-box attacks.</p>`,
    },
    ...models,
    ...(results.transfer.length === 0
      ? [{ id: 'transfer', title: 'Transfer', body: html`<p>This study has no transfer attacks.</p>` }]
      : []),
    { id: 'examples', title: 'Examples', body: await exampleSection(results, examples) },
    { id: 'networks', title: 'Networks', body: networksSection(summary, results) },
    { id: 'repeat', title: 'How to repeat it', body: repeat(results) },
    { id: 'method', title: 'Method', body: method(summary) },
  ];
}

async function frontPage(material: Material): Promise<string> {
  const { summary } = material;
  const { results } = summary;
  const list = await parts(material);
  const bits = listing(summary.inputBits.map(bitsLabel));
  const dataset = datasetLabel(results.dataset.name);
  return document(
    results,
    {
      title: `Robustness of discretized networks on ${dataset} · ${results.library.name}`,
      description: `Robustness of networks with ${bits} input on ${dataset}: ${shortAnswer(results.claims)}`,
    },
    html`${typeset(header(summary, list))}<main>
${list.map(({ id, title, body }) => section(id, title, id === 'repeat' ? body : typeset(body)))}</main>
<footer><p>Written by ${results.library.name} ${results.library.version}. No script, and no request to anywhere; figures for papers are in figures/, a page a network in networks/.</p></footer>
`,
  );
}

/**
 * The front page as one HTML document: style, charts and images are inline, there is no script. It links to the pages and
 * figures of {@link reportFiles}. The same results give the same bytes.
 *
 * @throws ERR_HARDBIT_FORMAT where an example's pixels do not fit the stated image shape or bit depth
 */
export async function renderReport(results: Results, examples: Examples | null): Promise<string> {
  return frontPage(await prepare(results, examples));
}

/**
 * Every page and figure of the report: figures/*.svg, networks/<id>.html and, last, report.html.
 *
 * @throws ERR_HARDBIT_FORMAT as {@link renderReport}
 */
export async function* reportFiles(results: Results, examples: Examples | null): AsyncGenerator<ReportFile> {
  const material = await prepare(results, examples);
  for (const { file, title, basis, panels, columns } of material.curves) {
    yield { path: `figures/${file}`, text: panelsFile(title, `${title} ${basis}`, panels, columns) };
  }
  for (const matrix of material.matrices) {
    const title = matrixTitle(matrix);
    yield { path: `figures/${matrixFile(matrix)}`, text: heatmapFile(matrix, title, matrixBasis(matrix)) };
  }
  const index = indexNetworks(material.summary, examples);
  for (const network of results.networks) {
    yield { path: networkPath(network.id), text: await renderNetworkPage(network, index) };
  }
  yield { path: 'report.html', text: await frontPage(material) };
}
