import { HardbitError, requireName } from '../errors.js';
import { adamStep, bopStep, sgdStep } from '../ops/optimize.js';
import { packSigns, unpackSigns } from '../ops/sign.js';
import type { Variable } from '../ops/tape.js';
import { keep, scope } from '../tensor/scope.js';
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

/**
 * Bop (Helwegen et al. 2019): binary weights have no latent values but are ±1 themselves, and flip where a moving average
 * of their gradients asks for it clearly enough. All other parameters take Adam's steps.
 */
export interface BopOptions {
  readonly name: 'bop';
  /** γ: weight of the newest gradient in the moving average. */
  readonly gamma: number;
  /** τ: a weight w flips where w·m > τ. */
  readonly threshold: number;
  /** For batch norm, biases and real weights; a schedule acts on its learning rate alone. */
  readonly other: AdamOptions;
}

export type OptimizerSpec = AdamOptions | SgdOptions | BopOptions;

export const optimizerNames = ['adam', 'sgd', 'bop'] as const;

function requireRange(what: string, value: number, low: number, high: number): void {
  if (!(typeof value === 'number' && value >= low && value <= high)) {
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
  if (typeof spec.nesterov !== 'boolean') {
    throw new HardbitError('ERR_HARDBIT_ARGUMENT', `nesterov is ${spec.nesterov}; expected true or false.`);
  }
  requireRange('weightDecay', spec.weightDecay, 0, 1e3);
  return spec;
}

/** Bop; defaults of the paper's CIFAR-10 experiments: γ 1e−4, τ 1e−8, Adam with its defaults for the rest. */
export function bop(
  options: Partial<Omit<BopOptions, 'name' | 'other'>> & { readonly other?: Partial<AdamOptions> } = {},
): BopOptions {
  const { name: _name, ...other } = options.other ?? {};
  const spec: BopOptions = { name: 'bop', gamma: 1e-4, threshold: 1e-8, ...options, other: adam(other) };
  requireRange('gamma', spec.gamma, 0, 1);
  requireRange('threshold', spec.threshold, 0, 1e3);
  return spec;
}

/** The settings of each optimizer besides its name. */
const settings: Readonly<Record<OptimizerSpec['name'], readonly string[]>> = {
  adam: ['learningRate', 'beta1', 'beta2', 'epsilon', 'weightDecay'],
  sgd: ['learningRate', 'momentum', 'nesterov', 'weightDecay'],
  bop: ['gamma', 'threshold', 'other'],
};

/**
 * An optimizer from its name, or its name and some of its settings, as they stand in a configuration file.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME for an unknown optimizer or setting; ERR_HARDBIT_ARGUMENT for a value out of range
 */
export function resolveOptimizer(
  optimizer: string | { readonly name?: unknown; readonly [setting: string]: unknown },
): OptimizerSpec {
  const { name: given, ...options } = typeof optimizer === 'string' ? { name: optimizer } : optimizer;
  const name = requireName('optimizer', String(given), optimizerNames);
  for (const key of Object.keys(options)) {
    requireName(`setting of the optimizer ${name}:`, key, settings[name]);
  }
  switch (name) {
    case 'adam':
      return adam(options);
    case 'sgd':
      return sgd(options);
    case 'bop': {
      const { other = {}, ...own } = options as { readonly other?: unknown };
      if (typeof other !== 'object' || other === null || Array.isArray(other)) {
        throw new HardbitError(
          'ERR_HARDBIT_ARGUMENT',
          `other of the optimizer bop is ${JSON.stringify(other)}; expected settings of adam.`,
        );
      }
      return bop({ ...own, other: resolveOptimizer({ ...other, name: 'adam' }) as AdamOptions });
    }
  }
}

/** Overwrites an f32 tensor by its signs, sign(0) = +1. */
export function takeSigns(value: Tensor): void {
  scope(() => value.assign(unpackSigns(packSigns(value))));
}

/** What an optimizer needs to know of a parameter. */
export interface Trainable {
  readonly name: string;
  readonly variable: Variable;
  /** Clip to [−clip, clip] after each step; 0: never. */
  readonly clip: number;
  /** Weight decay applies. */
  readonly decay: boolean;
  /** The network computes with the sign alone. */
  readonly binary: boolean;
}

/** The tensors that a parameter's steps need to remember. */
function slotKinds(spec: OptimizerSpec, { binary }: Trainable): readonly string[] {
  switch (spec.name) {
    case 'adam':
      return ['first', 'second'];
    case 'sgd':
      return spec.momentum > 0 ? ['velocity'] : [];
    case 'bop':
      return binary ? ['mean'] : ['first', 'second'];
  }
}

/** The state of one training: moments by parameter, and the number of steps made. */
export class Optimizer {
  readonly #slots: ReadonlyMap<string, Tensor>;
  #steps = 0;

  /**
   * Under `bop`, sets the binary parameters to their signs.
   *
   * @throws ERR_HARDBIT_ARGUMENT for `bop` without a binary parameter
   */
  constructor(
    readonly spec: OptimizerSpec,
    readonly parameters: readonly Trainable[],
  ) {
    if (spec.name === 'bop') {
      const binary = parameters.filter((parameter) => parameter.binary);
      if (binary.length === 0) {
        throw new HardbitError(
          'ERR_HARDBIT_ARGUMENT',
          'The optimizer bop flips binary weights, and this network has none; use adam or sgd, or a binary recipe such as bnn.',
        );
      }
      for (const { variable } of binary) takeSigns(variable.value);
    }
    this.#slots = new Map(
      parameters.flatMap((parameter) =>
        slotKinds(spec, parameter).map(
          (kind) => [`${kind}.${parameter.name}`, keep(Tensor.zerosLike(parameter.variable.value))] as const,
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

  /** A recording of `step` made one. */
  countStep(): void {
    this.#steps += 1;
  }

  /** Continues from kept moments, already written into `slots`, or from those that stand there. */
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
    for (const [i, parameter] of this.parameters.entries()) {
      this.#update(parameter, gradients[i] as Tensor, rateFactor);
    }
  }

  #update(parameter: Trainable, gradient: Tensor, rateFactor: number): void {
    const { value } = parameter.variable;
    const { spec } = this;
    if (spec.name === 'bop' && parameter.binary) {
      const { gamma, threshold } = spec;
      bopStep(value, gradient, this.#slot('mean', parameter), { gamma, threshold });
      return;
    }
    const real = spec.name === 'bop' ? spec.other : spec;
    const shared = {
      learningRate: real.learningRate * rateFactor,
      weightDecay: parameter.decay ? real.weightDecay : 0,
      clip: parameter.clip,
    };
    if (real.name === 'adam') {
      const { beta1, beta2, epsilon } = real;
      adamStep(value, gradient, this.#slot('first', parameter), this.#slot('second', parameter), {
        ...shared,
        beta1,
        beta2,
        epsilon,
        step: this.#steps,
      });
    } else {
      const { momentum, nesterov } = real;
      const velocity = momentum > 0 ? this.#slot('velocity', parameter) : null;
      sgdStep(value, gradient, velocity, { ...shared, momentum, nesterov });
    }
  }

  dispose(): void {
    for (const slot of this.#slots.values()) slot.dispose();
  }

  #slot(kind: string, parameter: Trainable): Tensor {
    return this.#slots.get(`${kind}.${parameter.name}`) as Tensor;
  }
}
