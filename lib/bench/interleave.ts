import { setImmediate } from 'node:timers/promises';
import { HardbitError, throwIfAborted } from '../errors.js';

/** Something to time: does its work `times` times over and says how many seconds that took. */
export interface Subject {
  run(times: number): number | Promise<number>;
}

export interface Timing {
  /** Samples of each subject. */
  readonly rounds: number;
  /** Seconds that a sample lasts at least; the work is repeated until then. */
  readonly sampleSeconds: number;
  readonly signal?: AbortSignal | undefined;
}

/** How often a subject has to run so that a sample lasts long enough; the runs that find out warm it up. */
async function repetitions(subject: Subject, { sampleSeconds, signal }: Timing): Promise<number> {
  for (let times = 1; ; ) {
    throwIfAborted(signal);
    const seconds = await subject.run(times);
    if (seconds >= sampleSeconds || times >= 2 ** 40) return times;
    // Not at once: first runs are slow, and clocks are coarse.
    const wanted = seconds > 0 ? Math.ceil((1.2 * times * sampleSeconds) / seconds) : Infinity;
    times = Math.max(times + 1, Math.min(wanted, 16 * times));
  }
}

/**
 * Times several subjects side by side: every round takes one sample of each, one after the other, and every second round
 * in the opposite order, so that whatever slows the machine down for a while slows them all. Returns each subject's
 * seconds for one run of its work.
 *
 * @throws ERR_HARDBIT_ARGUMENT for no rounds or a negative time; ERR_HARDBIT_ABORTED
 */
export async function interleave(
  subjects: readonly Subject[],
  timing: Timing,
): Promise<readonly (readonly number[])[]> {
  const { rounds, sampleSeconds, signal } = timing;
  if (!Number.isInteger(rounds) || rounds < 1 || !(sampleSeconds >= 0)) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `There are ${rounds} rounds of ${sampleSeconds} s; expected 1 round or more, and no negative time.`,
    );
  }
  const lanes: { subject: Subject; times: number; samples: number[] }[] = [];
  for (const subject of subjects) {
    lanes.push({ subject, times: await repetitions(subject, timing), samples: [] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const lane of round % 2 === 0 ? lanes : [...lanes].reverse()) {
      throwIfAborted(signal);
      lane.samples.push((await lane.subject.run(lane.times)) / lane.times);
      // Lets a Ctrl-C in.
      await setImmediate();
    }
  }
  return lanes.map(({ samples }) => samples);
}
