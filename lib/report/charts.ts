import { parse, type Runtime, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { NetworkRecord } from '../study/results.js';
import { bitsLabel, epsilonText, percent } from './format.js';
import { html, Markup } from './markup.js';
import type { AttackKind, Summary, Variant } from './summary.js';

/**
 * Colour and shape of a bit depth: Okabe and Ito's palette, told apart also by shape. The style sheet lightens the
 * colours on a dark page.
 */
const bitStyles: ReadonlyMap<number, { readonly color: string; readonly shape: string }> = new Map([
  [8, { color: '#0072b2', shape: 'circle' }],
  [4, { color: '#c04e00', shape: 'square' }],
  [2, { color: '#007a59', shape: 'triangle-up' }],
  [1, { color: '#a3487c', shape: 'diamond' }],
]);
const otherStyle = { color: '#666666', shape: 'cross' };

export const bitColors: readonly string[] = [
  ...[...bitStyles.values()].map((style) => style.color),
  otherStyle.color,
];

/** Lines that are not bit depths: attacks, and a network's own training. */
const plainStyles = [...bitStyles.values()];

const plotWidth = 190;
const plotHeight = 140;
/** Of a whole chart, in pixels: so that charts side by side have letters of one size. */
const leastWidth = 285;
/** Least distance between two direct labels, as a fraction of the plot's height. */
const labelGap = 0.088;

export interface Line {
  readonly label: string;
  readonly color: string;
  readonly shape: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

/** Pushes label positions apart until neighbours are `gap` apart, within [0, 1]; order is kept. */
export function spreadLabels(positions: readonly number[], gap: number): number[] {
  const order = positions
    .map((_, i) => i)
    .sort((a, b) => (positions[a] as number) - (positions[b] as number) || b - a);
  const placed = order.map((i) => positions[i] as number);
  for (let i = 1; i < placed.length; i++) {
    placed[i] = Math.max(placed[i] as number, (placed[i - 1] as number) + gap);
  }
  let ceiling = 1;
  for (let i = placed.length - 1; i >= 0 && (placed[i] as number) > ceiling; i--) {
    placed[i] = ceiling;
    ceiling -= gap;
  }
  const result = new Array<number>(positions.length);
  order.forEach((original, i) => {
    result[original] = placed[i] as number;
  });
  return result;
}

/** Specifications are compiled once; charts that differ in their points alone share one. */
const compiled = new Map<string, Runtime>();

function runtimeOf(spec: TopLevelSpec): Runtime {
  const key = JSON.stringify(spec);
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const runtime = parse(compile(spec).spec);
  if (compiled.size >= 64) compiled.clear();
  compiled.set(key, runtime);
  return runtime;
}

/** Renders to an SVG element that takes text and axis colour from the page. */
async function renderSvg(
  spec: TopLevelSpec,
  data: Readonly<Record<string, readonly object[]>>,
): Promise<string> {
  const view = new View(runtimeOf(spec), { renderer: 'none' });
  for (const [name, values] of Object.entries(data)) view.data(name, [...values]);
  const svg = await view.toSVG();
  view.finalize();
  // Attributes that say what is the default, and elements that draw nothing, are most of the text.
  return svg
    .replace(
      / (xmlns(:xlink)?|version|class|aria-[a-z]+|role|stroke-miterlimit|pointer-events|font-family)="[^"]*"/g,
      '',
    )
    .replace(
      / (opacity="1"|stroke-width="[012]"|text-anchor="start"|font-weight="normal"|transform="translate\(0,0\)")/g,
      '',
    )
    .replace(/ (d|transform|[xy]\d?|width|height)="[^"]*"/g, (attribute) =>
      attribute.replace(/-?\d+\.\d{2,}/g, (number) => String(Number(Number(number).toFixed(1)))),
    )
    .replace(/<path d="M0,0h0v0h0Z"[^>]*\/>|<path d="" display="none"\/>|<path d="[^"]*"\/>/g, '')
    .replace(/<g[^>]*><\/g>/g, '')
    .replace(/<g[^>]*><\/g>/g, '')
    .replace(/<svg width="([\d.]+)"([^>]*) viewBox="0 0 [\d.]+/, (_, width, rest) => {
      const wide = Math.max(Number(width), leastWidth);
      return `<svg aria-hidden="true" focusable="false" width="${wide}"${rest} viewBox="0 0 ${wide}`;
    });
}

/** A Vega expression that shows each tick as epsilonText does. */
function epsilonExpression(values: readonly number[]): string {
  return values.reduceRight(
    (rest, value) => `abs(datum.value - ${value}) < 1e-9 ? '${epsilonText(value)}' : ${rest}`,
    "''",
  );
}

/** Of many ε those that have room beneath a small chart. */
function ticks(epsilons: readonly number[]): number[] {
  const last = epsilons[epsilons.length - 1] ?? 1;
  const kept: number[] = [0];
  for (const epsilon of [...epsilons].reverse()) {
    const roomy = kept.every((other) => Math.abs(other - epsilon) > 0.16 * last);
    if (roomy) kept.push(epsilon);
  }
  return kept.sort((a, b) => a - b);
}

