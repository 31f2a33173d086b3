import {
  type BatchNormState,
  batchNormEval,
  batchNormSignEval,
  batchNormSignTrain,
  batchNormTrain,
  type SignSurrogate,
} from '../ops/batch-norm.js';
import type { Tape, Variable } from '../ops/tape.js';
import { keep } from '../tensor/scope.js';
import type { Device, Tensor } from '../tensor/tensor.js';
import {
  type Activation,
  type ForwardContext,
  type Layer,
  type NamedTensor,
  type Parameter,
  type SpecOf,
  withReal,
} from './layer.js';
import { filled, plainParameter } from './weight.js';

/** Batch normalization of the channels of […, C]; on the integers of a quantized layer with exact statistics. */
export class BatchNorm implements Layer {
  readonly parameters: readonly Parameter[];
  readonly buffers: readonly NamedTensor[];
  readonly #gamma: Parameter;
  readonly #beta: Parameter;
  readonly #runningMean: Tensor;
  readonly #runningVariance: Tensor;

  constructor(
    readonly spec: SpecOf<'batch-norm'>,
    device: Device,
  ) {
    const { name, features } = spec;
    this.#gamma = plainParameter(`${name}.gamma`, filled(features, 1, device));
    this.#beta = plainParameter(`${name}.beta`, filled(features, 0, device));
    this.#runningMean = keep(filled(features, 0, device));
    this.#runningVariance = keep(filled(features, 1, device));
    this.parameters = [this.#gamma, this.#beta];
    this.buffers = [
      { name: `${spec.name}.runningMean`, value: this.#runningMean },
      { name: `${spec.name}.runningVariance`, value: this.#runningVariance },
    ];
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    const [gamma, beta] = [this.#gamma.variable, this.#beta.variable];
    const state = this.#state;
    const apply = (z: Variable, scale: number): Variable =>
      context.mode === 'train'
        ? batchNormTrain(tape, z, scale, gamma, beta, state)
        : batchNormEval(tape, z, scale, gamma.value, beta.value, state);
    return { kind: 'real', variable: this.#apply(tape, x, apply) };
  }

  /** This layer and a sign behind it at once, equal to the one after the other: the values between are never kept. */
  forwardSigns(tape: Tape, x: Activation, context: ForwardContext, gradient: SignSurrogate): Activation {
    const [gamma, beta] = [this.#gamma.variable, this.#beta.variable];
    const state = this.#state;
    const apply = (z: Variable, scale: number): Variable =>
      context.mode === 'train'
        ? batchNormSignTrain(tape, z, scale, gamma, beta, state, gradient)
        : batchNormSignEval(tape, z, scale, gamma.value, beta.value, state, gradient);
    return { kind: 'signs', variable: this.#apply(tape, x, apply) };
  }

  get #state(): BatchNormState {
    return {
      runningMean: this.#runningMean,
      runningVariance: this.#runningVariance,
      momentum: this.spec.momentum,
      epsilon: this.spec.epsilon,
    };
  }

  /** On integers with their scale, on anything else as reals. */
  #apply(tape: Tape, x: Activation, apply: (z: Variable, scale: number) => Variable): Variable {
    return x.kind === 'integers' ? apply(x.variable, x.scale) : withReal(tape, x, (real) => apply(real, 1));
  }

  dispose(): void {
    for (const parameter of this.parameters) parameter.variable.value.dispose();
    for (const buffer of this.buffers) buffer.value.dispose();
  }
}
