import { HardbitError } from '../errors.js';
import { native } from '../native.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * A value in a recorded computation. Its gradient is an f32 tensor of the same logical shape, whatever the dtype of
 * the value: the gradient with respect to the real number that a code or a bit stands for.
 */
export interface Variable {
  readonly value: Tensor;
  /** False for constants: no gradient is computed for them. */
  readonly requiresGradient: boolean;
}

/** A leaf: a parameter or an input to differentiate with respect to, or a constant. */
export function variable(value: Tensor, requiresGradient = true): Variable {
  return { value, requiresGradient };
}

/** Maps dLoss/dOutput to dLoss/dInput, one entry an input; null where an input needs none. */
export type Gradient = (dOutput: Tensor) => readonly (Tensor | null)[];

interface Entry {
  readonly inputs: readonly Variable[];
  readonly output: Variable;
  readonly saved: readonly Tensor[];
  readonly gradient: Gradient;
}

/**
 * Records the ops of one computation in order, and walks them backwards. An explicit object: two computations in
 * one process never meet. The enclosing `scope()` owns all tensors; what ops saved for the backward pass is freed sooner,
 * where the pass has gone by.
 */
export class Tape {
  readonly #entries: Entry[] = [];
  /** What the recorded ops made: their outputs, and what they saved beside them. Other tensors belong to somebody else. */
  readonly #made = new Set<Tensor>();
  /** How many recorded ops still need a tensor. */
  readonly #saved = new Map<Tensor, number>();

  /**
   * Adds an op; the output requires a gradient where an input does, and nothing is kept where none does.
   *
   * @param saved what `gradient` reads of the inputs' and the output's values, and tensors that the op made for it alone
   */
  record(inputs: readonly Variable[], value: Tensor, saved: readonly Tensor[], gradient: Gradient): Variable {
    const requiresGradient = inputs.some((input) => input.requiresGradient);
    const output = variable(value, requiresGradient);
    const given = new Set(inputs.map((input) => input.value));
    for (const tensor of [value, ...saved]) if (!given.has(tensor)) this.#made.add(tensor);
    if (requiresGradient) {
      this.#entries.push({ inputs, output, saved, gradient });
      for (const tensor of saved) this.#saved.set(tensor, (this.#saved.get(tensor) ?? 0) + 1);
    }
    return output;
  }

  /** Frees the value of a variable that no later op reads, unless an op saved it, or somebody else owns it. */
  release({ value }: Variable): void {
    if (this.#made.has(value) && !this.#saved.has(value)) value.dispose();
  }

  /** The op that saved these tensors is done. */
  #forget(tensors: readonly Tensor[], kept: ReadonlySet<Tensor>): void {
    for (const tensor of tensors) {
      const left = (this.#saved.get(tensor) ?? 0) - 1;
      if (left > 0) {
        this.#saved.set(tensor, left);
        continue;
      }
      this.#saved.delete(tensor);
      if (this.#made.has(tensor) && !kept.has(tensor)) tensor.dispose();
    }
  }

  /**
   * Gradients of `targets`, given dLoss/dOutput (f32, the shape of `output`). Intermediate gradients, and what the ops saved,
   * are freed on the way; the values of `output` and `targets` stay. A tape serves one backward pass.
   *
   * @throws ERR_HARDBIT_ARGUMENT where a target did not take part in the computation.
   */
  backward(output: Variable, dOutput: Tensor, targets: readonly Variable[]): Tensor[] {
    const wanted = new Set(targets);
    const kept = new Set([output, ...targets].map(({ value }) => value));
    const gradients = new Map<Variable, Tensor>([[output, dOutput]]);
    while (this.#entries.length > 0) {
      const entry = this.#entries.pop() as Entry;
      const dEntry = gradients.get(entry.output);
      if (dEntry === undefined) {
        this.#forget(entry.saved, kept);
        continue;
      }
      const dInputs = entry.gradient(dEntry);
      this.#forget(entry.saved, kept);
      // An op may pass one tensor on to several inputs; each of them gets a handle of its own, to be freed on its own.
      const taken = new Set([dOutput, dEntry]);
      entry.inputs.forEach((input, i) => {
        const dInput = dInputs[i];
        if (!input.requiresGradient || dInput === undefined || dInput === null) return;
        const sum = gradients.get(input);
        if (sum === undefined) {
          gradients.set(input, taken.has(dInput) ? dInput.reshape(dInput.shape) : dInput);
          taken.add(dInput);
        } else {
          const total = sum.clone();
          native().axpy(total.handle, 1, dInput.handle);
          gradients.set(input, total);
        }
      });
      if (!wanted.has(entry.output)) {
        gradients.delete(entry.output);
        if (dEntry !== dOutput) dEntry.dispose();
      }
    }
    return targets.map((target) => {
      const gradient = gradients.get(target);
      if (gradient === undefined) {
        throw new HardbitError(
          'ERR_HARDBIT_ARGUMENT',
          'A gradient was asked for a variable that did not take part in the recorded computation.',
        );
      }
      return gradient;
    });
  }
}
