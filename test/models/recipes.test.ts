import { expect } from 'chai';
import fc from 'fast-check';
import { isHardbitError } from '../../lib/errors.js';
import { recipeNames, requireRecipe } from '../../lib/models/registry.js';
import {
  activationQuantizers,
  requireActivationQuantizer,
  requireWeightQuantizer,
} from '../../lib/nn/quantizers.js';

function failure(name: string): Error & { readonly code: string } {
  try {
    requireRecipe(name);
  } catch (error) {
    if (isHardbitError(error)) return error;
    throw error;
  }
  throw new Error(`there is a recipe '${name}'`);
}

describe('recipes', () => {
  it('are found by their names, and name known quantizers', () => {
    for (const name of recipeNames) {
      const recipe = requireRecipe(name);
      expect(recipe.name).to.equal(name);
      for (const weights of [recipe.firstWeights, recipe.hiddenWeights, recipe.lastWeights]) {
        if (weights !== null) expect(requireWeightQuantizer(weights).name).to.equal(weights);
      }
      for (const activations of [recipe.activations, recipe.lastActivations]) {
        if (activations !== null) expect(requireActivationQuantizer(activations).name).to.equal(activations);
      }
    }
  });

  it('keep first and last weights in full precision, except bnn', () => {
    for (const name of recipeNames) {
      const { firstWeights, hiddenWeights, lastWeights } = requireRecipe(name);
      const ends = name === 'bnn' ? 'ste-sign' : null;
      expect([firstWeights, lastWeights], name).to.deep.equal([ends, ends]);
      expect(hiddenWeights === null, name).to.equal(name === 'none');
    }
  });

  it('xnor and its variants differ in the gradient of the weights alone', () => {
    const { name: _, hiddenWeights: paper, ...xnor } = requireRecipe('xnor');
    expect(paper).to.equal('magnitude-sign');
    for (const variant of ['constant', 'chain']) {
      const { name: _, hiddenWeights, ...rest } = requireRecipe(`xnor-${variant}`);
      expect(hiddenWeights).to.equal(`magnitude-sign-${variant}`);
      expect(rest).to.deep.equal(xnor);
    }
  });

  it('dorefa-w<k>a<j> names weights of k and activations of j bits, from 1 to 8', () => {
    for (let k = 1; k <= 8; k++) {
      for (let j = 1; j <= 8; j++) {
        const recipe = requireRecipe(`dorefa-w${k}a${j}`);
        expect(recipe.name).to.equal(`dorefa-w${k}a${j}`);
        expect(requireWeightQuantizer(recipe.hiddenWeights as string).precision).to.equal(k);
        for (const name of [recipe.activations, recipe.lastActivations]) {
          expect(activationQuantizers.find((each) => each.name === name)?.precision).to.equal(j);
        }
      }
    }
  });

  const mistakes: readonly (readonly [string, string])[] = [
    ['bbn', "did you mean 'bnn'?"],
    ['xnor-chian', "did you mean 'xnor-chain'?"],
    ['tern', "There is no recipe 'tern'; known: none, bnn,"],
    ['', 'known: none, bnn,'],
    ['BNN', 'There is no recipe'],
    ['dorfea-w1a2', "did you mean 'dorefa-w1a2'?"],
    ['dorefa', 'dorefa-w<k>a<j>'],
    ['dorefa-w0a2', 'both from 1 to 8'],
    ['dorefa-w1a9', 'both from 1 to 8'],
    ['dorefa-w1a', 'both from 1 to 8'],
    ['dorefa-w1a2 ', 'both from 1 to 8'],
    ['dorefa-w11a2', 'both from 1 to 8'],
  ];
  for (const [name, sentence] of mistakes) {
    it(`there is none '${name}'`, () => {
      const { code, message } = failure(name);
      expect(code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
      expect(message)
        .to.contain(sentence)
        .and.to.match(/^There is no recipe '.*\.$/);
    });
  }

  it('any other text is a coded error', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 20 }), (name) => {
        fc.pre(!recipeNames.includes(name) && !/^dorefa-w[1-8]a[1-8]$/.test(name));
        expect(failure(name).code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
      }),
    );
  });
});
