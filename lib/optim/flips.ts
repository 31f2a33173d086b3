import { countDifferentSigns } from '../ops/optimize.js';
import { packSigns } from '../ops/sign.js';
import { keep, scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** An f32 tensor of weights, [M, …], by its path name. */
export interface CountedWeights {
  readonly name: string;
  readonly value: Tensor;
}

/** One row an output, so that few bits of padding are packed. */
function signsOf(value: Tensor): Tensor {
  return scope(() => {
    const size = value.shape.reduce((a, b) => a * b, 1);
    return packSigns(value.reshape([value.rows, size / value.rows]));
  });
}

/** Counts, step by step, the weights whose sign changed. Holds one bit a weight until `dispose()`. */
export class FlipCounter {
  readonly #weights: readonly CountedWeights[];
  readonly #signs = new Map<string, Tensor>();

  /** Counts from the weights as they stand. */
  constructor(weights: readonly CountedWeights[]) {
    this.#weights = weights;
    for (const { name, value } of weights) this.#signs.set(name, keep(signsOf(value)));
  }

  /** Adds the flips since the last call to the counts by name. */
  add(counts: Readonly<Record<string, number>>): Record<string, number> {
    const sums: Record<string, number> = {};
    for (const { name, value } of this.#weights) {
      const now = keep(signsOf(value));
      const before = this.#signs.get(name) as Tensor;
      this.#signs.set(name, now);
      sums[name] = (counts[name] ?? 0) + countDifferentSigns(before, now);
      before.dispose();
    }
    return sums;
  }

  /** Mean fraction of the weights that flipped in a step, by name. */
  ratios(counts: Readonly<Record<string, number>>, steps: number): Record<string, number> {
    return Object.fromEntries(
      this.#weights.map(({ name, value }) => [
        name,
        (counts[name] ?? 0) / (steps * value.shape.reduce((a, b) => a * b, 1)),
      ]),
    );
  }

  dispose(): void {
    for (const signs of this.#signs.values()) signs.dispose();
  }
}
