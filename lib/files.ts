import { createHash, randomBytes, randomFillSync } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { HardbitError } from './errors.js';

const writeCures: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full; free some space or choose another place',
  EDQUOT: 'your disk quota is used up; free some space or choose another place',
  EFBIG: 'the file is larger than this system allows; choose another place',
  EACCES: 'you may not write there; choose another place or change its permissions',
  EPERM: 'you may not write there; choose another place or change its permissions',
  EROFS: 'that file system is read-only; choose another place',
  ENOENT: 'its folder does not exist; create it first',
  ENOTDIR: 'part of the path is a file, not a folder; choose another place',
  EEXIST: 'something of that name is in the way; choose another place',
  EISDIR: 'it is a folder; give the name of a file',
  ENAMETOOLONG: 'the name is too long; choose a shorter one',
};

const readCures: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file; check the path',
  ENOTDIR: 'part of the path is a file, not a folder; check the path',
  EACCES: 'you may not read it; change its permissions',
  EPERM: 'you may not read it; change its permissions',
  EISDIR: 'it is a folder; give the name of a file',
  ERR_FS_FILE_TOO_LARGE: 'it is larger than 2 GiB, the most Node reads at once; give a smaller file',
};

function fileError(
  code: 'ERR_HARDBIT_WRITE' | 'ERR_HARDBIT_READ',
  doing: string,
  path: string,
  error: unknown,
): HardbitError {
  const { code: reason = '', message } = error as NodeJS.ErrnoException;
  const cure = (code === 'ERR_HARDBIT_WRITE' ? writeCures : readCures)[reason];
  return new HardbitError(
    code,
    `Cannot ${doing} ${path}: ${cure ?? `the system says '${message}'; check the path and its disk`}.`,
    { cause: error },
  );
}

function writeSynced(file: number, data: Uint8Array | string): void {
  try {
    writeFileSync(file, data);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Makes a rename in `folder` survive a power cut, where the file system can. */
function syncFolder(folder: string): void {
  try {
    const handle = openSync(folder, 'r');
    try {
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
  } catch {
    // Some network file systems cannot sync a folder; the file itself is complete and in place.
  }
}

/** Of the files that the functions below write and rename. */
const temporaryName = /^\.hardbit-\d+-[0-9a-f]+\.tmp$/;
const temporaryPath = (folder: string): string =>
  join(folder, `.hardbit-${process.pid}-${randomBytes(6).toString('hex')}.tmp`);

/** Whether a file of this name is what a killed write leaves. */
export function isTemporary(name: string): boolean {
  return temporaryName.test(name);
}

/**
 * Removes what killed writes left in `folder`: temporary files that nobody has written to for ten minutes. Other processes
 * may be writing there.
 */
export function sweepTemporaries(folder: string): void {
  const oldest = Date.now() - 600_000;
  for (const name of readdirSync(folder).filter(isTemporary)) {
    const path = join(folder, name);
    try {
      if (statSync(path).mtimeMs < oldest) rmSync(path);
    } catch {
      // It is gone already, or is another user's: it stays theirs to remove.
    }
  }
}

/**
 * Writes a file so that `path` holds either its old contents or all of `data`, also after a crash or a power cut: a
 * temporary file in the same folder is written, synced and renamed. A symbolic link is followed, the permissions of a
 * file that is replaced are kept, and a device or pipe (/dev/stdout) is written directly.
 *
 * @throws ERR_HARDBIT_WRITE with the path and the cure; no temporary file stays behind.
 */
export function writeFileAtomic(path: string, data: Uint8Array | string): void {
  let temporary: string | undefined;
  try {
    const existing = statSync(path, { throwIfNoEntry: false });
    if (existing !== undefined && !existing.isFile()) {
      writeFileSync(path, data);
      return;
    }
    const target = existing === undefined ? path : realpathSync(path);
    const folder = dirname(target);
    temporary = temporaryPath(folder);
    const file = openSync(temporary, 'wx');
    if (existing !== undefined) fchmodSync(file, existing.mode & 0o7777);
    writeSynced(file, data);
    renameSync(temporary, target);
    temporary = undefined;
    syncFolder(folder);
  } catch (error) {
    if (temporary !== undefined) {
      try {
        unlinkSync(temporary);
      } catch {
        // It was never made, or went with its folder.
      }
    }
    throw fileError('ERR_HARDBIT_WRITE', 'write', path, error);
  }
}

function makeFolders(path: string, parents: boolean): void {
  try {
    mkdirSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
    if (code !== 'ENOENT' || !parents) throw error;
    makeFolders(dirname(path), dirname(path) !== path);
    makeFolders(path, false);
  }
}

/**
 * Finds out whether `path` can be written, before long work whose result is to stand there; changes nothing.
 *
 * @throws ERR_HARDBIT_WRITE as `writeFileAtomic` would; that the disk has room at the end is not promised.
 */
export function requireWritable(path: string): void {
  try {
    const existing = statSync(path, { throwIfNoEntry: false });
    if (existing?.isDirectory()) throw Object.assign(new Error(`${path} is a folder`), { code: 'EISDIR' });
    if (existing !== undefined && !existing.isFile()) {
      accessSync(path, constants.W_OK);
      return;
    }
    const folder = dirname(existing === undefined ? path : realpathSync(path));
    const probe = temporaryPath(folder);
    closeSync(openSync(probe, 'wx'));
    unlinkSync(probe);
  } catch (error) {
    throw fileError('ERR_HARDBIT_WRITE', 'write', path, error);
  }
}

/** Room on a disk that is kept until `release()`; calling it again does nothing. */
export interface Reservation extends Disposable {
  release(): void;
}

/**
 * Sets room aside on the disk of `path`, for a file that is written there after long work: release it right before. It
 * is a file without a name, so that nothing stays behind however the process ends. A device or pipe needs no room.
 *
 * @throws ERR_HARDBIT_WRITE where the disk has no such room
 */
export function reserveSpace(path: string, bytes: number): Reservation {
  let file: number | undefined;
  const release = (): void => {
    if (file !== undefined) closeSync(file);
    file = undefined;
  };
  try {
    const existing = statSync(path, { throwIfNoEntry: false });
    if (existing === undefined || existing.isFile()) {
      const folder = dirname(existing === undefined ? path : realpathSync(path));
      const unnamed = temporaryPath(folder);
      file = openSync(unnamed, 'wx');
      unlinkSync(unnamed);
      // Noise, which no file system stores in less room.
      const noise = randomFillSync(new Uint8Array(Math.min(bytes, 1 << 20)));
      for (let left = bytes; left > 0; ) left -= writeSync(file, noise, 0, Math.min(left, noise.length));
      fsyncSync(file);
    }
    return { release, [Symbol.dispose]: release };
  } catch (error) {
    release();
    throw fileError('ERR_HARDBIT_WRITE', 'set room aside for', path, error);
  }
}

/**
 * Creates a folder and its parents; one that exists is left as it is.
 *
 * @throws ERR_HARDBIT_WRITE with the path and the cure.
 */
export function makeFolder(path: string): void {
  try {
    // Not mkdir's own `recursive`, which takes a read-only file system for a missing folder.
    makeFolders(path, true);
  } catch (error) {
    throw fileError('ERR_HARDBIT_WRITE', 'create the folder', path, error);
  }
}

/**
 * The contents of a file.
 *
 * @throws ERR_HARDBIT_READ with the path and the cure.
 */
export function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw fileError('ERR_HARDBIT_READ', 'read', path, error);
  }
}

/** SHA-256 as 64 lower-case hexadecimal digits. */
export function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}
