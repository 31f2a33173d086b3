import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { createModel, describeModel, saveModel, summarizeModel } from '../../lib/models/registry.js';
import { hardbit, hardbitHere } from './helpers.js';

describe('hardbit summary', function () {
  this.timeout(60_000);

  it('shows layers, totals by precision and the size of the weights', async () => {
    const { code, stdout } = await hardbitHere(
      ...'summary --model lenet5 --recipe dorefa-w1a2 --bits 2'.split(' '),
    );
    expect(code).to.equal(0);
    const lines = stdout.split('\n').map((line) => line.trim().split(/ {2,}/));
    expect(lines[0]).to.deep.equal(['lenet5, dorefa-w1a2: 28×28×1 pixels of 2 bits, 10 classes.']);
    expect(lines).to.deep.include(['conv2', '8×8×50', '25,000', '1,600,000', '1×2']);
    expect(lines).to.deep.include(['pool2', '4×4×50']);
    expect(lines).to.deep.include(['dense4', '10', '5,010', '5,000', '32×2']);
    expect(lines).to.deep.include(['1×2', '425,000', '2,000,000']);
    expect(lines).to.deep.include(['32×2', '5,510', '293,000']);
    expect(lines).to.deep.include(['all', '431,650', '2,293,000']);
    // 425,000/8 + 4·6650 bytes against 4·431,650.
    expect(stdout).to.contain('77.9 KiB at their precision, 1,686.1 KiB in f32: 21.7 times as much.');
  });

  it('gives the same figures as JSON, of a file and of a name', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hardbit-summary-'));
    try {
      const path = join(folder, 'model.safetensors');
      using model = createModel('mnist-fcn', { inputBits: 3, recipe: 'bnn', seed: 1 });
      saveModel(model, path);
      const expected = JSON.stringify(summarizeModel(model.spec));
      for (const args of [[path], ['--model', 'mnist-fcn', '--recipe', 'bnn', '--bits', '3']]) {
        const { code, stdout } = await hardbitHere('summary', ...args, '--json');
        expect([code, stdout]).to.deep.equal([0, `${expected}\n`]);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('needs no native core for a name', async () => {
    const { code, stdout } = await hardbit(['summary', '--model', 'mnist-cnn', '--json'], {
      env: { HARDBIT_ADDON: '/nonexistent/hardbit.node' },
    });
    expect(code).to.equal(0);
    const expected = summarizeModel(describeModel('mnist-cnn', { recipe: 'none', inputBits: 8 }));
    expect(JSON.parse(stdout)).to.deep.equal(JSON.parse(JSON.stringify(expected)));
  });

  const mistakes: readonly (readonly [string, string, string, number?])[] = [
    ['summary', 'Give a model file, or --model NAME', 'ERR_HARDBIT_ARGUMENT'],
    ['summary m --recipe bnn', '--recipe has no meaning beside a model file', 'ERR_HARDBIT_ARGUMENT'],
    ['summary m --model lenet5', '--model has no meaning beside a model file', 'ERR_HARDBIT_ARGUMENT'],
    ['summary --recipe bnn', 'Give a model file', 'ERR_HARDBIT_ARGUMENT'],
    ['summary --model lenet', "did you mean 'lenet5'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['summary --model lenet5 --recipe dorefa-w9a1', 'both from 1 to 8', 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['summary --model lenet5 --bits 9', 'from 1 to 8', 'ERR_HARDBIT_ARGUMENT'],
    ['summary --model lenet5 --bits x', "--bits is 'x'", 'ERR_HARDBIT_ARGUMENT'],
    ['summary /nonexistent/m.safetensors', 'there is no such file', 'ERR_HARDBIT_READ', 1],
  ];
  for (const [line, sentence, code, exit = 2] of mistakes) {
    it(`tells of the mistake in one line: hardbit ${line}`, async () => {
      const ended = await hardbitHere(...line.split(' '));
      expect(ended.stderr).to.match(new RegExp(`^hardbit: \\S.*[.?] \\[${code}\\]\n$`));
      expect(ended.stderr).to.contain(sentence);
      expect([ended.code, ended.stdout]).to.deep.equal([exit, '']);
    });
  }
});
