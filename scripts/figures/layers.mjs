#!/usr/bin/env node
// Draws docs/figures/layers.svg: the fraction of the machine's arithmetic limit that each binary layer reaches, from the
// documents that `hardbit bench layers --out` and `hardbit bench gradients --out` wrote to docs/results/bench/zen-4.
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse, View } from 'vega';
import { compile } from 'vega-lite';

const root = resolve(import.meta.dirname, '../..');
const read = (name) =>
  JSON.parse(readFileSync(join(root, 'docs/results/bench/zen-4', `${name}.json`), 'utf8'));

/** "3×3, 64→64, 32², pool, batch 32" as its layer and batch. */
function split(shape) {
  const parts = shape.split(', ');
  const batch = Number(parts.at(-1).replace('batch ', ''));
  return { layer: `${parts[1]}, ${parts[2]}`, batch };
}

const layers = read('layers');
const bars = [
  ...layers.rows.map((row) => {
    const { layer, batch } = split(row.shape);
    return { layer, what: `forward, batch ${batch}`, fraction: row.fraction };
  }),
  ...read('gradients')
    .rows.filter(({ name }) => name.startsWith('int8'))
    .map((row) => ({
      layer: split(row.shape).layer,
      what: row.name.endsWith('inputs') ? 'int8 gradient of inputs' : 'int8 gradient of weights',
      fraction: row.fraction,
    })),
];

const kinds = [
  'forward, batch 1',
  'forward, batch 32',
  'int8 gradient of inputs',
  'int8 gradient of weights',
];
const spec = {
  background: 'white',
  width: { step: 15 },
  height: 220,
  title: {
    text: 'Fraction of the register-only limit, whole layers',
    subtitle: `${layers.machine.cpu}, ${layers.machine.isa}, one core; operations on taps inside the image`,
    anchor: 'start',
    subtitleColor: '#555',
  },
  data: { values: bars },
  mark: 'bar',
  encoding: {
    x: {
      field: 'layer',
      type: 'nominal',
      sort: [...new Set(bars.map(({ layer }) => layer))],
      title: 'input → output channels, pixels',
      axis: { labelAngle: 0 },
    },
    xOffset: { field: 'what', sort: kinds },
    y: {
      field: 'fraction',
      type: 'quantitative',
      title: null,
      scale: { domain: [0, 1] },
      axis: { format: '.0%' },
    },
    color: {
      field: 'what',
      sort: kinds,
      scale: { domain: kinds, range: ['#8fc1e3', '#0072b2', '#e0a37a', '#a3487c'] },
      legend: { title: null, orient: 'bottom', labelLimit: 0, columns: 4, columnPadding: 12 },
    },
  },
  config: { font: 'sans-serif', view: { stroke: null } },
};

const svg = await new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG();
writeFileSync(join(root, 'docs/figures/layers.svg'), `${svg}\n`);
