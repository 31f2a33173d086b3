#!/usr/bin/env node
// Builds the native core with CMake, driven by cmake-js; downloads nothing. Incremental.
//
//   node scripts/build.mjs             the addons hardbit.node and hardbit_packed.node in build/cmake/Release
//     --packed                         hardbit_packed.node alone, which needs neither oneDNN nor OpenMP
//     --tests                          and the C++ tests, build/cmake/Release/hardbit_tests
//     --sanitize                       all with address and undefined-behaviour sanitizers, in build/sanitize
//     --cuda                           with CUDA wherever nvcc is, for all GPUs (else where there is a GPU too, for that one);
//                                      HARDBIT_CUDA_ARCHITECTURES names others, as CMake does
//     --emulate                        with the CUDA back end's kernels run by the CPU, for tests, in build/emulate; with
//                                      --sanitize in build/emulate-sanitize
//     --jobs N                         compilers at a time (default: the processors this process may use)
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const root = resolve(import.meta.dirname, '..');
const { values: options } = parseArgs({
  options: {
    tests: { type: 'boolean', default: false },
    sanitize: { type: 'boolean', default: false },
    emulate: { type: 'boolean', default: false },
    cuda: { type: 'boolean', default: false },
    packed: { type: 'boolean', default: false },
    jobs: { type: 'string', default: String(availableParallelism()) },
  },
});

function fail(message) {
  process.stderr.write(`hardbit: ${message}\n`);
  process.exit(1);
}

const jobs = Number(options.jobs);
if (!Number.isInteger(jobs) || jobs < 1) fail(`--jobs is ${options.jobs}; expected a number of 1 or more.`);

if (spawnSync('cmake', ['--version']).status !== 0) {
  fail('CMake is missing: install it (Debian, Ubuntu and Fedora: cmake).');
}

if (options.packed && (options.tests || options.sanitize || options.emulate)) {
  fail('--packed builds the addon alone; leave --tests, --sanitize and --emulate out.');
}
const withTests = options.tests || options.sanitize;
const architectures = process.env['HARDBIT_CUDA_ARCHITECTURES'];
if (options.cuda && (options.packed || options.sanitize || options.emulate)) {
  fail('--cuda is a build of its own; leave --packed, --sanitize and --emulate out.');
}
const kinds = [...(options.emulate ? ['emulate'] : []), ...(options.sanitize ? ['sanitize'] : [])];
const kind = kinds.join('-') || 'cmake';
const folder = join(root, 'build', kind);
const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
const common = [
  ...['--directory', root, '--out', folder, '--config', 'Release', '--log-level', 'error'],
  ...[
    `--CDHARDBIT_SANITIZE=${options.sanitize ? 'ON' : 'OFF'}`,
    `--CDHARDBIT_TESTS=${withTests ? 'ON' : 'OFF'}`,
    `--CDHARDBIT_PACKED_ONLY=${options.packed ? 'ON' : 'OFF'}`,
    `--CDHARDBIT_CUDA=${options.emulate ? 'EMULATION' : options.cuda ? 'ON' : 'AUTO'}`,
    ...(architectures === undefined ? [] : [`--CDCMAKE_CUDA_ARCHITECTURES=${architectures}`]),
  ],
];

function configure() {
  return spawnSync(process.execPath, [cmakeJs, 'configure', ...common], { encoding: 'utf8' });
}

/** What a configuration depends on beyond the sources: a cache made for something else is thrown away. */
function isForeign() {
  const cache = join(folder, 'CMakeCache.txt');
  return (
    existsSync(cache) && !readFileSync(cache, 'utf8').includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${root}\n`)
  );
}

if (isForeign()) rmSync(folder, { recursive: true });
let configured = configure();
if (configured.status !== 0 && existsSync(folder)) {
  // The cache may be of another compiler or generator; its error is only believed of a fresh folder.
  rmSync(folder, { recursive: true });
  configured = configure();
}
if (configured.status !== 0) {
  process.stderr.write(`${configured.stdout}${configured.stderr}`);
  process.exit(1);
}

const targets = options.packed ? ['hardbit_packed'] : ['hardbit', 'hardbit_packed'];
if (withTests) targets.push('hardbit_tests');
const build = ['--build', folder, '--config', 'Release', '--parallel', String(jobs), '--target', ...targets];
process.exit(spawnSync('cmake', build, { stdio: 'inherit' }).status ?? 1);
