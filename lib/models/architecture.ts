import type { LayerSpec } from '../nn/model.js';
import type { Recipe } from './recipes.js';

/** A network by name: its layers for a recipe and a number of input bits. */
export interface Architecture {
  readonly name: string;
  /** [H, W, C] */
  readonly inputShape: readonly [number, number, number];
  readonly classes: number;
  layers(recipe: Recipe, inputBits: number): readonly LayerSpec[];
}
