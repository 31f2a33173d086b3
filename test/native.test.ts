import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { type GradientOptions, type NativeAddon, type NativeTensor, native } from '../lib/native.js';
import { failure } from './support/failure.js';

const core = native();
const f32 = (shape: number[], ...values: number[]) => core.tensor('f32', shape, Float32Array.from(values));
const i32 = (...values: number[]) => core.tensor('i32', [values.length], Int32Array.from(values));
const u8 = (shape: number[], ...values: number[]) => core.tensor('u8', shape, Uint8Array.from(values));
const bits = (shape: number[], ...words: bigint[]) => core.tensor('bits', shape, BigUint64Array.from(words));
const withoutCuda = () => core.info().cuda.devices.length === 0;
const list = (x: NativeTensor) => [...x.read()];

/** A 2×2 window over everything, one pixel of padding to the left where asked for. */
const window = (left: number) => ({
  stride: [1, 1] as const,
  dilation: [1, 1] as const,
  padding: [0, 0, left, 0] as const,
  groups: 1,
});
/** x = (+1, −1; −1, +1) and w = (+1, +1; +1, −1), images of one channel; codes (1, 2; 3, 0). */
const signImage = () => core.tensor('bits', [1, 2, 2, 1], BigUint64Array.of(1n, 0n, 0n, 1n));
const codeImage = () => u8([1, 2, 2, 1], 1, 2, 3, 0);
const signKernel = () => core.tensor('bits', [1, 4], BigUint64Array.of(0b0111n));

const draws: GradientOptions = { arithmetic: 'int8', seed: 1, stream: 2, step: 3 };
const adam = { learningRate: 0.5, beta1: 0, beta2: 0, epsilon: 0, step: 1, weightDecay: 0, clip: 0 };
const square = { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] } as const;
const line = { kernel: [1, 2], stride: [1, 2], padding: [0, 0, 0, 0] } as const;
const sgd = { learningRate: 0.5, momentum: 0, nesterov: false, weightDecay: 0, clip: 0 };

