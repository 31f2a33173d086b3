import { reshape } from '../ops/elementwise.js';
import {
  type QuantizedOperand,
  type QuantizedWeights,
  quantizedValues,
  weightValues,
} from '../ops/quantized-weights.js';
import { randomUniform } from '../ops/random.js';
import { type Tape, type Variable, variable } from '../ops/tape.js';
import { keep, scope } from '../tensor/scope.js';
import { type Device, Tensor } from '../tensor/tensor.js';
import type { ForwardContext, Parameter } from './layer.js';
import { requireWeightQuantizer, type WeightQuantizer } from './quantizers.js';

/** First Philox stream of parameter initialization; each layer takes one. */
const INITIALIZATION_STREAM = 0x1000_0000;

/** Parameters as leaves while training, as constants otherwise. */
export function use(parameter: Parameter, context: ForwardContext): Variable {
  return context.mode === 'train' ? parameter.variable : variable(parameter.variable.value, false);
}

/** An f32 parameter that the network computes with as it is, without weight decay unless said. */
export function plainParameter(name: string, value: Tensor, decay = false): Parameter {
  return { name, variable: variable(keep(value)), clip: 0, quantizer: null, binary: false, decay };
}

/** f32 [count] of one value. */
export function filled(count: number, value: number, device: Device): Tensor {
  return Tensor.from('f32', [count], new Float32Array(count).fill(value), device);
}

/**
 * The weights of a dense or convolutional layer: one trainable tensor [M, …], and what its quantizer makes of it, kept
 * until `invalidate()`.
 *
 * Initial values: f32 uniform ±1/√fan-in, as PyTorch's Linear and Conv2d; latent weights of a quantizer uniform
 * ±√(6/(fan-in + fan-out)) (Glorot), as Hubara et al. 2016. They are drawn on the cpu, the same for every device.
 */
export class Weight {
  readonly parameter: Parameter;
  readonly quantizer: WeightQuantizer | null;
  readonly #shape: readonly number[];
  #quantized: QuantizedWeights | null = null;
  /** The quantized weights' real values, f32 [M, K], for evaluation on real inputs. */
  #values: Tensor | null = null;

  /**
   * @param shape output channels first
   * @param stream the layer's index in the network; with the seed it fixes the initial weights
   * @throws ERR_HARDBIT_UNKNOWN_NAME for an unknown quantizer
   */
  constructor(
    name: string,
    shape: readonly number[],
    quantizer: string | null,
    seed: number,
    stream: number,
    device: Device,
  ) {
    this.#shape = shape;
    this.quantizer = quantizer === null ? null : requireWeightQuantizer(quantizer);
    const [outputs = 1, ...rest] = shape;
    const fanIn = rest.reduce((product, size) => product * size, 1);
    // Rows and columns of the kernel, all but the last of `rest`.
    const fanOut = outputs * rest.slice(0, -1).reduce((product, size) => product * size, 1);
    const bound = this.quantizer === null ? 1 / Math.sqrt(fanIn) : Math.sqrt(6 / (fanIn + fanOut));
    const initial = () => randomUniform(shape, -bound, bound, seed, INITIALIZATION_STREAM + stream);
    this.parameter = {
      name,
      variable: variable(keep(scope(() => initial().to(device)))),
      clip: this.quantizer?.clip ?? 0,
      quantizer,
      binary: quantizer === 'ste-sign',
      decay: this.quantizer === null,
    };
  }

  /** The weights as f32 [M, …]: themselves, or the real values of the quantized ones. */
  real(tape: Tape, context: ForwardContext): Variable {
    if (this.quantizer === null) return use(this.parameter, context);
    if (context.mode === 'train') {
      const values = quantizedValues(tape, this.quantized(tape, context));
      const shaped = reshape(tape, values, this.#shape);
      tape.release(values);
      return shaped;
    }
    if (this.#values === null) {
      const { weights } = this.quantized(tape, context);
      this.#values = keep(weightValues(weights));
    }
    return variable(this.#values.reshape(this.#shape), false);
  }

  /** The quantized weights as an operand of an integer product; only where there is a quantizer. */
  quantized(tape: Tape, context: ForwardContext): QuantizedOperand {
    const quantizer = this.quantizer as WeightQuantizer;
    const [outputs = 1, ...rest] = this.#shape;
    const columns = rest.reduce((product, size) => product * size, 1);
    const latent = reshape(tape, use(this.parameter, context), [outputs, columns]);
    if (this.#quantized === null) {
      const made = scope(() => quantizer.quantize(latent.value));
      keep(made.planes);
      if (typeof made.scale !== 'number') keep(made.scale);
      this.#quantized = made;
    }
    const weights = this.#quantized;
    return {
      weights,
      latent,
      gradient: (dWeights) => quantizer.gradient(dWeights, latent.value, weights),
    };
  }

  /** The parameter was overwritten in place. */
  invalidate(): void {
    this.#quantized?.planes.dispose();
    if (this.#quantized !== null && typeof this.#quantized.scale !== 'number')
      this.#quantized.scale.dispose();
    this.#quantized = null;
    this.#values?.dispose();
    this.#values = null;
  }

  dispose(): void {
    this.invalidate();
    this.parameter.variable.value.dispose();
  }
}
