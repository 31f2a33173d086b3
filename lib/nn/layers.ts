import { HardbitError } from '../errors.js';
import type { SignSurrogate } from '../ops/batch-norm.js';
import { discretize } from '../ops/discretize.js';
import { dropout } from '../ops/dropout.js';
import { add, hardtanh, relu, reshape } from '../ops/elementwise.js';
import { averagePool2d, maxPool2d, type Pool2dGeometry } from '../ops/pool.js';
import { reshapeSigns, type SignGradient } from '../ops/sign.js';
import type { Tape, Variable } from '../ops/tape.js';
import { scope } from '../tensor/scope.js';
import type { Device } from '../tensor/tensor.js';
import { BatchNorm } from './batch-norm.js';
import {
  type Activation,
  type ForwardContext,
  type Layer,
  type LayerSpec,
  type NamedTensor,
  type Parameter,
  type SpecOf,
  toReal,
  withReal,
} from './layer.js';
import { Conv2d, Dense } from './products.js';
import { type ActivationQuantizer, requireActivationQuantizer } from './quantizers.js';

/** First Philox stream of dropout; each layer takes one. */
const DROPOUT_STREAM = 0x3000_0000;

/** A layer without parameters. */
abstract class Stateless implements Layer {
  readonly parameters: readonly Parameter[] = [];
  readonly buffers: readonly NamedTensor[] = [];
  abstract readonly spec: LayerSpec;
  abstract forward(tape: Tape, x: Activation, context: ForwardContext): Activation;

  dispose(): void {}
}

/** Pixels in [0, 1] to b-bit codes; the first layer of every network. */
class Discretizer extends Stateless {
  constructor(readonly spec: SpecOf<'discretizer'>) {
    super();
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    const gradient = context.mode === 'train' ? 'identity' : context.gradientMode.discretizer;
    return {
      kind: 'codes',
      variable: discretize(tape, toReal(tape, x), this.spec.bits, gradient),
      bits: this.spec.bits,
    };
  }
}

/** [N, …] → [N, K], row-major (H, W, C). */
class Flatten extends Stateless {
  constructor(readonly spec: SpecOf<'flatten'>) {
    super();
  }

  forward(tape: Tape, x: Activation): Activation {
    const [rows = 1, ...rest] = x.variable.value.shape;
    const shape = [rows, rest.reduce((product, size) => product * size, 1)];
    const flatten = x.kind === 'signs' ? reshapeSigns : reshape;
    return { ...x, variable: flatten(tape, x.variable, shape) };
  }
}

/** A function of real numbers without parameters. */
class RealFunction extends Stateless {
  constructor(
    readonly spec: LayerSpec,
    readonly apply: (tape: Tape, x: Variable) => Variable,
  ) {
    super();
  }

  forward(tape: Tape, x: Activation): Activation {
    return { kind: 'real', variable: withReal(tape, x, (real) => this.apply(tape, real)) };
  }
}

/** Largest of each window, on signs, integers and reals as they are, on codes as reals. */
class MaxPool extends Stateless {
  constructor(readonly spec: SpecOf<'max-pool' | 'average-pool'>) {
    super();
  }

  forward(tape: Tape, x: Activation): Activation {
    if (x.kind === 'codes') {
      const pooled = withReal(tape, x, (real) => maxPool2d(tape, real, windowOf(this.spec)));
      return { kind: 'real', variable: pooled };
    }
    return { ...x, variable: maxPool2d(tape, x.variable, windowOf(this.spec)) };
  }
}

function windowOf({ kernel, stride, padding }: SpecOf<'max-pool' | 'average-pool'>): Pool2dGeometry {
  return { kernel, stride, padding };
}

/** In training each element is dropped with probability `rate`; in evaluation nothing happens. */
class Dropout extends Stateless {
  constructor(
    readonly spec: SpecOf<'dropout'>,
    readonly index: number,
  ) {
    super();
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    if (context.mode === 'evaluate') return x;
    const draw = { seed: context.seed, stream: DROPOUT_STREAM + this.index, step: context.step };
    const dropped = withReal(tape, x, (real) => dropout(tape, real, this.spec.rate, draw));
    return { kind: 'real', variable: dropped };
  }
}

/** Quantized activations: signs or codes, with a surrogate gradient. */
class Quantize extends Stateless {
  readonly #quantizer: ActivationQuantizer;

  constructor(readonly spec: SpecOf<'quantize'>) {
    super();
    this.#quantizer = requireActivationQuantizer(spec.quantizer);
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    const { kind, precision } = this.#quantizer;
    const gradient = this.#gradient(context);
    const y = withReal(tape, x, (real) => this.#quantizer.forward(tape, real, gradient));
    return kind === 'signs' ? { kind, variable: y } : { kind, variable: y, bits: precision };
  }

  /** The surrogate of a sign that can be computed together with the batch norm before it; null for any other quantizer. */
  fusedSign(context: ForwardContext): SignSurrogate | null {
    if (this.#quantizer.kind !== 'signs') return null;
    const gradient = this.#gradient(context);
    return gradient === 'exact' ? null : gradient;
  }

  #gradient(context: ForwardContext): SignGradient {
    const { trainingGradient, gradients } = this.#quantizer;
    const gradient = context.mode === 'train' ? trainingGradient : context.gradientMode.sign;
    if (gradient !== 'exact' && !gradients.includes(gradient)) {
      throw new HardbitError(
        'ERR_HARDBIT_UNSUPPORTED',
        `Layer '${this.spec.name}' quantizes by '${this.#quantizer.name}', which has no '${gradient}' gradient; choose one of ${[...gradients, 'exact'].join(', ')}.`,
      );
    }
    return gradient;
  }
}

/** body(x) + shortcut(x) as reals (He et al. 2016); an empty shortcut is the identity. */
class Residual implements Layer {
  readonly #body: readonly Layer[];
  readonly #shortcut: readonly Layer[];

