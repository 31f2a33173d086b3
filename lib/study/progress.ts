import type { Shard } from './plan.js';

/** Estimated seconds of what is left to do with one model. */
export interface EstimatedPart {
  readonly model: string;
  readonly training: number;
  readonly whiteBox: number;
  readonly transfer: number;
}

/** What a study says while it runs. */
export type StudyEvent =
  /** Before it starts. `keptNetworks` and `keptTasks` were found finished and will not be repeated. */
  | {
      readonly kind: 'estimate';
      readonly seconds: number;
      readonly networks: number;
      readonly tasks: number;
      readonly keptNetworks: number;
      readonly keptTasks: number;
      readonly shard: Shard;
      /** Where the time goes, in the plan's order. */
      readonly parts: readonly EstimatedPart[];
    }
  | {
      readonly kind: 'progress';
      /** What is being done, in words. */
      readonly doing: string;
      /** In [0, 1], by estimated time. */
      readonly fraction: number;
      readonly secondsElapsed: number;
      readonly secondsLeft: number;
    };

/** How much of the first estimate counts beside what was measured since. */
const PRIOR_SECONDS = 10;

/** Turns estimated costs and elapsed time into a fraction done and the time left. */
export class Meter {
  readonly #started: number;
  readonly #total: number;
  #done = 0;
  #current = 0;

  /** @param total estimated seconds of all the work ahead */
  constructor(
    total: number,
    readonly now: () => number = () => performance.now() / 1000,
  ) {
    this.#total = Math.max(total, 1e-9);
    this.#started = now();
  }

  /** A piece of `seconds` estimated seconds is done to `fraction`. */
  advance(seconds: number, fraction: number): void {
    this.#current = seconds * Math.min(1, Math.max(0, fraction));
  }

  /** A piece of `seconds` estimated seconds is finished. */
  finish(seconds: number): void {
    this.#done += seconds;
    this.#current = 0;
  }

  get secondsElapsed(): number {
    return this.now() - this.#started;
  }

  get fraction(): number {
    return Math.min(1, (this.#done + this.#current) / this.#total);
  }

  /** The estimate for the rest, corrected by how the time spent so far compares with its estimate. */
  get secondsLeft(): number {
    const done = this.#done + this.#current;
    const correction = (this.secondsElapsed + PRIOR_SECONDS) / (done + PRIOR_SECONDS);
    return Math.max(0, this.#total - done) * correction;
  }
}
