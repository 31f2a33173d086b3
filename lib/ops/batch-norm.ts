import { native, type SignSurrogate } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tape, Variable } from './tape.js';

export type { SignSurrogate } from '../native.js';

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
  const saved = [x.value, mean, inverseDeviation];
  return tape.record([x, gamma, beta], new Tensor(result.y), saved, (dy) => {
    const { dx, dGamma, dBeta } = native().batchNormBackward(
      dy.handle,
      x.value.handle,
      scale,
      gamma.value.handle,
      mean.handle,
      inverseDeviation.handle,
    );
    return [new Tensor(dx), new Tensor(dGamma), new Tensor(dBeta)];
  });
}

/**
 * Batch normalization with the running statistics: y = fl(fl(fl(z − mean)·fl(gamma/sqrt(variance + epsilon))) + beta),
 * the one fp32 function that deployment folds into thresholds. The gradient is with respect to z alone. Saves nothing.
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
  return tape.record([x], new Tensor(y), [], (dy) => [
    new Tensor(
      native().batchNormEvalBackward(dy.handle, gamma.handle, state.runningVariance.handle, state.epsilon),
    ),
  ]);
}

/**
 * `sign` of `batchNormTrain`, bits […, C], without y in between: the same bits, and the same gradients, as the one after the
 * other. Saves x, the mean and the inverse deviation, and for `clipped` one mask bit an element; `approx` and `swish`
 * compute y again.
 *
 * @throws as batchNormTrain
 */
export function batchNormSignTrain(
  tape: Tape,
  x: Variable,
  scale: number,
  gamma: Variable,
  beta: Variable,
  state: BatchNormState,
  gradient: SignSurrogate,
): Variable {
  const result = native().batchNormSignTrain(
    x.value.handle,
    scale,
    gamma.value.handle,
    beta.value.handle,
    state.runningMean.handle,
    state.runningVariance.handle,
    state.momentum,
    state.epsilon,
    gradient === 'clipped',
  );
  const mean = new Tensor(result.mean);
  const inverseDeviation = new Tensor(result.inverseDeviation);
  const mask = result.mask === null ? null : new Tensor(result.mask);
  const saved = [x.value, mean, inverseDeviation, ...(mask === null ? [] : [mask])];
  return tape.record([x, gamma, beta], new Tensor(result.signs), saved, (dy) => {
    const { dx, dGamma, dBeta } = native().batchNormSignBackward(
      dy.handle,
      x.value.handle,
      scale,
      gamma.value.handle,
      beta.value.handle,
      mean.handle,
      inverseDeviation.handle,
      gradient,
      mask?.handle ?? null,
    );
    return [new Tensor(dx), new Tensor(dGamma), new Tensor(dBeta)];
  });
}

/**
 * `sign` of `batchNormEval`, bits […, C], without y in between, as `batchNormSignTrain`. The gradient is with respect to z
 * alone. Saves for `clipped` one mask bit an element, for `approx` and `swish` x, for `identity` nothing.
 */
export function batchNormSignEval(
  tape: Tape,
  x: Variable,
  scale: number,
  gamma: Tensor,
  beta: Tensor,
  state: BatchNormState,
  gradient: SignSurrogate,
): Variable {
  const result = native().batchNormSignEval(
    x.value.handle,
    scale,
    gamma.handle,
    beta.handle,
    state.runningMean.handle,
    state.runningVariance.handle,
    state.epsilon,
    gradient === 'clipped' && x.requiresGradient,
  );
  const mask = result.mask === null ? null : new Tensor(result.mask);
  const again = gradient === 'approx' || gradient === 'swish' ? x.value : null;
  const saved = [mask, again].filter((tensor) => tensor !== null);
  return tape.record([x], new Tensor(result.signs), saved, (dy) => [
    new Tensor(
      native().batchNormSignEvalBackward(
        dy.handle,
        again?.handle ?? null,
        scale,
        gamma.handle,
        beta.handle,
        state.runningMean.handle,
        state.runningVariance.handle,
        state.epsilon,
        gradient,
        mask?.handle ?? null,
      ),
    ),
  ]);
}
