import { expect } from 'chai';
import { weightQuantizers } from '../../lib/nn/quantizers.js';
import { binaryDense, dense } from '../../lib/ops/dense.js';
import { codesToFloat } from '../../lib/ops/discretize.js';
import {
  productScale,
  type QuantizedOperand,
  type QuantizedWeights,
  quantizedValues,
  scaleProduct,
  weightValues,
} from '../../lib/ops/quantized-weights.js';
import { packSigns, signsToFloat } from '../../lib/ops/sign.js';
import { Tape, variable } from '../../lib/ops/tape.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { f32, finiteDifferences, gradientsOf, near, numbers } from './numeric.js';

const [M, K] = [5, 70] as const;

/** Latent weights on both sides of every threshold, some beyond ±1, some exactly 0, ±0.05 and ±1. */
function latentWeights(): Float32Array {
  const w = numbers(M * K, 41).map((v) => 1.3 * v * v * v);
  w.set([0, -0, 0.05, -0.05, 1, -1, 1.2, -1.2, 0.04999, 0.05001], 3);
  return w;
}

const sign = (v: number) => (v >= 0 ? 1 : -1);
const step = (v: number) => (Math.abs(v) <= 1 ? 1 : 0);
const mean = (values: ArrayLike<number>) =>
  Array.from(values).reduce((a, b) => a + Math.abs(b), 0) / values.length;
const row = (values: ArrayLike<number>, i: number) =>
  Array.from(values).slice(Math.floor(i / K) * K, (Math.floor(i / K) + 1) * K);

const quantizer = (name: string) => weightQuantizers.find((each) => each.name === name)!;

function quantized(name: string): {
  weights: QuantizedWeights;
  latent: Tensor;
  values: Float32Array;
  w: Float32Array;
} {
  const w = latentWeights();
  const latent = f32([M, K], w);
  const weights = quantizer(name).quantize(latent);
  return { weights, latent, values: weightValues(weights).toFloat32Array(), w };
}

/** The quantizer's gradient for some dL/dW. */
function gradient(name: string): { dw: Float32Array; g: Float32Array; w: Float32Array } {
  const { weights, latent, w } = quantized(name);
  const g = numbers(M * K, 42);
  const dw = quantizer(name)
    .gradient(f32([M, K], g), latent, weights)
    .toFloat32Array();
  return { dw, g, w };
}

function dorefa(w: ArrayLike<number>, bits: number, round: (v: number) => number): Float64Array {
  const most = Math.max(...Array.from(w, (v) => Math.abs(Math.tanh(v))));
  const top = 2 ** bits - 1;
  return Float64Array.from(w, (v) => (2 * round((Math.tanh(v) / (2 * most) + 0.5) * top)) / top - 1);
}

