import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect } from 'chai';
import { type NativeAddon, type NativeTensor, native } from '../lib/native.js';
import { failure } from './support/failure.js';

const core = native();
const f32 = (shape: number[], ...values: number[]) => core.tensor('f32', shape, Float32Array.from(values));
const i32 = (...values: number[]) => core.tensor('i32', [values.length], Int32Array.from(values));
const u8 = (shape: number[], ...values: number[]) => core.tensor('u8', shape, Uint8Array.from(values));
const list = (x: NativeTensor) => [...x.read()];

const adam = { learningRate: 0.5, beta1: 0, beta2: 0, epsilon: 0, step: 1, weightDecay: 0, clip: 0 };
const sgd = { learningRate: 0.5, momentum: 0, nesterov: false, weightDecay: 0, clip: 0 };

/** One call of every function, with a result that can be seen at a glance. */
const calls: Record<Exclude<keyof NativeAddon, 'Tensor'>, () => void> = {
  info() {
    const info = core.info();
    expect(info.isasAvailable).to.include('generic').and.to.include(info.isa);
    expect(info.kernels.filter((kernel) => kernel.selected)).to.have.length(1);
    expect(info.kernels.find((kernel) => kernel.selected)).to.include({ isa: info.isa, available: true });
    expect(info.oneDnn).to.match(/^\d+\.\d+\.\d+/);
    expect(info.version).to.equal(JSON.parse(readFileSync('package.json', 'utf8')).version);
    expect(info.cuda).to.deep.equal({ built: false, devices: [] });
  },
  memory() {
    const before = core.memory();
    const x = core.tensor('f32', [1000]);
    const during = core.memory();
    expect(during.liveTensors).to.equal(before.liveTensors + 1);
    expect(during.liveBytes).to.be.at.least(before.liveBytes + 4000);
    expect(during.peakBytes).to.be.at.least(during.liveBytes);
    x.dispose();
    expect(core.memory().liveTensors).to.equal(before.liveTensors);
    expect(core.memory().liveBytes).to.equal(before.liveBytes);
  },
  emptyCache() {
    core.tensor('f32', [5000]).dispose();
    expect(core.memory().cachedBytes).to.be.above(0);
    core.emptyCache();
    expect(core.memory().cachedBytes).to.equal(0);
  },
  setThreads() {
    const threads = core.info().threads;
    core.setThreads(3);
    expect(core.info().threads).to.equal(3);
    core.setThreads(threads);
    expect(failure(() => core.setThreads(0)).code).to.equal('ERR_HARDBIT_ARGUMENT');
  },
  tensor: () => expect(list(core.tensor('i16', [2, 2]))).to.deep.equal([0, 0, 0, 0]),
  reshape: () => expect(core.reshape(f32([4], 1, 2, 3, 4), [2, 2]).shape).to.deep.equal([2, 2]),
  slice: () => expect(list(core.slice(f32([3, 1], 1, 2, 3), 1, 3))).to.deep.equal([2, 3]),
  gather: () => expect(list(core.gather(f32([3], 1, 2, 3), i32(2, 0)))).to.deep.equal([3, 1]),
  clone: () => expect(list(core.clone(u8([2], 7, 8)))).to.deep.equal([7, 8]),
  concat: () => expect(list(core.concat(i32(1), i32(2, 3)))).to.deep.equal([1, 2, 3]),
  selectRows: () =>
    expect(list(core.selectRows(u8([2], 1, 0), f32([2], 1, 2), f32([2], 3, 4)))).to.deep.equal([1, 4]),
  u8ToFloat: () => expect(list(core.u8ToFloat(u8([3], 0, 51, 255)))).to.deep.equal([0, Math.fround(0.2), 1]),
  intToFloat: () => expect(list(core.intToFloat(i32(-3, 4), 0.5))).to.deep.equal([-1.5, 2]),
  axpy() {
    const y = f32([2], 1, 2);
    expect(core.axpy(y, 2, f32([2], 10, 20))).to.equal(undefined);
    expect(list(y)).to.deep.equal([21, 42]);
  },
  relu: () => expect(list(core.relu(f32([3], -1, 0, 2)))).to.deep.equal([0, 0, 2]),
  reluBackward: () =>
    expect(list(core.reluBackward(f32([3], 5, 6, 7), f32([3], 0, 1, 2)))).to.deep.equal([0, 6, 7]),
  packSigns: () => expect(list(core.packSigns(f32([1, 4], -1, 0, 2, -3)))).to.deep.equal([0b0110n]),
  unpackSigns: () =>
    expect(list(core.unpackSigns(core.tensor('bits', [3], BigUint64Array.of(0b101n))))).to.deep.equal([
      1, -1, 1,
    ]),
  discretize: () => expect(list(core.discretize(f32([4], 0, 0.2, 0.5, 1), 2))).to.deep.equal([0, 1, 2, 3]),
  codesToFloat: () =>
    expect(list(core.codesToFloat(u8([2], 1, 3), 2))).to.deep.equal([Math.fround(1 / 3), 1]),
  binaryMatmul: () => expect(list(core.binaryMatmul(...signs()))).to.deep.equal([1, -3]),
  binaryMatmulReference: () => expect(list(core.binaryMatmulReference(...signs()))).to.deep.equal([1, -3]),
  codesMatmul: () =>
    expect(list(core.codesMatmul(u8([1, 3], 1, 2, 3), 2, signs()[1]))).to.deep.equal([6, -2]),
  codesMatmulReference: () =>
    expect(list(core.codesMatmulReference(u8([1, 3], 1, 2, 3), 2, signs()[1]))).to.deep.equal([6, -2]),
  signForward() {
    const { signs, mask } = core.signForward(f32([1, 3], -0.5, 0.5, 2));
    expect([signs.dtype, list(signs), mask.dtype, list(mask)]).to.deep.equal([
      'bits',
      [0b110n],
      'bits',
      [0b011n],
    ]);
  },
  maskBackward: () =>
    expect(
      list(core.maskBackward(f32([2], 5, 6), core.tensor('bits', [2], BigUint64Array.of(2n)))),
    ).to.deep.equal([0, 6]),
  approxSignBackward: () =>
    expect(list(core.approxSignBackward(f32([3], 1, 1, 1), f32([3], 0, -0.5, 2)))).to.deep.equal([2, 1, 0]),
  denseForward() {
    const [x, w] = [f32([1, 2], 1, 2), f32([2, 2], 1, 0, 3, 4)];
    expect(list(core.denseForward(x, w, null))).to.deep.equal([1, 11]);
    expect(list(core.denseForward(x, w, f32([2], 10, 20)))).to.deep.equal([11, 31]);
  },
  denseBackwardInput: () =>
    expect(list(core.denseBackwardInput(f32([1, 2], 1, 2), f32([2, 2], 1, 0, 3, 4)))).to.deep.equal([7, 8]),
  denseBackwardWeight: () =>
    expect(list(core.denseBackwardWeight(f32([1, 2], 1, 2), f32([1, 2], 5, 6)))).to.deep.equal([
      5, 6, 10, 12,
    ]),
  sumRows: () => expect(list(core.sumRows(f32([2, 2], 1, 2, 3, 4)))).to.deep.equal([4, 6]),
  batchNormTrain() {
    const [mean, variance] = [f32([1], 0), f32([1], 1)];
    const out = core.batchNormTrain(f32([2, 1], 1, 3), 1, f32([1], 2), f32([1], 5), mean, variance, 0.5, 0);
    expect([list(out.y), list(out.mean), list(out.inverseDeviation)]).to.deep.equal([[3, 7], [2], [1]]);
    expect([list(mean), list(variance)]).to.deep.equal([[1], [1.5]]);
  },
  batchNormBackward() {
    const [x, dy] = [f32([2, 1], 1, 3), f32([2, 1], 1, 0)];
    const out = core.batchNormBackward(dy, x, 1, f32([1], 1), f32([1], 2), f32([1], 1));
    expect([list(out.dx), list(out.dGamma), list(out.dBeta)]).to.deep.equal([[0, 0], [-1], [1]]);
  },
  batchNormEval: () =>
    expect(
      list(core.batchNormEval(f32([1, 1], 6), 1, f32([1], 2), f32([1], 1), f32([1], 2), f32([1], 4), 0)),
    ).to.deep.equal([5]),
  batchNormEvalBackward: () =>
    expect(list(core.batchNormEvalBackward(f32([1, 1], 3), f32([1], 2), f32([1], 4), 0))).to.deep.equal([3]),
  softmaxCrossEntropy() {
    const out = core.softmaxCrossEntropy(f32([1, 2], 0, 0), i32(1), 2);
    expect(list(out.losses)).to.deep.equal([Math.fround(Math.LN2)]);
    expect(list(out.gradient)).to.deep.equal([1, -1]);
    expect(failure(() => core.softmaxCrossEntropy(f32([1, 2], 0, 0), i32(2), 1)).code).to.equal(
      'ERR_HARDBIT_LABELS',
    );
  },
  argmax: () => expect(list(core.argmax(f32([2, 3], 1, 3, 3, Number.NaN, -1, -2)))).to.deep.equal([1, 1]),
  adamStep() {
    const value = f32([2], 1, 1);
    core.adamStep(value, f32([2], 3, -4), f32([2], 0, 0), f32([2], 0, 0), adam);
    expect(list(value)).to.deep.equal([0.5, 1.5]);
  },
  sgdStep() {
    const value = f32([1], 1);
    core.sgdStep(value, f32([1], 4), null, sgd);
    expect(list(value)).to.deep.equal([-1]);
    const velocity = f32([1], 2);
    core.sgdStep(value, f32([1], 0), velocity, { ...sgd, momentum: 0.5 });
    expect([list(value), list(velocity)]).to.deep.equal([[-1.5], [1]]);
  },
  attackStep: () =>
    expect(
      list(core.attackStep(f32([3], 0.5, 0, 0.5), f32([3], 1, -1, 0), f32([3], 0.5, 0, 0.5), 0.5, 0.25)),
    ).to.deep.equal([0.75, 0, 0.5]),
  attackUniformStart() {
    const [start] = list(core.attackUniformStart(f32([1, 1], 0.5), 0.25, 0.25, 1, 2, 3)) as [number];
    expect(start).to.be.within(0.25, 0.75).and.not.equal(0.5);
  },
  attackSignStart: () =>
    expect([0.25, 0.75]).to.include(
      list(core.attackSignStart(f32([1, 1], 0.5), 0.25, 0.5, 1, 2, 3))[0] as number,
    ),
  countFlippable: () => expect(core.countFlippable(f32([3], 0, 0.5, 1), 0.1, 2)).to.equal(1),
  zeroRows: () => expect(list(core.zeroRows(f32([2, 2], 0, -0, 0, 1)))).to.deep.equal([1, 0]),
  perturbation: () =>
    expect(core.perturbation(f32([2], 0.5, 1), f32([2], 0.25, 0.25), 0.5)).to.deep.equal({
      sum: 1,
      max: 0.75,
      outside: 1,
    }),
  countInvalidPixels: () => expect(core.countInvalidPixels(f32([4], 0, 1, 1.5, Number.NaN))).to.equal(2),
  // Salmon et al. 2011, known answers of Philox4x32-10 for a zero key and counter.
  randomIntegers: () =>
    expect(list(core.randomIntegers(4, 0, 0)).map((word) => Number(word) >>> 0)).to.deep.equal([
      0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8,
    ]),
  randomUniform() {
    const x = core.randomUniform([2, 3], -2, -1, 7, 0);
    expect(x.shape).to.deep.equal([2, 3]);
    for (const value of list(x)) expect(value).to.be.within(-2, -1);
  },
  permutation: () => expect(list(core.permutation(5, 1, 0)).sort()).to.deep.equal([0, 1, 2, 3, 4]),
};

