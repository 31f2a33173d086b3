/**
 * hardbit/packed: inference on deployed networks, the .hbit files of `hardbit compile`. It stands alone: neither the training
 * side nor its native core is loaded.
 */

import { HardbitError } from '../errors.js';
import {
  type EngineInfo,
  type PackedHandle,
  type PackedInfo,
  type PackedLayer,
  type PoolStatistics,
  packedAddon,
} from './addon.js';

export { type ErrorCode, errorCodes, HardbitError, isHardbitError } from '../errors.js';
export type { EngineInfo, PackedLayer, PoolStatistics } from './addon.js';

export interface Prediction {
  /** The class of each image: the index of its largest logit, the first among equals. */
  readonly classes: Int32Array;
  /** Row-major, [images, classes]. */
  readonly logits: Float32Array;
}

export interface PredictOptions {
  /** Abandons the prediction; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Where the logits are written, [images, classes]; a new array otherwise. To be left alone until the promise is settled. */
  readonly logits?: Float32Array | undefined;
}

/**
 * What the engine was built as and runs on.
 *
 * @throws ERR_HARDBIT_NOT_BUILT where it is missing
 */
export function packedInfo(): EngineInfo {
  return packedAddon().info();
}

/** The state of the worker pool that all predictions of this process share, first in, first out. */
export function poolStatistics(): PoolStatistics {
  return packedAddon().statistics();
}

/**
 * A deployed network. Its weights are shared, by their hash, with all loads of the same network in this process, worker threads
 * included; they are freed with the last of them.
 */
export class PackedNetwork implements Disposable {
  readonly #handle: PackedHandle;
  readonly #info: PackedInfo;
  readonly #imageSize: number;

  private constructor(handle: PackedHandle) {
    this.#handle = handle;
    this.#info = handle.info();
    this.#imageSize = this.#info.image.reduce((product, size) => product * size, 1);
  }

  /**
   * Reads a network.
   *
   * @param source a path, or the bytes of a .hbit file, which are copied
   * @throws ERR_HARDBIT_READ where the file cannot be read; ERR_HARDBIT_FORMAT where it is not as docs/hbit.md says, down to the
   * last byte; ERR_HARDBIT_DTYPE for a source of another kind; ERR_HARDBIT_NOT_BUILT where the engine is missing
   */
  static loadSync(source: string | Uint8Array): PackedNetwork {
    if (typeof source !== 'string' && !(source instanceof Uint8Array)) {
      throw new HardbitError(
        'ERR_HARDBIT_DTYPE',
        `A network is loaded from a path or a Uint8Array, not from ${describe(source)}.`,
      );
    }
    return new PackedNetwork(packedAddon().load(source));
  }

  /** The same as a promise: wrong files reject it. */
  static async load(source: string | Uint8Array): Promise<PackedNetwork> {
    return PackedNetwork.loadSync(source);
  }

  /** [H, W, C] of an image. */
  get inputShape(): readonly [number, number, number] {
    return this.#info.image;
  }

  get classes(): number {
    return this.#info.classes;
  }

  /** Bits a pixel that the network sees. */
  get inputBits(): number {
    return this.#info.inputBits;
  }

  /** SHA-256 of the file's contents, 64 hexadecimal digits. */
  get hash(): string {
    return this.#info.hash;
  }

  /** The names of the architecture and the recipe it was trained with. */
  get model(): string {
    return this.#info.model;
  }

  get recipe(): string {
    return this.#info.recipe;
  }

  get layers(): readonly PackedLayer[] {
    return this.#info.layers;
  }

  /** Bytes of the weights as they are packed for this processor. */
  get byteLength(): number {
    return this.#info.bytes;
  }

  /**
   * Classifies images on the worker pool of this process; the event loop stays free. Predictions are begun in the order of the calls.
   * The images are copied before this returns.
   *
   * @param images bytes, [images, H, W, C], row-major, as they come out of an image decoder
   * @returns rejects with the signal's reason where it is aborted; ERR_HARDBIT_SHAPE for a length that is no multiple of an
   * image's, or logits of another length; ERR_HARDBIT_DTYPE; ERR_HARDBIT_DISPOSED; ERR_HARDBIT_MEMORY
   */
  async predict(images: Uint8Array, options: PredictOptions = {}): Promise<Prediction> {
    const { signal } = options;
    signal?.throwIfAborted();
    const { classes, logits } = this.#results(images, options.logits);
    if (classes.length === 0) return { classes, logits };
    let ticket = 0;
    const abort = () => this.#handle.cancel(ticket);
    await new Promise<void>((resolve, reject) => {
      ticket = this.#handle.predict(images, logits, classes, (error) => {
        signal?.removeEventListener('abort', abort);
        if (signal?.aborted) reject(signal.reason);
        else if (error !== null) reject(error);
        else resolve();
      });
      signal?.addEventListener('abort', abort, { once: true });
    });
    return { classes, logits };
  }

  /**
   * Classifies images and waits: for scripts, and for worker threads. Otherwise as `predict`, and with the same results.
   */
  predictSync(images: Uint8Array, options: Pick<PredictOptions, 'logits'> = {}): Prediction {
    const { classes, logits } = this.#results(images, options.logits);
    if (classes.length > 0) this.#handle.predictSync(images, logits, classes);
    return { classes, logits };
  }

  /** Lets the weights go; predictions under way are finished, new ones throw ERR_HARDBIT_DISPOSED. */
  dispose(): void {
    this.#handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Checked arrays for the results. */
  #results(images: Uint8Array, given: Float32Array | undefined): Prediction {
    if (!(images instanceof Uint8Array)) {
      throw new HardbitError(
        'ERR_HARDBIT_DTYPE',
        `The images are ${describe(images)}; expected a Uint8Array.`,
      );
    }
    const count = images.length / this.#imageSize;
    if (!Number.isInteger(count)) {
      throw new HardbitError(
        'ERR_HARDBIT_SHAPE',
        `The images have ${images.length} bytes; expected a multiple of ${this.#imageSize}, images of ${this.inputShape.join('×')} bytes.`,
      );
    }
    if (given !== undefined && !(given instanceof Float32Array)) {
      throw new HardbitError(
        'ERR_HARDBIT_DTYPE',
        `The logits are ${describe(given)}; expected a Float32Array.`,
      );
    }
    const logits = given ?? new Float32Array(count * this.classes);
    if (logits.length !== count * this.classes) {
      throw new HardbitError(
        'ERR_HARDBIT_SHAPE',
        `The array for the logits has ${logits.length} numbers; expected ${count * this.classes}, ${this.classes} an image.`,
      );
    }
    return { classes: new Int32Array(count), logits };
  }
}

/** 'a Float32Array', 'null', 'a string'. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== 'object') return `a ${typeof value}`;
  const name = (value as { constructor?: { name?: string } }).constructor?.name ?? 'object';
  return `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
}
