import { scaleIntegers } from '../ops/dense.js';
import { codesToFloat, type DiscretizerGradient } from '../ops/discretize.js';
import { type SignGradient, unpackSigns } from '../ops/sign.js';
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
      return tape.record([x.variable], unpackSigns(x.variable.value), (dy) => [dy]);
    case 'integers':
      return scaleIntegers(tape, x.variable, x.scale);
  }
}

/** How an attacker differentiates the layers that have no useful derivative; chosen at attack time. */
export interface GradientMode {
  readonly discretizer: DiscretizerGradient;
  readonly sign: SignGradient;
}

/** Whether parameters are differentiated, and by which surrogates. */
export type ForwardContext =
  /** Batch statistics; parameters take part; each quantizer's own training gradient. */
  | { readonly mode: 'train' }
  /** Running statistics; parameters are constants; the attacker's gradient mode. */
  | { readonly mode: 'evaluate'; readonly gradientMode: GradientMode };

/** A trainable f32 tensor. `variable` is the leaf of the training tape. */
export interface Parameter {
  /** Path in the model file, e.g. `dense1.weight`. */
  readonly name: string;
  readonly variable: Variable;
  /** Values are clipped to [−clip, clip] after each step; 0: never. */
  readonly clip: number;
  /** The network computes with the sign alone. */
  readonly binary: boolean;
  /** Weight decay applies (weights yes; biases, batch norm and latent binary weights no). */
  readonly decay: boolean;
}

/** A tensor that is saved but not trained by gradient. */
export interface NamedTensor {
  readonly name: string;
  readonly value: Tensor;
}

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
      readonly type: 'batch-norm';
      readonly name: string;
      readonly features: number;
      readonly epsilon: number;
      readonly momentum: number;
    }
  | { readonly type: 'relu'; readonly name: string }
  | { readonly type: 'sign'; readonly name: string; readonly quantizer: string };

export interface Layer {
  readonly spec: LayerSpec;
  readonly parameters: readonly Parameter[];
  readonly buffers: readonly NamedTensor[];
  forward(tape: Tape, x: Activation, context: ForwardContext): Activation;
  /** Parameters were overwritten in place: forget what was derived from them. */
  invalidate?(): void;
  dispose(): void;
}
