import { type AttackSpec, completeAttack } from '../attacks/registry.js';
import type { Dataset } from '../data/dataset.js';
import { HardbitError } from '../errors.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AttackEvaluation, AttackTally } from './attack.js';
import { type EvaluatedModel, type EvaluationOptions, forEachBatch } from './batches.js';
import type { RecordedGradientMode } from './gradient-mode.js';

/** Where the attacked images come from. */
export interface TransferSource {
  /** Names the network whose gradients were used. */
  readonly source: string;
  readonly attack: AttackSpec;
  /** How the source was differentiated. */
  readonly gradientMode: RecordedGradientMode;
  readonly seed: number;
}

export interface TransferOptions extends EvaluationOptions {
  /** Per example 1 where the target classifies the clean image correctly (`evaluateClean`), to save predicting again. */
  readonly cleanCorrect?: Uint8Array | undefined;
}

export interface TransferEvaluation extends AttackEvaluation {
  readonly threatModel: 'transfer';
  readonly source: string;
  readonly zeroGradientFraction: null;
}

/**
 * Black-box transfer: how `target` fares on images that were attacked with the gradients of another network.
 *
 * @param data the clean images, in the order in which they were attacked
 * @param adversarial f32 [N, H, W, C], as `evaluateAttack` keeps them; left to the caller
 * @throws as `forEachBatch`; ERR_HARDBIT_SHAPE where the attacked images are not as many as the clean ones or of
 * another shape; ERR_HARDBIT_PIXELS where they leave the ball
 */
export async function evaluateTransfer(
  target: EvaluatedModel,
  data: Dataset,
  adversarial: Tensor,
  info: TransferSource,
  options: TransferOptions = {},
): Promise<TransferEvaluation> {
  const expected = [data.size, ...target.inputShape];
  const { shape } = adversarial;
  if (shape.length !== expected.length || shape.some((size, i) => size !== expected[i])) {
    throw new HardbitError(
      'ERR_HARDBIT_SHAPE',
      `The attacked images have shape [${shape.join(', ')}]; expected [${expected.join(', ')}].`,
    );
  }
  const attack = completeAttack(info.attack);
  const tally = new AttackTally(target, data.size, attack.epsilon, options.cleanCorrect);
  await forEachBatch(target, data, options, (batch) => {
    tally.add(batch, adversarial.slice(batch.begin, batch.end));
  });
  const provenance = {
    attack,
    threatModel: 'transfer',
    gradientMode: info.gradientMode,
    source: info.source,
    seed: info.seed,
  } as const;
  return { ...tally.finish(provenance), ...provenance, zeroGradientFraction: null };
}
