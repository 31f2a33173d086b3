import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { HardbitError } from '../errors.js';
import { isTemporary, makeFolder, readFile, sha256, writeFileAtomic } from '../files.js';
import { LOCK_FILE, lockFolder } from './lock.js';
import {
  datasetSchema,
  exampleSchema,
  examplesSchema,
  machineSchema,
  networkSchema,
  transferSchema,
  whiteBoxSchema,
} from './results.js';

/** Per-example correctness, as `encodeBits` writes it. */
const bits = z.string();

/** networks/<id>.json: a finished network. */
export const keptNetworkSchema = z.strictObject({
  record: networkSchema,
  /** Of the model file. */
  sha256: z.string(),
  /** On the clean test set. */
  correct: bits,
});
export type KeptNetwork = z.infer<typeof keptNetworkSchema>;

/** cells/<id>.json of a white-box measurement. `sha256` is that of the network's model file. */
export const keptWhiteBoxSchema = z.strictObject({
  record: whiteBoxSchema,
  sha256: z.string(),
  /** 'remaining' cells: on all images, those that were fooled before included. */
  correct: bits,
  example: exampleSchema.nullable(),
});
export type KeptWhiteBox = z.infer<typeof keptWhiteBoxSchema>;

/** cells/<id>.json of the images made on one network, shown to others. `sha256` is that of the source's model file. */
export const keptTransferSchema = z.strictObject({
  sha256: z.string(),
  /** Time to make the images; 0 where a white-box measurement made them. */
  seconds: z.number(),
  targets: z.array(z.strictObject({ record: transferSchema, sha256: z.string(), correct: bits })),
});
export type KeptTransfer = z.infer<typeof keptTransferSchema>;

/** environment.json: what the study runs on and was asked for. */
export const environmentSchema = z.strictObject({
  command: z.string(),
  dataset: datasetSchema,
  /** [H, W, C] */
  imageShape: examplesSchema.shape.imageShape,
  machine: machineSchema,
});
export type Environment = z.infer<typeof environmentSchema>;

/** finished.json: everything of the folder's plan is done. */
export const finishedSchema = z.strictObject({ finishedAt: z.string() });

const headSchema = z.strictObject({
  schema: z.literal('hardbit/study'),
  version: z.literal(2),
  dataset: z.string(),
  preset: z.string(),
  seeds: z.number().int(),
  /** Attacked images, where they are not the preset's. */
  images: z.number().int().optional(),
  shard: z.strictObject({ index: z.number().int(), count: z.number().int() }),
  /** Hash of the whole plan: only an equal plan may continue this study. */
  plan: z.string(),
});

/** study.json: which plan, and which part of it, a folder belongs to. */
export type StudyHead = Omit<z.infer<typeof headSchema>, 'schema' | 'version'>;

const STUDY_FILE = 'study.json';

/**
 * A study's folder: study.json, environment.json, networks/, cells/ and, at the end, finished.json. Every file is written
 * atomically and carries the hash of its contents, so that a file is either complete or counts as absent.
 */
export class StudyStore {
  private constructor(
    readonly folder: string,
    /** Gives the folder free; no other process works in it until then. */
    readonly close: () => void,
  ) {}

