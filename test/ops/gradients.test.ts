import { expect } from 'chai';
import { batchNormEval, batchNormTrain } from '../../lib/ops/batch-norm.js';
import { softmaxCrossEntropy } from '../../lib/ops/cross-entropy.js';
import { binaryDense, dense } from '../../lib/ops/dense.js';
import { codesToFloat, discretize } from '../../lib/ops/discretize.js';
import { relu, reshape } from '../../lib/ops/elementwise.js';
import { signWeights } from '../../lib/ops/quantize-weights.js';
import { productScale, type QuantizedOperand, scaleProduct } from '../../lib/ops/quantized-weights.js';
import { packSigns } from '../../lib/ops/sign.js';
import { Tape, variable } from '../../lib/ops/tape.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { f32, finiteDifferences, gradientsOf, near, numbers } from './numeric.js';

function multiply(x: Float64Array, w: ArrayLike<number>, n: number, k: number, m: number): Float64Array {
  const y = new Float64Array(n * m);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < m; j++) for (let t = 0; t < k; t++) y[i * m + j]! += x[i * k + t]! * w[j * k + t]!;
  return y;
}

function batchNorm(
  x: Float64Array,
  gamma: ArrayLike<number>,
  beta: ArrayLike<number>,
  n: number,
  c: number,
  epsilon: number,
  statistics?: { mean: ArrayLike<number>; variance: ArrayLike<number> },
): Float64Array {
  const y = new Float64Array(n * c);
  for (let j = 0; j < c; j++) {
    let mean = 0;
    let variance = 0;
    if (statistics === undefined) {
      for (let i = 0; i < n; i++) mean += x[i * c + j]! / n;
      for (let i = 0; i < n; i++) variance += (x[i * c + j]! - mean) ** 2 / n;
    } else {
      mean = statistics.mean[j]!;
      variance = statistics.variance[j]!;
    }
    for (let i = 0; i < n; i++)
      y[i * c + j] = (gamma[j]! * (x[i * c + j]! - mean)) / Math.sqrt(variance + epsilon) + beta[j]!;
  }
  return y;
}

