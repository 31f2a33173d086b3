import type { Panel } from './charts.js';
import { escapeHtml } from './markup.js';

const ink = '#1c1e21';
const paper = '#ffffff';
const font = "system-ui, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif";
const gap = 18;
const heading = 20;

function sizeOf(svg: string): { readonly width: number; readonly height: number } {
  const size = (name: string) => Number(new RegExp(` ${name}="([\\d.]+)"`).exec(svg)?.[1] ?? 0);
  return { width: Math.ceil(size('width')), height: Math.ceil(size('height')) };
}

/** An SVG that stands alone: with its namespace, on white, dark on light whatever page it is put on. */
export function standalone(width: number, height: number, title: string, body: string): string {
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    `font-family="${font}" color="${ink}" fill="${ink}"><title>${escapeHtml(title)}</title>` +
    `<rect width="100%" height="100%" fill="${paper}"/>${body}</svg>\n`
  );
}

/** A caption without its markup, as lines of at most about `characters`. */
function captionLines(caption: string, characters: number): string[] {
  const lines: string[] = [];
  for (const word of caption.split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < characters)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

const captionSize = 10.5;
const captionLine = 15;

/** Text beneath a figure: what it rests on has to travel with it. Its height in pixels stands beside it. */
export function captionText(
  caption: string,
  x: number,
  y: number,
  width: number,
): { readonly svg: string; readonly height: number } {
  const lines = captionLines(caption, Math.max(40, Math.floor((width - x) / (0.56 * captionSize))));
  const spans = lines.map(
    (line, i) => `<tspan x="${x}" y="${y + captionLine * (i + 1)}">${escapeHtml(line)}</tspan>`,
  );
  return {
    svg: `<text font-size="${captionSize}">${spans.join('')}</text>`,
    height: captionLine * (lines.length + 1),
  };
}

/** Panels in a grid as one figure for a paper, with its caption. */
export function panelsFile(
  title: string,
  caption: string,
  panels: readonly Panel[],
  columns: number,
): string {
  const sizes = panels.map(({ svg }) => sizeOf(svg));
  const width = Math.max(...sizes.map((size) => size.width)) + gap;
  const height = Math.max(...sizes.map((size) => size.height)) + heading + gap;
  const body = panels.map(({ title: name, subtitle, svg }, i) => {
    const x = gap + (i % columns) * width;
    const y = gap + Math.floor(i / columns) * height;
    const text = `<text x="${x}" y="${y + 10}" font-size="12"><tspan font-weight="600">${escapeHtml(name)}</tspan> ${escapeHtml(subtitle)}</text>`;
    const own = svg
      .replace('<svg aria-hidden="true" focusable="false"', `<svg x="${x}" y="${y + heading}"`)
      .replaceAll('currentColor', ink);
    return text + own;
  });
  const rows = Math.ceil(panels.length / columns);
  const wide = gap + Math.max(2, Math.min(columns, panels.length)) * width;
  const tall = gap + rows * height;
  const text = captionText(caption, gap, tall - gap, wide - gap);
  return standalone(wide, tall + text.height, title, body.join('') + text.svg);
}
