import type {
  AttackRecord,
  GradientModeRecord,
  NetworkRecord,
  Results,
  TrainingRecord,
  WhiteBoxRecord,
  WorstCaseRecord,
} from '../study/results.js';
import { attackLabel, isMasking, isMultiStep } from './format.js';
import { deviation, mean } from './statistics.js';

/** Networks that differ only in their seed. */
export interface Variant {
  readonly key: string;
  readonly model: string;
  readonly recipe: string;
  readonly inputBits: number;
  readonly training: TrainingRecord;
  /** By ascending seed. */
  readonly networks: readonly NetworkRecord[];
}

/** Attacks that differ only in ε and the step sizes that follow from it. */
export interface AttackKind {
  readonly label: string;
  readonly norm: 'linf' | 'l2';
  readonly multiStep: boolean;
  readonly epsilons: readonly number[];
}

/** One measured accuracy, over seeds, and what it rests on. */
export interface Measured {
  /** Mean over seeds. */
  readonly accuracy: number;
  /** Sample standard deviation over seeds; null for one seed. */
  readonly deviation: number | null;
  /** 95 % Wilson interval over images; null for several seeds. */
  readonly interval: { readonly low: number; readonly high: number } | null;
  readonly cleanAccuracy: number;
  readonly loss: number;
  readonly lossDeviation: number | null;
  /** null in L2. */
  readonly flippable: number | null;
  /** The strongest single gradient mode of each seed, distinct. */
  readonly modes: readonly GradientModeRecord[];
  /** Every gradient mode worth trying was tried; otherwise the default one alone. */
  readonly everyMode: boolean;
  readonly n: readonly number[];
  readonly seeds: readonly number[];
}

/** One gradient mode of one network under one attack at one ε, over seeds. */
export interface InMode {
  readonly mode: GradientModeRecord;
  /** Mean over seeds; with coverage 'remaining' of what the modes before had left. */
  readonly accuracy: number;
  readonly coverage: 'all' | 'remaining';
  readonly n: readonly number[];
  readonly seeds: readonly number[];
}

/** The results, sorted and indexed for the pages. */
export interface Summary {
  readonly results: Results;
  readonly byId: ReadonlyMap<string, NetworkRecord>;
  readonly variants: readonly Variant[];
  readonly models: readonly string[];
  readonly recipes: readonly string[];
  readonly trainings: readonly TrainingRecord[];
  readonly inputBits: readonly number[];
  /** White-box attacks. */
  readonly attacks: readonly AttackKind[];
  /** Variants of a model, in order. */
  of(model: string): readonly Variant[];
  /** White-box: each image counts as lost where any gradient mode wins it. */
  worst(variant: Variant, attack: AttackKind, epsilon: number): Measured | null;
  /** The same of the attack that leaves the least, seed by seed. */
  strongest(variant: Variant, attacks: readonly AttackKind[], epsilon: number): Measured | null;
  /** Every gradient mode tried, in order. */
  inModes(variant: Variant, attack: AttackKind, epsilon: number): readonly InMode[];
  /** The records of one network. */
  worstOf(network: string): readonly WorstCaseRecord[];
  whiteBoxOf(network: string): readonly WhiteBoxRecord[];
}

/** Equal for trainings that differ in nothing but which networks, of another seed, were their sources. */
export function trainingKey(training: TrainingRecord): string {
  if (training.kind === 'natural') return 'natural';
  const { kind, attack, epsilon, mix, steps } = training;
  return `${kind} ${attack} ${steps ?? 1} ${epsilon} ${mix}`;
}

export function modeKey(mode: GradientModeRecord): string {
  return `${mode.discretizer} ${mode.sign}`;
}

const signOrder = [null, 'clipped', 'identity', 'approx', 'swish', 'exact'] as const;

/** Honest modes first, the default first of all. */
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

/** Values in order of appearance under each key. */
export function grouped<T>(values: Iterable<T>, key: (value: T) => string): Map<string, T[]> {
  const map = new Map<string, T[]>();
  for (const value of values) {
    const list = map.get(key(value));
    if (list === undefined) map.set(key(value), [value]);
    else list.push(value);
  }
  return map;
}

function measured(cells: readonly WorstCaseRecord[]): Measured | null {
  const [first] = cells;
  if (first === undefined) return null;
  const accuracies = cells.map((cell) => cell.adversarialAccuracy);
  const losses = cells.map((cell) => cell.adversarialLoss);
  const flippable = cells.flatMap((cell) => cell.flippableFraction ?? []);
  return {
    accuracy: mean(accuracies),
    deviation: deviation(accuracies),
    interval: cells.length === 1 ? first.interval : null,
    cleanAccuracy: mean(cells.map((cell) => cell.cleanAccuracy)),
    loss: mean(losses),
    lossDeviation: deviation(losses),
    flippable: flippable.length === 0 ? null : mean(flippable),
    modes: distinct(
      cells.map((cell) => cell.worstMode.gradientMode),
      modeKey,
    ).sort(compareModes),
    everyMode: cells.every((cell) => cell.everyMode),
    n: cells.map((cell) => cell.n),
    seeds: cells.map((cell) => cell.seed),
  };
}

