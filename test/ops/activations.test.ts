import { expect } from 'chai';
import { dropout } from '../../lib/ops/dropout.js';
import { add, hardtanh, reshape } from '../../lib/ops/elementwise.js';
import { heaviside, quantizeUnit, type UnitGradient } from '../../lib/ops/quantize-activations.js';
import {
  packSigns,
  reshapeSigns,
  type SignGradient,
  sign,
  signGradients,
  signsToFloat,
} from '../../lib/ops/sign.js';
import { Tape, type Variable, variable } from '../../lib/ops/tape.js';
import { scope } from '../../lib/tensor/scope.js';
import { f32, finiteDifferences, gradientsOf, near, numbers } from './numeric.js';

/** What each surrogate says, in double. */
const surrogates: Record<SignGradient, (x: number) => number> = {
  clipped: (x) => (Math.abs(x) <= 1 ? 1 : 0),
  identity: () => 1,
  approx: (x) => (Math.abs(x) <= 1 ? 2 - 2 * Math.abs(x) : 0),
  swish: (x) => (5 * (2 - 5 * x * Math.tanh((5 * x) / 2))) / (1 + Math.cosh(5 * x)),
  exact: () => 0,
};

const x = Float32Array.from([-2, -1.0000001, -1, -0.5, -0, 0, 0.25, 1, 1.0000001, 3]);

/** Positive zero for both zeros. */
const whole = (values: ArrayLike<number>) => Array.from(values, (value) => value + 0);

