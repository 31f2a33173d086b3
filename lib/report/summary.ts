import type {
  AttackRecord,
  GradientModeRecord,
  NetworkRecord,
  Results,
  TrainingRecord,
  TransferRecord,
  WhiteBoxRecord,
} from '../study/results.js';
import { attackLabel, isMasking, isMultiStep } from './format.js';

/** Networks that differ only in their seed. */
export interface Variant {
  readonly key: string;
  readonly model: string;
  readonly recipe: string;
  readonly inputBits: number;
  readonly training: TrainingRecord;
  readonly networks: readonly NetworkRecord[];
}

/** Attacks that differ only in ε and the step sizes that follow from it. */
export interface AttackKind {
  readonly label: string;
  readonly multiStep: boolean;
  readonly epsilons: readonly number[];
}

/** One measured figure, over seeds: mean, lowest and highest, and what it rests on. */
export interface Measured {
  readonly accuracy: number;
  readonly lowest: number;
  readonly highest: number;
  readonly cleanAccuracy: number;
  readonly loss: number;
  readonly flippable: number;
  /** The largest over seeds. */
  readonly zeroGradient: number;
  readonly modes: readonly GradientModeRecord[];
  readonly attacks: readonly string[];
  readonly n: readonly number[];
  readonly seeds: readonly number[];
}

/** The results, sorted and indexed for the page. */
export interface Summary {
  readonly results: Results;
  readonly variants: readonly Variant[];
  readonly models: readonly string[];
  readonly recipes: readonly string[];
  readonly trainings: readonly TrainingRecord[];
  readonly inputBits: readonly number[];
  readonly attacks: readonly AttackKind[];
  readonly epsilons: readonly number[];
  /** White-box under the gradient mode that leaves the least accuracy, one cell. */
  headline(variant: Variant, attack: AttackKind, epsilon: number): Measured | null;
  /** White-box under the strongest of several attacks and of all gradient modes. */
  strongest(variant: Variant, attacks: readonly AttackKind[], epsilon: number): Measured | null;
  /** White-box in one gradient mode. */
  inMode(variant: Variant, attack: AttackKind, epsilon: number, mode: GradientModeRecord): Measured | null;
}

export function trainingKey(training: TrainingRecord): string {
  return training.kind === 'natural' ? 'natural' : `${training.attack} ${training.epsilon} ${training.mix}`;
}

export function modeKey(mode: GradientModeRecord): string {
  return `${mode.discretizer} ${mode.sign}`;
}

function variantKey(network: NetworkRecord): string {
  return JSON.stringify([network.model, network.recipe, network.inputBits, trainingKey(network.training)]);
}

const signOrder = [null, 'clipped', 'identity', 'approx', 'exact'] as const;

/** Honest modes first, the default first of all; breaks ties between equally strong modes. */
export function compareModes(a: GradientModeRecord, b: GradientModeRecord): number {
  const rank = (mode: GradientModeRecord) =>
    (isMasking(mode) ? 100 : 0) + (mode.discretizer === 'exact' ? 10 : 0) + signOrder.indexOf(mode.sign);
  return rank(a) - rank(b);
}

