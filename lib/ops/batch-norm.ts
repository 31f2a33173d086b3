import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tape, Variable } from './tape.js';

export interface BatchNormState {
  /** f32 [C], updated in place while training. */
  readonly runningMean: Tensor;
  /** f32 [C], unbiased, updated in place while training. */
  readonly runningVariance: Tensor;
  /** Weight of the newest batch. */
  readonly momentum: number;
  readonly epsilon: number;
}

/**
 * Batch normalization over rows (Ioffe & Szegedy 2015): y = gamma·(z − mean)/sqrt(variance + epsilon) + beta with the
 * batch's own statistics, for z = scale·x, x f32 [N, C] (scale 1) or the integers of a binary layer, whose sums are
 * exact. Saves x, the mean and the inverse deviation. Gradients with respect to z, gamma, beta.
 *
 * @throws ERR_HARDBIT_ARGUMENT for a batch of one row: its variance is not defined.
 */
export function batchNormTrain(
  tape: Tape,
  x: Variable,
  scale: number,
  gamma: Variable,
  beta: Variable,
  state: BatchNormState,
): Variable {
  const result = native().batchNormTrain(
    x.value.handle,
    scale,
    gamma.value.handle,
    beta.value.handle,
    state.runningMean.handle,
    state.runningVariance.handle,
    state.momentum,
    state.epsilon,
  );
  const mean = new Tensor(result.mean);
  const inverseDeviation = new Tensor(result.inverseDeviation);
  return tape.record([x, gamma, beta], new Tensor(result.y), (dy) => {
    const gradients = native().batchNormBackward(
      dy.handle,
      x.value.handle,
      scale,
      gamma.value.handle,
      mean.handle,
      inverseDeviation.handle,
    );
    return [new Tensor(gradients.dx), new Tensor(gradients.dGamma), new Tensor(gradients.dBeta)];
  });
}

/**
 * Batch normalization with the running statistics: y = fl(fl(fl(z − mean)·fl(gamma/sqrt(variance + epsilon))) + beta),
 * the one fp32 function that deployment folds into thresholds. The gradient is with respect to z alone.
 */
export function batchNormEval(
  tape: Tape,
  x: Variable,
  scale: number,
  gamma: Tensor,
  beta: Tensor,
  state: BatchNormState,
): Variable {
  const y = native().batchNormEval(
    x.value.handle,
    scale,
    gamma.handle,
    beta.handle,
    state.runningMean.handle,
    state.runningVariance.handle,
    state.epsilon,
  );
  return tape.record([x], new Tensor(y), (dy) => [
    new Tensor(
      native().batchNormEvalBackward(dy.handle, gamma.handle, state.runningVariance.handle, state.epsilon),
    ),
  ]);
}
