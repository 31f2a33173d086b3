import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { packageRoot } from '../lib/version.js';

describe('the npm package', function () {
  this.timeout(60_000);
  let files: Set<string>;
  before(() => {
    const output = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: packageRoot,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [found] = JSON.parse(output) as [{ files: { path: string }[] }];
    files = new Set(found.files.map(({ path }) => path));
  });

  it('holds every entry point, with its types', () => {
    const { exports, bin } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
      exports: Record<string, string | Record<string, string>>;
      bin: Record<string, string>;
    };
    const entries = [...Object.values(exports), bin].flatMap((entry) =>
      typeof entry === 'string' ? [entry] : Object.values(entry),
    );
    expect(entries).to.include('./dist/packed/packed.d.ts');
    for (const entry of entries) expect(files).to.include(entry.replace(/^\.\//, ''));
  });

  it('holds every source that its build needs, and what drives it', () => {
    const cmake = readFileSync(join(packageRoot, 'CMakeLists.txt'), 'utf8');
    const sources = [...cmake.matchAll(/(?<!\/)\bnative\/[\w/]+\.cpp/g)].map(([source]) => source);
    expect(sources).to.include('native/packed/engine.cpp');
    for (const source of sources) expect(files).to.include(source);
    for (const source of [...files].filter((path) => /^native\/.*\.(cpp|h)$/.test(path))) {
      const text = readFileSync(join(packageRoot, source), 'utf8');
      for (const [, header] of text.matchAll(/^#include "((?:\w+\/)+\w+\.h)"$/gm)) {
        expect(files, source).to.include(`native/${header}`);
      }
    }
    for (const script of ['scripts/build.mjs', 'scripts/install.mjs', 'CMakeLists.txt', 'binding.gyp']) {
      expect(files).to.include(script);
    }
    expect(files).to.include('examples/server/server.mjs');
  });

  it('holds neither tests nor studies nor what was built', () => {
    const unwanted = [...files].filter((path) =>
      /^(test|docs|build|node_modules|coverage)\/|\.tsbuildinfo$/.test(path),
    );
    expect(unwanted).to.deep.equal([]);
  });
});
