import { signStart } from '../ops/attack-step.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { type AttackResult, iterate } from './iterate.js';
import {
  type AttackContext,
  type AttackOptions,
  requireEpsilon,
  requireFlag,
  requireSize,
} from './options.js';

/** See `rFgsm`. */
export interface RFgsmSpec {
  readonly name: 'r-fgsm';
  readonly epsilon: number;
  /** Size of the random step, in [0, epsilon]. */
  readonly alpha: number;
  readonly targeted?: boolean;
}

export const rFgsmOptions = ['epsilon', 'alpha', 'targeted'] as const;

/** Checks and completes the options: alpha = ε/2 (Tramèr et al. 2018), untargeted. */
export function resolveRFgsm(options: AttackOptions): RFgsmSpec {
  const epsilon = requireEpsilon(options.epsilon);
  return {
    name: 'r-fgsm',
    epsilon,
    alpha: requireSize('alpha', options.alpha ?? epsilon / 2, epsilon, `epsilon = ${epsilon}`),
    targeted: requireFlag('targeted', options.targeted ?? false),
  };
}

/**
 * R+FGSM (Tramèr et al. 2018, §4.1): x′ = clip(x + α·sign(N(0, I))), then clip(x′ + (ε − α)·sign(∇J(x′))), in the ball of x.
 * The second step has size ε − α, so that both together never leave the ball.
 *
 * @param images f32 [N, H, W, C] in [0, 1]; labels i32 [N]
 */
export function rFgsm(
  spec: RFgsmSpec,
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  context: AttackContext,
): AttackResult {
  const { epsilon, alpha, targeted = false } = spec;
  const { seed, firstRow = 0, signal } = context;
  const start = (origin: Tensor) => signStart(origin, alpha, epsilon, { seed, stream: 0, firstRow });
  return iterate(
    attackable,
    images,
    labels,
    { epsilon, steps: 1, stepSize: epsilon - alpha, restarts: 1, targeted, start },
    signal,
  );
}
