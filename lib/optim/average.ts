import { HardbitError } from '../errors.js';
import { averageStep } from '../ops/optimize.js';
import { type NativeRecording, record } from '../ops/recording.js';
import { keep } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

/** An f32 tensor by its path name in the model. */
export interface Averaged {
  readonly name: string;
  readonly value: Tensor;
}

/** @throws ERR_HARDBIT_ARGUMENT unless 0 ≤ decay < 1 */
export function requireDecay(decay: number): number {
  if (!(typeof decay === 'number' && decay >= 0 && decay < 1)) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The decay of the weights' average is ${decay}; expected a number from 0 up to, but below, 1, such as 0.999.`,
    );
  }
  return decay;
}

/**
 * An exponential moving average of tensors (Polyak & Juditsky 1992 in its exponential form): a copy of them after the first
 * update, then average ← decay·average + (1 − decay)·value, in f32. Its tensors live until `dispose()`.
 */
export class MovingAverage {
  readonly #averages: ReadonlyMap<string, Tensor>;
  /** Updates on a GPU, all of which are alike from the second on; null before they are recorded. */
  #recorded: NativeRecording | null = null;
  #queued = false;

  /** @param tensors looked at anew in each update */
  constructor(
    readonly tensors: readonly Averaged[],
    readonly decay: number,
  ) {
    requireDecay(decay);
    this.#averages = new Map(
      tensors.map(({ name, value }) => [name, keep(Tensor.zerosLike(value))] as const),
    );
  }

  /** By path name, f32 in the tensors' shapes. */
  get averages(): ReadonlyMap<string, Tensor> {
    return this.#averages;
  }

  /** @param first nothing was averaged before */
  update(first: boolean): void {
    // The operators say what is wrong with tensors that are gone; a recording would not look.
    const gone = this.tensors.some(({ value }) => value.disposed);
    if (this.#queued && !first && !gone && this.tensors[0]?.value.device === 'cuda') {
      this.#recorded ??= record(() => this.#queue(this.decay)) ?? null;
    }
    if (first || gone || this.#recorded === null) this.#queue(first ? 0 : this.decay);
    else this.#recorded.run(0, 1);
    this.#queued = true;
  }

  #queue(decay: number): void {
    for (const { name, value } of this.tensors) {
      averageStep(this.#averages.get(name) as Tensor, value, decay);
    }
  }

  /** Copies of the averages. */
  values(): Map<string, Float32Array> {
    return new Map([...this.#averages].map(([name, tensor]) => [name, tensor.toFloat32Array()]));
  }

  dispose(): void {
    this.#recorded?.dispose();
    this.#recorded = null;
    for (const tensor of this.#averages.values()) tensor.dispose();
  }
}
