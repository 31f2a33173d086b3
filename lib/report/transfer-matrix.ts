import type { GradientModeRecord, TransferRecord } from '../study/results.js';
import { attackLabel } from './format.js';
import { deviation, mean } from './statistics.js';
import {
  type AttackKind,
  attackKinds,
  distinct,
  grouped,
  modeKey,
  type Summary,
  type Variant,
} from './summary.js';

/** Images of a source shown to a target, over seeds. */
export interface Transferred {
  readonly accuracy: number;
  /** Sample standard deviation over seeds; null for one. */
  readonly deviation: number | null;
  readonly diagonal: 'twin' | 'white-box' | null;
  readonly n: readonly number[];
  readonly seeds: readonly number[];
}

/** The transfer matrix of one model under one attack at one ε. */
export interface TransferMatrix {
  readonly model: string;
  readonly attack: AttackKind;
  readonly epsilon: number;
  readonly sources: readonly Variant[];
  readonly targets: readonly Variant[];
  readonly measured: readonly Transferred[];
  /** How the sources were differentiated. */
  readonly modes: readonly GradientModeRecord[];
  cell(source: Variant, target: Variant): Transferred | null;
}

/** Every matrix of the study, by model, attack and ε; a twin stands in the column of the variant it is the twin of. */
export function transferMatrices(summary: Summary): TransferMatrix[] {
  const { byId, results } = summary;
  const ofModel = grouped(results.transfer, ({ target }) => byId.get(target)?.model ?? '');
  return summary.models.flatMap((model) =>
    attackKinds(ofModel.get(model) ?? []).flatMap((attack) =>
      attack.epsilons.map((epsilon) => {
        const records = (ofModel.get(model) ?? []).filter(
          (record) => record.epsilon === epsilon && attackLabel(record.attack) === attack.label,
        );
        return matrixOf(summary, model, attack, epsilon, records);
      }),
    ),
  );
}

function matrixOf(
  { byId, of }: Summary,
  model: string,
  attack: AttackKind,
  epsilon: number,
  records: readonly TransferRecord[],
): TransferMatrix {
  const key = (source: string | undefined, target: string | undefined) => `${source}\n${target}`;
  const pairs = grouped(records, ({ source, target }) =>
    key(byId.get(source)?.variant, byId.get(target)?.variant),
  );
  const cells = new Map(
    [...pairs].map(([pair, all]): [string, Transferred] => {
      const twins = all.filter(({ diagonal }) => diagonal === 'twin');
      const picked = twins.length > 0 ? twins : all;
      const accuracies = picked.map((cell) => cell.adversarialAccuracy);
      return [
        pair,
        {
          accuracy: mean(accuracies),
          deviation: deviation(accuracies),
          diagonal: picked[0]?.diagonal ?? null,
          n: picked.map((cell) => cell.n),
          seeds: picked.map((cell) => cell.seed),
        },
      ];
    }),
  );
  const ids = (which: 'source' | 'target') => new Set(records.map((cell) => byId.get(cell[which])?.variant));
  const [sources, targets] = [ids('source'), ids('target')];
  return {
    model,
    attack,
    epsilon,
    sources: of(model).filter((variant) => sources.has(variant.key)),
    targets: of(model).filter((variant) => targets.has(variant.key)),
    measured: [...cells.values()],
    modes: distinct(
      records.map(({ gradientMode }) => gradientMode),
      modeKey,
    ),
    cell: (source, target) => cells.get(key(source.key, target.key)) ?? null,
  };
}

/** Of matrices of one attack, the one that tells most: where accuracies differ most between its cells. */
export function mostTelling(matrices: readonly TransferMatrix[]): TransferMatrix | undefined {
  const spread = (matrix: TransferMatrix) => deviation(matrix.measured.map((cell) => cell.accuracy)) ?? 0;
  return matrices.reduce<TransferMatrix | undefined>(
    (best, matrix) => (best === undefined || spread(matrix) > spread(best) ? matrix : best),
    undefined,
  );
}

/** Sources and targets that have nothing to do with the others, in order: a study may measure several such blocks. */
export function blocksOf(
  matrix: TransferMatrix,
): { readonly sources: readonly Variant[]; readonly targets: readonly Variant[] }[] {
  const blocks: { sources: Variant[]; targets: Variant[] }[] = [];
  for (const source of matrix.sources) {
    const targets = matrix.targets.filter((target) => matrix.cell(source, target) !== null);
    const [first, ...others] = blocks.filter((block) =>
      block.targets.some((target) => targets.includes(target)),
    );
    const block = first ?? { sources: [], targets: [] };
    if (first === undefined) blocks.push(block);
    block.sources.push(source, ...others.flatMap((other) => other.sources));
    block.targets.push(...targets, ...others.flatMap((other) => other.targets));
    for (const other of others) blocks.splice(blocks.indexOf(other), 1);
  }
  return blocks.map((block) => ({
    sources: matrix.sources.filter((source) => block.sources.includes(source)),
    targets: matrix.targets.filter((target) => block.targets.includes(target)),
  }));
}
