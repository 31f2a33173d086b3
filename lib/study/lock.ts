import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { HardbitError } from '../errors.js';

export const LOCK_FILE = '.hardbit-lock';

/** When a process began, which tells it from a later one of the same number; null where proc(5) does not say it. */
function startOf(pid: string): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The 22nd field, in ticks since the system started; the second is a name in brackets, which may hold anything.
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}:${ticks}`;
  } catch {
    return null;
  }
}

/** Whether a process that began at `start` still runs; where that is not to be seen, whether any of its number does. */
function isAtWork(pid: string, start: string | undefined): boolean {
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    // Of another user.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const now = startOf(pid);
  return now === null || now === start;
}

/**
 * Keeps a second process out of a study's folder. A lock whose process is gone (killed) is taken over, also where another
 * has its number by now, as the first process of a container that is started again has.
 *
 * @returns gives the folder free again
 * @throws ERR_HARDBIT_RESUME where another process works in the folder; ERR_HARDBIT_WRITE where it cannot be written.
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, LOCK_FILE);
  const mine = `${process.pid} ${hostname()} ${startOf(String(process.pid)) ?? ''}\n`;
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
    const [pid = '', host = '', start] = holder.trim().split(' ');
    if (host === hostname() && isAtWork(pid, start)) {
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
