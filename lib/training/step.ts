import { argmax, type GradientArithmetic, type Model, requireGradientArithmetic } from '../nn/model.js';
import { Optimizer, type OptimizerSpec } from '../optim/optimizer.js';
import { RecordedStep, type StepOutcome } from '../optim/recorded-step.js';
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

/** What a step leaves behind; the labels are i32 [B] too. */
interface Outcome extends StepOutcome {
  readonly labels: Tensor;
}

/** The sums of steps, in their order; waits for a GPU. */
function readOutcomes(outcomes: readonly Outcome[]): StepResult {
  if (outcomes.length === 0) return { lossSum: 0, correct: 0, rows: 0 };
  return scope(() => {
    const joined = (key: keyof Outcome) => concatRows(outcomes.map((outcome) => outcome[key]));
    const losses = joined('losses').toFloat32Array();
    const predicted = joined('predicted').toInt32Array();
    const labels = joined('labels').toInt32Array();
    return {
      lossSum: sum(losses),
      correct: predicted.reduce((count, value, i) => count + Number(value === labels[i]), 0),
      rows: losses.length,
    };
  });
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

  /** The sums of all of them; waits for the GPU. */
  read(): StepResult {
    const result = readOutcomes(this.#outcomes);
    this.dispose();
    return result;
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

/**
 * A model being trained by one optimizer, a batch at a time. On a GPU, a step on a batch of the size of the one before is recorded,
 * and later ones of that size are run from the recording, in one call and to the same bits; it keeps the GPU's memory that a
 * step takes until `dispose()`.
 */
export class Trainer {
  readonly optimizer: Optimizer;
  readonly gradientArithmetic: GradientArithmetic;
  readonly #unread = new Unread();
  /** On a GPU, until a step turns out to be none that can be recorded. */
  #recordable: boolean;
  #recorded: RecordedStep | undefined;
  /** The shape of the last step's images. */
  #lastShape = '';

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
    this.#recordable = model.device === 'cuda';
    model.invalidate();
  }

  /**
   * One step on the mean cross-entropy of a batch: images f32 [B, H, W, C], labels i32 [B], B ≥ 2, on the model's device.
   * Waits for a GPU; `queueStep` does not.
   *
   * @param rateFactor multiplies the learning rate
   */
  step(images: Tensor, labels: Tensor, rateFactor = 1): StepResult {
    return scope(() => readOutcomes([this.#make(images, labels, rateFactor)]));
  }

  /** As `step`, but what it has to tell stays on the device until `readSteps()`, so that nobody waits for a GPU. */
  queueStep(images: Tensor, labels: Tensor, rateFactor = 1): void {
    scope(() => this.#unread.add(this.#make(images, labels, rateFactor)));
  }

  /** Steps queued since `readSteps()` was last called. */
  get unreadSteps(): number {
    return this.#unread.steps;
  }

  /** The sums over these steps; waits for them. */
  readSteps(): StepResult {
    return this.#unread.read();
  }

  /** Whether steps on batches of the last one's size are run from a recording. */
  get recorded(): boolean {
    return this.#recorded?.shape === this.#lastShape;
  }

  #make(images: Tensor, labels: Tensor, rateFactor: number): Outcome {
    const { optimizer, model } = this;
    const recorded = this.#recordingFor(images, labels);
    let outcome: StepOutcome;
    if (recorded === undefined) {
      outcome = this.#queue(images, labels, rateFactor);
    } else {
      outcome = recorded.run(images, labels, optimizer.steps, rateFactor);
      optimizer.countStep();
      model.invalidate();
    }
    this.#lastShape = images.shape.join();
    return { ...outcome, labels: labels.slice(0, labels.rows) };
  }

  /** Queues a step's operators one by one. */
  #queue(images: Tensor, labels: Tensor, rateFactor: number): StepOutcome {
    const { model, optimizer, seed, gradientArithmetic } = this;
    const draw = { seed, step: optimizer.steps, gradientArithmetic };
    const { logits, losses, gradients } = model.trainingGradients(images, labels, draw);
    optimizer.step(gradients, rateFactor);
    model.invalidate();
    return { losses, predicted: argmax(logits) };
  }

  /**
   * The recording to run for a batch. The first step of a size is queued, so that libraries choose their algorithms and kernels
   * are loaded; an epoch's last, smaller batch has no second one behind it and is never recorded.
   */
  #recordingFor(images: Tensor, labels: Tensor): RecordedStep | undefined {
    const { model, optimizer } = this;
    // The operators say what is wrong with tensors that are gone; a recording would not look.
    if (optimizer.parameters.some(({ variable }) => variable.value.disposed)) return undefined;
    if (this.#recorded?.takes(images, labels)) return this.#recorded;
    if (!this.#recordable || images.shape.join() !== this.#lastShape) return undefined;
    this.#recorded?.dispose();
    this.#recorded = undefined;
    const { steps } = optimizer;
    // Weights are quantized in the recording, as they change.
    model.invalidate();
    try {
      this.#recorded = RecordedStep.record(images, labels, steps, (x, y) => this.#queue(x, y, 1));
    } finally {
      optimizer.resumeAt(steps);
      model.invalidate();
    }
    this.#recordable = this.#recorded !== undefined;
    return this.#recorded;
  }

  /** Frees the optimizer's state and the recording; the model stays. */
  dispose(): void {
    this.#recorded?.dispose();
    this.#recorded = undefined;
    this.#recordable = false;
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
