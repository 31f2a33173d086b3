import { HardbitError } from '../errors.js';
import { type AttackSpec, resolveAttack } from '../evaluation/attack-options.js';
import type { RecordedGradientMode } from '../evaluation/gradient-mode.js';
import { sha256 } from '../files.js';
import { version } from '../version.js';
import { groupBy, unique } from './collections.js';
import type { NetworkSelector, Preset, PresetAttack, PresetFit, PresetTraining } from './presets.js';
import type { TrainingRecord } from './results.js';

export interface PlannedNetwork {
  /** Names its files. */
  readonly id: string;
  /** Networks of one variant differ in their seed alone. */
  readonly variant: string;
  readonly block: string;
  /** Networks of one group, a model and a seed, depend on no other group's. */
  readonly group: string;
  readonly model: string;
  readonly recipe: string;
  readonly inputBits: number;
  readonly training: TrainingRecord;
  readonly seed: number;
  readonly twin: boolean;
  readonly fit: PresetFit;
  /** Worth trying on it, the default one first. */
  readonly gradientModes: readonly RecordedGradientMode[];
}

/** A white-box measurement. */
export interface WhiteBoxCell {
  readonly kind: 'white-box';
  /** Names its file. */
  readonly id: string;
  readonly network: string;
  readonly attack: AttackSpec;
  readonly gradientMode: RecordedGradientMode;
  /** Attacked images, the first of the test set. */
  readonly images: number;
  /** The cell of the mode before: only what withstood it is attacked. null: every image is. */
  readonly after: string | null;
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
  readonly images: number;
  readonly targets: readonly { readonly network: string; readonly diagonal: 'twin' | 'white-box' | null }[];
}

/** At most one white-box and one transfer measurement of the same attacked images. */
export interface AttackTask {
  readonly network: string;
  readonly attack: AttackSpec;
  readonly gradientMode: RecordedGradientMode;
  readonly images: number;
  readonly whiteBox: WhiteBoxCell | null;
  readonly transfer: TransferCell | null;
}

/** A piece of work; all that it needs was made by pieces before it. */
export type Step =
  | { readonly kind: 'train'; readonly network: PlannedNetwork }
  | { readonly kind: 'attack'; readonly task: AttackTask };

/** A model and a seed: the networks, measurements and transfers among them. */
export interface Group {
  readonly id: string;
  readonly model: string;
  readonly seed: number;
  /** What it costs beside other groups. */
  readonly weight: number;
}

export interface Shard {
  /** From 1. */
  readonly index: number;
  readonly count: number;
}

export interface StudyPlan {
  readonly preset: Preset;
  readonly seeds: readonly number[];
  /** The part of the whole plan that is here. */
  readonly shard: Shard;
  readonly groups: readonly Group[];
  /** In the order of the results. */
  readonly networks: readonly PlannedNetwork[];
  readonly whiteBox: readonly WhiteBoxCell[];
  readonly transfer: readonly TransferCell[];
  /** The same work in the order in which it is done: each network with its measurements, transfers last. */
  readonly steps: readonly Step[];
  /** Of everything that decides the results of the whole plan: studies with equal hashes may continue each other. */
  readonly hash: string;
}

/** Twins start from the seed this far above their network's. */
const TWIN_SEED = 1000;

function trainingSlug(training: PresetTraining): string {
  if (training.kind === 'natural') return 'natural';
  const attack = `${training.attack}${training.steps === undefined ? '' : `-${training.steps}`}`;
  const strength = `${training.epsilon}-${training.mix}`;
  return training.kind === 'ensemble' ? `ensemble-${attack}-${strength}` : `${attack}-trained-${strength}`;
}

function variantOf(model: string, recipe: string, inputBits: number, training: PresetTraining): string {
  return `${model}_${recipe}_${inputBits}bit_${trainingSlug(training)}`;
}

function idOf(variant: string, seed: number, twin: boolean): string {
  return `${variant}_seed${seed}${twin ? '_twin' : ''}`;
}

function suits(
  selector: NetworkSelector | undefined,
  network: Pick<PlannedNetwork, 'block' | 'model' | 'recipe' | 'inputBits' | 'training'>,
): boolean {
  const allows = <T>(list: readonly T[] | undefined, value: T) => list === undefined || list.includes(value);
  return (
    allows(selector?.blocks, network.block) &&
    allows(selector?.models, network.model) &&
    allows(selector?.recipes, network.recipe) &&
    allows(selector?.inputBits, network.inputBits) &&
    allows(selector?.trainings, network.training.kind)
  );
}

