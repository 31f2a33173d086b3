import { native } from '../native.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * What a network with a discretizer of `bits` bits (1 … 8) sees of f32 images in [0, 1]: codes 0 … 2^bits − 1, one a
 * pixel, row-major.
 */
export function codesOf(images: Tensor, bits: number): Uint8Array {
  const codes = native().discretize(images.handle, bits);
  try {
    return codes.read() as Uint8Array;
  } finally {
    codes.dispose();
  }
}
