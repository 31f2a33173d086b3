import { availableParallelism, loadavg } from 'node:os';
import { type NativeAddon, native } from '../native.js';
import type { BenchRow, Machine } from './results.js';
import { summarize } from './statistics.js';

/** The machine as a measurement finds it. @throws ERR_HARDBIT_NOT_BUILT */
export function describeMachine(threads: number, versions: Readonly<Record<string, string>> = {}): Machine {
  const info = native().info();
  return {
    cpu: info.cpu,
    isa: info.isa,
    processors: availableParallelism(),
    threads,
    date: new Date().toISOString(),
    loadAverage: loadavg()[0] ?? 0,
    versions: {
      hardbit: info.version,
      node: process.version,
      compiler: info.compiler,
      oneDNN: info.oneDnn,
      ...versions,
    },
  };
}

/** Calls `body` with the native core on `threads` threads, and sets back what was set before. */
export async function onThreads<T>(threads: number, body: (core: NativeAddon) => Promise<T>): Promise<T> {
  const core = native();
  const before = core.info().threads;
  core.setThreads(threads);
  try {
    return await body(core);
  } finally {
    core.setThreads(before);
  }
}

/** A row's figures from its samples, and those of the limit: seconds a time, and operations a time. */
export function ratesOf(
  samples: readonly number[],
  operations: number,
  limit: { readonly samples: readonly number[]; readonly operations: number } | null,
): Pick<BenchRow, 'seconds' | 'operations' | 'rate' | 'limit' | 'fraction'> {
  const seconds = summarize(samples);
  const rate = operations / seconds.median;
  const most = limit === null ? null : limit.operations / summarize(limit.samples).median;
  return { seconds, operations, rate, limit: most, fraction: most === null ? null : rate / most };
}
