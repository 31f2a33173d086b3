import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const child = fileURLToPath(new URL('../support/study-child.ts', import.meta.url));
const KILLS = 10;

/** Runs the study, or goes on with it; killed `delay` ms after its first event, where a delay is given. */
function run(out: string, delay: number | null): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const study = spawn(process.execPath, ['--import', 'tsx', child, out], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (delay !== null) study.stdout.once('data', () => setTimeout(() => study.kill('SIGKILL'), delay));
    study.stdout.resume();
    study.once('error', reject);
    study.once('close', (code) => resolve(code));
  });
}

/** Everything in results.json but times. */
function timeless(folder: string): unknown {
  return JSON.parse(readFileSync(join(folder, 'results.json'), 'utf8'), (key, value) =>
    ['seconds', 'trainSeconds', 'finishedAt'].includes(key) ? undefined : value,
  );
}

/** The model files' contents by name. */
function models(folder: string): Map<string, string> {
  const names = readdirSync(join(folder, 'networks')).filter((name) => name.endsWith('.safetensors'));
  return new Map(
    names.sort().map((name) => [name, readFileSync(join(folder, 'networks', name), 'base64')] as const),
  );
}

describe('a killed study', () => {
  it(`killed at ${KILLS} random moments and resumed, ends in the same networks and figures`, async function () {
    this.timeout(300_000);
    const root = mkdtempSync(join(tmpdir(), 'hardbit-kill-'));
    try {
      const whole = join(root, 'whole');
      const killed = join(root, 'killed');
      const started = performance.now();
      expect(await run(whole, null)).to.equal(0);
      const seconds = performance.now() - started;
      let kills = 0;
      for (let attempt = 0; kills < KILLS && attempt < 40; attempt++) {
        // Short enough that the kills fall into one study; one that ended is started anew.
        const code = await run(killed, Math.random() * Math.min(300, seconds / 8));
        if (code === null) kills += 1;
        else rmSync(killed, { recursive: true });
      }
      expect(kills).to.equal(KILLS);
      expect(await run(killed, null)).to.equal(0);
      expect(timeless(killed)).to.deep.equal(timeless(whole));
      expect(models(killed)).to.deep.equal(models(whole));
      expect(models(whole).size).to.equal(4);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
});
