import { type MemoryInfo, type NativeInfo, native } from '../native.js';

export type { MemoryInfo, NativeInfo } from '../native.js';

/** What the native core is made of and runs on. @throws ERR_HARDBIT_NOT_BUILT */
export function runtimeInfo(): NativeInfo {
  return native().info();
}

/** Tensors alive and memory held by the native core. @throws ERR_HARDBIT_NOT_BUILT */
export function memoryInfo(): MemoryInfo {
  return native().memory();
}
