import { HardbitError } from '../errors.js';
import { countInvalidPixels } from '../ops/attack-step.js';
import { argmax, softmaxCrossEntropy } from '../ops/cross-entropy.js';
import { discretize } from '../ops/discretize.js';
import { type GradientArithmetic, requireGradientArithmetic } from '../ops/gradient-arithmetic.js';
import type { SignGradient } from '../ops/sign.js';
import { Tape, type Variable, variable } from '../ops/tape.js';
import { scope } from '../tensor/scope.js';
import type { Device, Tensor } from '../tensor/tensor.js';
import { deploymentOf } from './deployment.js';
import {
  type Activation,
  type ForwardContext,
  type GradientMode,
  type Layer,
  type LayerSpec,
  type ModelSpec,
  type NamedTensor,
  type Parameter,
  toReal,
} from './layer.js';
import { createLayers, forwardLayers } from './layers.js';
import { requireActivationQuantizer } from './quantizers.js';
import { layerShapes } from './shapes.js';

export { argmax } from '../ops/cross-entropy.js';
export {
  type GradientArithmetic,
  gradientArithmetics,
  requireGradientArithmetic,
} from '../ops/gradient-arithmetic.js';
export type { GradientMode, LayerSpec, ModelSpec, Pair, Parameter, Sides } from './layer.js';
export { type LayerShape, layerShapes } from './shapes.js';

/**
 * Straight through the discretizer, and through quantized activations where they are not clipped: the modes the networks are
 * trained with. Exact sums.
 */
export const defaultGradientMode: GradientMode = {
  discretizer: 'identity',
  sign: 'clipped',
  arithmetic: 'float',
};

/** Logits, and gradients of functions of them with respect to pixels: all an attack sees. */
export interface ModelAttackable {
  readonly inputShape: readonly number[];
  readonly classes: number;
  /** As Attackable has them. */
  readonly recordable?: boolean;
  readonly count?: (gradients: number) => number;
  readonly version?: number;
  logits(images: Tensor): Tensor;
  vjp(
    images: Tensor,
    cotangent: (logits: Tensor) => Tensor,
  ): { readonly logits: Tensor; readonly gradient: Tensor };
}

/** The names of all activation quantizers, those of nested layers included. */
function quantizersOf(specs: readonly LayerSpec[]): readonly string[] {
  return specs.flatMap((spec) => {
    if (spec.type === 'residual') return quantizersOf([...spec.body, ...spec.shortcut]);
    return spec.type === 'quantize' ? [spec.quantizer] : [];
  });
}

/**
 * A network: layers in sequence, the first of which discretizes pixels in [0, 1]. It owns its parameters until
 * `dispose()`. Images are f32 [N, H, W, C], on the device of the network.
 */
export class Model {
  readonly layers: readonly Layer[];
  /** It can be deployed and has products of f32: evaluation computes them as the deployed network does. */
  readonly #ordered: boolean;
  /** Counts changes of parameters. */
  #version = 0;

  /**
   * @param seed fixes the initial weights, whatever the device; integer in [0, 2^53)
   * @param device where its parameters are, and where it computes
   * @throws as `layerShapes` where the layers do not fit together; ERR_HARDBIT_NO_CUDA for 'cuda' where there is none
   */
  constructor(
    readonly spec: ModelSpec,
    readonly seed: number,
    readonly device: Device = 'cpu',
  ) {
    layerShapes(spec);
    this.layers = createLayers(spec.layers, seed, device);
    this.#ordered = deploymentOf(spec).layers?.some(({ binary }) => !binary) ?? false;
  }

  get inputShape(): readonly [number, number, number] {
    return this.spec.inputShape;
  }

  get classes(): number {
    return this.spec.classes;
  }

  get inputBits(): number {
    return this.spec.inputBits;
  }

  get recipe(): string {
    return this.spec.recipe;
  }

  /** Whether it has quantized activations, so that an attacker must choose how to differentiate them. */
  get hasSign(): boolean {
    return quantizersOf(this.spec.layers).length > 0;
  }

  /**
   * The surrogates an attacker can differentiate all its quantized activations by, the default first; none without such
   * activations. `exact`, zero almost everywhere, is possible everywhere and useful nowhere.
   */
  get activationGradients(): readonly SignGradient[] {
    const [first, ...rest] = quantizersOf(this.spec.layers);
    if (first === undefined) return [];
    return requireActivationQuantizer(first).gradients.filter((gradient) =>
      rest.every((name) => requireActivationQuantizer(name).gradients.includes(gradient)),
    );
  }

