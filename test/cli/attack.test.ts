import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { decodeNpy, encodeNpy } from '../../lib/data/npy.js';
import { createModel, saveModel } from '../../lib/models/registry.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { randomSource } from '../attacks/linear.js';
import { hardbit } from './helpers.js';

interface Worst {
  readonly adversarialAccuracy: number;
  readonly worstAlone: number;
  readonly norm: string;
  readonly epsilon: number;
  readonly runs: readonly {
    readonly adversarialAccuracy: number;
    readonly gradientMode: { readonly sign: string };
  }[];
}

describe('attack and evaluate', function () {
  this.timeout(120_000);
  const n = 24;
  let folder: string;
  let arrays: string[];
  let pixels: Float32Array;
  let classes: Int32Array;
  const at = (name: string) => join(folder, name);
  const network = () => createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 3 });

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-attack-'));
    using model = network();
    saveModel(model, at('model.safetensors'));
    const random = randomSource(5);
    pixels = Float32Array.from({ length: n * 784 }, random);
    using images = Tensor.from('f32', [n, 28, 28, 1], pixels);
    using predicted = model.predict(images);
    classes = predicted.toInt32Array();
    writeFileSync(at('x.npy'), encodeNpy({ dtype: 'f32', shape: [n, 784], data: pixels }));
    writeFileSync(at('y.npy'), encodeNpy({ dtype: 'i32', shape: [n], data: classes }));
    arrays = [at('model.safetensors'), '--images', at('x.npy'), '--labels', at('y.npy')];
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('attack --gradient all writes of each image its worst, and prints every mode', async () => {
    const args = ['attack', ...arrays, '--attack', 'bim', '--epsilon', '0.03', '--steps', '3'];
    const all = await hardbit([...args, '--gradient', 'all', '--out', at('all.npy'), '--json']);
    expect(all.code, all.stderr).to.equal(0);
    const worst = JSON.parse(all.stdout) as Worst;
    expect(worst.runs.map(({ gradientMode }) => gradientMode.sign)).to.deep.equal([
      'clipped',
      'identity',
      'approx',
      'swish',
    ]);
    const alone = worst.runs.map((run) => run.adversarialAccuracy);
    expect(worst.adversarialAccuracy).to.be.at.most(Math.min(...alone));
    expect(worst.worstAlone).to.equal(alone.indexOf(Math.min(...alone)));
    using model = network();
    using images = Tensor.from(
      'f32',
      [n, 28, 28, 1],
      decodeNpy(readFileSync(at('all.npy')), 'all.npy').data as Float32Array,
    );
    using predicted = model.predict(images);
    const correct = predicted.toInt32Array().filter((value, i) => value === classes[i]).length;
    expect(correct / n).to.be.closeTo(worst.adversarialAccuracy, 1e-12);
    const text = await hardbit([...args, '--gradient', 'all', '--out', at('all.npy')]);
    expect(text.stdout).to.contain('discretizer identity, sign swish: 100.0 % clean');
    expect(text.stdout).to.contain('Worst, image by image: accuracy 100.0 % clean');
    const targets = ['--targets', at('y.npy'), '--gradient', 'all', '--out', at('none.npy')];
    const refused = await hardbit([...args, ...targets]);
    expect(refused.stderr).to.contain('[ERR_HARDBIT_ARGUMENT]');
    expect(existsSync(at('none.npy'))).to.equal(false);
  });

  it('--gradient-arithmetic reduces every mode, and is named beside every figure', async () => {
    const args = ['attack', ...arrays, '--attack', 'bim', '--epsilon', '0.03', '--steps', '2'];
    const int8 = [...args, '--out', at('int8.npy'), '--gradient-arithmetic', 'int8'];
    const all = await hardbit([...int8, '--gradient', 'all']);
    expect(all.code, all.stderr).to.equal(0);
    for (const sign of ['clipped', 'identity', 'approx', 'swish']) {
      expect(all.stdout).to.contain(`sign ${sign}, gradients in int8: 100.0 % clean`);
    }
    const one = await hardbit([...int8, '--gradient', 'sign=approx', '--json']);
    expect((JSON.parse(one.stdout) as { gradientMode: object }).gradientMode).to.deep.equal({
      discretizer: 'identity',
      sign: 'approx',
      arithmetic: 'int8',
    });
    const exact = await hardbit([...args, '--out', at('float.npy')]);
    expect(exact.stdout).to.contain('sign clipped, seed 0').and.not.contain('gradients in');
    for (const [wrong, code] of [
      [['--gradient-arithmetic', 'int16'], 'ERR_HARDBIT_UNKNOWN_NAME'],
      [['--gradient-arithmetic', 'int8', '--gradient', 'arithmetic=bf16'], 'ERR_HARDBIT_ARGUMENT'],
    ] as const) {
      const refused = await hardbit([...args, '--out', at('none.npy'), ...wrong]);
      expect(refused.stderr).to.contain(`[${code}]`);
    }
    const evaluated = await hardbit(['evaluate', at('model.safetensors'), '--gradient-arithmetic', 'int8']);
    expect(evaluated.stderr).to.contain('--gradient-arithmetic has no meaning without --attack');
  });

  it('attack --norm l2 --early-stop stays in the L2 ball', async () => {
    const args = ['attack', ...arrays, '--attack', 'pgd', '--norm', 'l2', '--epsilon', '1.5'];
    const { code, stdout, stderr } = await hardbit([
      ...args,
      '--early-stop',
      '--out',
      at('l2.npy'),
      '--json',
    ]);
    expect(code, stderr).to.equal(0);
    const answer = JSON.parse(stdout) as Record<string, unknown>;
    expect(answer).to.include({ norm: 'l2', epsilon: 1.5, flippableFraction: null });
    expect(answer['attack']).to.include({ norm: 'l2', earlyStop: true, stepSize: 0.1875 });
    const moved = decodeNpy(readFileSync(at('l2.npy')), 'l2.npy').data as Float32Array;
    for (let i = 0; i < n; i++) {
      let squares = 0;
      for (let j = i * 784; j < (i + 1) * 784; j++) {
        squares += ((moved[j] as number) - (pixels[j] as number)) ** 2;
      }
      expect(Math.sqrt(squares)).to.be.at.most(1.5 * (1 + 2 ** -23));
    }
    expect(answer['maxL2Distance']).to.be.within(0.01, 1.5 * (1 + 2 ** -23));
    const wide = await hardbit([...args.slice(0, -1), '28.1', '--out', at('l2.npy')]);
    expect(wide.stderr).to.contain('√(28·28·1) = 28.00').and.to.contain('[ERR_HARDBIT_ARGUMENT]');
  });

  it('evaluate tries every mode unless one is named, and gives the worst', async () => {
    const args = ['evaluate', at('model.safetensors'), '--limit', '30', '--attack', 'fgsm'];
    const all = await hardbit([...args, '--epsilon', '0.5,2', '--norm', 'l2', '--json']);
    expect(all.code, all.stderr).to.equal(0);
    const answer = JSON.parse(all.stdout) as { attacks: unknown[]; worst: Worst[] };
    expect(answer.attacks).to.have.length(8);
    expect(answer.worst.map(({ epsilon, norm }) => [epsilon, norm])).to.deep.equal([
      [0.5, 'l2'],
      [2, 'l2'],
    ]);
    const one = await hardbit([...args, '--epsilon', '0.1', '--gradient', 'sign=approx']);
    expect(one.stdout).to.contain('sign approx').and.not.to.contain('worst');
  });
});
