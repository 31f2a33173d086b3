import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { bitsLabel, epsilonText, percent, recipeLabel } from './format.js';
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

const plotWidth = 190;
const plotHeight = 140;
/** Least distance between two direct labels, as a fraction of the plot's height. */
const labelGap = 0.088;

interface Line {
  readonly bits: number;
  readonly points: readonly { readonly epsilon: number; readonly accuracy: number }[];
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

/** Renders a Vega-Lite specification to an SVG element that takes text and axis colour from the page. */
async function renderSvg(spec: TopLevelSpec): Promise<Markup> {
  const view = new View(parse(compile(spec).spec), { renderer: 'none' });
  const svg = await view.toSVG();
  view.finalize();
  return new Markup(
    svg
      .replace(/ xmlns(:xlink)?="[^"]*"/g, '')
      .replace(/ version="[^"]*"/, '')
      .replace('<svg', '<svg aria-hidden="true" focusable="false"')
      .replace(/ class="[^"]*"/g, '')
      .replace(/<g( fill="none")?><\/g>/g, ''),
  );
}

function curveSpec(lines: readonly Line[], epsilons: readonly number[]): TopLevelSpec {
  const last = Math.max(...epsilons);
  const ends = lines.map((line) => line.points[line.points.length - 1]?.accuracy ?? 0);
  const labelAt = spreadLabels(ends, labelGap);
  const color = {
    field: 'bits',
    type: 'nominal',
    scale: {
      domain: lines.map((line) => line.bits),
      range: lines.map((line) => (bitStyles.get(line.bits) ?? otherStyle).color),
    },
    legend: null,
  } as const;
  const x = {
    field: 'epsilon',
    type: 'quantitative' as const,
    title: 'ε',
    scale: { domain: [0, last], nice: false },
    axis: {
      values: [0, ...epsilons],
      labelExpr: epsilonExpression([0, ...epsilons]),
      grid: false,
      labelFlush: false,
    },
  };
  const y = {
    field: 'accuracy',
    type: 'quantitative' as const,
    title: null,
    scale: { domain: [0, 1] },
    axis: { values: [0, 0.25, 0.5, 0.75, 1], format: '.0%' },
  };
  const points = lines.flatMap((line) => line.points.map((point) => ({ bits: line.bits, ...point })));
  const labels = lines.map((line, i) => ({
    bits: line.bits,
    epsilon: last,
    accuracy: labelAt[i] as number,
    text: bitsLabel(line.bits),
  }));
  return {
    width: plotWidth,
    height: plotHeight,
    padding: { left: 1, right: 1, top: 6, bottom: 1 },
    background: 'transparent',
    layer: [
      {
        data: { values: points },
        mark: { type: 'line', strokeWidth: 1.75 },
        encoding: { x, y, color },
      },
      {
        data: { values: points },
        mark: { type: 'point', filled: true, size: 34, opacity: 1 },
        encoding: {
          x,
          y,
          color,
          shape: {
            field: 'bits',
            type: 'nominal',
            scale: {
              domain: lines.map((line) => line.bits),
              range: lines.map((line) => (bitStyles.get(line.bits) ?? otherStyle).shape),
            },
            legend: null,
          },
        },
      },
      {
        data: { values: labels },
        mark: { type: 'text', align: 'left', baseline: 'middle', dx: 7, fontSize: 11, fontWeight: 600 },
        encoding: { x, y, color, text: { field: 'text' } },
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
}

/** A Vega expression that shows each tick as epsilonText does. */
function epsilonExpression(values: readonly number[]): string {
  return values.reduceRight(
    (rest, value) => `abs(datum.value - ${value}) < 1e-9 ? '${epsilonText(value)}' : ${rest}`,
    "''",
  );
}

function linesOf(summary: Summary, variants: readonly Variant[], attack: AttackKind): Line[] {
  return variants.flatMap((variant) => {
    const cells = attack.epsilons.flatMap((epsilon) => {
      const cell = summary.headline(variant, attack, epsilon);
      return cell === null ? [] : [{ epsilon, accuracy: cell.accuracy, clean: cell.cleanAccuracy }];
    });
    const first = cells[0];
    if (first === undefined) return [];
    const points = cells.map(({ epsilon, accuracy }) => ({ epsilon, accuracy }));
    if (first.epsilon > 0) points.unshift({ epsilon: 0, accuracy: first.clean });
    return [{ bits: variant.inputBits, points }];
  });
}

/**
 * One panel: accuracy against ε under one attack, a line a bit depth, from the clean accuracy at ε = 0 on.
 * `variants` differ only in input bits. Null where nothing was measured.
 */
export async function accuracyCurves(
  summary: Summary,
  variants: readonly Variant[],
  attack: AttackKind,
): Promise<Markup | null> {
  const lines = linesOf(summary, variants, attack);
  const first = variants[0];
  if (lines.length === 0 || first === undefined) return null;
  const svg = await renderSvg(
    curveSpec(
      lines,
      attack.epsilons.filter((epsilon) => epsilon > 0),
    ),
  );
  const spoken = lines
    .map(
      (line) =>
        `${bitsLabel(line.bits)}: ` +
        line.points
          .map((point) => `${percent(point.accuracy)} % at ${epsilonText(point.epsilon)}`)
          .join(', '),
    )
    .join('; ');
  const title = `${attack.label}, ${recipeLabel(first.recipe)}`;
  return html`<div class="panel">
<h4>${attack.label} <span>${recipeLabel(first.recipe)}</span></h4>
<div class="chart" role="img" aria-label="${title}, accuracy against ε. ${spoken}.">${svg}</div>
</div>`;
}
