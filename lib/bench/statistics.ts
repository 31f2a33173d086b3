import type { Peer, Seconds } from './results.js';

/** The q-quantile by linear interpolation between order statistics (type 7 of Hyndman and Fan 1996). */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const [low, high] = [sorted[below], sorted[Math.min(below + 1, sorted.length - 1)]] as [number, number];
  return low + (at - below) * (high - low);
}

/** Of one sample or more. */
export function summarize(samples: readonly number[]): Seconds {
  return {
    median: quantile(samples, 0.5),
    p10: quantile(samples, 0.1),
    p90: quantile(samples, 0.9),
    samples: samples.length,
  };
}

/** A peer beside our own times: the ratio is of medians. */
export function peerOf(
  name: string,
  samples: readonly number[],
  ours: Seconds,
  peakMegabytes?: number,
): Peer {
  const seconds = summarize(samples);
  return {
    name,
    seconds,
    ratio: seconds.median / ours.median,
    ...(peakMegabytes === undefined ? {} : { peakMegabytes }),
  };
}

/** The fastest first. */
export function byTime(peers: readonly Peer[]): readonly Peer[] {
  return [...peers].sort((a, b) => a.seconds.median - b.seconds.median);
}
