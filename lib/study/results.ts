import { z } from 'zod';

/**
 * What a study leaves behind: `results.json` and `examples.json`. The JSON Schema generated from here stands in
 * docs/results.schema.json. Accuracies, losses and fractions are in [0, 1]; ε and perturbations are in units of
 * pixels in [0, 1]; times are seconds.
 */
export const RESULTS_SCHEMA = 'hardbit/results';
export const RESULTS_VERSION = 2;

const fraction = z.number().min(0).max(1);
const count = z.number().int().min(0);
const norm = z.enum(['linf', 'l2']);
/** In L∞ at most 1; in L2 it may be more. */
const radius = z.number().min(0);

export const gradientModeSchema = z.strictObject({
  discretizer: z.enum(['identity', 'exact']),
  /** null for a network without quantized activations. */
  sign: z.enum(['clipped', 'identity', 'approx', 'swish', 'exact']).nullable(),
});

export const attackSchema = z.strictObject({
  name: z.string(),
  epsilon: radius,
  /** L∞ where it is not given. */
  norm: norm.optional(),
  /** Size of R+FGSM's random step. */
  alpha: z.number().optional(),
  steps: z.number().int().optional(),
  stepSize: z.number().optional(),
  randomStart: z.boolean().optional(),
  restarts: z.number().int().optional(),
  targeted: z.boolean().optional(),
  /** Images are left alone once they are misclassified: their perturbation is not the largest that fits. */
  earlyStop: z.boolean().optional(),
});

const adversarialTraining = {
  attack: z.string(),
  epsilon: fraction,
  /** Fraction of each batch that is adversarial. */
  mix: fraction,
  /** Of a multi-step attack. */
  steps: z.number().int().optional(),
};

export const trainingSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('natural') }),
  z.strictObject({ kind: z.literal('adversarial'), ...adversarialTraining }),
  z.strictObject({
    kind: z.literal('ensemble'),
    ...adversarialTraining,
    /** Ids of the static networks that, beside the trained one, make the adversarial images. */
    sources: z.array(z.string()),
  }),
]);

export const epochSchema = z.strictObject({
  /** From 1. */
  epoch: z.number().int(),
  /** Mean cross-entropy in nats over the epoch, in training mode. */
  loss: z.number(),
  /** Over the epoch, in training mode, adversarial images included. */
  accuracy: fraction,
});

export const networkSchema = z.strictObject({
  id: z.string(),
  /** Networks of one variant differ in their seed alone. */
  variant: z.string(),
  /** The part of the plan it belongs to. */
  block: z.string(),
  model: z.string(),
  recipe: z.string(),
  inputBits: z.number().int(),
  training: trainingSchema,
  seed: z.number().int(),
  epochs: z.number().int(),
  batchSize: z.number().int(),
  parameters: z.number().int(),
  /** Multiply-accumulates of one image, binary and quantized ones included. */
  macs: z.number().int(),
  /** Trained only as the source of the transfer matrix's diagonal and of ensemble training. */
  twin: z.boolean(),
  /** Test images of `cleanAccuracy`. */
  n: z.number().int(),
  cleanAccuracy: fraction,
  history: z.array(epochSchema),
  /** Of the run that finished the training. */
  trainSeconds: z.number(),
  /** Model file, relative to the folder of the study or shard that trained it. */
  file: z.string(),
});

const attackedCell = {
  attack: attackSchema,
  epsilon: radius,
  norm,
  n: z.number().int(),
  seed: z.number().int(),
  /** On the n images. */
  cleanAccuracy: fraction,
  adversarialAccuracy: fraction,
  /** Clean minus adversarial accuracy. */
  adversarialLoss: z.number(),
  /** Pixels whose code can change within ε; null in L2, which bounds no single pixel. */
  flippableFraction: fraction.nullable(),
};

export const whiteBoxSchema = z.strictObject({
  threatModel: z.literal('white-box'),
  network: z.string(),
  ...attackedCell,
  gradientMode: gradientModeSchema,
  /**
   * 'all': every image was attacked in this gradient mode, and the figures are this mode's own. 'remaining': only the images
   * that withstood the modes before it were attacked, so that `adversarialAccuracy` is the per-example worst so far.
   */
  coverage: z.enum(['all', 'remaining']),
  /** Images attacked in this mode: n, or those that remained. */
  attacked: count,
  /** Over the attacked images; null where none remained. */
  meanPerturbation: z.number().nullable(),
  /** Attacked images whose whole first input gradient is exactly zero; null where none remained. */
  zeroGradientFraction: fraction.nullable(),
  seconds: z.number(),
});

