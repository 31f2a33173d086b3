import { expect } from 'chai';
import { recipeText } from '../../lib/study/results.js';

describe('words', () => {
  it('calls recipes what the field calls them', () => {
    const names = ['none', 'bnn', 'bwn', 'xnor', 'xnor-chain', 'xnor-constant', 'ternary', 'dorefa-w1a2'];
    expect(names.map(recipeText)).to.deep.equal([
      'full precision',
      'BNN',
      'BWN',
      'XNOR',
      'XNOR (chain rule)',
      'XNOR (constant α)',
      'ternary',
      'DoReFa w1a2',
    ]);
  });
});
