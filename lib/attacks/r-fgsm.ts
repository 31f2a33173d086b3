import { HardbitError } from '../errors.js';
import { signStart } from '../ops/attack-step.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { type AttackSteps, iterate } from './iterate.js';
import {
  type AttackContext,
  type AttackOptions,
  requireEpsilon,
  requireFlag,
  requireNorm,
  requireSize,
} from './options.js';
import { startRows } from './rows.js';

/** See `rFgsm`. */
export interface RFgsmSpec {
  readonly name: 'r-fgsm';
  readonly epsilon: number;
  readonly norm?: 'linf';
  /** Size of the random step, in [0, epsilon]. */
  readonly alpha: number;
  readonly targeted?: boolean;
}

export const rFgsmOptions = ['epsilon', 'norm', 'alpha', 'targeted'] as const;

/**
 * Checks and completes the options: alpha = ε/2 (Tramèr et al. 2018), untargeted.
 *
 * @throws ERR_HARDBIT_ARGUMENT for another norm than L∞: the random step is one of signs.
 */
export function resolveRFgsm(options: AttackOptions): RFgsmSpec {
  if (requireNorm(options.norm) !== 'linf') {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      "The attack r-fgsm has no L2 form, since its random step is one of signs; use pgd with norm 'l2' or leave the norm out.",
    );
  }
  const epsilon = requireEpsilon(options.epsilon);
  return {
    name: 'r-fgsm',
    epsilon,
    norm: 'linf',
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
): AttackSteps {
  const { epsilon, alpha, targeted = false } = spec;
  const { seed } = context;
  const start = (origin: Tensor) =>
    startRows(origin, context, (part, firstRow) =>
      signStart(part, alpha, epsilon, { seed, stream: 0, firstRow }),
    );
  return iterate(
    attackable,
    images,
    labels,
    {
      epsilon,
      norm: 'linf',
      steps: 1,
      stepSize: epsilon - alpha,
      restarts: 1,
      earlyStop: false,
      targeted,
      start,
    },
    context,
  );
}