/** The headline figure of a network under one attack at one ε: each image counts as lost where any gradient mode wins it. */
export const worstCaseSchema = z.strictObject({
  threatModel: z.literal('white-box'),
  network: z.string(),
  ...attackedCell,
  /** 95 % Wilson interval of `adversarialAccuracy`. */
  interval: z.strictObject({ low: fraction, high: fraction }),
  /** The gradient modes tried, in order. */
  gradientModes: z.array(gradientModeSchema),
  /** Every gradient mode worth trying on this network was tried; otherwise the default one alone. */
  everyMode: z.boolean(),
  /** Of the modes in which all images were attacked, the one that leaves the least accuracy. */
  worstMode: z.strictObject({ gradientMode: gradientModeSchema, adversarialAccuracy: fraction }),
});

export const transferSchema = z.strictObject({
  threatModel: z.literal('transfer'),
  source: z.string(),
  target: z.string(),
  /** 'twin': the source is the target's twin from another seed; 'white-box': source and target are one network. */
  diagonal: z.enum(['twin', 'white-box']).nullable(),
  ...attackedCell,
  /** How the source was differentiated. */
  gradientMode: gradientModeSchema,
  meanPerturbation: z.number(),
  seconds: z.number(),
});

const threatModel = z.enum(['none', 'white-box', 'transfer']);

export const verdictSchema = z.strictObject({
  /** Whom the verdict is about and under which attack, threat model and gradient mode, in words. */
  scope: z.string(),
  /** null where nothing was tested. */
  model: z.string().nullable(),
  recipe: z.string().nullable(),
  /** Of claims about networks with one number of input bits; null for those that compare 2 with 8. */
  inputBits: z.number().int().nullable(),
  /** 'FGSM', 'PGD-20', 'PGD-20 (L2)'; null for a claim about clean accuracy and where nothing was tested. */
  attack: z.string().nullable(),
  threatModel,
  /**
   * White-box: the one mode in which the attacker differentiates networks that leave a choice, or null for the per-example
   * worst over all modes. Otherwise null.
   */
  gradientMode: gradientModeSchema.nullable(),
  verdict: z.enum(['holds', 'fails', 'not tested']),
  /** The figures, one sentence. */
  measured: z.string(),
  /** Images; where attacks differ in it, the least. 0 where nothing was tested. */
  n: count,
  seeds: z.array(z.number().int()),
  figures: z.record(z.string(), z.number()),
});

export const claimSchema = z.strictObject({
  id: z.number().int().min(1).max(5),
  title: z.string(),
  /** The paper's claim in one sentence. */
  statement: z.string(),
  /** Fixed beforehand. */
  criterion: z.string(),
  verdicts: z.array(verdictSchema),
  /** Counts of `verdicts`: one entry for each threat model and, white-box, one for each gradient mode too. */
  byThreatModel: z.array(
    z.strictObject({
      threatModel,
      /** null: white-box under the per-example worst over modes, or another threat model. */
      gradientMode: gradientModeSchema.nullable(),
      holds: count,
      fails: count,
      notTested: count,
      /** 'holds' and 'fails' where every tested verdict agrees, 'mixed' where they differ. */
      verdict: z.enum(['holds', 'fails', 'mixed', 'not tested']),
    }),
  ),
  /** The verdicts by threat model in one sentence. */
  heading: z.string(),
  /** Says that the claim holds only under a weak gradient mode, where it does. */
  caveat: z.string().nullable(),
});

export const machineSchema = z.strictObject({
  cpu: z.string(),
  isa: z.string(),
  threads: z.number().int(),
  node: z.string(),
  platform: z.string(),
  /** What computed; cpu where it is not given. */
  device: z.enum(['cpu', 'cuda']).optional(),
  /** The name of the GPU, where it was one. */
  gpu: z.string().optional(),
});

export const datasetSchema = z.strictObject({
  name: z.string(),
  trainExamples: z.number().int(),
  testExamples: z.number().int(),
  sha256: z.record(z.string(), z.string()),
});

