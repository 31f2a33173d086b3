import { HardbitError } from '../errors.js';

export interface PairedDifference {
  /** mean(a) − mean(b), a difference of accuracies in [−1, 1]. */
  readonly difference: number;
  /** Ends of the 95 % confidence interval. */
  readonly low: number;
  readonly high: number;
  readonly n: number;
}

/** The 97.5 % point of the standard normal distribution. */
const Z = 1.959963984540054;

/**
 * Difference of two networks' accuracies on the same n images, with a 95 % confidence interval. With dᵢ = aᵢ − bᵢ, mean d̄
 * and s² = Σ(dᵢ − d̄)²/(n − 1), the interval is d̄ ± 1.96·s/√n: the normal approximation for paired data. It is meant
 * for hundreds of images; where the two agree on every image it has width zero and claims too much.
 *
 * @param a per example 1 (correct) or 0
 * @param b the same images in the same order
 * @throws ERR_HARDBIT_SHAPE where the lengths differ; ERR_HARDBIT_ARGUMENT for fewer than two examples.
 */
export function pairedDifference(a: Uint8Array, b: Uint8Array): PairedDifference {
  const n = a.length;
  if (b.length !== n) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `The two results are on ${n} and ${b.length} images; expected the same images in the same order.`,
    );
  }
  if (n < 2) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `A paired difference of ${n} image(s) has no confidence interval; expected at least two.`,
    );
  }
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < n; i++) {
    const d = (a[i] as number) - (b[i] as number);
    sum += d;
    squares += d * d;
  }
  const difference = sum / n;
  const variance = (squares - n * difference * difference) / (n - 1);
  const half = Z * Math.sqrt(Math.max(0, variance) / n);
  return { difference, low: difference - half, high: difference + half, n };
}
