import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { readFile, reserveSpace } from '../../lib/files.js';
import { loadModel } from '../../lib/models/registry.js';
import { decodeSafetensors } from '../../lib/tensor/safetensors.js';
import { failure } from '../support/failure.js';
import { idx, writeIdxFolder } from '../support/idx.js';
import { tinyDigits } from '../support/tiny-data.js';
import { hardbit } from './helpers.js';

interface Answer {
  readonly error?: { readonly code: string };
  readonly history: readonly {
    readonly validationLoss?: number;
    readonly flipRatio?: Readonly<Record<string, number>>;
  }[];
  readonly bestEpoch: number | null;
  readonly stoppedEarly: boolean;
  readonly clean: { readonly n: number };
}

describe('hardbit train', function () {
  this.timeout(120_000);
  let folder: string;
  const at = (name: string) => join(folder, name);

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-train-'));
    for (const [prefix, size, seed] of [
      ['train', 100, 1],
      ['test', 30, 2],
    ] as const) {
      const data = tinyDigits(size, seed);
      writeIdxFolder(folder, {
        [`${prefix}-images-idx3-ubyte`]: idx([size, 28, 28], data.images.read() as Uint8Array),
        [`${prefix}-labels-idx1-ubyte`]: idx([size], data.labels.toInt32Array()),
      });
      data.dispose();
    }
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** Trains on the folder, and gives the answer and the record in the model file. */
  async function train(
    out: string,
    ...args: string[]
  ): Promise<{ answer: Answer; record: Record<string, unknown> }> {
    const { code, stdout, stderr } = await hardbit([
      ...['train', '--dataset', `idx:${folder}`, '--batch-size', '20', '--bits', '2', '--json'],
      ...['--out', at(out), ...args],
    ]);
    expect(code, stderr).to.equal(0);
    const { metadata } = decodeSafetensors(readFile(at(out)), out);
    const { training } = JSON.parse(metadata['hardbit'] as string) as { training: Record<string, unknown> };
    return { answer: JSON.parse(stdout) as Answer, record: training };
  }

  it("takes images of one's own, bop, a validation split, an average and early stopping", async () => {
    const { answer, record } = await train(
      'bop.safetensors',
      ...['--recipe', 'bnn', '--optimizer', 'bop', '--learning-rate', '0.01', '--weight-decay', '0.001'],
      ...['--epochs', '5', '--validation-split', '0.2', '--early-stopping', '1', '--min-delta', '100'],
      ...['--average', '0.9', '--flip-ratio', '--schedule', 'one-cycle'],
      ...['--gradient-arithmetic', 'int8'],
    );
    // No improvement is as large as that: the first epoch is the best.
    expect([answer.bestEpoch, answer.stoppedEarly, answer.history.length, answer.clean.n]).to.deep.equal([
      1,
      true,
      2,
      30,
    ]);
    expect(Object.keys(answer.history[0]?.flipRatio ?? {})).to.have.length(3);
    expect(answer.history[0]?.validationLoss).to.be.greaterThan(0);
    expect(record).to.deep.include({
      dataset: `idx:${folder}`,
      validationSplit: 0.2,
      gradientArithmetic: 'int8',
      average: { decay: 0.9 },
      earlyStopping: { patience: 1, minDelta: 100 },
      schedule: { name: 'one-cycle', warmUp: 0.3, startDivisor: 25, endDivisor: 10_000 },
    });
    expect(record['optimizer']).to.deep.include({ name: 'bop', gamma: 1e-4, threshold: 1e-8 });
    expect((record['optimizer'] as { other: object }).other).to.deep.include({
      learningRate: 0.01,
      weightDecay: 0.001,
    });
    expect(Object.keys(record['files'] as object)).to.have.length(4);
  });

  it('trains against pgd, and against an ensemble whose sources it records', async () => {
    const first = await train(
      'first.safetensors',
      '--epochs',
      '1',
      '--adversarial',
      'pgd',
      '--epsilon',
      '0.1',
      '--steps',
      '2',
      '--mix',
      '1',
    );
    expect(first.record['adversarial']).to.deep.include({ attack: 'pgd', steps: 2, mix: 1, sources: [] });
    writeFileSync(
      at('ensemble.yaml'),
      `adversarial: r-fgsm\nepsilon: 26/255\nsourceModel:\n  - ${at('first.safetensors')}\nschedule: {name: step, everyEpochs: 1}\n`,
    );
    const second = await train('second.safetensors', '--epochs', '2', '--config', at('ensemble.yaml'));
    const { sources } = second.record['adversarial'] as { sources: { name: string; sha256: string }[] };
    expect(sources.map(({ name }) => name)).to.deep.equal([at('first.safetensors')]);
    expect(sources[0]?.sha256).to.match(/^[0-9a-f]{64}$/);
    loadModel(at('second.safetensors')).dispose();
  });

  it('says in words what the epochs brought', async () => {
    const { code, stdout, stderr } = await hardbit([
      ...['train', '--dataset', `idx:${folder}`, '--epochs', '1', '--recipe', 'bnn', '--flip-ratio'],
      ...['--validation-split', '0.1', '--early-stopping', '2', '--out', at('words.safetensors')],
    ]);
    expect(code, stderr).to.equal(0);
    expect(stdout).to.match(
      /^Epoch 1: loss .*; validation loss [\d.]+, accuracy .*; flips dense1\.weight .*\n/,
    );
    expect(stdout).to.contain('Kept the network of epoch 1, the best on the validation images.');
  });

  it('leaves no file behind when it fails', async () => {
    const before = readdirSync(folder);
    const { code, stdout } = await hardbit([
      ...[
        'train',
        '--dataset',
        `idx:${folder}`,
        '--validation-split',
        '0.995',
        '--json',
        '--out',
        at('none'),
      ],
    ]);
    expect([code, (JSON.parse(stdout) as Answer).error?.code]).to.deep.equal([2, 'ERR_HARDBIT_ARGUMENT']);
    expect(readdirSync(folder)).to.deep.equal(before);
  });
});

describe('room set aside on a disk', () => {
  it('has no name, and is given back', () => {
    const folder = mkdtempSync(join(tmpdir(), 'hardbit-room-'));
    try {
      using room = reserveSpace(join(folder, 'model'), 3_000_001);
      expect(readdirSync(folder)).to.deep.equal([]);
      room.release();
      room.release();
      reserveSpace('/dev/null', 10).release();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('that is not there is an error at once', () => {
    expect(failure(() => reserveSpace('/nonexistent/model', 10)).code).to.equal('ERR_HARDBIT_WRITE');
  });
});
