import { HardbitError, requireName } from '../errors.js';
import { Model } from '../nn/model.js';
import { type Architecture, recipeNames } from './architecture.js';
import { mnistFcn } from './mnist-fcn.js';

export { defaultGradientMode, type GradientMode, Model, type ModelSpec } from '../nn/model.js';
export { loadModel, type SavedTraining, saveModel } from '../nn/model-file.js';
export { type RecipeName, recipeNames } from './architecture.js';

const architectures: readonly Architecture[] = [mnistFcn];

export const modelNames: readonly string[] = architectures.map((architecture) => architecture.name);

export interface ModelOptions {
  /** Bits a pixel, 1 … 8. */
  readonly inputBits: number;
  /** One of `recipeNames`. */
  readonly recipe: string;
  /** Fixes the initial weights; integer in [0, 2^53). */
  readonly seed: number;
}

/**
 * A freshly initialized network.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME for an unknown model or recipe; ERR_HARDBIT_ARGUMENT for bits or a seed out of range.
 */
export function createModel(name: string, options: ModelOptions): Model {
  const known = requireName('model', name, modelNames);
  const architecture = architectures.find((each) => each.name === known) as Architecture;
  const recipe = requireName('recipe', options.recipe, recipeNames);
  if (!Number.isInteger(options.inputBits) || options.inputBits < 1 || options.inputBits > 8) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `inputBits is ${options.inputBits}; expected a whole number from 1 to 8.`,
    );
  }
  if (!Number.isSafeInteger(options.seed) || options.seed < 0) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The seed is ${options.seed}; expected a whole number from 0 to 2^53 − 1.`,
    );
  }
  return new Model(
    {
      model: architecture.name,
      recipe,
      inputShape: architecture.inputShape,
      classes: architecture.classes,
      inputBits: options.inputBits,
      layers: architecture.layers(recipe, options.inputBits),
    },
    options.seed,
  );
}
