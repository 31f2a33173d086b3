/**
 * Runs a .hbit file as docs/hbit.md says, in plain loops: nothing of the library is used, so that compiler and engine have one
 * judge. Slow, for a few images.
 */

interface Layer {
  readonly name: string;
  readonly binary: boolean;
  readonly signs: boolean;
  readonly input: readonly number[];
  readonly m: number;
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  readonly dilation: readonly number[];
  readonly padding: readonly number[];
  readonly padsWithOne: boolean;
  readonly groups: number;
  readonly pool: { kernel: readonly number[]; stride: readonly number[]; padding: readonly number[] };
  readonly norm: boolean;
  readonly relu: boolean;
  /** Offsets of weights, minimum, all, scale, bias, mean, factor, beta. */
  readonly offsets: readonly number[];
}

export interface Interpreted {
  readonly logits: Float32Array;
  /** The integers of each binary layer before its pool, [OH, OW, M]. */
  readonly sums: Map<string, Int32Array>;
}

const f = Math.fround;

function extent(size: number, before: number, after: number, kernel: number, stride: number, dilation = 1) {
  return Math.floor((size + before + after - dilation * (kernel - 1) - 1) / stride) + 1;
}

export class HbitFile {
  readonly #view: DataView;
  readonly inputShape: readonly [number, number, number];
  readonly bits: number;
  readonly classes: number;
  readonly model: string;
  readonly recipe: string;
  readonly #pixels: number;
  readonly layers: readonly Layer[];
  readonly #weights = new Map<Layer, Float64Array>();

  constructor(file: Uint8Array) {
    this.#view = new DataView(file.buffer, file.byteOffset, file.byteLength);
    const count = this.#u32(12, 1)[0] as number;
    this.inputShape = this.#u32(64, 3) as unknown as [number, number, number];
    [this.bits, this.classes] = this.#u32(76, 2) as [number, number];
    this.#pixels = this.#u64(88);
    this.model = this.#text(96);
    this.recipe = this.#text(128);
    this.layers = Array.from({ length: count }, (_, i) => this.#layer(256 * (1 + i)));
  }

  #u32(at: number, count: number): number[] {
    return Array.from({ length: count }, (_, i) => this.#view.getUint32(at + 4 * i, true));
  }

  #u64(at: number): number {
    return Number(this.#view.getBigUint64(at, true));
  }

  #text(at: number): string {
    let text = '';
    for (let byte = this.#view.getUint8(at); byte !== 0; byte = this.#view.getUint8(at + text.length)) {
      text += String.fromCharCode(byte);
    }
    return text;
  }

  #layer(at: number): Layer {
    const field = (offset: number, count = 1) => this.#u32(at + offset, count);
    return {
      name: this.#text(at + 176),
      binary: field(0)[0] === 1,
      signs: field(4)[0] === 1,
      input: field(8, 3),
      m: field(20)[0] as number,
      kernel: field(24, 2),
      stride: field(32, 2),
      dilation: field(40, 2),
      padding: field(48, 4),
      padsWithOne: field(64)[0] === 1,
      groups: field(68)[0] as number,
      pool: { kernel: field(72, 2), stride: field(80, 2), padding: field(88, 4) },
      norm: field(104)[0] === 1,
      relu: field(108)[0] === 1,
      offsets: Array.from({ length: 8 }, (_, i) => this.#u64(at + 112 + 8 * i)),
    };
  }

