import { HardbitError, requireName } from '../errors.js';
import { type AttackName, type AttackSpec, resolveAttack } from '../evaluation/attack-options.js';
import {
  gradientModesFor,
  type RecordedGradientMode,
  recordGradientMode,
} from '../evaluation/gradient-mode.js';
import { sha256 } from '../files.js';
import { adam, type OptimizerSpec, type Schedule } from '../training/options.js';
import { version } from '../version.js';
import type { TrainingRecord } from './results.js';

/** One attack over several ε; hyper-parameters left out take the attack's defaults. */
export interface PlannedAttack {
  readonly name: AttackName;
  readonly epsilons: readonly number[];
  readonly steps?: number;
  readonly restarts?: number;
  /** 'all': white-box in every gradient mode worth trying; 'default': in the default mode alone. */
  readonly gradientModes: 'all' | 'default';
  /** The images made on each network are also shown to all the others. */
  readonly transfer: boolean;
}

/** What a study trains and measures, up to the number of seeds. */
export interface Preset {
  readonly name: string;
  readonly dataset: string;
  readonly model: string;
  readonly inputBits: readonly number[];
  readonly recipes: readonly string[];
  readonly trainings: readonly TrainingRecord[];
  readonly epochs: number;
  readonly batchSize: number;
  readonly optimizer: OptimizerSpec;
  readonly schedule: Schedule;
  readonly attacks: readonly PlannedAttack[];
  /** Measured with the discretizer's exact gradient too, which is zero: shows masking. */
  readonly masking: readonly { readonly name: AttackName; readonly epsilon: number }[];
  /** Attacked images: the first of the test set. Clean accuracy is measured on all of it. */
  readonly images: number;
  /** Trains each network's twin from another seed, the source of the transfer matrix's diagonal. */
  readonly twins: boolean;
  /** The networks and attacks from which rows of example images are taken. */
  readonly examples: readonly {
    readonly recipe: string;
    readonly inputBits: number;
    readonly training: TrainingRecord['kind'];
    readonly attack: AttackName;
    readonly epsilon: number;
  }[];
}

const natural: TrainingRecord = { kind: 'natural' };
const fgsmTrained: TrainingRecord = { kind: 'adversarial', attack: 'fgsm', epsilon: 0.2, mix: 0.5 };
const epsilons = [0.1, 0.2, 0.3] as const;

export const presets = {
  quick: {
    name: 'quick',
    dataset: 'mnist',
    model: 'mnist-fcn',
    inputBits: [8, 4, 2, 1],
    recipes: ['none', 'bnn'],
    trainings: [natural, fgsmTrained],
    epochs: 3,
    batchSize: 128,
    optimizer: adam({ learningRate: 1e-3 }),
    schedule: 'linear',
    attacks: [
      { name: 'fgsm', epsilons, gradientModes: 'all', transfer: true },
      { name: 'r-fgsm', epsilons, gradientModes: 'all', transfer: false },
      { name: 'pgd', epsilons, steps: 20, gradientModes: 'all', transfer: true },
    ],
    masking: [{ name: 'fgsm', epsilon: 0.1 }],
    images: 2000,
    twins: false,
    examples: [
      { recipe: 'none', inputBits: 8, training: 'natural', attack: 'fgsm', epsilon: 0.1 },
      { recipe: 'none', inputBits: 2, training: 'natural', attack: 'fgsm', epsilon: 0.1 },
      { recipe: 'bnn', inputBits: 8, training: 'natural', attack: 'fgsm', epsilon: 0.1 },
      { recipe: 'bnn', inputBits: 2, training: 'natural', attack: 'fgsm', epsilon: 0.1 },
      { recipe: 'none', inputBits: 8, training: 'natural', attack: 'pgd', epsilon: 0.2 },
      { recipe: 'none', inputBits: 2, training: 'natural', attack: 'pgd', epsilon: 0.2 },
      { recipe: 'bnn', inputBits: 8, training: 'natural', attack: 'pgd', epsilon: 0.2 },
      { recipe: 'bnn', inputBits: 2, training: 'natural', attack: 'pgd', epsilon: 0.2 },
      { recipe: 'none', inputBits: 2, training: 'adversarial', attack: 'pgd', epsilon: 0.2 },
      { recipe: 'bnn', inputBits: 2, training: 'adversarial', attack: 'pgd', epsilon: 0.2 },
    ],
  },
} as const satisfies Readonly<Record<string, Preset>>;

