import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import { z } from 'zod';
import { parseTrainConfig, readTrainConfig } from '../lib/cli/train-config.js';
import { createDataset } from '../lib/data/dataset.js';
import { type ErrorCode, isHardbitError } from '../lib/errors.js';
import { sha256 } from '../lib/files.js';
import { createModel, loadModel, saveModel } from '../lib/models/registry.js';
import { Model, type ModelSpec } from '../lib/nn/model.js';
import { readStudy } from '../lib/report/write-report.js';
import { StudyStore } from '../lib/study/store.js';
import { decodeSafetensors, encodeSafetensors } from '../lib/tensor/safetensors.js';
import { Tensor } from '../lib/tensor/tensor.js';
import { fit } from '../lib/training/fit.js';
import { sampleExamples, sampleResults } from './report/sample-results.js';
import { Draws, jsonTokens, mutateBytes, mutateJson } from './support/mutate.js';

/** No reader takes a tenth of this over one of the small files here, in ms, on a machine that is not busy. */
const LONGEST = 5000;

/** Builtins that a file's keys could reach. */
const prototypes = [Object.prototype, Array.prototype, Function.prototype, String.prototype];
const ownKeys = () => prototypes.map((prototype) => Reflect.ownKeys(prototype).map(String).join());
const untouched = ownKeys();

/** A JSON value without own keys named `__proto__`, which no reader looks at. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, each]) => (key === '__proto__' ? [] : [[key, plain(each)]])),
  );
}

/**
 * Runs a reader on damaged input. It may succeed or throw one of `codes` in one line; another error, a long wait or a
 * changed prototype fails the test.
 */
async function meets<T>(read: () => T | Promise<T>, codes: readonly ErrorCode[]): Promise<T | undefined> {
  const begin = performance.now();
  try {
    return await read();
  } catch (error) {
    if (!isHardbitError(error)) throw error;
    expect(codes, error.message).to.include(error.code);
    expect(error.message).to.match(/^\S.*\.$/);
    // None may reach a terminal.
    expect(error.message).to.not.match(/\p{Cc}/u);
    return undefined;
  } finally {
    expect(performance.now() - begin).to.be.lessThan(LONGEST);
    expect(ownKeys()).to.deep.equal(untouched);
  }
}

/** Damaged copies of a JSON text, half of them damaged in their bytes and half in their values. */
function* damaged(json: string, count: number, seed: number): Generator<string> {
  const draws = new Draws(seed);
  for (let i = 0; i < count; i++) {
    const text = i % 2 === 0 ? mutateJson(json, draws) : mutateBytes(Buffer.from(json), draws, jsonTokens);
    yield text.toString('utf8');
  }
}

/** What a study's folder belongs to. */
const head = {
  dataset: 'mnist',
  preset: 'quick',
  seeds: 1,
  shard: { index: 1, count: 1 },
  plan: 'abc',
};

/** Calls `body` for each of `inputs`, and says which one it failed on. */
async function forEachInput<T>(inputs: Iterable<T>, body: (input: T) => Promise<void>): Promise<void> {
  for (const input of inputs) {
    try {
      await body(input);
    } catch (error) {
      throw new Error(`on ${JSON.stringify(String(input)).slice(0, 4000)}: ${String(error)}`, {
        cause: error,
      });
    }
  }
}

/** mnist-fcn with images of 2×2 pixels and narrow layers. */
function tinySpec(recipe: string): ModelSpec {
  using model = createModel('mnist-fcn', { inputBits: 2, recipe, seed: 1 });
  const narrow: Readonly<Record<string, string>> = { 784: '4', 600: '3', 400: '3', 28: '2' };
  const text = JSON.stringify(model.spec).replace(/\b(784|600|400|28)\b/g, (size) => narrow[size] as string);
  return JSON.parse(text) as ModelSpec;
}

/** The safetensors file with another text under a metadata key. */
function withMetadata(file: Uint8Array, key: string, text: string): Uint8Array {
  return encodeSafetensors(decodeSafetensors(file, 'x').tensors, { [key]: text });
}

