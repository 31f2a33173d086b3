import { expect } from 'chai';
import { averagePool2d, maxPool2d } from '../../lib/ops/pool.js';
import { packSigns, signsToFloat, unpackSigns } from '../../lib/ops/sign.js';
import { Tape, variable } from '../../lib/ops/tape.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { f32, finiteDifferences, gradientsOf, near, numbers } from './numeric.js';
import { outputSize, pool, poolCases } from './windows.js';

const largest = (window: readonly number[]) => Math.max(...window);

describe('pooling', () => {
  for (const c of poolCases) {
    const shape = [c.n, ...c.size, c.channels];
    const count = shape.reduce((a, b) => a * b, 1);
    const [rows, columns] = outputSize({ ...c, dilation: [1, 1] });
    const outputs = c.n * rows * columns * c.channels;
    const { kernel, stride, padding } = c;
    const geometry = { kernel, stride, padding };
    const places = kernel[0] * kernel[1];
    const what = `${shape.join('×')}, window ${kernel.join('×')}, stride ${stride}, padding ${padding}`;

    it(`max of ${what}: f32, integers and bits are exact; the gradient matches finite differences`, () => {
      scope(() => {
        const [x, dy] = [numbers(count, 1), numbers(outputs, 2)];
        const input = variable(f32(shape, x));
        const y = maxPool2d(new Tape(), input, geometry).value;
        expect(y.shape).to.deep.equal([c.n, rows, columns, c.channels]);
        expect([...y.toFloat32Array()]).to.deep.equal([...pool(x, c, largest)]);
        const [dx] = gradientsOf([input], (tape) => maxPool2d(tape, input, geometry), dy);
        near(
          dx!,
          finiteDifferences((at) => pool(at, c, largest), x, dy),
          1e-5,
          'dx',
        );

        for (const [dtype, values] of [
          ['i16', Int16Array.from(x, (v) => 9 * v)],
          ['i32', Int32Array.from(x, (v) => 1e6 * v)],
        ] as const) {
          const integers = variable(Tensor.from(dtype, shape, values));
          const most = maxPool2d(new Tape(), integers, geometry).value;
          expect(most.dtype).to.equal(dtype);
          expect([...most.read()]).to.deep.equal([...pool(values, c, largest)]);
        }

        const bits = variable(packSigns(input.value));
        const or = maxPool2d(new Tape(), bits, geometry).value;
        expect(or.dtype).to.equal('bits');
        const signs = x.map((v) => (v >= 0 ? 1 : -1));
        expect([...unpackSigns(or).toFloat32Array()]).to.deep.equal([...pool(signs, c, largest)]);
      });
    });

    it(`max of ${what}: among equals the first place gets the gradient`, () => {
      scope(() => {
        const signs = numbers(count, 3).map((v) => (v >= 0 ? 1 : -1));
        const dy = numbers(outputs, 4);
        const bits = variable(packSigns(f32(shape, signs)));
        const [dx] = gradientsOf([bits], (tape) => signsToFloat(tape, maxPool2d(tape, bits, geometry)), dy);
        // Falling by less than the distance of two signs: the first of the largest becomes the only one.
        const untied = signs.map((v, i) => v - i / (2 * count));
        near(
          dx!,
          finiteDifferences((at) => pool(at, c, largest), untied, dy, 1e-6),
          1e-5,
          'dx',
        );
      });
    });

    it(`average of ${what} matches finite differences, padding counting as zeros`, () => {
      scope(() => {
        const [x, dy] = [numbers(count, 5), numbers(outputs, 6)];
        const input = variable(f32(shape, x));
        const mean = (window: readonly number[]) => window.reduce((a, b) => a + b, 0) / places;
        near(averagePool2d(new Tape(), input, geometry).value.toFloat32Array(), pool(x, c, mean), 1e-6, 'y');
        const [dx] = gradientsOf([input], (tape) => averagePool2d(tape, input, geometry), dy);
        near(
          dx!,
          finiteDifferences((at) => pool(at, c, mean), x, dy),
          1e-5,
          'dx',
        );
      });
    });
  }
});
