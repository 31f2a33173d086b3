import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { HardbitError } from './errors.js';
import { packageRoot } from './version.js';

/** The first line of the log that scripts/install.mjs leaves after a failed build says what went wrong. */
function installFailure(): string | undefined {
  try {
    return readFileSync(join(packageRoot, 'build', 'install.log'), 'utf8').split('\n', 1)[0] || undefined;
  } catch {
    return undefined;
  }
}

/** Why require() failed, in a few words. */
function loadFailure(error: unknown, chosen: boolean): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== 'MODULE_NOT_FOUND') return message.split('\n', 1)[0] as string;
  if (chosen) return 'there is no such file';
  return installFailure() ?? 'it has not been built (install scripts may have been turned off)';
}

/** A native addon of this package. */
export interface AddonFile {
  /** What it is called in sentences, e.g. 'native core'. */
  readonly what: string;
  /** Its name in the build folder. */
  readonly file: string;
  /** The environment variable that names another file to load in its place (sanitizer builds). */
  readonly variable: string;
  /** The command that builds it. */
  readonly cure: string;
}

/**
 * Loads an addon.
 *
 * @throws ERR_HARDBIT_NOT_BUILT with the reason and the cure where it is missing or does not load
 */
export function loadAddon({ what, file, variable, cure }: AddonFile): unknown {
  const chosen = process.env[variable];
  const path = chosen || join(packageRoot, 'build', 'cmake', 'Release', file);
  try {
    return createRequire(import.meta.url)(path);
  } catch (error) {
    throw new HardbitError(
      'ERR_HARDBIT_NOT_BUILT',
      chosen
        ? `The ${what} at ${variable}=${chosen} cannot be loaded: ${loadFailure(error, true)}; correct the path or unset it.`
        : `hardbit's ${what} cannot be loaded: ${loadFailure(error, false)}; run \`${cure}\`.`,
      { cause: error },
    );
  }
}
