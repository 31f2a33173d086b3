import { HardbitError, requireName } from '../errors.js';
import type { AttackName } from '../evaluation/attack-options.js';
import { adam, type OptimizerSpec, type Schedule } from '../training/options.js';

/** A network of a preset, by what it is. */
export interface NetworkKind {
  readonly recipe: string;
  readonly inputBits: number;
}

/** How the networks of a block are trained. */
export type PresetTraining =
  | { readonly kind: 'natural' }
  | {
      readonly kind: 'adversarial';
      readonly attack: AttackName;
      readonly epsilon: number;
      /** Fraction of each batch that is adversarial. */
      readonly mix: number;
      readonly steps?: number;
    }
  | {
      readonly kind: 'ensemble';
      readonly attack: AttackName;
      readonly epsilon: number;
      readonly mix: number;
      readonly steps?: number;
      /** The static sources: the twins of these natural networks of the same model. */
      readonly sources: readonly NetworkKind[];
    };

/** models × recipes × trainings × inputBits. */
export interface NetworkBlock {
  readonly name: string;
  readonly models: readonly string[];
  readonly inputBits: readonly number[];
  readonly recipes: readonly string[];
  readonly trainings: readonly PresetTraining[];
  /** Which networks get a twin from another seed, the source of the transfer matrix's diagonal. */
  readonly twins: 'none' | 'natural' | 'all';
  /**
   * Networks of a model and seed whose blocks name one part stay together in a shard: images are shown to each other, and
   * static sources are found, within it alone. 'main' unless given.
   */
  readonly part?: string;
}

/** Which networks an attack is made on: those that suit every list that is given. */
export interface NetworkSelector {
  readonly blocks?: readonly string[];
  readonly models?: readonly string[];
  readonly recipes?: readonly string[];
  readonly inputBits?: readonly number[];
  readonly trainings?: readonly PresetTraining['kind'][];
}

/** One attack over several ε; hyper-parameters left out take the attack's defaults. */
export interface PresetAttack {
  readonly name: AttackName;
  readonly epsilons: readonly number[];
  readonly norm?: 'linf' | 'l2';
  readonly steps?: number;
  readonly restarts?: number;
  /** Leave images alone once they are misclassified. */
  readonly earlyStop?: boolean;
  /** Attacked images at most, the first of the test set; the preset's unless given. */
  readonly images?: number;
}

export interface PresetWhiteBox extends PresetAttack {
  /**
   * 'default': in the default gradient mode alone. 'all': every image in every mode worth trying. 'remaining': every image
   * in the default mode, and in each further mode those that withstood the modes before.
   */
  readonly gradientModes: 'default' | 'all' | 'remaining';
  /** The networks that are attacked; all but twins unless given. */
  readonly on?: NetworkSelector;
}

export interface PresetTransfer extends PresetAttack {
  /** The networks on which images are made, in the default gradient mode. Their twins make those of the diagonal. */
  readonly from?: NetworkSelector;
  /** The networks of the same model and seed that are shown them. */
  readonly to?: NetworkSelector;
}

/** How a network is trained. */
export interface PresetFit {
  readonly epochs: number;
  readonly batchSize: number;
  readonly optimizer: OptimizerSpec;
  readonly schedule: Schedule;
}

/** What a study trains and measures, up to the number of seeds. */
export interface Preset {
  readonly name: string;
  readonly dataset: string;
  readonly blocks: readonly NetworkBlock[];
  readonly fit: PresetFit;
  /** Each changes the fit of the networks it suits; later ones win. */
  readonly fits: readonly { readonly of: NetworkSelector; readonly fit: Partial<PresetFit> }[];
  readonly whiteBox: readonly PresetWhiteBox[];
  readonly transfer: readonly PresetTransfer[];
  /** Measured with the discretizer's exact gradient too, which is zero: shows masking. */
  readonly masking: readonly PresetAttack[];
  /** Attacked images: the first of the test set. Clean accuracy is measured on all of it. */
  readonly images: number;
  /** Where attacks on the networks of a model are too dear for so many: at most these. */
  readonly imagesByModel?: Readonly<Record<string, number>>;
  /** What a network of a model costs beside one of another, roughly: by it shards are cut. 1 where a model is missing. */
  readonly weights: Readonly<Record<string, number>>;
  /** The networks and attacks from which rows of example images are taken. */
  readonly examples: readonly {
    readonly model: string;
    readonly recipe: string;
    readonly inputBits: number;
    readonly training: PresetTraining['kind'];
    readonly attack: AttackName;
    readonly epsilon: number;
  }[];
}

