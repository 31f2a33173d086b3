import { join } from 'node:path';
import { type Dataset, takeRows } from '../data/dataset.js';
import { type AttackEvaluation, evaluateAttack, type WhiteBoxEvaluation } from '../evaluation/attack.js';
import type { AttackSpec } from '../evaluation/attack-options.js';
import type { RecordedGradientMode } from '../evaluation/gradient-mode.js';
import { evaluateTransfer } from '../evaluation/transfer.js';
import type { GradientMode, Model } from '../models/registry.js';
import { bothBits, countBits, decodeBits, encodeBits, packBits, unpackBits } from './bits.js';
import { takeExample } from './examples.js';
import { attackKey } from './facts.js';
import type { TrainedNetwork } from './networks.js';
import type { AttackTask, TransferCell, WhiteBoxCell } from './plan.js';
import type { AttackRecord } from './results.js';
import {
  type KeptTransfer,
  type KeptWhiteBox,
  keptTransferSchema,
  keptWhiteBoxSchema,
  type StudyStore,
} from './store.js';

/** The trained networks of a study, each opened when it is needed. */
export interface OpenNetworks {
  trained(id: string): TrainedNetwork;
  model(id: string): Model;
}

/** What a task left: either part is null where the plan has none, or it is not there yet. */
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
  return attackKey(record) === attackKey(attackRecord(attack));
}

function gradientOf(mode: RecordedGradientMode): Partial<GradientMode> {
  return { discretizer: mode.discretizer, ...(mode.sign === null ? {} : { sign: mode.sign }) };
}

/** The figures that white-box and transfer cells share. */
function figures(evaluation: AttackEvaluation) {
  return {
    attack: attackRecord(evaluation.attack),
    epsilon: evaluation.epsilon,
    norm: evaluation.norm,
    n: evaluation.n,
    seed: evaluation.seed,
    cleanAccuracy: evaluation.cleanAccuracy,
    adversarialAccuracy: evaluation.adversarialAccuracy,
    adversarialLoss: evaluation.adversarialLoss,
    flippableFraction: evaluation.flippableFraction,
    gradientMode: evaluation.gradientMode,
    meanPerturbation: evaluation.meanPerturbation,
    seconds: evaluation.seconds,
  };
}

/**
 * The kept white-box measurement; null where it is absent, damaged, or was measured on another model file.
 *
 * @param images attacked images
 * @param before what was kept of `cell.after`
 * @param withExample where the plan wants an example image, it must be there; else it may have been taken out
 */
export function findWhiteBox(
  store: StudyStore,
  cell: WhiteBoxCell,
  trained: (id: string) => TrainedNetwork | undefined,
  images: number,
  before: KeptWhiteBox | undefined,
  withExample: boolean,
): KeptWhiteBox | null {
  const kept = store.read(cellPath(cell), keptWhiteBoxSchema);
  if (kept === null || kept.sha256 !== trained(cell.network)?.kept.sha256) return null;
  const { record } = kept;
  const correct = decodeBits(kept.correct, images);
  const sound =
    correct !== null &&
    record.network === cell.network &&
    record.n === images &&
    record.coverage === (cell.after === null ? 'all' : 'remaining') &&
    sameAttack(record.attack, cell.attack) &&
    (kept.example === null ? cell.exampleOfClass === null || !withExample : cell.exampleOfClass !== null);
  if (!sound) return null;
  if (cell.after === null) return kept;
  const remaining = before === undefined ? null : decodeBits(before.correct, images);
  const follows =
    remaining !== null &&
    record.attacked === countBits(remaining) &&
    encodeBits(bothBits(correct, remaining)) === kept.correct;
  return follows ? kept : null;
}

/** The same for a transfer measurement, with all its targets. */
export function findTransfer(
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
      coverage: 'all',
      attacked: evaluation.n,
      zeroGradientFraction: evaluation.zeroGradientFraction,
    },
    sha256: networks.trained(cell.network).kept.sha256,
    correct: encodeBits(packBits(evaluation.adversarialCorrect)),
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

interface TaskOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onFraction: (fraction: number) => void;
}

