import { type LayerShape, layerShapes, type ModelSpec } from '../nn/model.js';

/** What all layers of one precision hold and compute. */
export interface PrecisionTotals {
  /** Bits of the operands, 32 for f32; `inputBits` null: numbers without products (batch norm). */
  readonly weightBits: number;
  readonly inputBits: number | null;
  readonly parameters: number;
  /** Multiply-accumulates of one image. */
  readonly macs: number;
}

/** The size and the arithmetic of a network. */
export interface ModelSummary {
  readonly model: string;
  readonly recipe: string;
  readonly inputBits: number;
  /** [H, W, C] */
  readonly inputShape: readonly [number, number, number];
  readonly classes: number;
  /** Depth-first: a residual block, then its body and its shortcut. */
  readonly layers: readonly LayerShape[];
  /** Trainable numbers. */
  readonly parameters: number;
  /** Multiply-accumulates of one image, taps on padding included. */
  readonly macs: number;
  /** From the fewest bits to the most. */
  readonly byPrecision: readonly PrecisionTotals[];
  /** Bytes of all parameters at their precision; the scales of quantized weights fold into batch norm and count nothing. */
  readonly weightBytes: number;
  /** The same with every parameter in f32. */
  readonly floatBytes: number;
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

function totals(layers: readonly LayerShape[]): PrecisionTotals[] {
  const groups = new Map<string, LayerShape[]>();
  for (const layer of layers.filter(({ parameters, macs }) => parameters + macs > 0)) {
    const key = JSON.stringify(layer.precision);
    groups.set(key, [...(groups.get(key) ?? []), layer]);
  }
  const bits = ({ weightBits, inputBits }: PrecisionTotals) => 100 * weightBits + (inputBits ?? 99);
  return [...groups.values()]
    .map((group) => ({
      weightBits: group[0]?.precision?.weightBits ?? 32,
      inputBits: group[0]?.precision?.inputBits ?? null,
      parameters: sum(group, ({ parameters }) => parameters),
      macs: sum(group, ({ macs }) => macs),
    }))
    .sort((a, b) => bits(a) - bits(b));
}

/**
 * Counts parameters, multiply-accumulates and bytes of a network's layers; needs no native core.
 *
 * @throws as `layerShapes` where the layers do not fit together.
 */
export function summarizeModel(spec: ModelSpec): ModelSummary {
  const layers = layerShapes(spec);
  const parameters = sum(layers, (layer) => layer.parameters);
  return {
    model: spec.model,
    recipe: spec.recipe,
    inputBits: spec.inputBits,
    inputShape: spec.inputShape,
    classes: spec.classes,
    layers,
    parameters,
    macs: sum(layers, ({ macs }) => macs),
    byPrecision: totals(layers),
    weightBytes: sum(layers, (layer) => (layer.parameters * (layer.precision?.weightBits ?? 32)) / 8),
    floatBytes: 4 * parameters,
  };
}
