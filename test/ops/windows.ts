/** Convolution and pooling as loops in float64, written from their definitions. */

export interface ConvolutionCase {
  readonly n: number;
  /** Rows, columns. */
  readonly size: readonly [number, number];
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  /** Above, below, left, right. */
  readonly padding: readonly [number, number, number, number];
  readonly groups: number;
}

const plain = { stride: [1, 1], dilation: [1, 1], padding: [0, 0, 0, 0], groups: 1 } as const;

/** Odd sizes, strides that leave a rest, one-sided padding, dilation, groups, and more channels than a machine word has bits. */
export const convolutionCases: readonly ConvolutionCase[] = [
  { ...plain, n: 1, size: [1, 1], inputs: 1, outputs: 1, kernel: [1, 1] },
  { ...plain, n: 2, size: [5, 4], inputs: 3, outputs: 4, kernel: [3, 3], padding: [1, 1, 1, 1] },
  {
    ...plain,
    n: 2,
    size: [7, 6],
    inputs: 2,
    outputs: 3,
    kernel: [3, 2],
    stride: [2, 3],
    padding: [0, 1, 2, 0],
  },
  { ...plain, n: 1, size: [7, 8], inputs: 4, outputs: 6, kernel: [2, 3], dilation: [3, 2], groups: 2 },
  { ...plain, n: 2, size: [4, 4], inputs: 6, outputs: 6, kernel: [3, 3], padding: [1, 1, 1, 1], groups: 3 },
  { ...plain, n: 1, size: [3, 3], inputs: 67, outputs: 5, kernel: [2, 2], padding: [1, 0, 0, 1] },
  {
    ...plain,
    n: 1,
    size: [3, 4],
    inputs: 130,
    outputs: 4,
    kernel: [3, 3],
    stride: [2, 2],
    padding: [1, 1, 1, 1],
    groups: 2,
  },
];

export function title(c: ConvolutionCase): string {
  const extra = `stride ${c.stride}, dilation ${c.dilation}, padding ${c.padding}, ${c.groups} groups`;
  return `${c.size.join('×')}×${c.inputs} → ${c.outputs}, kernel ${c.kernel.join('×')}, ${extra}`;
}

/** Rows and columns of the output. */
export function outputSize(
  c: Pick<ConvolutionCase, 'size' | 'kernel' | 'stride' | 'dilation' | 'padding'>,
): readonly [number, number] {
  const at = (i: 0 | 1): number =>
    Math.floor(
      (c.size[i] + c.padding[2 * i]! + c.padding[2 * i + 1]! - c.dilation[i] * (c.kernel[i] - 1) - 1) /
        c.stride[i],
    ) + 1;
  return [at(0), at(1)];
}

/** Cross-correlation: x [N, H, W, C], w [M, KH, KW, C/groups] → [N, OH, OW, M]; a padded pixel stands for `outside`. */
export function convolve(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  c: ConvolutionCase,
  outside = 0,
): Float64Array {
  const [rows, columns] = outputSize(c);
  const [height, width] = c.size;
  const channels = c.inputs / c.groups;
  const y = new Float64Array(c.n * rows * columns * c.outputs);
  let at = 0;
  for (let n = 0; n < c.n; n++)
    for (let r = 0; r < rows; r++)
      for (let s = 0; s < columns; s++)
        for (let m = 0; m < c.outputs; m++) {
          const first = Math.floor(m / (c.outputs / c.groups)) * channels;
          let sum = 0;
          for (let i = 0; i < c.kernel[0]; i++)
            for (let j = 0; j < c.kernel[1]; j++) {
              const row = r * c.stride[0] + i * c.dilation[0] - c.padding[0];
              const column = s * c.stride[1] + j * c.dilation[1] - c.padding[2];
              const inside = row >= 0 && row < height && column >= 0 && column < width;
              for (let k = 0; k < channels; k++) {
                const value = inside
                  ? x[((n * height + row) * width + column) * c.inputs + first + k]!
                  : outside;
                sum += value * w[((m * c.kernel[0] + i) * c.kernel[1] + j) * channels + k]!;
              }
            }
          y[at++] = sum;
        }
  return y;
}

export interface PoolCase {
  readonly n: number;
  readonly size: readonly [number, number];
  readonly channels: number;
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number, number, number];
}

export const poolCases: readonly PoolCase[] = [
  { n: 1, size: [2, 2], channels: 1, kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  { n: 2, size: [5, 7], channels: 3, kernel: [2, 3], stride: [2, 1], padding: [0, 0, 0, 0] },
  { n: 1, size: [6, 5], channels: 65, kernel: [3, 3], stride: [2, 2], padding: [1, 0, 2, 1] },
  { n: 2, size: [4, 4], channels: 2, kernel: [4, 4], stride: [1, 1], padding: [0, 0, 0, 0] },
];

/** `reduce` over the places of each window inside the image: [N, H, W, C] → [N, OH, OW, C]. */
export function pool(
  x: ArrayLike<number>,
  c: PoolCase,
  reduce: (window: readonly number[]) => number,
): Float64Array {
  const [rows, columns] = outputSize({ ...c, dilation: [1, 1] });
  const [height, width] = c.size;
  const y = new Float64Array(c.n * rows * columns * c.channels);
  let at = 0;
  for (let n = 0; n < c.n; n++)
    for (let r = 0; r < rows; r++)
      for (let s = 0; s < columns; s++)
        for (let k = 0; k < c.channels; k++) {
          const window: number[] = [];
          for (let i = 0; i < c.kernel[0]; i++)
            for (let j = 0; j < c.kernel[1]; j++) {
              const row = r * c.stride[0] + i - c.padding[0];
              const column = s * c.stride[1] + j - c.padding[2];
              if (row >= 0 && row < height && column >= 0 && column < width)
                window.push(x[((n * height + row) * width + column) * c.channels + k]!);
            }
          y[at++] = reduce(window);
        }
  return y;
}
