import { setImmediate as nextTurn } from 'node:timers/promises';
import { requireName, throwIfAborted } from '../errors.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { requireImages, requireLabels } from './ball.js';
import { type BimSpec, bim, bimOptions, resolveBim } from './bim.js';
import { type FgsmSpec, fgsm, fgsmOptions, resolveFgsm } from './fgsm.js';
import type { AttackResult, AttackSteps } from './iterate.js';
import {
  type AttackContext,
  type AttackOptions,
  requireBall,
  requireContext,
  requireKnownOptions,
} from './options.js';
import { type PgdSpec, pgd, pgdOptions, resolvePgd } from './pgd.js';
import { type RFgsmSpec, resolveRFgsm, rFgsm, rFgsmOptions } from './r-fgsm.js';

export type { AttackResult } from './iterate.js';
export {
  type AttackContext,
  type AttackOptions,
  type Norm,
  norms,
  parseEpsilon,
  parseStepSize,
  requireNorm,
} from './options.js';
export { KeptWalk } from './recorded-walk.js';

export const attackNames = ['fgsm', 'r-fgsm', 'bim', 'pgd'] as const;
export type AttackName = (typeof attackNames)[number];

/** An attack with all its hyper-parameters: the record that stands beside every figure. */
export type AttackSpec = FgsmSpec | RFgsmSpec | BimSpec | PgdSpec;

/** The options each attack has, in the order of its record. */
export const attackOptions: Readonly<Record<AttackName, readonly (keyof AttackOptions)[]>> = {
  fgsm: fgsmOptions,
  'r-fgsm': rFgsmOptions,
  bim: bimOptions,
  pgd: pgdOptions,
};

const resolvers: {
  readonly [N in AttackName]: (options: AttackOptions) => Extract<AttackSpec, { name: N }>;
} = {
  fgsm: resolveFgsm,
  'r-fgsm': resolveRFgsm,
  bim: resolveBim,
  pgd: resolvePgd,
};

/**
 * Checks the options of the named attack and fills in its defaults; an option that is undefined counts as not given.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME for an unknown attack, with the nearest known one; ERR_HARDBIT_ARGUMENT for a value
 * outside its range or an option that the attack does not have.
 */
export function resolveAttack(name: string, options: AttackOptions): AttackSpec {
  const known = requireName('attack', name, attackNames);
  requireKnownOptions(known, options, attackOptions[known]);
  return resolvers[known](options);
}

/** Checks a hand-made spec as `resolveAttack` does, and fills in what it leaves out. */
export function completeAttack(spec: AttackSpec): AttackSpec {
  const { name, ...options } = spec;
  return resolveAttack(name, options);
}

/** Checks everything, and readies the attack. */
function attackSteps(
  spec: AttackSpec,
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  context: AttackContext,
): AttackSteps {
  const resolved = completeAttack(spec);
  requireImages(images, attackable.inputShape, context.imagesOnly);
  requireBall(resolved.epsilon, resolved.norm ?? 'linf', attackable.inputShape);
  requireLabels(labels, images.rows);
  requireContext(context, images.rows);
  throwIfAborted(context.signal);
  switch (resolved.name) {
    case 'fgsm':
      return fgsm(resolved, attackable, images, labels, context);
    case 'r-fgsm':
      return rFgsm(resolved, attackable, images, labels, context);
    case 'bim':
      return bim(resolved, attackable, images, labels, context);
    case 'pgd':
      return pgd(resolved, attackable, images, labels, context);
  }
}

/**
 * Attacks one batch, synchronously. The result's tensor belongs to the caller's scope; every other one is freed. In L∞ no
 * pixel leaves the ball max(0, fl(x − ε)) … min(1, fl(x + ε)), and ε = 0 gives the images back; in L2 no pixel leaves
 * [0, 1] and no image is farther than ε, up to `l2Tolerance`.
 *
 * @param images f32 [N, H, W, C] in [0, 1], on the network's device
 * @param labels i32 [N] in [0, classes), there too: the labels to leave or, where `spec.targeted`, the classes to reach
 * @throws ERR_HARDBIT_ARGUMENT, ERR_HARDBIT_DTYPE, ERR_HARDBIT_SHAPE, ERR_HARDBIT_PIXELS, ERR_HARDBIT_LABELS for
 * bad input; ERR_HARDBIT_ABORTED
 */
export function runAttack(
  spec: AttackSpec,
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  context: AttackContext,
): AttackResult {
  const steps = attackSteps(spec, attackable, images, labels, context);
  return scope(() => {
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
    }
  });
}

/** How long an asynchronous attack keeps the event loop waiting, in milliseconds; a single step may take longer. */
const TURN_MILLISECONDS = 10;

/**
 * `runAttack`, giving way to the event loop between steps, so that timers, signals and Ctrl-C are served. The result's
 * tensor belongs to no scope: the caller disposes of it. `images` and `labels` must live until then.
 *
 * @param onFraction called when it gives way, with the fraction of the gradients done, in (0, 1]
 */
export async function runAttackAsync(
  spec: AttackSpec,
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  context: AttackContext,
  onFraction?: (fraction: number) => void,
): Promise<AttackResult> {
  const steps = attackSteps(spec, attackable, images, labels, context);
  let turn = performance.now();
  let ended = false;
  try {
    for (;;) {
      const { done, value } = steps.next();
      if (done) {
        ended = true;
        return value;
      }
      if (performance.now() - turn < TURN_MILLISECONDS) continue;
      onFraction?.(value);
      await nextTurn();
      turn = performance.now();
    }
  } finally {
    // Where `onFraction` threw.
    if (!ended) steps.return(undefined as never);
  }
}
