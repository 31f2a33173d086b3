import { batchNormEval, batchNormTrain } from '../ops/batch-norm.js';
import type { Tape } from '../ops/tape.js';
import { keep } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  type Activation,
  type ForwardContext,
  type Layer,
  type NamedTensor,
  type Parameter,
  type SpecOf,
  toReal,
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

  constructor(readonly spec: SpecOf<'batch-norm'>) {
    this.#gamma = plainParameter(`${spec.name}.gamma`, filled(spec.features, 1));
    this.#beta = plainParameter(`${spec.name}.beta`, filled(spec.features, 0));
    this.#runningMean = keep(filled(spec.features, 0));
    this.#runningVariance = keep(filled(spec.features, 1));
    this.parameters = [this.#gamma, this.#beta];
    this.buffers = [
      { name: `${spec.name}.runningMean`, value: this.#runningMean },
      { name: `${spec.name}.runningVariance`, value: this.#runningVariance },
    ];
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    const state = {
      runningMean: this.#runningMean,
      runningVariance: this.#runningVariance,
      momentum: this.spec.momentum,
      epsilon: this.spec.epsilon,
    };
    const input = x.kind === 'integers' ? x.variable : toReal(tape, x);
    const scale = x.kind === 'integers' ? x.scale : 1;
    const y =
      context.mode === 'train'
        ? batchNormTrain(tape, input, scale, this.#gamma.variable, this.#beta.variable, state)
        : batchNormEval(tape, input, scale, this.#gamma.variable.value, this.#beta.variable.value, state);
    return { kind: 'real', variable: y };
  }

  dispose(): void {
    for (const parameter of this.parameters) parameter.variable.value.dispose();
    for (const buffer of this.buffers) buffer.value.dispose();
  }
}
