import { HardbitError, isHardbitError } from '../errors.js';
import { note } from './terminal.js';

/** One key press may arrive twice: from the terminal, and passed on by npm. */
const SAME_PRESS_MILLISECONDS = 250;

/**
 * Runs `work` with a signal that the first Ctrl-C aborts; a second one ends the process at once.
 *
 * @param resume says, after an interruption, what was kept and how to go on
 * @throws ERR_HARDBIT_ABORTED with that sentence
 */
export async function interruptible<T>(
  resume: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let pressed = Number.NEGATIVE_INFINITY;
  const onInterrupt = (): void => {
    const now = performance.now();
    if (controller.signal.aborted) {
      if (now - pressed < SAME_PRESS_MILLISECONDS) return;
      process.off('SIGINT', onInterrupt);
      process.kill(process.pid, 'SIGINT');
      return;
    }
    pressed = now;
    controller.abort();
    if (process.stderr.isTTY) note('Stopping after the current step; press Ctrl-C again to stop at once.');
  };
  process.on('SIGINT', onInterrupt);
  try {
    return await work(controller.signal);
  } catch (error) {
    if (isHardbitError(error) && error.code === 'ERR_HARDBIT_ABORTED') {
      throw new HardbitError('ERR_HARDBIT_ABORTED', `Interrupted: ${resume}`, { cause: error });
    }
    throw error;
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}
