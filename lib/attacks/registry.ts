import { requireName, throwIfAborted } from '../errors.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { requireImages, requireLabels } from './ball.js';
import { type BimSpec, bim, bimOptions, resolveBim } from './bim.js';
import { type FgsmSpec, fgsm, fgsmOptions, resolveFgsm } from './fgsm.js';
import type { AttackResult } from './iterate.js';
import { type AttackContext, type AttackOptions, requireContext, requireKnownOptions } from './options.js';
import { type PgdSpec, pgd, pgdOptions, resolvePgd } from './pgd.js';
import { type RFgsmSpec, resolveRFgsm, rFgsm, rFgsmOptions } from './r-fgsm.js';

export type { AttackResult } from './iterate.js';
export { type AttackContext, type AttackOptions, parseEpsilon } from './options.js';

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

/**
 * Attacks one batch, synchronously. The result's tensor belongs to the caller's scope; every other one is freed. No pixel
 * leaves the ball max(0, fl(x − ε)) … min(1, fl(x + ε)), and ε = 0 gives the images back.
 *
 * @param images f32 [N, H, W, C] in [0, 1]
 * @param labels i32 [N] in [0, classes): the labels to leave or, where `spec.targeted`, the classes to reach
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
  const resolved = completeAttack(spec);
  requireContext(context);
  requireImages(images, attackable.inputShape);
  requireLabels(labels, images.rows);
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
