import { expect } from 'chai';
import fc from 'fast-check';
import { type LayerShape, layerSizes, validMacs } from '../../lib/bench/operations.js';

/** Goes through every output, channel and tap. */
function counted({ height, width, inputs, outputs, kernel, stride, padding }: LayerShape): number {
  let macs = 0;
  for (let y = -padding; y + kernel <= height + padding; y += stride) {
    for (let x = -padding; x + kernel <= width + padding; x += stride) {
      for (let a = y; a < y + kernel; a++) {
        for (let b = x; b < x + kernel; b++) {
          if (a >= 0 && a < height && b >= 0 && b < width) macs += inputs * outputs;
        }
      }
    }
  }
  return macs;
}

describe('operations of a layer', () => {
  it('are those of taps inside the image', () => {
    const shape = { height: 8, width: 8, inputs: 512, outputs: 512, kernel: 3, stride: 1, padding: 1 };
    expect(validMacs(shape)).to.equal(512 * 512 * 22 * 22);
    // Padding is 16 % of this layer's taps.
    expect(1 - (22 * 22) / (8 * 8 * 9)).to.be.within(0.159, 0.16);
  });

  it('are what a count over every tap gives', () => {
    const sizes = fc.record({
      height: fc.integer({ min: 1, max: 9 }),
      width: fc.integer({ min: 1, max: 9 }),
      inputs: fc.integer({ min: 1, max: 3 }),
      outputs: fc.integer({ min: 1, max: 3 }),
      kernel: fc.integer({ min: 1, max: 5 }),
      stride: fc.integer({ min: 1, max: 3 }),
      padding: fc.integer({ min: 0, max: 4 }),
    });
    const possible = ({ height, width, kernel, padding }: LayerShape) =>
      padding < kernel && kernel <= Math.min(height, width) + 2 * padding;
    fc.assert(
      fc.property(sizes.filter(possible), (shape) => {
        expect(validMacs(shape)).to.equal(counted(shape));
      }),
    );
  });

  it('passes the sizes on in the order of the native core', () => {
    const shape = { height: 1, width: 2, inputs: 3, outputs: 4, kernel: 5, stride: 6, padding: 7 };
    expect(layerSizes(shape, 8)).to.deep.equal([8, 1, 2, 3, 4, 5, 6, 7]);
  });
});
