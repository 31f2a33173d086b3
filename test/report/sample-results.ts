import type {
  AttackRecord,
  ClaimRecord,
  Example,
  Examples,
  GradientModeRecord,
  NetworkRecord,
  Results,
  TrainingRecord,
  TransferRecord,
  WhiteBoxRecord,
} from '../../lib/study/results.js';

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

export interface SampleOptions {
  readonly inputBits?: readonly number[];
  readonly recipes?: readonly string[];
  readonly trainings?: readonly TrainingRecord[];
  readonly epsilons?: readonly number[];
  readonly seeds?: readonly number[];
  readonly twins?: boolean;
  readonly n?: number;
}

export const fgsmTraining: TrainingRecord = { kind: 'adversarial', attack: 'fgsm', epsilon: 0.2, mix: 0.5 };

function attacksAt(epsilon: number): AttackRecord[] {
  return [
    { name: 'fgsm', epsilon },
    { name: 'r-fgsm', epsilon, alpha: epsilon / 2 },
    { name: 'pgd', epsilon, steps: 20, stepSize: (2.5 * epsilon) / 20, randomStart: true, restarts: 1 },
  ];
}

export function networkId(
  recipe: string,
  bits: number,
  training: TrainingRecord,
  seed: number,
  twin = false,
): string {
  const how = training.kind === 'natural' ? 'natural' : `${training.attack}-${training.epsilon}`;
  return `mnist-fcn-${recipe}-${bits}bit-${how}-s${seed}${twin ? '-twin' : ''}`;
}

/** Accuracy that behaves like the real thing: falls with ε, more for more bits, for PGD, without training. */
function accuracyUnder(network: NetworkRecord, attack: AttackRecord): number {
  const { inputBits, recipe, training, cleanAccuracy } = network;
  const single = inputBits === 1 ? 0.45 : inputBits === 2 ? 0.17 : 0.085;
  const multi = inputBits === 1 ? 0.33 : inputBits === 2 ? 0.15 : 0.055;
  const reach =
    (attack.name === 'pgd' ? multi : single * (attack.name === 'r-fgsm' ? 1.2 : 1)) *
    (training.kind === 'adversarial' ? (attack.name === 'pgd' ? 1.5 : 2.4) : 1) *
    (recipe === 'none' ? 1 : 0.85);
  const kept = 1 / (1 + Math.exp((attack.epsilon - reach) * (inputBits === 2 ? 60 : 28)));
  const jitter = 0.02 * (noise(`${network.id} ${attack.name} ${attack.epsilon}`) - 0.5);
  return Math.round(2000 * clamp(cleanAccuracy * kept + jitter * kept)) / 2000;
}

const signModes: readonly GradientModeRecord['sign'][] = ['clipped', 'identity', 'approx', 'exact'];

function modesOf(recipe: string): GradientModeRecord[] {
  return recipe === 'none'
    ? [
        { discretizer: 'identity', sign: null },
        { discretizer: 'exact', sign: null },
      ]
    : signModes.map((sign) => ({ discretizer: 'identity' as const, sign }));
}

function flippable(bits: number, epsilon: number): number {
  if (bits === 8) return 1;
  if (bits === 4) return 0.995;
  if (bits === 2) return epsilon < 1 / 6 ? 0.113 : 1;
  return epsilon < 0.5 ? 0.06 + 0.1 * epsilon : 1;
}

