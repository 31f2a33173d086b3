import { mnistFcn } from '../../lib/models/mnist-fcn.js';
import { requireRecipe } from '../../lib/models/registry.js';
import type { LayerSpec, ModelSpec } from '../../lib/nn/model.js';

/**
 * Weights, images and labels by the rule that scripts/reference/make_fixtures.py states at its head, so that they need
 * not be stored. The two files are written independently and must stay in step.
 */

/** lowbias32, a bijection of 32-bit integers. */
function mix(value: number): number {
  let x = value >>> 0;
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  x ^= x >>> 16;
  return x >>> 0;
}

function hashes(stream: number, count: number): Uint32Array {
  const base = mix(stream);
  const result = new Uint32Array(count);
  for (let i = 0; i < count; i++) result[i] = mix(base + i);
  return result;
}

/** fp32(low + (high − low)·u/2^bits); low and high are dyadic, so the sum is exact in double. */
export function uniform(stream: number, count: number, low: number, high: number, bits = 24): Float32Array {
  const result = new Float32Array(count);
  const numbers = hashes(stream, count);
  for (let i = 0; i < count; i++) {
    result[i] = low + ((high - low) * ((numbers[i] as number) >>> (32 - bits))) / 2 ** bits;
  }
  return result;
}

/** `count` rows of pixels in [0, 1]: even rows levels k/255, odd rows 24-bit fractions; exact zeros and ones in both. */
export function referenceImages(stream: number, count: number, pixels: number): Float32Array {
  return Float32Array.from(hashes(stream, count * pixels), (h, i) => {
    const kind = h & 7;
    if (kind < 2) return kind;
    return Math.floor(i / pixels) % 2 === 0 ? (h >>> 24) / 255 : (h >>> 8) / 2 ** 24;
  });
}

export function referenceLabels(stream: number, count: number, classes = 10): Int32Array {
  return Int32Array.from(hashes(stream, count), (h) => h % classes);
}

/** The recipes whose weights stand below. */
export const referenceRecipes = ['none', 'bnn'] as const;
export type ReferenceRecipe = (typeof referenceRecipes)[number];

/** Inputs, two hidden layers, classes. */
type Sizes = readonly [number, number, number, number];

/** `full` is mnist-fcn; `small` the same network on 6×6 images. */
export const networks = {
  full: { sizes: [784, 600, 400, 10], side: 28, streams: { none: 1000, bnn: 2000 }, images: 1, labels: 2 },
  small: { sizes: [36, 24, 16, 10], side: 6, streams: { none: 3000, bnn: 4000 }, images: 3, labels: 4 },
} as const;
export type NetworkSize = keyof typeof networks;

interface Range {
  readonly name: string;
  readonly count: number;
  readonly low: number;
  readonly high: number;
}

function norm(i: number, count: number, mean: number, low: number, high: number): Range[] {
  return [
    { name: `batchnorm${i}.gamma`, count, low: -0.5, high: 1.5 },
    { name: `batchnorm${i}.beta`, count, low: -0.5, high: 0.5 },
    { name: `batchnorm${i}.runningMean`, count, low: -mean, high: mean },
    { name: `batchnorm${i}.runningVariance`, count, low, high },
  ];
}

function weight(i: number, count: number, bound: number): Range {
  return { name: `dense${i}.weight`, count, low: -bound, high: bound };
}

/** The parameters in the order of their streams. */
function layout(recipe: ReferenceRecipe, [a, b, c, d]: Sizes): Range[] {
  return recipe === 'none'
    ? [
        weight(1, b * a, 1 / 16),
        ...norm(1, b, 1 / 4, 1 / 4, 1 / 2),
        weight(2, c * b, 1 / 16),
        ...norm(2, c, 1 / 4, 1 / 4, 1 / 2),
        weight(3, d * c, 1 / 8),
        { name: 'dense3.bias', count: d, low: -1 / 4, high: 1 / 4 },
      ]
    : [
        weight(1, b * a, 1 / 2),
        ...norm(1, b, 8, 128, 384),
        weight(2, c * b, 1 / 2),
        ...norm(2, c, 16, 256, 768),
        weight(3, d * c, 1 / 2),
        ...norm(3, d, 8, 64, 512),
      ];
}

const states = new Map<string, ReadonlyMap<string, Float32Array>>();

/** All parameters and running statistics by path name. */
export function referenceState(
  recipe: ReferenceRecipe,
  size: NetworkSize,
): ReadonlyMap<string, Float32Array> {
  const { sizes, streams } = networks[size];
  const key = `${recipe}/${size}`;
  let state = states.get(key);
  if (state === undefined) {
    state = new Map(
      layout(recipe, sizes).map(({ name, count, low, high }, i) => [
        name,
        uniform(streams[recipe] + i, count, low, high),
      ]),
    );
    states.set(key, state);
  }
  return state;
}

/** The description of mnist-fcn, with the layers' sizes replaced. */
export function referenceSpec(recipe: ReferenceRecipe, inputBits: number, size: NetworkSize): ModelSpec {
  const { sizes, side } = networks[size];
  let dense = 0;
  const layers = mnistFcn.layers(requireRecipe(recipe), inputBits).map((layer): LayerSpec => {
    if (layer.type === 'dense') {
      dense += 1;
      return { ...layer, inputs: sizes[dense - 1] as number, outputs: sizes[dense] as number };
    }
    return layer.type === 'batch-norm' ? { ...layer, features: sizes[dense] as number } : layer;
  });
  return { model: mnistFcn.name, recipe, inputShape: [side, side, 1], classes: 10, inputBits, layers };
}
