import { type GradientArithmetic, type Model, requireGradientArithmetic } from '../nn/model.js';
import { Optimizer, type OptimizerSpec } from '../optim/optimizer.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

export interface StepResult {
  /** Sum of the batch's cross-entropies, in training mode, before the step. */
  readonly lossSum: number;
  /** Correctly classified examples of the batch, in training mode, before the step. */
  readonly correct: number;
}

/** Index of the largest of the logits [begin, end), the first among equals, from `begin`. */
export function largest(logits: Float32Array, begin: number, end: number): number {
  let best = begin;
  for (let i = begin + 1; i < end; i++) if ((logits[i] as number) > (logits[best] as number)) best = i;
  return best - begin;
}

/** A model being trained by one optimizer, a batch at a time. */
export class Trainer {
  readonly optimizer: Optimizer;
  readonly gradientArithmetic: GradientArithmetic;

  /**
   * @param seed fixes what dropout drops and how gradients are rounded; integer in [0, 2^53)
   * @param gradientArithmetic of the products of quantized operands
   * @throws ERR_HARDBIT_ARGUMENT for `bop` on a network without binary weights; ERR_HARDBIT_UNKNOWN_NAME,
   * ERR_HARDBIT_UNSUPPORTED for an arithmetic that there is not, or not on this CPU
   */
  constructor(
    readonly model: Model,
    spec: OptimizerSpec,
    readonly seed = 0,
    gradientArithmetic: GradientArithmetic = 'float',
  ) {
    this.gradientArithmetic = requireGradientArithmetic(gradientArithmetic);
    this.optimizer = new Optimizer(spec, model.parameters);
    model.invalidate();
  }

  /**
   * One step on the mean cross-entropy of a batch: images f32 [B, H, W, C], labels i32 [B], B ≥ 2.
   *
   * @param rateFactor multiplies the learning rate
   */
  step(images: Tensor, labels: Tensor, rateFactor = 1): StepResult {
    return scope(() => {
      const { model, seed, gradientArithmetic } = this;
      const draw = { seed, step: this.optimizer.steps, gradientArithmetic };
      const { logits, losses, gradients } = model.trainingGradients(images, labels, draw);
      this.optimizer.step(gradients, rateFactor);
      model.invalidate();
      let lossSum = 0;
      for (const loss of losses.toFloat32Array()) lossSum += loss;
      const values = logits.toFloat32Array();
      let correct = 0;
      labels.toInt32Array().forEach((label, i) => {
        if (largest(values, i * model.classes, (i + 1) * model.classes) === label) correct += 1;
      });
      return { lossSum, correct };
    });
  }

  /** Frees the optimizer's state; the model stays. */
  dispose(): void {
    this.optimizer.dispose();
  }
}

/** A trainer for training loops of one's own; `fit` is built on it. */
export function createTrainer(
  model: Model,
  options: {
    readonly optimizer: OptimizerSpec;
    readonly seed?: number | undefined;
    readonly gradientArithmetic?: GradientArithmetic | undefined;
  },
): Trainer {
  return new Trainer(model, options.optimizer, options.seed, options.gradientArithmetic);
}
