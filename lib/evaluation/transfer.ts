import { type AttackSpec, completeAttack } from '../attacks/registry.js';
import type { Dataset } from '../data/dataset.js';
import { HardbitError } from '../errors.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  type AttackEvaluation,
  type AttackEvaluationOptions,
  AttackTally,
  evaluateAttack,
  type WhiteBoxEvaluation,
} from './attack.js';
import {
  deviceOf,
  type EvaluatedModel,
  type EvaluationOptions,
  type EvaluationProgress,
  forEachBatch,
} from './batches.js';
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
 * @param adversarial f32 [N, H, W, C] on any device, as `evaluateAttack` keeps them; left to the caller
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
  const tally = new AttackTally(target, data.size, attack, options.cleanCorrect);
  await forEachBatch(target, data, options, (batch) => {
    tally.add(batch, adversarial.slice(batch.begin, batch.end).to(deviceOf(target)));
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

/** A network under the name that the matrix shows. */
export interface NamedNetwork {
  readonly name: string;
  readonly model: EvaluatedModel;
}

export interface MatrixSource extends NamedNetwork {
  /** The same training from another seed: it takes the source's place against the source itself. */
  readonly twin?: NamedNetwork | undefined;
}

export interface MatrixCell {
  readonly source: string;
  readonly target: string;
  /** Source and target are one network: the images are its twin's or, without one, its own, which is white-box. */
  readonly diagonal: 'twin' | 'white-box' | null;
  readonly evaluation: TransferEvaluation | WhiteBoxEvaluation;
}

export interface TransferMatrixOptions
  extends Pick<AttackEvaluationOptions, 'gradient' | 'seed' | 'labels' | 'targets' | 'batchSize' | 'signal'> {
  /** Called with the fraction of the images that were made or shown, and what is being done. */
  readonly onProgress?:
    | ((progress: {
        readonly source: string;
        /** null while the images are made. */
        readonly target: string | null;
        readonly fraction: number;
      }) => void)
    | undefined;
}

/** @throws ERR_HARDBIT_ARGUMENT for an empty list, or where a name stands for two networks */
function requireNames(sources: readonly MatrixSource[], targets: readonly NamedNetwork[]): void {
  if (sources.length === 0 || targets.length === 0) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      'A transfer matrix needs at least one source and one target.',
    );
  }
  const twins = sources.flatMap(({ twin }) => (twin === undefined ? [] : [twin]));
  const models = new Map<string, EvaluatedModel>();
  for (const { name, model } of [...sources, ...targets, ...twins]) {
    if ((models.get(name) ?? model) !== model) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `Two networks of the transfer matrix are named '${name}'; give each a name of its own.`,
      );
    }
    models.set(name, model);
  }
  for (const list of [sources, targets]) {
    const names = list.map(({ name }) => name);
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `The transfer matrix has '${twice}' twice in one list; name it once.`,
      );
    }
  }
}

/**
 * Black-box transfer between every source and every target. The images of each source are made once and shown to all
 * targets; where the target is the source itself, those of its twin, so that the cell is black-box too, or else its own,
 * marked white-box. Only one network's attacked images are in memory at a time.
 *
 * @returns a cell for each source and target, source by source, targets in order
 * @throws ERR_HARDBIT_ARGUMENT for lists that are empty or ambiguous; as `evaluateAttack` and `evaluateTransfer`; nothing is
 * kept alive after an error
 */
export async function evaluateTransferMatrix(
  sources: readonly MatrixSource[],
  targets: readonly NamedNetwork[],
  data: Dataset,
  spec: AttackSpec,
  options: TransferMatrixOptions,
): Promise<readonly MatrixCell[]> {
  requireNames(sources, targets);
  const attack = completeAttack(spec);
  const { gradient, seed, batchSize, signal, onProgress } = options;
  const { labels, targets: wanted } = options;
  const isSame = (source: NamedNetwork, target: NamedNetwork) => source.model === target.model;
  /** Whose images are shown to whom. A twin makes images only where a target is its network. */
  const parts = sources.flatMap((source) => {
    const own = targets.filter((target) => isSame(source, target));
    const foreign = targets.filter((target) => !isSame(source, target));
    const { twin } = source;
    if (twin === undefined) return [{ source, maker: source, shown: targets }];
    return [
      ...(foreign.length > 0 ? [{ source, maker: source, shown: foreign }] : []),
      ...(own.length > 0 ? [{ source, maker: twin, shown: own }] : []),
    ];
  });
  const work = parts.reduce((sum, { shown }) => sum + 1 + shown.length, 0);
  const cleanCorrect = new Map<EvaluatedModel, Uint8Array>();
  const cells = new Map<string, MatrixCell>();
  const keyOf = (source: string, target: string) => JSON.stringify([source, target]);
  let done = 0;
  for (const { source, maker, shown } of parts) {
    const report =
      (target: string | null) =>
      ({ fraction }: EvaluationProgress): void =>
        onProgress?.({ source: maker.name, target, fraction: (done + fraction) / work });
    const { adversarial, ...made } = await evaluateAttack(maker.model, data, attack, {
      gradient,
      seed,
      labels,
      targets: wanted,
      batchSize,
      signal,
      cleanCorrect: cleanCorrect.get(maker.model),
      keepAdversarial: true,
      onProgress: report(null),
    });
    done++;
    try {
      cleanCorrect.set(maker.model, made.cleanCorrect);
      for (const target of shown) {
        const own = isSame(maker, target);
        const evaluation = own
          ? made
          : await evaluateTransfer(
              target.model,
              data,
              adversarial as Tensor,
              { source: maker.name, attack, gradientMode: made.gradientMode, seed },
              {
                batchSize,
                signal,
                cleanCorrect: cleanCorrect.get(target.model),
                onProgress: report(target.name),
              },
            );
        cleanCorrect.set(target.model, evaluation.cleanCorrect);
        cells.set(keyOf(source.name, target.name), {
          source: source.name,
          target: target.name,
          diagonal: own ? 'white-box' : isSame(source, target) ? 'twin' : null,
          evaluation,
        });
        done++;
      }
    } finally {
      adversarial?.dispose();
    }
  }
  return sources.flatMap((source) =>
    targets.map((target) => cells.get(keyOf(source.name, target.name)) as MatrixCell),
  );
}