/** One run's share of the plan. */
export const shardSchema = z.strictObject({
  /** From 1. */
  index: z.number().int().min(1),
  count: z.number().int().min(1),
  machine: machineSchema,
  /** Of the work that was finished, in all runs of the shard. */
  seconds: z.number(),
  /** ISO 8601; null where it was not finished. */
  finishedAt: z.string().nullable(),
  /** Networks and measurements that are here, and that the shard's plan holds. */
  networks: z.strictObject({ finished: count, planned: count }),
  cells: z.strictObject({ finished: count, planned: count }),
});

export const resultsSchema = z.strictObject({
  schema: z.literal(RESULTS_SCHEMA),
  version: z.literal(RESULTS_VERSION),
  library: z.strictObject({ name: z.string(), version: z.string() }),
  /** Repeats the study, or merges its shards. */
  command: z.string(),
  preset: z.string(),
  /** Of the whole plan: shards of one plan have one hash. */
  planHash: z.string(),
  dataset: datasetSchema,
  seeds: z.array(z.number().int()),
  /** By index; a study that was not cut has one, 1 of 1. */
  shards: z.array(shardSchema).min(1),
  /** All that the whole plan holds is here. */
  complete: z.boolean(),
  /** ISO 8601, of the last shard that finished; null where none did. */
  finishedAt: z.string().nullable(),
  /** Over all shards. */
  seconds: z.number(),
  networks: z.array(networkSchema),
  /** By network, attack, ε and gradient mode. */
  whiteBox: z.array(whiteBoxSchema),
  /** By network, attack and ε. */
  worstCase: z.array(worstCaseSchema),
  /** By source, attack, ε and target. */
  transfer: z.array(transferSchema),
  claims: z.array(claimSchema),
});

/** One row of example images; pixel arrays are base64 of u8 [H·W·C]. */
export const exampleSchema = z.strictObject({
  network: z.string(),
  attack: attackSchema,
  gradientMode: gradientModeSchema,
  index: z.number().int(),
  label: z.number().int(),
  cleanPrediction: z.number().int(),
  adversarialPrediction: z.number().int(),
  inputBits: z.number().int(),
  /** round(255·x). */
  clean: z.string(),
  /** Codes 0 … 2^inputBits − 1 of the clean image. */
  cleanCodes: z.string(),
  adversarial: z.string(),
  adversarialCodes: z.string(),
});

export const examplesSchema = z.strictObject({
  schema: z.literal('hardbit/examples'),
  version: z.literal(1),
  /** [H, W, C] */
  imageShape: z.tuple([z.number().int(), z.number().int(), z.number().int()]),
  examples: z.array(exampleSchema),
});

export type GradientModeRecord = z.infer<typeof gradientModeSchema>;
export type AttackRecord = z.infer<typeof attackSchema>;
export type TrainingRecord = z.infer<typeof trainingSchema>;
export type NetworkRecord = z.infer<typeof networkSchema>;
export type WhiteBoxRecord = z.infer<typeof whiteBoxSchema>;
export type WorstCaseRecord = z.infer<typeof worstCaseSchema>;
export type TransferRecord = z.infer<typeof transferSchema>;
export type VerdictRecord = z.infer<typeof verdictSchema>;
export type ClaimRecord = z.infer<typeof claimSchema>;
export type MachineRecord = z.infer<typeof machineSchema>;
export type DatasetRecord = z.infer<typeof datasetSchema>;
export type ShardRecord = z.infer<typeof shardSchema>;
export type Results = z.infer<typeof resultsSchema>;
export type Example = z.infer<typeof exampleSchema>;
export type Examples = z.infer<typeof examplesSchema>;

const recipeNames: Readonly<Record<string, string>> = {
  none: 'full precision',
  ternary: 'ternary',
  'xnor-constant': 'XNOR (constant α)',
  'xnor-chain': 'XNOR (chain rule)',
};

/** How a recipe is called in sentences: 'full precision', 'BNN', 'XNOR (chain rule)', 'DoReFa w1a2'. */
export function recipeText(recipe: string): string {
  return recipeNames[recipe] ?? recipe.toUpperCase().replace(/^DOREFA-W(\d)A(\d)$/, 'DoReFa w$1a$2');
}
