import { HardbitError } from '../errors.js';
import { countInvalidPixels } from '../ops/attack-step.js';
import { argmax, softmaxCrossEntropy } from '../ops/cross-entropy.js';
import { discretize } from '../ops/discretize.js';
import { Tape, type Variable, variable } from '../ops/tape.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  type Activation,
  type ForwardContext,
  type GradientMode,
  type Layer,
  type LayerSpec,
  type NamedTensor,
  type Parameter,
  toReal,
} from './layer.js';
import { createLayer } from './layers.js';

export type { GradientMode, LayerSpec, Parameter } from './layer.js';

/** Straight through the discretizer, and through sign where |x| ≤ 1: the modes the networks are trained with. */
export const defaultGradientMode: GradientMode = { discretizer: 'identity', sign: 'clipped' };

/** The architecture of a network, as it stands in a model file. */
export interface ModelSpec {
  readonly model: string;
  readonly recipe: string;
  /** [H, W, C] */
  readonly inputShape: readonly [number, number, number];
  readonly classes: number;
  readonly inputBits: number;
  readonly layers: readonly LayerSpec[];
}

/** Logits, and gradients of functions of them with respect to pixels: all an attack sees. */
export interface ModelAttackable {
  readonly inputShape: readonly number[];
  readonly classes: number;
  logits(images: Tensor): Tensor;
  vjp(
    images: Tensor,
    cotangent: (logits: Tensor) => Tensor,
  ): { readonly logits: Tensor; readonly gradient: Tensor };
}

/**
 * A network: layers in sequence, the first of which discretizes pixels in [0, 1]. It owns its parameters until
 * `dispose()`. Images are f32 [N, H, W, C].
 */
export class Model {
  readonly layers: readonly Layer[];

  /** @param seed fixes the initial weights; integer in [0, 2^53) */
  constructor(
    readonly spec: ModelSpec,
    readonly seed: number,
  ) {
    this.layers = spec.layers.map((layer, index) => createLayer(layer, seed, index));
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

  /** Whether an attacker must choose how to differentiate sign. */
  get hasSign(): boolean {
    return this.spec.layers.some((layer) => layer.type === 'sign');
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
   * @throws ERR_HARDBIT_SHAPE for images of another shape.
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
    let activation: Activation = { kind: 'real', variable: images };
    for (const layer of this.layers) activation = layer.forward(tape, activation, context);
    return toReal(tape, activation);
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
   * @returns logits f32 [B, classes], losses f32 [B], and the gradients in the order of `parameters`
   */
  trainingGradients(
    images: Tensor,
    labels: Tensor,
  ): { readonly logits: Tensor; readonly losses: Tensor; readonly gradients: Tensor[] } {
    return scope(() => {
      const tape = new Tape();
      const logits = this.forward(tape, variable(images, false), { mode: 'train' });
      const { losses, gradient } = softmaxCrossEntropy(logits.value, labels, 1 / images.rows);
      const gradients = tape.backward(
        logits,
        gradient,
        this.parameters.map((parameter) => parameter.variable),
      );
      return { logits: logits.value, losses, gradients };
    });
  }

  /** The network in evaluation mode as an attack sees it, differentiated by `mode`. */
  attackable(mode: Partial<GradientMode> = {}): ModelAttackable {
    const context: ForwardContext = {
      mode: 'evaluate',
      gradientMode: { ...defaultGradientMode, ...mode },
    };
    return {
      inputShape: this.inputShape,
      classes: this.classes,
      logits: (images) => this.logits(images),
      vjp: (images, cotangent) =>
        scope(() => {
          const tape = new Tape();
          const x = variable(images);
          const logits = this.forward(tape, x, context);
          const [gradient] = tape.backward(logits, cotangent(logits.value), [x]);
          return { logits: logits.value, gradient: gradient as Tensor };
        }),
    };
  }

  /** Integer pre-activations of the binary layers in evaluation mode, by layer name, as i32; for checks. */
  integerPreactivations(images: Tensor): Map<string, Int32Array> {
    return scope(() => {
      const found = new Map<string, Int32Array>();
      const tape = new Tape();
      let activation: Activation = { kind: 'real', variable: variable(images, false) };
      for (const layer of this.layers) {
        activation = layer.forward(tape, activation, {
          mode: 'evaluate',
          gradientMode: defaultGradientMode,
        });
        if (activation.kind === 'integers') {
          found.set(layer.spec.name, Int32Array.from(activation.variable.value.read() as Int32Array));
        }
      }
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

  /** Copies of all parameters (latent ones where binary) and buffers by path name, in file order. */
  state(): Map<string, { readonly shape: readonly number[]; readonly values: Float32Array }> {
    const result = new Map<string, { shape: readonly number[]; values: Float32Array }>();
    for (const [name, tensor] of this.#named()) {
      result.set(name, { shape: tensor.shape, values: tensor.toFloat32Array() });
    }
    return result;
  }

  /** To be called after parameters were changed in place. */
  invalidate(): void {
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
