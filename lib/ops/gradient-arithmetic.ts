import { HardbitError, requireName } from '../errors.js';
import { type Device, type GradientArithmetic, type GradientOptions, native } from '../native.js';

export type { GradientArithmetic } from '../native.js';

/**
 * In what arithmetic the gradients of products of quantized operands are summed: `float` fp32, the exact reference; `bf16` fp32
 * sums of dY rounded to bf16; `int8` exact sums of dY rounded stochastically to 8 bits, one scale an image or an output channel.
 * All other gradients are fp32 in any case.
 */
export const gradientArithmetics = ['float', 'bf16', 'int8'] as const satisfies readonly GradientArithmetic[];

/**
 * The arithmetic of a name, where the device has it.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME with the nearest known one; ERR_HARDBIT_UNSUPPORTED for `bf16` on a device without it
 */
export function requireGradientArithmetic(name: string, device: Device = 'cpu'): GradientArithmetic {
  const arithmetic = requireName('gradient arithmetic', name, gradientArithmetics);
  if (arithmetic === 'bf16' && !native().supportsGradientArithmetic(arithmetic, device)) {
    throw new HardbitError(
      'ERR_HARDBIT_UNSUPPORTED',
      `Gradients in ${arithmetic} need a GPU, or a CPU with AVX512-BF16 or AMX, which this one is not; choose float or int8.`,
    );
  }
  return arithmetic;
}

/** How one layer sums its gradients: the same values give the same rounding. */
export interface GradientDraw {
  readonly arithmetic: GradientArithmetic;
  /** Integer in [0, 2^53). */
  readonly seed: number;
  /** First of the layer's two Philox streams, in [0, 2^32 − 1): for gradients of its inputs, and of its weights. */
  readonly stream: number;
  /** Backward passes made before. */
  readonly step: number;
}

/** Exact gradients, which draw nothing. */
export const floatGradients: GradientDraw = { arithmetic: 'float', seed: 0, stream: 0, step: 0 };

/** The options of the native core for a layer's gradient of its inputs, and of its weights. */
export function gradientOptions(draw: GradientDraw): {
  readonly inputs: GradientOptions;
  readonly weights: GradientOptions;
} {
  return { inputs: draw, weights: { ...draw, stream: draw.stream + 1 } };
}
