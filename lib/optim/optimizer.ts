import { HardbitError } from '../errors.js';
import { adamStep, sgdStep } from '../ops/optimize.js';
import type { Variable } from '../ops/tape.js';
import { keep } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

/** Adam (Kingma & Ba 2015) with decoupled weight decay. */
export interface AdamOptions {
  readonly name: 'adam';
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** Stochastic gradient descent with (Nesterov) momentum and L2 weight decay. */
export interface SgdOptions {
  readonly name: 'sgd';
  readonly learningRate: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
}

export type OptimizerSpec = AdamOptions | SgdOptions;

export const optimizerNames = ['adam', 'sgd'] as const;

function requireRange(what: string, value: number, low: number, high: number): void {
  if (!(value >= low && value <= high)) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `${what} is ${value}; expected a number from ${low} to ${high}.`,
    );
  }
}

/** Adam; defaults of the paper: learning rate 1e−3, β₁ .9, β₂ .999, ε 1e−8, no weight decay. */
export function adam(options: Partial<Omit<AdamOptions, 'name'>> = {}): AdamOptions {
  const spec: AdamOptions = {
    name: 'adam',
    learningRate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0,
    ...options,
  };
  requireRange('learningRate', spec.learningRate, 0, 1e3);
  requireRange('beta1', spec.beta1, 0, 0.999999);
  requireRange('beta2', spec.beta2, 0, 0.9999999);
  requireRange('epsilon', spec.epsilon, 0, 1);
  requireRange('weightDecay', spec.weightDecay, 0, 1e3);
  return spec;
}

/** SGD; defaults: learning rate .1, momentum .9, no Nesterov, no weight decay. */
export function sgd(options: Partial<Omit<SgdOptions, 'name'>> = {}): SgdOptions {
  const spec: SgdOptions = {
    name: 'sgd',
    learningRate: 0.1,
    momentum: 0.9,
    nesterov: false,
    weightDecay: 0,
    ...options,
  };
  requireRange('learningRate', spec.learningRate, 0, 1e3);
  requireRange('momentum', spec.momentum, 0, 0.999999);
  requireRange('weightDecay', spec.weightDecay, 0, 1e3);
  return spec;
}

/** What an optimizer needs to know of a parameter. */
export interface Trainable {
  readonly name: string;
  readonly variable: Variable;
  /** Clip to [−clip, clip] after each step; 0: never. */
  readonly clip: number;
  readonly decay: boolean;
}

/** The state of one training: moments by parameter, and the number of steps made. */
export class Optimizer {
  readonly #slots: ReadonlyMap<string, Tensor>;
  #steps = 0;

  constructor(
    readonly spec: OptimizerSpec,
    readonly parameters: readonly Trainable[],
  ) {
    const kinds = spec.name === 'adam' ? ['first', 'second'] : spec.momentum > 0 ? ['velocity'] : [];
    this.#slots = new Map(
      parameters.flatMap((parameter) =>
        kinds.map(
          (kind) =>
            [`${kind}.${parameter.name}`, keep(Tensor.from('f32', parameter.variable.value.shape))] as const,
        ),
      ),
    );
  }

  /** Steps made so far. */
  get steps(): number {
    return this.#steps;
  }

  /** Moments by name, e.g. `first.dense1.weight`, f32 in the parameter's shape. */
  get slots(): ReadonlyMap<string, Tensor> {
    return this.#slots;
  }

  /** Continues from kept moments, already written into `slots`. */
  resumeAt(steps: number): void {
    this.#steps = steps;
  }

  /**
   * One step in place.
   *
   * @param gradients in the order of `parameters`
   * @param rateFactor multiplies the learning rate: the schedule
   */
  step(gradients: readonly Tensor[], rateFactor: number): void {
    this.#steps += 1;
    const { spec } = this;
    this.parameters.forEach((parameter, i) => {
      const { value } = parameter.variable;
      const gradient = gradients[i] as Tensor;
      const shared = {
        learningRate: spec.learningRate * rateFactor,
        weightDecay: parameter.decay ? spec.weightDecay : 0,
        clip: parameter.clip,
      };
      if (spec.name === 'adam') {
        adamStep(value, gradient, this.#slot('first', parameter), this.#slot('second', parameter), {
          ...shared,
          beta1: spec.beta1,
          beta2: spec.beta2,
          epsilon: spec.epsilon,
          step: this.#steps,
        });
      } else {
        const velocity = spec.momentum > 0 ? this.#slot('velocity', parameter) : null;
        sgdStep(value, gradient, velocity, {
          ...shared,
          momentum: spec.momentum,
          nesterov: spec.nesterov,
        });
      }
    });
  }

  dispose(): void {
    for (const slot of this.#slots.values()) slot.dispose();
  }

  #slot(kind: string, parameter: Trainable): Tensor {
    return this.#slots.get(`${kind}.${parameter.name}`) as Tensor;
  }
}
