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

export interface Interval {
  /** correct / n. */
  readonly accuracy: number;
  /** Ends of the 95 % confidence interval, in [0, 1]. */
  readonly low: number;
  readonly high: number;
  readonly n: number;
}

/**
 * A single accuracy with Wilson's 95 % confidence interval (Wilson 1927), which keeps its coverage near 0 and 1, where
 * attacked accuracies are: with p = correct/n and z = 1.96 its ends are
 * (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n). It speaks of the images drawn, for this one network: not of what
 * another training would have given.
 *
 * @param correct number of images classified as labelled, in [0, n]
 * @throws ERR_HARDBIT_ARGUMENT where the two are not such whole numbers, n ≥ 1
 */
export function wilsonInterval(correct: number, n: number): Interval {
  if (!(Number.isSafeInteger(n) && n >= 1 && Number.isSafeInteger(correct) && correct >= 0 && correct <= n)) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `An interval for ${correct} correct of ${n} was asked for; expected whole numbers, 0 ≤ correct ≤ n and n ≥ 1.`,
    );
  }
  const accuracy = correct / n;
  const z2 = Z * Z;
  const centre = (accuracy + z2 / (2 * n)) / (1 + z2 / n);
  const half = (Z * Math.sqrt((accuracy * (1 - accuracy)) / n + z2 / (4 * n * n))) / (1 + z2 / n);
  return {
    accuracy,
    // With no error, or no success, the formula's end is the accuracy itself.
    low: correct === 0 ? 0 : centre - half,
    high: correct === n ? 1 : centre + half,
    n,
  };
}

export interface MeanAndDeviation {
  readonly mean: number;
  /** Sample standard deviation, s² = Σ(xᵢ − x̄)²/(n − 1); null for a single value, which has none. */
  readonly deviation: number | null;
  readonly n: number;
}

/**
 * Mean and spread of a figure over repeated trainings, one value a seed.
 *
 * @throws ERR_HARDBIT_ARGUMENT without values, or where one is not a finite number
 */
export function meanAndDeviation(values: readonly number[]): MeanAndDeviation {
  const n = values.length;
  if (n === 0 || !values.every(Number.isFinite)) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The mean of [${values.join(', ')}] was asked for; expected at least one number, all of them finite.`,
    );
  }
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n === 1) return { mean, deviation: null, n };
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (n - 1)), n };
}
