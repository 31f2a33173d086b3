import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import fc from 'fast-check';
import { native } from '../../lib/native.js';
import { type DType, Tensor, type TensorData } from '../../lib/tensor/tensor.js';
import { failure } from '../support/failure.js';
import { liveTensors } from '../support/live-tensors.js';

const arrays: Record<DType, new (length: number) => TensorData> = {
  f32: Float32Array,
  i32: Int32Array,
  i16: Int16Array,
  u8: Uint8Array,
  bits: BigUint64Array,
};
const dtypes = Object.keys(arrays) as DType[];

describe('Tensor', () => {
  it('gives back what it was given, for every dtype and shape', () => {
    const shapes = fc.array(fc.nat(9), { maxLength: 4 });
    fc.assert(
      fc.property(fc.constantFrom(...dtypes), shapes, fc.nat(255), (dtype, shape, fill) => {
        const columns = shape.at(-1) ?? 1;
        const rows = shape.slice(0, -1).reduce((product, n) => product * n, 1);
        const data = new arrays[dtype](rows * (dtype === 'bits' ? Math.ceil(columns / 64) : columns));
        for (let i = 0; i < data.length; i++) {
          data[i] = dtype === 'bits' ? BigInt((fill + i) % (1 << columns)) : (fill + i) % 256;
        }
        using x = Tensor.from(dtype, shape, data);
        expect(x.dtype).to.equal(dtype);
        expect(x.shape).to.deep.equal(shape);
        expect(x.byteLength).to.equal(data.byteLength);
        expect(x.read()).to.deep.equal(data);
        expect(x.read()).to.be.instanceOf(arrays[dtype]);
      }),
    );
  });

  it('starts as zeros without data', () => {
    for (const dtype of dtypes) {
      using x = Tensor.from(dtype, [3, 70]);
      for (const value of x.read()) expect(Number(value)).to.equal(0);
    }
  });

  it('clears the padding of bits, on which the kernels rely', () => {
    using x = Tensor.from('bits', [2, 65], BigUint64Array.of(5n, ~0n, 6n, 2n));
    expect([...x.read()]).to.deep.equal([5n, 1n, 6n, 0n]);
    x.handle.write(BigUint64Array.of(0n, 3n, 0n, ~0n));
    expect([...x.read()]).to.deep.equal([0n, 1n, 0n, 1n]);
  });

  it('refuses data of the wrong type or length, and impossible shapes', () => {
    expect(failure(() => Tensor.from('f32', [2], new Int32Array(2)))).to.include({
      code: 'ERR_HARDBIT_DTYPE',
      message: 'tensor: the data is an Int32Array; a tensor of f32 takes a Float32Array.',
    });
    expect(failure(() => Tensor.from('i32', [2], new Uint32Array(2) as never)).code).to.equal(
      'ERR_HARDBIT_DTYPE',
    );
    expect(failure(() => Tensor.from('f32', [2, 2], new Float32Array(3)))).to.include({
      code: 'ERR_HARDBIT_SHAPE',
      message: 'tensor: the data has 3 elements; shape [2, 2] of f32 takes 4.',
    });
    expect(failure(() => Tensor.from('bits', [2, 65], new BigUint64Array(3))).code).to.equal(
      'ERR_HARDBIT_SHAPE',
    );
    for (const shape of [[-1], [1.5], [Number.NaN], [2 ** 40, 2 ** 40]]) {
      expect(failure(() => Tensor.from('f32', shape)).code).to.equal('ERR_HARDBIT_SHAPE');
    }
    expect(failure(() => Tensor.from('f64' as DType, [1])).code).to.equal('ERR_HARDBIT_ARGUMENT');
    expect(failure(() => Tensor.from('f32', 'no shape' as never)).code).to.equal('ERR_HARDBIT_ARGUMENT');
    using x = Tensor.from('f32', [2]);
    expect(failure(() => x.handle.write(new Float32Array(1))).code).to.equal('ERR_HARDBIT_SHAPE');
    expect(failure(() => x.handle.write(new Int16Array(2))).code).to.equal('ERR_HARDBIT_DTYPE');
    expect(failure(() => x.toInt32Array()).code).to.equal('ERR_HARDBIT_DTYPE');
  });

  it('an allocation that the system refuses is an error, not a crash', () => {
    expect(failure(() => Tensor.from('f32', [2 ** 45])).code).to.equal('ERR_HARDBIT_MEMORY');
  });

  it('reads a part of a buffer, and copies', () => {
    const whole = Float32Array.of(1, 2, 3, 4);
    using x = Tensor.from('f32', [2], whole.subarray(1, 3));
    whole.fill(9);
    expect([...x.read()]).to.deep.equal([2, 3]);
    x.read().fill(7 as never);
    expect([...x.read()]).to.deep.equal([2, 3]);
  });

  it('reshape and slice share memory; clone does not', () => {
    using x = Tensor.from('i32', [2, 2], Int32Array.of(1, 2, 3, 4));
    using flat = x.reshape([4]);
    using row = x.slice(1, 2);
    using copy = x.clone();
    x.handle.write(Int32Array.of(5, 6, 7, 8));
    expect([...flat.read()]).to.deep.equal([5, 6, 7, 8]);
    expect([...row.read()]).to.deep.equal([7, 8]);
    expect([...copy.read()]).to.deep.equal([1, 2, 3, 4]);
    x.dispose();
    expect([...flat.read()]).to.deep.equal([5, 6, 7, 8]);
    expect(failure(() => row.reshape([3])).code).to.equal('ERR_HARDBIT_SHAPE');
    for (const [begin, end] of [
      [-1, 1],
      [0, 2],
      [1, 0],
    ] as const) {
      expect(failure(() => row.slice(begin, end)).code).to.match(/ERR_HARDBIT_(ARGUMENT|SHAPE)/);
    }
  });

  it('a disposed tensor says so, whatever is asked of it', () => {
    const x = Tensor.from('f32', [2]);
    const y = Tensor.from('f32', [2]);
    x.dispose();
    x.dispose();
    expect(x.disposed).to.equal(true);
    for (const use of [
      () => x.read(),
      () => x.shape,
      () => x.dtype,
      () => x.byteLength,
      () => x.clone(),
      () => x.reshape([2]),
      () => x.handle.write(new Float32Array(2)),
      () => native().axpy(y.handle, 1, x.handle),
    ]) {
      expect(failure(use).code).to.equal('ERR_HARDBIT_DISPOSED');
    }
    y.dispose();
  });

  it('a getter that disposes an argument on the way does no harm', () => {
    const [value, gradient] = [Tensor.from('f32', [1]), Tensor.from('f32', [1])];
    const parameters = {
      get learningRate() {
        value.dispose();
        gradient.dispose();
        return 1;
      },
      momentum: 0,
      nesterov: false,
      weightDecay: 0,
      clip: 0,
    };
    native().sgdStep(value.handle, gradient.handle, null, parameters);
    expect(value.disposed).to.equal(true);
  });

  it('`using` disposes, on errors too', () => {
    let seen: Tensor | undefined;
    expect(() => {
      using x = Tensor.from('f32', [1]);
      seen = x;
      throw new Error('on purpose');
    }).to.throw('on purpose');
    expect(seen?.disposed).to.equal(true);
  });

  // When it comes is V8's affair, and depends on the whole heap: this test's is that of a process of its own.
  it('forgotten tensors alone bring the garbage collector, and disposed ones do not', () => {
    const child = fileURLToPath(new URL('../support/collector-child.ts', import.meta.url));
    const text = execFileSync(process.execPath, ['--import', 'tsx', child], { encoding: 'utf8' });
    const { disposed, forgotten, mostForgotten } = JSON.parse(text) as Record<string, number>;
    // V8 that hears of every disposed tensor comes with each of the twenty steps.
    expect(disposed).to.be.below(5);
    expect(forgotten).to.be.above(1);
    expect(mostForgotten).to.be.below(700);
  }).timeout(60_000);

  it('the garbage collector frees what was forgotten', async () => {
    const live = await liveTensors();
    (() => {
      for (let i = 0; i < 100; i++) Tensor.from('u8', [100_000]);
    })();
    expect(native().memory().liveTensors).to.equal(live + 100);
    expect(await liveTensors()).to.be.at.most(live);
  });
});
