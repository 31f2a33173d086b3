import { assemble, type Kept } from '../../lib/study/assemble.js';
import { bothBits, countBits, encodeBits, packBits } from '../../lib/study/bits.js';
import type { TrainedNetwork } from '../../lib/study/networks.js';
import { type PlannedNetwork, planStudy, type WhiteBoxCell } from '../../lib/study/plan.js';
import type { Preset, PresetTraining } from '../../lib/study/presets.js';
import type {
  AttackRecord,
  Example,
  Examples,
  GradientModeRecord,
  NetworkRecord,
  Results,
  TransferRecord,
} from '../../lib/study/results.js';
import { adam } from '../../lib/training/options.js';

/** A 32-bit hash of text as a number in [0, 1): the samples' only source of variety. */
function noise(text: string): number {
  let hash = 2166136261;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  hash = Math.imul(hash ^ (hash >>> 15), 2246822507);
  hash = Math.imul(hash ^ (hash >>> 13), 3266489909);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}

function clamp(value: number): number {
  return Math.min(1, Math.max(0, value));
}

/** Numbers in [0, 1) that text decides (xorshift). */
function stream(text: string): () => number {
  let state = Math.floor(noise(text) * 2 ** 32) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** How hard each image is, the same for every network. */
const nextHardness = stream('hardness');
const hardness = Float64Array.from({ length: 10_000 }, nextHardness);

/** Correctness of n images at about this accuracy: networks mostly fail on the same images. */
function outcome(accuracy: number, n: number, text: string): Uint8Array {
  const next = stream(text);
  return packBits(
    Uint8Array.from({ length: n }, (_, i) => {
      const x = next() < 0.6 ? (hardness[i] as number) : next();
      return x < accuracy ? 1 : 0;
    }),
  );
}

export const fgsmTraining: PresetTraining = { kind: 'adversarial', attack: 'fgsm', epsilon: 0.2, mix: 0.5 };
export const ensembleTraining: PresetTraining = {
  kind: 'ensemble',
  attack: 'fgsm',
  epsilon: 0.2,
  mix: 0.5,
  sources: [{ recipe: 'none', inputBits: 8 }],
};

export interface SampleOptions {
  readonly models?: readonly string[];
  readonly inputBits?: readonly number[];
  readonly recipes?: readonly string[];
  readonly trainings?: readonly PresetTraining[];
  readonly epsilons?: readonly number[];
  readonly seeds?: number;
  readonly twins?: boolean;
  readonly n?: number;
  /** PGD in L2 too, and PGD's further modes only on what remained. */
  readonly l2?: boolean;
}

const signModes = ['clipped', 'identity', 'approx', 'swish'] as const;

function modesOf(recipe: string): GradientModeRecord[] {
  return recipe === 'none' || recipe === 'bwn' || recipe === 'ternary'
    ? [{ discretizer: 'identity', sign: null }]
    : signModes.map((sign) => ({ discretizer: 'identity' as const, sign }));
}

/** Accuracy that behaves like the real thing: falls with ε, more for more bits, for PGD, without training. */
function accuracyUnder(network: PlannedNetwork, clean: number, attack: AttackRecord): number {
  const { inputBits, recipe, training } = network;
  const multiStep = attack.name === 'pgd';
  const single = inputBits === 1 ? 0.45 : inputBits === 2 ? 0.17 : 0.085;
  const multi = inputBits === 1 ? 0.33 : inputBits === 2 ? 0.15 : 0.055;
  const reach =
    (multiStep ? multi : single * (attack.name === 'r-fgsm' ? 1.2 : 1)) *
    (training.kind === 'natural' ? 1 : multiStep ? 1.5 : 2.4) *
    (recipe === 'none' ? 1 : 0.85);
  const epsilon = attack.norm === 'l2' ? attack.epsilon / 16 : attack.epsilon;
  const kept = 1 / (1 + Math.exp((epsilon - reach) * (inputBits === 2 ? 60 : 28)));
  return clean * kept;
}

function flippable(bits: number, epsilon: number): number {
  if (bits > 4) return 1;
  if (bits > 2) return 0.995;
  if (bits === 2) return epsilon < 1 / 6 ? 0.113 : 1;
  return epsilon < 0.5 ? 0.06 + 0.1 * epsilon : 1;
}

const parameters: Readonly<Record<string, readonly [number, number]>> = {
  'mnist-fcn': [715_610, 714_240],
  lenet5: [44_426, 281_640],
  'mnist-cnn': [1_663_370, 10_921_216],
};

function trainedOf(network: PlannedNetwork, testExamples: number): TrainedNetwork {
  const { id, variant, block, model, recipe, inputBits, training, seed, twin, fit } = network;
  const goal =
    0.985 -
    (recipe === 'none' ? 0 : 0.013) -
    (inputBits < 8 ? 0.002 : 0) -
    (training.kind === 'natural' ? 0 : 0.004) +
    0.004 * (noise(id) - 0.5);
  const correct = outcome(goal, testExamples, id);
  const [count, macs] = parameters[model] ?? [1000, 2000];
  const record: NetworkRecord = {
    id,
    variant,
    block,
    model,
    recipe,
    inputBits,
    training,
    seed,
    epochs: fit.epochs,
    batchSize: fit.batchSize,
    parameters: count,
    macs,
    twin,
    n: testExamples,
    cleanAccuracy: countBits(correct) / testExamples,
    history: Array.from({ length: fit.epochs }, (_, e) => ({
      epoch: e + 1,
      loss: 0.06 + 0.4 / (e + 1) ** 1.3 + 0.02 * noise(`${id} loss ${e}`),
      accuracy: 0.99 - 0.11 / (e + 1) ** 1.2 - 0.003 * noise(`${id} accuracy ${e}`),
    })),
    trainSeconds: 2 + noise(`${id} time`),
    file: `networks/${id}.safetensors`,
  };
  return { plan: network, kept: { record, sha256: '0'.repeat(64), correct: encodeBits(correct) }, correct };
}

/** A study as a preset plans it, whose claims and headline figures are those of `hardbit reproduce`. */
export function sampleOf(preset: Preset, seeds: number, testExamples = preset.images): Results {
  const plan = planStudy(preset, seeds, (_, recipe) => modesOf(recipe));
  const kept: Kept = { networks: new Map(), whiteBox: new Map(), transfer: new Map() };
  for (const network of plan.networks) kept.networks.set(network.id, trainedOf(network, testExamples));
  const trained = (id: string) => kept.networks.get(id) as TrainedNetwork;
  const correctOf = new Map<string, Uint8Array>();

  const common = (target: TrainedNetwork, attack: AttackRecord, correct: Uint8Array, n: number) => {
    const clean = countBits(target.correct.slice(0, n / 8)) / n;
    const adversarialAccuracy = countBits(correct) / n;
    return {
      attack,
      epsilon: attack.epsilon,
      norm: attack.norm ?? ('linf' as const),
      n,
      seed: target.plan.seed,
      cleanAccuracy: clean,
      adversarialAccuracy,
      adversarialLoss: clean - adversarialAccuracy,
      flippableFraction: attack.norm === 'l2' ? null : flippable(target.plan.inputBits, attack.epsilon),
      seconds: attack.name === 'pgd' ? 3.4 : 0.2,
    };
  };
  const attacked = (id: string, attack: AttackRecord, factor: number, text: string): Uint8Array => {
    const target = trained(id);
    const clean = target.kept.record.cleanAccuracy;
    const share = (accuracyUnder(target.plan, clean, attack) / clean) * factor;
    return bothBits(
      outcome(clamp(share), preset.images, text),
      target.correct.slice(0, Math.ceil(preset.images / 8)),
    );
  };

  const addWhiteBox = (cell: WhiteBoxCell): void => {
    const { sign, discretizer } = cell.gradientMode;
    const attack: AttackRecord = { ...cell.attack };
    const masked = discretizer === 'exact' || sign === 'exact';
    const target = trained(cell.network);
    const before = cell.after === null ? undefined : (correctOf.get(cell.after) as Uint8Array);
    const alone = masked
      ? target.correct.slice(0, Math.ceil(preset.images / 8))
      : attacked(cell.network, attack, 1 + 0.1 * noise(`${cell.network} ${sign}`), cell.id);
    const correct = before === undefined ? alone : bothBits(alone, before);
    correctOf.set(cell.id, correct);
    const left = before === undefined ? preset.images : countBits(before);
    kept.whiteBox.set(cell.id, {
      record: {
        threatModel: 'white-box',
        network: cell.network,
        ...common(target, attack, correct, preset.images),
        gradientMode: cell.gradientMode,
        coverage: cell.after === null ? 'all' : 'remaining',
        attacked: left,
        meanPerturbation: left === 0 ? null : attack.epsilon * 0.9,
        zeroGradientFraction:
          left === 0 ? null : masked ? 1 : sign === 'clipped' ? 0.0185 * noise(`${cell.network} zero`) : 0,
      },
      sha256: target.kept.sha256,
      correct: encodeBits(correct),
      example: null,
    });
  };
  for (const cell of plan.whiteBox) addWhiteBox(cell);
  for (const cell of plan.transfer) {
    const attack: AttackRecord = { ...cell.attack };
    const source = trained(cell.source).plan;
    kept.transfer.set(cell.id, {
      sha256: '0'.repeat(64),
      seconds: 0,
      targets: cell.targets.map(({ network, diagonal }) => {
        const target = trained(network);
        const clean = target.kept.record.cleanAccuracy;
        const own = accuracyUnder(target.plan, clean, attack);
        const kinship = diagonal !== null ? 0.8 : source.recipe === target.plan.recipe ? 0.55 : 0.3;
        const reach = kinship * (0.7 + 0.3 * noise(cell.source));
        const factor = (clean - reach * (clean - own)) / Math.max(own, 1e-9);
        const correct = attacked(network, attack, factor, `${cell.id} ${network}`);
        const record: TransferRecord = {
          threatModel: 'transfer',
          source: cell.source,
          target: network,
          diagonal,
          ...common(target, attack, correct, preset.images),
          gradientMode: cell.gradientMode,
          meanPerturbation: attack.epsilon * 0.9,
        };
        return { record, sha256: '0'.repeat(64), correct: encodeBits(correct) };
      }),
    });
  }
  const environment = {
    command: '',
    dataset: {
      name: preset.dataset,
      trainExamples: 60_000,
      testExamples,
      sha256: {
        'train-images-idx3-ubyte': 'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
        't10k-images-idx3-ubyte': '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
      },
    },
    imageShape: [28, 28, 1] as [number, number, number],
    machine: {
      cpu: 'Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz',
      isa: 'avx512',
      threads: 2,
      node: 'v20.19.0',
      platform: 'linux-x64',
    },
  };
  const finishedAt = '2026-01-02T03:04:05Z';
  const command = `npx hardbit reproduce mnist --preset ${preset.name} --out study --seeds ${seeds}`;
  return assemble(plan, [{ plan, environment, finishedAt, kept }], command).results;
}

/** A preset of the shape of `quick`, with what a test wants of it. */
export function samplePreset(options: SampleOptions = {}): Preset {
  const {
    models = ['mnist-fcn'],
    inputBits = [8, 4, 2, 1],
    recipes = ['none', 'bnn'],
    trainings = [{ kind: 'natural' }, fgsmTraining],
    epsilons = [0.1, 0.2, 0.3],
    twins = true,
    n = 2000,
    l2 = false,
  } = options;
  const pgd = { name: 'pgd', steps: 20 } as const;
  return {
    name: 'quick',
    dataset: 'mnist',
    blocks: [{ name: 'core', models, inputBits, recipes, trainings, twins: twins ? 'all' : 'none' }],
    fit: {
      epochs: 3,
      batchSize: 128,
      optimizer: adam({ learningRate: 1e-3 }),
      schedule: 'linear',
    },
    fits: [],
    whiteBox: [
      { name: 'fgsm', epsilons, gradientModes: 'all' },
      { name: 'r-fgsm', epsilons, gradientModes: l2 ? 'default' : 'all' },
      l2
        ? { ...pgd, epsilons, earlyStop: true, gradientModes: 'remaining' }
        : { ...pgd, epsilons, gradientModes: 'all' },
      ...(l2 ? [{ ...pgd, norm: 'l2', epsilons: [1, 2], gradientModes: 'default' } as const] : []),
    ],
    transfer: [
      { name: 'fgsm', epsilons },
      { ...pgd, epsilons },
    ],
    masking: [{ name: 'fgsm', epsilons: epsilons.slice(0, 1) }],
    images: n,
    weights: {},
    examples: [],
  };
}

/** A synthetic study with the shape of a real one. */
export function sampleResults(options: SampleOptions = {}): Results {
  return sampleOf(samplePreset(options), options.seeds ?? 1);
}

const segments: readonly string[] = [
  'abcdef',
  'bc',
  'abged',
  'abgcd',
  'fgbc',
  'afgcd',
  'afgedc',
  'abc',
  'abcdefg',
  'abcdfg',
];

/** A blurred seven-segment digit on 28×28 pixels in [0, 1], slanted a little by the index. */
function digit(label: number, index: number): Float64Array {
  const lines: Readonly<Record<string, readonly [number, number, number, number]>> = {
    a: [9, 5, 18, 5],
    b: [18, 5, 18, 13],
    c: [18, 13, 18, 22],
    d: [9, 22, 18, 22],
    e: [9, 13, 9, 22],
    f: [9, 5, 9, 13],
    g: [9, 13, 18, 13],
  };
  const slant = 0.25 * noise(`slant ${index}`);
  const image = new Float64Array(28 * 28);
  for (let y = 0; y < 28; y++) {
    for (let x = 0; x < 28; x++) {
      let nearest = 28;
      for (const name of segments[label] as string) {
        const [x0, y0, x1, y1] = lines[name] as readonly [number, number, number, number];
        const px = x + slant * (y - 14);
        const along = clamp(
          ((px - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2),
        );
        nearest = Math.min(nearest, Math.hypot(px - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)));
      }
      image[28 * y + x] = clamp(2.1 - nearest);
    }
  }
  return image;
}

/** `each` examples of every network that is no twin, attacked with sign noise of size ε = 0.2. */
export function sampleExamples(results: Results, each = 2): Examples {
  const encode = (values: Float64Array, scale: number) =>
    Buffer.from(Uint8Array.from(values, (value) => Math.round(scale * value))).toString('base64');
  const examples = results.networks
    .filter((network) => !network.twin)
    .flatMap((network) =>
      Array.from({ length: each }, (_, i): Example => {
        const index = 7 * i + 3;
        const label = (i + 4) % 10;
        const clean = digit(label, index);
        const adversarial = clean.map((value, at) =>
          clamp(value + (noise(`${network.id} ${at}`) < 0.5 ? -0.2 : 0.2)),
        );
        const highest = 2 ** network.inputBits - 1;
        return {
          network: network.id,
          attack: { name: 'pgd', epsilon: 0.2, steps: 20, stepSize: 0.025, randomStart: true, restarts: 1 },
          gradientMode: { discretizer: 'identity', sign: network.recipe === 'none' ? null : 'clipped' },
          index,
          label,
          cleanPrediction: label,
          adversarialPrediction: network.inputBits === 1 ? label : (label + 4) % 10,
          inputBits: network.inputBits,
          clean: encode(clean, 255),
          cleanCodes: encode(clean, highest),
          adversarial: encode(adversarial, 255),
          adversarialCodes: encode(adversarial, highest),
        };
      }),
    );
  return { schema: 'hardbit/examples', version: 1, imageShape: [28, 28, 1], examples };
}
