import { expect } from 'chai';
import { type AdamParameters, type NativeTensor, native, type SgdParameters } from '../../lib/native.js';
import { expectClose, expectIdentical, expectWithin, Fixture } from '../support/fixtures.js';

/** Sums of up to 37 products in another order: a few units of 2^−24, relative to the largest. */
const SUMS = 2e-6;
/** Batch norm's means, variances and quotients on top of it. */
const STATISTICS = 1e-5;

describe('ops against PyTorch', () => {
  const fixture = new Fixture('ops');
  const owned: NativeTensor[] = [];

  function own<T extends NativeTensor>(tensor: T): T {
    owned.push(tensor);
    return tensor;
  }

  function ownAll<T extends object>(tensors: T): T {
    for (const tensor of Object.values(tensors)) own(tensor as NativeTensor);
    return tensors;
  }

  /** A stored array as a tensor; integers as i32 unless said otherwise. */
  function tensor(key: string, dtype: 'f32' | 'i32' | 'i16' | 'u8' = 'f32'): NativeTensor {
    const shape = fixture.shape(key);
    if (dtype === 'f32') return own(native().tensor(dtype, shape, Float32Array.from(fixture.floats(key))));
    const values = fixture.integers(key);
    const data = { i32: Int32Array, i16: Int16Array, u8: Uint8Array }[dtype].from(values);
    return own(native().tensor(dtype, shape, data));
  }

  function floats(x: NativeTensor): Float32Array {
    const data = x.read();
    if (data instanceof Float32Array) return data;
    throw new Error(`a tensor is ${x.dtype}, expected f32`);
  }

  function integers(x: NativeTensor): ArrayLike<number> {
    const data = x.read();
    if (data instanceof BigUint64Array) throw new Error('a tensor is bits, expected integers');
    return data;
  }

  afterEach(() => {
    for (const each of owned.splice(0)) each.dispose();
  });

  it('dense: forward, and gradients of input, weight and bias', () => {
    const [x, w, bias, dy] = ['x', 'w', 'bias', 'dy'].map((name) => tensor(`dense/${name}`)) as [
      NativeTensor,
      NativeTensor,
      NativeTensor,
      NativeTensor,
    ];
    const results = {
      y: native().denseForward(x, w, bias),
      dx: native().denseBackwardInput(dy, w),
      dw: native().denseBackwardWeight(dy, x),
      dBias: native().sumRows(dy),
    };
    ownAll(results);
    for (const [name, result] of Object.entries(results)) {
      expectClose(floats(result), fixture.floats(`dense/${name}`), SUMS, name);
    }
  });

  const scaled: readonly [string, 'f32' | 'i16' | 'i32', number][] = [
    ['batchNorm', 'f32', 1],
    ['batchNormInteger', 'i32', Math.fround(1 / 255)],
    ['batchNormInteger', 'i16', Math.fround(1 / 255)],
  ];
  for (const [key, dtype, scale] of scaled) {
    it(`batch norm of ${dtype}: training, running statistics, gradients, evaluation`, () => {
      const x = tensor(`${key}/x`, dtype);
      const channels = x.shape[1] as number;
      const gamma = tensor(`${key}/gamma`);
      const beta = tensor(`${key}/beta`);
      const dy = tensor(`${key}/dy`);
      const mean = tensor(`${key}/mean0`);
      const variance = tensor(`${key}/variance0`);
      const expectChannels = (actual: NativeTensor, name: string, relative: number) =>
        expectClose(floats(actual), fixture.floats(`${key}/${name}`), relative, name, channels);

      const evaluated = own(native().batchNormEval(x, scale, gamma, beta, mean, variance, 1e-5));
      // The rounding of every step is prescribed.
      expectIdentical(floats(evaluated), fixture.floats(`${key}/evalY`), 'evaluation');
      expectChannels(own(native().batchNormEvalBackward(dy, gamma, variance, 1e-5)), 'evalDx', SUMS);

      const trained = ownAll(native().batchNormTrain(x, scale, gamma, beta, mean, variance, 0.1, 1e-5));
      const gradients = ownAll(
        native().batchNormBackward(dy, x, scale, gamma, trained.mean, trained.inverseDeviation),
      );
      expectChannels(trained.y, 'y', STATISTICS);
      expectChannels(mean, 'mean1', STATISTICS);
      expectChannels(variance, 'variance1', STATISTICS);
      expectChannels(gradients.dx, 'dx', STATISTICS);
      expectClose(floats(gradients.dGamma), fixture.floats(`${key}/dGamma`), STATISTICS, 'dGamma');
      expectClose(floats(gradients.dBeta), fixture.floats(`${key}/dBeta`), STATISTICS, 'dBeta');
    });
  }

  it('relu and its gradient, at zeros of both signs too', () => {
    const y = own(native().relu(tensor('relu/x')));
    expectIdentical(floats(y), fixture.floats('relu/y'), 'y');
    expectIdentical(
      floats(own(native().reluBackward(tensor('relu/dy'), y))),
      fixture.floats('relu/dx'),
      'dx',
    );
  });

  it('sign and its clipped and approximate gradients, at 0, −0 and both sides of ±1', () => {
    // Bits are packed in rows, so the tensors are one row.
    const row = (key: string) => own(native().reshape(tensor(key), [1, fixture.floats(key).length]));
    const x = row('sign/x');
    const dy = row('sign/dy');
    const { signs, mask } = ownAll(native().signForward(x));
    expectIdentical(floats(own(native().unpackSigns(signs))), fixture.floats('sign/y'), 'signs');
    const packed = own(native().packSigns(x));
    expectIdentical(floats(own(native().unpackSigns(packed))), fixture.floats('sign/y'), 'packed signs');
    expectIdentical(floats(own(native().maskBackward(dy, mask))), fixture.floats('sign/clipped'), 'clipped');
    const approximate = own(native().approxSignBackward(dy, x));
    // One rounding more or less, as 2 − 2|x| may or may not be kept exact.
    expectClose(floats(approximate), fixture.floats('sign/approx'), 3e-7, 'approx');
  });

  it('softmax cross-entropy: stable losses and gradients', () => {
    const { losses, gradient } = ownAll(
      native().softmaxCrossEntropy(tensor('crossEntropy/logits'), tensor('crossEntropy/labels', 'i32'), 1),
    );
    expectClose(floats(losses), fixture.floats('crossEntropy/losses'), 1e-6, 'losses');
    expectWithin(floats(gradient), fixture.floats('crossEntropy/gradient'), 1e-6, 'gradient');
  });

  /** Three steps on the stored gradients, each compared. */
  function threeSteps(
    name: string,
    step: (value: NativeTensor, gradient: NativeTensor, i: number) => void,
  ): void {
    const value = tensor('optimizer/value');
    const gradients = tensor('optimizer/gradients');
    const expected = fixture.floats(`optimizer/${name}`);
    const count = floats(value).length;
    for (let i = 0; i < 3; i++) {
      const gradient = own(native().reshape(own(native().slice(gradients, i, i + 1)), [count]));
      step(value, gradient, i);
      expectWithin(floats(value), expected.subarray(i * count, (i + 1) * count), 5e-7, `step ${i + 1}`);
    }
  }

  const adam = { learningRate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clip: 0 };
  const adams: readonly [string, Omit<AdamParameters, 'step'>][] = [
    ['adam', adam],
    ['adamw', { ...adam, beta1: 0.8, beta2: 0.99, epsilon: 1e-6, weightDecay: 0.1 }],
  ];
  for (const [name, parameters] of adams) {
    it(`${name}: three steps`, () => {
      const shape = fixture.shape('optimizer/value');
      const m = own(native().tensor('f32', shape));
      const v = own(native().tensor('f32', shape));
      threeSteps(name, (value, gradient, i) =>
        native().adamStep(value, gradient, m, v, { ...parameters, step: i + 1 }),
      );
    });
  }

  const sgds: readonly [string, SgdParameters][] = [
    ['sgd', { learningRate: 0.1, momentum: 0, nesterov: false, weightDecay: 0, clip: 0 }],
    ['momentum', { learningRate: 0.1, momentum: 0.9, nesterov: false, weightDecay: 0.01, clip: 0 }],
    ['nesterov', { learningRate: 0.1, momentum: 0.9, nesterov: true, weightDecay: 0.01, clip: 0 }],
  ];
  for (const [name, parameters] of sgds) {
    it(`SGD (${name}): three steps`, () => {
      const velocity =
        parameters.momentum === 0 ? null : own(native().tensor('f32', fixture.shape('optimizer/value')));
      threeSteps(name, (value, gradient) => native().sgdStep(value, gradient, velocity, parameters));
    });
  }

  it('levels k/255 are the quotients PyTorch computes', () => {
    const bytes = own(
      native().tensor(
        'u8',
        [256],
        Uint8Array.from({ length: 256 }, (_, k) => k),
      ),
    );
    expectIdentical(
      floats(own(native().u8ToFloat(bytes))),
      fixture.floats('discretizer/x').subarray(0, 256),
      'k/255',
    );
  });

  for (let bits = 1; bits <= 8; bits++) {
    it(`discretizer of ${bits} bits: codes and values on thresholds, their neighbours and the ends of balls`, () => {
      const codes = own(native().discretize(tensor('discretizer/x'), bits));
      expectIdentical(integers(codes), fixture.integers(`discretizer/codes${bits}`), 'codes');
      const values = own(native().codesToFloat(codes, bits));
      expectIdentical(floats(values), fixture.floats(`discretizer/values${bits}`), 'values');
    });
  }

  it('binary products, and products of codes with binary weights', () => {
    const a = own(native().packSigns(tensor('products/a')));
    const w = own(native().packSigns(tensor('products/w')));
    const binary = own(native().binaryMatmul(a, w));
    expectIdentical(integers(binary), fixture.integers('products/binary'), 'binary');
    const shape = fixture.shape('products/codes');
    for (const bits of [8, 4, 2, 1]) {
      const codes = Uint8Array.from(fixture.integers('products/codes'), (code) => code >> (8 - bits));
      const product = own(native().codesMatmul(own(native().tensor('u8', shape, codes)), bits, w));
      expect(product.dtype).to.equal(131 * (2 ** bits - 1) <= 32767 ? 'i16' : 'i32');
      expectIdentical(integers(product), fixture.integers(`products/codes${bits}`), `${bits} bits`);
    }
  });
});