/** The preset with this number of attacked images in every measurement; as it is where none is given. */
export function withImages(preset: Preset, images: number | undefined): Preset {
  if (images === undefined) return preset;
  if (!Number.isInteger(images) || images < 1) {
    throw new HardbitError('ERR_HARDBIT_ARGUMENT', `images is ${images}; expected an integer from 1.`);
  }
  const all = <T extends object>(attacks: readonly T[]): readonly T[] =>
    attacks.map((attack) => ({ ...attack, images }));
  return {
    ...preset,
    whiteBox: all(preset.whiteBox),
    transfer: all(preset.transfer),
    masking: all(preset.masking),
    images,
    imagesByModel: {},
  };
}

const natural: PresetTraining = { kind: 'natural' };
const adversarial = (attack: AttackName, epsilon: number, steps?: number): PresetTraining => ({
  kind: 'adversarial',
  attack,
  epsilon,
  mix: 0.5,
  ...(steps === undefined ? {} : { steps }),
});

function exampleRows(model: string): Preset['examples'] {
  const row = (
    recipe: string,
    inputBits: number,
    training: PresetTraining['kind'],
    attack: AttackName,
    epsilon: number,
  ) => ({ model, recipe, inputBits, training, attack, epsilon });
  return [
    row('none', 8, 'natural', 'fgsm', 0.1),
    row('none', 2, 'natural', 'fgsm', 0.1),
    row('bnn', 8, 'natural', 'fgsm', 0.1),
    row('bnn', 2, 'natural', 'fgsm', 0.1),
    row('none', 8, 'natural', 'pgd', 0.2),
    row('none', 2, 'natural', 'pgd', 0.2),
    row('bnn', 8, 'natural', 'pgd', 0.2),
    row('bnn', 2, 'natural', 'pgd', 0.2),
    row('none', 2, 'adversarial', 'pgd', 0.2),
    row('bnn', 2, 'adversarial', 'pgd', 0.2),
  ];
}

/** Fully connected networks, full precision and BNN, in minutes. */
function quick(dataset: string): Preset {
  const epsilons = [0.1, 0.2, 0.3];
  return {
    name: 'quick',
    dataset,
    blocks: [
      {
        name: 'core',
        models: ['mnist-fcn'],
        inputBits: [8, 4, 2, 1],
        recipes: ['none', 'bnn'],
        trainings: [natural, adversarial('fgsm', 0.2)],
        twins: 'none',
      },
    ],
    fit: { epochs: 3, batchSize: 128, optimizer: adam({ learningRate: 1e-3 }), schedule: 'linear' },
    fits: [],
    whiteBox: [
      { name: 'fgsm', epsilons, gradientModes: 'all' },
      { name: 'r-fgsm', epsilons, gradientModes: 'all' },
      { name: 'pgd', epsilons, steps: 20, gradientModes: 'all' },
    ],
    transfer: [
      { name: 'fgsm', epsilons },
      { name: 'pgd', epsilons, steps: 20 },
    ],
    masking: [{ name: 'fgsm', epsilons: [0.1] }],
    images: 2000,
    weights: {},
    examples: exampleRows('mnist-fcn'),
  };
}

