import { type MemoryInfo, type NativeInfo, native } from './native.js';

/** What the native core is and what this machine has: version, instruction sets, kernels, threads, devices. */
export function info(): NativeInfo {
  return native().info();
}

/** Tensors alive in this process and their bytes; cached and peak bytes of the allocator. */
export function memory(): MemoryInfo {
  return native().memory();
}
