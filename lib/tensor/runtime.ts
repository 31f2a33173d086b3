import { type Device, type MemoryInfo, type NativeInfo, native } from '../native.js';

export type { CudaDevice, CudaInfo, MemoryInfo, NativeInfo } from '../native.js';

/** What the native core is made of and runs on. @throws ERR_HARDBIT_NOT_BUILT */
export function runtimeInfo(): NativeInfo {
  return native().info();
}

/**
 * Waits until everything queued on a device is done; on the cpu nothing is ever queued.
 *
 * @throws ERR_HARDBIT_CUDA where the GPU failed or was lost; what kernels found wrong with their operands
 */
export function synchronize(device: Device): void {
  native().synchronize(device);
}

/** Which of cuBLAS and cuDNN products in float use, or why not, a sentence each; opens them. Empty without a GPU. */
export function cudaLibraries(): readonly string[] {
  return native().cudaLibraries();
}

/** The name of the GPU that 'cuda' means; empty where there is none. */
export function gpuName(): string {
  const index = Number(process.env['HARDBIT_CUDA_DEVICE'] || 0);
  return runtimeInfo().cuda.devices[index]?.name ?? '';
}

/** Tensors alive and memory held by the native core. @throws ERR_HARDBIT_NOT_BUILT */
export function memoryInfo(): MemoryInfo {
  return native().memory();
}
