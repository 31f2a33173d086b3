import { type DeployedHandle, native } from '../native.js';

export type { DeployedHandle } from '../native.js';

/**
 * Puts a deployed network on the GPU.
 *
 * @param file the bytes of a .hbit file
 * @param what its name, for the sentences
 * @throws ERR_HARDBIT_FORMAT where the file is not as docs/hbit.md says; ERR_HARDBIT_NO_CUDA; ERR_HARDBIT_MEMORY
 */
export function loadDeployed(file: Uint8Array, what: string): DeployedHandle {
  return native().loadDeployed(file, what);
}
