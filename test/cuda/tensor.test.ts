import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import { type DType, native } from '../../lib/native.js';
import { memoryInfo, runtimeInfo, synchronize } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor, type TensorData } from '../../lib/tensor/tensor.js';
import { failure } from '../support/failure.js';
import { collectGarbage } from '../support/live-tensors.js';
import { describeOnGpu } from './support.js';

const samples: readonly (readonly [DType, readonly number[], TensorData])[] = [
  ['f32', [2, 3], Float32Array.of(1, -2.5, 0, Infinity, 1e-40, 3)],
  ['i32', [5], Int32Array.of(1, -2, 2 ** 31 - 1, -(2 ** 31), 0)],
  ['i16', [3], Int16Array.of(-32768, 32767, 5)],
  ['u8', [1, 7], Uint8Array.of(0, 1, 2, 3, 254, 255, 9)],
  ['bits', [2, 65], BigUint64Array.of(5n, 1n, 2n ** 63n, 0n)],
];

describeOnGpu('tensors on a GPU', () => {
  for (const [dtype, shape, data] of samples) {
    it(`come back as they were sent (${dtype})`, () => {
      scope(() => {
        const direct = Tensor.from(dtype, shape, data, 'cuda');
        const sent = Tensor.from(dtype, shape, data).to('cuda');
        for (const x of [direct, sent, sent.clone(), sent.reshape(shape)]) {
          expect([x.device, x.dtype, x.shape]).to.deep.equal(['cuda', dtype, shape]);
          expect(x.read()).to.deep.equal(data);
          expect(x.to('cpu').read()).to.deep.equal(data);
        }
      });
    });
  }

  it('begin as zeros, and are overwritten in place', () => {
    scope(() => {
      const x = Tensor.from('f32', [3, 2], undefined, 'cuda');
      expect([...x.read()]).to.deep.equal([0, 0, 0, 0, 0, 0]);
      x.slice(1, 2).write(Float32Array.of(7, 8));
      x.slice(0, 1).assign(Tensor.from('f32', [1, 2], Float32Array.of(1, 2), 'cuda'));
      expect([...x.read()]).to.deep.equal([1, 2, 7, 8, 0, 0]);
      expect(Tensor.zerosLike(x).device).to.equal('cuda');
    });
  });

  it('share memory where they are there already, in a handle of their own', () => {
    for (const device of ['cpu', 'cuda'] as const) {
      using x = Tensor.from('f32', [2], Float32Array.of(1, 2), device);
      using same = x.to(device);
      x.write(Float32Array.of(3, 4));
      x.dispose();
      expect([...same.read()]).to.deep.equal([3, 4]);
    }
  });

  it('bring the garbage collector before the forgotten ones fill the device', async () => {
    const memory = runtimeInfo().cuda.devices[0]?.memoryBytes ?? 0;
    const bytes = Math.floor(memory / 64);
    const before = memoryInfo().cudaLiveBytes;
    for (let i = 0; i < 96; i++) {
      Tensor.from('u8', [bytes], undefined, 'cuda');
      await setImmediate();
    }
    expect(memoryInfo().cudaLiveBytes - before).to.be.below(0.9 * memory);
    // What is still forgotten would stay for the rest of the tests, and slows an emulated GPU down.
    for (let i = 0; i < 3 && memoryInfo().cudaLiveBytes - before >= bytes; i++) await collectGarbage();
    expect(memoryInfo().cudaLiveBytes - before).to.be.below(bytes);
    native().emptyCache();
  });

  it('are counted, and freed', () => {
    const before = memoryInfo();
    const x = Tensor.from('f32', [1000], undefined, 'cuda');
    expect(memoryInfo().cudaLiveBytes).to.be.at.least(before.cudaLiveBytes + 4000);
    expect(memoryInfo().liveBytes).to.equal(before.liveBytes);
    x.dispose();
    expect(memoryInfo().cudaLiveBytes).to.equal(before.cudaLiveBytes);
    native().emptyCache();
    expect(memoryInfo().cudaCachedBytes).to.equal(0);
  });

  it('do not mix with those of the cpu', () => {
    scope(() => {
      const x = Tensor.from('f32', [2], Float32Array.of(1, 2));
      const y = x.to('cuda');
      const error = failure(() => native().add(x.handle, y.handle));
      expect(error.code).to.equal('ERR_HARDBIT_ARGUMENT');
      expect(error.message).to.contain('different devices');
    });
  });

  it('tell of a wrong index when they are read', () => {
    scope(() => {
      const x = Tensor.from('f32', [2, 1], Float32Array.of(1, 2), 'cuda');
      const wrong = Tensor.from('i32', [1], Int32Array.of(5), 'cuda');
      const gathered = new Tensor(native().gather(x.handle, wrong.handle));
      expect(failure(() => gathered.read()).code).to.equal('ERR_HARDBIT_ARGUMENT');
      expect([...x.read()]).to.deep.equal([1, 2]);
      synchronize('cuda');
    });
  });

  it('record operators and run them again', () => {
    scope(() => {
      const core = native();
      const x = Tensor.from('f32', [2], Float32Array.of(1, 2), 'cuda');
      const y = Tensor.from('f32', [2], undefined, 'cuda');
      core.axpy(y.handle, 1, x.handle);
      core.beginRecording();
      core.axpy(y.handle, 1, x.handle);
      const recording = core.finishRecording();
      recording.run(0, 1);
      recording.run(1, 1);
      expect([...y.read()]).to.deep.equal([3, 6]);
      expect(failure(() => recording.run(0.5, 1)).code).to.equal('ERR_HARDBIT_ARGUMENT');
      expect(failure(() => recording.run(0, -1)).code).to.equal('ERR_HARDBIT_ARGUMENT');
      recording.dispose();
      expect(failure(() => recording.run(0, 1)).code).to.equal('ERR_HARDBIT_DISPOSED');
    });
  });
});