describe('gradients', () => {
  const tolerance = 2e-5; // f32 arithmetic against float64, relative to the largest entry

  it('dense: x, weight and bias match finite differences', () => {
    scope(() => {
      for (const [n, k, m] of [
        [1, 1, 1],
        [3, 5, 2],
        [7, 65, 17],
      ] as const) {
        const [x, w, b, dy] = [numbers(n * k, 1), numbers(m * k, 2), numbers(m, 3), numbers(n * m, 4)];
        const inputs = [variable(f32([n, k], x)), variable(f32([m, k], w)), variable(f32([m], b))] as const;
        const [dx, dw, db] = gradientsOf(inputs, (tape) => dense(tape, ...inputs), dy);
        near(
          dx!,
          finiteDifferences((at) => multiply(at, w, n, k, m), x, dy),
          tolerance,
          'dx',
        );
        near(
          dw!,
          finiteDifferences((at) => multiply(Float64Array.from(x), at, n, k, m), w, dy),
          tolerance,
          'dw',
        );
        near(
          db!,
          finiteDifferences((at) => Float64Array.from({ length: n * m }, (_, i) => at[i % m]!), b, dy),
          tolerance,
          'db',
        );
      }
    });
  });

  it('relu and reshape match finite differences', () => {
    scope(() => {
      const [x, dy] = [numbers(35, 5), numbers(35, 6)];
      const input = variable(f32([5, 7], x));
      const [dx] = gradientsOf([input], (tape) => reshape(tape, relu(tape, input), [7, 5]), dy);
      near(
        dx!,
        finiteDifferences((at) => at.map((v) => Math.max(v, 0)), x, dy),
        1e-6,
        'dx',
      );
    });
  });

  it('batch norm in training: x, gamma and beta match finite differences, on floats and on scaled integers', () => {
    scope(() => {
      const [n, c] = [9, 19];
      const [x, gamma, beta, dy] = [numbers(n * c, 7), numbers(c, 8), numbers(c, 9), numbers(n * c, 10)];
      const integers = Int16Array.from(x, (v) => Math.round(v * 300));
      for (const scale of [1, productScale(2, 1) as number]) {
        const whole = scale !== 1;
        const z = whole ? Float32Array.from(integers, (v) => v * scale) : x;
        const input = variable(whole ? Tensor.from('i16', [n, c], integers) : f32([n, c], x));
        const inputs = [input, variable(f32([c], gamma)), variable(f32([c], beta))] as const;
        const state = {
          runningMean: Tensor.from('f32', [c]),
          runningVariance: Tensor.from('f32', [c]),
          momentum: 0.1,
          epsilon: 1e-5,
        };
        const [dx, dGamma, dBeta] = gradientsOf(
          inputs,
          (tape) => batchNormTrain(tape, inputs[0], scale, inputs[1], inputs[2], state),
          dy,
        );
        const h = whole ? 1e-3 : 1e-5;
        near(
          dx!,
          finiteDifferences((at) => batchNorm(at, gamma, beta, n, c, 1e-5), z, dy, h),
          tolerance,
          'dx',
        );
        near(
          dGamma!,
          finiteDifferences((at) => batchNorm(Float64Array.from(z), at, beta, n, c, 1e-5), gamma, dy),
          tolerance,
          'dGamma',
        );
        near(
          dBeta!,
          finiteDifferences((at) => batchNorm(Float64Array.from(z), gamma, at, n, c, 1e-5), beta, dy),
          tolerance,
          'dBeta',
        );
      }
    });
  });

  it('batch norm in evaluation matches finite differences', () => {
    scope(() => {
      const [n, c] = [4, 5];
      const [x, gamma, beta, dy] = [numbers(n * c, 11), numbers(c, 12), numbers(c, 13), numbers(n * c, 14)];
      const mean = numbers(c, 15);
      const variance = numbers(c, 16).map((v) => Math.abs(v) + 0.1);
      const input = variable(f32([n, c], x));
      const state = {
        runningMean: f32([c], mean),
        runningVariance: f32([c], variance),
        momentum: 0.1,
        epsilon: 1e-5,
      };
      const [dx] = gradientsOf(
        [input],
        (tape) => batchNormEval(tape, input, 1, f32([c], gamma), f32([c], beta), state),
        dy,
      );
      near(
        dx!,
        finiteDifferences((at) => batchNorm(at, gamma, beta, n, c, 1e-5, { mean, variance }), x, dy),
        tolerance,
        'dx',
      );
    });
  });

  it('softmax cross-entropy matches finite differences and stays finite on confident logits', () => {
    scope(() => {
      const [n, c] = [6, 10];
      const z = numbers(n * c, 17).map((v) => 4 * v);
      const labels = Int32Array.from({ length: n }, (_, i) => (i * 3) % c);
      const loss = (at: Float64Array): Float64Array =>
        Float64Array.from({ length: n }, (_, i) => {
          const row = at.subarray(i * c, (i + 1) * c);
          const most = Math.max(...row);
          return most + Math.log(row.reduce((sum, v) => sum + Math.exp(v - most), 0)) - row[labels[i]!]!;
        });
      const scaled = new Float32Array(n).fill(0.25);
      const result = softmaxCrossEntropy(f32([n, c], z), Tensor.from('i32', [n], labels), 0.25);
      near(result.losses.toFloat32Array(), loss(Float64Array.from(z)), 1e-6, 'losses');
      near(result.gradient.toFloat32Array(), finiteDifferences(loss, z, scaled), tolerance, 'gradient');
      const confident = softmaxCrossEntropy(
        f32([1, 3], new Float32Array([1e4, -1e4, 0])),
        Tensor.from('i32', [1], new Int32Array([1])),
        1,
      );
      expect(confident.losses.toFloat32Array()[0]).to.equal(2e4);
      expect([...confident.gradient.toFloat32Array()]).to.deep.equal([1, -1, 0]);
    });
  });

  it('discretizer: identity passes the gradient, exact gives zeros, codes stand for code/(2^b − 1)', () => {
    scope(() => {
      const x = Float32Array.from([0, 0.16, 0.17, 0.5, 0.83, 0.84, 1]);
      const dy = numbers(7, 19);
      const input = variable(f32([1, 7], x));
      const [identity] = gradientsOf(
        [input],
        (tape) => codesToFloat(tape, discretize(tape, input, 2, 'identity'), 2),
        dy,
      );
      expect([...identity!]).to.deep.equal([...dy]);
      const [exact] = gradientsOf([input], (tape) => discretize(tape, input, 2, 'exact'), dy);
      expect([...exact!]).to.deep.equal([0, 0, 0, 0, 0, 0, 0]);
      expect([...discretize(new Tape(), input, 2, 'exact').value.read()]).to.deep.equal([
        0, 0, 1, 2, 2, 3, 3,
      ]);
    });
  });

  it('binary dense: integers are exact; gradients are those of the real product', () => {
    scope(() => {
      const [n, k, m] = [5, 70, 9];
      const w = numbers(m * k, 20);
      const signs = w.map((v) => (v >= 0 ? 1 : -1));
      const dy = numbers(n * m, 21);
      for (const bits of [null, 2, 8]) {
        const codes = Uint8Array.from(
          { length: n * k },
          (_, i) => (i * 37) % (bits === null ? 2 : 2 ** bits),
        );
        const levels = bits === null ? 1 : 2 ** bits - 1;
        const real =
          bits === null
            ? Float32Array.from(codes, (c) => 2 * c - 1)
            : Float32Array.from(codes, (c) => c / levels);
        const value = bits === null ? packSigns(f32([n, k], real)) : Tensor.from('u8', [n, k], codes);
        const x = variable(value);
        const latent = variable(f32([m, k], w));
        const operand: QuantizedOperand = {
          weights: signWeights(latent.value),
          latent,
          gradient: (dWeights) => dWeights,
        };
        const product = binaryDense(new Tape(), x, bits, operand).value;
        const whole = bits === null ? Float64Array.from(real) : Float64Array.from(codes);
        expect([...product.read()]).to.deep.equal([...multiply(whole, signs, n, k, m)]);
        const [dx, dw] = gradientsOf(
          [x, latent],
          (tape) => scaleProduct(tape, binaryDense(tape, x, bits, operand), productScale(bits, 1)),
          dy,
        );
        near(
          dx!,
          finiteDifferences((at) => multiply(at, signs, n, k, m), real, dy),
          tolerance,
          'dx',
        );
        near(
          dw!,
          finiteDifferences((at) => multiply(Float64Array.from(real), at, n, k, m), signs, dy),
          tolerance,
          'dw',
        );
      }
    });
  });

  it('the tape frees what was saved once the backward pass has gone by, and nothing that it did not make', () => {
    scope(() => {
      const tape = new Tape();
      const x = variable(f32([2, 2], numbers(4, 1)));
      const w = variable(f32([2, 2], numbers(4, 2)));
      const hidden = dense(tape, x, w, null);
      const kept = relu(tape, hidden);
      tape.release(hidden);
      expect(hidden.value.disposed, 'read by nobody').to.equal(true);
      tape.release(kept);
      expect(kept.value.disposed, 'relu reads its output').to.equal(false);
      const seen: boolean[] = [];
      const own = f32([1], new Float32Array(1));
      const y = tape.record([kept], f32([2, 2], numbers(4, 3)), [kept.value, own], (dy) => {
        seen.push(kept.value.disposed, own.disposed);
        return [dy];
      });
      tape.release(x);
      const [dx] = tape.backward(y, f32([2, 2], numbers(4, 4)), [x]);
      expect(seen).to.deep.equal([false, false]);
      expect([kept.value.disposed, own.disposed]).to.deep.equal([true, true]);
      for (const { disposed } of [x.value, w.value, y.value, dx!]) expect(disposed).to.equal(false);
    });
  });

  it('the tape keeps nothing for the gradient of a constant', () => {
    scope(() => {
      const tape = new Tape();
      const [x, w] = [1, 2].map((seed) => variable(f32([2, 2], numbers(4, seed)), false));
      const hidden = relu(tape, dense(tape, x!, w!, null));
      tape.release(hidden);
      expect(hidden.value.disposed).to.equal(true);
      tape.release(x!);
      expect(x!.value.disposed).to.equal(false);
    });
  });

  it('the tape sums the gradients of a value used twice, and refuses a stranger', () => {
    scope(() => {
      const x = variable(f32([1, 2], Float32Array.from([1, 2])));
      const [dx] = gradientsOf(
        [x],
        (tape) => {
          const w = variable(f32([2, 2], Float32Array.from([1, 0, 0, 1])), false);
          const once = dense(tape, x, w, null);
          return tape.record([once, x], once.value, [], (dy) => [dy, dy]);
        },
        Float32Array.from([3, 5]),
      );
      expect([...dx!]).to.deep.equal([6, 10]);
      const stranger = variable(f32([1], Float32Array.from([1])));
      expect(() => gradientsOf([stranger], (tape) => relu(tape, x), Float32Array.from([1, 1])))
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_ARGUMENT');
    });
  });
});
