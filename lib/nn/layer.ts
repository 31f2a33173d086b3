import type { PaddingValue } from '../ops/conv2d.js';
import { codesToFloat, type DiscretizerGradient } from '../ops/discretize.js';
import type { GradientArithmetic, GradientDraw } from '../ops/gradient-arithmetic.js';
import { scaleProduct } from '../ops/quantized-weights.js';
import { type SignGradient, signsToFloat } from '../ops/sign.js';
import type { Tape, Variable } from '../ops/tape.js';
import type { Tensor } from '../tensor/tensor.js';

/** What flows between layers, always with the number it stands for made explicit. */
export type Activation =
  /** f32. */
  | { readonly kind: 'real'; readonly variable: Variable }
  /** u8 codes c of `bits` bits, each standing for c/(2^bits − 1). */
  | { readonly kind: 'codes'; readonly variable: Variable; readonly bits: number }
  /** bits, ±1. */
  | { readonly kind: 'signs'; readonly variable: Variable }
  /** i16 or i32 pre-activations of a binary layer, each standing for n·scale. */
  | { readonly kind: 'integers'; readonly variable: Variable; readonly scale: number };

/** The activation as f32. */
export function toReal(tape: Tape, x: Activation): Variable {
  switch (x.kind) {
    case 'real':
      return x.variable;
    case 'codes':
      return codesToFloat(tape, x.variable, x.bits);
    case 'signs':
      return signsToFloat(tape, x.variable);
    case 'integers':
      return scaleProduct(tape, x.variable, x.scale);
  }
}

/** What `apply` makes of the activation as f32; where that is a copy, it is freed unless an op saved it. */
export function withReal(tape: Tape, x: Activation, apply: (real: Variable) => Variable): Variable {
  const real = toReal(tape, x);
  const y = apply(real);
  if (real !== x.variable) tape.release(real);
  return y;
}

/** How an attacker differentiates the layers that have no useful derivative, and how exactly; chosen at attack time. */
export interface GradientMode {
  readonly discretizer: DiscretizerGradient;
  /** The surrogate of all activation quantizers. */
  readonly sign: SignGradient;
  /** Of the products of quantized operands. */
  readonly arithmetic: GradientArithmetic;
}

/** Whether parameters are differentiated, and by which surrogates. */
export type ForwardContext =
  /**
   * Batch statistics; parameters take part; each quantizer's own training gradient. Dropout and stochastic rounding draw from
   * (seed, step), the number of training steps made before.
   */
  | {
      readonly mode: 'train';
      readonly seed: number;
      readonly step: number;
      /** Of the products of quantized operands; `float` unless given. */
      readonly gradientArithmetic?: GradientArithmetic | undefined;
    }
  /**
   * Running statistics; parameters are constants; the attacker's gradient mode. Stochastic rounding draws from `step`, the
   * number of gradients taken before; 0 unless given.
   */
  | {
      readonly mode: 'evaluate';
      readonly gradientMode: GradientMode;
      /** Products of f32 sum in the order of the deployed network, so that both give the same logits. */
      readonly ordered: boolean;
      readonly step?: number | undefined;
      /** Told the exact sums of each layer that computes on integers, by its name. */
      readonly onIntegers?: (layer: string, sums: Tensor) => void;
    };

/** First Philox stream of stochastic rounding; each layer takes two. */
const ROUNDING_STREAM = 0x4000_0000;

/** How the layer of an index sums its gradients. */
export function gradientDraw(context: ForwardContext, index: number): GradientDraw {
  const stream = ROUNDING_STREAM + 2 * index;
  return context.mode === 'train'
    ? {
        arithmetic: context.gradientArithmetic ?? 'float',
        seed: context.seed,
        stream,
        step: context.step,
      }
    : { arithmetic: context.gradientMode.arithmetic, seed: 0, stream, step: context.step ?? 0 };
}

/** A trainable f32 tensor. `variable` is the leaf of the training tape. */
export interface Parameter {
  /** Path in the model file, e.g. `dense1.weight`. */
  readonly name: string;
  readonly variable: Variable;
  /** Values are clipped to [−clip, clip] after each step; 0: never. */
  readonly clip: number;
  /** Name of the weight quantizer it goes through; null: the network computes with the value itself. */
  readonly quantizer: string | null;
  /** The network computes with the sign alone: a model file keeps ±1. */
  readonly binary: boolean;
  /** Weight decay applies (weights yes; biases, batch norm and latent quantized weights no). */
  readonly decay: boolean;
}

/** A tensor that is saved but not trained by gradient. */
export interface NamedTensor {
  readonly name: string;
  readonly value: Tensor;
}

/** Rows and columns. */
export type Pair = readonly [number, number];
/** Above, below, left, right. */
export type Sides = readonly [number, number, number, number];

/** The description of a layer in a model file. */
export type LayerSpec =
  | { readonly type: 'discretizer'; readonly name: string; readonly bits: number }
  | { readonly type: 'flatten'; readonly name: string }
  | {
      readonly type: 'dense';
      readonly name: string;
      readonly inputs: number;
      readonly outputs: number;
      readonly bias: boolean;
      /** null: f32 weights. */
      readonly weightQuantizer: string | null;
    }
  | {
      readonly type: 'conv2d';
      readonly name: string;
      /** Channels. */
      readonly inputs: number;
      readonly outputs: number;
      readonly kernel: Pair;
      readonly stride: Pair;
      readonly dilation: Pair;
      readonly padding: Sides;
      /** What a padded pixel stands for. */
      readonly paddingValue: PaddingValue;
      readonly groups: number;
      readonly bias: boolean;
      /** null: f32 weights. */
      readonly weightQuantizer: string | null;
    }
  | {
      readonly type: 'max-pool' | 'average-pool';
      readonly name: string;
      readonly kernel: Pair;
      readonly stride: Pair;
      readonly padding: Sides;
    }
  | {
      readonly type: 'batch-norm';
      readonly name: string;
      readonly features: number;
      readonly epsilon: number;
      readonly momentum: number;
    }
  | { readonly type: 'relu'; readonly name: string }
  | { readonly type: 'hardtanh'; readonly name: string }
  | { readonly type: 'dropout'; readonly name: string; readonly rate: number }
  | {
      /** Quantized activations: signs, or codes of a few bits. */
      readonly type: 'quantize';
      readonly name: string;
      readonly quantizer: string;
    }
  | {
      /** body(x) + shortcut(x), as real numbers; an empty shortcut is the identity. */
      readonly type: 'residual';
      readonly name: string;
      readonly body: readonly LayerSpec[];
      readonly shortcut: readonly LayerSpec[];
    };

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

export type SpecOf<T extends LayerSpec['type']> = Extract<LayerSpec, { type: T }>;

export interface Layer {
  readonly spec: LayerSpec;
  readonly parameters: readonly Parameter[];
  readonly buffers: readonly NamedTensor[];
  /** The caller disposes of nothing: what it makes belongs to the enclosing scope. */
  forward(tape: Tape, x: Activation, context: ForwardContext): Activation;
  /** Parameters were overwritten in place: forget what was derived from them. */
  invalidate?(): void;
  dispose(): void;
}
