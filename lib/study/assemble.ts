import { writeFileAtomic } from '../files.js';
import { version } from '../version.js';
import { decodeBits } from './bits.js';
import { judgeClaims } from './claims.js';
import { type Fact, type StudyFacts, worstCases } from './facts.js';
import { findNetwork, type TrainedNetwork } from './networks.js';
import { countCells, type StudyPlan } from './plan.js';
import {
  type Examples,
  examplesSchema,
  RESULTS_SCHEMA,
  RESULTS_VERSION,
  type Results,
  resultsSchema,
  type ShardRecord,
  type TransferRecord,
  type WhiteBoxRecord,
} from './results.js';
import type { Environment, KeptTransfer, KeptWhiteBox, StudyStore } from './store.js';
import { findTransfer, findWhiteBox } from './tasks.js';

/** What a folder holds of its plan: networks by id, cells by id. */
export interface Kept {
  readonly networks: Map<string, TrainedNetwork>;
  readonly whiteBox: Map<string, KeptWhiteBox>;
  readonly transfer: Map<string, KeptTransfer>;
}

/** One folder's part of a study. */
export interface ShardPieces {
  readonly plan: StudyPlan;
  readonly environment: Environment;
  readonly finishedAt: string | null;
  readonly kept: Kept;
}

/** A cell's attacked images: the first of the test set. */
export function imagesOf(cell: { readonly images: number }, testExamples: number): number {
  return Math.min(cell.images, testExamples);
}

/**
 * Reads what is complete and fits together of a plan.
 *
 * @param withFiles networks count only with their model files, cells only with their example images
 * @param onPiece called between files
 */
export async function readKept(
  store: StudyStore,
  plan: StudyPlan,
  testExamples: number,
  withFiles: boolean,
  onPiece: () => Promise<void> = async () => undefined,
): Promise<Kept> {
  const kept: Kept = { networks: new Map(), whiteBox: new Map(), transfer: new Map() };
  for (const network of plan.networks) {
    await onPiece();
    const found = findNetwork(store, network, testExamples, withFiles);
    if (found !== null) kept.networks.set(network.id, found);
  }
  const trained = (id: string) => kept.networks.get(id);
  for (const cell of plan.whiteBox) {
    await onPiece();
    const before = cell.after === null ? undefined : kept.whiteBox.get(cell.after);
    const found = findWhiteBox(store, cell, trained, imagesOf(cell, testExamples), before, withFiles);
    if (found !== null) kept.whiteBox.set(cell.id, found);
  }
  for (const cell of plan.transfer) {
    await onPiece();
    const found = findTransfer(store, cell, trained, imagesOf(cell, testExamples));
    if (found !== null) kept.transfer.set(cell.id, found);
  }
  return kept;
}

/** Seconds that were spent on what is kept. */
export function keptSeconds({ networks, whiteBox, transfer }: Kept): number {
  const seconds = [
    ...[...networks.values()].map(({ kept }) => kept.record.trainSeconds),
    ...[...whiteBox.values()].map(({ record }) => record.seconds),
    ...[...transfer.values()].flatMap((cell) => [
      cell.seconds,
      // On the diagonal a network's own cell repeats the making of the images.
      ...cell.targets.map(({ record }) => (record.diagonal === 'white-box' ? 0 : record.seconds)),
    ]),
  ];
  return seconds.reduce((sum, each) => sum + each, 0);
}

function finishedCells({ whiteBox, transfer }: Kept): number {
  return whiteBox.size + [...transfer.values()].reduce((sum, { targets }) => sum + targets.length, 0);
}

function shardRecord({ plan, environment, finishedAt, kept }: ShardPieces): ShardRecord {
  return {
    ...plan.shard,
    machine: environment.machine,
    seconds: keptSeconds(kept),
    finishedAt,
    networks: { finished: kept.networks.size, planned: plan.networks.length },
    cells: { finished: finishedCells(kept), planned: countCells(plan) },
  };
}