describe('weight quantizers', () => {
  it('are known by name, with their bits and planes', () => {
    expect(
      weightQuantizers.map(({ name, precision, planes, clip }) => [name, precision, planes, clip]),
    ).to.deep.equal([
      ['ste-sign', 1, 1, 1],
      ['magnitude-sign', 1, 1, 1],
      ['magnitude-sign-constant', 1, 1, 1],
      ['magnitude-sign-chain', 1, 1, 1],
      ['ste-tern', 2, 2, 1],
      ['ste-tern-twn', 2, 2, 1],
      ...[1, 2, 3, 4, 5, 6, 7, 8].map((bits) => [`dorefa-${bits}`, bits, bits, 0]),
    ]);
    for (const { name, planes } of weightQuantizers) {
      scope(() => {
        const { weights } = quantized(name);
        expect(weights.planes.shape, name).to.deep.equal([planes * M, K]);
        expect(weights.coefficients.length, name).to.equal(planes);
      });
    }
  });

  it('ste-sign: sign(w); the gradient passes unchanged', () => {
    scope(() => {
      const { values, w } = quantized('ste-sign');
      expect([...values]).to.deep.equal([...w.map(sign)]);
      const { dw, g } = gradient('ste-sign');
      expect([...dw]).to.deep.equal([...g]);
    });
  });

  const magnitudes: Record<string, (g: Float32Array, w: Float32Array, i: number) => number> = {
    'magnitude-sign': (g, w, i) => g[i]! * (1 / K + mean(row(w, i)) * step(w[i]!)),
    'magnitude-sign-constant': (g, w, i) => g[i]! * mean(row(w, i)) * step(w[i]!),
    'magnitude-sign-chain': (g, w, i) => {
      const [gs, ws] = [row(g, i), row(w, i)];
      const sum = ws.reduce((total, v, k) => total + sign(v) * gs[k]!, 0);
      return mean(ws) * g[i]! * step(w[i]!) + (sign(w[i]!) * sum) / K;
    },
  };
  for (const [name, formula] of Object.entries(magnitudes)) {
    it(`${name}: mean |w| of the channel times sign(w); its gradient is its formula`, () => {
      scope(() => {
        const { values, w } = quantized(name);
        near(
          values,
          w.map((v, i) => mean(row(w, i)) * sign(v)),
          1e-6,
          'values',
        );
        const { dw, g } = gradient(name);
        near(
          dw,
          w.map((_, i) => formula(g, w, i)),
          1e-6,
          'dw',
        );
      });
    });
  }

  it('the chain rule of magnitude-sign is the derivative where sign is the clipped line', () => {
    scope(() => {
      // α(w)·sign(w) = α(w)·s with ds/dw = 1: finite differences of α(w)·(s₀ + w − w₀).
      const { w } = quantized('magnitude-sign-chain');
      const { dw, g } = gradient('magnitude-sign-chain');
      const inside = Array.from(w, (v) => Math.abs(v) <= 1 && Math.abs(v) > 1e-3);
      const f = (at: Float64Array) =>
        at.map((v, i) => mean(row(at, i)) * (sign(w[i]!) + (inside[i] ? v - w[i]! : 0)));
      const expected = finiteDifferences(f, w, g);
      near(
        dw.filter((_, i) => inside[i]),
        expected.filter((_, i) => inside[i]),
        1e-5,
        'dw',
      );
    });
  });

  for (const [name, delta] of [
    ['ste-tern', () => 0.05],
    ['ste-tern-twn', (w: Float32Array) => 0.7 * mean(w)],
  ] as const) {
    it(`${name}: −1, 0 and 1 by its threshold; the gradient where |w| ≤ 1`, () => {
      scope(() => {
        const { values, w } = quantized(name);
        const threshold = Math.fround(delta(w));
        const expected = w.map((v) =>
          Math.sign(sign(Math.fround(v + threshold)) + sign(Math.fround(v - threshold))),
        );
        expect([...values].map((v) => v + 0)).to.deep.equal([...expected].map((v) => v + 0));
        expect(new Set(values).size).to.equal(3);
        const { dw, g } = gradient(name);
        expect([...dw].map((v) => v + 0)).to.deep.equal(
          [...g.map((v, i) => v * step(w[i]!))].map((v) => v + 0),
        );
      });
    });
  }

  it('dorefa-1: sign(w) times mean |w| of the layer; the gradient passes unchanged', () => {
    scope(() => {
      const { values, w } = quantized('dorefa-1');
      near(
        values,
        w.map((v) => mean(w) * sign(v)),
        1e-6,
        'values',
      );
      const { dw, g } = gradient('dorefa-1');
      expect([...dw]).to.deep.equal([...g]);
    });
  });

  for (const bits of [2, 3, 4, 5, 6, 7, 8]) {
    it(`dorefa-${bits}: levels of tanh w; the gradient is that of the unrounded function, its maximum a constant`, () => {
      scope(() => {
        const { values, w } = quantized(`dorefa-${bits}`);
        const expected = dorefa(w, bits, (v) => Math.floor(v + 0.5));
        // A value within rounding of a tie may fall on either side.
        const exact = dorefa(w, bits, (v) => v);
        const top = 2 ** bits - 1;
        values.forEach((v, i) => {
          const place = ((exact[i]! + 1) / 2) * top;
          const tie = Math.abs(place - Math.floor(place) - 0.5) < 1e-4;
          expect(Math.abs(v - expected[i]!), `weight ${i}`).to.be.at.most(tie ? 2.0001 / top : 1e-6);
        });
        const { dw, g } = gradient(`dorefa-${bits}`);
        const most = Math.max(...Array.from(w, (v) => Math.abs(Math.tanh(v))));
        const derivative = finiteDifferences((at) => at.map((v) => Math.tanh(v) / most), w, g);
        near(dw, derivative, 1e-5, 'dw');
      });
    });
  }

  it('dorefa of weights that are all 0 is finite', () => {
    scope(() => {
      for (const bits of [1, 2, 8]) {
        const values = weightValues(quantizer(`dorefa-${bits}`).quantize(f32([2, 3], new Float32Array(6))));
        for (const v of values.toFloat32Array()) expect(Number.isFinite(v)).to.equal(true);
      }
    });
  });
});

