import { HardbitError, requireName } from '../errors.js';
import { batchNormEval, batchNormTrain } from '../ops/batch-norm.js';
import { binaryDense, dense, denseScale } from '../ops/dense.js';
import { discretize } from '../ops/discretize.js';
import { relu, reshape } from '../ops/elementwise.js';
import { randomUniform } from '../ops/random.js';
import { type Tape, type Variable, variable } from '../ops/tape.js';
import { keep } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import {
  type Activation,
  type ForwardContext,
  type Layer,
  type LayerSpec,
  type NamedTensor,
  type Parameter,
  toReal,
} from './layer.js';
import {
  type ActivationQuantizer,
  activationQuantizers,
  type WeightQuantizer,
  weightQuantizers,
} from './quantizers.js';

type SpecOf<T extends LayerSpec['type']> = Extract<LayerSpec, { type: T }>;

/** First Philox stream of parameter initialization; each layer takes one. */
const INITIALIZATION_STREAM = 0x1000_0000;

/** Parameters as leaves while training, as constants otherwise. */
function use(parameter: Parameter, context: ForwardContext): Variable {
  return context.mode === 'train' ? parameter.variable : variable(parameter.variable.value, false);
}

function trainable(
  name: string,
  value: Tensor,
  options: { readonly clip?: number; readonly binary?: boolean; readonly decay?: boolean } = {},
): Parameter {
  return {
    name,
    variable: variable(keep(value)),
    clip: options.clip ?? 0,
    binary: options.binary ?? false,
    decay: options.decay ?? false,
  };
}

function filled(count: number, value: number): Tensor {
  return Tensor.from('f32', [count], new Float32Array(count).fill(value));
}

/** Pixels in [0, 1] to b-bit codes; the first layer of every network. */
class Discretizer implements Layer {
  readonly parameters: readonly Parameter[] = [];
  readonly buffers: readonly NamedTensor[] = [];

  constructor(readonly spec: SpecOf<'discretizer'>) {
    if (!Number.isInteger(spec.bits) || spec.bits < 1 || spec.bits > 8) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `The discretizer has ${spec.bits} bits; expected a whole number from 1 to 8.`,
      );
    }
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    const gradient = context.mode === 'train' ? 'identity' : context.gradientMode.discretizer;
    return {
      kind: 'codes',
      variable: discretize(tape, toReal(tape, x), this.spec.bits, gradient),
      bits: this.spec.bits,
    };
  }

  dispose(): void {}
}

/** [N, …] → [N, K], row-major (H, W, C). */
class Flatten implements Layer {
  readonly parameters: readonly Parameter[] = [];
  readonly buffers: readonly NamedTensor[] = [];

  constructor(readonly spec: SpecOf<'flatten'>) {}

  forward(tape: Tape, x: Activation): Activation {
    const [rows = 1, ...rest] = x.variable.value.shape;
    const columns = rest.reduce((product, size) => product * size, 1);
    return { ...x, variable: reshape(tape, x.variable, [rows, columns]) };
  }

  dispose(): void {}
}

/**
 * Fully connected layer. With a weight quantizer and codes or signs as input it computes on integers and leaves the
 * scale to the next layer; any other combination computes in f32.
 *
 * Initial weights: f32 uniform ±1/√K, as PyTorch's Linear; latent binary weights uniform ±√(6/(K + M)) (Glorot),
 * as Hubara et al. 2016.
 */
class Dense implements Layer {
  readonly parameters: readonly Parameter[];
  readonly buffers: readonly NamedTensor[] = [];
  readonly #weight: Parameter;
  readonly #bias: Parameter | null;
  readonly #quantizer: WeightQuantizer | null;
  /** Packed weights, until `invalidate()`. */
  #packed: Tensor | null = null;

