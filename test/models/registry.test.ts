import { createHash } from 'node:crypto';
import { expect } from 'chai';
import {
  createModel,
  describeModel,
  modelNames,
  recipeNames,
  resnet18Layers,
} from '../../lib/models/registry.js';
import { layerShapes } from '../../lib/nn/model.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';

const recipes = [...recipeNames, 'dorefa-w8a8', 'dorefa-w2a3'];

/** SHA-256 of the names and values of all parameters and running statistics, in order. */
function fingerprint(name: string, recipe: string, seed: number): string {
  using model = createModel(name, { inputBits: 2, recipe, seed });
  const hash = createHash('sha256');
  for (const [path, { values }] of model.state()) {
    hash.update(path);
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return hash.digest('hex');
}

describe('the known networks', () => {
  for (const name of modelNames) {
    for (const recipe of recipes) {
      it(`${name} under ${recipe}: the layers fit, and have the recipe's precisions`, () => {
        const spec = describeModel(name, { recipe, inputBits: 3 });
        const products = layerShapes(spec).filter(({ precision }) => precision !== null);
        const [first, ...rest] = products;
        const last = rest.pop();
        const all = recipe === 'bnn' ? 1 : 32;
        expect(first?.precision).to.deep.equal({ weightBits: all, inputBits: 3 });
        const [, k = 1, j = 1] = (/^dorefa-w(\d)a(\d)$/.exec(recipe) ?? []).map(Number);
        const real = ['none', 'bwn', 'ternary'].includes(recipe);
        const weightBits = recipe === 'none' ? 32 : recipe === 'ternary' ? 2 : k;
        const inputBits = real ? 32 : j;
        for (const each of rest) expect(each.precision, each.name).to.deep.equal({ weightBits, inputBits });
        expect(last?.precision).to.deep.equal({
          weightBits: all,
          inputBits: recipe.startsWith('xnor') ? 32 : inputBits,
        });
      });
    }

    it(`${name} pools before batch norm, and puts an activation behind it`, () => {
      for (const recipe of recipes) {
        const types = describeModel(name, { recipe, inputBits: 8 }).layers.map(({ type }) => type);
        types.forEach((type, i) => {
          if (type === 'max-pool')
            expect([types[i - 1], types[i + 1]]).to.deep.equal(['conv2d', 'batch-norm']);
          if (type === 'relu' || type === 'quantize') expect(types[i - 1]).to.equal('batch-norm');
        });
        expect(types.at(-1)).to.equal(recipe === 'bnn' ? 'batch-norm' : 'dense');
      }
    });
  }

  it("mnist-fcn's layers are named as ever", () => {
    const names = (recipe: string) =>
      describeModel('mnist-fcn', { recipe, inputBits: 1 }).layers.map((layer) => layer.name);
    expect(names('none').join(' ')).to.equal(
      'discretizer flatten dense1 batchnorm1 relu1 dense2 batchnorm2 relu2 dense3',
    );
    expect(names('bnn').join(' ')).to.equal(
      'discretizer flatten dense1 batchnorm1 sign1 dense2 batchnorm2 sign2 dense3 batchnorm3',
    );
  });

  it('resnet18 has 19 convolutions besides its first, of 10 shapes, in all 1.69 G multiply-accumulates an image', () => {
    const macs = resnet18Layers.map(({ spec, size, count }) => {
      const [rows, columns] = size.map((pixels, i) => {
        const [before, after] = [spec.padding[2 * i]!, spec.padding[2 * i + 1]!];
        return Math.floor((pixels + before + after - spec.kernel[i]!) / spec.stride[i]!) + 1;
      });
      return count * rows! * columns! * spec.outputs * spec.inputs * spec.kernel[0] * spec.kernel[1];
    });
    expect(resnet18Layers.length).to.equal(10);
    expect(resnet18Layers.reduce((sum, { count }) => sum + count, 0)).to.equal(19);
    // PyTorch's resnet18 has 1.814 G, of which the first convolution takes 118.0 M and the classifier 0.5 M.
    expect(macs.reduce((sum, each) => sum + each, 0)).to.equal(1_814_073_344 - 118_013_952 - 512_000);
    const strided = resnet18Layers.filter(({ spec }) => spec.stride[0] === 2);
    expect(strided.map(({ spec }) => `${spec.kernel[0]}×${spec.kernel[0]} ${spec.outputs}`)).to.deep.equal([
      '3×3 128',
      '1×1 128',
      '3×3 256',
      '1×1 256',
      '3×3 512',
      '1×1 512',
    ]);
  });

  it('a seed fixes the initial weights for good', () => {
    expect(fingerprint('mnist-fcn', 'none', 3)).to.equal(
      '69609b83c5fcc87eeff9a9ed9b91f37718b38d3a46ca58bfc440ad67b4a33b3f',
    );
    expect(fingerprint('mnist-fcn', 'bnn', 3)).to.equal(
      '18efab8820199066fc9a29adb7157da8b5ac79d56c14c2bfdbac2db2003cfa53',
    );
    expect(fingerprint('mnist-fcn', 'none', 12345)).to.equal(
      'f9b05e353f8bd5c3eedb85ebeef239866c09ec241a76edc4b82858f53ef03d78',
    );
    expect(fingerprint('lenet5', 'xnor', 3)).to.not.equal(fingerprint('lenet5', 'xnor', 4));
  });

  for (const name of modelNames) {
    it(`${name} predicts under every recipe, one logit a class`, () => {
      for (const recipe of recipes) {
        using model = createModel(name, { inputBits: 2, recipe, seed: 1 });
        scope(() => {
          const shape = [3, ...model.inputShape];
          const count = shape.reduce((product, size) => product * size, 1);
          const pixels = Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 256) / 255);
          const logits = model.logits(Tensor.from('f32', shape, pixels));
          expect(logits.shape, recipe).to.deep.equal([3, 10]);
          expect(logits.toFloat32Array().every(Number.isFinite), recipe).to.equal(true);
        });
      }
    }).timeout(60_000);
  }

  it('refuses unknown names, and bits and seeds out of range', () => {
    const failing = (name: string, change: object) => () =>
      createModel(name, { inputBits: 2, recipe: 'bnn', seed: 1, ...change });
    expect(failing('lenet', {})).to.throw("did you mean 'lenet5'?");
    expect(failing('lenet5', { recipe: 'xnro' })).to.throw("did you mean 'xnor'?");
    expect(failing('lenet5', { inputBits: 0 })).to.throw('inputBits is 0');
    expect(failing('lenet5', { inputBits: 2.5 })).to.throw('inputBits is 2.5');
    expect(failing('lenet5', { seed: -1 })).to.throw('The seed is -1');
  });
});