  constructor(
    readonly spec: SpecOf<'residual'>,
    seed: number,
    index: number,
    device: Device,
  ) {
    this.#body = createLayers(spec.body, seed, device, index + 1);
    this.#shortcut = createLayers(spec.shortcut, seed, device, index + 1 + countLayers(spec.body));
  }

  get #layers(): readonly Layer[] {
    return [...this.#body, ...this.#shortcut];
  }

  get parameters(): readonly Parameter[] {
    return this.#layers.flatMap((layer) => layer.parameters);
  }

  get buffers(): readonly NamedTensor[] {
    return this.#layers.flatMap((layer) => layer.buffers);
  }

  forward(tape: Tape, x: Activation, context: ForwardContext): Activation {
    const body = forwardLayers(this.#body, tape, x, context);
    const shortcut = forwardLayers(this.#shortcut, tape, x, context);
    const sum = withReal(tape, body, (a) => withReal(tape, shortcut, (b) => add(tape, a, b)));
    for (const { variable } of [body, shortcut]) if (variable !== x.variable) tape.release(variable);
    return { kind: 'real', variable: sum };
  }

  invalidate(): void {
    for (const layer of this.#layers) layer.invalidate?.();
  }

  dispose(): void {
    for (const layer of this.#layers) layer.dispose();
  }
}

/** Layers with those nested in them, each one counted. */
function countLayers(specs: readonly LayerSpec[]): number {
  return specs.reduce(
    (sum, spec) =>
      sum + 1 + (spec.type === 'residual' ? countLayers(spec.body) + countLayers(spec.shortcut) : 0),
    0,
  );
}

/**
 * The next layer on an activation, or the next two where they are one op with nothing in between: a batch norm and a sign, or a
 * convolution on integers and max-pooling.
 */
function forwardNext(
  [layer, behind]: readonly [Layer, Layer | undefined],
  tape: Tape,
  x: Activation,
  context: ForwardContext,
): readonly [Activation, number] {
  if (layer instanceof Conv2d && behind instanceof MaxPool) {
    const { activation, pooled } = layer.forwardPooled(tape, x, context, windowOf(behind.spec));
    return [activation, pooled ? 2 : 1];
  }
  const sign = layer instanceof BatchNorm && behind instanceof Quantize ? behind.fusedSign(context) : null;
  return sign === null
    ? [layer.forward(tape, x, context), 1]
    : [(layer as BatchNorm).forwardSigns(tape, x, context, sign), 2];
}

/**
 * The layers applied in sequence. Each value is freed as soon as the next layer has read it, unless it is saved for the backward
 * pass; `x` stays. Where no gradient is wanted, nothing is saved.
 */
export function forwardLayers(
  layers: readonly Layer[],
  tape: Tape,
  x: Activation,
  context: ForwardContext,
): Activation {
  const differentiated = context.mode === 'train' || x.variable.requiresGradient;
  let activation = x;
  for (let i = 0; i < layers.length; ) {
    const pair = [layers[i] as Layer, layers[i + 1]] as const;
    const forward = () => forwardNext(pair, tape, activation, context);
    const [next, count] = differentiated ? forward() : scope(forward);
    const { variable } = activation;
    if (variable.value !== x.variable.value && variable.value !== next.variable.value) tape.release(variable);
    activation = next;
    i += count;
  }
  return activation;
}

/**
 * The layers that valid descriptions (see `layerShapes`) stand for, with freshly initialized parameters on `device`.
 *
 * @param first index of the first in the network, counted depth-first: body, then shortcut; with the seed a layer's index
 * fixes its initial weights and its dropout
 */
export function createLayers(
  specs: readonly LayerSpec[],
  seed: number,
  device: Device = 'cpu',
  first = 0,
): readonly Layer[] {
  return specs.map((spec, i) => createLayer(spec, seed, first + countLayers(specs.slice(0, i)), device));
}

function createLayer(spec: LayerSpec, seed: number, index: number, device: Device): Layer {
  switch (spec.type) {
    case 'discretizer':
      return new Discretizer(spec);
    case 'flatten':
      return new Flatten(spec);
    case 'dense':
      return new Dense(spec, seed, index, device);
    case 'conv2d':
      return new Conv2d(spec, seed, index, device);
    case 'max-pool':
      return new MaxPool(spec);
    case 'average-pool':
      return new RealFunction(spec, (tape, x) => averagePool2d(tape, x, windowOf(spec)));
    case 'batch-norm':
      return new BatchNorm(spec, device);
    case 'relu':
      return new RealFunction(spec, relu);
    case 'hardtanh':
      return new RealFunction(spec, hardtanh);
    case 'dropout':
      return new Dropout(spec, index);
    case 'quantize':
      return new Quantize(spec);
    case 'residual':
      return new Residual(spec, seed, index, device);
  }
}
