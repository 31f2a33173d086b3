import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { type AttackResult, iterate } from './iterate.js';
import {
  type AttackContext,
  type AttackOptions,
  defaultStepSize,
  requireEpsilon,
  requireFlag,
  requireSize,
  requireSteps,
} from './options.js';

/** See `bim`. */
export interface BimSpec {
  readonly name: 'bim';
  readonly epsilon: number;
  readonly steps: number;
  readonly stepSize: number;
  readonly targeted?: boolean;
}

export const bimOptions = ['epsilon', 'steps', 'stepSize', 'targeted'] as const;

/** Checks and completes the options: 10 steps of 2.5·ε/steps, untargeted. */
export function resolveBim(options: AttackOptions): BimSpec {
  const epsilon = requireEpsilon(options.epsilon);
  const steps = requireSteps(options.steps ?? 10);
  return {
    name: 'bim',
    epsilon,
    steps,
    stepSize: requireSize('stepSize', options.stepSize ?? defaultStepSize(epsilon, steps), 1),
    targeted: requireFlag('targeted', options.targeted ?? false),
  };
}

/**
 * Basic iterative method, I-FGSM (Kurakin et al. 2017): x ← P(x + stepSize·sign(∇J(x))), `steps` times from the image
 * itself, P the projection to the ball.
 *
 * @param images f32 [N, H, W, C] in [0, 1]; labels i32 [N]
 */
export function bim(
  spec: BimSpec,
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  context: AttackContext,
): AttackResult {
  const { epsilon, steps, stepSize, targeted = false } = spec;
  const start = (origin: Tensor) => origin;
  return iterate(
    attackable,
    images,
    labels,
    { epsilon, steps, stepSize, restarts: 1, targeted, start },
    context.signal,
  );
}