  constructor(
    readonly spec: SpecOf<'dense'>,
    seed: number,
    stream: number,
  ) {
    const { inputs, outputs } = spec;
    if (spec.weightQuantizer === null) {
      this.#quantizer = null;
    } else {
      const name = requireName(
        'weight quantizer',
        spec.weightQuantizer,
        weightQuantizers.map((quantizer) => quantizer.name),
      );
      this.#quantizer = weightQuantizers.find((quantizer) => quantizer.name === name) as WeightQuantizer;
      if (spec.bias) {
        throw new HardbitError(
          'ERR_HARDBIT_UNSUPPORTED',
          `Dense layer '${spec.name}' has binary weights and a bias; follow it by batch norm, whose beta is the bias.`,
        );
      }
    }
    const bound = this.#quantizer === null ? 1 / Math.sqrt(inputs) : Math.sqrt(6 / (inputs + outputs));
    this.#weight = trainable(
      `${spec.name}.weight`,
      randomUniform([outputs, inputs], -bound, bound, seed, INITIALIZATION_STREAM + stream),
      {
        clip: this.#quantizer?.clip ?? 0,
        binary: this.#quantizer !== null,
        decay: this.#quantizer === null,
      },
    );
    this.#bias = spec.bias ? trainable(`${spec.name}.bias`, filled(outputs, 0)) : null;
    this.parameters = this.#bias === null ? [this.#weight] : [this.#weight, this.#bias];
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    const weight = use(this.#weight, context);
    if (this.#quantizer === null) {
      const bias = this.#bias === null ? null : use(this.#bias, context);
      return { kind: 'real', variable: dense(tape, toReal(tape, x), weight, bias) };
    }
    this.#packed ??= keep(this.#quantizer.quantize(weight.value));
    if (x.kind !== 'codes' && x.kind !== 'signs') {
      throw new HardbitError(
        'ERR_HARDBIT_UNSUPPORTED',
        `Dense layer '${this.spec.name}' has binary weights and real inputs; put a discretizer or a sign layer before it.`,
      );
    }
    const inputBits = x.kind === 'codes' ? x.bits : null;
    return {
      kind: 'integers',
      variable: binaryDense(tape, x.variable, inputBits, weight, this.#packed),
      scale: denseScale(inputBits),
    };
  }

  invalidate(): void {
    this.#packed?.dispose();
    this.#packed = null;
  }

  dispose(): void {
    this.invalidate();
    for (const parameter of this.parameters) parameter.variable.value.dispose();
  }
}

/** Batch normalization over rows; on the integers of a binary layer with exact statistics. */
class BatchNorm implements Layer {
  readonly parameters: readonly Parameter[];
  readonly buffers: readonly NamedTensor[];
  readonly #gamma: Parameter;
  readonly #beta: Parameter;
  readonly #runningMean: Tensor;
  readonly #runningVariance: Tensor;

  constructor(readonly spec: SpecOf<'batch-norm'>) {
    this.#gamma = trainable(`${spec.name}.gamma`, filled(spec.features, 1));
    this.#beta = trainable(`${spec.name}.beta`, filled(spec.features, 0));
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

class Relu implements Layer {
  readonly parameters: readonly Parameter[] = [];
  readonly buffers: readonly NamedTensor[] = [];

  constructor(readonly spec: SpecOf<'relu'>) {}

  forward(tape: Tape, x: Activation): Activation {
    return { kind: 'real', variable: relu(tape, toReal(tape, x)) };
  }

  dispose(): void {}
}

/** Binary activations: sign with a surrogate gradient. */
class Sign implements Layer {
  readonly parameters: readonly Parameter[] = [];
  readonly buffers: readonly NamedTensor[] = [];
  readonly #quantizer: ActivationQuantizer;

  constructor(readonly spec: SpecOf<'sign'>) {
    const name = requireName(
      'activation quantizer',
      spec.quantizer,
      activationQuantizers.map((quantizer) => quantizer.name),
    );
    this.#quantizer = activationQuantizers.find(
      (quantizer) => quantizer.name === name,
    ) as ActivationQuantizer;
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    const gradient = context.mode === 'train' ? this.#quantizer.trainingGradient : context.gradientMode.sign;
    return { kind: 'signs', variable: this.#quantizer.forward(tape, toReal(tape, x), gradient) };
  }

  dispose(): void {}
}

/**
 * The layer a description stands for, with freshly initialized parameters.
 *
 * @param index position in the network; with the seed it fixes the initial weights
 */
export function createLayer(spec: LayerSpec, seed: number, index: number): Layer {
  switch (spec.type) {
    case 'discretizer':
      return new Discretizer(spec);
    case 'flatten':
      return new Flatten(spec);
    case 'dense':
      return new Dense(spec, seed, index);
    case 'batch-norm':
      return new BatchNorm(spec);
    case 'relu':
      return new Relu(spec);
    case 'sign':
      return new Sign(spec);
  }
}
