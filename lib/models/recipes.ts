import { HardbitError, requireName } from '../errors.js';

/**
 * Which weights and activations of a network are quantized, and how. Quantizers by name, as in `lib/nn/quantizers.ts`;
 * null: f32 weights, relu.
 */
export interface Recipe {
  readonly name: string;
  /** Weights of the first layer, of the layers between, and of the last. */
  readonly firstWeights: string | null;
  readonly hiddenWeights: string | null;
  readonly lastWeights: string | null;
  /** Activations behind each hidden layer's batch norm. */
  readonly activations: string | null;
  /** The same in front of the last layer. */
  readonly lastActivations: string | null;
}

/** Full precision, relu. */
const none: Recipe = {
  name: 'none',
  firstWeights: null,
  hiddenWeights: null,
  lastWeights: null,
  activations: null,
  lastActivations: null,
};

/** All weights and all hidden activations are signs (Hubara et al. 2016, algorithm 1). */
const bnn: Recipe = {
  name: 'bnn',
  firstWeights: 'ste-sign',
  hiddenWeights: 'ste-sign',
  lastWeights: 'ste-sign',
  activations: 'ste-sign',
  lastActivations: 'ste-sign',
};

/**
 * Binary-Weight-Networks: hidden weights α·sign(w), α the mean |w| of an output channel; real activations; first and
 * last layer in full precision (Rastegari et al. 2016, §3.1).
 */
const bwn: Recipe = { ...none, name: 'bwn', hiddenWeights: 'magnitude-sign' };

/**
 * XNOR-Net (Rastegari et al. 2016, §3.2): weights as in `bwn`, the inputs of hidden layers are signs; their scales K are
 * left to batch norm. The full-precision last layer takes real inputs, behind batch norm and relu, as in the paper's
 * own code. The gradient of the weights is the paper's, g·(1/n + α·1[|w| ≤ 1]).
 */
const xnor: Recipe = { ...bwn, name: 'xnor', activations: 'ste-sign' };

/** XNOR-Net with other gradients of α·sign(w): α held constant (Larq), and the full chain rule. */
const xnorConstant: Recipe = { ...xnor, name: 'xnor-constant', hiddenWeights: 'magnitude-sign-constant' };
const xnorChain: Recipe = { ...xnor, name: 'xnor-chain', hiddenWeights: 'magnitude-sign-chain' };

/**
 * Hidden weights −1, 0 or +1 with the threshold 0.7·mean |w| (Ternary Weight Networks, Li et al. 2016; their
 * scale is left to batch norm), real activations, first and last layer in full precision.
 */
const ternary: Recipe = { ...none, name: 'ternary', hiddenWeights: 'ste-tern-twn' };

/**
 * DoReFa-Net (Zhou et al. 2016, algorithm 1) with f32 gradients: hidden weights of `weightBits`, hidden activations of
 * `activationBits`, the last layer's inputs among them; first and last weights in full precision (§2.7).
 */
function dorefa(weightBits: number, activationBits: number): Recipe {
  return {
    name: `dorefa-w${weightBits}a${activationBits}`,
    firstWeights: null,
    hiddenWeights: `dorefa-${weightBits}`,
    lastWeights: null,
    activations: `dorefa-${activationBits}`,
    lastActivations: `dorefa-${activationBits}`,
  };
}

const named: readonly Recipe[] = [none, bnn, bwn, xnor, xnorConstant, xnorChain, ternary];

/** All recipes, for listings; of DoReFa's 64 (`dorefa-w<1 … 8>a<1 … 8>`) two examples. */
export const recipeNames: readonly string[] = [
  ...named.map(({ name }) => name),
  'dorefa-w1a2',
  'dorefa-w4a4',
];

/**
 * The recipe of a name.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME with the nearest known one.
 */
export function requireRecipe(name: string): Recipe {
  const [, weightBits, activationBits] = /^dorefa-w([1-8])a([1-8])$/.exec(name) ?? [];
  if (weightBits !== undefined && activationBits !== undefined) {
    return dorefa(Number(weightBits), Number(activationBits));
  }
  if (name.startsWith('dorefa')) {
    throw new HardbitError(
      'ERR_HARDBIT_UNKNOWN_NAME',
      `There is no recipe '${name}'; DoReFa's are dorefa-w<k>a<j> for weights of k and activations of j bits, both from 1 to 8, e.g. dorefa-w1a2.`,
    );
  }
  const known = requireName('recipe', name, recipeNames);
  return named.find((each) => each.name === known) as Recipe;
}
