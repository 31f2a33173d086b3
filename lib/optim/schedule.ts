import { HardbitError, requireName } from '../errors.js';

export const scheduleNames = ['constant', 'linear', 'cosine', 'step', 'one-cycle'] as const;
export type ScheduleName = (typeof scheduleNames)[number];

/** A schedule of the learning rate with all its settings: the record in a model file. */
export type ScheduleSpec =
  | { readonly name: 'constant' }
  | {
      readonly name: 'linear' | 'cosine';
      /** Steps in which the rate first grows linearly from 1/warmUpSteps of itself (Goyal et al. 2017, §2.2). */
      readonly warmUpSteps: number;
    }
  | {
      readonly name: 'step';
      readonly everyEpochs: number;
      /** Multiplies the rate every so many epochs, in (0, 1]. */
      readonly factor: number;
    }
  | {
      readonly name: 'one-cycle';
      /** Fraction of the steps in which the rate grows, in [0, 1]. */
      readonly warmUp: number;
      /** The rate starts at 1/startDivisor of its peak … */
      readonly startDivisor: number;
      /** … and ends at 1/endDivisor of its start. */
      readonly endDivisor: number;
    };

/** A schedule by its name, with its defaults, or with settings of its own. */
export type Schedule =
  | ScheduleName
  | ScheduleSpec
  | { readonly name: ScheduleName; readonly [setting: string]: unknown };

const defaults: Readonly<Record<ScheduleName, ScheduleSpec>> = {
  constant: { name: 'constant' },
  linear: { name: 'linear', warmUpSteps: 0 },
  cosine: { name: 'cosine', warmUpSteps: 0 },
  step: { name: 'step', everyEpochs: 30, factor: 0.1 },
  'one-cycle': { name: 'one-cycle', warmUp: 0.3, startDivisor: 25, endDivisor: 1e4 },
};

/** What each setting may be. */
const settings: Readonly<Record<string, { readonly ok: (value: number) => boolean; readonly text: string }>> =
  {
    warmUpSteps: {
      ok: (value) => Number.isSafeInteger(value) && value >= 0,
      text: 'a whole number, at least 0',
    },
    everyEpochs: {
      ok: (value) => Number.isSafeInteger(value) && value >= 1,
      text: 'a whole number, at least 1',
    },
    factor: { ok: (value) => value > 0 && value <= 1, text: 'a number above 0 and at most 1' },
    warmUp: { ok: (value) => value >= 0 && value <= 1, text: 'a number from 0 to 1' },
    startDivisor: { ok: (value) => value >= 1 && value <= 1e12, text: 'a number from 1 to 1e12' },
    endDivisor: { ok: (value) => value >= 1 && value <= 1e12, text: 'a number from 1 to 1e12' },
  };

/**
 * A schedule with its defaults filled in: `step` every 30 epochs by 0.1 (He et al. 2016), `one-cycle` .3, 25, 1e4.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME for an unknown schedule or setting; ERR_HARDBIT_ARGUMENT for a value out of range
 */
export function resolveSchedule(schedule: Schedule): ScheduleSpec {
  const given: { readonly name: string; readonly [setting: string]: unknown } =
    typeof schedule === 'string' ? { name: schedule } : schedule;
  const name = requireName('schedule', String(given.name), scheduleNames);
  const known = Object.keys(defaults[name]).filter((key) => key !== 'name');
  for (const [key, value] of Object.entries(given)) {
    if (key === 'name' || value === undefined) continue;
    if (known.length === 0) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `The schedule '${name}' has no setting '${key}'; it has none.`,
      );
    }
    const { ok, text } = settings[requireName(`setting of the schedule ${name}:`, key, known)] as {
      ok: (value: number) => boolean;
      text: string;
    };
    if (typeof value !== 'number' || !ok(value)) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `${key} of the schedule ${name} is ${String(value)}; expected ${text}.`,
      );
    }
  }
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...defaults[name], ...set } as ScheduleSpec;
}

/** From `from` to `to` along half a cosine, for t in [0, 1]. */
const anneal = (from: number, to: number, t: number): number =>
  to + ((from - to) / 2) * (1 + Math.cos(Math.PI * t));

/**
 * The factor on the learning rate at `step` of `steps` (from 0), in a training of `epochs` epochs:
 * `constant` 1; `linear` from 1 to 1/steps; `cosine` ½(1 + cos(π·step/steps)) (Loshchilov & Hutter 2017, one cycle), both
 * over what a warm-up leaves; `step` factor^⌊epoch/everyEpochs⌋; `one-cycle` (Smith 2018) up and down along half
 * cosines, in the two phases of PyTorch's OneCycleLR. Momentum is not cycled.
 */
export function rateFactor(schedule: ScheduleSpec, step: number, steps: number, epochs = 1): number {
  switch (schedule.name) {
    case 'constant':
      return 1;
    case 'linear':
    case 'cosine': {
      const { warmUpSteps } = schedule;
      if (step < warmUpSteps) return (step + 1) / warmUpSteps;
      const done = (step - warmUpSteps) / (steps - warmUpSteps);
      return schedule.name === 'linear' ? 1 - done : 0.5 * (1 + Math.cos(Math.PI * done));
    }
    case 'step':
      return schedule.factor ** Math.floor(Math.floor((step * epochs) / steps) / schedule.everyEpochs);
    case 'one-cycle': {
      const start = 1 / schedule.startDivisor;
      const end = start / schedule.endDivisor;
      // Indices of the steps at the peak and at the end.
      const peak = schedule.warmUp * steps - 1;
      const last = steps - 1;
      if (step <= peak && peak > 0) return anneal(start, 1, step / peak);
      return last > peak ? anneal(1, end, (step - peak) / (last - peak)) : 1;
    }
  }
}