/** One call of every function, with a result that can be seen at a glance. */
const calls: Record<Exclude<keyof NativeAddon, 'Tensor'>, (() => void) | (() => Promise<void>)> = {
  info() {
    const info = core.info();
    expect(info.isasAvailable).to.include('generic').and.to.include(info.isa);
    const selected = info.kernels.filter((kernel) => kernel.selected);
    expect(selected.map((kernel) => kernel.operand)).to.have.members(['bits', 'bytes']);
    expect(info.kernels.find((kernel) => kernel.selected)).to.include({ isa: info.isa, available: true });
    expect(info.oneDnn).to.match(/^\d+\.\d+\.\d+/);
    expect(info.version).to.equal(JSON.parse(readFileSync('package.json', 'utf8')).version);
    const gradients = new Map(info.floatGradients.map(({ layer, kernel }) => [layer, kernel]));
    expect(gradients.get('1x1, 64 -> 128')).to.equal(null);
    const wide = gradients.get('3x3, 64 -> 64');
    if (['generic', 'neon'].includes(info.isa)) expect(wide).to.equal(null);
    else expect(wide).to.match(/^sign_sum_avx/);
    const { built, devices, reason } = info.cuda;
    if (!built) expect(devices).to.deep.equal([]);
    expect(reason).to.match(devices.length === 0 ? /^[A-Z].*\.$/ : /^$/);
  },
  memory() {
    const before = core.memory();
    const x = core.tensor('f32', [1000]);
    const during = core.memory();
    expect(during.liveTensors).to.be.at.most(before.liveTensors + 1);
    expect(during.liveBytes).to.be.at.least(before.liveBytes + 4000);
    expect(during.peakBytes).to.be.at.least(during.liveBytes);
    x.dispose();
    expect(core.memory().liveTensors).to.be.at.most(before.liveTensors);
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
  synchronize() {
    core.synchronize('cpu');
    if (withoutCuda()) expect(failure(() => core.synchronize('cuda')).code).to.equal('ERR_HARDBIT_NO_CUDA');
  },
  cudaLibraries() {
    const sentences = core.cudaLibraries();
    if (withoutCuda()) expect(sentences).to.deep.equal([]);
    for (const sentence of sentences) expect(sentence).to.match(/^cu.*\.$/);
  },
  tensor() {
    const zeros = core.tensor('i16', [2, 2]);
    expect([list(zeros), zeros.device]).to.deep.equal([[0, 0, 0, 0], 'cpu']);
    if (!withoutCuda()) return;
    expect(failure(() => core.tensor('i16', [2, 2], undefined, 'cuda')).code).to.equal('ERR_HARDBIT_NO_CUDA');
  },
  toDevice() {
    const x = u8([2], 7, 8);
    const same = core.toDevice(x, 'cpu');
    x.write(Uint8Array.of(1, 2));
    expect(list(same)).to.deep.equal([1, 2]);
    if (withoutCuda()) expect(failure(() => core.toDevice(x, 'cuda')).code).to.equal('ERR_HARDBIT_NO_CUDA');
  },
  assign() {
    const to = u8([2], 7, 8);
    core.assign(to, u8([2], 1, 2));
    expect(list(to)).to.deep.equal([1, 2]);
    expect(failure(() => core.assign(to, u8([3], 1, 2, 3))).code).to.equal('ERR_HARDBIT_SHAPE');
  },
  loadDeployed() {
    const { code } = failure(() => core.loadDeployed(Uint8Array.of(1, 2, 3), 'x'));
    expect(code).to.equal(core.info().cuda.built ? 'ERR_HARDBIT_FORMAT' : 'ERR_HARDBIT_NO_CUDA');
  },
  benchCudaLayer() {
    if (!withoutCuda()) return;
    expect(failure(() => core.benchCudaLayer([1, 4, 4, 8, 8, 3, 1, 1], 0, false)).code).to.equal(
      'ERR_HARDBIT_NO_CUDA',
    );
  },
  beginRecording() {
    if (!withoutCuda()) return;
    expect(failure(() => core.beginRecording()).code).to.equal('ERR_HARDBIT_NO_CUDA');
  },
  finishRecording() {
    const { code } = failure(() => core.finishRecording());
    expect(code).to.equal(core.info().cuda.built ? 'ERR_HARDBIT_ARGUMENT' : 'ERR_HARDBIT_NO_CUDA');
  },
  abandonRecording() {
    if (core.info().cuda.built) core.abandonRecording();
    else expect(failure(() => core.abandonRecording()).code).to.equal('ERR_HARDBIT_NO_CUDA');
  },
  reshape: () => expect(core.reshape(f32([4], 1, 2, 3, 4), [2, 2]).shape).to.deep.equal([2, 2]),
  slice: () => expect(list(core.slice(f32([3, 1], 1, 2, 3), 1, 3))).to.deep.equal([2, 3]),
  gather: () => expect(list(core.gather(f32([3], 1, 2, 3), i32(2, 0)))).to.deep.equal([3, 1]),
  async gatherImagesAsync() {
    const pending = core.gatherImagesAsync(u8([3, 1], 0, 51, 255), i32(2, 1));
    expect(pending).to.be.instanceOf(Promise);
    expect(list(await pending)).to.deep.equal([1, Math.fround(0.2)]);
  },
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
  reshapeSigns: () =>
    expect(list(core.reshapeSigns(bits([2, 3], 0b101n, 0b110n), [1, 6]))).to.deep.equal([0b110101n]),
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
  orderedDenseForward() {
    const x = f32([1, 3], 2 ** 24, 1, 1);
    const w = f32([2, 3], 1, 1, 1, 0, 1, 1);
    expect(list(core.orderedDenseForward(x, w, f32([2], 0, 3)))).to.deep.equal([2 ** 24, 5]);
  },
  denseBackwardInput: () =>
    expect(list(core.denseBackwardInput(f32([1, 2], 1, 2), f32([2, 2], 1, 0, 3, 4)))).to.deep.equal([7, 8]),
  denseBackwardWeight: () =>
    expect(list(core.denseBackwardWeight(f32([1, 2], 1, 2), f32([1, 2], 5, 6)))).to.deep.equal([
      5, 6, 10, 12,
    ]),
  sumRows: () => expect(list(core.sumRows(f32([2, 2], 1, 2, 3, 4)))).to.deep.equal([4, 6]),
  swishSignBackward: () =>
    expect(list(core.swishSignBackward(f32([2], 3, 1), f32([2], 0, Infinity), 5))).to.deep.equal([15, 0]),
  clippedBackward: () =>
    expect(list(core.clippedBackward(f32([3], 5, 6, 7), f32([3], -1, 0, 1.5)))).to.deep.equal([5, 6, 0]),
  heaviside: () => expect(list(core.heaviside(f32([3], -1, 0, 2)))).to.deep.equal([0, 0, 1]),
  quantizeUnit: () =>
    expect(list(core.quantizeUnit(f32([5], -3, 0.2, 0.5, 1, 7), 2))).to.deep.equal([0, 1, 2, 3, 3]),
  unitBackward: () =>
    expect(list(core.unitBackward(f32([4], 5, 6, 7, 8), f32([4], -0.1, 0, 1, 1.5)))).to.deep.equal([
      0, 6, 7, 0,
    ]),
  packSignsShifted: () =>
    expect(list(core.packSignsShifted(f32([1, 3], -1, -0.5, 2), 0.5))).to.deep.equal([0b110n]),
  meanMagnitude: () => expect(core.meanMagnitude(f32([2, 2], -1, 2, 3, -4))).to.equal(2.5),
  rowMagnitudes: () => expect(list(core.rowMagnitudes(f32([2, 2], -1, 2, 3, -4)))).to.deep.equal([1.5, 3.5]),
  magnitudeSignBackward() {
    const [g, w, alpha] = [f32([1, 2], 4, 8), f32([1, 2], 0.5, -2), f32([1], 0.25)];
    expect(list(core.magnitudeSignBackward(g, w, alpha, 'constant'))).to.deep.equal([1, 0]);
    expect(list(core.magnitudeSignBackward(g, w, alpha, 'paper'))).to.deep.equal([3, 4]);
    expect(list(core.magnitudeSignBackward(g, w, alpha, 'chain'))).to.deep.equal([-1, 2]);
    expect(failure(() => core.magnitudeSignBackward(g, w, alpha, 'other' as never)).code).to.equal(
      'ERR_HARDBIT_ARGUMENT',
    );
  },
  dorefaWeights() {
    const { codes, maximum } = core.dorefaWeights(f32([1, 3], -1, 0, 1), 2);
    expect(list(codes)).to.deep.equal([0, 2, 3]);
    expect(maximum).to.equal(Math.fround(Math.tanh(1)));
  },
  dorefaWeightsBackward: () =>
    expect(list(core.dorefaWeightsBackward(f32([2], 3, 1), f32([2], 0, 100), 0.5))).to.deep.equal([6, 0]),
  codePlanes: () =>
    expect(list(core.codePlanes(u8([2, 2], 0, 1, 2, 3), 2))).to.deep.equal([0b10n, 0b10n, 0b00n, 0b11n]),
  planesToFloat: () =>
    expect(list(core.planesToFloat(bits([2, 2], 0b10n, 0b11n), [1, 2], f32([1], 0.5)))).to.deep.equal([
      0.5, 1.5,
    ]),
  combinePlanes: () =>
    expect(
      list(core.combinePlanes(core.tensor('i16', [1, 4], Int16Array.of(1, 2, 3, 4)), [1, -2])),
    ).to.deep.equal([-5, -6]),
  scaleChannels: () =>
    expect(list(core.scaleChannels(i32(1, 2, 3), f32([3], 0.5, 2, -1)))).to.deep.equal([0.5, 4, -3]),
  countDifferentSigns: () =>
    expect(core.countDifferentSigns(bits([1, 3], 0b101n), bits([1, 3], 0b011n))).to.equal(2),
  maxPool2d() {
    const x = f32([1, 2, 2, 1], 1, 4, 3, 4);
    const { y, index } = core.maxPool2d(x, square, true);
    expect([y.shape, list(y), index && list(index)]).to.deep.equal([[1, 1, 1, 1], [4], [1]]);
    expect(core.maxPool2d(x, square, false).index).to.equal(null);
    const wrong = { ...square, padding: [0, 0, 0] };
    expect(failure(() => core.maxPool2d(x, wrong as never, false)).message).to.match(
      /padding must be an array of 4 safe integers, not an array/,
    );
  },
  maxPool2dBackward: () =>
    expect(
      list(core.maxPool2dBackward(f32([1, 1, 1, 1], 7), u8([1, 1, 1, 1], 2), [2, 2], square)),
    ).to.deep.equal([0, 0, 7, 0]),
  poolSigns: () =>
    expect(
      list(core.poolSigns(bits([1, 2, 2, 2], 0b01n, 0b10n, 0b00n, 0b00n), square, bits([2], 0b10n))),
    ).to.deep.equal([0b01n]),
  avgPool2d: () => expect(list(core.avgPool2d(f32([1, 2, 2, 1], 1, 2, 3, 4), square))).to.deep.equal([2.5]),
  avgPool2dBackward: () =>
    expect(list(core.avgPool2dBackward(f32([1, 1, 1, 1], 8), [2, 2], square))).to.deep.equal([2, 2, 2, 2]),
  add: () => expect(list(core.add(f32([2], 1, 2), f32([2], 10, 20)))).to.deep.equal([11, 22]),
  hardtanh: () => expect(list(core.hardtanh(f32([3], -2, 0.5, 3)))).to.deep.equal([-1, 0.5, 1]),
  hardtanhBackward: () =>
    expect(list(core.hardtanhBackward(f32([3], 5, 6, 7), f32([3], -1, 0.5, 3)))).to.deep.equal([0, 6, 0]),
  dropout() {
    const { y, mask } = core.dropout(f32([1, 4], 1, 2, 3, 4), 0, 1, 2, 3);
    expect([list(y), list(mask)]).to.deep.equal([[1, 2, 3, 4], [0b1111n]]);
  },
  dropoutBackward: () =>
    expect(list(core.dropoutBackward(f32([1, 2], 3, 4), bits([1, 2], 0b10n), 0.5))).to.deep.equal([0, 8]),
  conv2dForward() {
    const [x, w] = [f32([1, 2, 2, 1], 1, 2, 3, 4), f32([1, 2, 2, 1], 1, 10, 100, 1000)];
    expect(list(core.conv2dForward(x, w, null, window(0)))).to.deep.equal([4321]);
    expect(list(core.conv2dForward(x, w, f32([1], 5), window(1)))).to.deep.equal([3015, 4326]);
  },
  orderedConv2dForward() {
    const [x, w] = [f32([1, 2, 2, 1], 1, 2, 3, 4), f32([1, 2, 2, 1], 1, 10, 100, 1000)];
    expect(list(core.orderedConv2dForward(x, w, f32([1], 5), window(1)))).to.deep.equal([3015, 4326]);
    // 2^24 + 1 + 1: from the left each 1 is lost, from the right both are kept.
    const order = core.orderedConv2dForward(
      f32([1, 1, 1, 3], 2 ** 24, 1, 1),
      f32([1, 1, 1, 3], 1, 1, 1),
      null,
      window(0),
    );
    expect(list(order)).to.deep.equal([2 ** 24]);
  },
  conv2dBackwardInput: () =>
    expect(
      list(
        core.conv2dBackwardInput(
          f32([1, 1, 2, 1], 1, 2),
          f32([1, 2, 2, 1], 1, 10, 100, 1000),
          [2, 2],
          window(1),
        ),
      ),
    ).to.deep.equal([12, 20, 1200, 2000]),
  conv2dBackwardWeight: () =>
    expect(
      list(
        core.conv2dBackwardWeight(f32([1, 1, 2, 1], 1, 10), f32([1, 2, 2, 1], 1, 2, 3, 4), [2, 2], window(1)),
      ),
    ).to.deep.equal([10, 21, 30, 43]),
  binaryConv2d() {
    const run = (padding: 'zero' | 'one') =>
      list(core.binaryConv2d(signImage(), signKernel(), [2, 2], window(1), padding));
    expect([run('zero'), run('one')]).to.deep.equal([
      [2, -2],
      [4, -2],
    ]);
  },
  binaryConv2dReference: () =>
    expect(
      list(core.binaryConv2dReference(signImage(), signKernel(), [2, 2], window(1), 'zero')),
    ).to.deep.equal([2, -2]),
  codesConv2d() {
    const run = (padding: 'zero' | 'one') =>
      list(core.codesConv2d(codeImage(), 2, signKernel(), [2, 2], window(1), padding));
    expect([run('zero'), run('one')]).to.deep.equal([
      [-2, 6],
      [4, 6],
    ]);
    const bad = () => core.codesConv2d(codeImage(), 2, signKernel(), [2, 2], window(0), 'two' as 'one');
    expect(failure(bad)).to.include({
      code: 'ERR_HARDBIT_ARGUMENT',
      message: "codesConv2d: argument 6 must be 'zero' or 'one', not 'two'.",
    });
  },
  binaryConv2dPool() {
    const rest = [signKernel(), [2, 2], window(1), 'zero', line] as const;
    const { y, index } = core.binaryConv2dPool(signImage(), null, ...rest, true);
    expect([list(y), list(index as NativeTensor)]).to.deep.equal([[2], [0]]);
    const codes = core.binaryConv2dPool(codeImage(), 2, ...rest, false);
    expect([list(codes.y), codes.index]).to.deep.equal([[6], null]);
  },
  codesConv2dReference: () =>
    expect(
      list(core.codesConv2dReference(codeImage(), 2, signKernel(), [2, 2], window(1), 'zero')),
    ).to.deep.equal([-2, 6]),
  supportsGradientArithmetic() {
    expect([core.supportsGradientArithmetic('float'), core.supportsGradientArithmetic('int8')]).to.deep.equal(
      [true, true],
    );
    expect(core.supportsGradientArithmetic('bf16')).to.be.a('boolean');
    const unknown = () => core.supportsGradientArithmetic('fp8' as 'bf16');
    expect(failure(unknown)).to.include({
      code: 'ERR_HARDBIT_ARGUMENT',
      message: "supportsGradientArithmetic: argument 1 must be 'float', 'bf16' or 'int8', not 'fp8'.",
    });
  },
  binaryConv2dBackwardInput() {
    const dy = f32([1, 1, 2, 1], 127, -2);
    const run = (gradient: GradientOptions) =>
      list(core.binaryConv2dBackwardInput(dy, signKernel(), [1], 1, [2, 2], [2, 2], window(1), gradient));
    for (const arithmetic of ['float', 'int8'] as const) {
      expect(run({ ...draws, arithmetic })).to.deep.equal([125, -2, -129, 2]);
    }
    expect(failure(() => run({ ...draws, seed: -1 }))).to.include({
      code: 'ERR_HARDBIT_ARGUMENT',
      message: 'binaryConv2dBackwardInput: seed must be 0 or more, not the number -1.',
    });
  },
  binaryConv2dBackwardWeight() {
    const dy = f32([1, 1, 2, 1], 127, -2);
    for (const arithmetic of ['float', 'int8'] as const) {
      const run = (padding: 'zero' | 'one') =>
        list(
          core.binaryConv2dBackwardWeight(dy, signImage(), null, [2, 2], window(1), padding, {
            ...draws,
            arithmetic,
          }),
        );
      expect(run('zero')).to.deep.equal([-2, 129, 2, -129]);
      expect(run('one')).to.deep.equal([125, 129, 129, -129]);
    }
  },
  binaryConv2dPoolBackwardInput() {
    const run = (place: number) =>
      list(
        core.binaryConv2dPoolBackwardInput(
          f32([1, 1, 1, 1], 127),
          { ...line, index: u8([1, 1, 1, 1], place) },
          signKernel(),
          [1],
          1,
          [2, 2],
          [2, 2],
          window(1),
          draws,
        ),
      );
    expect(run(0)).to.deep.equal([127, 0, -127, 0]);
    expect(run(1)).to.deep.equal([127, 127, 127, -127]);
    expect(failure(() => run(2)).code).to.equal('ERR_HARDBIT_ARGUMENT');
  },
  binaryConv2dPoolBackwardWeight() {
    const dy = f32([1, 1, 1, 1], 127);
    const run = (index: NativeTensor) =>
      list(
        core.binaryConv2dPoolBackwardWeight(
          dy,
          { ...line, index },
          signImage(),
          null,
          [2, 2],
          window(1),
          'zero',
          draws,
        ),
      );
    expect(run(u8([1, 1, 1, 1], 1))).to.deep.equal([127, -127, -127, 127]);
    expect(failure(() => run(null as unknown as NativeTensor))).to.include({
      code: 'ERR_HARDBIT_ARGUMENT',
      message: 'binaryConv2dPoolBackwardWeight: index must be a native tensor, not null.',
    });
  },
  binaryMatmulBackwardInput() {
    const [dy, planes] = [f32([1, 2], 127, 1), bits([2, 2], 0b01n, 0b11n)];
    expect(list(core.binaryMatmulBackwardInput(dy, planes, [1], 0.5, draws))).to.deep.equal([64, -63]);
    const scales = f32([2], 1, 127);
    expect(list(core.binaryMatmulBackwardInput(dy, planes, [1], scales, draws))).to.deep.equal([254, 0]);
  },
  binaryMatmulBackwardWeight() {
    const dy = f32([1, 2], 127, 1);
    expect(list(core.binaryMatmulBackwardWeight(dy, bits([1, 2], 0b10n), null, draws))).to.deep.equal([
      -127, 127, -1, 1,
    ]);
    const float = { ...draws, arithmetic: 'float' } as const;
    expect(list(core.binaryMatmulBackwardWeight(dy, u8([1, 2], 0, 3), 2, float))).to.deep.equal([
      0, 127, 0, 1,
    ]);
  },
  quantizeGradient() {
    const { codes, scales } = core.quantizeGradient(f32([2, 2], 127, -3, 0, 0), 'sample', 127, 1, 2, 3);
    expect([list(codes), list(scales)]).to.deep.equal([
      [255, 125, 128, 128],
      [1, 0],
    ]);
  },
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
  foldSigns() {
    const [one, zero] = [f32([2], 1, 1), f32([2], 0, 0)];
    const { direction, minimum } = core.foldSigns(9, one, f32([2], 1, -1), zero, f32([2], 5, 5), one, 0);
    expect([list(direction), list(minimum)]).to.deep.equal([
      [1, -1],
      [5, -5],
    ]);
  },
  batchNormFactors: () =>
    expect(list(core.batchNormFactors(f32([2], 6, -1), f32([2], 4, 0.25), 0))).to.deep.equal([3, -2]),
  batchNormSignTrain() {
    const [mean, variance] = [f32([1], 0), f32([1], 1)];
    const [x, gamma, beta] = [f32([2, 1], 1, 3), f32([1], 2), f32([1], 1)];
    const out = core.batchNormSignTrain(x, 1, gamma, beta, mean, variance, 0.5, 0, true);
    expect([list(out.signs), list(out.mask!)]).to.deep.equal([
      [0n, 1n],
      [1n, 0n],
    ]);
    expect([list(out.mean), list(out.inverseDeviation), list(mean)]).to.deep.equal([[2], [1], [1]]);
    expect(core.batchNormSignTrain(x, 1, gamma, beta, mean, variance, 0.5, 0, false).mask).to.equal(null);
  },
  batchNormSignBackward() {
    const [x, dy, one] = [f32([2, 1], 1, 3), f32([2, 1], 1, 7), f32([1], 1)];
    const mask = bits([2, 1], 1n, 0n);
    const out = core.batchNormSignBackward(dy, x, 1, one, one, f32([1], 2), one, 'clipped', mask);
    expect([list(out.dx), list(out.dGamma), list(out.dBeta)]).to.deep.equal([[0, 0], [-1], [1]]);
    const unknown = () => core.batchNormSignBackward(dy, x, 1, one, one, one, one, 'exact' as 'approx', null);
    expect(failure(unknown)).to.include({
      code: 'ERR_HARDBIT_ARGUMENT',
      message:
        "batchNormSignBackward: argument 8 must be a gradient ('clipped', 'identity', 'approx' or 'swish'), not 'exact'.",
    });
  },
  batchNormSignEval() {
    const out = core.batchNormSignEval(
      f32([2, 1], 6, 1),
      1,
      f32([1], 2),
      f32([1], 1),
      f32([1], 2),
      f32([1], 4),
      0,
      true,
    );
    expect([list(out.signs), list(out.mask!)]).to.deep.equal([
      [1n, 1n],
      [0n, 1n],
    ]);
  },
  batchNormSignEvalBackward() {
    const [dy, gamma, one, four] = [f32([1, 1], 3), f32([1], 4), f32([1], 1), f32([1], 4)];
    const run = (x: NativeTensor | null, surrogate: 'identity' | 'approx') =>
      list(core.batchNormSignEvalBackward(dy, x, 1, gamma, one, one, four, 0, surrogate, null));
    expect(run(null, 'identity')).to.deep.equal([6]);
    expect(run(f32([1, 1], 0.25), 'approx')).to.deep.equal([6]);
  },
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
  bopStep() {
    const [weights, m] = [f32([2], 1, -1), f32([2], 0, 0)];
    core.bopStep(weights, f32([2], 4, 4), m, { gamma: 0.5, threshold: 1 });
    expect([list(weights), list(m)]).to.deep.equal([
      [-1, -1],
      [2, 2],
    ]);
  },
  averageStep() {
    const average = f32([1], 1);
    core.averageStep(average, f32([1], 5), 0.75);
    expect(list(average)).to.deep.equal([2]);
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
  attackStepL2: () =>
    expect(
      list(core.attackStepL2(f32([1, 2], 0.5, 0), f32([1, 2], 1e30, 0), f32([1, 2], 0.5, 0), 0.5, 0.25)),
    ).to.deep.equal([0.75, 0]),
  attackUniformStartL2() {
    const origin = f32([1, 2], 0.5, 0.5);
    const start = core.attackUniformStartL2(origin, 0.25, 1, 2, 3);
    expect(list(core.rowDistances(start, origin))[0]).to.be.within(1e-3, 0.25);
  },
  rowDistances: () =>
    expect(list(core.rowDistances(f32([2, 2], 3, 4, 1, 1), f32([2, 2], 0, 0, 1, 1)))).to.deep.equal([5, 0]),
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
  readIdx() {
    const file = Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 2, 5, 6);
    expect(core.readIdx(file, 1, 'x')).to.deep.equal({ shape: [2], offset: 8, length: 2 });
    const error = failure(() => core.readIdx(file.subarray(0, 9), 1, 'labels'));
    expect([error.code, error.message]).to.deep.equal([
      'ERR_HARDBIT_FORMAT',
      'labels is not a complete IDX file: its shape [2] needs 2 bytes of data, but 1 follow; get it anew.',
    ]);
  },
  readNpy() {
    const header = "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1)}";
    const file = Buffer.from(
      `\x93NUMPY\x01\x00${String.fromCharCode(header.length)}\x00${header}1234`,
      'latin1',
    );
    expect(core.readNpy(file, 'x')).to.deep.equal({
      shape: [1, 1],
      offset: 10 + header.length,
      length: 4,
      descriptor: 'i4',
    });
    expect(failure(() => core.readNpy(new Uint8Array(0), 'é.npy')).message).to.match(/^é\.npy is not/);
  },
  benchTables() {
    const { kernels, limits } = core.benchTables();
    for (const operand of ['bits', 'bytes', 'float']) {
      expect(kernels.filter((kernel) => kernel.operand === operand && kernel.selected)).to.have.length(1);
    }
    expect(limits.map(({ name }) => name)).to.include.members(['popcount', 'int8', 'fp32']);
  },
  benchLimit() {
    const { kernel, run } = core.benchLimit('popcount', 'generic');
    expect(kernel).to.equal('popcount');
    expect(run(10)).to.be.within(0, 1);
    expect(failure(() => core.benchLimit('popcount', 'mmx')).code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
  },
  benchKernel() {
    for (const { name, isa } of core.benchTables().kernels) {
      if (core.info().isasAvailable.includes(isa))
        expect(core.benchKernel(name, 64, 1).run(2)).to.be.above(0);
      else expect(failure(() => core.benchKernel(name, 64, 1)).code).to.equal('ERR_HARDBIT_ISA');
    }
    expect(failure(() => core.benchKernel('bits_4x8_generic', 64, 9)).code).to.equal('ERR_HARDBIT_ARGUMENT');
    expect(failure(() => core.benchKernel('none', 64, 1)).code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
  },
  benchBinaryLayer: () =>
    expect(core.benchBinaryLayer([2, 4, 4, 70, 70, 3, 1, 1], 0, true).run(1)).to.be.above(0),
  benchOneDnnLayer: () =>
    expect(core.benchOneDnnLayer([2, 4, 4, 16, 16, 3, 1, 1], true).run(1)).to.be.above(0),
  readSafetensors() {
    const header =
      '{"__metadata__":{"__proto__":"é\\u0000"},"😀":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}';
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
    expect(
      core.readSafetensors(Buffer.concat([length, Buffer.from(header), Buffer.of(1, 2)]), 'x'),
    ).to.deep.equal({
      tensors: [{ shape: [2], offset: 8 + Buffer.byteLength(header), length: 2, name: '😀', dtype: 'U8' }],
      metadata: [['__proto__', 'é\0']],
    });
    const loose = core.readSafetensors as (...values: unknown[]) => unknown;
    expect(failure(() => loose(new Int8Array(1), 'x')).message).to.match(/argument 1 must be a Uint8Array/);
    expect(failure(() => loose(length)).message).to.match(/argument 2 must be a string/);
  },
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

describe('gatherImagesAsync()', () => {
  // Counts of live tensors are upper bounds: handles of earlier tests may be collected at any time.
  const images = () =>
    core.tensor(
      'u8',
      [50, 7, 5, 3],
      Uint8Array.from({ length: 5250 }, (_, i) => i % 256),
    );
  const rejection = async (promise: Promise<unknown>) =>
    promise.then(
      () => expect.fail('it was not rejected'),
      (error: Error & { code: string }) => `${error.code} ${error.message}`,
    );

  it('equals gather followed by u8ToFloat, many at a time', async () => {
    const x = images();
    const rows = Array.from({ length: 20 }, (_, k) =>
      i32(...Array.from({ length: k }, (_, i) => (i * 7 + k) % 50)),
    );
    const results = await Promise.all(rows.map((indices) => core.gatherImagesAsync(x, indices)));
    for (const [k, result] of results.entries()) {
      expect(result.shape).to.deep.equal([k, 7, 5, 3]);
      expect(result.read()).to.deep.equal(core.u8ToFloat(core.gather(x, rows[k]!)).read());
    }
    const f = core.u8ToFloat(x);
    const same = await core.gatherImagesAsync(f, rows[9]!);
    expect(same.read()).to.deep.equal(core.gather(f, rows[9]!).read());
  });

  it('keeps the contents alive, and leaves nothing behind', async () => {
    const before = core.memory().liveTensors;
    const [x, indices] = [images(), i32(49, 0)];
    const pending = core.gatherImagesAsync(x, indices);
    x.dispose();
    indices.dispose();
    const y = await pending;
    expect(y.read()[0]).to.equal(Math.fround(((49 * 105) % 256) / 255));
    expect(core.memory().liveTensors).to.be.at.most(before + 1);
    y.dispose();
    expect(core.memory().liveTensors).to.be.at.most(before);
  });

  it('rejects with a coded error, and leaves nothing behind', async () => {
    const before = core.memory().liveTensors;
    const [x, indices, f] = [images(), i32(3, 50), f32([1], 0)];
    expect(await rejection(core.gatherImagesAsync(x, indices))).to.equal(
      'ERR_HARDBIT_ARGUMENT gatherImagesAsync: the index 50 is outside the rows [0, 50) of x.',
    );
    expect(await rejection(core.gatherImagesAsync(x, f))).to.match(/^ERR_HARDBIT_DTYPE .*indices holds f32/);
    expect(await rejection(core.gatherImagesAsync(indices, indices))).to.match(
      /^ERR_HARDBIT_DTYPE .*x holds i32/,
    );
    expect(await rejection(core.gatherImagesAsync(3 as never, indices))).to.match(
      /^ERR_HARDBIT_ARGUMENT gatherImagesAsync: argument 1 must be a native tensor/,
    );
    for (const tensor of [x, indices, f]) tensor.dispose();
    expect(await rejection(core.gatherImagesAsync(x, indices))).to.match(/^ERR_HARDBIT_DISPOSED/);
    expect(core.memory().liveTensors).to.be.at.most(before);
  });

  it('works in worker threads, also where one ends in the middle of it', async () => {
    const code = `
      const { parentPort, workerData } = require('node:worker_threads');
      const core = require(workerData.addon);
      const x = core.tensor('u8', [64, 100_000]);
      const indices = core.tensor('i32', [64], Int32Array.from({ length: 64 }, (_, i) => i));
      const gather = () => core.gatherImagesAsync(x, indices);
      gather().then((y) => {
        y.dispose();
        for (let i = 0; i < 8; i++) gather();
        if (workerData.end === 'exit') process.exit();
        parentPort.postMessage(y.disposed);
        if (workerData.end === 'throw') throw new Error('on purpose');
      });`;
    const addon = process.env['HARDBIT_ADDON'] || resolve('build/cmake/Release/hardbit.node');
    const before = core.memory().liveTensors;
    for (const end of ['return', 'exit', 'throw', 'terminate'] as const) {
      const worker = new Worker(code, { eval: true, workerData: { addon, end } });
      const errors: Error[] = [];
      worker.on('error', (error) => errors.push(error));
      if (end === 'terminate') worker.once('message', () => void worker.terminate());
      await new Promise((done) => worker.once('exit', done));
      expect(errors.map((error) => error.message)).to.deep.equal(end === 'throw' ? ['on purpose'] : []);
      expect(core.memory().liveTensors, end).to.be.at.most(before);
    }
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
      'lib/addon.ts',
      'lib/errors.ts',
      'lib/version.ts',
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
