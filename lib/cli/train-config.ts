import { Lexer, LineCounter, Parser, parseDocument } from 'yaml';
import { z } from 'zod';
import { requireDatasetName } from '../data/registry.js';
import { HardbitError, isHardbitError, requireName } from '../errors.js';
import { attackNames, parseEpsilon } from '../evaluation/attack-options.js';
import { readFile } from '../files.js';
import { modelNames, requireRecipe } from '../models/registry.js';
import {
  gradientArithmetics,
  resolveOptimizer,
  resolveSchedule,
  type Schedule,
  stoppingMetrics,
} from '../training/options.js';

/** A name that `require` knows; the sentence about a wrong one comes with the nearest right one. */
function knownName<T extends string>(what: string, require: (name: string) => T) {
  return z.string(`expected the name of a ${what}`).transform((name, context): T => {
    try {
      return require(name);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
      return z.NEVER;
    }
  });
}

function nameOf<T extends string>(what: string, known: readonly T[]) {
  return knownName(what, (name) => requireName(what, name, known));
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

const number = (expected: string, ok: (value: number) => boolean) =>
  z.number(`expected ${expected}`).refine(ok, `expected ${expected}`);

interface NamedSettings {
  readonly name: string;
  readonly [setting: string]: unknown;
}

/** A name, or an object of a name and settings, that `resolve` takes; it stays as it is written. */
function nameOrSettings<T>(what: string, resolve: (value: T) => unknown) {
  return z
    .union(
      [z.string(), z.record(z.string(), z.unknown())],
      `expected the name of ${what}, or its name and settings`,
    )
    .transform((value, context): T => {
      try {
        resolve(value as T);
        return value as T;
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message });
        return z.NEVER;
      }
    });
}

/** The keys of a training's YAML file; each is also a flag of `hardbit train`. */
export const trainConfigSchema = z.strictObject({
  model: nameOf('model', modelNames).optional(),
  /** A known name, or idx:FOLDER. */
  dataset: knownName('dataset', requireDatasetName).optional(),
  /** Of the input discretizer. */
  bits: wholeNumber(1, 8).optional(),
  recipe: knownName('recipe', (name) => requireRecipe(name).name).optional(),
  epochs: wholeNumber(1).optional(),
  batchSize: wholeNumber(2).optional(),
  optimizer: nameOrSettings<string | NamedSettings>('an optimizer', resolveOptimizer).optional(),
  learningRate: z
    .number('expected a number above 0')
    .positive('expected a number above 0')
    .max(1000, 'expected a number of at most 1000')
    .optional(),
  schedule: nameOrSettings<Schedule>('a schedule', resolveSchedule).optional(),
  /** Weight decay of the optimizer. */
  weightDecay: number('a number from 0 to 1000', (value) => value >= 0 && value <= 1000).optional(),
  seed: wholeNumber(0).optional(),
  /** The last part of the training images, for validation. */
  validationSplit: number('a fraction above 0 and below 1', (value) => value > 0 && value < 1).optional(),
  /** Patience of early stopping, in epochs. */
  earlyStopping: wholeNumber(1).optional(),
  earlyStoppingMetric: nameOf('metric', stoppingMetrics).optional(),
  minDelta: number('a number of at least 0', (value) => value >= 0).optional(),
  /** Decay of the weights' moving average. */
  average: number('a number from 0 up to, but below, 1', (value) => value >= 0 && value < 1).optional(),
  flipRatio: z.boolean('expected true or false').optional(),
  /** Of the gradients of quantized layers. */
  gradientArithmetic: nameOf('gradient arithmetic', gradientArithmetics).optional(),
  /** Trains on images attacked so. */
  adversarial: nameOf('attack', attackNames).optional(),
  epsilon: epsilonValue.optional(),
  /** Of that attack, as in `hardbit attack`. */
  steps: wholeNumber(1).optional(),
  stepSize: epsilonValue.optional(),
  alpha: epsilonValue.optional(),
  randomStart: z.boolean('expected true or false').optional(),
  /** Files of static networks: ensemble adversarial training. */
  sourceModel: z.union([text, z.array(text).min(1)], 'expected a path, or a list of paths').optional(),
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

/** Of a configuration's text: a dozen lines and their comments take far less. */
const MAXIMUM_LENGTH = 65_536;
/** Nothing in a configuration is nested; some room is left so that the sentences about wrong values apply. */
const MAXIMUM_DEPTH = 16;

/** Whether values are nested too deep for YAML's reader, which recurses; stops at the first that is. */
function isTooDeep(source: string): boolean {
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(source)) {
    for (const _finished of parser.next(lexeme)) {
      // Only the nodes being built matter.
    }
    if (parser.stack.length > MAXIMUM_DEPTH) return true;
  }
  return false;
}

function requireShort(length: number, path: string): void {
  if (length <= MAXIMUM_LENGTH) return;
  throw configError(
    path,
    '',
    `it is longer than ${MAXIMUM_LENGTH / 1024} KiB; expected a few lines such as 'epochs: 3'`,
  );
}

/** A value as it is quoted in a sentence. */
function shown(value: unknown): string {
  try {
    const text = JSON.stringify(value) ?? String(value);
    return text.length > 80 ? `${text.slice(0, 80)}…` : text;
  } catch {
    return 'an alias of itself';
  }
}

/**
 * Reads a YAML configuration of `hardbit train`.
 *
 * @throws ERR_HARDBIT_READ; ERR_HARDBIT_CONFIG with file, line and column of the first thing that is wrong.
 */
export function readTrainConfig(path: string): TrainConfig {
  const bytes = readFile(path);
  requireShort(bytes.length, path);
  return parseTrainConfig(bytes.toString('utf8'), path);
}

/** `readTrainConfig` on text. */
export function parseTrainConfig(source: string, path: string): TrainConfig {
  requireShort(source.length, path);
  if (isTooDeep(source)) {
    throw configError(
      path,
      '',
      `it is nested deeper than ${MAXIMUM_DEPTH} levels; expected lines such as 'epochs: 3'`,
    );
  }
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false, logLevel: 'error' });
  const at = (offset: number | undefined): string => {
    if (offset === undefined) return '';
    const { line, col } = lines.linePos(offset);
    return `, line ${line}, column ${col}`;
  };
  // A warning tells of a tag that YAML does not know: its value would not mean what the file says.
  const syntax = document.errors[0] ?? document.warnings[0];
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
  // Tags make sets, ordered maps and binary data.
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) {
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
            sentence: `${issue.path.join('.')} is ${shown((value as Record<string, unknown>)[String(issue.path[0])])}: ${issue.message}`,
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
