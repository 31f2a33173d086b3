import { HardbitError } from '../errors.js';
import { type Device, type DType, type NativeTensor, native, type TensorData } from '../native.js';
import { adopt } from './scope.js';

export type { Device, DType, TensorData } from '../native.js';

/**
 * A dense row-major array owned by the native core, on a device: the cpu unless said. What an operator makes is on the device
 * of its operands, which all have to be on one. Work on a GPU is queued; only reading waits for it.
 *
 * It is freed by `dispose()`, by `using`, at the end of the enclosing `scope()`, or, as a safety net, by the
 * garbage collector. dtypes: f32, i32, i16, u8 and bits (±1, packed along the last dimension).
 */
export class Tensor implements Disposable {
  readonly handle: NativeTensor;

  /** Wraps a handle of the native core; meant for `lib/ops`. The current scope, if any, owns it. */
  constructor(handle: NativeTensor) {
    this.handle = handle;
    adopt(this);
  }

  /**
   * A tensor of `shape` with a copy of `data` (flat, row-major), or zeros without it.
   *
   * @throws ERR_HARDBIT_SHAPE where data and shape differ in length; ERR_HARDBIT_DTYPE where the array's type is
   * not the dtype's (f32 Float32Array, i32 Int32Array, i16 Int16Array, u8 Uint8Array, bits BigUint64Array);
   * ERR_HARDBIT_NO_CUDA for 'cuda' where there is none; ERR_HARDBIT_MEMORY
   */
  static from(dtype: DType, shape: readonly number[], data?: TensorData, device: Device = 'cpu'): Tensor {
    return new Tensor(native().tensor(dtype, shape, data, device));
  }

  /** f32 zeros of the shape and on the device of `x`. */
  static zerosLike(x: Tensor): Tensor {
    return Tensor.from('f32', x.shape, undefined, x.device);
  }

  get shape(): readonly number[] {
    return this.handle.shape;
  }

  get dtype(): DType {
    return this.handle.dtype;
  }

  get device(): Device {
    return this.handle.device;
  }

  get byteLength(): number {
    return this.handle.byteLength;
  }

  get disposed(): boolean {
    return this.handle.disposed;
  }

  /** Number of rows: the first dimension. */
  get rows(): number {
    return this.shape[0] ?? 1;
  }

  /**
   * A copy of the contents; bits come as 64-bit words. Waits for all work queued on the tensor's device, and throws what went
   * wrong there.
   */
  read(): TensorData {
    return this.handle.read();
  }

  /** Overwrites the contents (flat, row-major); the array's type and length must match. */
  write(data: TensorData): void {
    this.handle.write(data);
  }

  /** A copy of the contents of an f32 tensor. */
  toFloat32Array(): Float32Array {
    const data = this.read();
    if (data instanceof Float32Array) return data;
    throw new HardbitError('ERR_HARDBIT_DTYPE', `This tensor holds ${this.dtype}; expected f32.`);
  }

  /** A copy of the contents of an i32 tensor. */
  toInt32Array(): Int32Array {
    const data = this.read();
    if (data instanceof Int32Array) return data;
    throw new HardbitError('ERR_HARDBIT_DTYPE', `This tensor holds ${this.dtype}; expected i32.`);
  }

  /** The same contents under another shape of equal element count; shares memory. */
  reshape(shape: readonly number[]): Tensor {
    return new Tensor(native().reshape(this.handle, shape));
  }

  /** Rows [begin, end); shares memory. */
  slice(begin: number, end: number): Tensor {
    return new Tensor(native().slice(this.handle, begin, end));
  }

  /**
   * The contents on `device`, always in a handle of its own, to be disposed of on its own; it shares memory where the tensor is
   * there already. A copy to the cpu waits, one to a GPU does not.
   *
   * @throws ERR_HARDBIT_NO_CUDA for 'cuda' where there is none; ERR_HARDBIT_MEMORY
   */
  to(device: Device): Tensor {
    return new Tensor(native().toDevice(this.handle, device));
  }

  /** Overwrites the contents by those of a tensor of the same dtype, shape and device. */
  assign(from: Tensor): void {
    native().assign(this.handle, from.handle);
  }

  clone(): Tensor {
    return new Tensor(native().clone(this.handle));
  }

  dispose(): void {
    this.handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
