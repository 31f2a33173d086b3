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

/** […, C] → [rows, C]; shares memory. */
function asRows(x: Tensor): Tensor {
  const channels = x.shape.at(-1) ?? 1;
  const rows = x.shape.slice(0, -1).reduce((product, size) => product * size, 1);
  return x.shape.length === 2 ? x : x.reshape([rows, channels]);
}

/** [rows, C] → the shape of `x`; shares memory. */
function like(y: Tensor, x: Tensor): Tensor {
  return x.shape.length === 2 ? y : y.reshape(x.shape);
}

/**
 * Batch normalization over rows (Ioffe & Szegedy 2015): y = gamma·(z − mean)/sqrt(variance + epsilon) + beta with the
 * batch's own statistics, for z = scale·x, x f32 […, C] (scale 1) or the integers of a binary layer, whose sums are
 * exact; all dimensions but the last are rows. Saves x, the mean and the inverse deviation. Gradients with respect to z, gamma, beta.
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
  const rows = asRows(x.value);
  const result = native().batchNormTrain(
    rows.handle,
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
  return tape.record([x, gamma, beta], like(new Tensor(result.y), x.value), (dy) => {
    const gradients = native().batchNormBackward(
      asRows(dy).handle,
      rows.handle,
      scale,
      gamma.value.handle,
      mean.handle,
      inverseDeviation.handle,
    );
    return [
      like(new Tensor(gradients.dx), x.value),
      new Tensor(gradients.dGamma),
      new Tensor(gradients.dBeta),
    ];
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
    asRows(x.value).handle,
    scale,
    gamma.handle,
    beta.handle,
    state.runningMean.handle,
    state.runningVariance.handle,
    state.epsilon,
  );
  return tape.record([x], like(new Tensor(y), x.value), (dy) => {
    const dx = native().batchNormEvalBackward(
      asRows(dy).handle,
      gamma.handle,
      state.runningVariance.handle,
      state.epsilon,
    );
    return [like(new Tensor(dx), x.value)];
  });
}