/** Puts the kept pieces of all shards together, in the order of the whole plan, and judges the claims. */
export function assemble(
  whole: StudyPlan,
  shards: readonly ShardPieces[],
  command: string,
): { readonly results: Results; readonly examples: Examples } {
  const [{ environment }] = shards as readonly [ShardPieces];
  const all: Kept = {
    networks: new Map(shards.flatMap(({ kept }) => [...kept.networks])),
    whiteBox: new Map(shards.flatMap(({ kept }) => [...kept.whiteBox])),
    transfer: new Map(shards.flatMap(({ kept }) => [...kept.transfer])),
  };
  const fact = <R extends { readonly n: number }>({
    record,
    correct,
  }: {
    record: R;
    correct: string;
  }): Fact<R> => ({
    record,
    correct: decodeBits(correct, record.n) as Uint8Array,
  });
  const networks = whole.networks.flatMap(({ id }) => all.networks.get(id) ?? []);
  const keptWhiteBox = whole.whiteBox.flatMap(({ id }) => all.whiteBox.get(id) ?? []);
  const whiteBox = keptWhiteBox.map((kept) => fact<WhiteBoxRecord>(kept));
  const transfer = whole.transfer.flatMap(({ id }) =>
    (all.transfer.get(id)?.targets ?? []).map((kept) => fact<TransferRecord>(kept)),
  );
  const modes = new Map(whole.networks.map(({ id, gradientModes }) => [id, gradientModes]));
  const facts: StudyFacts = {
    networks: networks.map(({ kept, correct }) => ({ record: kept.record, correct })),
    whiteBox,
    worstCase: worstCases(whiteBox, (id) => modes.get(id) ?? []),
    transfer,
  };
  const records = shards.map(shardRecord);
  const finished = records.flatMap((shard) => shard.finishedAt ?? []).sort();
  const results: Results = resultsSchema.parse({
    schema: RESULTS_SCHEMA,
    version: RESULTS_VERSION,
    library: { name: 'hardbit', version },
    command,
    preset: whole.preset.name,
    planHash: whole.hash,
    dataset: environment.dataset,
    seeds: [...whole.seeds],
    shards: records,
    complete: networks.length === whole.networks.length && finishedCells(all) === countCells(whole),
    finishedAt: finished.at(-1) ?? null,
    seconds: records.reduce((sum, { seconds }) => sum + seconds, 0),
    networks: facts.networks.map(({ record }) => record),
    whiteBox: facts.whiteBox.map(({ record }) => record),
    worstCase: facts.worstCase.map(({ record }) => record),
    transfer: facts.transfer.map(({ record }) => record),
    claims: judgeClaims(facts),
  } satisfies Results);
  const examples: Examples = examplesSchema.parse({
    schema: 'hardbit/examples',
    version: 1,
    imageShape: environment.imageShape,
    examples: keptWhiteBox.flatMap(({ example }) => example ?? []),
  });
  return { results, examples };
}

/** JSON with one line for each record of the long lists. */
function recordLines(value: object): string {
  const entries = Object.entries(value).map(([key, entry]: [string, unknown]) => {
    const isList = Array.isArray(entry) && entry.some((item) => typeof item === 'object');
    const text = isList
      ? `[\n${(entry as readonly unknown[]).map((item) => `  ${JSON.stringify(item)}`).join(',\n')}\n ]`
      : JSON.stringify(entry);
    return ` ${JSON.stringify(key)}: ${text}`;
  });
  return `{\n${entries.join(',\n')}\n}\n`;
}

/** @throws ERR_HARDBIT_WRITE */
export function writeResults(
  path: (name: string) => string,
  { results, examples }: { readonly results: Results; readonly examples: Examples },
): void {
  writeFileAtomic(path('examples.json'), recordLines(examples));
  writeFileAtomic(path('results.json'), recordLines(results));
}
