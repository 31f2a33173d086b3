import { readFileSync } from 'node:fs';
import { HardbitError } from '../errors.js';
import { type DeployedHandle, loadDeployed } from '../ops/deployed.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * A deployed network, a .hbit file of `hardbit compile`, on an NVIDIA GPU. Its logits are those of `PackedNetwork` and of the
 * training graph in evaluation, bit by bit.
 */
export class GpuNetwork implements Disposable {
  readonly #handle: DeployedHandle;

  private constructor(handle: DeployedHandle) {
    this.#handle = handle;
  }

  /**
   * @param source a path, or the bytes of a .hbit file
   * @throws ERR_HARDBIT_READ where the file cannot be read; ERR_HARDBIT_FORMAT where it is not as docs/hbit.md says;
   * ERR_HARDBIT_NO_CUDA without a GPU; ERR_HARDBIT_MEMORY
   */
  static load(source: string | Uint8Array): GpuNetwork {
    let file: Uint8Array;
    try {
      file = typeof source === 'string' ? readFileSync(source) : source;
    } catch (error) {
      throw new HardbitError('ERR_HARDBIT_READ', `Cannot read '${source}': ${(error as Error).message}.`);
    }
    const what = typeof source === 'string' ? `'${source}'` : 'the network';
    return new GpuNetwork(loadDeployed(file, what));
  }

  /** [H, W, C] of an image. */
  get inputShape(): readonly [number, number, number] {
    return this.#handle.inputShape;
  }

  get classes(): number {
    return this.#handle.classes;
  }

  /** Bytes of weights and tables on the GPU. */
  get byteLength(): number {
    return this.#handle.byteLength;
  }

  /**
   * Queues the network on images u8 [N, H, W, C]; on the CPU they are uploaded first.
   *
   * @returns logits f32 [N, classes] on the GPU
   * @throws ERR_HARDBIT_SHAPE, ERR_HARDBIT_DTYPE, ERR_HARDBIT_DISPOSED
   */
  logits(images: Tensor): Tensor {
    const there = images.to('cuda');
    try {
      return new Tensor(this.#handle.logits(there.handle));
    } finally {
      there.dispose();
    }
  }

  dispose(): void {
    this.#handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