/** a = (+1, −1, +1) against w = (+1, +1, +1) and (−1, +1, −1). */
function signs(): [NativeTensor, NativeTensor] {
  return [
    core.tensor('bits', [1, 3], BigUint64Array.of(0b101n)),
    core.tensor('bits', [2, 3], BigUint64Array.of(0b111n, 0b010n)),
  ];
}

describe('the native core', () => {
  it('exports what its interface says, and nothing else', () => {
    expect(Object.keys(core).sort()).to.deep.equal(['Tensor', ...Object.keys(calls)].sort());
  });

  for (const [name, call] of Object.entries(calls)) it(`${name}() reaches its native function`, call);

  it('names the function and the argument that is wrong', () => {
    const x = f32([1], 1);
    const wrong = (call: (loose: Record<string, (...values: unknown[]) => unknown>) => unknown) => {
      const error = failure(() => call(core as never));
      return `${error.code} ${error.message}`;
    };
    expect(wrong((c) => c['relu']?.(3))).to.equal(
      'ERR_HARDBIT_ARGUMENT relu: argument 1 must be a native tensor, not the number 3.',
    );
    expect(wrong((c) => c['relu']?.())).to.match(
      /^ERR_HARDBIT_ARGUMENT relu: argument 1 .* not undefined\.$/,
    );
    expect(wrong((c) => c['axpy']?.(x, 1, { dtype: 'f32' }))).to.match(
      /^ERR_HARDBIT_ARGUMENT axpy: argument 3/,
    );
    expect(wrong((c) => c['intToFloat']?.(x, '2'))).to.match(/argument 2 must be a number, not '2'/);
    expect(wrong((c) => c['discretize']?.(x, 1.5))).to.match(/argument 2 must be a safe integer/);
    expect(wrong((c) => c['randomIntegers']?.(4, -1, 0))).to.match(
      /argument 2 must be a safe integer of 0 or more/,
    );
    expect(wrong((c) => c['randomIntegers']?.(4, 2 ** 53, 0))).to.match(/argument 2/);
    expect(wrong((c) => c['setThreads']?.(2 ** 40))).to.match(/argument 1 must be a 32-bit integer/);
    expect(wrong((c) => c['adamStep']?.(x, x, x, x, { ...adam, step: 'one' }))).to.match(
      /step must be a number/,
    );
    expect(wrong((c) => c['sgdStep']?.(x, x, null, { ...sgd, nesterov: 1 }))).to.match(
      /nesterov must be a boolean/,
    );
    expect(wrong((c) => c['denseForward']?.(x, x, 0))).to.match(/argument 3 must be a native tensor/);
    x.dispose();
    expect(wrong((c) => c['denseForward']?.(f32([1, 1], 1), f32([1, 1], 1), x))).to.match(
      /^ERR_HARDBIT_DISPOSED denseForward: argument 3 is a disposed tensor/,
    );
  });

  it('takes nothing for a tensor that is none', () => {
    expect(failure(() => core.relu(Object.create(core.Tensor.prototype))).code).to.equal(
      'ERR_HARDBIT_ARGUMENT',
    );
    expect(failure(() => new core.Tensor()).code).to.equal('ERR_HARDBIT_ARGUMENT');
    expect(() => core.Tensor.prototype.read.call({} as NativeTensor)).to.throw(TypeError);
  });
});

