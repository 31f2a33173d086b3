import type { AttackRecord, NetworkRecord, TransferRecord, WhiteBoxRecord } from './results.js';
import { attackText, trainingKey } from './words.js';

/** What a study measured, with the correctness of every single image, from which claims are judged. */
export interface StudyFacts {
  readonly networks: readonly {
    readonly record: NetworkRecord /** On clean images. */;
    readonly correct: Uint8Array;
  }[];
  /** `correct`: per attacked image 1 (still classified as labelled) or 0, in the order of the test set. */
  readonly whiteBox: readonly { readonly record: WhiteBoxRecord; readonly correct: Uint8Array }[];
  readonly transfer: readonly { readonly record: TransferRecord; readonly correct: Uint8Array }[];
}

export type AttackedFact = StudyFacts['whiteBox'][number] | StudyFacts['transfer'][number];
export type AttackThreat = 'white-box' | 'transfer';

/** Networks that differ only in their seed, by ascending seed; twins are left out. */
export interface Variant {
  readonly model: string;
  readonly recipe: string;
  readonly inputBits: number;
  readonly training: NetworkRecord['training'];
  readonly networks: readonly StudyFacts['networks'][number][];
}

/** Attacks that differ only in ε and in the step sizes that follow from it. */
export interface AttackKind {
  readonly label: string;
  readonly multiStep: boolean;
}

function attackKind(attack: AttackRecord): AttackKind {
  const multiStep = (attack.steps ?? 1) > 1;
  const restarts = (attack.restarts ?? 1) > 1 ? `, ${attack.restarts} restarts` : '';
  const start = attack.name === 'pgd' && attack.randomStart === false ? ', no random start' : '';
  return {
    label: `${attackText(attack)}${restarts}${start}${attack.targeted ? ', targeted' : ''}`,
    multiStep,
  };
}

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

/** Answers what claims ask of the facts. */
export class FactIndex {
  readonly variants: readonly Variant[];
  readonly #byThreat: Record<AttackThreat, Map<string, AttackedFact[]>> = {
    'white-box': new Map(),
    transfer: new Map(),
  };
  readonly #kinds: Record<AttackThreat, Map<string, AttackKind>> = {
    'white-box': new Map(),
    transfer: new Map(),
  };
  readonly #epsilons = new Map<string, Set<number>>();

  constructor(facts: StudyFacts) {
    const groups = new Map<string, StudyFacts['networks'][number][]>();
    for (const network of facts.networks) {
      const { twin, model, recipe, inputBits, training } = network.record;
      if (!twin) push(groups, JSON.stringify([model, recipe, inputBits, trainingKey(training)]), network);
    }
    this.variants = [...groups.values()].map((networks) => {
      const { model, recipe, inputBits, training } = (networks[0] as StudyFacts['networks'][number]).record;
      return {
        model,
        recipe,
        inputBits,
        training,
        networks: [...networks].sort((a, b) => a.record.seed - b.record.seed),
      };
    });
    // `exact` gradients are zero and only show masking; on the transfer matrix's diagonal a network that is its own
    // source is white-box.
    for (const fact of facts.whiteBox) {
      const { discretizer, sign } = fact.record.gradientMode;
      if (discretizer !== 'exact' && sign !== 'exact') this.#add('white-box', fact.record.network, fact);
    }
    for (const fact of facts.transfer) {
      if (fact.record.diagonal !== 'white-box') this.#add('transfer', fact.record.target, fact);
    }
  }

  #add(threat: AttackThreat, network: string, fact: AttackedFact): void {
    const kind = attackKind(fact.record.attack);
    this.#kinds[threat].set(kind.label, kind);
    push(this.#byThreat[threat], JSON.stringify([network, kind.label, fact.record.epsilon]), fact);
    const key = JSON.stringify([threat, kind.label]);
    const epsilons = this.#epsilons.get(key) ?? new Set<number>();
    this.#epsilons.set(key, epsilons.add(fact.record.epsilon));
  }

  /** The attacks of a threat model, in order of appearance. */
  kinds(threat: AttackThreat): AttackKind[] {
    return [...this.#kinds[threat].values()];
  }

  /** Every ε an attack was run at, ascending. */
  epsilons(threat: AttackThreat, kind: AttackKind): number[] {
    return [...(this.#epsilons.get(JSON.stringify([threat, kind.label])) ?? [])].sort((a, b) => a - b);
  }

  find(
    model: string,
    recipe: string,
    inputBits: number,
    training: 'natural' | 'adversarial',
  ): Variant | undefined {
    return this.variants.find(
      (variant) =>
        variant.model === model &&
        variant.recipe === recipe &&
        variant.inputBits === inputBits &&
        variant.training.kind === training,
    );
  }

  /**
   * For each of the variant's networks, the measurement that leaves the least accuracy over gradient modes (white-box) or
   * over sources (transfer), the first of equals; undefined where a network was not measured.
   */
  worst(
    variant: Variant,
    threat: AttackThreat,
    kind: AttackKind,
    epsilon: number,
  ): AttackedFact[] | undefined {
    const found: AttackedFact[] = [];
    for (const { record } of variant.networks) {
      const facts = this.#byThreat[threat].get(JSON.stringify([record.id, kind.label, epsilon]));
      if (facts === undefined) return undefined;
      found.push(
        facts.reduce((a, b) => (b.record.adversarialAccuracy < a.record.adversarialAccuracy ? b : a)),
      );
    }
    return found;
  }
}

/** Mean over seeds. */
export function meanOf(
  facts: readonly AttackedFact[],
  key: 'adversarialLoss' | 'adversarialAccuracy',
): number {
  return facts.reduce((sum, { record }) => sum + record[key], 0) / facts.length;
}
