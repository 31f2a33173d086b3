/** The 97.5 % point of the standard normal distribution. */
const Z = 1.959963984540054;

/**
 * Wilson's 95 % confidence interval (Wilson 1927) of an accuracy, over test images, for this one network. With z = 1.96 its
 * ends are (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n).
 *
 * @param accuracy p in [0, 1]
 * @param n images, at least 1
 */
export function wilson(accuracy: number, n: number): { readonly low: number; readonly high: number } {
  const z2 = Z * Z;
  const centre = (accuracy + z2 / (2 * n)) / (1 + z2 / n);
  const half = (Z * Math.sqrt((accuracy * (1 - accuracy)) / n + z2 / (4 * n * n))) / (1 + z2 / n);
  return { low: accuracy === 0 ? 0 : centre - half, high: accuracy === 1 ? 1 : centre + half };
}

/** Mean of at least one value. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Sample standard deviation, s² = Σ(xᵢ − x̄)²/(n − 1); null for a single value, which has none. */
export function deviation(values: readonly number[]): number | null {
  if (values.length < 2) return null;
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}
