import { expect } from 'chai';
import {
  createModel,
  describeModel,
  modelNames,
  recipeNames,
  summarizeModel,
} from '../../lib/models/registry.js';

describe('the summary of a network', () => {
  it('counts LeNet-5 as one does by hand', () => {
    const summary = summarizeModel(describeModel('lenet5', { recipe: 'xnor', inputBits: 2 }));
    const rows = Object.fromEntries(
      summary.layers.map(({ name, outputShape, parameters, macs }) => [
        name,
        [outputShape, parameters, macs],
      ]),
    );
    expect(rows).to.deep.include({
      conv1: [[24, 24, 20], 20 * 25, 24 * 24 * 20 * 25],
      pool1: [[12, 12, 20], 0, 0],
      batchnorm1: [[12, 12, 20], 40, 0],
      conv2: [[8, 8, 50], 50 * 25 * 20, 8 * 8 * 50 * 25 * 20],
      pool2: [[4, 4, 50], 0, 0],
      flatten: [[800], 0, 0],
      dense3: [[500], 800 * 500, 800 * 500],
      dense4: [[10], 500 * 10 + 10, 500 * 10],
    });
    const quantized = 50 * 25 * 20 + 800 * 500;
    const norms = 2 * (20 + 50 + 500);
    expect(summary.byPrecision).to.deep.equal([
      { weightBits: 1, inputBits: 1, parameters: quantized, macs: 8 * 8 * 25000 + 400_000 },
      { weightBits: 32, inputBits: 2, parameters: 500, macs: 288_000 },
      { weightBits: 32, inputBits: 32, parameters: 5010, macs: 5000 },
      { weightBits: 32, inputBits: null, parameters: norms, macs: 0 },
    ]);
    expect(summary.parameters).to.equal(quantized + 500 + 5010 + norms);
    expect(summary.macs).to.equal(8 * 8 * 25000 + 400_000 + 288_000 + 5000);
    expect(summary.weightBytes).to.equal(quantized / 8 + 4 * (500 + 5010 + norms));
    expect(summary.floatBytes).to.equal(4 * summary.parameters);
  });

  it('counts vgg-small as one does by hand', () => {
    const summary = summarizeModel(describeModel('vgg-small', { recipe: 'bnn', inputBits: 2 }));
    const convolutions = [
      [1024, 3, 128],
      [1024, 128, 128],
      [256, 128, 256],
      [256, 256, 256],
      [64, 256, 512],
      [64, 512, 512],
    ].map(([pixels, inputs, outputs]) => [pixels!, 9 * inputs! * outputs!] as const);
    const dense = 8192 * 1024 + 1024 * 1024 + 1024 * 10;
    const weights = convolutions.reduce((sum, [, size]) => sum + size, dense);
    expect(summary.macs).to.equal(convolutions.reduce((sum, [n, size]) => sum + n * size, dense));
    expect(summary.macs).to.equal(616_966_144);
    const norms = 2 * (2 * 128 + 2 * 256 + 2 * 512 + 2 * 1024 + 10);
    expect(summary.parameters).to.equal(weights + norms);
    expect(summary.layers.find(({ type }) => type === 'flatten')?.inputShape).to.deep.equal([4, 4, 512]);
    expect(summary.weightBytes).to.equal(weights / 8 + 4 * norms);
  });

  it('counts residual blocks once, their layers one deeper', () => {
    const conv = (name: string, outputs: number, size: number) => ({
      type: 'conv2d' as const,
      name,
      inputs: 2,
      outputs,
      kernel: [size, size] as const,
      stride: [1, 1] as const,
      dilation: [1, 1] as const,
      padding: [size >> 1, size >> 1, size >> 1, size >> 1] as const,
      paddingValue: 'zero' as const,
      groups: 1,
      bias: true,
      weightQuantizer: null,
    });
    const summary = summarizeModel({
      model: 'tiny',
      recipe: 'none',
      inputShape: [4, 4, 2],
      classes: 32,
      inputBits: 8,
      layers: [
        { type: 'discretizer', name: 'discretizer', bits: 8 },
        { type: 'residual', name: 'block', body: [conv('a', 2, 3)], shortcut: [conv('b', 2, 1)] },
        { type: 'flatten', name: 'flatten' },
      ],
    });
    expect(summary.layers.map(({ name, depth }) => [name, depth])).to.deep.equal([
      ['discretizer', 0],
      ['block', 0],
      ['a', 1],
      ['b', 1],
      ['flatten', 0],
    ]);
    expect(summary.parameters).to.equal(2 * 18 + 2 + (2 * 2 + 2));
    expect(summary.macs).to.equal(16 * (2 * 18 + 2 * 2));
  });

  for (const name of modelNames) {
    it(`${name}: counts the parameters that the network has, and its totals add up`, () => {
      for (const recipe of recipeNames) {
        const options = { recipe, inputBits: 4 };
        const summary = summarizeModel(describeModel(name, options));
        using model = createModel(name, { ...options, seed: 1 });
        expect(summary.parameters, recipe).to.equal(model.parameterCount());
        const { byPrecision } = summary;
        expect(byPrecision.reduce((sum, each) => sum + each.parameters, 0)).to.equal(summary.parameters);
        expect(byPrecision.reduce((sum, each) => sum + each.macs, 0)).to.equal(summary.macs);
        expect(summary.weightBytes).to.equal(
          byPrecision.reduce((sum, each) => sum + (each.parameters * each.weightBits) / 8, 0),
        );
      }
    });
  }
});
