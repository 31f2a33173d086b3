import { HardbitError, requireName } from '../errors.js';
import { Model, type ModelSpec } from '../nn/model.js';
import type { Device } from '../tensor/tensor.js';
import type { Architecture } from './architecture.js';
import { lenet5 } from './lenet5.js';
import { mnistCnn } from './mnist-cnn.js';
import { mnistFcn } from './mnist-fcn.js';
import { requireRecipe } from './recipes.js';
import { vggSmall } from './vgg-small.js';

export {
  defaultGradientMode,
  type GradientArithmetic,
  type GradientMode,
  gradientArithmetics,
  layerShapes,
  Model,
  type ModelSpec,
  requireGradientArithmetic,
} from '../nn/model.js';
export { loadModel, type SavedTraining, saveModel } from '../nn/model-file.js';
export { type Recipe, recipeNames, requireRecipe } from './recipes.js';
export { type PlacedConvolution, resnet18Layers } from './resnet18-layers.js';
export { type ModelSummary, type PrecisionTotals, summarizeModel } from './summary.js';

const architectures: readonly Architecture[] = [mnistFcn, lenet5, mnistCnn, vggSmall];

export const modelNames: readonly string[] = architectures.map((architecture) => architecture.name);

export interface ArchitectureOptions {
  /** Bits a pixel, 1 … 8. */
  readonly inputBits: number;
  /** One of `recipeNames`, or any `dorefa-w<1 … 8>a<1 … 8>`. */
  readonly recipe: string;
}

export interface ModelOptions extends ArchitectureOptions {
  /** Fixes the initial weights, whatever the device; integer in [0, 2^53). */
  readonly seed: number;
  /** Where the network computes; 'cpu' unless given. */
  readonly device?: Device | undefined;
}

/**
 * The layers of a known network; needs no native core.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME for an unknown model or recipe; ERR_HARDBIT_ARGUMENT for bits out of range.
 */
export function describeModel(name: string, options: ArchitectureOptions): ModelSpec {
  const known = requireName('model', name, modelNames);
  const architecture = architectures.find((each) => each.name === known) as Architecture;
  const recipe = requireRecipe(options.recipe);
  if (!Number.isInteger(options.inputBits) || options.inputBits < 1 || options.inputBits > 8) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `inputBits is ${options.inputBits}; expected a whole number from 1 to 8.`,
    );
  }
  return {
    model: architecture.name,
    recipe: recipe.name,
    inputShape: architecture.inputShape,
    classes: architecture.classes,
    inputBits: options.inputBits,
    layers: architecture.layers(recipe, options.inputBits),
  };
}

/**
 * A freshly initialized network.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME for an unknown model or recipe; ERR_HARDBIT_ARGUMENT for bits or a seed out of range;
 * ERR_HARDBIT_NO_CUDA for 'cuda' where there is none.
 */
export function createModel(name: string, options: ModelOptions): Model {
  const spec = describeModel(name, options);
  if (!Number.isSafeInteger(options.seed) || options.seed < 0) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The seed is ${options.seed}; expected a whole number from 0 to 2^53 − 1.`,
    );
  }
  return new Model(spec, options.seed, options.device);
}
