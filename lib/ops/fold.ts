import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';

/** Batch norm in evaluation, f32 [C] each. */
export interface FrozenBatchNorm {
  readonly gamma: Tensor;
  readonly beta: Tensor;
  readonly runningMean: Tensor;
  readonly runningVariance: Tensor;
  readonly epsilon: number;
}

/** A condition on an integer n for each channel: direction·n ≥ minimum. */
export interface FoldedSigns {
  /** 1, −1, or 0 where n does not matter: then minimum is 0 (always) or 1 (never). */
  readonly direction: Int32Array;
  readonly minimum: Int32Array;
}

/**
 * Scale, batch norm and sign of the integers n of [−magnitude, magnitude] as a condition on n. It holds exactly where
 * `batchNormEval` of fl(n·scales[c]) is 0 or more: the threshold is found by bisecting that very function over the integers.
 *
 * @param scales f32 [C]
 * @throws ERR_HARDBIT_ARGUMENT where a number of a channel is not finite
 */
export function foldSigns(magnitude: number, scales: Tensor, norm: FrozenBatchNorm): FoldedSigns {
  const { gamma, beta, runningMean, runningVariance, epsilon } = norm;
  const folded = native().foldSigns(
    magnitude,
    scales.handle,
    gamma.handle,
    beta.handle,
    runningMean.handle,
    runningVariance.handle,
    epsilon,
  );
  using direction = new Tensor(folded.direction);
  using minimum = new Tensor(folded.minimum);
  return { direction: direction.toInt32Array(), minimum: minimum.toInt32Array() };
}

/**
 * The factor of batch norm in evaluation, fl(gamma/sqrt(variance + epsilon)), f32 [C].
 *
 * @throws ERR_HARDBIT_ARGUMENT where a factor is not finite
 */
export function batchNormFactors({ gamma, runningVariance, epsilon }: FrozenBatchNorm): Float32Array {
  using factors = new Tensor(native().batchNormFactors(gamma.handle, runningVariance.handle, epsilon));
  return factors.toFloat32Array();
}
