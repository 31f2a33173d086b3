import { argmax, type GradientArithmetic, type Model, requireGradientArithmetic } from '../nn/model.js';
import { Optimizer, type OptimizerSpec } from '../optim/optimizer.js';
import { concatRows } from '../tensor/rows.js';
import { keep, scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

export interface StepResult {
  /** Sum of the batch's cross-entropies, in training mode, before the step. */
  readonly lossSum: number;
  /** Correctly classified examples of the batch, in training mode, before the step. */
  readonly correct: number;
  /** Examples that both are about. */
  readonly rows: number;
}

/** Index of the largest of the logits [begin, end), the first among equals, from `begin`. */
export function largest(logits: Float32Array, begin: number, end: number): number {
  let best = begin;
  for (let i = begin + 1; i < end; i++) if ((logits[i] as number) > (logits[best] as number)) best = i;
  return best - begin;
}

/** What a step leaves behind, on the device of the network: f32 and twice i32 [B]. */
interface Outcome {
  readonly losses: Tensor;
  readonly predicted: Tensor;
  readonly labels: Tensor;
}

/**
 * Outcomes of steps on a GPU that nobody has looked at yet: reading them one by one would make the GPU wait for the host after
 * every step.
 */
class Unread {
  #outcomes: Outcome[] = [];

  get steps(): number {
    return this.#outcomes.length;
  }

  add(outcome: Outcome): void {
    for (const tensor of Object.values(outcome)) keep(tensor);
    this.#outcomes.push(outcome);
  }

  /** The sums of all of them, in the order of the steps; waits for the GPU. */
  read(): StepResult {
    if (this.#outcomes.length === 0) return { lossSum: 0, correct: 0, rows: 0 };
    const { losses, predicted, labels } = scope(() => {
      const joined = (key: keyof Outcome) => concatRows(this.#outcomes.map((outcome) => outcome[key]));
      return {
        losses: joined('losses').toFloat32Array(),
        predicted: joined('predicted').toInt32Array(),
        labels: joined('labels').toInt32Array(),
      };
    });
    this.dispose();
    return {
      lossSum: sum(losses),
      correct: predicted.reduce((count, value, i) => count + Number(value === labels[i]), 0),
      rows: losses.length,
    };
  }

  dispose(): void {
    for (const outcome of this.#outcomes) for (const tensor of Object.values(outcome)) tensor.dispose();
    this.#outcomes = [];
  }
}

/** In double, from the first to the last. */
function sum(values: Float32Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** A model being trained by one optimizer, a batch at a time. */
export class Trainer {
  readonly optimizer: Optimizer;
  readonly gradientArithmetic: GradientArithmetic;
  readonly #unread = new Unread();

  /**
   * @param seed fixes what dropout drops and how gradients are rounded; integer in [0, 2^53)
   * @param gradientArithmetic of the products of quantized operands
   * @throws ERR_HARDBIT_ARGUMENT for `bop` on a network without binary weights; ERR_HARDBIT_UNKNOWN_NAME,
   * ERR_HARDBIT_UNSUPPORTED for an arithmetic that there is not, or not on the model's device
   */
  constructor(
    readonly model: Model,
    spec: OptimizerSpec,
    readonly seed = 0,
    gradientArithmetic: GradientArithmetic = 'float',
  ) {
    this.gradientArithmetic = requireGradientArithmetic(gradientArithmetic, model.device);
    this.optimizer = new Optimizer(spec, model.parameters);
    model.invalidate();
  }

  /**
   * One step on the mean cross-entropy of a batch: images f32 [B, H, W, C], labels i32 [B], B ≥ 2, on the model's device.
   * Waits for a GPU; `queueStep` does not.
   *
   * @param rateFactor multiplies the learning rate
   */
  step(images: Tensor, labels: Tensor, rateFactor = 1): StepResult {
    return scope(() => {
      const { logits, losses } = this.#update(images, labels, rateFactor);
      const { classes } = this.model;
      const values = logits.toFloat32Array();
      let correct = 0;
      labels.toInt32Array().forEach((label, i) => {
        if (largest(values, i * classes, (i + 1) * classes) === label) correct += 1;
      });
      return { lossSum: sum(losses.toFloat32Array()), correct, rows: images.rows };
    });
  }

  /** As `step`, but what it has to tell stays on the device until `readSteps()`, so that nobody waits for a GPU. */
  queueStep(images: Tensor, labels: Tensor, rateFactor = 1): void {
    scope(() => {
      const { logits, losses } = this.#update(images, labels, rateFactor);
      this.#unread.add({ losses, predicted: argmax(logits), labels: labels.slice(0, labels.rows) });
    });
  }

  /** Steps queued since `readSteps()` was last called. */
  get unreadSteps(): number {
    return this.#unread.steps;
  }

  /** The sums over these steps; waits for them. */
  readSteps(): StepResult {
    return this.#unread.read();
  }

  #update(images: Tensor, labels: Tensor, rateFactor: number): { logits: Tensor; losses: Tensor } {
    const { model, seed, gradientArithmetic } = this;
    const draw = { seed, step: this.optimizer.steps, gradientArithmetic };
    const { logits, losses, gradients } = model.trainingGradients(images, labels, draw);
    this.optimizer.step(gradients, rateFactor);
    model.invalidate();
    return { logits, losses };
  }

  /** Frees the optimizer's state; the model stays. */
  dispose(): void {
    this.optimizer.dispose();
    this.#unread.dispose();
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
