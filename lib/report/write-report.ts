import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { HardbitError } from '../errors.js';
import { makeFolder, readFile, writeFileAtomic } from '../files.js';
import {
  type Examples,
  examplesSchema,
  RESULTS_SCHEMA,
  RESULTS_VERSION,
  type Results,
  resultsSchema,
} from '../study/results.js';
import { claimsCsv, networksCsv, transferCsv, whiteBoxCsv, worstCaseCsv } from './csv.js';
import { type ReportFile, reportFiles } from './html.js';

const EXAMPLES_VERSION = 1;

function malformed(path: string, why: string, options?: ErrorOptions): HardbitError {
  return new HardbitError(
    'ERR_HARDBIT_FORMAT',
    `'${path}' ${why}; run the study again with --resume to write it anew.`,
    options,
  );
}

/** Parses one of a study's JSON files: syntax, kind, version and then the schema. */
function parseStudyFile<T>(path: string, kind: string, version: number, schema: z.ZodType<T>): T {
  const text = readFile(path).toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw malformed(path, 'is not complete JSON, it may be cut off', { cause });
  }
  const head = (typeof value === 'object' && value !== null ? value : {}) as {
    schema?: unknown;
    version?: unknown;
  };
  if (head.schema !== kind) {
    throw malformed(path, `is not a ${kind} file (its "schema" should be "${kind}")`);
  }
  if (typeof head.version === 'number' && head.version > version) {
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `'${path}' has version ${head.version} and this hardbit reads up to version ${version}; ` +
        'update hardbit to the version that wrote the study.',
    );
  }
  if (typeof head.version === 'number' && head.version < version) {
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `'${path}' has version ${head.version} and this hardbit reads version ${version}; run the study again.`,
    );
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue?.path.map(String).join('.') ?? '';
  throw malformed(
    path,
    `does not follow the schema ${kind}${where === '' ? '' : ` at ${where}`} (${issue?.message ?? 'invalid'})`,
    { cause: parsed.error },
  );
}

/** Every network a cell names must be there, and once. */
function checkReferences(path: string, results: Results): void {
  const ids = new Set<string>();
  for (const { id } of results.networks) {
    if (ids.has(id)) throw malformed(path, `has two networks with the id '${id}'`);
    ids.add(id);
  }
  const named = [
    ...results.whiteBox.map((cell) => cell.network),
    ...results.worstCase.map((cell) => cell.network),
    ...results.transfer.flatMap((cell) => [cell.source, cell.target]),
  ];
  const missing = named.find((id) => !ids.has(id));
  if (missing !== undefined) throw malformed(path, `has figures of a network '${missing}' it does not list`);
}

/**
 * Reads a study's folder: `results.json`, and `examples.json` where there is one.
 *
 * @throws ERR_HARDBIT_READ where results.json is missing or unreadable; ERR_HARDBIT_FORMAT where a file is cut off,
 *   does not follow its schema, or is of a newer version
 */
export function readStudy(dir: string): { readonly results: Results; readonly examples: Examples | null } {
  const resultsPath = join(dir, 'results.json');
  const results = parseStudyFile(resultsPath, RESULTS_SCHEMA, RESULTS_VERSION, resultsSchema);
  checkReferences(resultsPath, results);
  const examplesPath = join(dir, 'examples.json');
  const examples = existsSync(examplesPath)
    ? parseStudyFile(examplesPath, 'hardbit/examples', EXAMPLES_VERSION, examplesSchema)
    : null;
  return { results, examples };
}

/** Where the files of a report lie. */
export interface WrittenReport {
  /** report.html */
  readonly html: string;
  readonly csv: string[];
  /** Pages of networks. */
  readonly pages: string[];
  /** SVG files. */
  readonly figures: string[];
}

/**
 * Writes the report of a study into its folder, from `results.json` and `examples.json`: the tables (`networks.csv`,
 * `white-box.csv`, `worst-case.csv`, `transfer.csv`, `claims.csv`), `figures/*.svg`, `networks/<id>.html` and, last,
 * `report.html`. Every file is written whole or not at all; the same input gives the same bytes.
 *
 * @returns paths of the files written
 * @throws ERR_HARDBIT_READ, ERR_HARDBIT_FORMAT as {@link readStudy}; ERR_HARDBIT_WRITE where the folder cannot be
 *   written
 */
export async function writeReport(dir: string): Promise<WrittenReport> {
  const { results, examples } = readStudy(dir);
  const tables: readonly (readonly [string, (of: Results) => string])[] = [
    ['networks.csv', networksCsv],
    ['white-box.csv', whiteBoxCsv],
    ['worst-case.csv', worstCaseCsv],
    ['transfer.csv', transferCsv],
    ['claims.csv', claimsCsv],
  ];
  const written: WrittenReport = { html: join(dir, 'report.html'), csv: [], pages: [], figures: [] };
  const write = (path: string, text: string): string => {
    const full = join(dir, path);
    writeFileAtomic(full, text);
    return full;
  };
  // Everything is made before anything is written: what cannot be shown leaves the old report whole.
  const files: ReportFile[] = [];
  for await (const file of reportFiles(results, examples)) files.push(file);
  for (const part of ['networks', 'figures']) makeFolder(join(dir, part));
  for (const [name, table] of tables) written.csv.push(write(name, table(results)));
  for (const { path, text } of files) {
    const full = write(path, text);
    if (path.startsWith('figures/')) written.figures.push(full);
    else if (path.startsWith('networks/')) written.pages.push(full);
  }
  return written;
}
