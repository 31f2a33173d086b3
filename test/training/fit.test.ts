import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { createDataset, toFloatImages } from '../../lib/data/dataset.js';
import { createModel, loadModel, saveModel } from '../../lib/models/registry.js';
import { adam, sgd } from '../../lib/optim/optimizer.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { type FitOptions, fit } from '../../lib/training/fit.js';
import { tinyDigits } from '../support/tiny-data.js';

const options: FitOptions = { epochs: 2, batchSize: 32, seed: 3 };

/** Trains a fresh network and returns its model file. */
async function trained(dir: string, recipe: string, extra: Partial<FitOptions> = {}): Promise<Buffer> {
  const data = tinyDigits(200);
  const model = createModel('mnist-fcn', { inputBits: 2, recipe, seed: 7 });
  try {
    await fit(model, data, { ...options, ...extra });
    const path = join(dir, 'model.safetensors');
    saveModel(model, path);
    return readFileSync(path);
  } finally {
    model.dispose();
    data.dispose();
  }
}

async function failure(promise: Promise<unknown>): Promise<{ code?: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    return error as { code?: string; message: string };
  }
  throw new Error('expected a failure');
}

describe('fit', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'hardbit-fit-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  for (const recipe of ['none', 'bnn']) {
    it(`learns a simple task (${recipe})`, async () => {
      const data = tinyDigits(600);
      const test = tinyDigits(200, 9);
      const model = createModel('mnist-fcn', { inputBits: 4, recipe, seed: 1 });
      const { history } = await fit(model, data, { ...options, epochs: 3, validation: test });
      expect(history).to.have.length(3);
      expect(history[2]?.loss).to.be.lessThan(history[0]?.loss as number);
      expect(history[2]?.validationAccuracy).to.be.greaterThan(0.9);
      for (const each of [model, data, test]) each.dispose();
    });

    it(`one seed gives one file, another seed another (${recipe})`, async () => {
      const first = await trained(dir, recipe);
      expect((await trained(dir, recipe)).equals(first)).to.equal(true);
      expect((await trained(dir, recipe, { seed: 4 })).equals(first)).to.equal(false);
    });

    for (const adversarial of [undefined, { attack: 'r-fgsm', epsilon: 0.2, mix: 0.5 }] as const) {
      it(`stopped anywhere and resumed, it equals an uninterrupted run (${recipe}, ${adversarial?.attack ?? 'natural'})`, async () => {
        const whole = await trained(dir, recipe, { adversarial });
        for (const stopAt of [1, 6, 7, 10, 13]) {
          const checkpoint = { path: join(dir, `checkpoint-${stopAt}`), everySteps: 3 };
          const controller = new AbortController();
          let steps = 0;
          const error = await failure(
            trained(dir, recipe, {
              adversarial,
              checkpoint,
              signal: controller.signal,
              onProgress: () => {
                steps += 1;
                if (steps === stopAt) controller.abort();
              },
            }),
          );
          expect(error.code).to.equal('ERR_HARDBIT_ABORTED');
          const resumed = await trained(dir, recipe, { adversarial, checkpoint, resume: true });
          expect(resumed.equals(whole), `stopped at step ${stopAt}`).to.equal(true);
        }
      });
    }
  }

  it('sgd with momentum trains too, and its moments survive a resume', async () => {
    const optimizer = sgd({ learningRate: 0.05, momentum: 0.9, nesterov: true, weightDecay: 1e-4 });
    const whole = await trained(dir, 'none', { optimizer, schedule: 'cosine' });
    const checkpoint = { path: join(dir, 'checkpoint'), everySteps: 1 };
    const controller = new AbortController();
    await failure(
      trained(dir, 'none', {
        optimizer,
        schedule: 'cosine',
        checkpoint,
        signal: controller.signal,
        onProgress: (p) => p.step === 4 && controller.abort(),
      }),
    );
    expect(
      (await trained(dir, 'none', { optimizer, schedule: 'cosine', checkpoint, resume: true })).equals(whole),
    ).to.equal(true);
  });

  it('latent binary weights stay in [−1, 1]', async () => {
    const data = tinyDigits(64);
    const model = createModel('mnist-fcn', { inputBits: 1, recipe: 'bnn', seed: 1 });
    await fit(model, data, { ...options, optimizer: adam({ learningRate: 5 }) });
    for (const [name, { values }] of model.state()) {
      if (name.endsWith('.weight'))
        expect(
          values.every((v) => Math.abs(v) <= 1),
          name,
        ).to.equal(true);
    }
    model.dispose();
    data.dispose();
  });

  it('leaves no tensor behind, whatever happens', async () => {
    const before = memoryInfo().liveTensors;
    await trained(dir, 'bnn', { adversarial: { attack: 'pgd', epsilon: 0.1, steps: 2, mix: 0.5 } });
    expect(memoryInfo().liveTensors).to.be.at.most(before);
    await failure(
      trained(dir, 'none', {
        onProgress: () => {
          throw new Error('from the outside');
        },
      }),
    );
    expect(memoryInfo().liveTensors).to.be.at.most(before);
  });

  it('refuses a checkpoint of another training, a damaged one, and options out of range', async () => {
    const checkpoint = { path: join(dir, 'checkpoint'), everySteps: 1 };
    await trained(dir, 'none', { checkpoint });
    expect((await failure(trained(dir, 'none', { checkpoint, resume: true, seed: 99 }))).code).to.equal(
      'ERR_HARDBIT_RESUME',
    );
    expect((await failure(trained(dir, 'none', { resume: true }))).code).to.equal('ERR_HARDBIT_ARGUMENT');
    expect((await failure(trained(dir, 'none', { epochs: 0 }))).code).to.equal('ERR_HARDBIT_ARGUMENT');
    expect((await failure(trained(dir, 'none', { batchSize: 1 }))).code).to.equal('ERR_HARDBIT_ARGUMENT');
    expect(
      (await failure(trained(dir, 'none', { adversarial: { attack: 'fgsm', epsilon: 0.1, mix: 0 } }))).code,
    ).to.equal('ERR_HARDBIT_ARGUMENT');
    const unknown = await failure(
      trained(dir, 'none', { adversarial: { attack: 'fgms', epsilon: 0.1, mix: 0.5 } }),
    );
    expect(unknown.code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
    expect(unknown.message).to.include("'fgsm'");
  });

  it('a single leftover example joins the batch before it', async () => {
    const data = tinyDigits(65);
    const model = createModel('mnist-fcn', { inputBits: 2, recipe: 'none', seed: 1 });
    const steps: number[] = [];
    await fit(model, data, { epochs: 1, batchSize: 32, seed: 1, onProgress: (p) => steps.push(p.steps) });
    expect(steps).to.deep.equal([2, 2]);
    model.dispose();
    data.dispose();
  });
});

