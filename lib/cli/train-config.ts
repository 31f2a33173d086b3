import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { datasetNames } from '../data/registry.js';
import { HardbitError, isHardbitError, requireName } from '../errors.js';
import { attackNames, parseEpsilon } from '../evaluation/attack-options.js';
import { readFile } from '../files.js';
import { modelNames, recipeNames } from '../models/registry.js';
import { optimizerNames, scheduleNames } from '../training/options.js';

/** A name out of a list; the sentence about a wrong one comes with the nearest right one. */
function nameOf<T extends string>(what: string, known: readonly T[]) {
  return z.string(`expected the name of a ${what}`).transform((name, context): T => {
    try {
      return requireName(what, name, known);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
      return z.NEVER;
    }
  });
}

const wholeNumber = (low: number, high = Number.MAX_SAFE_INTEGER) => {
  const expected = `expected a whole number ${high === Number.MAX_SAFE_INTEGER ? `of at least ${low}` : `from ${low} to ${high}`}`;
  return z.number(expected).int(expected).min(low, expected).max(high, expected);
};

/** A number in [0, 1], or text such as 8/255. */
const epsilonValue = z
  .union([z.number(), z.string()], 'expected a number in [0, 1] such as 0.2 or 8/255')
  .transform((value, context) => {
    try {
      return parseEpsilon(String(value));
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
      return z.NEVER;
    }
  });

const text = z.string('expected a path').min(1, 'expected a path');

/** The keys of a training's YAML file; each is also a flag of `hardbit train`. */
export const trainConfigSchema = z.strictObject({
  model: nameOf('model', modelNames).optional(),
  dataset: nameOf('dataset', datasetNames).optional(),
  /** Of the input discretizer. */
  bits: wholeNumber(1, 8).optional(),
  recipe: nameOf('recipe', recipeNames).optional(),
  epochs: wholeNumber(1).optional(),
  batchSize: wholeNumber(2).optional(),
  optimizer: nameOf('optimizer', optimizerNames).optional(),
  learningRate: z
    .number('expected a number above 0')
    .positive('expected a number above 0')
    .max(1000, 'expected a number of at most 1000')
    .optional(),
  schedule: nameOf('schedule', scheduleNames).optional(),
  seed: wholeNumber(0).optional(),
  /** Trains on images attacked so. */
  adversarial: nameOf('attack', attackNames).optional(),
  epsilon: epsilonValue.optional(),
  /** Attacked fraction of each batch. */
  mix: z
    .number('expected a fraction above 0 and at most 1')
    .positive('expected a fraction above 0 and at most 1')
    .max(1, 'expected a fraction above 0 and at most 1')
    .optional(),
  out: text.optional(),
  checkpoint: text.optional(),
});

export type TrainConfig = z.infer<typeof trainConfigSchema>;

const keys = Object.keys(trainConfigSchema.shape);

function configError(path: string, place: string, sentence: string, cause?: unknown): HardbitError {
  // Keys and values are quoted as they stand, and YAML lets them run over several lines.
  const line = sentence.replace(/\s+/g, ' ').trim();
  const end = /[.!?]$/.test(line) ? '' : '.';
  return new HardbitError('ERR_HARDBIT_CONFIG', `${path}${place}: ${line}${end}`, { cause });
}

/**
 * Reads a YAML configuration of `hardbit train`.
 *
 * @throws ERR_HARDBIT_READ; ERR_HARDBIT_CONFIG with file, line and column of the first thing that is wrong.
 */
export function readTrainConfig(path: string): TrainConfig {
  return parseTrainConfig(readFile(path).toString('utf8'), path);
}

/** `readTrainConfig` on text. */
export function parseTrainConfig(source: string, path: string): TrainConfig {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false, logLevel: 'error' });
  const at = (offset: number | undefined): string => {
    if (offset === undefined) return '';
    const { line, col } = lines.linePos(offset);
    return `, line ${line}, column ${col}`;
  };
  const syntax = document.errors[0];
  if (syntax !== undefined) {
    const message = syntax.message.split('\n', 1)[0] as string;
    throw configError(path, at(syntax.pos[0]), `this is not YAML: ${message}`, syntax);
  }
  let value: unknown;
  try {
    value = document.toJS() ?? {};
  } catch (error) {
    // Aliases without an anchor, or too many of them.
    throw configError(path, '', `this is not YAML: ${(error as Error).message.split('\n', 1)[0]}`, error);
  }
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw configError(path, at(0), `expected lines such as 'epochs: 3'; known keys: ${keys.join(', ')}`);
  }
  const parsed = trainConfigSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  // Positions of keys and values, to tell of the first problem in the file.
  const places = new Map<string, { key: number | undefined; value: number | undefined }>();
  const { contents } = document;
  if (contents !== null && 'items' in contents) {
    for (const { key, value } of contents.items as { key: Ranged | null; value: Ranged | null }[]) {
      places.set(String(key?.value), { key: key?.range?.[0], value: value?.range?.[0] });
    }
  }
  const problems = parsed.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ offset: places.get(key)?.key, sentence: unknownKey(key) }))
      : [
          {
            offset: places.get(String(issue.path[0]))?.value,
            sentence: `${issue.path.join('.')} is ${JSON.stringify((value as Record<string, unknown>)[String(issue.path[0])])}: ${issue.message}`,
          },
        ],
  );
  problems.sort((a, b) => (a.offset ?? 0) - (b.offset ?? 0));
  const first = problems[0] as (typeof problems)[number];
  throw configError(path, at(first.offset), first.sentence, parsed.error);
}

interface Ranged {
  readonly value?: unknown;
  readonly range?: readonly number[] | null;
}

function unknownKey(key: string): string {
  try {
    requireName('key', key, keys);
    return `the key '${key}' is not expected here`;
  } catch (error) {
    if (!isHardbitError(error)) throw error;
    return error.message;
  }
}