function claims(): ClaimRecord[] {
  return [
    {
      id: 1,
      title: '2-bit input keeps clean accuracy',
      statement: '2-bit input discretization keeps clean accuracy within 1–2 points of 8-bit input.',
      criterion: 'clean accuracy at 8 bits minus clean accuracy at 2 bits is at most 2 points.',
      verdicts: [
        {
          scope: 'full precision, natural',
          threatModel: 'none',
          verdict: 'holds',
          measured: '98.5 % at 8 bits and 98.4 % at 2 bits: 0.1 points.',
          figures: { clean8: 0.985, clean2: 0.984, difference: 0.001 },
        },
        {
          scope: 'BNN, natural',
          threatModel: 'none',
          verdict: 'holds',
          measured: '97.2 % at 8 bits and 96.2 % at 2 bits: 1.0 points.',
          figures: { clean8: 0.972, clean2: 0.962, difference: 0.01 },
        },
      ],
      verdict: 'holds',
    },
    {
      id: 2,
      title: 'Single-step attacks cost a 2-bit net little',
      statement:
        'Against single-step attacks 2-bit inputs lose about 1–2 points for a substantial range of ε; 8-bit inputs lose far more.',
      criterion:
        'the largest ε at which the 2-bit net loses at most 2 points is at least twice that of the 8-bit net.',
      verdicts: [
        {
          scope: 'full precision, natural, FGSM, discretizer identity',
          threatModel: 'white-box',
          verdict: 'holds',
          measured: 'the 2-bit net loses at most 2 points up to ε = 0.1, the 8-bit net at no tested ε.',
          figures: { largest2: 0.1, largest8: 0 },
        },
        {
          scope: 'BNN, natural, FGSM, discretizer identity, sign clipped',
          threatModel: 'white-box',
          verdict: 'fails',
          measured: 'neither net loses at most 2 points at any tested ε.',
          figures: { largest2: 0, largest8: 0 },
        },
        {
          scope: 'full precision, natural, FGSM from a twin',
          threatModel: 'transfer',
          verdict: 'holds',
          measured: 'the 2-bit net loses at most 2 points up to ε = 0.1, the 8-bit net at no tested ε.',
          figures: { largest2: 0.1, largest8: 0 },
        },
      ],
      verdict: 'fails',
    },
    {
      id: 3,
      title: 'Binary networks are more robust',
      statement: 'Binary networks are more robust than full-precision ones of the same architecture.',
      criterion:
        'paired over images, the 95 % confidence interval of the difference lies above zero, under the worst gradient mode found.',
      verdicts: [
        {
          scope: 'BNN against full precision, 8 bit, natural, all ε, worst gradient mode',
          threatModel: 'white-box',
          verdict: 'fails',
          measured: 'BNN keeps 8.1 points less (95 % interval −9.4 to −6.8, n = 6,000 pairs).',
          figures: { difference: -0.0812, low: -0.0941, high: -0.0683, pairs: 6000 },
        },
        {
          scope: 'XNOR against full precision',
          threatModel: 'white-box',
          verdict: 'not tested',
          measured: 'no XNOR network was trained.',
          figures: {},
        },
      ],
      verdict: 'fails',
    },
    {
      id: 4,
      title: 'Discretization and BNN together replace adversarial training',
      statement:
        'Discretization and BNN together are better than either, and for some ε need no adversarial training.',
      criterion:
        'natural 2-bit bnn beats FGSM-trained 8-bit full precision, paired over images, 95 % interval.',
      verdicts: [
        {
          scope: 'no pair of such networks',
          threatModel: 'none',
          verdict: 'not tested',
          measured: 'the networks were not trained.',
          figures: {},
        },
      ],
      verdict: 'not tested',
    },
    {
      id: 5,
      title: 'Multi-step attacks break discretization alone',
      statement:
        'Multi-step attacks break discretization alone; discretization with adversarial training is the better defence.',
      criterion:
        'loss under PGD exceeds loss under FGSM by at least 20 points somewhere, and the trained 2-bit net beats the natural 2-bit and the trained 8-bit net.',
      verdicts: [
        {
          scope: 'full precision, all ε',
          threatModel: 'white-box',
          verdict: 'holds',
          measured:
            'PGD costs up to 51.2 points more than FGSM; the trained 2-bit net keeps 3.1 points more than the better of the other two.',
          figures: { largestGap: 0.512, margin: 0.031 },
        },
      ],
      verdict: 'holds',
    },
  ];
}

