import { fork } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { locate, readVerified } from '../../lib/data/cache.js';
import { startRegistry, type TestRegistry } from '../support/registry-server.js';

const child = fileURLToPath(new URL('../support/fetch-child.ts', import.meta.url));
const KILLS = 10;

describe('a killed download', () => {
  let folder: string;
  let registry: TestRegistry;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-kill-'));
    registry = await startRegistry();
  });
  afterEach(async () => {
    await registry.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Fetches in a process of its own; killed `delay` ms after the tarball was asked for, where a delay is given. */
  async function run(delay: number | null): Promise<number | null> {
    const before = registry.tarballs;
    const fetching = fork(child, [JSON.stringify(registry.source)], {
      execArgv: ['--import', 'tsx'],
      env: {
        ...process.env,
        HARDBIT_DATA: join(folder, 'data'),
        npm_config_registry: registry.url,
        // A cache for each attempt, so that every one meets the network.
        npm_config_cache: join(folder, `npm-${before}`),
      },
      stdio: 'ignore',
    });
    const ended = new Promise<number | null>((resolve) => fetching.once('close', resolve));
    if (delay !== null) {
      while (registry.tarballs === before && fetching.exitCode === null) await sleep(5);
      await sleep(delay);
      fetching.kill('SIGKILL');
    }
    return ended;
  }

  it(`at ${KILLS} random moments never leaves a half file that counts as whole, and is done again at last`, async function () {
    this.timeout(180_000);
    // The tarball arrives in pieces over about a tenth of a second.
    registry.serve = (response, tarball) => {
      void (async () => {
        const piece = Math.ceil(tarball.length / 20);
        for (let begin = 0; begin < tarball.length && !response.destroyed; begin += piece) {
          response.write(tarball.subarray(begin, begin + piece));
          await sleep(5);
        }
        response.end();
      })();
    };
    const data = join(folder, 'data', 'digits');
    let kills = 0;
    for (let attempt = 0; kills < KILLS && attempt < 40; attempt++) {
      const code = await run(Math.random() * 250);
      if (code === null) kills += 1;
      if (existsSync(data) && registry.source.files.every(({ name }) => existsSync(join(data, name)))) {
        const files = await readVerified(registry.source, locate(registry.source, data) as string);
        expect([...files.keys()]).to.deep.equal(Object.keys(registry.files));
        rmSync(data, { recursive: true, force: true });
      }
    }
    expect(kills).to.equal(KILLS);
    // A kill seldom meets a file that is being written: one is left here, and all are made old.
    mkdirSync(data, { recursive: true });
    const recent = join(data, '.hardbit-1-5678.tmp');
    writeFileSync(join(data, '.hardbit-1-1234.tmp'), 'half');
    for (const name of readdirSync(data)) utimesSync(join(data, name), 0, 0);
    writeFileSync(recent, 'half');
    expect(await run(null)).to.equal(0);
    expect(existsSync(recent), 'another process may be writing it').to.equal(true);
    rmSync(recent);
    expect(readdirSync(data).sort(), 'what the killed ones left is swept up').to.deep.equal(
      Object.keys(registry.files).sort(),
    );
    for (const [name, bytes] of Object.entries(registry.files)) {
      expect(readFileSync(join(data, name)).equals(bytes)).to.equal(true);
    }
  });
});