describe('products with quantized weights', () => {
  for (const { name } of weightQuantizers) {
    it(`${name}: bits and codes give exact sums, and the same numbers and gradients as real weights in float`, () => {
      scope(() => {
        const n = 4;
        const dy = numbers(n * M, 44);
        const { weights, latent } = quantized(name);
        const leaf = variable(latent);
        const operand: QuantizedOperand = {
          weights,
          latent: leaf,
          gradient: (dWeights) => quantizer(name).gradient(dWeights, latent, weights),
        };
        const unit = weights.scale;
        const wholes = weightValues(weights)
          .toFloat32Array()
          .map((v, i) =>
            Math.round(v / (typeof unit === 'number' ? unit : unit.toFloat32Array()[Math.floor(i / K)]!)),
          );
        for (const bits of [null, 1, 2, 8]) {
          const codes = Uint8Array.from(
            { length: n * K },
            (_, i) => (i * 37 + 11) % (bits === null ? 2 : 2 ** bits),
          );
          const x = variable(
            bits === null
              ? packSigns(
                  f32(
                    [n, K],
                    Float32Array.from(codes, (c) => 2 * c - 1),
                  ),
                )
              : Tensor.from('u8', [n, K], codes),
          );
          const sums = binaryDense(new Tape(), x, bits, operand).value;
          const expected = Array.from({ length: n * M }, (_, i) => {
            let sum = 0;
            for (let k = 0; k < K; k++) {
              const code = codes[Math.floor(i / M) * K + k]!;
              sum += (bits === null ? 2 * code - 1 : code) * wholes[(i % M) * K + k]!;
            }
            return sum;
          });
          expect([...sums.read()], `${bits} bits`).to.deep.equal(expected);

          const packed = (tape: Tape) =>
            scaleProduct(tape, binaryDense(tape, x, bits, operand), productScale(bits, unit));
          const float = (tape: Tape) => {
            const real = bits === null ? signsToFloat(tape, x) : codesToFloat(tape, x, bits);
            return dense(tape, real, quantizedValues(tape, operand), null);
          };
          const [a, b] = [packed, float].map((product) => product(new Tape()).value.toFloat32Array());
          near(a!, b!, 2e-6, `${bits} bits: y`);
          const [da, db] = [packed, float].map((product) => gradientsOf([x, leaf], product, dy));
          near(da![0]!, db![0]!, 2e-6, `${bits} bits: dx`);
          near(da![1]!, db![1]!, 2e-6, `${bits} bits: dw`);
        }
      });
    });
  }

  it('ternary weights: the exact product equals the float product, number for number', () => {
    scope(() => {
      for (const name of ['ste-tern', 'ste-tern-twn']) {
        const { weights, latent } = quantized(name);
        const operand: QuantizedOperand = { weights, latent: variable(latent, false), gradient: (d) => d };
        const signs = variable(packSigns(f32([6, K], numbers(6 * K, 45))), false);
        const tape = new Tape();
        const packed = scaleProduct(
          tape,
          binaryDense(tape, signs, null, operand),
          productScale(null, weights.scale),
        );
        const float = dense(tape, signsToFloat(tape, signs), quantizedValues(tape, operand), null);
        expect([...packed.value.toFloat32Array()]).to.deep.equal([...float.value.toFloat32Array()]);
      }
    });
  });
});
