import { constants, PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { Tensor } from '../../lib/tensor/tensor.js';

/** What V8's garbage collector does about tensors in a process with nothing else on its heap, as one line of JSON. */

let collections = 0;
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { kind } = (entry as unknown as { detail: { kind: number } }).detail;
    if (kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections++;
  }
});

async function collectionsWhile(body: () => Promise<void> | void): Promise<number> {
  collections = 0;
  observer.observe({ entryTypes: ['gc'] });
  await body();
  // Entries are told a turn later.
  await turn();
  await turn();
  observer.disconnect();
  return collections;
}

const step = () => {
  const tensors = Array.from({ length: 100 }, () => Tensor.from('u8', [2_000_000]));
  for (const tensor of tensors) tensor.dispose();
};
step();
const disposed = await collectionsWhile(() => {
  for (let i = 0; i < 20; i++) step();
});

const before = memoryInfo().liveTensors;
let mostForgotten = 0;
const forgotten = await collectionsWhile(async () => {
  for (let i = 0; i < 1000; i++) {
    Tensor.from('u8', [1 << 20]);
    if (i % 10 === 0) await turn();
    mostForgotten = Math.max(mostForgotten, memoryInfo().liveTensors - before);
  }
});
process.stdout.write(JSON.stringify({ disposed, forgotten, mostForgotten }));
