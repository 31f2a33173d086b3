import type { RecordedGradientMode } from '../evaluation/gradient-mode.js';
import { wilsonInterval } from '../evaluation/statistics.js';
import { type Bits, bothBits, countBits } from './bits.js';
import { groupBy, unique } from './collections.js';
import type {
  AttackRecord,
  NetworkRecord,
  TransferRecord,
  WhiteBoxRecord,
  WorstCaseRecord,
} from './results.js';
import { attackText, trainingKey } from './words.js';

/** A figure with the correctness of every single image, in the order of the test set. */
export interface Fact<R> {
  readonly record: R;
  readonly correct: Bits;
}

/** What a study measured, from which claims are judged. */
export interface StudyFacts {
  /** `correct`: on clean images. */
  readonly networks: readonly Fact<NetworkRecord>[];
  readonly whiteBox: readonly Fact<WhiteBoxRecord>[];
  readonly worstCase: readonly Fact<WorstCaseRecord>[];
  readonly transfer: readonly Fact<TransferRecord>[];
}

/** `exact` gradients are zero and only show masking. */
function isExact({ discretizer, sign }: RecordedGradientMode): boolean {
  return discretizer === 'exact' || sign === 'exact';
}

const modeKey = ({ discretizer, sign }: RecordedGradientMode): string => `${discretizer} ${sign}`;