  /**
   * Opens the folder of a new study, or with `resume` of one that is there already.
   *
   * @throws ERR_HARDBIT_RESUME where the folder holds something else, or a study and `resume` is not given, or one of
   * another plan or shard, or one that another process is at work on; ERR_HARDBIT_WRITE where it cannot be written.
   */
  static open(folder: string, study: StudyHead, resume: boolean): StudyStore {
    const path = join(folder, STUDY_FILE);
    makeFolder(folder);
    const names = readdirSync(folder).filter((name) => name !== LOCK_FILE && !isTemporary(name));
    if (names.length > 0) {
      const found = existsSync(path) ? headSchema.safeParse(parseJson(readFile(path))) : null;
      if (found === null) {
        throw new HardbitError(
          'ERR_HARDBIT_RESUME',
          `The folder '${folder}' is not empty and holds no study; give another folder.`,
        );
      }
      if (!found.success) {
        throw new HardbitError(
          'ERR_HARDBIT_RESUME',
          `The study in '${folder}' cannot be continued, since its ${STUDY_FILE} is damaged; give another folder.`,
        );
      }
      if (!resume) {
        throw new HardbitError(
          'ERR_HARDBIT_RESUME',
          `The folder '${folder}' holds a study already; pass --resume to continue it, or give another folder.`,
        );
      }
      const { plan, preset, seeds, shard } = found.data;
      if (plan !== study.plan) {
        throw new HardbitError(
          'ERR_HARDBIT_RESUME',
          `The study in '${folder}' has another plan (preset ${preset}, ${seeds} seed(s), or another ` +
            'version of hardbit); repeat its own command with --resume, or give another folder.',
        );
      }
      if (shard.index !== study.shard.index || shard.count !== study.shard.count) {
        throw new HardbitError(
          'ERR_HARDBIT_RESUME',
          `The folder '${folder}' holds shard ${shard.index} of ${shard.count}; ` +
            'repeat its own command with --resume, or give each shard a folder of its own.',
        );
      }
    }
    const unlock = lockFolder(folder);
    if (names.length === 0) {
      const head: z.infer<typeof headSchema> = { schema: 'hardbit/study', version: 2, ...study };
      writeFileAtomic(path, `${JSON.stringify(head, null, 2)}\n`);
    }
    const store = new StudyStore(folder, unlock);
    for (const part of ['.', 'networks', 'cells']) {
      makeFolder(join(folder, part));
      // Left behind by a process that was killed while it wrote.
      for (const name of readdirSync(join(folder, part))) {
        if (isTemporary(name)) rmSync(join(folder, part, name), { force: true });
      }
    }
    return store;
  }

  /**
   * What a study's folder belongs to, and its kept files for reading, whether or not a process is at work in it.
   *
   * @throws ERR_HARDBIT_READ where it holds no study; ERR_HARDBIT_FORMAT where its study.json is damaged
   */
  static view(folder: string): { readonly head: StudyHead; readonly store: StudyStore } {
    const path = join(folder, STUDY_FILE);
    const found = headSchema.safeParse(parseJson(readFile(path)));
    if (!found.success) {
      throw new HardbitError(
        'ERR_HARDBIT_FORMAT',
        `'${path}' is damaged or of another version of hardbit; give a folder that this version's \`hardbit reproduce\` made.`,
      );
    }
    const { schema: _schema, version: _version, ...head } = found.data;
    return { head, store: new StudyStore(folder, () => undefined) };
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  /** The contents of a kept file, or null where it is absent, damaged or of another form. */
  read<T>(path: string, schema: z.ZodType<T>): T | null {
    const full = this.path(path);
    if (!existsSync(full)) return null;
    const envelope = z
      .strictObject({ sha256: z.string(), content: z.unknown() })
      .safeParse(parseJson(readFile(full)));
    if (!envelope.success) return null;
    const { content } = envelope.data;
    // Before the hash: what the schema takes is not nested deep, and stringify() recurses.
    const parsed = schema.safeParse(content);
    if (!parsed.success || sha256(Buffer.from(JSON.stringify(content))) !== envelope.data.sha256) return null;
    return parsed.data;
  }

  /** Keeps `content` under `path`, atomically; returns it as a reader will see it. */
  write<T>(path: string, schema: z.ZodType<T>, content: T): T {
    const plain: unknown = JSON.parse(JSON.stringify(schema.parse(content)));
    const hash = sha256(Buffer.from(JSON.stringify(plain)));
    writeFileAtomic(this.path(path), `${JSON.stringify({ sha256: hash, content: plain })}\n`);
    return schema.parse(plain);
  }

  remove(path: string): void {
    rmSync(this.path(path), { force: true });
  }
}

function parseJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(data).toString('utf8'));
  } catch {
    return null;
  }
}