export const presetNames = Object.keys(presets) as (keyof typeof presets)[];

export interface PlannedNetwork {
  /** Names its files. */
  readonly id: string;
  readonly model: string;
  readonly recipe: string;
  readonly inputBits: number;
  readonly training: TrainingRecord;
  readonly seed: number;
  readonly twin: boolean;
}

/** A white-box measurement. */
export interface WhiteBoxCell {
  readonly kind: 'white-box';
  /** Names its file. */
  readonly id: string;
  readonly network: string;
  readonly attack: AttackSpec;
  readonly gradientMode: RecordedGradientMode;
  /** A row of example images is taken: preferably of this class. */
  readonly exampleOfClass: number | null;
}

/** The images made on one network by one attack, shown to others. */
export interface TransferCell {
  readonly kind: 'transfer';
  readonly id: string;
  readonly source: string;
  readonly attack: AttackSpec;
  readonly gradientMode: RecordedGradientMode;
  readonly targets: readonly { readonly network: string; readonly diagonal: 'twin' | 'white-box' | null }[];
}

/**
 * One step of the second half of a study, in the order in which it is worked off: at most one white-box and one
 * transfer measurement of the same attacked images.
 */
export interface AttackTask {
  readonly network: string;
  readonly attack: AttackSpec;
  readonly gradientMode: RecordedGradientMode;
  readonly whiteBox: WhiteBoxCell | null;
  readonly transfer: TransferCell | null;
}

export interface StudyPlan {
  readonly preset: Preset;
  readonly seeds: readonly number[];
  readonly networks: readonly PlannedNetwork[];
  readonly tasks: readonly AttackTask[];
  /** Of everything that decides the results: studies with equal hashes may continue each other. */
  readonly hash: string;
}

/** Twins start from the seed this far above their network's. */
const TWIN_SEED = 1000;

function networkId(network: Omit<PlannedNetwork, 'id'>): string {
  const { model, recipe, inputBits, training, seed, twin } = network;
  const trained =
    training.kind === 'natural'
      ? 'natural'
      : `${training.attack}-trained-${training.epsilon}-${training.mix}`;
  return `${model}_${recipe}_${inputBits}bit_${trained}_seed${seed}${twin ? '_twin' : ''}`;
}

function planNetworks(preset: Preset, seeds: readonly number[]): PlannedNetwork[] {
  const networks: PlannedNetwork[] = [];
  for (const twin of preset.twins ? [false, true] : [false]) {
    for (const seed of seeds) {
      for (const recipe of preset.recipes) {
        for (const training of preset.trainings) {
          for (const inputBits of preset.inputBits) {
            const network = {
              model: preset.model,
              recipe,
              inputBits,
              training,
              seed: twin ? seed + TWIN_SEED : seed,
              twin,
            };
            networks.push({ id: networkId(network), ...network });
          }
        }
      }
    }
  }
  return networks;
}

/** The network that `twin` is the twin of. */
function originalOf(twin: PlannedNetwork, networks: readonly PlannedNetwork[]): PlannedNetwork {
  const { id: _id, ...rest } = twin;
  const id = networkId({ ...rest, seed: twin.seed - TWIN_SEED, twin: false });
  return networks.find((network) => network.id === id) as PlannedNetwork;
}

function transferTargets(
  source: PlannedNetwork,
  networks: readonly PlannedNetwork[],
  preset: Preset,
): TransferCell['targets'] {
  if (source.twin) return [{ network: originalOf(source, networks).id, diagonal: 'twin' }];
  // With twins, the twin stands for the network itself on the diagonal. Networks of other seeds are no sources.
  return networks
    .filter((target) => !target.twin && target.seed === source.seed)
    .filter((target) => target.id !== source.id || !preset.twins)
    .map((target) => ({
      network: target.id,
      diagonal: target.id === source.id ? ('white-box' as const) : null,
    }));
}

function modeSlug(mode: RecordedGradientMode): string {
  return mode.sign === null ? mode.discretizer : `${mode.discretizer}-${mode.sign}`;
}

