/** Factor on the learning rate over a training. */
export const scheduleNames = ['constant', 'linear', 'cosine'] as const;
export type Schedule = (typeof scheduleNames)[number];

/**
 * The factor at `step` of `steps` (from 0): `constant` 1; `linear` from 1 to 1/steps; `cosine` ½(1 + cos(π·step/steps))
 * (Loshchilov & Hutter 2017, one cycle).
 */
export function rateFactor(schedule: Schedule, step: number, steps: number): number {
  switch (schedule) {
    case 'constant':
      return 1;
    case 'linear':
      return 1 - step / steps;
    case 'cosine':
      return 0.5 * (1 + Math.cos((Math.PI * step) / steps));
  }
}
