import { join } from 'node:path';
import type { Dataset } from '../data/dataset.js';
import { type AttackEvaluation, evaluateAttack, type WhiteBoxEvaluation } from '../evaluation/attack.js';
import type { AttackSpec } from '../evaluation/attack-options.js';
import type { RecordedGradientMode } from '../evaluation/gradient-mode.js';
import { evaluateTransfer } from '../evaluation/transfer.js';
import type { GradientMode, Model } from '../models/registry.js';
import { takeExample } from './examples.js';
import type { TrainedNetwork } from './networks.js';
import type { AttackTask, TransferCell, WhiteBoxCell } from './plan.js';
import type { AttackRecord } from './results.js';
import {
  decodeBits,
  encodeBits,
  type KeptTransfer,
  type KeptWhiteBox,
  keptTransferSchema,
  keptWhiteBoxSchema,
  type StudyStore,
} from './store.js';

/** The trained networks of a study, each opened when it is first needed. */
export interface OpenNetworks {
  trained(id: string): TrainedNetwork;
  model(id: string): Model;
}

/** What a task left: either part is null where the plan has none. */
export interface FinishedTask {
  readonly whiteBox: KeptWhiteBox | null;
  readonly transfer: KeptTransfer | null;
}

const cellPath = (cell: { readonly id: string }): string => join('cells', `${cell.id}.json`);

/** The attack as it stands in results: nothing that is undefined. */
function attackRecord(attack: AttackSpec): AttackRecord {
  return { ...attack };
}

