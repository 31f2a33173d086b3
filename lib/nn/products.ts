import { HardbitError } from '../errors.js';
import { binaryConv2d, conv2d } from '../ops/conv2d.js';
import { binaryDense, dense, type SummationOrder } from '../ops/dense.js';
import type { Pool2dGeometry } from '../ops/pool.js';
import { productScale, type QuantizedWeights, scaleProduct } from '../ops/quantized-weights.js';
import type { Tape, Variable } from '../ops/tape.js';
import type { Device } from '../tensor/tensor.js';
import {
  type Activation,
  type ForwardContext,
  gradientDraw,
  type Layer,
  type NamedTensor,
  type Parameter,
  type SpecOf,
  withReal,
} from './layer.js';
import { filled, plainParameter, use, Weight } from './weight.js';

/** The bits of an input that integer products take: null for ±1; undefined for inputs that they do not take. */
function integerBits(x: Activation): number | null | undefined {
  if (x.kind === 'codes') return x.bits;
  return x.kind === 'signs' ? null : undefined;
}

/** The exact sums of a product with quantized weights: integers with one scale, or reals where each channel has its own. */
function scaled(tape: Tape, sums: Variable, inputBits: number | null, weights: QuantizedWeights): Activation {
  const scale = productScale(inputBits, weights.scale);
  if (typeof scale === 'number') return { kind: 'integers', variable: sums, scale };
  const real = scaleProduct(tape, sums, scale);
  tape.release(sums);
  return { kind: 'real', variable: real };
}

/** What a dense and a convolutional layer share: weights, and a bias where they are f32. */
abstract class Product implements Layer {
  readonly parameters: readonly Parameter[];
  readonly buffers: readonly NamedTensor[] = [];
  protected readonly weight: Weight;
  readonly #bias: Parameter | null;

  constructor(
    readonly spec: SpecOf<'dense'> | SpecOf<'conv2d'>,
    shape: readonly number[],
    seed: number,
    readonly index: number,
    device: Device,
  ) {
    this.weight = new Weight(`${spec.name}.weight`, shape, spec.weightQuantizer, seed, index, device);
    this.#bias = spec.bias ? plainParameter(`${spec.name}.bias`, filled(spec.outputs, 0, device)) : null;
    this.parameters = this.#bias === null ? [this.weight.parameter] : [this.weight.parameter, this.#bias];
  }

  protected bias(context: ForwardContext): Variable | null {
    return this.#bias === null ? null : use(this.#bias, context);
  }

  /** How sums of products of f32 are rounded: in evaluation as the deployed network does it, where there is one. */
  protected order(context: ForwardContext): SummationOrder {
    return context.mode === 'evaluate' && context.ordered ? 'fixed' : 'free';
  }

  abstract forward(tape: Tape, x: Activation, context: ForwardContext): Activation;

  invalidate(): void {
    this.weight.invalidate();
  }

  dispose(): void {
    this.weight.dispose();
    this.#bias?.variable.value.dispose();
  }
}

/**
 * Fully connected layer, [N, K] → [N, M]. Quantized weights by codes or signs compute on integers, exactly, and leave the scale
 * to the next layer where it is one number; any other combination computes in f32.
 */
export class Dense extends Product {
  constructor(spec: SpecOf<'dense'>, seed: number, index: number, device: Device) {
    super(spec, [spec.outputs, spec.inputs], seed, index, device);
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    const inputBits = integerBits(x);
    if (this.weight.quantizer === null || inputBits === undefined) {
      const weight = this.weight.real(tape, context);
      const y = withReal(tape, x, (real) =>
        dense(tape, real, weight, this.bias(context), this.order(context)),
      );
      return { kind: 'real', variable: y };
    }
    const operand = this.weight.quantized(tape, context);
    const sums = binaryDense(tape, x.variable, inputBits, operand, gradientDraw(context, this.index));
    if (context.mode === 'evaluate') context.onIntegers?.(this.spec.name, sums.value);
    return scaled(tape, sums, inputBits, operand.weights);
  }
}

/** Two-dimensional convolution, [N, H, W, C] → [N, OH, OW, M]; quantized as `Dense`. */
export class Conv2d extends Product {
  readonly #geometry: SpecOf<'conv2d'>;

  constructor(spec: SpecOf<'conv2d'>, seed: number, index: number, device: Device) {
    super(spec, [spec.outputs, ...spec.kernel, spec.inputs / spec.groups], seed, index, device);
    this.#geometry = spec;
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    return this.forwardPooled(tape, x, context, null).activation;
  }

  /**
   * The layer, and max-pooling by `pool` in the same op where it makes integers, unless all of them are to be shown: `pooled` says
   * whether that was so.
   */
  forwardPooled(
    tape: Tape,
    x: Activation,
    context: ForwardContext,
    pool: Pool2dGeometry | null,
  ): { readonly activation: Activation; readonly pooled: boolean } {
    const { kernel, stride, dilation, padding, paddingValue, groups } = this.#geometry;
    const window = { stride, dilation, padding, groups };
    const inputBits = integerBits(x);
    if (this.weight.quantizer === null || inputBits === undefined) {
      if (paddingValue === 'one' && padding.some((width) => width > 0)) {
        throw new HardbitError(
          'ERR_HARDBIT_UNSUPPORTED',
          `Convolution '${this.spec.name}' pads with ones, which only quantized weights on signs or codes can; use paddingValue 'zero'.`,
        );
      }
      const weight = this.weight.real(tape, context);
      const y = withReal(tape, x, (real) =>
        conv2d(tape, real, weight, this.bias(context), window, this.order(context)),
      );
      return { activation: { kind: 'real', variable: y }, pooled: false };
    }
    const operand = this.weight.quantized(tape, context);
    const geometry = { ...window, kernel, paddingValue };
    const draw = gradientDraw(context, this.index);
    const shown = context.mode === 'evaluate' ? context.onIntegers : undefined;
    const pooled = pool !== null && shown === undefined && typeof operand.weights.scale === 'number';
    const sums = binaryConv2d(tape, x.variable, inputBits, operand, geometry, draw, pooled ? pool : null);
    shown?.(this.spec.name, sums.value);
    return { activation: scaled(tape, sums, inputBits, operand.weights), pooled };
  }
}