  get parameters(): readonly Parameter[] {
    return this.layers.flatMap((layer) => layer.parameters);
  }

  get buffers(): readonly NamedTensor[] {
    return this.layers.flatMap((layer) => layer.buffers);
  }

  /** Trainable numbers. */
  parameterCount(): number {
    return this.parameters.reduce(
      (sum, parameter) => sum + parameter.variable.value.shape.reduce((a, b) => a * b, 1),
      0,
    );
  }

  /**
   * Records a forward pass; `images` f32 [N, H, W, C] → logits f32 [N, classes].
   *
   * @throws ERR_HARDBIT_SHAPE for images of another shape; ERR_HARDBIT_ARGUMENT for images on another device.
   */
  forward(tape: Tape, images: Variable, context: ForwardContext): Variable {
    const expected = this.inputShape;
    const [, ...shape] = images.value.shape;
    if (shape.length !== 3 || shape.some((size, i) => size !== expected[i])) {
      throw new HardbitError(
        'ERR_HARDBIT_SHAPE',
        `Images have shape [${images.value.shape.join(', ')}]; model '${this.spec.model}' expects [N, ${expected.join(', ')}].`,
      );
    }
    if (images.value.device !== this.device) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `The images are on ${images.value.device} and model '${this.spec.model}' on ${this.device}; copy them there with images.to('${this.device}').`,
      );
    }
    const input: Activation = { kind: 'real', variable: images };
    return toReal(tape, forwardLayers(this.layers, tape, input, context));
  }

  /**
   * Logits f32 [N, classes] in evaluation mode; the caller owns them.
   *
   * @throws ERR_HARDBIT_PIXELS for pixels that are NaN or outside [0, 1]; ERR_HARDBIT_SHAPE, ERR_HARDBIT_DTYPE
   */
  logits(images: Tensor): Tensor {
    const invalid = countInvalidPixels(images);
    if (invalid > 0) {
      throw new HardbitError(
        'ERR_HARDBIT_PIXELS',
        `${invalid} pixels are NaN or outside [0, 1]; expected f32 in [0, 1].`,
      );
    }
    return scope(
      () =>
        this.forward(new Tape(), variable(images, false), {
          mode: 'evaluate',
          gradientMode: defaultGradientMode,
          ordered: this.#ordered,
        }).value,
    );
  }

  /** Class numbers i32 [N]; the caller owns them. */
  predict(images: Tensor): Tensor {
    return scope(() => argmax(this.logits(images)));
  }

  /** What the network sees of images f32 in [0, 1]: codes 0 … 2^inputBits − 1, one a pixel channel, row-major. */
  codes(images: Tensor): Uint8Array {
    return scope(
      () =>
        discretize(new Tape(), variable(images, false), this.inputBits, 'exact').value.read() as Uint8Array,
    );
  }

  /**
   * Forward and backward pass in training mode on the mean cross-entropy of a batch: images f32 [B, H, W, C], labels
   * i32 [B], B ≥ 2. Updates the running statistics; the caller owns the tensors.
   *
   * @param draw where dropout and stochastic rounding draw from: a seed in [0, 2^53), and the number of training steps made
   * before; and the arithmetic of the gradients, `float` unless given
   * @returns logits f32 [B, classes], losses f32 [B], and the gradients in the order of `parameters`
   */
  trainingGradients(
    images: Tensor,
    labels: Tensor,
    draw: {
      readonly seed: number;
      readonly step: number;
      readonly gradientArithmetic?: GradientArithmetic | undefined;
    },
  ): { readonly logits: Tensor; readonly losses: Tensor; readonly gradients: Tensor[] } {
    return scope(() => {
      const tape = new Tape();
      const logits = this.forward(tape, variable(images, false), { mode: 'train', ...draw });
      const { losses, gradient } = softmaxCrossEntropy(logits.value, labels, 1 / images.rows);
      const gradients = tape.backward(
        logits,
        gradient,
        this.parameters.map((parameter) => parameter.variable),
      );
      return { logits: logits.value, losses, gradients };
    });
  }

  /**
   * The network in evaluation mode as an attack sees it, differentiated by `mode`. Stochastic rounding (`arithmetic: 'int8'`)
   * draws anew at each gradient, by how many this object has taken: equal sequences of calls give equal gradients.
   *
   * @throws ERR_HARDBIT_UNSUPPORTED for a surrogate that not all its quantized activations have, or an arithmetic that its device
   * lacks.
   */
  attackable(mode: Partial<GradientMode> = {}): ModelAttackable {
    const gradientMode: GradientMode = { ...defaultGradientMode, ...mode };
    const { sign } = gradientMode;
    const possible = this.activationGradients;
    if (this.hasSign && sign !== 'exact' && !possible.includes(sign)) {
      throw new HardbitError(
        'ERR_HARDBIT_UNSUPPORTED',
        `Not all activation quantizers of model '${this.spec.model}' have a '${sign}' gradient; choose one of ${[...possible, 'exact'].join(', ')}.`,
      );
    }
    requireGradientArithmetic(gradientMode.arithmetic, this.device);
    let taken = 0;
    const version = (): number => this.#version;
    return {
      inputShape: this.inputShape,
      classes: this.classes,
      recordable: true,
      get version() {
        return version();
      },
      count: (gradients) => {
        taken += gradients;
        return taken;
      },
      logits: (images) => this.logits(images),
      vjp: (images, cotangent) =>
        scope(() => {
          const tape = new Tape();
          const x = variable(images);
          const logits = this.forward(tape, x, {
            mode: 'evaluate',
            gradientMode,
            ordered: this.#ordered,
            step: taken++,
          });
          const [gradient] = tape.backward(logits, cotangent(logits.value), [x]);
          return { logits: logits.value, gradient: gradient as Tensor };
        }),
    };
  }

  /**
   * The exact sums of all layers that compute on integers, nested ones included, in evaluation mode, by layer name; for
   * checks. Row-major, before any scale.
   */
  integerPreactivations(images: Tensor): Map<string, Int32Array> {
    return scope(() => {
      const found = new Map<string, Int32Array>();
      this.forward(new Tape(), variable(images, false), {
        mode: 'evaluate',
        gradientMode: defaultGradientMode,
        ordered: this.#ordered,
        onIntegers: (layer, sums) => found.set(layer, Int32Array.from(sums.read() as Int32Array)),
      });
      return found;
    });
  }

  /**
   * Overwrites parameters and buffers by path name; every name must be given, in the right length.
   *
   * @throws ERR_HARDBIT_FORMAT for a missing, unknown or wrongly sized tensor.
   */
  loadState(state: ReadonlyMap<string, Float32Array>): void {
    const targets = this.#named();
    for (const name of state.keys()) {
      if (!targets.has(name)) {
        throw new HardbitError(
          'ERR_HARDBIT_FORMAT',
          `The state holds a tensor '${name}' that model '${this.spec.model}' does not have.`,
        );
      }
    }
    for (const [name, target] of targets) {
      const values = state.get(name);
      const count = target.shape.reduce((a, b) => a * b, 1);
      if (values === undefined || values.length !== count) {
        throw new HardbitError(
          'ERR_HARDBIT_FORMAT',
          `The state holds ${values === undefined ? 'no' : `${values.length} numbers for`} tensor '${name}'; model '${this.spec.model}' expects ${count} numbers.`,
        );
      }
    }
    for (const [name, target] of targets) target.write(state.get(name) as Float32Array);
    this.invalidate();
  }

  /** Copies of all parameters (latent ones where quantized) and buffers by path name, in file order. */
  state(): Map<string, { readonly shape: readonly number[]; readonly values: Float32Array }> {
    const result = new Map<string, { shape: readonly number[]; values: Float32Array }>();
    for (const [name, tensor] of this.#named()) {
      result.set(name, { shape: tensor.shape, values: tensor.toFloat32Array() });
    }
    return result;
  }

  /**
   * A copy of this network on `device`, with the same parameters and buffers; the caller owns both.
   *
   * @throws ERR_HARDBIT_NO_CUDA for 'cuda' where there is none; ERR_HARDBIT_MEMORY
   */
  to(device: Device): Model {
    const copy = new Model(this.spec, this.seed, device);
    try {
      const targets = copy.#named();
      for (const [name, tensor] of this.#named()) {
        scope(() => (targets.get(name) as Tensor).assign(tensor.to(device)));
      }
      return copy;
    } catch (error) {
      copy.dispose();
      throw error;
    }
  }

  /** To be called after parameters were changed in place. */
  invalidate(): void {
    this.#version += 1;
    for (const layer of this.layers) layer.invalidate?.();
  }

  dispose(): void {
    for (const layer of this.layers) layer.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #named(): Map<string, Tensor> {
    const entries: [string, Tensor][] = [];
    for (const layer of this.layers) {
      for (const parameter of layer.parameters) entries.push([parameter.name, parameter.variable.value]);
      for (const buffer of layer.buffers) entries.push([buffer.name, buffer.value]);
    }
    return new Map(entries);
  }
}