/** The cells' place in `preset.examples`, as a class of digit, so that the rows show different digits. */
function exampleClass(preset: Preset, network: PlannedNetwork, attack: AttackSpec): number | null {
  const index = preset.examples.findIndex(
    (row) =>
      row.recipe === network.recipe &&
      row.inputBits === network.inputBits &&
      row.training === network.training.kind &&
      row.attack === attack.name &&
      row.epsilon === attack.epsilon,
  );
  return index < 0 || network.twin ? null : index;
}

function planTasks(
  preset: Preset,
  seeds: readonly number[],
  networks: readonly PlannedNetwork[],
  hasSign: (recipe: string) => boolean,
): AttackTask[] {
  const tasks: AttackTask[] = [];
  for (const network of networks) {
    const facts = { hasSign: hasSign(network.recipe) };
    const modes = gradientModesFor(facts).map((mode) => recordGradientMode(facts, mode));
    const add = (
      attack: AttackSpec,
      gradientMode: RecordedGradientMode,
      wants: { whiteBox: boolean; transfer: boolean; example: boolean },
    ): void => {
      const name = `${network.id}__${attack.name}-${attack.epsilon}__${modeSlug(gradientMode)}`;
      const common = { attack, gradientMode };
      tasks.push({
        network: network.id,
        ...common,
        whiteBox: wants.whiteBox
          ? {
              kind: 'white-box',
              id: name,
              network: network.id,
              ...common,
              exampleOfClass:
                wants.example && network.seed === seeds[0] ? exampleClass(preset, network, attack) : null,
            }
          : null,
        transfer: wants.transfer
          ? {
              kind: 'transfer',
              id: `${name}__transfer`,
              source: network.id,
              ...common,
              targets: transferTargets(network, networks, preset),
            }
          : null,
      });
    };
    for (const planned of preset.attacks) {
      for (const epsilon of planned.epsilons) {
        const attack = resolveAttack(planned.name, {
          epsilon,
          steps: planned.steps,
          restarts: planned.restarts,
        });
        modes.forEach((mode, i) => {
          const isDefault = i === 0;
          if (network.twin) {
            if (isDefault && planned.transfer)
              add(attack, mode, { whiteBox: false, transfer: true, example: false });
          } else if (isDefault || planned.gradientModes === 'all') {
            add(attack, mode, {
              whiteBox: true,
              transfer: isDefault && planned.transfer,
              example: isDefault,
            });
          }
        });
      }
    }
    if (network.twin) continue;
    for (const { name, epsilon } of preset.masking) {
      add(
        resolveAttack(name, { epsilon }),
        { ...(modes[0] as RecordedGradientMode), discretizer: 'exact' },
        { whiteBox: true, transfer: false, example: false },
      );
    }
  }
  return tasks;
}

/** The preset for a dataset by name. @throws ERR_HARDBIT_UNKNOWN_NAME with the nearest known name */
export function findPreset(dataset: string, name: string): Preset {
  const datasets = [...new Set(Object.values(presets).map((preset) => preset.dataset))];
  requireName('study', dataset, datasets);
  const known = presetNames.filter((preset) => presets[preset].dataset === dataset);
  return presets[requireName('preset', name, known)];
}

/**
 * Everything a study will do, in order. Seeds are 1 … `seeds`.
 *
 * @param hasSign whether networks of a recipe have sign layers, which need more gradient modes
 * @throws ERR_HARDBIT_ARGUMENT for a number of seeds outside 1 … 100
 */
export function planStudy(preset: Preset, seeds: number, hasSign: (recipe: string) => boolean): StudyPlan {
  if (!Number.isInteger(seeds) || seeds < 1 || seeds > 100) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `seeds is ${seeds}; expected a whole number of seeds from 1 to 100.`,
    );
  }
  const list = Array.from({ length: seeds }, (_, i) => i + 1);
  const networks = planNetworks(preset, list);
  const tasks = planTasks(preset, list, networks, hasSign);
  const hash = sha256(
    Buffer.from(JSON.stringify({ library: version, preset, seeds: list, networks, tasks })),
  );
  return { preset, seeds: list, networks, tasks, hash };
}
