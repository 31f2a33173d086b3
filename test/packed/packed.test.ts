import { execFileSync } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { compileModel } from '../../lib/compile/compile.js';
import { describeModel, Model, type ModelSpec, modelNames } from '../../lib/models/registry.js';
import { packedAddon } from '../../lib/packed/addon.js';
import { PackedNetwork, packedInfo, poolStatistics } from '../../lib/packed/packed.js';
import { oddNetworks } from '../compile/networks.js';
import { byteImages, expectSameIntegers, generator, pixels, unkindModel } from '../support/deployable.js';
import { failure, mayFail, rejection } from '../support/failure.js';
import { HbitFile } from '../support/hbit-interpreter.js';

const recipes = ['bnn', 'xnor', 'xnor-constant', 'xnor-chain'];

/** The odd networks on images of other depths. */
function ofBits(spec: ModelSpec, inputBits: number): ModelSpec {
  const [, ...layers] = spec.layers;
  return {
    ...spec,
    inputBits,
    layers: [{ type: 'discretizer', name: 'discretizer', bits: inputBits }, ...layers],
  };
}

/** Logits and classes of the training graph and of the deployed network, asynchronous and not, are the same numbers. */
async function expectEqual(spec: ModelSpec, seed: number, count: number): Promise<void> {
  using model = unkindModel(spec, seed);
  const file = compileModel(model);
  using network = PackedNetwork.loadSync(file);
  const images = byteImages(spec, count, seed + 7);
  using x = pixels(spec, images);
  using expectedLogits = model.logits(x);
  using expectedClasses = model.predict(x);
  const logits = [...expectedLogits.toFloat32Array()];
  const classes = [...expectedClasses.toInt32Array()];
  for (const found of [network.predictSync(images), await network.predict(images)]) {
    expect([...found.logits]).to.deep.equal(logits);
    expect([...found.classes]).to.deep.equal(classes);
  }
}

/** The sums inside of the engine are those of the file, as the interpreter has them, and so of the training graph. */
function expectIntegersOfFile(spec: ModelSpec, seed: number): void {
  using model = unkindModel(spec, seed);
  const bytes = compileModel(model);
  const file = new HbitFile(bytes);
  const handle = packedAddon().load(bytes);
  const size = spec.inputShape.reduce((a, b) => a * b, 1);
  for (const i of [1, 2, 3]) {
    const image = byteImages(spec, 4, seed).subarray(i * size, (i + 1) * size);
    const { sums } = file.run(image);
    file.layers.forEach(({ name, binary }, layer) => {
      if (binary) expect([...handle.integers(image, layer)], name).to.deep.equal([...(sums.get(name) ?? [])]);
    });
  }
  handle.dispose();
}

/** The sums inside of the engine are those of the training graph, but for the sign of negated channels. */
function expectIntegersOfGraph(spec: ModelSpec, seed: number): void {
  using model = unkindModel(spec, seed);
  const handle = packedAddon().load(compileModel(model));
  const image = byteImages(spec, 3, seed).subarray(2 * spec.inputShape.reduce((a, b) => a * b, 1));
  using x = pixels(spec, image);
  const integers = model.integerPreactivations(x);
  for (const [layer, { name, product, convolved }] of handle.info().layers.entries()) {
    if (product === 'float') continue;
    expectSameIntegers(handle.integers(image, layer), integers.get(name) as Int32Array, convolved[2]);
  }
  handle.dispose();
}