describe('loading the native core', () => {
  const root = resolve('.');
  const tsx = join(root, 'node_modules', 'tsx', 'dist', 'loader.mjs');
  const load = `import('./lib/native.ts').then((m) => m.native()).catch((e) => console.log(e.code, e.message))`;
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-load-'));
    for (const file of [
      'package.json',
      'CMakeLists.txt',
      'lib/native.ts',
      'lib/errors.ts',
      'scripts/build.mjs',
      'scripts/install.mjs',
    ]) {
      cpSync(join(root, file), join(folder, file));
    }
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const tryToLoad = (env: NodeJS.ProcessEnv = {}) =>
    execFileSync(process.execPath, ['--import', tsx, '--input-type=module', '-e', load], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, HARDBIT_ADDON: '', ...env },
    }).trim();

  it('says that it has not been built, and the cure', () => {
    expect(tryToLoad()).to.match(/^ERR_HARDBIT_NOT_BUILT .*has not been built.*run `npx hardbit build`\.$/);
  });

  it('a failed build leaves the installation whole, and its reason is found at the first use', () => {
    const env = { ...process.env, PATH: '/nowhere', HARDBIT_SKIP_BUILD: '' };
    const install = spawnSync(process.execPath, ['scripts/install.mjs'], {
      cwd: folder,
      env,
      encoding: 'utf8',
    });
    expect(install.status).to.equal(0);
    expect(install.stdout).to.equal('');
    expect(install.stderr.trim().split('\n')).to.have.length(1);
    expect(install.stderr).to.include('npx hardbit build').and.to.include('install.log');
    expect(readFileSync(join(folder, 'build', 'install.log'), 'utf8')).to.match(/^CMake is missing/);
    expect(tryToLoad()).to.match(/^ERR_HARDBIT_NOT_BUILT .*CMake is missing.*run `npx hardbit build`\.$/);
  });

  it('says why a file does not load', () => {
    writeFileSync(join(folder, 'broken.node'), 'no library');
    expect(tryToLoad({ HARDBIT_ADDON: join(folder, 'broken.node') })).to.match(
      /^ERR_HARDBIT_NOT_BUILT .*HARDBIT_ADDON=.*broken\.node cannot be loaded: .+; correct the path or unset it\.$/,
    );
    expect(tryToLoad({ HARDBIT_ADDON: '/nowhere/hardbit.node' })).to.match(
      /^ERR_HARDBIT_NOT_BUILT .*no such file/,
    );
  });
});