function leastOf(cells: readonly WorstCaseRecord[]): WorstCaseRecord | undefined {
  return cells.reduce<WorstCaseRecord | undefined>(
    (least, cell) =>
      least === undefined || cell.adversarialAccuracy < least.adversarialAccuracy ? cell : least,
    undefined,
  );
}

/** Every attack in the cells by label, in order of appearance, with its ε in ascending order. */
export function attackKinds(
  cells: Iterable<{ readonly attack: AttackRecord; readonly epsilon: number }>,
): AttackKind[] {
  const kinds = new Map<string, { first: AttackRecord; epsilons: Set<number> }>();
  for (const { attack, epsilon } of cells) {
    const label = attackLabel(attack);
    const kind = kinds.get(label) ?? { first: attack, epsilons: new Set<number>() };
    kind.epsilons.add(epsilon);
    kinds.set(label, kind);
  }
  return [...kinds].map(([label, { first, epsilons }]) => ({
    label,
    norm: first.norm ?? 'linf',
    multiStep: isMultiStep(first),
    epsilons: [...epsilons].sort((a, b) => a - b),
  }));
}

/** One measurement of a network. */
export function cellKey(network: string, label: string, epsilon: number): string {
  return `${network}\n${label}\n${epsilon}`;
}

/** Models, trainings and recipes in order of appearance, natural and full precision first; bits descending. */
function sortVariants(main: readonly NetworkRecord[]) {
  const models = [...new Set(main.map((network) => network.model))];
  const recipes = [...new Set(main.map((network) => network.recipe))].sort(
    (a, b) => Number(b === 'none') - Number(a === 'none'),
  );
  const trainings = distinct(
    main.map((network) => network.training),
    trainingKey,
  ).sort((a, b) => Number(b.kind === 'natural') - Number(a.kind === 'natural'));
  const inputBits = [...new Set(main.map((network) => network.inputBits))].sort((a, b) => b - a);
  const keys = trainings.map(trainingKey);
  const rank = (variant: Variant) => [
    models.indexOf(variant.model),
    keys.indexOf(trainingKey(variant.training)),
    recipes.indexOf(variant.recipe),
    -variant.inputBits,
  ];
  const variants = [...grouped(main, ({ variant }) => variant)]
    .map(([key, networks]): Variant => {
      const { model, recipe, inputBits: bits, training } = networks[0] as NetworkRecord;
      const bySeed = [...networks].sort((a, b) => a.seed - b.seed);
      return { key, model, recipe, inputBits: bits, training, networks: bySeed };
    })
    .map((variant) => ({ variant, rank: rank(variant) }))
    .sort((a, b) => {
      const at = a.rank.findIndex((value, i) => value !== b.rank[i]);
      return at < 0 ? 0 : (a.rank[at] as number) - (b.rank[at] as number);
    })
    .map(({ variant }) => variant);
  return { models, recipes, trainings, inputBits, variants };
}

export function summarize(results: Results): Summary {
  const sorted = sortVariants(results.networks.filter((network) => !network.twin));
  const worst = grouped(results.worstCase, (cell) =>
    cellKey(cell.network, attackLabel(cell.attack), cell.epsilon),
  );
  const byMode = grouped(results.whiteBox, (cell) =>
    cellKey(cell.network, attackLabel(cell.attack), cell.epsilon),
  );
  const worstOf = grouped(results.worstCase, ({ network }) => network);
  const whiteBoxOf = grouped(results.whiteBox, ({ network }) => network);
  const ofModel = grouped(sorted.variants, ({ model }) => model);
  const strongest: Summary['strongest'] = (variant, kinds, epsilon) =>
    measured(
      variant.networks.flatMap(
        ({ id }) => leastOf(kinds.flatMap((kind) => worst.get(cellKey(id, kind.label, epsilon)) ?? [])) ?? [],
      ),
    );
  return {
    ...sorted,
    results,
    byId: new Map(results.networks.map((network) => [network.id, network])),
    attacks: attackKinds(results.worstCase),
    of: (model) => ofModel.get(model) ?? [],
    worst: (variant, attack, epsilon) => strongest(variant, [attack], epsilon),
    strongest,
    inModes: (variant, attack, epsilon) => {
      const cells = variant.networks.flatMap(
        ({ id }) => byMode.get(cellKey(id, attack.label, epsilon)) ?? [],
      );
      return [...grouped(cells, ({ gradientMode }) => modeKey(gradientMode)).values()]
        .map(
          (same): InMode => ({
            mode: (same[0] as WhiteBoxRecord).gradientMode,
            coverage: same.some((cell) => cell.coverage === 'remaining') ? 'remaining' : 'all',
            accuracy: mean(same.map((cell) => cell.adversarialAccuracy)),
            n: same.map((cell) => cell.n),
            seeds: same.map((cell) => cell.seed),
          }),
        )
        .sort((a, b) => compareModes(a.mode, b.mode));
    },
    worstOf: (network) => worstOf.get(network) ?? [],
    whiteBoxOf: (network) => whiteBoxOf.get(network) ?? [],
  };
}
