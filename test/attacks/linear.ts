import type { Attackable } from '../../lib/attacks/attackable.js';
import { native } from '../../lib/native.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';

/** A seeded source of numbers in [0, 1) (mulberry32), independent of the library's. */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** logits = W·x + b over flattened pixels: a network whose gradient fits on one line. */
export interface Linear {
  readonly inputShape: readonly [number, number, number];
  readonly classes: number;
  /** [classes][pixels], fp32 values. */
  readonly weights: readonly Float32Array[];
  readonly bias: Float32Array;
}

export function randomLinear(
  seed: number,
  inputShape: readonly [number, number, number] = [3, 2, 2],
  classes = 4,
): Linear {
  const random = randomSource(seed);
  const pixels = inputShape[0] * inputShape[1] * inputShape[2];
  return {
    inputShape,
    classes,
    weights: Array.from({ length: classes }, () =>
      Float32Array.from({ length: pixels }, () => 4 * random() - 2),
    ),
    bias: Float32Array.from({ length: classes }, () => random() - 0.5),
  };
}

/** The network on the library's ops. */
export function linearAttackable(model: Linear): Attackable {
  const { classes, inputShape } = model;
  const pixels = inputShape[0] * inputShape[1] * inputShape[2];
  const weights = () =>
    Tensor.from('f32', [classes, pixels], Float32Array.from(model.weights.flatMap((row) => [...row])));
  const logits = (images: Tensor) =>
    scope(() => {
      const bias = Tensor.from('f32', [classes], model.bias);
      const x = images.reshape([images.rows, pixels]);
      return new Tensor(native().denseForward(x.handle, weights().handle, bias.handle));
    });
  return {
    inputShape,
    classes,
    logits,
    vjp: (images, cotangent) =>
      scope(() => {
        const output = logits(images);
        const dLogits = cotangent(output);
        const flat = new Tensor(native().denseBackwardInput(dLogits.handle, weights().handle));
        return { logits: output, gradient: flat.reshape(images.shape) };
      }),
  };
}

/** N images of awkward pixels: 0, 1, levels k/255 and anything between, as fp32 values. */
export function randomImages(seed: number, count: number, inputShape: readonly number[]): Float32Array {
  const random = randomSource(seed);
  const pixels = inputShape.reduce((product, size) => product * size, 1);
  return Float32Array.from({ length: count * pixels }, () => {
    const kind = random();
    if (kind < 0.15) return 0;
    if (kind < 0.3) return 1;
    if (kind < 0.7) return Math.floor(256 * random()) / 255;
    return random();
  });
}

export function randomLabels(seed: number, count: number, classes: number): Int32Array {
  const random = randomSource(seed);
  return Int32Array.from({ length: count }, () => Math.floor(classes * random()));
}

export function imageTensor(data: Float32Array, inputShape: readonly number[]): Tensor {
  const pixels = inputShape.reduce((product, size) => product * size, 1);
  return Tensor.from('f32', [data.length / pixels, ...inputShape], data);
}

export function labelTensor(labels: Int32Array): Tensor {
  return Tensor.from('i32', [labels.length], labels);
}

// -- The same network and attacks again, in plain float64 and Math.fround, from the formulas alone.

export function referenceLogits(model: Linear, x: Float32Array): number[] {
  return model.weights.map((row, c) =>
    row.reduce((sum, w, j) => sum + w * (x[j] as number), model.bias[c] as number),
  );
}

export function referenceLoss(model: Linear, x: Float32Array, label: number): number {
  const logits = referenceLogits(model, x);
  const max = Math.max(...logits);
  return Math.log(logits.reduce((sum, z) => sum + Math.exp(z - max), 0)) + max - (logits[label] as number);
}

export function referenceClass(model: Linear, x: Float32Array): number {
  const logits = referenceLogits(model, x);
  return logits.indexOf(Math.max(...logits));
}