interface Axes {
  readonly xTitle: string;
  readonly xTicks: readonly number[];
  readonly xDomain: readonly [number, number];
  readonly xLabels?: string;
  readonly yTitle: string | null;
  readonly yDomain: readonly [number, number];
  readonly yTicks: readonly number[];
  readonly yFormat: string;
}

async function lineChart(lines: readonly Line[], axes: Axes): Promise<string> {
  const [bottom, top] = axes.yDomain;
  const ends = lines.map((line) => ((line.points.at(-1)?.y ?? bottom) - bottom) / (top - bottom));
  const labelAt = spreadLabels(ends, labelGap);
  const labels = lines.map((line) => line.label);
  const color = {
    field: 'line',
    type: 'nominal' as const,
    scale: { domain: labels, range: lines.map((line) => line.color) },
    legend: null,
  };
  const shape = {
    field: 'line',
    type: 'nominal' as const,
    scale: { domain: labels, range: lines.map((line) => line.shape) },
    legend: null,
  };
  const x = {
    field: 'x',
    type: 'quantitative' as const,
    title: axes.xTitle,
    scale: { domain: [...axes.xDomain], nice: false },
    axis: {
      values: [...axes.xTicks],
      ...(axes.xLabels === undefined ? { format: 'd' } : { labelExpr: axes.xLabels }),
      grid: false,
      labelFlush: false,
      labelOverlap: false,
    },
  };
  const y = {
    field: 'y',
    type: 'quantitative' as const,
    title: axes.yTitle,
    scale: { domain: [bottom, top], nice: false },
    axis: { values: [...axes.yTicks], format: axes.yFormat },
  };
  const spec: TopLevelSpec = {
    width: plotWidth,
    height: plotHeight,
    padding: { left: 1, right: 1, top: 6, bottom: 1 },
    background: 'transparent',
    layer: [
      { data: { name: 'points' }, mark: { type: 'line', strokeWidth: 1.75 }, encoding: { x, y, color } },
      {
        data: { name: 'points' },
        mark: { type: 'point', filled: true, size: 30, opacity: 1 },
        encoding: { x, y, color, shape },
      },
      {
        data: { name: 'labels' },
        mark: { type: 'text', align: 'left', baseline: 'middle', dx: 7, fontSize: 11, fontWeight: 600 },
        encoding: { x, y, color, text: { field: 'line' } },
      },
    ],
    config: {
      aria: false,
      font: 'inherit',
      view: { stroke: null },
      axis: {
        aria: false,
        labelColor: 'currentColor',
        titleColor: 'currentColor',
        domainColor: 'currentColor',
        tickColor: 'currentColor',
        gridColor: 'currentColor',
        gridOpacity: 0.14,
        domainOpacity: 0.5,
        tickOpacity: 0.5,
        tickSize: 4,
        labelFontSize: 10.5,
        titleFontSize: 11.5,
        titleFontWeight: 'normal',
        titlePadding: 2,
      },
      axisY: { domain: false, ticks: false, labelPadding: 9 },
    },
  };

  return renderSvg(spec, {
    points: lines.flatMap(({ label, points }) => points.map((point) => ({ line: label, ...point }))),
    labels: lines.map(({ label, points }, i) => ({
      line: label,
      x: points.at(-1)?.x ?? 0,
      y: bottom + (labelAt[i] as number) * (top - bottom),
    })),
  });
}

/** A chart with its heading, for the page and, as `svg`, for a file of its own. */
export interface Panel {
  readonly title: string;
  readonly subtitle: string;
  readonly svg: string;
  readonly markup: Markup;
}

function panel(title: string, subtitle: string, svg: string, lines: readonly Line[], spoken: string): Panel {
  const described = lines
    .map(
      ({ label, points }) =>
        `${label}: ${points.map(({ x, y }) => `${percent(y)} % at ${epsilonText(x)}`).join(', ')}`,
    )
    .join('; ');
  return {
    title,
    subtitle,
    svg,
    markup: html`<div class="panel">
<h4>${title} <span>${subtitle}</span></h4>
<div class="chart" role="img" aria-label="${spoken}. ${described}.">${new Markup(svg)}</div>
</div>`,
  };
}

const accuracyTicks = [0, 0.25, 0.5, 0.75, 1];

async function accuracyChart(lines: readonly Line[], epsilons: readonly number[]): Promise<string> {
  const positive = epsilons.filter((epsilon) => epsilon > 0);
  const shown = ticks(positive);
  return lineChart(lines, {
    xTitle: 'ε',
    xTicks: shown,
    xDomain: [0, Math.max(...positive)],
    xLabels: epsilonExpression(shown),
    yTitle: null,
    yDomain: [0, 1],
    yTicks: accuracyTicks,
    yFormat: '.0%',
  });
}

