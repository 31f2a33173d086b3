import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const child = fileURLToPath(new URL('../support/train-child.ts', import.meta.url));

/** Runs a training; kills it `delay` ms after its first step, or lets it finish. */
function run(
  dir: string,
  name: string,
  recipe: readonly string[],
  delay: number | null,
): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const training = spawn(
      process.execPath,
      [
        '--import',
        'tsx',
        child,
        join(dir, `${name}.safetensors`),
        join(dir, `${name}.checkpoint`),
        ...recipe,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    if (delay !== null) training.stdout.once('data', () => setTimeout(() => training.kill('SIGKILL'), delay));
    training.stdout.resume();
    training.once('error', reject);
    training.once('close', (code) => resolve(code));
  });
}

describe('a killed training', () => {
  for (const recipe of [['none'], ['bnn', 'all']]) {
    it(`killed at five random moments and resumed, gives the identical file (${recipe.join(', ')})`, async function () {
      this.timeout(180_000);
      const dir = mkdtempSync(join(tmpdir(), 'hardbit-kill-'));
      try {
        const started = performance.now();
        expect(await run(dir, 'whole', recipe, null)).to.equal(0);
        const whole = performance.now() - started;
        let kills = 0;
        for (let attempt = 0; kills < 5 && attempt < 40; attempt++) {
          // Short enough that five kills fall into one training; a run that finished is started anew.
          const code = await run(dir, 'killed', recipe, Math.random() * Math.min(400, whole / 8));
          if (code === null) kills += 1;
          else rmSync(join(dir, 'killed.checkpoint'));
        }
        expect(kills).to.equal(5);
        if (existsSync(join(dir, 'killed.safetensors'))) rmSync(join(dir, 'killed.safetensors'));
        expect(await run(dir, 'killed', recipe, null)).to.equal(0);
        const files = ['whole', 'killed'].map((name) => readFileSync(join(dir, `${name}.safetensors`)));
        expect(files[0]?.equals(files[1] as Buffer)).to.equal(true);
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    });
  }
});