  #float(layer: Layer, array: number, i: number): number {
    return this.#view.getFloat32((layer.offsets[array] as number) + 4 * i, true);
  }

  #bit(offset: number, row: number, columns: number, i: number): number {
    const words = Math.ceil(columns / 64);
    const byte = this.#view.getUint8(offset + 8 * words * row + (i >> 3));
    return (byte >> (i & 7)) & 1;
  }

  code(pixel: number): number {
    return this.#view.getUint8(this.#pixels + pixel);
  }

  /** One image of bytes, [H, W, C]. */
  run(image: Uint8Array): Interpreted {
    const sums = new Map<string, Int32Array>();
    let values = Float64Array.from(image, (pixel) => this.code(pixel));
    let shape: readonly number[] = this.inputShape;
    this.layers.forEach((layer, index) => {
      if (layer.input.join() !== shape.join()) throw new Error(`${layer.name} gets ${shape}`);
      ({ values, shape } = this.#runLayer(layer, index === 0, values, sums));
    });
    if (shape.join() !== `1,1,${this.classes}`) throw new Error(`The logits have shape ${shape}.`);
    return { logits: Float32Array.from(values), sums };
  }

  /** [M, K] as numbers. */
  #weightsOf(layer: Layer, k: number): Float64Array {
    const known = this.#weights.get(layer);
    if (known !== undefined) return known;
    const weights = new Float64Array(layer.m * k);
    for (let j = 0; j < layer.m; j++) {
      for (let i = 0; i < k; i++) {
        weights[j * k + i] = layer.binary
          ? 2 * this.#bit(layer.offsets[0] as number, j, k, i) - 1
          : this.#float(layer, 0, j * k + i);
      }
    }
    this.#weights.set(layer, weights);
    return weights;
  }

  /** The product at all places, [OH, OW, M]. */
  #products(layer: Layer, isFirst: boolean, x: Float64Array) {
    const [height, width, channels] = layer.input as [number, number, number];
    const [kh, kw] = layer.kernel as [number, number];
    const [above, below, left, right] = layer.padding as [number, number, number, number];
    const rows = extent(height, above, below, kh, layer.stride[0] as number, layer.dilation[0]);
    const columns = extent(width, left, right, kw, layer.stride[1] as number, layer.dilation[1]);
    const each = channels / layer.groups;
    const k = kh * kw * each;
    const largest = 2 ** this.bits - 1;
    const weights = this.#weightsOf(layer, k);
    const input = !layer.binary && isFirst ? x.map((code) => f(code / largest)) : x;
    const outside = layer.padsWithOne ? (isFirst ? largest : 1) : 0;
    const products = new Float64Array(rows * columns * layer.m);
    for (let r = 0; r < rows; r++) {
      for (let s = 0; s < columns; s++) {
        for (let j = 0; j < layer.m; j++) {
          const first = Math.floor((j * layer.groups) / layer.m) * each;
          let sum = 0;
          let at = j * k;
          for (let a = 0; a < kh; a++) {
            const row = r * (layer.stride[0] as number) + a * (layer.dilation[0] as number) - above;
            for (let b = 0; b < kw; b++) {
              const column = s * (layer.stride[1] as number) + b * (layer.dilation[1] as number) - left;
              const inside = row >= 0 && row < height && column >= 0 && column < width;
              const from = (row * width + column) * channels + first;
              for (let i = 0; i < each; i++, at++) {
                const value = inside ? (input[from + i] as number) : outside;
                const product = value * (weights[at] as number);
                sum = layer.binary ? sum + product : f(sum + f(product));
              }
            }
          }
          const bias = layer.offsets[4] === 0 || layer.binary ? 0 : this.#float(layer, 4, j);
          products[(r * columns + s) * layer.m + j] = layer.binary ? sum : f(sum + bias);
        }
      }
    }
    return { products, rows, columns };
  }

  #runLayer(layer: Layer, isFirst: boolean, x: Float64Array, sums: Map<string, Int32Array>) {
    const { m } = layer;
    const { products, rows, columns } = this.#products(layer, isFirst, x);
    if (layer.binary) sums.set(layer.name, Int32Array.from(products));
    const thresholded = layer.binary && layer.signs;
    const [kh, kw] = layer.pool.kernel as [number, number];
    const [above, below, left, right] = layer.pool.padding as [number, number, number, number];
    const [down, across] = layer.pool.stride as [number, number];
    const outRows = extent(rows, above, below, kh, down);
    const outColumns = extent(columns, left, right, kw, across);
    const result = new Float64Array(outRows * outColumns * m);
    for (let r = 0; r < outRows; r++) {
      for (let s = 0; s < outColumns; s++) {
        for (let j = 0; j < m; j++) {
          const window: number[] = [];
          for (let row = r * down - above; row < r * down - above + kh; row++) {
            for (let column = s * across - left; column < s * across - left + kw; column++) {
              if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
              window.push(products[(row * columns + column) * m + j] as number);
            }
          }
          result[(r * outColumns + s) * m + j] = thresholded
            ? this.#threshold(layer, j, window)
            : this.#finish(layer, j, Math.max(...window));
        }
      }
    }
    return { values: result, shape: [outRows, outColumns, m] };
  }

  /** ±1 of a window of integers. */
  #threshold(layer: Layer, j: number, window: readonly number[]): number {
    const minimum = this.#view.getInt32((layer.offsets[1] as number) + 4 * j, true);
    const bits = window.map((n) => n >= minimum);
    const all = layer.offsets[2] !== 0 && this.#bit(layer.offsets[2] as number, 0, layer.m, j) === 1;
    return (all ? bits.every((bit) => bit) : bits.some((bit) => bit)) ? 1 : -1;
  }

  /** What follows the pool, on f32. */
  #finish(layer: Layer, j: number, value: number): number {
    let y = layer.binary ? f(f(value) * this.#float(layer, 3, j)) : value;
    if (layer.norm) {
      y = f(f(f(y - this.#float(layer, 5, j)) * this.#float(layer, 6, j)) + this.#float(layer, 7, j));
    }
    if (layer.signs) return y >= 0 ? 1 : -1;
    return layer.relu && y < 0 ? 0 : y;
  }
}