describe('step functions', () => {
  for (const [name, step] of [
    ['sign', sign],
    ['heaviside', heaviside],
  ] as const) {
    it(`${name}: each surrogate is what it says`, () => {
      scope(() => {
        const dy = numbers(x.length, 18);
        for (const gradient of signGradients) {
          const input = variable(f32([2, 5], x));
          const [dx] = gradientsOf([input], (tape) => step(tape, input, gradient), dy);
          if (gradient === 'swish') {
            near(
              dx!,
              x.map((v, i) => dy[i]! * surrogates.swish(v)),
              1e-6,
              gradient,
            );
          } else {
            const expected = x.map((v, i) => dy[i]! * Math.fround(surrogates[gradient](v)));
            expect(whole(dx!), gradient).to.deep.equal(whole(expected));
          }
        }
      });
    });
  }

  it('the swish surrogate is the derivative of 2σ(βx)(1 + βx(1 − σ(βx))) − 1', () => {
    scope(() => {
      const at = numbers(50, 3).map((v) => 2 * v);
      const dy = numbers(50, 4);
      const input = variable(f32([5, 10], at));
      const [dx] = gradientsOf([input], (tape) => sign(tape, input, 'swish'), dy);
      const swish = (v: number): number => {
        const s = 1 / (1 + Math.exp(-5 * v));
        return 2 * s * (1 + 5 * v * (1 - s)) - 1;
      };
      near(
        dx!,
        finiteDifferences((v) => v.map(swish), at, dy),
        1e-5,
        'dx',
      );
    });
  });

  it('heaviside is 1 above 0 and 0 at and below it', () => {
    scope(() => {
      const codes = heaviside(new Tape(), variable(f32([10], x)), 'clipped').value;
      expect(codes.dtype).to.equal('u8');
      expect([...codes.read()]).to.deep.equal([0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
    });
  });

  it('without a gradient to compute the values are the same', () => {
    scope(() => {
      for (const step of [sign, heaviside]) {
        const [constant, leaf] = [false, true].map((leaf) =>
          step(new Tape(), variable(f32([2, 5], x), leaf), 'clipped').value.read(),
        );
        expect([...constant!]).to.deep.equal([...leaf!]);
      }
    });
  });

  it('DoReFa activations: k-bit codes of the clipped value; the gradient inside [0, 1], everywhere, or nowhere', () => {
    scope(() => {
      const values = Float32Array.from([
        -3,
        -0.001,
        0,
        1 / 6,
        0.1666,
        0.5,
        0.49,
        0.83,
        0.84,
        1,
        1.0000001,
        7,
        Number.NaN,
      ]);
      const dy = numbers(values.length, 20);
      for (const bits of [1, 2, 3, 8]) {
        const top = 2 ** bits - 1;
        const input = variable(f32([values.length], values));
        const codes = quantizeUnit(new Tape(), input, bits, 'clipped').value;
        const expected = Array.from(values, (v) =>
          Number.isNaN(v) ? 0 : Math.floor(Math.fround(Math.fround(Math.min(Math.max(v, 0), 1) * top) + 0.5)),
        );
        expect([...codes.read()], `${bits} bits`).to.deep.equal(expected);
        const masks: Record<UnitGradient, (v: number) => number> = {
          clipped: (v) => (v >= 0 && v <= 1 ? 1 : 0),
          identity: () => 1,
          exact: () => 0,
        };
        for (const [gradient, mask] of Object.entries(masks)) {
          const [dx] = gradientsOf(
            [input],
            (tape) => quantizeUnit(tape, input, bits, gradient as UnitGradient),
            dy,
          );
          expect(whole(dx!), gradient).to.deep.equal(whole(values.map((v, i) => dy[i]! * mask(v))));
        }
      }
    });
  });
});

describe('elementwise ops', () => {
  it('hardtanh matches finite differences, and is flat at and beyond ±1', () => {
    scope(() => {
      const [values, dy] = [numbers(60, 5).map((v) => 1.9 * v), numbers(60, 6)];
      const input = variable(f32([3, 4, 5], values));
      const clamp = (v: number) => Math.min(Math.max(v, -1), 1);
      const y = hardtanh(new Tape(), input).value.toFloat32Array();
      expect([...y]).to.deep.equal([...values.map(clamp)]);
      const [dx] = gradientsOf([input], (tape) => hardtanh(tape, input), dy);
      near(
        dx!,
        finiteDifferences((at) => at.map(clamp), values, dy),
        1e-6,
        'dx',
      );
      const edge = variable(f32([2], Float32Array.from([-1, 1])));
      const [flat] = gradientsOf([edge], (tape) => hardtanh(tape, edge), Float32Array.from([1, 1]));
      expect(whole(flat!)).to.deep.equal([0, 0]);
    });
  });

  it('add passes the gradient to both, also where they are one, and where one feeds the other', () => {
    scope(() => {
      const [a, b, dy] = [numbers(6, 7), numbers(6, 8), numbers(6, 9)];
      const [left, right] = [variable(f32([2, 3], a)), variable(f32([2, 3], b))];
      const sum = add(new Tape(), left, right).value.toFloat32Array();
      expect([...sum]).to.deep.equal([...a.map((v, i) => v + b[i]!)]);
      const apart = gradientsOf([left, right], (tape) => add(tape, left, right), dy);
      for (const gradient of apart) expect([...gradient]).to.deep.equal([...dy]);
      const [twice] = gradientsOf([left], (tape) => add(tape, left, left), dy);
      expect([...twice!]).to.deep.equal([...dy.map((v) => 2 * v)]);
      const [block] = gradientsOf(
        [left],
        (tape) => {
          const x = reshape(tape, left, [3, 2]);
          return add(tape, add(tape, hardtanh(tape, x), x), x);
        },
        dy,
      );
      expect([...block!]).to.deep.equal([...dy.map((v) => 3 * v)]);
      expect(() => add(new Tape(), left, variable(f32([3, 2], b))))
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_SHAPE');
    });
  });

  it('signs keep their order under another shape, whatever the rows', () => {
    scope(() => {
      const shapes: readonly (readonly [readonly number[], readonly number[]])[] = [
        [
          [2, 3, 5, 7],
          [2, 105],
        ],
        [
          [2, 1, 1, 70],
          [2, 70],
        ],
        [
          [3, 2, 2, 64],
          [3, 256],
        ],
        [
          [1, 4, 33],
          [4, 33],
        ],
      ];
      for (const [from, to] of shapes) {
        const count = from.reduce((a, b) => a * b, 1);
        const [values, dy] = [numbers(count, 10), numbers(count, 11)];
        const signs = variable(packSigns(f32(from, values)));
        const flat = reshapeSigns(new Tape(), signs, to);
        expect(flat.value.shape).to.deep.equal(to);
        const expected = packSigns(f32(to, values));
        expect([...flat.value.read()]).to.deep.equal([...expected.read()]);
        const [dx] = gradientsOf([signs], (tape) => signsToFloat(tape, reshapeSigns(tape, signs, to)), dy);
        expect([...dx!]).to.deep.equal([...dy]);
      }
    });
  });
});

describe('dropout', () => {
  const count = 20_000;
  const ones = new Float32Array(count).fill(1);
  const run = (rate: number, draw = { seed: 1, stream: 2, step: 3 }): Float32Array =>
    scope(() => dropout(new Tape(), variable(f32([count], ones)), rate, draw).value.toFloat32Array());

  it('keeps each element with probability 1 − rate, scaled so that the expectation stays', () => {
    for (const rate of [0, 0.1, 0.5, 0.9]) {
      const y = run(rate);
      const kept = y.filter((v) => v !== 0);
      for (const v of kept) expect(v).to.equal(Math.fround(1 / Math.fround(1 - rate)));
      // Five standard deviations of a binomial count.
      const spread = 5 * Math.sqrt(count * rate * (1 - rate));
      expect(Math.abs(kept.length - count * (1 - rate)), `rate ${rate}`).to.be.at.most(spread);
    }
  });

  it('is a function of seed, stream and step, and differs where one of them does', () => {
    expect([...run(0.5)]).to.deep.equal([...run(0.5)]);
    for (const other of [
      { seed: 2, stream: 2, step: 3 },
      { seed: 1, stream: 3, step: 3 },
      { seed: 1, stream: 2, step: 4 },
    ]) {
      const [a, b] = [run(0.5), run(0.5, other)];
      const equal = a.filter((v, i) => (v === 0) === (b[i] === 0)).length;
      expect(Math.abs(equal - count / 2)).to.be.at.most(5 * Math.sqrt(count / 4));
    }
  });

  it('sends the gradient through the mask of the forward pass', () => {
    scope(() => {
      const [values, dy] = [numbers(300, 12), numbers(300, 13)];
      const input: Variable = variable(f32([3, 100], values));
      const draw = { seed: 5, stream: 6, step: 7 };
      const y = dropout(new Tape(), input, 0.25, draw).value.toFloat32Array();
      const [dx] = gradientsOf([input], (tape) => dropout(tape, input, 0.25, draw), dy);
      dx!.forEach((v, i) => {
        const factor = y[i] === 0 ? 0 : 1 / 0.75;
        expect(v + 0).to.be.closeTo(dy[i]! * factor, 1e-6);
        expect(y[i]! + 0).to.be.closeTo(values[i]! * factor, 1e-6);
      });
    });
  });

  it('refuses a rate outside [0, 1)', () => {
    for (const rate of [-0.1, 1, Number.NaN]) {
      expect(() => run(rate))
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_ARGUMENT');
    }
  });
});