/** The line of one variant under one attack, from the clean accuracy at ε = 0 on; none where nothing was measured. */
function curveOf(
  summary: Summary,
  variant: Variant,
  attack: AttackKind,
  label: string,
  style: { readonly color: string; readonly shape: string },
): Line[] {
  const cells = attack.epsilons.flatMap((epsilon) => {
    const cell = summary.worst(variant, attack, epsilon);
    return cell === null ? [] : [{ x: epsilon, y: cell.accuracy, clean: cell.cleanAccuracy }];
  });
  const [first] = cells;
  if (first === undefined) return [];
  const points = cells.map(({ x, y }) => ({ x, y }));
  if (first.x > 0) points.unshift({ x: 0, y: first.clean });
  return [{ label, ...style, points }];
}

/**
 * One panel: accuracy against ε under one attack, a line a bit depth. `variants` differ only in input bits. Null where
 * nothing was measured.
 */
export async function bitCurves(
  summary: Summary,
  variants: readonly Variant[],
  attack: AttackKind,
  title: string,
): Promise<Panel | null> {
  const lines = variants.flatMap((variant) =>
    curveOf(
      summary,
      variant,
      attack,
      bitsLabel(variant.inputBits),
      bitStyles.get(variant.inputBits) ?? otherStyle,
    ),
  );
  if (lines.length === 0 || Math.max(...attack.epsilons) <= 0) return null;
  const svg = await accuracyChart(lines, attack.epsilons);
  return panel(attack.label, title, svg, lines, `${attack.label}, ${title}, accuracy against ε`);
}

/** One panel for a single variant: accuracy against ε, a line an attack of one norm. */
export async function attackCurves(
  summary: Summary,
  variant: Variant,
  norm: AttackKind['norm'],
): Promise<Panel | null> {
  const attacks = summary.attacks.filter((attack) => attack.norm === norm);
  const lines = attacks.flatMap((attack, i) =>
    curveOf(
      summary,
      variant,
      attack,
      attack.label.replace(' (L2)', ''),
      plainStyles[i % plainStyles.length] ?? otherStyle,
    ),
  );
  const epsilons = [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort(
    (a, b) => a - b,
  );
  if (lines.length === 0 || Math.max(...epsilons) <= 0) return null;
  const svg = await accuracyChart(lines, epsilons);
  const ball = norm === 'l2' ? 'L2' : 'L∞';
  return panel('Accuracy against ε', ball, svg, lines, `Accuracy against ε in ${ball}`);
}

/** Two panels: training loss and training accuracy by epoch. None for a network whose history is empty. */
export async function trainingCurves(network: NetworkRecord): Promise<Panel[]> {
  const { history } = network;
  const last = history.at(-1)?.epoch ?? 0;
  if (history.length === 0) return [];
  const [blue, , green] = plainStyles as [typeof otherStyle, typeof otherStyle, typeof otherStyle];
  const step = Math.ceil(last / 10);
  const xTicks = history.map(({ epoch }) => epoch).filter((epoch) => epoch % step === 0 || epoch === 1);
  const x = { xTitle: 'epoch', xTicks, xDomain: [Math.min(1, last - 1), last] as const };
  const ceiling = Math.max(...history.map(({ loss }) => loss));
  const unit = 10 ** Math.floor(Math.log10(Math.max(ceiling, 1e-6)));
  const top = Math.ceil(ceiling / unit) * unit;
  const losses: Line = {
    label: '',
    ...blue,
    points: history.map(({ epoch, loss }) => ({ x: epoch, y: loss })),
  };
  const accuracies: Line = {
    label: '',
    ...green,
    points: history.map(({ epoch, accuracy }) => ({ x: epoch, y: accuracy })),
  };
  const floor = Math.floor(Math.min(...history.map(({ accuracy }) => accuracy)) * 10) / 10;
  const lossSvg = await lineChart([losses], {
    ...x,
    yTitle: null,
    yDomain: [0, top],
    yTicks: [0, top / 2, top],
    yFormat: '.3~g',
  });
  const bottom = Math.min(floor, 0.9);
  const accuracySvg = await lineChart([accuracies], {
    ...x,
    yTitle: null,
    yDomain: [bottom, 1],
    yTicks: [bottom, (1 + bottom) / 2, 1],
    yFormat: '.0%',
  });
  const spoken = history
    .map(
      ({ epoch, loss, accuracy }) =>
        `epoch ${epoch}: loss ${loss.toFixed(3)}, accuracy ${percent(accuracy)} %`,
    )
    .join('; ');
  const chart = (title: string, subtitle: string, svg: string): Panel => ({
    title,
    subtitle,
    svg,
    markup: html`<div class="panel">
<h4>${title} <span>${subtitle}</span></h4>
<div class="chart" role="img" aria-label="${title}. ${spoken}.">${new Markup(svg)}</div>
</div>`,
  });
  return [
    chart('Training loss', 'cross-entropy in nats', lossSvg),
    chart('Training accuracy', 'in training mode', accuracySvg),
  ];
}