/** Distinct values by key, in order of first appearance. */
export function distinct<T>(values: Iterable<T>, key: (value: T) => string | number): T[] {
  const seen = new Map<string | number, T>();
  for (const value of values) if (!seen.has(key(value))) seen.set(key(value), value);
  return [...seen.values()];
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

type Cell = WhiteBoxRecord | TransferRecord;

/** The cell that leaves the least accuracy; of equals, the one in the more honest gradient mode. */
function worst<T extends Cell>(cells: readonly T[]): T {
  return cells.reduce((a, b) => {
    const order = a.adversarialAccuracy - b.adversarialAccuracy;
    return order < 0 || (order === 0 && compareModes(a.gradientMode, b.gradientMode) <= 0) ? a : b;
  });
}

function measured(cells: readonly Cell[]): Measured | null {
  if (cells.length === 0) return null;
  const accuracies = cells.map((cell) => cell.adversarialAccuracy);
  return {
    accuracy: mean(accuracies),
    lowest: Math.min(...accuracies),
    highest: Math.max(...accuracies),
    cleanAccuracy: mean(cells.map((cell) => cell.cleanAccuracy)),
    loss: mean(cells.map((cell) => cell.adversarialLoss)),
    flippable: mean(cells.map((cell) => cell.flippableFraction)),
    zeroGradient: Math.max(
      ...cells.map((cell) => (cell.threatModel === 'white-box' ? cell.zeroGradientFraction : 0)),
    ),
    modes: distinct(
      cells.map((cell) => cell.gradientMode),
      modeKey,
    ).sort(compareModes),
    attacks: distinct(
      cells.map((cell) => attackLabel(cell.attack)),
      (label) => label,
    ),
    n: cells.map((cell) => cell.n),
    seeds: cells.map((cell) => cell.seed),
  };
}

/** Full precision first, then in order of appearance. */
function recipeOrder(recipes: readonly string[]): string[] {
  return [...recipes].sort((a, b) => Number(b === 'none') - Number(a === 'none'));
}

/** Natural first, then in order of appearance. */
function trainingOrder(trainings: readonly TrainingRecord[]): TrainingRecord[] {
  return [...trainings].sort((a, b) => Number(b.kind === 'natural') - Number(a.kind === 'natural'));
}

/** Every attack in the cells by label, in order of appearance, with its ε in ascending order. */
export function attackKinds(
  cells: readonly { readonly attack: AttackRecord; readonly epsilon: number }[],
): AttackKind[] {
  const kinds = new Map<string, { multiStep: boolean; epsilons: Set<number> }>();
  for (const { attack, epsilon } of cells) {
    const label = attackLabel(attack);
    const kind = kinds.get(label) ?? { multiStep: isMultiStep(attack), epsilons: new Set<number>() };
    kind.epsilons.add(epsilon);
    kinds.set(label, kind);
  }
  return [...kinds].map(([label, { multiStep, epsilons }]) => ({
    label,
    multiStep,
    epsilons: [...epsilons].sort((a, b) => a - b),
  }));
}

export function summarize(results: Results): Summary {
  const main = results.networks.filter((network) => !network.twin);
  const models = distinct(main, (network) => network.model).map((network) => network.model);
  const recipes = recipeOrder(distinct(main, (network) => network.recipe).map((network) => network.recipe));
  const trainings = trainingOrder(
    distinct(
      main.map((network) => network.training),
      trainingKey,
    ),
  );
  const inputBits = [...new Set(main.map((network) => network.inputBits))].sort((a, b) => b - a);

  const groups = new Map<string, NetworkRecord[]>();
  for (const network of main) push(groups, variantKey(network), network);
  const variants: Variant[] = [...groups].map(([key, networks]) => {
    const { model, recipe, inputBits: bits, training } = networks[0] as NetworkRecord;
    return { key, model, recipe, inputBits: bits, training, networks };
  });
  const trainingKeys = trainings.map(trainingKey);
  const rank = (variant: Variant) => [
    models.indexOf(variant.model),
    trainingKeys.indexOf(trainingKey(variant.training)),
    recipes.indexOf(variant.recipe),
    -variant.inputBits,
  ];
  variants.sort((a, b) => {
    const left = rank(a);
    const right = rank(b);
    const at = left.findIndex((value, i) => value !== right[i]);
    return at < 0 ? 0 : (left[at] as number) - (right[at] as number);
  });

  const attacks = attackKinds(results.whiteBox);
  const epsilons = [...new Set(results.whiteBox.map((cell) => cell.epsilon))].sort((a, b) => a - b);
  const index = new Map<string, WhiteBoxRecord[]>();
  for (const cell of results.whiteBox) {
    push(index, `${cell.network}\n${attackLabel(cell.attack)}\n${cell.epsilon}`, cell);
  }
  const cellsOf = (network: NetworkRecord, attack: AttackKind, epsilon: number) =>
    index.get(`${network.id}\n${attack.label}\n${epsilon}`) ?? [];

  const strongest: Summary['strongest'] = (variant, kinds, epsilon) =>
    measured(
      variant.networks.flatMap((network) => {
        const cells = kinds.flatMap((attack) => cellsOf(network, attack, epsilon));
        return cells.length === 0 ? [] : [worst(cells)];
      }),
    );

  return {
    results,
    variants,
    models,
    recipes,
    trainings,
    inputBits,
    attacks,
    epsilons,
    headline: (variant, attack, epsilon) => strongest(variant, [attack], epsilon),
    strongest,
    inMode: (variant, attack, epsilon, mode) =>
      measured(
        variant.networks.flatMap((network) =>
          cellsOf(network, attack, epsilon).filter((cell) => modeKey(cell.gradientMode) === modeKey(mode)),
        ),
      ),
  };
}

/** The transfer matrix of one attack at one ε: source by target, over seeds and the worst gradient mode. */
export interface TransferMatrix {
  readonly attack: AttackKind;
  readonly epsilon: number;
  readonly variants: readonly Variant[];
  cell(
    source: Variant,
    target: Variant,
  ): (Measured & { readonly diagonal: 'twin' | 'white-box' | null }) | null;
  readonly measured: readonly Measured[];
}

/** Builds the matrix; a twin stands in the row of the variant it is the twin of. */
export function transferMatrix(summary: Summary, attack: AttackKind, epsilon: number): TransferMatrix {
  const byId = new Map(summary.results.networks.map((network) => [network.id, variantKey(network)]));
  const pairs = new Map<string, Map<string, TransferRecord[]>>();
  for (const record of summary.results.transfer) {
    if (record.epsilon !== epsilon || attackLabel(record.attack) !== attack.label) continue;
    const key = `${byId.get(record.source)}\n${byId.get(record.target)}`;
    const runs = pairs.get(key) ?? new Map<string, TransferRecord[]>();
    push(runs, `${record.source}\n${record.target}`, record);
    pairs.set(key, runs);
  }
  const cells = new Map(
    [...pairs].map(([key, runs]) => {
      const all = [...runs.values()].map(worst);
      const twins = all.filter((cell) => cell.diagonal === 'twin');
      const picked = twins.length > 0 ? twins : all;
      const facts = measured(picked) as Measured;
      return [key, { ...facts, diagonal: (picked[0] as TransferRecord).diagonal }] as const;
    }),
  );
  return {
    attack,
    epsilon,
    variants: summary.variants.filter((variant) =>
      [...pairs.keys()].some((key) => key.split('\n').includes(variant.key)),
    ),
    cell: (source, target) => cells.get(`${source.key}\n${target.key}`) ?? null,
    measured: [...cells.values()],
  };
}
