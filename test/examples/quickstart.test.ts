import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect } from 'chai';
import { packageRoot } from '../../lib/version.js';

const script = join(packageRoot, 'examples', 'quickstart.ts');

describe('the example of the README', () => {
  it('is the one that stands in examples/', () => {
    expect(readFileSync(join(packageRoot, 'README.md'), 'utf8')).to.include(
      readFileSync(script, 'utf8').trim(),
    );
  });

  it('trains a binary network on MNIST and prints its adversarial loss', function () {
    this.timeout(300_000);
    const folder = mkdtempSync(join(tmpdir(), 'hardbit-example-'));
    try {
      const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
      const run = spawnSync(process.execPath, ['--import', tsx, script], { cwd: folder, encoding: 'utf8' });
      expect(run.stderr).to.equal('');
      expect(run.status).to.equal(0);
      const [clean = 0, first = 0, , second = 0] = [
        ...run.stdout.matchAll(/: ([\d.]+) % clean, PGD-20 costs ([\d.]+) points/g),
      ].flatMap((match) => [Number(match[1]), Number(match[2])]);
      expect(clean).to.be.greaterThan(94);
      expect(first).to.be.lessThan(25);
      expect(second).to.be.greaterThan(90);
      expect(existsSync(join(folder, 'net.safetensors'))).to.equal(true);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
