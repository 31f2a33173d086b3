import { HardbitError } from '../errors.js';
import { uniformStart, uniformStartL2 } from '../ops/attack-step.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { type AttackSteps, iterate } from './iterate.js';
import {
  type AttackContext,
  type AttackOptions,
  type Norm,
  requireEpsilon,
  requireFlag,
  requireInteger,
  requireNorm,
  requireStepSize,
  requireSteps,
} from './options.js';
import { startRows } from './rows.js';

/** See `pgd`. */
export interface PgdSpec {
  readonly name: 'pgd';
  readonly epsilon: number;
  readonly norm?: Norm;
  readonly steps: number;
  readonly stepSize: number;
  readonly randomStart: boolean;
  readonly restarts: number;
  readonly earlyStop?: boolean;
  readonly targeted?: boolean;
}

export const pgdOptions = [
  'epsilon',
  'norm',
  'steps',
  'stepSize',
  'randomStart',
  'restarts',
  'earlyStop',
  'targeted',
] as const;

/** Checks and completes the options: L∞, 20 steps of 2.5·ε/steps, random start, one restart, no early stop, untargeted. */
export function resolvePgd(options: AttackOptions): PgdSpec {
  const norm = requireNorm(options.norm);
  const epsilon = requireEpsilon(options.epsilon, norm);
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
    norm,
    steps,
    stepSize: requireStepSize(options.stepSize, epsilon, steps, norm),
    randomStart,
    restarts,
    earlyStop: requireFlag('earlyStop', options.earlyStop ?? false),
    targeted: requireFlag('targeted', options.targeted ?? false),
  };
}

/**
 * Projected gradient descent (Madry et al. 2018): x ← P(x + stepSize·sign(∇J(x))), `steps` times from P(x + U[−ε, ε)), or
 * from x without the random start; in L2 x ← P(x + stepSize·∇J(x)/‖∇J(x)‖₂) from a uniform point of the L2 ball, clipped to
 * [0, 1]. Restart r draws from random stream r, so the first of several is the run without restarts; of several, each
 * example keeps its worst (see `iterate`).
 *
 * @param images f32 [N, H, W, C] in [0, 1]; labels i32 [N]
 */
export function pgd(
  spec: PgdSpec,
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  context: AttackContext,
): AttackSteps {
  const { epsilon, norm = 'linf', steps, stepSize, restarts, earlyStop = false, targeted = false } = spec;
  const { seed } = context;
  const start = (origin: Tensor, restart: number) =>
    spec.randomStart
      ? startRows(origin, context, (part, firstRow) => {
          const source = { seed, stream: restart, firstRow };
          return norm === 'l2'
            ? uniformStartL2(part, epsilon, source)
            : uniformStart(part, epsilon, epsilon, source);
        })
      : origin;
  return iterate(
    attackable,
    images,
    labels,
    { epsilon, norm, steps, stepSize, restarts, earlyStop, targeted, start },
    context,
  );
}
