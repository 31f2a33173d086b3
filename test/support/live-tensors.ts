import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { memoryInfo } from '../../lib/tensor/runtime.js';

let gc: (() => void) | undefined;

/** Runs V8's garbage collector, and the finalizers behind it. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  gc ??= runInNewContext('gc') as () => void;
  // What a finalizer lets go of is found by the next collection.
  for (let i = 0; i < 4; i++) {
    gc();
    await setImmediate();
  }
}

/**
 * The number of live tensors, without those that earlier tests forgot: the collector would free these at any time, so
 * that a test that waits could count fewer tensors at its end than at its beginning, and not see those that it leaves.
 */
export async function liveTensors(): Promise<number> {
  await collectGarbage();
  return memoryInfo().liveTensors;
}
