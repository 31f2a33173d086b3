import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { decodeNpy, encodeNpy } from '../../lib/data/npy.js';
import { createModel, saveModel } from '../../lib/models/registry.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { random } from '../study/helpers.js';
import { hardbit } from './helpers.js';

describe('the commands', function () {
  this.timeout(300_000);
  let folder: string;
  let model: string;
  let images: string;
  let labels: string;
  const n = 7;
  const at = (name: string) => join(folder, name);

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-cli-'));
    model = at('model.safetensors');
    images = at('x.npy');
    labels = at('y.npy');
    using network = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 3 });
    saveModel(network, model);
    const next = random(5);
    writeFileSync(
      images,
      encodeNpy({ dtype: 'f32', shape: [n, 784], data: Float32Array.from({ length: n * 784 }, next) }),
    );
    writeFileSync(
      labels,
      encodeNpy({ dtype: 'i32', shape: [n], data: Int32Array.from({ length: n }, (_, i) => i) }),
    );
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('predict writes the logits of the library and one class a line', async () => {
    const { code, stdout } = await hardbit(['predict', model, '--images', images, '--logits', at('out.npy')]);
    expect(code).to.equal(0);
    const logits = decodeNpy(readFileSync(at('out.npy')), 'out.npy');
    expect(logits.shape).to.deep.equal([n, 10]);
    using network = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 3 });
    using x = Tensor.from(
      'f32',
      [n, 28, 28, 1],
      decodeNpy(readFileSync(images), 'x.npy').data as Float32Array,
    );
    using expected = network.logits(x);
    expect([...logits.data]).to.deep.equal([...expected.toFloat32Array()]);
    using classes = network.predict(x);
    expect(stdout).to.equal(`${[...classes.toInt32Array()].join('\n')}\n`);
    const json = await hardbit(['predict', model, '--images', images, '--json']);
    expect(JSON.parse(json.stdout)).to.deep.equal({
      n,
      classes: 10,
      predictions: [...classes.toInt32Array()],
      logits: null,
    });
  });

  it('attack writes images inside the ball, the same ones each time', async () => {
    const args = [
      'attack',
      model,
      '--images',
      images,
      '--labels',
      labels,
      '--attack',
      'pgd',
      '--epsilon',
      '8/255',
      '--steps',
      '3',
    ];
    const first = await hardbit([...args, '--out', at('adv.npy'), '--json']);
    expect(first.code, first.stderr).to.equal(0);
    expect(JSON.parse(first.stdout)).to.deep.include({ n, threatModel: 'white-box', seed: 0 });
    expect(JSON.parse(first.stdout)).to.not.have.any.keys(
      'cleanCorrect',
      'adversarialCorrect',
      'adversarial',
    );
    const adversarial = decodeNpy(readFileSync(at('adv.npy')), 'adv.npy');
    expect([adversarial.dtype, adversarial.shape]).to.deep.equal(['f32', [n, 28, 28, 1]]);
    const clean = decodeNpy(readFileSync(images), 'x.npy').data as Float32Array;
    const epsilon = Math.fround(8 / 255);
    adversarial.data.forEach((x, i) => {
      const low = Math.max(0, Math.fround((clean[i] as number) - epsilon));
      const high = Math.min(1, Math.fround((clean[i] as number) + epsilon));
      expect(x).to.be.within(low, high);
    });
    await hardbit([...args, '--out', at('again.npy')]);
    expect(readFileSync(at('again.npy')).equals(readFileSync(at('adv.npy')))).to.equal(true);
    await hardbit([...args, '--no-random-start', '--step-size', '1/255', '--out', at('other.npy')]);
    expect(readFileSync(at('other.npy')).equals(readFileSync(at('adv.npy')))).to.equal(false);
  });

  it('attack reaches for targets, and reports how many it reached', async () => {
    const { code, stdout, stderr } = await hardbit([
      ...['attack', model, '--images', images, '--labels', labels, '--targets', labels, '--attack', 'fgsm'],
      ...['--epsilon', '0.3', '--out', at('targeted.npy'), '--json'],
    ]);
    expect(code, stderr).to.equal(0);
    expect((JSON.parse(stdout) as { targetSuccess: number }).targetSuccess).to.be.within(0, 1);
  });

  it('attack refuses bad arrays with a coded sentence and writes nothing', async () => {
    const bad = at('bad.npy');
    const tryWith = async (data: Uint8Array, labelFile = labels) => {
      writeFileSync(bad, data);
      return hardbit([
        'attack',
        model,
        '--images',
        bad,
        '--labels',
        labelFile,
        '--attack',
        'fgsm',
        '--epsilon',
        '0.1',
        '--out',
        at('none.npy'),
      ]);
    };
    const pixels = (value: number) =>
      encodeNpy({ dtype: 'f32', shape: [1, 784], data: new Float32Array(784).fill(value) });
    expect((await tryWith(pixels(Number.NaN))).stderr).to.contain('[ERR_HARDBIT_PIXELS]');
    expect((await tryWith(pixels(255))).stderr).to.contain('[ERR_HARDBIT_PIXELS]');
    expect((await tryWith(readFileSync(images).subarray(0, 900))).stderr).to.contain('[ERR_HARDBIT_FORMAT]');
    expect((await tryWith(pixels(0.5))).stderr).to.contain('ERR_HARDBIT_');
    writeFileSync(at('wrong-labels.npy'), encodeNpy({ dtype: 'i32', shape: [1], data: Int32Array.of(10) }));
    expect((await tryWith(pixels(0.5), at('wrong-labels.npy'))).stderr).to.contain('[ERR_HARDBIT_LABELS]');
    expect(existsSync(at('none.npy'))).to.equal(false);
    const cut = at('cut.safetensors');
    writeFileSync(cut, readFileSync(model).subarray(0, 1000));
    const { code, stderr } = await hardbit(['predict', cut, '--images', images]);
    expect([code, stderr.match(/\[(.*)\]/)?.[1]]).to.deep.equal([1, 'ERR_HARDBIT_FORMAT']);
    const unwritable = await hardbit([
      'predict',
      model,
      '--images',
      images,
      '--logits',
      '/nonexistent/out.npy',
    ]);
    expect([unwritable.code, unwritable.stdout]).to.deep.equal([1, '']);
    expect(unwritable.stderr).to.contain('[ERR_HARDBIT_WRITE]');
  });

  it('evaluate measures MNIST in every gradient mode asked for', async () => {
    const { code, stdout, stderr } = await hardbit([
      ...[
        'evaluate',
        model,
        '--dataset',
        'mnist',
        '--attack',
        'pgd',
        '--epsilon',
        '0.1,51/255',
        '--steps',
        '2',
      ],
      ...['--gradient', 'discretizer=identity,sign=approx', '--limit', '50', '--json'],
    ]);
    expect(code, stderr).to.equal(0);
    const answer = JSON.parse(stdout) as { clean: { n: number }; attacks: Record<string, unknown>[] };
    expect(answer.clean.n).to.equal(50);
    expect(answer.attacks.map(({ epsilon }) => epsilon)).to.deep.equal([0.1, 0.2]);
    for (const attack of answer.attacks) {
      expect(attack['gradientMode']).to.deep.equal({ discretizer: 'identity', sign: 'approx' });
      expect(attack['attack']).to.deep.include({ name: 'pgd', steps: 2, randomStart: true });
    }
    const all = await hardbit([
      'evaluate',
      model,
      '--attack',
      'fgsm',
      '--epsilon',
      '0.1',
      '--gradient',
      'all',
      '--limit',
      '20',
    ]);
    expect(all.stdout.match(/discretizer identity, sign (clipped|identity|approx|swish)/g)).to.have.length(4);
    expect(all.stdout).to.contain('worst, image by image');
    expect(all.stdout).to.contain('White-box, n = 20, seed 0.');
  });

  it('train stops at Ctrl-C with what it did kept, and resumes', async () => {
    const out = at('trained.safetensors');
    const checkpoint = at('training.checkpoint');
    const config = at('train.yaml');
    writeFileSync(
      config,
      'bits: 2\nrecipe: bnn\nepochs: 50\nbatchSize: 1000\n' +
        // Slow steps, so that the signal comes in the midst of them.
        'adversarial: pgd\nepsilon: 0.1\nsteps: 10\n',
    );
    const args = ['train', '--config', config, '--epochs', '1', '--out', out, '--checkpoint', checkpoint];
    const interrupt = (delay: number) =>
      hardbit(args, { onStart: (child) => setTimeout(() => child.kill('SIGINT'), delay) });
    let stopped = await interrupt(2500);
    // A busy machine had not even started the command: the signal ended it (no code).
    for (let delay = 5000; stopped.code === null && delay <= 20_000; delay *= 2)
      stopped = await interrupt(delay);
    if (stopped.code !== 0) {
      expect(stopped.code, stopped.stderr).to.equal(130);
      expect(stopped.stderr).to.match(/^hardbit: Interrupted: .*--resume.* \[ERR_HARDBIT_ABORTED\]\n$/);
      expect(existsSync(out)).to.equal(false);
    }
    const { code, stdout, stderr } = await hardbit([...args, '--resume', '--json']);
    expect(code, stderr).to.equal(0);
    const answer = JSON.parse(stdout) as {
      bits: number;
      epochs: number;
      history: unknown[];
      clean: { n: number };
    };
    expect(answer).to.deep.include({ bits: 2, recipe: 'bnn', epochs: 1, batchSize: 1000, out });
    expect([answer.history.length, answer.clean.n]).to.deep.equal([1, 10_000]);
    expect(existsSync(out)).to.equal(true);
  });

  it('reproduce stops at Ctrl-C, says how to go on, and refuses to start over what is there', async () => {
    const out = at('study');
    let told = false;
    const { code, stderr, stdout } = await hardbit(
      ['reproduce', 'mnist', '--preset', 'quick', '--out', out, '--json'],
      {
        onOutput: (all, child) => {
          if (told || !all.includes('Estimated time')) return;
          told = true;
          child.kill('SIGINT');
        },
      },
    );
    expect(code, stderr).to.equal(130);
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
    expect(error.code).to.equal('ERR_HARDBIT_ABORTED');
    expect(error.message).to.contain(`hardbit reproduce mnist --preset quick --out ${out} --resume`);
    expect(existsSync(join(out, 'study.json'))).to.equal(true);
    const again = await hardbit(['reproduce', 'mnist', '--preset', 'quick', '--out', out]);
    expect(again.code).to.equal(1);
    expect(again.stderr).to.match(/pass --resume to continue it.* \[ERR_HARDBIT_RESUME\]\n$/);
    const other = await hardbit([
      'reproduce',
      'mnist',
      '--preset',
      'quick',
      '--out',
      out,
      '--seeds',
      '2',
      '--resume',
    ]);
    expect(other.stderr).to.contain('[ERR_HARDBIT_RESUME]');
  });

  it('a second Ctrl-C ends it at once', async () => {
    let told = false;
    const { code, signal } = await hardbit(['reproduce', 'mnist', '--out', at('killed')], {
      onOutput: (all, child) => {
        if (told || !all.includes('Estimated time')) return;
        told = true;
        child.kill('SIGSTOP');
        child.kill('SIGINT');
        setTimeout(() => child.kill('SIGCONT'), 50);
        setTimeout(() => child.kill('SIGINT'), 450);
      },
    });
    expect([code, signal]).to.be.deep.oneOf([
      [130, null],
      [null, 'SIGINT'],
    ]);
  });
});