/** Equal for equal attacks, in whatever order their settings stand. */
export function attackKey(attack: AttackRecord): string {
  return JSON.stringify(Object.entries(attack).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * The headline figures: for each network, attack and ε, an image counts as correct where it withstood every gradient mode
 * tried.
 *
 * @param modesOf the gradient modes worth trying on a network
 */
export function worstCases(
  whiteBox: StudyFacts['whiteBox'],
  modesOf: (network: string) => readonly RecordedGradientMode[],
): Fact<WorstCaseRecord>[] {
  const cells = whiteBox.filter(({ record }) => !isExact(record.gradientMode));
  const groups = groupBy(cells, ({ record }) =>
    JSON.stringify([record.network, attackKey(record.attack), record.n]),
  );
  return [...groups.values()].map((tried) => {
    const [{ record: first, correct: start }] = tried as [Fact<WhiteBoxRecord>];
    const correct = tried.reduce((bits, fact) => bothBits(bits, fact.correct), start);
    const { low, high, accuracy } = wilsonInterval(countBits(correct), first.n);
    const alone = tried.map(({ record }) => record).filter(({ coverage }) => coverage === 'all');
    const worst = alone.reduce((a, b) => (b.adversarialAccuracy < a.adversarialAccuracy ? b : a), first);
    const triedKeys = new Set(tried.map(({ record }) => modeKey(record.gradientMode)));
    return {
      record: {
        threatModel: 'white-box',
        network: first.network,
        attack: first.attack,
        epsilon: first.epsilon,
        norm: first.norm,
        n: first.n,
        seed: first.seed,
        cleanAccuracy: first.cleanAccuracy,
        adversarialAccuracy: accuracy,
        adversarialLoss: first.cleanAccuracy - accuracy,
        flippableFraction: first.flippableFraction,
        interval: { low, high },
        gradientModes: tried.map(({ record }) => record.gradientMode),
        everyMode: modesOf(first.network).every((mode) => triedKeys.has(modeKey(mode))),
        worstMode: { gradientMode: worst.gradientMode, adversarialAccuracy: worst.adversarialAccuracy },
      },
      correct,
    };
  });
}

/** Networks that differ only in their seed, by ascending seed; twins are left out. */
export interface Variant {
  readonly model: string;
  readonly recipe: string;
  readonly inputBits: number;
  readonly training: NetworkRecord['training'];
  readonly networks: readonly Fact<NetworkRecord>[];
}

/** Attacks that differ only in ε and in the step sizes that follow from it. */
export interface AttackKind {
  readonly label: string;
  readonly name: string;
  readonly norm: 'linf' | 'l2';
  readonly multiStep: boolean;
}

/** Under which threat model, and white-box in which gradient mode, claims are judged. */
export type View =
  /** `gradientMode` null: the per-example worst over all modes worth trying. */
  | { readonly threatModel: 'white-box'; readonly gradientMode: RecordedGradientMode | null }
  /** The source that leaves the least accuracy. */
  | { readonly threatModel: 'transfer'; readonly gradientMode: null };

/** One network under one attack at one ε, in a view. */
export interface Measured {
  readonly n: number;
  readonly seed: number;
  readonly adversarialAccuracy: number;
  readonly adversarialLoss: number;
  readonly correct: Bits;
  /** The gradient mode that did most alone; transfer: null. */
  readonly worstMode: RecordedGradientMode | null;
}

function attackKind(attack: AttackRecord): AttackKind {
  const restarts = (attack.restarts ?? 1) > 1 ? `, ${attack.restarts} restarts` : '';
  const start = attack.name === 'pgd' && attack.randomStart === false ? ', no random start' : '';
  return {
    label: `${attackText(attack)}${restarts}${start}${attack.targeted ? ', targeted' : ''}`,
    name: attack.name,
    norm: attack.norm ?? 'linf',
    multiStep: (attack.steps ?? 1) > 1,
  };
}

const viewKey = ({ threatModel, gradientMode }: View): string =>
  `${threatModel} ${gradientMode === null ? '' : modeKey(gradientMode)}`;

/** What one view shows. */
class ViewIndex {
  readonly kinds = new Map<string, AttackKind>();
  readonly #epsilons = new Map<string, Set<number>>();
  readonly #measured = new Map<string, Measured>();

  /** Of two measurements of the same thing the one that leaves less accuracy counts. */
  add(network: string, attack: AttackRecord, measured: Measured): void {
    const kind = attackKind(attack);
    this.kinds.set(kind.label, kind);
    const epsilons = this.#epsilons.get(kind.label) ?? new Set<number>();
    this.#epsilons.set(kind.label, epsilons.add(attack.epsilon));
    const key = JSON.stringify([network, kind.label, attack.epsilon]);
    const known = this.#measured.get(key);
    if (known === undefined || measured.adversarialAccuracy < known.adversarialAccuracy) {
      this.#measured.set(key, measured);
    }
  }

  epsilons(kind: AttackKind): number[] {
    return [...(this.#epsilons.get(kind.label) ?? [])].sort((a, b) => a - b);
  }

  get(network: string, kind: AttackKind, epsilon: number): Measured | undefined {
    return this.#measured.get(JSON.stringify([network, kind.label, epsilon]));
  }
}

/** Answers what claims ask of the facts. */
export class FactIndex {
  readonly variants: readonly Variant[];
  /** The worst gradient mode, each gradient mode that some network leaves a choice of, transfer. */
  readonly views: readonly View[];
  readonly #byView = new Map<string, ViewIndex>();
  /** Networks that can be differentiated in several ways. */
  readonly #withChoice = new Set<string>();

  constructor(facts: StudyFacts) {
    const own = facts.networks.filter(({ record }) => !record.twin);
    const groups = groupBy(own, ({ record: { model, recipe, inputBits, training } }) =>
      JSON.stringify([model, recipe, inputBits, trainingKey(training)]),
    );
    this.variants = [...groups.values()].map((networks) => {
      const { model, recipe, inputBits, training } = (networks[0] as Fact<NetworkRecord>).record;
      return {
        model,
        recipe,
        inputBits,
        training,
        networks: [...networks].sort((a, b) => a.record.seed - b.record.seed),
      };
    });
    const alone = facts.whiteBox.filter(
      ({ record }) => record.coverage === 'all' && !isExact(record.gradientMode),
    );
    for (const { record } of alone) {
      if (record.gradientMode.sign !== null) this.#withChoice.add(record.network);
    }
    const modes = new Map(
      alone
        .filter(({ record }) => record.gradientMode.sign !== null)
        .map(({ record }) => [modeKey(record.gradientMode), record.gradientMode]),
    );
    const worst: View = { threatModel: 'white-box', gradientMode: null };
    const byMode = [...modes.values()].map(
      (gradientMode): View => ({ threatModel: 'white-box', gradientMode }),
    );
    const transfer: View = { threatModel: 'transfer', gradientMode: null };
    this.views = [worst, ...byMode, transfer];
    for (const view of this.views) this.#byView.set(viewKey(view), new ViewIndex());

    for (const { record, correct } of facts.worstCase) {
      // Under the default mode alone nobody knows the worst.
      if (record.everyMode) {
        const { gradientMode: worstMode } = record.worstMode;
        this.#index(worst).add(record.network, record.attack, { ...record, correct, worstMode });
      }
    }
    for (const { record, correct } of alone) {
      const measured = { ...record, correct, worstMode: record.gradientMode };
      for (const view of byMode) {
        // A network that leaves no choice stands beside the others in each of their modes.
        const same =
          record.gradientMode.sign === null ||
          (view.gradientMode !== null && modeKey(view.gradientMode) === modeKey(record.gradientMode));
        if (same) this.#index(view).add(record.network, record.attack, measured);
      }
    }
    for (const { record, correct } of facts.transfer) {
      // On the matrix's diagonal a network that is its own source is white-box.
      if (record.diagonal !== 'white-box') {
        this.#index(transfer).add(record.target, record.attack, { ...record, correct, worstMode: null });
      }
    }
  }

  #index(view: View): ViewIndex {
    return this.#byView.get(viewKey(view)) as ViewIndex;
  }

  get models(): string[] {
    return unique(this.variants.map(({ model }) => model));
  }

  recipes(model: string): string[] {
    return unique(this.variants.filter((variant) => variant.model === model).map(({ recipe }) => recipe));
  }

  /** The attacks of a view, in order of appearance. */
  kinds(view: View): AttackKind[] {
    return [...this.#index(view).kinds.values()];
  }

  /** Every ε above 0 that an attack was run at, ascending. */
  epsilons(view: View, kind: AttackKind): number[] {
    return this.#index(view)
      .epsilons(kind)
      .filter((epsilon) => epsilon > 0);
  }

  /** Whether the view says something about these variants that others do not: a gradient mode needs a choice of it. */
  concerns(view: View, variants: readonly Variant[]): boolean {
    return (
      view.gradientMode === null ||
      variants.some(({ networks }) => networks.some(({ record }) => this.#withChoice.has(record.id)))
    );
  }

  find(model: string, recipe: string, inputBits: number, training: string): Variant | undefined {
    return this.variants.find(
      (variant) =>
        variant.model === model &&
        variant.recipe === recipe &&
        variant.inputBits === inputBits &&
        trainingKey(variant.training) === training,
    );
  }

  /** The adversarially trained variants of a model and recipe, ensemble-trained ones included. */
  trained(model: string, recipe: string, inputBits: number): Variant[] {
    return this.variants.filter(
      (variant) =>
        variant.model === model &&
        variant.recipe === recipe &&
        variant.inputBits === inputBits &&
        variant.training.kind !== 'natural',
    );
  }

  /** The variant's networks in the view, by seed; undefined where one was not measured. */
  measured(variant: Variant, view: View, kind: AttackKind, epsilon: number): Measured[] | undefined {
    const index = this.#index(view);
    const found = variant.networks.map(({ record }) => index.get(record.id, kind, epsilon));
    return found.every((each) => each !== undefined) ? found : undefined;
  }
}