function trainingRecord(training: PresetTraining, model: string, seed: number): TrainingRecord {
  if (training.kind !== 'ensemble') return training;
  return {
    ...training,
    sources: training.sources.map(({ recipe, inputBits }) =>
      idOf(variantOf(model, recipe, inputBits, { kind: 'natural' }), seed + TWIN_SEED, true),
    ),
  };
}

function planNetworks(
  preset: Preset,
  seeds: readonly number[],
  modesOf: (model: string, recipe: string) => readonly RecordedGradientMode[],
): PlannedNetwork[] {
  const networks = new Map<string, PlannedNetwork>();
  const models = unique(preset.blocks.flatMap((block) => block.models));
  for (const seed of seeds) {
    for (const model of models) {
      for (const block of preset.blocks.filter((each) => each.models.includes(model))) {
        for (const twin of [false, true]) {
          for (const recipe of block.recipes) {
            for (const training of block.trainings) {
              if (
                twin &&
                (block.twins === 'none' || (block.twins === 'natural' && training.kind !== 'natural'))
              )
                continue;
              for (const inputBits of block.inputBits) {
                const ownSeed = twin ? seed + TWIN_SEED : seed;
                const variant = variantOf(model, recipe, inputBits, training);
                const id = idOf(variant, ownSeed, twin);
                // A network that a former block has is that block's.
                if (networks.has(id)) continue;
                const network = {
                  id,
                  variant,
                  block: block.name,
                  group: `${model} ${seed} ${block.part ?? 'main'}`,
                  model,
                  recipe,
                  inputBits,
                  training: trainingRecord(training, model, seed),
                  seed: ownSeed,
                  twin,
                };
                const fits = preset.fits.filter(({ of }) => suits(of, network));
                networks.set(id, {
                  ...network,
                  fit: Object.assign({}, preset.fit, ...fits.map(({ fit }) => fit)) as PresetFit,
                  gradientModes: modesOf(model, recipe),
                });
              }
            }
          }
        }
      }
    }
  }
  return [...networks.values()];
}

function modeSlug(mode: RecordedGradientMode): string {
  return mode.sign === null ? mode.discretizer : `${mode.discretizer}-${mode.sign}`;
}

function attackSlug({ name, norm, steps, restarts, earlyStop }: PresetAttack, epsilon: number): string {
  return [
    name,
    ...(steps === undefined ? [] : [steps]),
    ...(norm === 'l2' ? ['l2'] : []),
    ...(restarts === undefined ? [] : [`${restarts}-restarts`]),
    ...(earlyStop === true ? ['stop'] : []),
    epsilon,
  ].join('-');
}

function attackedImages(preset: Preset, planned: PresetAttack, model: string): number {
  return Math.min(planned.images ?? Number.POSITIVE_INFINITY, preset.imagesByModel?.[model] ?? preset.images);
}

function specOf({ name, norm, steps, restarts, earlyStop }: PresetAttack, epsilon: number): AttackSpec {
  return resolveAttack(name, { epsilon, norm, steps, restarts, earlyStop });
}

/** The cells of `preset.examples`: the first that suits each row, with the row's number as the class of digit to show. */
function exampleCells(
  preset: Preset,
  seeds: readonly number[],
  networks: readonly PlannedNetwork[],
  cells: readonly WhiteBoxCell[],
): Map<string, number> {
  const byId = new Map(networks.map((network) => [network.id, network]));
  const found = new Map<string, number>();
  preset.examples.forEach((row, index) => {
    const cell = cells.find((each) => {
      const network = byId.get(each.network) as PlannedNetwork;
      return (
        network.seed === seeds[0] &&
        network.model === row.model &&
        network.recipe === row.recipe &&
        network.inputBits === row.inputBits &&
        network.training.kind === row.training &&
        each.attack.name === row.attack &&
        each.attack.epsilon === row.epsilon &&
        each.gradientMode === network.gradientModes[0] &&
        !found.has(each.id)
      );
    });
    if (cell !== undefined) found.set(cell.id, index);
  });
  return found;
}