/** The paper's section on 28×28 images, and more: three models, seven recipes, seven trainings. */
function paper(dataset: string): Preset {
  const models = ['mnist-fcn', 'lenet5', 'mnist-cnn'];
  return {
    name: 'paper',
    dataset,
    blocks: [
      {
        name: 'core',
        models,
        inputBits: [8, 4, 2, 1],
        recipes: ['none', 'bwn', 'xnor', 'bnn'],
        trainings: [natural, adversarial('fgsm', 0.2)],
        twins: 'natural',
      },
      {
        name: 'ensemble',
        models,
        inputBits: [8, 2],
        recipes: ['none', 'bnn'],
        trainings: [
          {
            kind: 'ensemble',
            attack: 'fgsm',
            epsilon: 0.2,
            mix: 0.5,
            sources: [
              { recipe: 'none', inputBits: 8 },
              { recipe: 'bnn', inputBits: 8 },
            ],
          },
        ],
        twins: 'none',
      },
      {
        name: 'trainings',
        models,
        inputBits: [8, 2],
        recipes: ['none', 'bnn'],
        trainings: [adversarial('r-fgsm', 0.2), adversarial('pgd', 0.2, 7)],
        twins: 'none',
        part: 'more',
      },
      {
        name: 'recipes',
        models,
        inputBits: [8, 2],
        recipes: ['ternary', 'dorefa-w1a2', 'xnor-chain'],
        trainings: [natural],
        twins: 'none',
        part: 'more',
      },
      {
        name: 'training-epsilons',
        models: ['lenet5'],
        inputBits: [8, 2],
        recipes: ['none', 'bnn'],
        trainings: [adversarial('fgsm', 0.1), adversarial('fgsm', 0.3)],
        twins: 'none',
        part: 'more',
      },
    ],
    fit: { epochs: 4, batchSize: 128, optimizer: adam({ learningRate: 3e-3 }), schedule: 'one-cycle' },
    fits: [
      // Binary networks need longer: their latent weights have to cross zero.
      { of: { recipes: ['bnn'] }, fit: { epochs: 6 } },
      { of: { recipes: ['xnor', 'xnor-chain', 'dorefa-w1a2'] }, fit: { epochs: 5 } },
      // An epoch costs twice that of lenet5, and teaches more.
      { of: { models: ['mnist-cnn'] }, fit: { epochs: 3 } },
      {
        of: { models: ['mnist-cnn'], recipes: ['bnn', 'xnor', 'xnor-chain', 'dorefa-w1a2'] },
        fit: { epochs: 4 },
      },
    ],
    whiteBox: [
      {
        name: 'fgsm',
        epsilons: [0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3],
        gradientModes: 'all',
      },
      { name: 'r-fgsm', epsilons: [0.04, 0.08, 0.1, 0.2, 0.3], gradientModes: 'default' },
      {
        name: 'pgd',
        epsilons: [0.1, 0.2, 0.3],
        steps: 20,
        earlyStop: true,
        gradientModes: 'remaining',
      },
      {
        name: 'pgd',
        norm: 'l2',
        epsilons: [1, 2],
        steps: 20,
        earlyStop: true,
        images: 2000,
        gradientModes: 'default',
      },
    ],
    transfer: [
      { name: 'fgsm', epsilons: [0.1, 0.2, 0.3], images: 2000, from: { trainings: ['natural'] } },
      { name: 'pgd', epsilons: [0.1, 0.2], steps: 20, images: 2000, from: { trainings: ['natural'] } },
    ],
    masking: [{ name: 'fgsm', epsilons: [0.1] }],
    images: 10_000,
    imagesByModel: { 'mnist-cnn': 2000 },
    // What a network of each costs beside one of mnist-fcn, by the time estimate, roughly.
    weights: { 'mnist-fcn': 1, lenet5: 5, 'mnist-cnn': 6 },
    examples: exampleRows('lenet5'),
  };
}

/** By dataset and name. */
export const presets = {
  mnist: { quick: quick('mnist'), paper: paper('mnist') },
  'fashion-mnist': { quick: quick('fashion-mnist'), paper: paper('fashion-mnist') },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Preset>>>>;

/** The preset for a dataset by name. @throws ERR_HARDBIT_UNKNOWN_NAME with the nearest known name */
export function findPreset(dataset: string, name: string): Preset {
  const studies = Object.keys(presets) as (keyof typeof presets)[];
  const of: Readonly<Record<string, Preset>> = presets[requireName('study', dataset, studies)];
  return of[requireName('preset', name, Object.keys(of))] as Preset;
}
