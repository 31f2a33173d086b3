import { HardbitError } from '../errors.js';
import { uniformStart } from '../ops/attack-step.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { type AttackResult, iterate } from './iterate.js';
import {
  type AttackContext,
  type AttackOptions,
  defaultStepSize,
  requireEpsilon,
  requireFlag,
  requireInteger,
  requireSize,
  requireSteps,
} from './options.js';

/** See `pgd`. */
export interface PgdSpec {
  readonly name: 'pgd';
  readonly epsilon: number;
  readonly steps: number;
  readonly stepSize: number;
  readonly randomStart: boolean;
  readonly restarts: number;
  readonly targeted?: boolean;
}

export const pgdOptions = ['epsilon', 'steps', 'stepSize', 'randomStart', 'restarts', 'targeted'] as const;

/** Checks and completes the options: 20 steps of 2.5·ε/steps, random start, one restart, untargeted. */
export function resolvePgd(options: AttackOptions): PgdSpec {
  const epsilon = requireEpsilon(options.epsilon);
  const steps = requireSteps(options.steps ?? 20);
  const randomStart = requireFlag('randomStart', options.randomStart ?? true);
  const restarts = requireInteger('restarts', options.restarts ?? 1, 1, 1_000_000);
  if (restarts > 1 && !randomStart) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `restarts is ${restarts} without a random start, which would repeat one run; allow the random start or use 1.`,
    );
  }
  return {
    name: 'pgd',
    epsilon,
    steps,
    stepSize: requireSize('stepSize', options.stepSize ?? defaultStepSize(epsilon, steps), 1),
    randomStart,
    restarts,
    targeted: requireFlag('targeted', options.targeted ?? false),
  };
}

/**
 * Projected gradient descent, L∞ (Madry et al. 2018): x ← P(x + stepSize·sign(∇J(x))), `steps` times from
 * P(x + U[−ε, ε)), or from x without the random start. Restart r draws from random stream r, so the first of several is
 * the run without restarts; of several, each example keeps its worst (see `iterate`).
 *
 * @param images f32 [N, H, W, C] in [0, 1]; labels i32 [N]
 */
export function pgd(
  spec: PgdSpec,
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  context: AttackContext,
): AttackResult {
  const { epsilon, steps, stepSize, randomStart, restarts, targeted = false } = spec;
  const { seed, firstRow = 0, signal } = context;
  const start = (origin: Tensor, restart: number) =>
    randomStart ? uniformStart(origin, epsilon, epsilon, { seed, stream: restart, firstRow }) : origin;
  return iterate(attackable, images, labels, { epsilon, steps, stepSize, restarts, targeted, start }, signal);
}