function sameAttack(record: AttackRecord, attack: AttackSpec): boolean {
  const sorted = (value: object) =>
    JSON.stringify(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  return sorted(record) === sorted(attackRecord(attack));
}

function gradientOf(mode: RecordedGradientMode): Partial<GradientMode> {
  return { discretizer: mode.discretizer, ...(mode.sign === null ? {} : { sign: mode.sign }) };
}

/** The figures that white-box and transfer cells share. */
function figures(evaluation: AttackEvaluation) {
  return {
    attack: attackRecord(evaluation.attack),
    epsilon: evaluation.epsilon,
    gradientMode: evaluation.gradientMode,
    n: evaluation.n,
    seed: evaluation.seed,
    cleanAccuracy: evaluation.cleanAccuracy,
    adversarialAccuracy: evaluation.adversarialAccuracy,
    adversarialLoss: evaluation.adversarialLoss,
    flippableFraction: evaluation.flippableFraction,
    meanPerturbation: evaluation.meanPerturbation,
    seconds: evaluation.seconds,
  };
}

/** What was kept of a task: null where it is absent, damaged, or was measured on another model file. */
export function findTask(
  store: StudyStore,
  task: AttackTask,
  trained: (id: string) => TrainedNetwork | undefined,
  images: number,
): { readonly whiteBox: KeptWhiteBox | null; readonly transfer: KeptTransfer | null } {
  return {
    whiteBox: task.whiteBox === null ? null : findWhiteBox(store, task.whiteBox, trained, images),
    transfer: task.transfer === null ? null : findTransfer(store, task.transfer, trained, images),
  };
}

function findWhiteBox(
  store: StudyStore,
  cell: WhiteBoxCell,
  trained: (id: string) => TrainedNetwork | undefined,
  images: number,
): KeptWhiteBox | null {
  const kept = store.read(cellPath(cell), keptWhiteBoxSchema);
  const sound =
    kept !== null &&
    kept.sha256 === trained(cell.network)?.kept.sha256 &&
    kept.record.network === cell.network &&
    sameAttack(kept.record.attack, cell.attack) &&
    (kept.example !== null) === (cell.exampleOfClass !== null) &&
    kept.record.n === images &&
    decodeBits(kept.correct, images) !== null;
  return sound ? kept : null;
}

function findTransfer(
  store: StudyStore,
  cell: TransferCell,
  trained: (id: string) => TrainedNetwork | undefined,
  images: number,
): KeptTransfer | null {
  const kept = store.read(cellPath(cell), keptTransferSchema);
  const sound =
    kept !== null &&
    kept.sha256 === trained(cell.source)?.kept.sha256 &&
    kept.targets.length === cell.targets.length &&
    cell.targets.every(({ network, diagonal }, i) => {
      const target = kept.targets[i];
      return (
        target !== undefined &&
        target.sha256 === trained(network)?.kept.sha256 &&
        target.record.source === cell.source &&
        target.record.target === network &&
        target.record.diagonal === diagonal &&
        sameAttack(target.record.attack, cell.attack) &&
        target.record.n === images &&
        decodeBits(target.correct, images) !== null
      );
    });
  return sound ? kept : null;
}

function whiteBoxOf(
  cell: WhiteBoxCell,
  evaluation: WhiteBoxEvaluation,
  networks: OpenNetworks,
  data: Dataset,
): KeptWhiteBox {
  return {
    record: {
      threatModel: 'white-box',
      network: cell.network,
      ...figures(evaluation),
      zeroGradientFraction: evaluation.zeroGradientFraction,
    },
    sha256: networks.trained(cell.network).kept.sha256,
    correct: encodeBits(evaluation.adversarialCorrect),
    example:
      cell.exampleOfClass === null || evaluation.adversarial === undefined
        ? null
        : takeExample(
            networks.model(cell.network),
            cell.network,
            data,
            evaluation.adversarial,
            evaluation,
            attackRecord(evaluation.attack),
            cell.exampleOfClass,
          ),
  };
}

/**
 * Attacks one network and shows the images to the transfer's targets; keeps both. Images are made once; the network's own
 * cell on the diagonal repeats its white-box figures.
 */
export async function runTask(
  store: StudyStore,
  task: AttackTask,
  known: FinishedTask,
  networks: OpenNetworks,
  data: Dataset,
  options: { readonly signal?: AbortSignal | undefined; readonly onFraction: (fraction: number) => void },
): Promise<FinishedTask> {
  const { signal } = options;
  const { plan } = networks.trained(task.network);
  const cleanCorrect = (id: string) => networks.trained(id).correct.slice(0, data.size);
  const targets = known.transfer === null ? (task.transfer?.targets ?? []) : [];
  const parts = 1 + targets.length;
  const evaluation = await evaluateAttack(networks.model(task.network), data, task.attack, {
    gradient: gradientOf(task.gradientMode),
    seed: plan.seed,
    signal,
    cleanCorrect: cleanCorrect(task.network),
    keepAdversarial: targets.length > 0 || task.whiteBox?.exampleOfClass != null,
    onProgress: ({ done, total }) => options.onFraction(done / total / parts),
  });
  try {
    let { whiteBox, transfer } = known;
    if (whiteBox === null && task.whiteBox !== null) {
      whiteBox = whiteBoxOf(task.whiteBox, evaluation, networks, data);
      store.write(cellPath(task.whiteBox), keptWhiteBoxSchema, whiteBox);
    }
    if (transfer === null && task.transfer !== null) {
      const { source } = task.transfer;
      const measured: KeptTransfer['targets'] = [];
      for (const { network, diagonal } of targets) {
        const shown: AttackEvaluation =
          network === source
            ? evaluation
            : await evaluateTransfer(
                networks.model(network),
                data,
                evaluation.adversarial as NonNullable<typeof evaluation.adversarial>,
                { source, attack: task.attack, gradientMode: task.gradientMode, seed: plan.seed },
                { signal, cleanCorrect: cleanCorrect(network) },
              );
        measured.push({
          record: { threatModel: 'transfer', source, target: network, diagonal, ...figures(shown) },
          sha256: networks.trained(network).kept.sha256,
          correct: encodeBits(shown.adversarialCorrect),
        });
        options.onFraction((1 + measured.length) / parts);
      }
      transfer = { sha256: networks.trained(source).kept.sha256, targets: measured };
      store.write(cellPath(task.transfer), keptTransferSchema, transfer);
    }
    return { whiteBox, transfer };
  } finally {
    evaluation.adversarial?.dispose();
  }
}
