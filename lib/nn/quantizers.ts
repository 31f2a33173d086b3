import { requireName } from '../errors.js';
import { heaviside, quantizeUnit, type UnitGradient } from '../ops/quantize-activations.js';
import {
  clippedGradient,
  dorefaGradient,
  dorefaWeights,
  type MagnitudeGradient,
  magnitudeSignGradient,
  magnitudeSignWeights,
  meanMagnitude,
  scaledSignWeights,
  signWeights,
  ternaryWeights,
} from '../ops/quantize-weights.js';
import type { QuantizedWeights } from '../ops/quantized-weights.js';
import { type SignGradient, sign } from '../ops/sign.js';
import type { Tape, Variable } from '../ops/tape.js';
import type { Tensor } from '../tensor/tensor.js';

/** Maps latent f32 weights to the weights a layer computes with, and the gradient back to the latent weights. */
export interface WeightQuantizer {
  readonly name: string;
  /** Bits a weight. */
  readonly precision: number;
  /** Planes of ±1 a weight: the passes of bits that a product takes. */
  readonly planes: number;
  /** Latent weights are clipped to [−clip, clip] after each step; 0: never. */
  readonly clip: number;
  /** Latent f32 [M, K], M output channels. */
  quantize(latent: Tensor): QuantizedWeights;
  /** dL/dlatent from dL/dW of the quantized weights' real values W, both f32 [M, K]; may return `dWeights` itself. */
  gradient(dWeights: Tensor, latent: Tensor, weights: QuantizedWeights): Tensor;
}

/** Maps real activations to quantized ones, with the surrogate gradient used in training. */
export interface ActivationQuantizer {
  readonly name: string;
  /** Bits an activation. */
  readonly precision: number;
  /** signs: bits of ±1; codes: u8 of `precision` bits. */
  readonly kind: 'signs' | 'codes';
  /** Surrogate used in training; an attack chooses its own. */
  readonly trainingGradient: SignGradient;
  /** The useful surrogates (all but `exact`), the default of attacks first. */
  readonly gradients: readonly SignGradient[];
  /** @param gradient one of `gradients`, or `exact` */
  forward(tape: Tape, x: Variable, gradient: SignGradient): Variable;
}

/**
 * sign(w), sign(0) = +1, straight-through gradient on weights clipped to [−1, 1] (Courbariaux et al. 2015); the clipping
 * makes the clipped and the identity gradient one.
 */
const steSignWeights: WeightQuantizer = {
  name: 'ste-sign',
  precision: 1,
  planes: 1,
  clip: 1,
  quantize: signWeights,
  gradient: (dWeights) => dWeights,
};

/**
 * α·sign(w), α = mean |w| of each output channel (Rastegari et al. 2016), on weights clipped to [−1, 1]. Three gradients are in
 * use: that of the paper (eq. 11), Larq's with α a constant, and the full chain rule through α.
 */
function magnitudeSign(name: string, gradient: MagnitudeGradient): WeightQuantizer {
  return {
    name,
    precision: 1,
    planes: 1,
    clip: 1,
    quantize: magnitudeSignWeights,
    gradient: (dWeights, latent, weights) =>
      magnitudeSignGradient(dWeights, latent, weights.scale as Tensor, gradient),
  };
}

/** −1, 0 or 1: 0 where |w| < Δ; gradient dW·1[|w| ≤ 1] (Li et al. 2016, with Larq's straight-through gradient). */
function ternary(name: string, delta: (latent: Tensor) => number): WeightQuantizer {
  return {
    name,
    precision: 2,
    planes: 2,
    clip: 1,
    quantize: (latent) => ternaryWeights(latent, delta(latent)),
    gradient: clippedGradient,
  };
}

/**
 * DoReFa's weights (Zhou et al. 2016). One bit: sign(w)·mean |w| over the layer, the gradient passed unchanged as in the paper
 * (eq. 8). More: 2q − 1 of tanh w (eq. 9), the gradient through tanh, its largest value a constant.
 */
function dorefa(bits: number): WeightQuantizer {
  const common = { name: `dorefa-${bits}`, precision: bits, planes: bits, clip: 0 };
  if (bits === 1) {
    return { ...common, quantize: scaledSignWeights, gradient: (dWeights) => dWeights };
  }
  return {
    ...common,
    quantize: (latent) => dorefaWeights(latent, bits),
    gradient: (dWeights, latent, weights) => dorefaGradient(dWeights, latent, weights.maximum as number),
  };
}

const dorefaBits = [1, 2, 3, 4, 5, 6, 7, 8] as const;

export const weightQuantizers: readonly WeightQuantizer[] = [
  steSignWeights,
  magnitudeSign('magnitude-sign', 'paper'),
  magnitudeSign('magnitude-sign-constant', 'constant'),
  magnitudeSign('magnitude-sign-chain', 'chain'),
  ternary('ste-tern', () => 0.05),
  ternary('ste-tern-twn', (latent) => 0.7 * meanMagnitude(latent)),
  ...dorefaBits.map(dorefa),
];

const signSurrogates: readonly SignGradient[] = ['clipped', 'identity', 'approx', 'swish'];
const unitSurrogates: readonly UnitGradient[] = ['clipped', 'identity'];

/**
 * sign(x), sign(0) = +1, by the surrogate of its training: `clipped` Hubara et al. 2016, `identity` Bengio et al. 2013,
 * `approx` Liu et al. 2018, `swish` Darabi et al. 2018.
 */
function signActivations(name: string, trainingGradient: SignGradient): ActivationQuantizer {
  return {
    name,
    precision: 1,
    kind: 'signs',
    trainingGradient,
    gradients: signSurrogates,
    forward: sign,
  };
}

/** 1[x > 0], trained with dy·1[|x| ≤ 1]. */
const heavisideActivations: ActivationQuantizer = {
  name: 'heaviside',
  precision: 1,
  kind: 'codes',
  trainingGradient: 'clipped',
  gradients: signSurrogates,
  forward: heaviside,
};

/** DoReFa's activations: clip(x, 0, 1) in `bits` bits, trained with dy·1[0 ≤ x ≤ 1] (Zhou et al. 2016). */
function unitActivations(bits: number): ActivationQuantizer {
  return {
    name: `dorefa-${bits}`,
    precision: bits,
    kind: 'codes',
    trainingGradient: 'clipped',
    gradients: unitSurrogates,
    forward: (tape, x, gradient) => quantizeUnit(tape, x, bits, gradient as UnitGradient),
  };
}

export const activationQuantizers: readonly ActivationQuantizer[] = [
  signActivations('ste-sign', 'clipped'),
  signActivations('ste-sign-identity', 'identity'),
  signActivations('approx-sign', 'approx'),
  signActivations('swish-sign', 'swish'),
  heavisideActivations,
  ...dorefaBits.map(unitActivations),
];

function byName<T extends { readonly name: string }>(what: string, name: string, known: readonly T[]): T {
  const found = requireName(
    what,
    name,
    known.map((each) => each.name),
  );
  return known.find((each) => each.name === found) as T;
}

/** @throws ERR_HARDBIT_UNKNOWN_NAME */
export function requireWeightQuantizer(name: string): WeightQuantizer {
  return byName('weight quantizer', name, weightQuantizers);
}

/** @throws ERR_HARDBIT_UNKNOWN_NAME */
export function requireActivationQuantizer(name: string): ActivationQuantizer {
  return byName('activation quantizer', name, activationQuantizers);
}