/** dLoss/dPixels of one example. */
export function referenceGradient(model: Linear, x: Float32Array, label: number): number[] {
  const logits = referenceLogits(model, x);
  const max = Math.max(...logits);
  const exponentials = logits.map((z) => Math.exp(z - max));
  const total = exponentials.reduce((sum, e) => sum + e, 0);
  const dLogits = exponentials.map((e, c) => e / total - Number(c === label));
  return Array.from(x, (_, j) =>
    dLogits.reduce((sum, d, c) => sum + d * (model.weights[c]?.[j] as number), 0),
  );
}

/** The ball of one pixel in fp32. */
export function referenceBall(x: number, epsilon: number): readonly [number, number] {
  const e = Math.fround(epsilon);
  return [Math.max(0, Math.fround(x - e)), Math.min(1, Math.fround(x + e))];
}

export interface ReferenceWalk {
  readonly epsilon: number;
  readonly steps: number;
  /** Negative: descends. */
  readonly stepSize: number;
}

/** x ← clamp(fl(x + fl(stepSize·sign(∇J))), lo, hi) for one example. */
export function referenceWalk(
  model: Linear,
  origin: Float32Array,
  start: Float32Array,
  label: number,
  { epsilon, steps, stepSize }: ReferenceWalk,
): Float32Array {
  let x = start;
  for (let step = 0; step < steps; step++) {
    const gradient = referenceGradient(model, x, label);
    x = x.map((value, j) => {
      const [low, high] = referenceBall(origin[j] as number, epsilon);
      const moved = Math.fround(value + Math.fround(stepSize) * Math.sign(gradient[j] as number));
      return Math.min(high, Math.max(low, moved));
    });
  }
  return x;
}

/** The rows of a flat array. */
export function rowsOf(data: Float32Array, rows: number): Float32Array[] {
  const width = data.length / rows;
  return Array.from({ length: rows }, (_, i) => data.slice(i * width, (i + 1) * width));
}

/** The network computed row by row in double, so that what becomes of a row cannot depend on its batch. */
export function rowwiseAttackable(model: Linear): Attackable {
  const logits = (images: Tensor) => {
    const rows = rowsOf(images.toFloat32Array(), images.rows).map((row) => referenceLogits(model, row));
    return Tensor.from('f32', [images.rows, model.classes], Float32Array.from(rows.flat()));
  };
  return {
    inputShape: model.inputShape,
    classes: model.classes,
    logits,
    vjp: (images, cotangent) =>
      scope(() => {
        const output = logits(images);
        const dLogits = rowsOf(cotangent(output).toFloat32Array(), images.rows);
        const pixels = model.weights[0]?.length as number;
        const gradient = dLogits.flatMap((row) =>
          Array.from({ length: pixels }, (_, j) =>
            row.reduce((sum, d, c) => sum + d * (model.weights[c]?.[j] as number), 0),
          ),
        );
        return { logits: output, gradient: Tensor.from('f32', images.shape, Float32Array.from(gradient)) };
      }),
  };
}

export function referenceDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Math.hypot(...Array.from(a, (value, j) => value - (b[j] as number)));
}

/** x ← clip(P(x + stepSize·∇J/‖∇J‖₂)) for one example, in double, pixels rounded to fp32 after each step. */
export function referenceWalkL2(
  model: Linear,
  origin: Float32Array,
  start: Float32Array,
  label: number,
  { epsilon, steps, stepSize }: ReferenceWalk,
): Float32Array {
  let x = start;
  for (let step = 0; step < steps; step++) {
    const gradient = referenceGradient(model, x, label);
    const length = Math.hypot(...gradient);
    const moved = Array.from(
      x,
      (value, j) => value - (origin[j] as number) + (stepSize * (gradient[j] as number)) / length,
    );
    const shrink = Math.min(1, epsilon / Math.hypot(...moved));
    x = Float32Array.from(moved, (d, j) => Math.min(1, Math.max(0, (origin[j] as number) + d * shrink)));
  }
  return x;
}
