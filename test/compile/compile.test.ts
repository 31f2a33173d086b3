import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { compile, compileModel } from '../../lib/compile/compile.js';
import { sha256 } from '../../lib/files.js';
import {
  createModel,
  describeModel,
  loadModel,
  Model,
  type ModelSpec,
  modelNames,
  recipeNames,
  saveModel,
} from '../../lib/models/registry.js';
import { deploymentOf } from '../../lib/nn/deployment.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { byteImages, expectSameIntegers, pixels, unkindModel } from '../support/deployable.js';
import { failure } from '../support/failure.js';
import { HbitFile } from '../support/hbit-interpreter.js';
import { oddNetworks, undeployable } from './networks.js';

/** vgg-small takes the interpreter minutes; test/packed compares it with the engine. */
const networks = modelNames.filter((name) => name !== 'vgg-small');
const deployableRecipes = ['bnn', 'xnor', 'xnor-constant', 'xnor-chain'];

/** The file, run by the interpreter, gives the logits and the integers of the training graph. */
function expectEqual(spec: ModelSpec, seed: number, count: number): void {
  using model = unkindModel(spec, seed);
  const file = new HbitFile(compileModel(model));
  const images = byteImages(spec, count, seed + 7);
  using x = pixels(spec, images);
  using logits = model.logits(x);
  const expected = logits.toFloat32Array();
  const integers = model.integerPreactivations(x);
  const size = images.length / count;
  for (let i = 0; i < count; i++) {
    const { logits: actual, sums } = file.run(images.subarray(i * size, (i + 1) * size));
    expect([...actual]).to.deep.equal([...expected.subarray(i * spec.classes, (i + 1) * spec.classes)]);
    expect([...sums.keys()]).to.deep.equal([...integers.keys()]);
    for (const [layer, found] of sums) {
      const all = integers.get(layer) as Int32Array;
      const each = all.length / count;
      const { m } = file.layers.find(({ name }) => name === layer) as { m: number };
      expectSameIntegers(found, all.subarray(i * each, (i + 1) * each), m);
    }
  }
}

