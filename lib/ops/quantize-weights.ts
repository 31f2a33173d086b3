import { type MagnitudeGradient, native } from '../native.js';
import { concatRows } from '../tensor/rows.js';
import { Tensor } from '../tensor/tensor.js';
import type { QuantizedWeights } from './quantized-weights.js';
import { packSigns } from './sign.js';

export type { MagnitudeGradient } from '../native.js';

/** sign(w), sign(0) = +1, of latent weights f32 [M, K]: one plane of scale 1. */
export function signWeights(latent: Tensor): QuantizedWeights {
  return { planes: packSigns(latent), coefficients: [1], scale: 1 };
}

/** α·sign(w) with α = mean |w| of each output channel, latent f32 [M, K] (Rastegari et al. 2016, eq. 6). */
export function magnitudeSignWeights(latent: Tensor): QuantizedWeights {
  return {
    planes: packSigns(latent),
    coefficients: [1],
    scale: new Tensor(native().rowMagnitudes(latent.handle)),
  };
}

/** dL/dw of α·sign(w) from dL/dW, f32 [M, K]; α f32 [M]. */
export function magnitudeSignGradient(
  dWeights: Tensor,
  latent: Tensor,
  alpha: Tensor,
  gradient: MagnitudeGradient,
): Tensor {
  return new Tensor(native().magnitudeSignBackward(dWeights.handle, latent.handle, alpha.handle, gradient));
}

/**
 * Ternary weights sign(sign(w + Δ) + sign(w − Δ)), the outer sign 0 at 0, of latent f32 [M, K]: the mean of two planes.
 */
export function ternaryWeights(latent: Tensor, delta: number): QuantizedWeights {
  const above = new Tensor(native().packSignsShifted(latent.handle, delta));
  const below = new Tensor(native().packSignsShifted(latent.handle, -delta));
  return { planes: concatRows([above, below]), coefficients: [1, 1], scale: 0.5 };
}

/** Mean of |w| over all weights. */
export function meanMagnitude(latent: Tensor): number {
  return native().meanMagnitude(latent.handle);
}

/** dL/dW·1[|w| ≤ 1]. */
export function clippedGradient(dWeights: Tensor, latent: Tensor): Tensor {
  return new Tensor(native().clippedBackward(dWeights.handle, latent.handle));
}

/** sign(w)·mean |w| over the whole layer, latent f32 [M, K] (DoReFa's one-bit weights, Zhou et al. 2016, eq. 8). */
export function scaledSignWeights(latent: Tensor): QuantizedWeights {
  return { planes: packSigns(latent), coefficients: [1], scale: Math.fround(meanMagnitude(latent)) };
}

/**
 * DoReFa's k-bit weights, latent f32 [M, K] (Zhou et al. 2016, eq. 9): 2q − 1 with q the k-bit code of tanh w/(2 max|tanh w|) + ½
 * over its top. As 2c − (2^k − 1) = Σ 2^p·s_p for the bits s_p = ±1 of a code c, that is k planes.
 *
 * @param bits 2 … 8
 */
export function dorefaWeights(latent: Tensor, bits: number): QuantizedWeights {
  const { codes, maximum } = native().dorefaWeights(latent.handle, bits);
  const planes = new Tensor(native().codePlanes(codes, bits));
  codes.dispose();
  return {
    planes,
    coefficients: Array.from({ length: bits }, (_, p) => 2 ** p),
    scale: Math.fround(1 / (2 ** bits - 1)),
    maximum,
  };
}

/** dL/dW·(1 − tanh²w)/maximum: through the rounding unchanged, `maximum` a constant. */
export function dorefaGradient(dWeights: Tensor, latent: Tensor, maximum: number): Tensor {
  return new Tensor(native().dorefaWeightsBackward(dWeights.handle, latent.handle, maximum));
}
