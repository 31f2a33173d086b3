import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { HardbitError } from '../errors.js';
import { makeFolder } from '../files.js';
import { assemble, readKept, type ShardPieces, writeResults } from './assemble.js';
import { countCells, type StudyPlan, takeShard } from './plan.js';
import { findPreset, type Preset, withImages } from './presets.js';
import type { Results } from './results.js';
import { planPreset } from './run.js';
import { environmentSchema, finishedSchema, type StudyHead, StudyStore } from './store.js';
import { listing } from './words.js';

export interface MergeOptions {
  /** Where results.json and examples.json are written; it is made where it is missing. */
  readonly out: string;
  /** Take what is there: shards may be missing or unfinished. */
  readonly partial?: boolean | undefined;
  /** The command that repeats the merge, for the report. */
  readonly command: string;
  /** The preset of a study that is none of hardbit's own. */
  readonly preset?: Preset | undefined;
}

interface Folder {
  readonly path: string;
  readonly head: StudyHead;
  readonly store: StudyStore;
}

function refusal(sentence: string): HardbitError {
  return new HardbitError('ERR_HARDBIT_RESUME', sentence);
}

const shardText = ({ shard }: StudyHead): string => `shard ${shard.index} of ${shard.count}`;

/** The folders by shard, which belong to one plan cut in one way. */
function requireShards(folders: readonly Folder[], partial: boolean): readonly Folder[] {
  const [first, ...rest] = folders;
  if (first === undefined) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      'There is nothing to merge; give the folders of the shards.',
    );
  }
  for (const other of rest) {
    if (other.head.plan !== first.head.plan) {
      throw refusal(
        `'${first.path}' and '${other.path}' belong to different studies ` +
          `(${first.head.dataset}, preset ${first.head.preset}, ${first.head.seeds} seed(s), and ` +
          `${other.head.dataset}, preset ${other.head.preset}, ${other.head.seeds} seed(s), or versions of hardbit); ` +
          'give shards of one study.',
      );
    }
    if (other.head.shard.count !== first.head.shard.count) {
      throw refusal(
        `'${first.path}' holds ${shardText(first.head)} and '${other.path}' ${shardText(other.head)}; ` +
          'give shards of a study that was cut once.',
      );
    }
  }
  const byIndex = [...folders].sort((a, b) => a.head.shard.index - b.head.shard.index);
  byIndex.forEach((folder, i) => {
    const before = byIndex[i - 1];
    if (before?.head.shard.index === folder.head.shard.index) {
      throw refusal(
        `'${before.path}' and '${folder.path}' both hold ${shardText(folder.head)}; give each shard once.`,
      );
    }
  });
  const here = new Set(byIndex.map(({ head }) => head.shard.index));
  const missing = Array.from({ length: first.head.shard.count }, (_, i) => i + 1).filter((i) => !here.has(i));
  if (missing.length > 0 && !partial) {
    throw refusal(
      `Of ${first.head.shard.count} shards, ${listing(missing.map(String))} ${missing.length === 1 ? 'is' : 'are'} missing; ` +
        'give their folders too, or pass --partial to merge what is there.',
    );
  }
  return byIndex;
}

async function readShard(folder: Folder, whole: StudyPlan, partial: boolean): Promise<ShardPieces> {
  const { store, head, path } = folder;
  const plan = takeShard(whole, head.shard);
  const environment = store.read('environment.json', environmentSchema);
  if (environment === null) {
    throw refusal(
      `'${path}' (${shardText(head)}) holds no results yet; run its command with --resume, or leave it out with --partial.`,
    );
  }
  const kept = await readKept(store, plan, environment.dataset.testExamples, false);
  const networks = plan.networks.length - kept.networks.size;
  const transferred = [...kept.transfer.values()].reduce((sum, { targets }) => sum + targets.length, 0);
  const cells = countCells(plan) - kept.whiteBox.size - transferred;
  if (networks + cells > 0 && !partial) {
    throw refusal(
      `'${path}' (${shardText(head)}) is not finished: ${networks} networks and ${cells} measurements are missing or damaged; ` +
        'run its command with --resume, or pass --partial to merge what is there.',
    );
  }
  const finished = networks + cells === 0 ? store.read('finished.json', finishedSchema) : null;
  return { plan, environment, finishedAt: finished?.finishedAt ?? null, kept };
}

/** The folder to write to is none of a study's own. */
function requireOut(out: string, folders: readonly Folder[]): void {
  makeFolder(out);
  const real = realpathSync(out);
  if (folders.some(({ path }) => realpathSync(path) === real) || existsSync(join(out, 'study.json'))) {
    throw refusal(`The folder '${out}' holds a study of its own; give another folder for the merged one.`);
  }
  const names = readdirSync(out);
  if (names.length > 0 && !names.includes('results.json')) {
    throw refusal(`The folder '${out}' is not empty and holds no merged study; give another folder.`);
  }
}

/**
 * Puts the shards of one study together, judges the claims over the whole, and writes results.json and examples.json. It
 * reads what was kept piece by piece (study.json, environment.json, networks/*.json, cells/), so that with `partial` also
 * a shard counts that was interrupted; model files are not needed.
 *
 * @throws ERR_HARDBIT_READ, ERR_HARDBIT_FORMAT for a folder that holds no study; ERR_HARDBIT_RESUME for folders of different
 * studies, a shard that is given twice, missing or unfinished, and a folder to write to that is in use; ERR_HARDBIT_WRITE
 */
export async function mergeShards(dirs: readonly string[], options: MergeOptions): Promise<Results> {
  const partial = options.partial ?? false;
  const folders = requireShards(
    dirs.map((path) => ({ path, ...StudyStore.view(path) })),
    partial,
  );
  const [{ head, path }] = folders as readonly [Folder];
  const preset = withImages(options.preset ?? findPreset(head.dataset, head.preset), head.images);
  const whole = planPreset(preset, head.seeds);
  if (whole.hash !== head.plan) {
    throw refusal(
      `The study in '${path}' was made by another version of hardbit; merge it with the version that made it.`,
    );
  }
  requireOut(options.out, folders);
  const shards: ShardPieces[] = [];
  for (const folder of folders) shards.push(await readShard(folder, whole, partial));
  const assembled = assemble(whole, shards, options.command);
  writeResults((name) => join(options.out, name), assembled);
  return assembled.results;
}
