import { binarizeWeights } from '../ops/dense.js';
import { type SignGradient, sign } from '../ops/sign.js';
import type { Tape, Variable } from '../ops/tape.js';
import type { Tensor } from '../tensor/tensor.js';

/** Maps latent f32 weights to the weights a layer computes with. The gradient passes to the latent weights. */
export interface WeightQuantizer {
  readonly name: string;
  /** Bits a weight. */
  readonly precision: 1;
  /** Latent f32 [M, K] → bits [M, K]. */
  quantize(latent: Tensor): Tensor;
  /** Latent weights are clipped to [−clip, clip] after each step; it makes the clipped and the identity STE one. */
  readonly clip: number;
}

/** Maps real activations to quantized ones, with the surrogate gradient used in training. */
export interface ActivationQuantizer {
  readonly name: string;
  /** Bits an activation. */
  readonly precision: 1;
  /** Surrogate used in training; an attack chooses its own. */
  readonly trainingGradient: SignGradient;
  forward(tape: Tape, x: Variable, gradient: SignGradient): Variable;
}

/** sign(w), sign(0) = +1, straight-through gradient on weights clipped to [−1, 1] (Courbariaux et al. 2015). */
export const steSignWeights: WeightQuantizer = {
  name: 'ste-sign',
  precision: 1,
  quantize: binarizeWeights,
  clip: 1,
};

/** sign(x), sign(0) = +1, gradient dy·1[|x| ≤ 1] (Hubara et al. 2016). */
export const steSign: ActivationQuantizer = {
  name: 'ste-sign',
  precision: 1,
  trainingGradient: 'clipped',
  forward: sign,
};

/** sign(x), sign(0) = +1, gradient dy·(2 − 2|x|)·1[|x| ≤ 1] (Liu et al. 2018). */
export const approxSign: ActivationQuantizer = {
  name: 'approx-sign',
  precision: 1,
  trainingGradient: 'approx',
  forward: sign,
};

export const weightQuantizers: readonly WeightQuantizer[] = [steSignWeights];
export const activationQuantizers: readonly ActivationQuantizer[] = [steSign, approxSign];