describe('damaged files', function () {
  this.timeout(60_000);
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-damaged-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  describe('a training configuration', () => {
    const config =
      'model: mnist-fcn\ndataset: mnist\nbits: 2\nrecipe: bnn\nepochs: 3\nbatchSize: 64 # of each step\noptimizer: sgd\n' +
      'learningRate: 0.05\nschedule: cosine\nseed: 7\nadversarial: fgsm\nepsilon: 51/255\nmix: 0.5\nout: "model.safetensors"\n';
    const tokens = [
      ...[
        '&a ',
        '*a',
        '!!set ',
        '!!omap ',
        '!!binary ',
        '!!js/function ',
        '!x ',
        '<<: *a\n',
        '? ',
        '- ',
        ': ',
        '|\n',
      ],
      ...[
        '>-\n ',
        '{',
        '}',
        '[',
        ']',
        '"',
        "'",
        '#',
        '%YAML 1.1\n---\n',
        '---\n',
        '...\n',
        '\t',
        '\n',
        '\r',
        '\0',
        '\u2028',
      ],
      ...[
        '.nan',
        '.inf',
        '-.inf',
        '1e999',
        '0x1p3',
        '0o17',
        '9007199254740993',
        '-1',
        '~',
        'null',
        'yes',
        '2001-01-01',
      ],
      ...[
        '__proto__: ',
        'constructor: ',
        'toString: ',
        'epochs: ',
        '[&a [*a]]',
        'a: &a [*a]\n',
        '\uFEFF',
        '\x1b[31m',
      ],
      ...[
        '['.repeat(30_000),
        '{a: '.repeat(15_000),
        '- '.repeat(30_000),
        '? '.repeat(30_000),
        'x'.repeat(70_000),
      ],
    ];

    it('is read as it stands, or refused with its place', async () => {
      const draws = new Draws(1);
      const path = join(folder, 'train.yaml');
      let accepted = 0;
      const inputs = Array.from({ length: 1500 }, () => mutateBytes(Buffer.from(config), draws, tokens));
      await forEachInput(inputs, async (bytes) => {
        writeFileSync(path, bytes);
        const read = await meets(() => readTrainConfig(path), ['ERR_HARDBIT_CONFIG']);
        if (read === undefined) return;
        accepted++;
        expect(Object.getPrototypeOf(read)).to.equal(Object.prototype);
        expect(parseTrainConfig(stringify(read), 'again')).to.deep.equal(read);
        // Whatever follows a key on its line is its value; an unknown word is never passed over.
        for (const key of Object.keys(read)) expect(bytes.toString('utf8')).to.contain(key);
      });
      expect(accepted).to.be.within(50, 1450);
    });

    for (const [name, text] of [
      ['nested lists', '['.repeat(60_000)],
      ['nested maps', '{a: '.repeat(16_000)],
      ['nested list items', '- '.repeat(30_000)],
      ['nested lists as a value', `epochs: ${'['.repeat(30_000)}${']'.repeat(30_000)}`],
      ['a list that holds itself', 'epochs: &a [*a]'],
      ['a map that holds itself', '&a\nepochs: *a'],
      [
        'aliases that multiply',
        'a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b]',
      ],
      ['a set', '!!set {epochs}'],
      ['an ordered map', '!!omap [epochs: 3]'],
      ['binary data', '!!binary aGFyZGJpdA=='],
      ['a tag nobody knows', 'out: !!js/function x'],
      ['a prototype', '__proto__: {epochs: 3}'],
      ['an escape sequence', '"\\x1b[31m": 1'],
      ['a megabyte', `# ${'x'.repeat(1 << 20)}`],
    ] as const) {
      it(`is refused where it is ${name}`, async () => {
        expect(await meets(() => parseTrainConfig(text, 'train.yaml'), ['ERR_HARDBIT_CONFIG'])).to.equal(
          undefined,
        );
      });
    }
  });

  for (const recipe of ['none', 'bnn']) {
    it(`a model's metadata is read as it stands, or refused (${recipe})`, async () => {
      const path = join(folder, 'model.safetensors');
      {
        using model = new Model(tinySpec(recipe), 5);
        saveModel(model, path, { epochs: 3 });
      }
      const file = readFileSync(path);
      const header = decodeSafetensors(file, path).metadata['hardbit'] as string;
      let accepted = 0;
      await forEachInput(damaged(header, 800, 2), async (text) => {
        writeFileSync(path, withMetadata(file, 'hardbit', text));
        const read = await meets(() => {
          using model = loadModel(path);
          return { ...model.spec, seed: model.seed };
        }, ['ERR_HARDBIT_FORMAT', 'ERR_HARDBIT_UNSUPPORTED', 'ERR_HARDBIT_UNKNOWN_NAME']);
        if (read === undefined) return;
        accepted++;
        const { format: _format, library: _library, training: _training, ...said } = JSON.parse(text);
        expect(plain(read)).to.deep.equal(plain(said));
      });
      expect(accepted).to.be.within(20, 780);
    });
  }

  it("a checkpoint's position is gone on from, or refused", async () => {
    const path = join(folder, 'run.checkpoint');
    const images = Tensor.from(
      'u8',
      [12, 2, 2, 1],
      Uint8Array.from({ length: 48 }, (_, i) => 5 * i),
    );
    const labels = Tensor.from(
      'i32',
      [12],
      Int32Array.from({ length: 12 }, (_, i) => i % 10),
    );
    const data = createDataset('tiny', 10, images, labels);
    const train = async (resume: boolean) => {
      using model = new Model(tinySpec('bnn'), 5);
      const { history } = await fit(model, data, {
        epochs: 2,
        batchSize: 4,
        seed: 3,
        resume,
        checkpoint: { path, everySteps: 2 },
      });
      return history;
    };
    await train(false);
    const file = readFileSync(path);
    const header = decodeSafetensors(file, path).metadata['hardbit-checkpoint'] as string;
    let accepted = 0;
    await forEachInput(damaged(header, 300, 3), async (text) => {
      writeFileSync(path, withMetadata(file, 'hardbit-checkpoint', text));
      const history = await meets(() => train(true), ['ERR_HARDBIT_FORMAT', 'ERR_HARDBIT_RESUME']);
      if (history !== undefined) accepted++;
    });
    expect(accepted).to.be.within(10, 290);
    data.dispose();
  });

  it("a study's kept file is read as it stands, or counts as absent", async () => {
    const schema = z.strictObject({
      record: z.strictObject({ id: z.string(), n: z.number().int(), twin: z.boolean(), loss: z.number() }),
      list: z.array(z.strictObject({ network: z.string(), epsilon: z.number() })),
      correct: z.string(),
    });
    const content = {
      record: { id: 'a', n: 10, twin: false, loss: 0.25 },
      list: [
        { network: 'a', epsilon: 0.1 },
        { network: 'b', epsilon: 0.2 },
      ],
      correct: 'AAE=',
    };
    const store = StudyStore.open(folder, head, false);
    store.write('cells/a.json', schema, content);
    const path = store.path('cells', 'a.json');
    const text = readFileSync(path, 'utf8');

    await forEachInput(damaged(text, 600, 4), async (changed) => {
      writeFileSync(path, changed);
      const read = await meets(() => store.read('cells/a.json', schema), []);
      if (read !== null) expect(read).to.deep.equal(content);
    });
    // With the hash of what it holds, it is a matter of the schema alone.
    let accepted = 0;
    await forEachInput(damaged(JSON.stringify(content), 600, 5), async (changed) => {
      let value: unknown;
      try {
        value = JSON.parse(changed);
        writeFileSync(
          path,
          `{"sha256":"${sha256(Buffer.from(JSON.stringify(value)))}","content":${changed}}`,
        );
      } catch {
        return;
      }
      const read = await meets(() => store.read('cells/a.json', schema), []);
      if (read === null) return;
      accepted++;
      expect(plain(read)).to.deep.equal(plain(value));
    });
    expect(accepted).to.be.within(10, 490);
    store.close();
  });

  it('a study is continued by its own plan, or refused', async () => {
    StudyStore.open(folder, head, false).close();
    const path = join(folder, 'study.json');
    await forEachInput(damaged(readFileSync(path, 'utf8'), 200, 6), async (text) => {
      writeFileSync(path, text);
      const store = await meets(() => StudyStore.open(folder, head, true), ['ERR_HARDBIT_RESUME']);
      if (store === undefined) return;
      store.close();
      expect(JSON.parse(text)).to.include({ schema: 'hardbit/study', plan: 'abc' });
    });
  });

  for (const name of ['results.json', 'examples.json']) {
    it(`the report's ${name} is read as it stands, or refused`, async () => {
      const results = sampleResults({ inputBits: [8], epsilons: [0.1], recipes: ['none'] });
      const files: Readonly<Record<string, unknown>> = {
        'results.json': results,
        'examples.json': sampleExamples(results, 1),
      };
      for (const [file, value] of Object.entries(files))
        writeFileSync(join(folder, file), JSON.stringify(value));
      let accepted = 0;
      await forEachInput(damaged(JSON.stringify(files[name]), 500, 7), async (text) => {
        writeFileSync(join(folder, name), text);
        const read = await meets(() => readStudy(folder), ['ERR_HARDBIT_FORMAT']);
        if (read === undefined) return;
        accepted++;
        const part = name === 'results.json' ? read.results : read.examples;
        expect(plain(part)).to.deep.equal(plain(JSON.parse(text)));
      });
      expect(accepted).to.be.within(10, 490);
    });
  }
});