function planWhiteBox(
  preset: Preset,
  seeds: readonly number[],
  networks: readonly PlannedNetwork[],
): WhiteBoxCell[] {
  const cells: WhiteBoxCell[] = [];
  for (const network of networks.filter(({ twin }) => !twin)) {
    const add = (
      planned: PresetAttack,
      epsilon: number,
      gradientMode: RecordedGradientMode,
      after: string | null,
    ): string => {
      const id = `${network.id}__${attackSlug(planned, epsilon)}__${modeSlug(gradientMode)}`;
      cells.push({
        kind: 'white-box',
        id,
        network: network.id,
        attack: specOf(planned, epsilon),
        gradientMode,
        images: attackedImages(preset, planned, network.model),
        after,
        exampleOfClass: null,
      });
      return id;
    };
    for (const planned of preset.whiteBox.filter(({ on }) => suits(on, network))) {
      for (const epsilon of planned.epsilons) {
        const modes =
          planned.gradientModes === 'default' ? network.gradientModes.slice(0, 1) : network.gradientModes;
        let before: string | null = null;
        for (const mode of modes) {
          const id: string = add(planned, epsilon, mode, before);
          if (planned.gradientModes === 'remaining') before = id;
        }
      }
    }
    for (const planned of preset.masking) {
      const [mode] = network.gradientModes;
      for (const epsilon of planned.epsilons) {
        add(planned, epsilon, { ...(mode as RecordedGradientMode), discretizer: 'exact' }, null);
      }
    }
  }
  const examples = exampleCells(preset, seeds, networks, cells);
  return cells.map((cell) => ({ ...cell, exampleOfClass: examples.get(cell.id) ?? null }));
}

function planTransfer(preset: Preset, networks: readonly PlannedNetwork[]): TransferCell[] {
  const cells: TransferCell[] = [];
  const twins = new Set(
    networks.flatMap(({ twin, variant, group }) => (twin ? [`${variant} ${group}`] : [])),
  );
  for (const source of networks) {
    // On the diagonal a network's twin stands for it, where it has one.
    const isTwinned = !source.twin && twins.has(`${source.variant} ${source.group}`);
    for (const planned of preset.transfer.filter(({ from }) => suits(from, source))) {
      const targets: TransferCell['targets'] = networks
        .filter((target) => !target.twin && target.group === source.group && suits(planned.to, target))
        .filter((target) => (source.twin ? target.variant === source.variant : true))
        .filter((target) => !(isTwinned && target.id === source.id))
        .map((target) => ({
          network: target.id,
          diagonal:
            target.variant !== source.variant
              ? null
              : source.twin
                ? ('twin' as const)
                : ('white-box' as const),
        }));
      if (targets.length === 0) continue;
      const gradientMode = source.gradientModes[0] as RecordedGradientMode;
      for (const epsilon of planned.epsilons) {
        cells.push({
          kind: 'transfer',
          id: `${source.id}__${attackSlug(planned, epsilon)}__${modeSlug(gradientMode)}__transfer`,
          source: source.id,
          attack: specOf(planned, epsilon),
          gradientMode,
          images: attackedImages(preset, planned, source.model),
          targets,
        });
      }
    }
  }
  return cells;
}

function isMultiStep(attack: AttackSpec): boolean {
  return 'steps' in attack && attack.steps > 1;
}

/** Equal attacks, networks, modes and numbers of images make equal images. */
function imagesKey(cell: Pick<WhiteBoxCell, 'attack' | 'gradientMode' | 'images'>, network: string): string {
  return JSON.stringify([network, cell.attack, cell.gradientMode, cell.images]);
}

/**
 * The order of the work: group by group, each network's training and then its measurements, so that an interruption leaves
 * whole networks; last the transfers, attack by attack, so that it leaves whole matrices. The images of a multi-step attack
 * that are measured on their network and shown to others are made once, with the transfers; making those of a single
 * step twice costs next to nothing.
 */
function orderSteps(
  groups: readonly Group[],
  networks: readonly PlannedNetwork[],
  whiteBox: readonly WhiteBoxCell[],
  transfer: readonly TransferCell[],
): Step[] {
  const byId = new Map(networks.map((network) => [network.id, network]));
  const cellsOf = groupBy(whiteBox, (cell) => cell.network);
  const shared = new Map<string, WhiteBoxCell>();
  const transferred = new Set(transfer.map((cell) => imagesKey(cell, cell.source)));
  const steps: Step[] = [];
  const trained = new Set<string>();
  const train = (network: PlannedNetwork): void => {
    if (trained.has(network.id)) return;
    trained.add(network.id);
    for (const id of network.training.kind === 'ensemble' ? network.training.sources : []) {
      const source = byId.get(id);
      if (source === undefined) {
        throw new HardbitError(
          'ERR_HARDBIT_ARGUMENT',
          `The preset trains '${network.id}' with a static source '${id}' that it does not train; give that network a twin.`,
        );
      }
      train(source);
    }
    steps.push({ kind: 'train', network });
    for (const cell of cellsOf.get(network.id) ?? []) {
      const key = imagesKey(cell, cell.network);
      if (cell.after === null && isMultiStep(cell.attack) && transferred.has(key)) {
        shared.set(key, cell);
        continue;
      }
      const { attack, gradientMode, images } = cell;
      steps.push({
        kind: 'attack',
        task: { network: cell.network, attack, gradientMode, images, whiteBox: cell, transfer: null },
      });
    }
  };
  for (const { id: group } of groups) {
    for (const network of networks.filter((each) => each.group === group)) train(network);
    const cells = transfer.filter((cell) => byId.get(cell.source)?.group === group);
    const byAttack = groupBy(cells, (cell) => JSON.stringify([cell.attack, cell.images]));
    for (const cell of [...byAttack.values()].flat()) {
      const { source: network, attack, gradientMode, images } = cell;
      const own = shared.get(imagesKey(cell, network)) ?? null;
      steps.push({
        kind: 'attack',
        task: { network, attack, gradientMode, images, whiteBox: own, transfer: cell },
      });
    }
  }
  return steps;
}

