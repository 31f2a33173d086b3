import { HardbitError, isHardbitError } from '../errors.js';
import { type NativeRecording, native } from '../native.js';
import { scope } from '../tensor/scope.js';

export type { NativeRecording } from '../native.js';

/** False where HARDBIT_CUDA_GRAPHS is `off`. */
function areGraphsWanted(): boolean {
  const setting = process.env.HARDBIT_CUDA_GRAPHS ?? '';
  if (setting !== '' && setting !== 'off') {
    throw new HardbitError(
      'ERR_HARDBIT_UNKNOWN_NAME',
      `HARDBIT_CUDA_GRAPHS is '${setting}'; expected 'off' or nothing.`,
    );
  }
  return setting === '';
}

/**
 * Records what `body` queues on the GPU, without running it: a CUDA graph, which starts dozens of kernels in one call. Its
 * operands stay where they are; tensors made in `body` are freed, and their memory stays with the recording.
 *
 * @returns undefined where `body` waits for the GPU or exchanges data with the host, which cannot be recorded, or where
 * HARDBIT_CUDA_GRAPHS is `off`
 * @throws ERR_HARDBIT_UNKNOWN_NAME for another value of that variable
 */
export function record(body: () => void): NativeRecording | undefined {
  if (!areGraphsWanted()) return undefined;
  native().beginRecording();
  try {
    scope(body);
    return native().finishRecording();
  } catch (error) {
    native().abandonRecording();
    if (isHardbitError(error) && error.code === 'ERR_HARDBIT_UNSUPPORTED') return undefined;
    throw error;
  }
}