describe('compile', function () {
  this.timeout(60_000);
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-compile-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  for (const name of networks) {
    for (const recipe of deployableRecipes) {
      it(`${name}, ${recipe}: logits and integers are those of the training graph`, () => {
        for (const inputBits of [1, 2, 4, 8]) {
          expectEqual(describeModel(name, { recipe, inputBits }), inputBits, 3);
        }
      });
    }
  }

  for (const [what, spec] of Object.entries(oddNetworks)) {
    it(`${what}: logits and integers are those of the training graph`, () => {
      for (let seed = 0; seed < 8; seed++) {
        const inputBits = [2, 1, 8, 3][seed % 4] as number;
        const [, ...layers] = spec.layers;
        const discretizer = { type: 'discretizer', name: 'discretizer', bits: inputBits } as const;
        expectEqual({ ...spec, inputBits, layers: [discretizer, ...layers] }, seed, 8);
      }
    });
  }

  it('a pre-activation at its threshold is +1, behind a full-precision layer too', () => {
    const spec = describeModel('lenet5', { recipe: 'xnor', inputBits: 8 });
    using model = new Model(spec, 1);
    const image = byteImages(spec, 3, 5).subarray(2 * 784);
    // The first layer's values, found where batch norm hands them on; its means are then set to them.
    const state = new Map([...model.state()].map(([name, { values }]) => [name, values]));
    const weight = state.get('conv1.weight') as Float32Array;
    const means = Float32Array.from({ length: 20 }, (_, c) => {
      let largest = -Infinity;
      for (const [row, column] of [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
      ] as const) {
        let sum = 0;
        for (let a = 0; a < 5; a++) {
          for (let b = 0; b < 5; b++) {
            const code = image[(row + a) * 28 + column + b] as number;
            const product = Math.fround(Math.fround(code / 255) * (weight[c * 25 + a * 5 + b] as number));
            sum = Math.fround(sum + product);
          }
        }
        largest = Math.max(largest, sum);
      }
      return largest;
    });
    state.set('batchnorm1.runningMean', means);
    state.set('batchnorm1.beta', new Float32Array(20));
    model.loadState(state);
    const file = compileModel(model);
    using x = pixels(spec, image);
    using logits = model.logits(x);
    const { logits: actual } = new HbitFile(file).run(image);
    expect([...actual]).to.deep.equal([...logits.toFloat32Array()]);
  });

  it('equal networks give equal bytes, whatever came before, and loaded ones the same', () => {
    const options = { recipe: 'bnn', inputBits: 2, seed: 3 };
    using first = createModel('lenet5', options);
    using second = createModel('lenet5', options);
    const bytes = compileModel(first);
    expect(sha256(compileModel(second))).to.equal(sha256(bytes));
    const path = join(folder, 'equal.safetensors');
    saveModel(first, path);
    using loaded = loadModel(path);
    expect(sha256(compileModel(loaded))).to.equal(sha256(bytes));
    using other = createModel('lenet5', { ...options, seed: 4 });
    expect(sha256(compileModel(other))).not.to.equal(sha256(bytes));
  });

  it('holds a bit a weight: a thirtieth of the floats, and names that inform', () => {
    using model = createModel('mnist-fcn', { recipe: 'bnn', inputBits: 2, seed: 3 });
    const bytes = compileModel(model);
    const floats = 4 * (784 * 600 + 600 * 400 + 400 * 10);
    expect(bytes.length).to.be.below(floats / 28);
    const file = new HbitFile(bytes);
    expect([file.model, file.recipe, file.layers.map(({ name }) => name)]).to.deep.equal([
      'mnist-fcn',
      'bnn',
      ['dense1', 'dense2', 'dense3'],
    ]);
  });

  it('writes names of other scripts and lengths as printable ASCII', () => {
    const spec = {
      ...(oddNetworks['one layer'] as ModelSpec),
      model: `ネット ${'x'.repeat(40)}`,
      recipe: '',
    };
    using model = new Model(spec, 1);
    const file = new HbitFile(compileModel(model));
    expect(file.model).to.equal(`??? ${'x'.repeat(27)}`);
    expect(file.recipe).to.equal('?');
  });

  it('each recipe either compiles or is refused with the first layer that cannot be deployed', () => {
    const verdicts = recipeNames.map((recipe) => {
      const { layers } = deploymentOf(describeModel('lenet5', { recipe, inputBits: 2 }));
      return layers === null ? null : recipe;
    });
    expect(verdicts.filter((recipe) => recipe !== null)).to.deep.equal(deployableRecipes);
    const refused = (recipe: string) => {
      using model = createModel('lenet5', { recipe, inputBits: 2, seed: 1 });
      const error = failure(() => compileModel(model));
      expect(error.code).to.equal('ERR_HARDBIT_UNSUPPORTED');
      return error.message;
    };
    expect(refused('none')).to.match(/^Layer 'conv2' cannot be deployed: it has full-precision weights/);
    expect(refused('bwn')).to.match(
      /^Layer 'conv2' cannot be deployed: it has binary weights on real inputs/,
    );
    expect(refused('ternary')).to.match(/^Layer 'conv2' cannot be deployed: it has weights of 2 planes/);
    expect(refused('dorefa-w1a2')).to.match(
      /^Layer 'quantize1' cannot be deployed: it makes codes of 2 bits/,
    );
  });

  for (const [spec, sentence] of undeployable) {
    it(`refuses what cannot be deployed: ${sentence.source.slice(1, 60)}`, () => {
      using model = new Model(spec, 1);
      const error = failure(() => compileModel(model));
      expect(error.code).to.equal('ERR_HARDBIT_UNSUPPORTED');
      expect(error.message).to.match(sentence);
    });
  }

  it('refuses numbers that are not finite, by layer and tensor', () => {
    const refused = (recipe: string, name: string, value: number) => {
      using model = createModel('mnist-fcn', { recipe, inputBits: 1, seed: 1 });
      const state = new Map([...model.state()].map(([path, { values }]) => [path, values]));
      (state.get(name) as Float32Array)[3] = value;
      model.loadState(state);
      const error = failure(() => compileModel(model));
      expect(error.code).to.equal('ERR_HARDBIT_ARGUMENT');
      return error.message;
    };
    expect(refused('bnn', 'batchnorm1.runningMean', Number.NaN)).to.equal(
      "Layer 'batchnorm1' cannot be deployed: its runningMean holds NaN, not a finite number.",
    );
    expect(refused('xnor', 'dense1.weight', Number.POSITIVE_INFINITY)).to.match(
      /^Layer 'dense1'.*weight holds Inf/,
    );
    expect(refused('bnn', 'batchnorm2.runningVariance', -1)).to.match(
      /^Layer 'batchnorm2' cannot be deployed: gamma \/ sqrt\(variance \+ epsilon\) of channel 3 is -?nan/,
    );
    expect(refused('bnn', 'batchnorm3.runningVariance', -1)).to.match(
      /^Layer 'batchnorm3' cannot be deployed/,
    );
  });

  it('refuses what the format has no room for', () => {
    const layers = Array.from(
      { length: 257 },
      (_, i) =>
        [
          {
            type: 'dense',
            name: `d${i}`,
            inputs: i === 0 ? 72 : 3,
            outputs: 3,
            bias: false,
            weightQuantizer: 'ste-sign',
          },
          { type: 'quantize', name: `s${i}`, quantizer: 'ste-sign' },
        ] as const,
    ).flat();
    const base = oddNetworks['one layer'] as ModelSpec;
    using deep = new Model({ ...base, layers: [...base.layers.slice(0, 2), ...layers.slice(0, -1)] }, 1);
    expect(failure(() => compileModel(deep)).message).to.match(
      /it has 257 layers with weights; expected 1 to 256/,
    );
  });

  it('writes the file at once or not at all, and leaves nothing behind', () => {
    using model = createModel('mnist-fcn', { recipe: 'bnn', inputBits: 1, seed: 1 });
    const path = join(folder, 'net.hbit');
    writeFileSync(path, 'old');
    const { layers, ...compiled } = compile(model, path);
    const bytes = readFileSync(path);
    const hash = sha256(bytes.subarray(56));
    expect(compiled).to.deep.equal({ path, byteLength: bytes.length, hash });
    expect(layers[1]).to.deep.equal({
      name: 'dense2',
      weights: 'bits',
      input: 'signs',
      result: 'signs',
      inputShape: [1, 1, 600],
      outputShape: [1, 1, 400],
      weightCount: 600 * 400,
    });
    expect(sha256(readFileSync(path))).to.equal(sha256(compileModel(model)));
    expect(failure(() => compile(model, join(folder, 'none', 'net.hbit'))).code).to.equal(
      'ERR_HARDBIT_WRITE',
    );
    using float = createModel('mnist-fcn', { recipe: 'none', inputBits: 1, seed: 1 });
    expect(failure(() => compile(float, path)).code).to.equal('ERR_HARDBIT_UNSUPPORTED');
    expect(sha256(readFileSync(path))).to.equal(sha256(compileModel(model)));
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).to.deep.equal([]);
  });

  it('frees all that it made', () => {
    using model = createModel('lenet5', { recipe: 'xnor', inputBits: 2, seed: 1 });
    compileModel(model);
    const before = memoryInfo().liveTensors;
    compileModel(model);
    expect(memoryInfo().liveTensors).to.equal(before);
  });
});
