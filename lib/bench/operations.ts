import type { BenchLayerSizes } from '../native.js';

/** A layer of square kernels, strides and padding. */
export interface LayerShape {
  readonly height: number;
  readonly width: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: number;
  readonly stride: number;
  /** On each side. */
  readonly padding: number;
}

/** Taps inside the image, summed over the outputs of one dimension. */
function validTaps(size: number, { kernel, stride, padding }: LayerShape): number {
  const outputs = Math.floor((size + 2 * padding - kernel) / stride) + 1;
  let taps = 0;
  for (let i = 0; i < outputs; i++) {
    const begin = i * stride - padding;
    taps += Math.min(begin + kernel, size) - Math.max(begin, 0);
  }
  return taps;
}

/** Multiply-accumulates of one image whose taps lie inside the image: padding is no work worth counting. */
export function validMacs(shape: LayerShape): number {
  return shape.inputs * shape.outputs * validTaps(shape.height, shape) * validTaps(shape.width, shape);
}

export function layerSizes(shape: LayerShape, batch: number): BenchLayerSizes {
  const { height, width, inputs, outputs, kernel, stride, padding } = shape;
  return [batch, height, width, inputs, outputs, kernel, stride, padding];
}
