import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { HardbitError } from '../errors.js';
import { makeFolder, readFile, sha256, writeFileAtomic } from '../files.js';
import { LOCK_FILE, lockFolder } from './lock.js';
import { exampleSchema, networkSchema, transferSchema, whiteBoxSchema } from './results.js';

/** Per-example correctness as bits, example i in bit i mod 8 of byte ⌊i/8⌋. */
export function encodeBits(flags: Uint8Array): string {
  const bytes = new Uint8Array(Math.ceil(flags.length / 8));
  flags.forEach((flag, i) => {
    if (flag !== 0) bytes[i >> 3] = (bytes[i >> 3] as number) | (1 << (i & 7));
  });
  return Buffer.from(bytes).toString('base64');
}

/** The inverse of `encodeBits`; null where `text` does not hold exactly n bits. */
export function decodeBits(text: string, n: number): Uint8Array | null {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== Math.ceil(n / 8)) return null;
  const flags = Uint8Array.from({ length: n }, (_, i) => ((bytes[i >> 3] as number) >> (i & 7)) & 1);
  return encodeBits(flags) === text ? flags : null;
}

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
  correct: bits,
  example: exampleSchema.nullable(),
});
export type KeptWhiteBox = z.infer<typeof keptWhiteBoxSchema>;

/** cells/<id>.json of the images made on one network, shown to others. `sha256` is that of the source's model file. */
export const keptTransferSchema = z.strictObject({
  sha256: z.string(),
  targets: z.array(z.strictObject({ record: transferSchema, sha256: z.string(), correct: bits })),
});
export type KeptTransfer = z.infer<typeof keptTransferSchema>;

const studySchema = z.strictObject({
  schema: z.literal('hardbit/study'),
  version: z.literal(1),
  preset: z.string(),
  seeds: z.number().int(),
  /** Hash of the plan: only an equal plan may continue this study. */
  plan: z.string(),
});

const STUDY_FILE = 'study.json';
const temporaryName = /^\.hardbit-\d+-[0-9a-f]+\.tmp$/;

/**
 * A study's folder: study.json, networks/, cells/. Every file is written atomically and carries the hash of its contents,
 * so that a file is either complete or counts as absent.
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
   * another plan, or one that another process is at work on; ERR_HARDBIT_WRITE where it cannot be written.
   */
  static open(
    folder: string,
    study: { readonly preset: string; readonly seeds: number; readonly hash: string },
    resume: boolean,
  ): StudyStore {
    const path = join(folder, STUDY_FILE);
    makeFolder(folder);
    const names = readdirSync(folder).filter((name) => name !== LOCK_FILE && !temporaryName.test(name));
    if (names.length > 0) {
      const found = existsSync(path) ? studySchema.safeParse(parseJson(readFile(path))) : null;
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
      if (found.data.plan !== study.hash) {
        throw new HardbitError(
          'ERR_HARDBIT_RESUME',
          `The study in '${folder}' has another plan (preset ${found.data.preset}, ${found.data.seeds} seed(s), or another ` +
            'version of hardbit); repeat its own command with --resume, or give another folder.',
        );
      }
    }
    const unlock = lockFolder(folder);
    if (names.length === 0) {
      const head: z.infer<typeof studySchema> = {
        schema: 'hardbit/study',
        version: 1,
        preset: study.preset,
        seeds: study.seeds,
        plan: study.hash,
      };
      writeFileAtomic(path, `${JSON.stringify(head, null, 2)}\n`);
    }
    const store = new StudyStore(folder, unlock);
    for (const part of ['.', 'networks', 'cells']) {
      makeFolder(join(folder, part));
      // Left behind by a process that was killed while it wrote.
      for (const name of readdirSync(join(folder, part))) {
        if (temporaryName.test(name)) rmSync(join(folder, part, name), { force: true });
      }
    }
    return store;
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
    if (
      !envelope.success ||
      sha256(Buffer.from(JSON.stringify(envelope.data.content))) !== envelope.data.sha256
    ) {
      return null;
    }
    const parsed = schema.safeParse(envelope.data.content);
    return parsed.success ? parsed.data : null;
  }

  /** Keeps `content` under `path`, atomically. */
  write<T>(path: string, schema: z.ZodType<T>, content: T): void {
    // Through JSON, so that the hash is of what a reader will see.
    const plain: unknown = JSON.parse(JSON.stringify(schema.parse(content)));
    const hash = sha256(Buffer.from(JSON.stringify(plain)));
    writeFileAtomic(this.path(path), `${JSON.stringify({ sha256: hash, content: plain })}\n`);
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
