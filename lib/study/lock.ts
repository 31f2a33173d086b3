import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { HardbitError } from '../errors.js';

export const LOCK_FILE = '.hardbit-lock';

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * Keeps a second process out of a study's folder. A lock whose process is gone (killed) is taken over.
 *
 * @returns gives the folder free again
 * @throws ERR_HARDBIT_RESUME where another process works in the folder; ERR_HARDBIT_WRITE where it cannot be written.
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, LOCK_FILE);
  const mine = `${process.pid} ${hostname()}\n`;
  for (;;) {
    try {
      writeFileSync(path, mine, { flag: 'wx' });
      return () => rmSync(path, { force: true });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw new HardbitError(
          'ERR_HARDBIT_WRITE',
          `The folder '${folder}' cannot be written (${(cause as NodeJS.ErrnoException).code}); check its permissions and free space.`,
          { cause },
        );
      }
    }
    let holder = '';
    try {
      holder = readFileSync(path, 'utf8');
    } catch {
      continue; // It was given free between the two calls.
    }
    const [pid = '', host = ''] = holder.trim().split(' ');
    if (holder === mine || (host === hostname() && isAlive(Number(pid)))) {
      throw new HardbitError(
        'ERR_HARDBIT_RESUME',
        `Process ${pid} is at work on the study in '${folder}'; wait for it, or give another folder.`,
      );
    }
    if (host !== hostname() && holder !== '') {
      throw new HardbitError(
        'ERR_HARDBIT_RESUME',
        `Process ${pid} on ${host} is at work on the study in '${folder}'; wait for it, or remove '${path}' if it is gone.`,
      );
    }
    rmSync(path, { force: true });
  }
}
