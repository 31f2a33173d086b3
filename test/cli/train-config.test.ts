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
    expect(
      parse(
        'dataset: idx:digits\noptimizer: {name: bop, gamma: 0.001, other: {learningRate: 0.01}}\n' +
          'schedule:\n  name: step\n  everyEpochs: 2\n  factor: 0.5\nweightDecay: 0.1\nvalidationSplit: 0.1\n' +
          'earlyStopping: 3\nearlyStoppingMetric: accuracy\nminDelta: 0.01\naverage: 0.99\nflipRatio: true\n' +
          'gradientArithmetic: int8\n' +
          'adversarial: pgd\nsteps: 7\nstepSize: 2/255\nrandomStart: false\nsourceModel: [a, b]\n',
      ),
    ).to.deep.equal({
      dataset: 'idx:digits',
      optimizer: { name: 'bop', gamma: 0.001, other: { learningRate: 0.01 } },
      schedule: { name: 'step', everyEpochs: 2, factor: 0.5 },
      weightDecay: 0.1,
      validationSplit: 0.1,
      earlyStopping: 3,
      earlyStoppingMetric: 'accuracy',
      minDelta: 0.01,
      average: 0.99,
      flipRatio: true,
      gradientArithmetic: 'int8',
      adversarial: 'pgd',
      steps: 7,
      stepSize: 2 / 255,
      randomStart: false,
      sourceModel: ['a', 'b'],
    });
    expect(parse('sourceModel: a')).to.deep.equal({ sourceModel: 'a' });
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
    [
      'schedule: {name: step, factor: 2}',
      'factor of the schedule step is 2; expected a number above 0 and at most 1.',
    ],
    ['schedule: 3', 'expected the name of a schedule, or its name and settings'],
    ['seed: 1\noptimizer: {name: sgd, beta1: 1}', 'line 2, column 12: optimizer is'],
    ['optimizer: {name: bop, gamma: 7}', 'gamma is 7; expected a number from 0 to 1'],
    ['dataset: mnits', "did you mean 'mnist'"],
    ['validationSplit: 1', 'expected a fraction above 0 and below 1'],
    ['average: 1', 'expected a number from 0 up to, but below, 1'],
    ['flipRatio: yes please', 'expected true or false'],
    ['gradientArithmetic: int16', "did you mean 'int8'"],
    ['sourceModel: []', 'sourceModel is []'],
    ['earlyStoppingMetric: los', "did you mean 'loss'"],
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
