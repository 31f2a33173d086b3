import type { LayerSpec } from '../nn/model.js';

/** `none`: f32 weights and activations. `bnn`: all weights and hidden activations binary (Hubara et al. 2016). */
export const recipeNames = ['none', 'bnn'] as const;
export type RecipeName = (typeof recipeNames)[number];

/** A network by name: its layers for a recipe and a number of input bits. */
export interface Architecture {
  readonly name: string;
  /** [H, W, C] */
  readonly inputShape: readonly [number, number, number];
  readonly classes: number;
  layers(recipe: RecipeName, inputBits: number): readonly LayerSpec[];
}