describe('model files', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'hardbit-model-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  for (const recipe of ['none', 'bnn']) {
    it(`a loaded network gives the same logits (${recipe})`, async () => {
      const data = tinyDigits(64);
      const model = createModel('mnist-fcn', { inputBits: 4, recipe, seed: 5 });
      await fit(model, data, options);
      const path = join(dir, 'model.safetensors');
      saveModel(model, path, { epochs: 2 });
      const loaded = loadModel(path);
      scope(() => {
        const images = toFloatImages(data.images);
        expect([...loaded.logits(images).toFloat32Array()]).to.deep.equal([
          ...model.logits(images).toFloat32Array(),
        ]);
      });
      const again = join(dir, 'again.safetensors');
      saveModel(loaded, again, { epochs: 2 });
      expect(readFileSync(again).equals(readFileSync(path))).to.equal(true);
      for (const each of [model, loaded, data]) each.dispose();
    });
  }

  it('pixels that are NaN or outside [0, 1] are an error, not a prediction', () => {
    const model = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 1 });
    for (const wrong of [Number.NaN, -0.01, 1.01]) {
      scope(() => {
        const images = Tensor.from(
          'f32',
          [1, 28, 28, 1],
          new Float32Array(784).fill(0.5, 1).fill(wrong, 0, 1),
        );
        for (const use of [() => model.logits(images), () => model.predict(images)]) {
          expect(use).to.throw('1 pixels').with.property('code', 'ERR_HARDBIT_PIXELS');
        }
        const labels = Tensor.from('i32', [1]);
        expect(() => createDataset('own', 10, images, labels))
          .to.throw("1 pixels of 'own'")
          .with.property('code', 'ERR_HARDBIT_PIXELS');
      });
    }
    model.dispose();
  });

  it('an unknown model, recipe or bit depth is named in the error', () => {
    const create = (name: string, recipe: string, inputBits: number) => () =>
      createModel(name, { recipe, inputBits, seed: 1 });
    expect(create('mnist-fnc', 'none', 2)).to.throw("did you mean 'mnist-fcn'");
    expect(create('mnist-fcn', 'bn', 2)).to.throw("did you mean 'bnn'");
    expect(create('mnist-fcn', 'none', 9)).to.throw('from 1 to 8');
  });
});
