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
} from './options.js';

/** See `fgsm`. */
export interface FgsmSpec {
  readonly name: 'fgsm';
  readonly epsilon: number;
  readonly norm?: Norm;
  readonly targeted?: boolean;
}

export const fgsmOptions = ['epsilon', 'norm', 'targeted'] as const;

/** Checks and completes the options: L∞ and untargeted by default. */
export function resolveFgsm(options: AttackOptions): FgsmSpec {
  const norm = requireNorm(options.norm);
  return {
    name: 'fgsm',
    epsilon: requireEpsilon(options.epsilon, norm),
    norm,
    targeted: requireFlag('targeted', options.targeted ?? false),
  };
}

/**
 * Fast gradient sign method (Goodfellow et al. 2015): x + ε·sign(∇J(x)), in the ball; targeted x − ε·sign(∇J(x)). In L2 the
 * fast gradient method (Miyato et al. 2016): x + ε·∇J(x)/‖∇J(x)‖₂, then into [0, 1].
 *
 * @param images f32 [N, H, W, C] in [0, 1]; labels i32 [N]
 */
export function fgsm(
  spec: FgsmSpec,
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  context: AttackContext,
): AttackSteps {
  const { epsilon, norm = 'linf', targeted = false } = spec;
  const start = (origin: Tensor) => origin;
  return iterate(
    attackable,
    images,
    labels,
    { epsilon, norm, steps: 1, stepSize: epsilon, restarts: 1, earlyStop: false, targeted, start },
    context,
  );
}
