import { type AttackOptions, type AttackSpec, resolveAttack, runAttack } from '../attacks/registry.js';
import { HardbitError } from '../errors.js';
import type { Model } from '../nn/model.js';
import { concatRows } from '../tensor/rows.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * Adversarial training on mixed batches (Goodfellow et al. 2015; Kurakin et al. 2017): in each batch the first
 * `mix`·B examples are replaced by adversarial ones, made against the network as it stands.
 */
export interface AdversarialOptions extends AttackOptions {
  /** Name of the attack, e.g. 'fgsm'. */
  readonly attack: string;
  /** Fraction of each batch that is adversarial, in (0, 1]; the rest stays clean. */
  readonly mix: number;
}

export interface AdversarialTraining {
  readonly attack: AttackSpec;
  readonly mix: number;
}

/** @throws ERR_HARDBIT_ARGUMENT or ERR_HARDBIT_UNKNOWN_NAME for options the attack or the mix cannot have. */
export function resolveAdversarial(options: AdversarialOptions): AdversarialTraining {
  const { attack, mix, ...attackOptions } = options;
  if (!(mix > 0 && mix <= 1)) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The adversarial mix is ${mix}; expected the adversarial fraction of a batch, above 0 and at most 1.`,
    );
  }
  return { attack: resolveAttack(attack, attackOptions), mix };
}

/**
 * The batch with its first ⌈mix·B⌉ images made adversarial against the network in evaluation mode, differentiated as
 * in training (identity through the discretizer, clipped through sign); no gradient flows through the attack.
 *
 * @param firstRow number of examples seen before this batch: the attack's random streams
 */
export function adversarialBatch(
  model: Model,
  training: AdversarialTraining,
  images: Tensor,
  labels: Tensor,
  seed: number,
  firstRow: number,
): Tensor {
  return scope(() => {
    const count = Math.ceil(training.mix * images.rows);
    const { adversarial } = runAttack(
      training.attack,
      model.attackable(),
      images.slice(0, count),
      labels.slice(0, count),
      { seed, firstRow },
    );
    return count === images.rows ? adversarial : concatRows([adversarial, images.slice(count, images.rows)]);
  });
}
