import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { type AttackSteps, iterate } from './iterate.js';
import {
  type AttackContext,
  type AttackOptions,
  type Norm,
  requireEpsilon,
  requireFlag,
  requireNorm,
  requireStepSize,
  requireSteps,
} from './options.js';

/** See `bim`. */
export interface BimSpec {
  readonly name: 'bim';
  readonly epsilon: number;
  readonly norm?: Norm;
  readonly steps: number;
  readonly stepSize: number;
  readonly earlyStop?: boolean;
  readonly targeted?: boolean;
}

export const bimOptions = ['epsilon', 'norm', 'steps', 'stepSize', 'earlyStop', 'targeted'] as const;

/** Checks and completes the options: L∞, 10 steps of 2.5·ε/steps, all of them, untargeted. */
export function resolveBim(options: AttackOptions): BimSpec {
  const norm = requireNorm(options.norm);
  const epsilon = requireEpsilon(options.epsilon, norm);
  const steps = requireSteps(options.steps ?? 10);
  return {
    name: 'bim',
    epsilon,
    norm,
    steps,
    stepSize: requireStepSize(options.stepSize, epsilon, steps, norm),
    earlyStop: requireFlag('earlyStop', options.earlyStop ?? false),
    targeted: requireFlag('targeted', options.targeted ?? false),
  };
}

/**
 * Basic iterative method, I-FGSM (Kurakin et al. 2017): x ← P(x + stepSize·sign(∇J(x))), `steps` times from the image
 * itself, P the projection to the ball; in L2 x ← P(x + stepSize·∇J(x)/‖∇J(x)‖₂).
 *
 * @param images f32 [N, H, W, C] in [0, 1]; labels i32 [N]
 */
export function bim(
  spec: BimSpec,
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  context: AttackContext,
): AttackSteps {
  const { epsilon, norm = 'linf', steps, stepSize, earlyStop = false, targeted = false } = spec;
  const start = (origin: Tensor) => origin;
  return iterate(
    attackable,
    images,
    labels,
    { epsilon, norm, steps, stepSize, restarts: 1, earlyStop, targeted, start },
    context,
  );
}