/** Attacks, in one more gradient mode, the images that withstood the modes before. */
async function attackRemaining(
  cell: WhiteBoxCell,
  before: KeptWhiteBox,
  networks: OpenNetworks,
  data: Dataset,
  options: TaskOptions,
): Promise<KeptWhiteBox> {
  const { plan, kept, correct: clean } = networks.trained(cell.network);
  const correct = unpackBits(decodeBits(before.correct, data.size) as Uint8Array, data.size);
  const rows = [...correct.keys()].filter((i) => correct[i] === 1);
  let found: Pick<WhiteBoxEvaluation, 'meanPerturbation' | 'zeroGradientFraction' | 'seconds'> | null = null;
  if (rows.length > 0) {
    const part = takeRows(data, rows);
    try {
      const cleanFlags = unpackBits(clean, data.size);
      const evaluation = await evaluateAttack(networks.model(cell.network), part, cell.attack, {
        gradient: gradientOf(cell.gradientMode),
        seed: plan.seed,
        rows,
        cleanCorrect: Uint8Array.from(rows, (row) => cleanFlags[row] as number),
        signal: options.signal,
        onProgress: ({ fraction }) => options.onFraction(fraction),
      });
      rows.forEach((row, i) => {
        correct[row] = evaluation.adversarialCorrect[i] as number;
      });
      found = evaluation;
    } finally {
      part.dispose();
    }
  }
  const bits = packBits(correct);
  const adversarialAccuracy = countBits(bits) / data.size;
  return {
    record: {
      ...before.record,
      gradientMode: cell.gradientMode,
      coverage: 'remaining',
      attacked: rows.length,
      adversarialAccuracy,
      adversarialLoss: before.record.cleanAccuracy - adversarialAccuracy,
      meanPerturbation: found?.meanPerturbation ?? null,
      zeroGradientFraction: found?.zeroGradientFraction ?? null,
      seconds: found?.seconds ?? 0,
    },
    sha256: kept.sha256,
    correct: encodeBits(bits),
    example: null,
  };
}

/**
 * Attacks one network and shows the images to the transfer's targets; keeps both. Images are made once; the network's own
 * cell on the diagonal repeats its white-box figures.
 *
 * @param data the attacked images
 * @param before what was kept of the mode before, for a cell that goes on from one
 */
export async function runTask(
  store: StudyStore,
  task: AttackTask,
  known: FinishedTask,
  before: KeptWhiteBox | undefined,
  networks: OpenNetworks,
  data: Dataset,
  options: TaskOptions,
): Promise<FinishedTask> {
  if (task.whiteBox !== null && before !== undefined) {
    const measured = await attackRemaining(task.whiteBox, before, networks, data, options);
    return {
      whiteBox: store.write(cellPath(task.whiteBox), keptWhiteBoxSchema, measured),
      transfer: null,
    };
  }
  const { signal } = options;
  const { plan } = networks.trained(task.network);
  const cleanCorrect = (id: string) => unpackBits(networks.trained(id).correct, data.size);
  const targets = known.transfer === null ? (task.transfer?.targets ?? []) : [];
  const parts = 1 + targets.length;
  const evaluation = await evaluateAttack(networks.model(task.network), data, task.attack, {
    gradient: gradientOf(task.gradientMode),
    seed: plan.seed,
    signal,
    cleanCorrect: cleanCorrect(task.network),
    keepAdversarial: targets.length > 0 || task.whiteBox?.exampleOfClass != null,
    onProgress: ({ fraction }) => options.onFraction(fraction / parts),
  });
  try {
    let { whiteBox, transfer } = known;
    if (whiteBox === null && task.whiteBox !== null) {
      const measured = whiteBoxOf(task.whiteBox, evaluation, networks, data);
      whiteBox = store.write(cellPath(task.whiteBox), keptWhiteBoxSchema, measured);
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
          correct: encodeBits(packBits(shown.adversarialCorrect)),
        });
        options.onFraction((1 + measured.length) / parts);
      }
      transfer = store.write(cellPath(task.transfer), keptTransferSchema, {
        sha256: networks.trained(source).kept.sha256,
        seconds: task.whiteBox === null ? evaluation.seconds : 0,
        targets: measured,
      });
    }
    return { whiteBox, transfer };
  } finally {
    evaluation.adversarial?.dispose();
  }
}