/**
 * Everything a study will do, in order. Seeds are 1 … `seeds`.
 *
 * @param modesOf the gradient modes worth trying on networks of a model and recipe, the default one first
 * @throws ERR_HARDBIT_ARGUMENT for a number of seeds outside 1 … 100
 */
export function planStudy(
  preset: Preset,
  seeds: number,
  modesOf: (model: string, recipe: string) => readonly RecordedGradientMode[],
): StudyPlan {
  if (!Number.isInteger(seeds) || seeds < 1 || seeds > 100) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `seeds is ${seeds}; expected a whole number of seeds from 1 to 100.`,
    );
  }
  const list = Array.from({ length: seeds }, (_, i) => i + 1);
  const networks = planNetworks(preset, list, modesOf);
  const whiteBox = planWhiteBox(preset, list, networks);
  const transfer = planTransfer(preset, networks);
  const groups = [...groupBy(networks, ({ group }) => group)].map(([id, members]) => {
    const { model, seed } = members[0] as PlannedNetwork;
    return { id, model, seed, weight: members.length * (preset.weights[model] ?? 1) };
  });
  const hash = sha256(
    Buffer.from(JSON.stringify({ library: version, preset, seeds: list, networks, whiteBox, transfer })),
  );
  return {
    preset,
    seeds: list,
    shard: { index: 1, count: 1 },
    groups,
    networks,
    whiteBox,
    transfer,
    steps: orderSteps(groups, networks, whiteBox, transfer),
    hash,
  };
}

/** Each shard's groups: the heaviest first, each to the shard that has least. */
function distribute(groups: readonly Group[], count: number): readonly (readonly Group[])[] {
  const shards = Array.from({ length: count }, () => ({ groups: [] as Group[], weight: 0 }));
  for (const group of [...groups].sort((a, b) => b.weight - a.weight)) {
    const lightest = shards.reduce((a, b) => (b.weight < a.weight ? b : a));
    lightest.groups.push(group);
    lightest.weight += group.weight;
  }
  return shards.map((shard) => groups.filter((group) => shard.groups.includes(group)));
}

/**
 * One of `count` parts of a whole plan that need nothing of each other: the networks of one part of a model and seed stay together.
 *
 * @throws ERR_HARDBIT_ARGUMENT for an index outside 1 … count, or more shards than the plan has models × seeds × parts
 */
export function takeShard(plan: StudyPlan, { index, count }: Shard): StudyPlan {
  const most = plan.groups.length;
  if (!Number.isInteger(count) || count < 1 || count > most) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The study cannot be cut into ${count} shards; expected 1 to ${most}, one for each part of a model and seed at most.`,
    );
  }
  if (!Number.isInteger(index) || index < 1 || index > count) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `There is no shard ${index} of ${count}; expected a number from 1 to ${count}.`,
    );
  }
  const groups = distribute(plan.groups, count)[index - 1] as readonly Group[];
  const ids = new Set(groups.map(({ id }) => id));
  const networks = plan.networks.filter(({ group }) => ids.has(group));
  const here = new Set(networks.map(({ id }) => id));
  return {
    ...plan,
    shard: { index, count },
    groups,
    networks,
    whiteBox: plan.whiteBox.filter(({ network }) => here.has(network)),
    transfer: plan.transfer.filter(({ source }) => here.has(source)),
    steps: plan.steps.filter((step) => here.has(step.kind === 'train' ? step.network.id : step.task.network)),
  };
}

/** The cells that hold one figure each. */
export function countCells(plan: Pick<StudyPlan, 'whiteBox' | 'transfer'>): number {
  return plan.whiteBox.length + plan.transfer.reduce((sum, { targets }) => sum + targets.length, 0);
}