describe('hardbit/packed', function () {
  this.timeout(60_000);
  let folder: string;
  let file: Uint8Array;
  let path: string;
  let images: Uint8Array;
  const size = 784;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-packed-'));
    const spec = describeModel('lenet5', { recipe: 'bnn', inputBits: 2 });
    using model = unkindModel(spec, 1);
    file = compileModel(model);
    path = join(folder, 'net.hbit');
    writeFileSync(path, file);
    images = byteImages(spec, 50, 3);
  });
  after(() => rmSync(folder, { recursive: true }));

  describe('gives the numbers of the training graph', () => {
    for (const [recipe, inputBits] of [
      ['bnn', 2],
      ['xnor', 8],
    ] as const) {
      it(`vgg-small, ${recipe}, inputs of ${inputBits} bits; the integers inside too`, async () => {
        const spec = describeModel('vgg-small', { recipe, inputBits });
        await expectEqual(spec, 1, 5);
        expectIntegersOfGraph(spec, 2);
      });
    }
    for (const name of modelNames.filter((each) => each !== 'vgg-small')) {
      for (const recipe of recipes) {
        it(`${name}, ${recipe}, inputs of 1, 2, 4 and 8 bits`, async () => {
          for (const inputBits of [1, 2, 4, 8]) {
            await expectEqual(describeModel(name, { recipe, inputBits }), inputBits, 33);
          }
        });
      }
      it(`${name}: the integers inside are those of the file`, () => {
        for (const inputBits of [1, 8]) {
          expectIntegersOfFile(describeModel(name, { recipe: 'bnn', inputBits }), inputBits);
        }
        expectIntegersOfFile(describeModel(name, { recipe: 'xnor', inputBits: 2 }), 5);
      });
    }
    for (const [what, spec] of Object.entries(oddNetworks)) {
      it(what, async () => {
        for (let inputBits = 1; inputBits <= 8; inputBits++) {
          await expectEqual(ofBits(spec, inputBits), inputBits, 17);
          expectIntegersOfFile(ofBits(spec, inputBits), inputBits);
        }
      });
    }
  });

  describe('a network', () => {
    it('is loaded from a path or from bytes, and says what it is', async () => {
      using fromPath = await PackedNetwork.load(path);
      using fromBytes = PackedNetwork.loadSync(Buffer.from(file));
      for (const network of [fromPath, fromBytes]) {
        expect(network.inputShape).to.deep.equal([28, 28, 1]);
        expect([network.classes, network.inputBits, network.model, network.recipe]).to.deep.equal([
          10,
          2,
          'lenet5',
          'bnn',
        ]);
        expect(network.hash).to.equal(Buffer.from(file.subarray(24, 56)).toString('hex'));
        expect(network.layers.map(({ name, out }) => [name, out])).to.deep.equal([
          ['conv1', [12, 12, 20]],
          ['conv2', [4, 4, 50]],
          ['dense3', [1, 1, 500]],
          ['dense4', [1, 1, 10]],
        ]);
        expect(network.layers[0]?.multiplyAccumulates).to.equal(24 * 24 * 25 * 20);
        expect(network.byteLength).to.be.above((800 * 500) / 8);
      }
    });

    it('does not care what happens to its bytes afterwards', () => {
      const bytes = Uint8Array.from(file);
      using network = PackedNetwork.loadSync(bytes);
      using untouched = PackedNetwork.loadSync(file);
      bytes.fill(0);
      expect([...network.predictSync(images).logits]).to.deep.equal([
        ...untouched.predictSync(images).logits,
      ]);
    });

    it('is of no use once it is disposed of; predictions under way are finished', async () => {
      const network = PackedNetwork.loadSync(file);
      const expected = [...network.predictSync(images).classes];
      const running = network.predict(images);
      network.dispose();
      network.dispose();
      expect([...(await running).classes]).to.deep.equal(expected);
      expect(failure(() => network.predictSync(images)).code).to.equal('ERR_HARDBIT_DISPOSED');
      expect((await rejection(network.predict(images))).code).to.equal('ERR_HARDBIT_DISPOSED');
      expect(network.classes).to.equal(10);
    });
  });

  describe('a file that is none', () => {
    it('is refused however it is cut off', () => {
      for (let length = 0; length < file.length; length += 1 + Math.floor(length / 7)) {
        expect(failure(() => PackedNetwork.loadSync(file.subarray(0, length))).code).to.equal(
          'ERR_HARDBIT_FORMAT',
        );
      }
      const longer = Uint8Array.from([...file, 0]);
      expect(failure(() => PackedNetwork.loadSync(longer)).code).to.equal('ERR_HARDBIT_FORMAT');
    });

    it('is refused whichever byte is changed', () => {
      const next = generator(9);
      for (let i = 0; i < 300; i++) {
        const damaged = Uint8Array.from(file);
        const at = i < 64 ? i : Math.floor(next() * file.length);
        damaged[at] = (damaged[at] as number) ^ (1 << Math.floor(next() * 8));
        const error = mayFail(() => PackedNetwork.loadSync(damaged));
        expect(error, `byte ${at}`).to.equal(undefined);
      }
    });

    it('is named in the error, with the reason', async () => {
      const wrong = join(folder, 'wrong.hbit');
      writeFileSync(wrong, 'no network');
      const error = await rejection(PackedNetwork.load(wrong));
      expect(error.code).to.equal('ERR_HARDBIT_FORMAT');
      expect(error.message).to.include('wrong.hbit');
      const missing = await rejection(PackedNetwork.load(join(folder, 'none.hbit')));
      expect(missing.code).to.equal('ERR_HARDBIT_READ');
      expect(missing.message).to.include('none.hbit');
      expect((await rejection(PackedNetwork.load(folder))).code).to.equal('ERR_HARDBIT_READ');
      expect((await rejection(PackedNetwork.load(7 as never))).code).to.equal('ERR_HARDBIT_DTYPE');
    });
  });

  describe('predict()', () => {
    let network: PackedNetwork;
    let expected: number[];
    before(() => {
      network = PackedNetwork.loadSync(file);
      expected = [...network.predictSync(images).logits];
    });
    after(() => network.dispose());
    const image = (i: number) => images.subarray(i * size, (i + 1) * size);

    it('fifty at once, of one and of many images, each gives its own', async () => {
      const found = await Promise.all(
        Array.from({ length: 50 }, (_, i) => network.predict(i % 5 === 0 ? images : image(i))),
      );
      found.forEach(({ logits, classes }, i) => {
        const own = i % 5 === 0 ? expected : expected.slice(10 * i, 10 * (i + 1));
        expect([...logits]).to.deep.equal(own);
        expect(classes).to.have.length(own.length / 10);
      });
    });

    it('copies the images before it returns, and leaves the event loop free', async () => {
      // A busy machine may give this thread no time during a short prediction: then a longer one tells.
      for (let count = 2000, turns = 0; turns <= 3; count *= 2) {
        expect(count, 'images without a turn of the event loop').to.be.below(100_000);
        const many = new Uint8Array(count * size);
        for (let i = 0; i < count; i++) many.set(image(i % 50), i * size);
        turns = 0;
        let done = false;
        const prediction = network.predict(many).finally(() => {
          done = true;
        });
        many.fill(255);
        while (!done) {
          await nextTurn();
          turns++;
        }
        const { logits } = await prediction;
        expect([...logits.subarray(0, 500)]).to.deep.equal(expected);
        expect([...logits.subarray(-500)]).to.deep.equal(expected);
      }
    });

    it('writes the logits where it is told', async () => {
      const logits = new Float32Array(500);
      const found = await network.predict(images, { logits });
      expect(found.logits).to.equal(logits);
      expect([...logits]).to.deep.equal(expected);
      expect(network.predictSync(image(0), { logits: logits.subarray(0, 10) }).logits.buffer).to.equal(
        logits.buffer,
      );
    });

    it('of no image gives nothing', async () => {
      const none = new Uint8Array(0);
      for (const { classes, logits } of [network.predictSync(none), await network.predict(none)]) {
        expect([classes.length, logits.length]).to.deep.equal([0, 0]);
      }
    });

    it('takes views into larger arrays, and Buffers', async () => {
      const buffer = Buffer.concat([Buffer.of(1, 2, 3), images, Buffer.of(4)]);
      const { logits } = await network.predict(buffer.subarray(3, 3 + images.length));
      expect([...logits]).to.deep.equal(expected);
    });

    it('refuses what does not fit, with a sentence that says what does', async () => {
      const wrong = async (...values: unknown[]) => {
        const loose = network.predict.bind(network) as (...values: unknown[]) => Promise<unknown>;
        const error = await rejection(loose(...values));
        const loosely = network.predictSync.bind(network) as (...values: unknown[]) => unknown;
        expect(failure(() => loosely(...values)).message).to.equal(error.message);
        return `${error.code} ${error.message}`;
      };
      expect(await wrong(images.subarray(1))).to.equal(
        'ERR_HARDBIT_SHAPE The images have 39199 bytes; expected a multiple of 784, images of 28×28×1 bytes.',
      );
      expect(await wrong(new Float32Array(size))).to.equal(
        'ERR_HARDBIT_DTYPE The images are a Float32Array; expected a Uint8Array.',
      );
      expect(await wrong(undefined)).to.match(/^ERR_HARDBIT_DTYPE The images are undefined/);
      expect(await wrong(image(0), { logits: new Float32Array(9) })).to.equal(
        'ERR_HARDBIT_SHAPE The array for the logits has 9 numbers; expected 10, 10 an image.',
      );
      expect(await wrong(image(0), { logits: new Float64Array(10) })).to.match(
        /^ERR_HARDBIT_DTYPE The logits are/,
      );
    });

    it('rejects with the reason of its signal, before, in the queue and under way', async () => {
      const reason = new Error('the client went away');
      const caught = (promise: Promise<unknown>) =>
        promise.then(
          () => null,
          (error: unknown) => error,
        );
      expect(await caught(network.predict(images, { signal: AbortSignal.abort(reason) }))).to.equal(reason);

      const before = poolStatistics();
      // As above: a short prediction may be over before this thread has aborted anything.
      for (let count = 4000; poolStatistics().cancelled === before.cancelled; count *= 2) {
        expect(count, 'images of predictions that were not cancelled').to.be.below(100_000);
        const many = new Uint8Array(count * size);
        const blocker = network.predict(many);
        const controllers = Array.from({ length: 20 }, () => new AbortController());
        const waiting = controllers.map(({ signal }) => caught(network.predict(image(0), { signal })));
        const under = new AbortController();
        const large = caught(network.predict(many, { signal: under.signal }));
        for (const controller of controllers) controller.abort(reason);
        under.abort(reason);
        expect(await Promise.all([...waiting, large])).to.deep.equal(Array(21).fill(reason));
        await blocker;
        expect(poolStatistics().queued).to.equal(0);
      }
    });

    it('an abort afterwards changes nothing, and no listener stays behind', async () => {
      const controller = new AbortController();
      const { logits } = await network.predict(images, { signal: controller.signal });
      controller.abort();
      expect([...logits]).to.deep.equal(expected);
      const signal = new AbortController().signal;
      await Promise.all(Array.from({ length: 5 }, () => network.predict(image(0), { signal })));
      expect(EventEmitter.getEventListeners(signal, 'abort')).to.have.length(0);
    });
  });

  it('works in worker threads, which share the weights; one that ends in the middle harms nobody', async () => {
    using network = PackedNetwork.loadSync(file);
    const expected = [...network.predictSync(images).logits];
    const run = (leaves: boolean) =>
      new Promise<unknown>((resolve, reject) => {
        const worker = new Worker(new URL('../support/packed-worker.mjs', import.meta.url), {
          workerData: { path, images, leaves },
        });
        let answer: unknown = null;
        worker.on('message', (message) => {
          answer = message;
        });
        worker.on('error', reject);
        worker.on('exit', () => resolve(answer));
      });
    const answers = await Promise.all([run(false), run(true), run(false), run(true)]);
    expect(answers).to.deep.equal([Array(8).fill(expected), null, Array(8).fill(expected), null]);
    expect([...(await network.predict(images)).logits]).to.deep.equal(expected);
  });

  it('does not depend on the instruction set or the number of threads', () => {
    const spec = describeModel('lenet5', { recipe: 'xnor', inputBits: 8 });
    using model = unkindModel(spec, 2);
    const bytes = compileModel(model);
    const edges = join(folder, 'edges.hbit');
    writeFileSync(edges, bytes);
    const pixelsPath = join(folder, 'images');
    writeFileSync(pixelsPath, images);
    const script = `
      import { readFileSync } from 'node:fs';
      import { PackedNetwork, packedInfo } from './lib/packed/packed.ts';
      const [images, ...files] = process.argv.slice(1);
      const logits = files.map((file) => [...PackedNetwork.loadSync(file).predictSync(readFileSync(images)).logits]);
      console.log(JSON.stringify({ isa: packedInfo().isa, threads: packedInfo().threads, logits }));
    `;
    const expected = [bytes, file].map((each) => {
      using network = PackedNetwork.loadSync(each);
      return [...network.predictSync(images).logits];
    });
    const runs = packedInfo().isasAvailable.map((isa, i) => [isa, 1 + (i % 3)] as const);
    expect(runs.map(([isa]) => isa)).to.include('generic');
    for (const [isa, threads] of runs) {
      const output = execFileSync(
        process.execPath,
        ['--import', 'tsx', '--input-type=module', '-e', script, pixelsPath, edges, path],
        { encoding: 'utf8', env: { ...process.env, HARDBIT_ISA: isa, HARDBIT_NUM_THREADS: String(threads) } },
      );
      expect(JSON.parse(output)).to.deep.equal({ isa, threads, logits: expected });
    }
  });

  it('imports nothing of the training side', () => {
    const script = `
      import { PackedNetwork } from './lib/packed/packed.ts';
      const network = PackedNetwork.loadSync(process.argv[1]);
      network.predictSync(new Uint8Array(784));
      const maps = (await import('node:fs')).readFileSync('/proc/self/maps', 'utf8');
      console.log(JSON.stringify({
        own: maps.includes('hardbit_packed.node'),
        core: maps.includes('hardbit.node'),
        oneDnn: maps.includes('libdnnl'),
        openMp: maps.includes('libgomp'),
      }));
    `;
    const output = execFileSync(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '-e', script, path],
      { encoding: 'utf8' },
    );
    expect(JSON.parse(output)).to.deep.equal({ own: true, core: false, oneDnn: false, openMp: false });
  });

  it('says that the engine has not been built, and the cure', () => {
    const script = `
      import('./lib/packed/packed.ts').then(({ PackedNetwork }) => PackedNetwork.load('x'))
        .catch(({ code, message }) => console.log(code, message));
    `;
    const run = (variable: string) =>
      execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
        encoding: 'utf8',
        env: { ...process.env, HARDBIT_PACKED_ADDON: variable },
      });
    expect(run('/nowhere/hardbit_packed.node')).to.match(
      /^ERR_HARDBIT_NOT_BUILT The engine of deployed networks at HARDBIT_PACKED_ADDON=\/nowhere.* no such file; correct the path or unset it\.$/m,
    );
  });

  it('an untrained network with the same bytes has the same hash, and another another', () => {
    const bytes = (seed: number) => {
      using model = new Model(describeModel('mnist-fcn', { recipe: 'bnn', inputBits: 1 }), seed);
      return compileModel(model);
    };
    const hash = (seed: number) => {
      using network = PackedNetwork.loadSync(bytes(seed));
      return network.hash;
    };
    expect(hash(1)).to.equal(hash(1)).and.not.equal(hash(2));
  });
});
