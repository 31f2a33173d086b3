import { isHardbitError } from '../errors.js';
import { type NativeRecording, record } from '../ops/recording.js';
import { keep } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';

/** What a step of an attack reads: f32 [N, …], f32 [N, …] and i32 [N], on a GPU. */
export interface WalkBatch {
  readonly x: Tensor;
  readonly origin: Tensor;
  readonly labels: Tensor;
}

/** Queues one step of an attack, which moves `batch.x` in place. */
export type WalkStep = (batch: WalkBatch) => void;

/** Of the batches that a recorded step takes. */
const shapes = (batch: WalkBatch): string =>
  [batch.x, batch.origin, batch.labels].map(({ shape }) => shape.join()).join(';');

/** What `make` makes; undefined where memory does not suffice: steps that are queued one by one may still have the room. */
function whereItFits<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (isHardbitError(error) && error.code === 'ERR_HARDBIT_MEMORY') return undefined;
    throw error;
  }
}

/** A step of an attack on one batch, recorded on a GPU. */
export class RecordedWalk {
  readonly #recording: NativeRecording;
  readonly #attackable: Attackable;
  /** Of the victim, when it was recorded. */
  readonly #version: number | undefined;
  /** Gradients taken before the one that was recorded. */
  readonly #taken: number;
  #runs = 0;

  private constructor(
    recording: NativeRecording,
    attackable: Attackable,
    readonly batch: WalkBatch,
    /** What tells steps of different attacks apart. */
    readonly key: string,
  ) {
    this.#recording = recording;
    this.#attackable = attackable;
    this.#version = attackable.version;
    this.#taken = attackable.count?.(-1) ?? 0;
  }

  /** @returns undefined where the step cannot be recorded, or the GPU's memory does not suffice for a second one */
  static record(
    attackable: Attackable,
    batch: WalkBatch,
    key: string,
    step: WalkStep,
  ): RecordedWalk | undefined {
    const recording = whereItFits(() => record(() => step(batch)));
    if (recording === undefined) {
      attackable.count?.(-1);
      return undefined;
    }
    return new RecordedWalk(recording, attackable, batch, key);
  }

  /** Whether a step on this batch would be the same, but for what its tensors hold. */
  serves(attackable: Attackable, batch: WalkBatch, key: string): boolean {
    return (
      this.key === key &&
      this.#attackable === attackable &&
      this.#version === attackable.version &&
      shapes(this.batch) === shapes(batch)
    );
  }

  /** Queues the step. */
  run(): void {
    const { count } = this.#attackable;
    const taken = count?.(0);
    this.#recording.run(taken === undefined ? this.#runs++ : taken - this.#taken, 1);
    count?.(1);
  }

  dispose(): void {
    this.#recording.dispose();
  }
}

/**
 * Keeps the recorded step of an attack for the batches that follow, so that not each of them records it anew. It owns the memory
 * of a step until it is disposed of.
 */
export class KeptWalk {
  #walk: RecordedWalk | undefined;
  /** What it has not been possible to record for. */
  #refused: string | undefined;

  /**
   * The recorded step with the batch's contents in its own tensors; undefined where the batch has to do without: one of another
   * shape, as the last one may be, leaves what is kept alone.
   *
   * @param key tells steps of different attacks apart
   */
  take(attackable: Attackable, batch: WalkBatch, key: string, step: WalkStep): RecordedWalk | undefined {
    const kept = this.#walk;
    if (kept?.serves(attackable, batch, key)) {
      kept.batch.x.assign(batch.x);
      kept.batch.origin.assign(batch.origin);
      kept.batch.labels.assign(batch.labels);
      return kept;
    }
    const shape = shapes(batch);
    if (shape === this.#refused || (kept !== undefined && shapes(kept.batch) !== shape)) return undefined;
    this.dispose();
    this.#walk = this.#record(attackable, batch, key, step);
    if (this.#walk === undefined) this.#refused = shape;
    return this.#walk;
  }

  #record(attackable: Attackable, batch: WalkBatch, key: string, step: WalkStep): RecordedWalk | undefined {
    const own: Tensor[] = [];
    const copy = (tensor: Tensor): Tensor => {
      own.push(keep(tensor.clone()));
      return own.at(-1) as Tensor;
    };
    let walk: RecordedWalk | undefined;
    try {
      walk = whereItFits(() => {
        const copies = { x: copy(batch.x), origin: copy(batch.origin), labels: copy(batch.labels) };
        return RecordedWalk.record(attackable, copies, key, step);
      });
    } finally {
      if (walk === undefined) for (const tensor of own) tensor.dispose();
    }
    return walk;
  }

  dispose(): void {
    const walk = this.#walk;
    this.#walk = undefined;
    if (walk === undefined) return;
    walk.dispose();
    for (const tensor of Object.values(walk.batch)) tensor.dispose();
  }
}
