import { expect } from 'chai';
import { weightQuantizers } from '../../lib/nn/quantizers.js';
import { binaryConv2d, conv2d } from '../../lib/ops/conv2d.js';
import {
  productScale,
  type QuantizedOperand,
  scaleProduct,
  weightValues,
} from '../../lib/ops/quantized-weights.js';
import { packSigns } from '../../lib/ops/sign.js';
import { Tape, type Variable, variable } from '../../lib/ops/tape.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { f32, finiteDifferences, gradientsOf, near, numbers } from './numeric.js';
import { type ConvolutionCase, convolutionCases, convolve, outputSize, title } from './windows.js';

const tolerance = 2e-5; // f32 arithmetic against float64, relative to the largest entry

interface Sizes {
  readonly input: readonly number[];
  readonly weight: readonly number[];
  /** [M, K] */
  readonly matrix: readonly [number, number];
  readonly output: readonly number[];
}

function sizes(c: ConvolutionCase): Sizes {
  const weight = [c.outputs, ...c.kernel, c.inputs / c.groups];
  return {
    input: [c.n, ...c.size, c.inputs],
    weight,
    matrix: [c.outputs, count(weight) / c.outputs],
    output: [c.n, ...outputSize(c), c.outputs],
  };
}

const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** An input of integer products and the real numbers it stands for; `bits` null for signs. */
function packedInput(
  shape: readonly number[],
  bits: number | null,
): { variable: Variable; real: Float32Array; whole: Float64Array } {
  const values = numbers(count(shape), 31);
  if (bits === null) {
    const real = values.map((v) => (v >= 0 ? 1 : -1));
    return { variable: variable(packSigns(f32(shape, real))), real, whole: Float64Array.from(real) };
  }
  const codes = Uint8Array.from(values, (v) => Math.floor(((v + 1) / 2) * 2 ** bits));
  return {
    variable: variable(Tensor.from('u8', shape, codes)),
    real: Float32Array.from(codes, (v) => v / (2 ** bits - 1)),
    whole: Float64Array.from(codes),
  };
}

describe('conv2d', () => {
  for (const c of convolutionCases) {
    it(`${title(c)}: x, weight and bias match finite differences`, () => {
      scope(() => {
        const { input, weight, output } = sizes(c);
        const [x, w, b, dy] = [
          numbers(count(input), 1),
          numbers(count(weight), 2),
          numbers(c.outputs, 3),
          numbers(count(output), 4),
        ];
        const inputs = [
          variable(f32(input, x)),
          variable(f32(weight, w)),
          variable(f32([c.outputs], b)),
        ] as const;
        const biased = (values: Float64Array, bias: ArrayLike<number>) =>
          values.map((v, i) => v + bias[i % c.outputs]!);
        const y = conv2d(new Tape(), ...inputs, c).value;
        expect(y.shape).to.deep.equal(output);
        near(y.toFloat32Array(), biased(convolve(x, w, c), b), tolerance, 'y');
        const [dx, dw, db] = gradientsOf(inputs, (tape) => conv2d(tape, ...inputs, c), dy);
        near(
          dx!,
          finiteDifferences((at) => convolve(at, w, c), x, dy),
          tolerance,
          'dx',
        );
        near(
          dw!,
          finiteDifferences((at) => convolve(x, at, c), w, dy),
          tolerance,
          'dw',
        );
        near(
          db!,
          finiteDifferences((at) => biased(new Float64Array(count(output)), at), b, dy),
          tolerance,
          'db',
        );
        const unbiased = conv2d(new Tape(), inputs[0], inputs[1], null, c).value;
        near(unbiased.toFloat32Array(), convolve(x, w, c), tolerance, 'without bias');
      });
    });
  }
});

describe('quantized conv2d', () => {
  const names = ['ste-sign', 'magnitude-sign', 'ste-tern', 'dorefa-3'];
  for (const c of convolutionCases) {
    for (const paddingValue of ['zero', 'one'] as const) {
      if (paddingValue === 'one' && c.padding.every((side) => side === 0)) continue;
      it(`${title(c)} of ${paddingValue}s: sums are exact for signs and codes by every kind of weights; gradients are those of the real product`, () => {
        scope(() => {
          const { input, weight, matrix, output } = sizes(c);
          const dy = numbers(count(output), 32);
          const geometry = { ...c, paddingValue };
          for (const bits of [null, 1, 2, 8]) {
            for (const name of names) {
              const what = `${bits ?? '±1'} bits, ${name}`;
              const quantizer = weightQuantizers.find((each) => each.name === name)!;
              const x = packedInput(input, bits);
              const latent = variable(f32(matrix, numbers(count(weight), 33)));
              const weights = quantizer.quantize(latent.value);
              // The gradient as it comes: that with respect to the weights' real values.
              const operand: QuantizedOperand = { latent, weights, gradient: (dWeights) => dWeights };
              const scale = productScale(bits, weights.scale);
              const reals = weightValues(weights).toFloat32Array();
              const unit = weights.scale;
              const wholes = Float64Array.from(reals, (v, i) =>
                Math.round(
                  v / (typeof unit === 'number' ? unit : unit.toFloat32Array()[Math.floor(i / matrix[1])]!),
                ),
              );
              const top = bits === null ? 1 : 2 ** bits - 1;
              const sums = binaryConv2d(new Tape(), x.variable, bits, operand, geometry).value;
              expect(sums.shape).to.deep.equal(output);
              expect([...sums.read()], what).to.deep.equal([
                ...convolve(x.whole, wholes, c, paddingValue === 'one' ? top : 0),
              ]);
              const outside = paddingValue === 'one' ? 1 : 0;
              const product = (tape: Tape) =>
                scaleProduct(tape, binaryConv2d(tape, x.variable, bits, operand, geometry), scale);
              near(
                product(new Tape()).value.toFloat32Array(),
                convolve(x.real, reals, c, outside),
                tolerance,
                `${what}: y`,
              );
              // The largest cases take seconds each; the gradients do not depend on what is quantized how.
              if (count(weight) > 500 && !(bits === null && name === 'ste-tern')) continue;
              const [dx, dw] = gradientsOf([x.variable, latent], product, dy);
              near(
                dx!,
                finiteDifferences((at) => convolve(at, reals, c, outside), x.real, dy),
                tolerance,
                `${what}: dx`,
              );
              near(
                dw!,
                finiteDifferences((at) => convolve(x.real, at, c, outside), reals, dy),
                tolerance,
                `${what}: dw`,
              );
            }
          }
        });
      }).timeout(60_000);
    }
  }
});