/** A synthetic study with the shape of a real one: MNIST, mnist-fcn, FGSM, R-FGSM and PGD-20. */
export function sampleResults(options: SampleOptions = {}): Results {
  const {
    inputBits = [8, 4, 2, 1],
    recipes = ['none', 'bnn'],
    trainings = [{ kind: 'natural' }, fgsmTraining],
    epsilons = [0.1, 0.2, 0.3],
    seeds = [1],
    twins = true,
    n = 2000,
  } = options;
  const networks: NetworkRecord[] = [];
  for (const twin of twins ? [false, true] : [false]) {
    for (const seed of seeds) {
      for (const training of trainings) {
        for (const recipe of recipes) {
          for (const bits of inputBits) {
            const id = networkId(recipe, bits, training, seed, twin);
            networks.push({
              id,
              model: 'mnist-fcn',
              recipe,
              inputBits: bits,
              training,
              seed: twin ? seed + 1000 : seed,
              epochs: 4,
              batchSize: 128,
              parameters: 715_610,
              twin,
              n: 10_000,
              cleanAccuracy:
                Math.round(10_000 * ((recipe === 'none' ? 0.984 : 0.968) - 0.006 * noise(id))) / 10_000,
              trainSeconds: 5 + 4 * noise(`${id} time`),
              file: `networks/${id}.safetensors`,
            });
          }
        }
      }
    }
  }
  const main = networks.filter((network) => !network.twin);
  const common = (network: NetworkRecord, attack: AttackRecord, accuracy: number) => ({
    attack,
    epsilon: attack.epsilon,
    n,
    seed: network.seed,
    cleanAccuracy: network.cleanAccuracy,
    adversarialAccuracy: accuracy,
    adversarialLoss: network.cleanAccuracy - accuracy,
    flippableFraction: flippable(network.inputBits, attack.epsilon),
    meanPerturbation: 0.55 * attack.epsilon,
    seconds: 0.2,
  });
  const whiteBox: WhiteBoxRecord[] = main.flatMap((network) =>
    epsilons.flatMap(attacksAt).flatMap((attack) =>
      modesOf(network.recipe).map((gradientMode): WhiteBoxRecord => {
        const masked = gradientMode.discretizer === 'exact' || gradientMode.sign === 'exact';
        const weaker =
          gradientMode.sign === null
            ? 0
            : 0.06 * noise(`${network.id} ${gradientMode.sign} ${attack.name} ${attack.epsilon}`);
        const accuracy = masked
          ? network.cleanAccuracy
          : Math.min(network.cleanAccuracy, accuracyUnder(network, attack) + weaker);
        return {
          threatModel: 'white-box',
          network: network.id,
          ...common(network, attack, accuracy),
          gradientMode,
          zeroGradientFraction: masked
            ? 1
            : gradientMode.sign === 'clipped'
              ? 0.0185 * noise(`${network.id} zero`)
              : 0,
        };
      }),
    ),
  );
  const transfer: TransferRecord[] = seeds.flatMap((seed) => {
    const here = main.filter((network) => network.seed === seed);
    return here.flatMap((source) =>
      here.flatMap((target) =>
        epsilons.flatMap(attacksAt).map((attack): TransferRecord => {
          const same = source.id === target.id;
          const own = accuracyUnder(target, attack);
          const kinship = same ? 0.8 : source.recipe === target.recipe ? 0.55 : 0.3;
          const accuracy =
            target.cleanAccuracy - kinship * (target.cleanAccuracy - own) * (0.7 + 0.3 * noise(source.id));
          const sourceId = same && twins ? `${source.id}-twin` : source.id;
          return {
            threatModel: 'transfer',
            source: sourceId,
            target: target.id,
            diagonal: same ? (twins ? 'twin' : 'white-box') : null,
            ...common(target, attack, accuracy),
            gradientMode: { discretizer: 'identity', sign: source.recipe === 'none' ? null : 'clipped' },
          };
        }),
      ),
    );
  });
  return {
    schema: 'hardbit/results',
    version: 1,
    library: { name: 'hardbit', version: '0.1.0' },
    command: `npx hardbit reproduce mnist --preset quick --out study --seeds ${seeds.length}`,
    preset: 'quick',
    dataset: {
      name: 'mnist',
      trainExamples: 60_000,
      testExamples: 10_000,
      sha256: {
        'train-images-idx3-ubyte': 'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
        'train-labels-idx1-ubyte': '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
        't10k-images-idx3-ubyte': '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
        't10k-labels-idx1-ubyte': 'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2',
      },
    },
    machine: {
      cpu: 'Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz',
      isa: 'avx512',
      threads: 2,
      node: 'v20.19.0',
      platform: 'linux-x64',
    },
    seeds: [...seeds],
    finishedAt: '2026-01-02T03:04:05Z',
    seconds: 221.4,
    networks,
    whiteBox,
    transfer,
    claims: claims(),
  };
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
          attack: attacksAt(0.2)[2] as AttackRecord,
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
