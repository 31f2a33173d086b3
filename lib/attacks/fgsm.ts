import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { type AttackResult, iterate } from './iterate.js';
import { type AttackContext, type AttackOptions, requireEpsilon, requireFlag } from './options.js';

/** See `fgsm`. */
export interface FgsmSpec {
  readonly name: 'fgsm';
  readonly epsilon: number;
  readonly targeted?: boolean;
}

export const fgsmOptions = ['epsilon', 'targeted'] as const;

/** Checks and completes the options: untargeted by default. */
export function resolveFgsm(options: AttackOptions): FgsmSpec {
  return {
    name: 'fgsm',
    epsilon: requireEpsilon(options.epsilon),
    targeted: requireFlag('targeted', options.targeted ?? false),
  };
}

/**
 * Fast gradient sign method (Goodfellow et al. 2015): x + ε·sign(∇J(x)), in the ball; targeted x − ε·sign(∇J(x)).
 *
 * @param images f32 [N, H, W, C] in [0, 1]; labels i32 [N]
 */
export function fgsm(
  spec: FgsmSpec,
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  context: AttackContext,
): AttackResult {
  const { epsilon, targeted = false } = spec;
  const start = (origin: Tensor) => origin;
  return iterate(
    attackable,
    images,
    labels,
    { epsilon, steps: 1, stepSize: epsilon, restarts: 1, targeted, start },
    context.signal,
  );
}
