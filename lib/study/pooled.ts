import { meanAndDeviation } from '../evaluation/statistics.js';
import { type Bits, unpackBits } from './bits.js';

export interface PooledDifference {
  /** Mean accuracy of a minus that of b, over seeds and images. */
  readonly difference: number;
  /** Ends of the 95 % confidence interval over images. */
  readonly low: number;
  readonly high: number;
  /** Sample standard deviation of the difference over seeds; null for one seed. */
  readonly deviation: number | null;
  readonly n: number;
}

/** The 97.5 % point of the standard normal distribution. */
const Z = 1.959963984540054;

/**
 * Difference of two variants' accuracies on the same n images, paired by seed and pooled per image: with S seeds, image i
 * contributes dᵢ = Σₛ(aᵢₛ − bᵢₛ)/S, and the interval is d̄ ± 1.96·s/√n with s² = Σ(dᵢ − d̄)²/(n − 1). An image is one draw,
 * however many networks saw it: joining S·n pairs would count it S times and make the interval too narrow. With one
 * seed this is `pairedDifference`. The interval speaks of other images for these trainings; `deviation` shows how trainings
 * differ.
 *
 * @param a per seed, at least n bits; b the same seeds in the same order
 * @param n at least 2
 */
export function pooledDifference(a: readonly Bits[], b: readonly Bits[], n: number): PooledDifference {
  const seeds = a.length;
  const sums = new Int16Array(n);
  const perSeed = a.map((bits, s) => {
    const first = unpackBits(bits, n);
    const second = unpackBits(b[s] as Bits, n);
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const d = (first[i] as number) - (second[i] as number);
      sums[i] = (sums[i] as number) + d;
      sum += d;
    }
    return sum / n;
  });
  let total = 0;
  let squares = 0;
  for (const sum of sums) {
    total += sum;
    squares += sum * sum;
  }
  const difference = total / (seeds * n);
  const variance = (squares / seeds ** 2 - n * difference * difference) / (n - 1);
  const half = Z * Math.sqrt(Math.max(0, variance) / n);
  const { deviation } = meanAndDeviation(perSeed);
  return { difference, low: difference - half, high: difference + half, deviation, n };
}
