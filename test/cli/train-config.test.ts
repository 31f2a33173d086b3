import { expect } from 'chai';
import fc from 'fast-check';
import { parseTrainConfig } from '../../lib/cli/train-config.js';
import { isHardbitError } from '../../lib/errors.js';

const parse = (source: string) => parseTrainConfig(source, 'train.yaml');

describe('the YAML of a training', () => {
  it('gives the settings, all of them optional', () => {
    expect(parse('')).to.deep.equal({});
    expect(parse('# nothing\n')).to.deep.equal({});
    expect(
      parse(
        'model: mnist-fcn\ndataset: mnist\nbits: 2\nrecipe: bnn\nepochs: 3\nbatchSize: 64\noptimizer: sgd\n' +
          'learningRate: 0.05\nschedule: cosine\nseed: 7\nadversarial: fgsm\nepsilon: 51/255\nmix: 0.5\n' +
          'out: model.safetensors\ncheckpoint: c\n',
      ),
    ).to.deep.equal({
      model: 'mnist-fcn',
      dataset: 'mnist',
      bits: 2,
      recipe: 'bnn',
      epochs: 3,
      batchSize: 64,
      optimizer: 'sgd',
      learningRate: 0.05,
      schedule: 'cosine',
      seed: 7,
      adversarial: 'fgsm',
      epsilon: 0.2,
      mix: 0.5,
      out: 'model.safetensors',
      checkpoint: 'c',
    });
    expect(parse('epsilon: 0.1')).to.deep.equal({ epsilon: 0.1 });
  });

  const wrong: readonly (readonly [string, string])[] = [
    [
      'bits: 2\nepochs: three\n',
      'train.yaml, line 2, column 9: epochs is "three": expected a whole number of at least 1.',
    ],
    ['bits: 9', 'line 1, column 7: bits is 9: expected a whole number from 1 to 8.'],
    ['bits: 2.5', 'bits is 2.5: expected a whole number from 1 to 8.'],
    ['seed: 1\nbatchsize: 3', "line 2, column 1: There is no key 'batchsize'; did you mean 'batchSize'?"],
    ['recipe: bbn', "line 1, column 9: recipe is \"bbn\": There is no recipe 'bbn'; did you mean 'bnn'?"],
    ['epsilon: 8', 'line 1, column 10: epsilon is 8: epsilon is 8; expected a number in [0, 1]'],
    ['epsilon: -0.1', 'epsilon is -0.1'],
    ['mix: 0', 'expected a fraction above 0 and at most 1'],
    ['learningRate: .nan', 'expected a number above 0'],
    ['epochs:', 'epochs is null: expected a whole number'],
    ['out: 3', 'out is 3: expected a path.'],
    ['epochs: 1\nepochs: 2', 'line 2, column 1: this is not YAML: Map keys must be unique'],
    ['epochs: [1', 'this is not YAML'],
    ['- epochs', "expected lines such as 'epochs: 3'"],
    ['just text', "expected lines such as 'epochs: 3'"],
    ['epochs: x\nbits: y\nfrob: 1', 'line 1, column 9: epochs is "x"'],
  ];
  for (const [source, sentence] of wrong) {
    it(`says where it is wrong: ${JSON.stringify(source)}`, () => {
      expect(() => parse(source))
        .to.throw(sentence)
        .with.property('code', 'ERR_HARDBIT_CONFIG');
    });
  }

  it('answers any text with settings or that error', () => {
    const line = fc.tuple(
      fc.constantFrom('bits', 'epochs', 'epsilon', 'out', 'x', '? a', '&a', '*a', '!!int', '{'),
      fc.string(),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(line).map((lines) => lines.map((each) => each.join(': ')).join('\n')),
        ),
        (source) => {
          try {
            parse(source);
          } catch (error) {
            if (!isHardbitError(error) || error.code !== 'ERR_HARDBIT_CONFIG') throw error;
            expect(error.message).to.not.contain('\n');
          }
        },
      ),
      { numRuns: 300, examples: [['? a: #']] },
    );
  });
});
