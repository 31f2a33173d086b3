import { z } from 'zod';

/**
 * What a study leaves behind: `results.json` and `examples.json`. The JSON Schema generated from here stands in
 * docs/results.schema.json. Accuracies, losses and fractions are in [0, 1]; ε and perturbations are in units of
 * pixels in [0, 1]; times are seconds.
 */
export const RESULTS_SCHEMA = 'hardbit/results';
export const RESULTS_VERSION = 1;

const fraction = z.number().min(0).max(1);

export const gradientModeSchema = z.strictObject({
  discretizer: z.enum(['identity', 'exact']),
  /** null for a network without sign layers. */
  sign: z.enum(['clipped', 'identity', 'approx', 'exact']).nullable(),
});

export const attackSchema = z.strictObject({
  name: z.string(),
  epsilon: fraction,
  /** Size of R+FGSM's random step. */
  alpha: z.number().optional(),
  steps: z.number().int().optional(),
  stepSize: z.number().optional(),
  randomStart: z.boolean().optional(),
  restarts: z.number().int().optional(),
  targeted: z.boolean().optional(),
});

export const trainingSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('natural') }),
  z.strictObject({
    kind: z.literal('adversarial'),
    attack: z.string(),
    epsilon: fraction,
    /** Fraction of each batch that is adversarial. */
    mix: fraction,
  }),
]);

export const networkSchema = z.strictObject({
  id: z.string(),
  model: z.string(),
  recipe: z.string(),
  inputBits: z.number().int(),
  training: trainingSchema,
  seed: z.number().int(),
  epochs: z.number().int(),
  batchSize: z.number().int(),
  parameters: z.number().int(),
  /** Trained only as the source of the transfer matrix's diagonal. */
  twin: z.boolean(),
  n: z.number().int(),
  cleanAccuracy: fraction,
  trainSeconds: z.number(),
  /** Model file, relative to the study's folder. */
  file: z.string(),
});

const measuredCell = {
  attack: attackSchema,
  epsilon: fraction,
  gradientMode: gradientModeSchema,
  n: z.number().int(),
  seed: z.number().int(),
  cleanAccuracy: fraction,
  adversarialAccuracy: fraction,
  /** Clean minus adversarial accuracy. */
  adversarialLoss: z.number(),
  /** Pixels whose code can change within ε. */
  flippableFraction: fraction,
  meanPerturbation: z.number(),
  seconds: z.number(),
};

export const whiteBoxSchema = z.strictObject({
  threatModel: z.literal('white-box'),
  network: z.string(),
  ...measuredCell,
  /** Images whose whole first input gradient is exactly zero. */
  zeroGradientFraction: fraction,
});

export const transferSchema = z.strictObject({
  threatModel: z.literal('transfer'),
  source: z.string(),
  target: z.string(),
  /** 'twin': the source is the target's twin from another seed; 'white-box': source and target are one network. */
  diagonal: z.enum(['twin', 'white-box']).nullable(),
  ...measuredCell,
});

export const claimSchema = z.strictObject({
  id: z.number().int().min(1).max(5),
  title: z.string(),
  /** The paper's claim in one sentence. */
  statement: z.string(),
  /** Fixed beforehand. */
  criterion: z.string(),
  verdicts: z.array(
    z.strictObject({
      /** Whom the verdict is about and under which threat model and gradient mode, in words. */
      scope: z.string(),
      threatModel: z.enum(['none', 'white-box', 'transfer']),
      verdict: z.enum(['holds', 'fails', 'not tested']),
      /** The figures, one sentence. */
      measured: z.string(),
      figures: z.record(z.string(), z.number()),
    }),
  ),
  /** 'holds' where every tested verdict holds, 'fails' where one fails, 'not tested' where none was tested. */
  verdict: z.enum(['holds', 'fails', 'not tested']),
});

export const resultsSchema = z.strictObject({
  schema: z.literal(RESULTS_SCHEMA),
  version: z.literal(RESULTS_VERSION),
  library: z.strictObject({ name: z.string(), version: z.string() }),
  /** Repeats the study. */
  command: z.string(),
  preset: z.string(),
  dataset: z.strictObject({
    name: z.string(),
    trainExamples: z.number().int(),
    testExamples: z.number().int(),
    sha256: z.record(z.string(), z.string()),
  }),
  machine: z.strictObject({
    cpu: z.string(),
    isa: z.string(),
    threads: z.number().int(),
    node: z.string(),
    platform: z.string(),
  }),
  seeds: z.array(z.number().int()),
  /** ISO 8601. */
  finishedAt: z.string(),
  seconds: z.number(),
  networks: z.array(networkSchema),
  whiteBox: z.array(whiteBoxSchema),
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
export type TransferRecord = z.infer<typeof transferSchema>;
export type ClaimRecord = z.infer<typeof claimSchema>;
export type Results = z.infer<typeof resultsSchema>;
export type Example = z.infer<typeof exampleSchema>;
export type Examples = z.infer<typeof examplesSchema>;
