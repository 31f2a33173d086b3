import { expect } from 'chai';
import { type NativeInfo, runtimeInfo } from '../../lib/tensor/runtime.js';
import { version } from '../../lib/version.js';
import { hardbit, hardbitHere } from './helpers.js';

const withoutCore = { HARDBIT_ADDON: '/nonexistent/hardbit.node' };
const commands = [
  'info',
  'reproduce',
  'train',
  'evaluate',
  'attack',
  'predict',
  'summary',
  'compile',
  'data',
  'data get',
  'data list',
  'report',
  'bench',
  'bench kernels',
  'bench layers',
  'bench gradients',
  'bench train',
  'bench attack',
  'bench inference',
  'build',
];

/** Then asking for one is no mistake. */
const hasGpu = runtimeInfo().cuda.devices.length > 0;

describe('the command line', function () {
  this.timeout(120_000);

  it('names every command, the exit codes and the environment, without the native core', async () => {
    const { code, stdout, stderr } = await hardbit(['--help'], { env: withoutCore });
    expect([code, stderr]).to.deep.equal([0, '']);
    for (const command of commands) expect(stdout).to.contain(command.split(' ')[0]);
    expect(stdout).to.contain('Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted');
  });

  for (const command of commands) {
    it(`${command} --help shows an example`, async () => {
      const { code, stdout } = await hardbitHere(...command.split(' '), '--help');
      expect(code).to.equal(0);
      expect(stdout).to.match(/Examples?:\n {2}hardbit /);
      if (command !== 'data' && command !== 'bench') expect(stdout).to.contain('--json');
    });
  }

  it('says its version', async () => {
    expect((await hardbitHere('--version')).stdout).to.equal(`${version}\n`);
  });

  it('shows its help on standard error where nothing is asked of it', async () => {
    const { code, stdout, stderr } = await hardbitHere();
    expect([code, stdout]).to.deep.equal([2, '']);
    expect(stderr).to.contain('Usage: hardbit');
  });

  const mistakes: readonly (readonly [string, string, string, number?])[] = [
    ['evalute m', "Unknown command 'evalute'; did you mean 'evaluate'?", 'ERR_HARDBIT_ARGUMENT'],
    ['frobnicate', "Unknown command 'frobnicate'", 'ERR_HARDBIT_ARGUMENT'],
    ['data gte mnist', "did you mean 'get'?", 'ERR_HARDBIT_ARGUMENT'],
    [
      'evaluate m --epsilo 0.1',
      "Unknown option '--epsilo'; did you mean '--epsilon'?",
      'ERR_HARDBIT_ARGUMENT',
    ],
    ['evaluate', "Missing required argument 'model'", 'ERR_HARDBIT_ARGUMENT'],
    ['predict m', '--images', 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --attack pgd', '--attack needs --epsilon', 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --epsilon 0.1', '--epsilon has no meaning without --attack', 'ERR_HARDBIT_ARGUMENT'],
    [
      'evaluate m --no-random-start',
      '--no-random-start has no meaning without --attack',
      'ERR_HARDBIT_ARGUMENT',
    ],
    ['evaluate m --attack pdg --epsilon 0.1', "did you mean 'pgd'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['evaluate m --norm l2', '--norm has no meaning without --attack', 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --early-stop', '--early-stop has no meaning without --attack', 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --attack pgd --epsilon 1 --norm l3', 'linf, l2', 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['evaluate m --attack pgd --epsilon 0 --norm l2', 'above 0 in L2', 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --attack r-fgsm --epsilon 1 --norm l2', 'has no L2 form', 'ERR_HARDBIT_ARGUMENT'],
    [
      'evaluate m --attack fgsm --epsilon 0.1 --early-stop',
      "has no option 'earlyStop'",
      'ERR_HARDBIT_ARGUMENT',
    ],
    [
      'evaluate m --attack pgd --epsilon 1 --norm l2 --step-size -1',
      'of at least 0 such as 0.1',
      'ERR_HARDBIT_ARGUMENT',
    ],
    ['evaluate m --attack fgsm --epsilon 0.1 --steps 3', "has no option 'steps'", 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --attack pgd --epsilon 8', '8/255 is 0.0314', 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --attack pgd --epsilon -0.1', 'epsilon is -0.1', 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --attack pgd --epsilon 0.1,x', "'x' is not an epsilon", 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --attack pgd --epsilon 0.1 --step-size big', "--step-size is 'big'", 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --limit 1.5', "--limit is '1.5'", 'ERR_HARDBIT_ARGUMENT'],
    ['evaluate m --device cud', "did you mean 'cuda'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['evaluate m --device cuda', 'use --device cpu', 'ERR_HARDBIT_NO_CUDA', 1],
    ['evaluate /nonexistent/m.safetensors', 'there is no such file', 'ERR_HARDBIT_READ', 1],
    ['train', 'give --out', 'ERR_HARDBIT_ARGUMENT'],
    ['train --out m --epsilon 0.2', 'name its attack', 'ERR_HARDBIT_ARGUMENT'],
    ['train --out m --adversarial fgsm', '--adversarial needs --epsilon', 'ERR_HARDBIT_ARGUMENT'],
    ['train --out m --steps 3', 'name its attack', 'ERR_HARDBIT_ARGUMENT'],
    ['train --out m --source-model a', 'name its attack', 'ERR_HARDBIT_ARGUMENT'],
    ['train --out m --min-delta 0.1', 'give its patience', 'ERR_HARDBIT_ARGUMENT'],
    ['train --out m --schedule cosin', "did you mean 'cosine'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['train --out m --dataset mnits', "did you mean 'mnist'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['train --out m --weight-decay -1', 'weightDecay is -1', 'ERR_HARDBIT_ARGUMENT'],
    ['train --out m --resume', '--resume needs --checkpoint', 'ERR_HARDBIT_ARGUMENT'],
    ['train --out m --recipe bbn', "did you mean 'bnn'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['train --out m --optimizer adm', "did you mean 'adam'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['train --out m --bits 9', 'from 1 to 8', 'ERR_HARDBIT_ARGUMENT'],
    ['train --out m --learning-rate fast', "--learning-rate is 'fast'", 'ERR_HARDBIT_ARGUMENT'],
    ['data get mnits', "did you mean 'mnist'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['reproduce mnits --out x', "did you mean 'mnist'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['reproduce mnist --preset quik --out x', "did you mean 'quick'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['reproduce mnist --out x --seeds 0', "--seeds is '0'", 'ERR_HARDBIT_ARGUMENT'],
    ['bench kernls', "did you mean 'kernels'?", 'ERR_HARDBIT_ARGUMENT'],
    ['bench layers --threads 0', "--threads is '0'", 'ERR_HARDBIT_ARGUMENT'],
    ['bench layers --threads 2000', 'from 1 to 1024', 'ERR_HARDBIT_ARGUMENT'],
    ['bench train --rounds none', "--rounds is 'none'", 'ERR_HARDBIT_ARGUMENT'],
    ['bench train --model lenet6', "did you mean 'lenet5'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['bench attack --recipe bnn,xnr', "did you mean 'xnor'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['bench attack --gradient-arithmetic flaot', "did you mean 'float'?", 'ERR_HARDBIT_UNKNOWN_NAME'],
    ['bench attack --bits 9', 'from 1 to 8', 'ERR_HARDBIT_ARGUMENT'],
    ['bench inference --file x --bits 2', '--bits has no meaning with --file', 'ERR_HARDBIT_ARGUMENT'],
    ['bench inference --batch 1,x', "--batch is 'x'", 'ERR_HARDBIT_ARGUMENT'],
    ['report /nonexistent/study', 'there is no such file', 'ERR_HARDBIT_READ', 1],
  ];
  for (const [line, sentence, code, exit = 2] of mistakes) {
    it(`tells of the mistake in one line: hardbit ${line}`, async function () {
      if (code === 'ERR_HARDBIT_NO_CUDA' && hasGpu) this.skip();
      const ended = await hardbitHere(...line.split(' '));
      expect(ended.stderr).to.match(new RegExp(`^hardbit: \\S.*[.?] \\[${code}\\]\n$`));
      expect(ended.stderr).to.contain(sentence);
      expect([ended.code, ended.stdout]).to.deep.equal([exit, '']);
    });
  }

  it('tells of it on standard output too, as JSON, under --json', async function () {
    if (hasGpu) this.skip();
    const { code, stdout, stderr } = await hardbitHere('evaluate', 'm', '--device', 'cuda', '--json');
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
    expect(error.code).to.equal('ERR_HARDBIT_NO_CUDA');
    expect(stderr).to.equal(`hardbit: ${error.message} [ERR_HARDBIT_NO_CUDA]\n`);
    expect(code).to.equal(1);
    const usage = await hardbitHere('frobnicate', '--json');
    expect((JSON.parse(usage.stdout) as { error: { code: string } }).error.code).to.equal(
      'ERR_HARDBIT_ARGUMENT',
    );
  });

  it('takes the device from the environment', async function () {
    if (hasGpu) this.skip();
    const { stderr } = await hardbit(['evaluate', 'm'], { env: { HARDBIT_DEVICE: 'cuda' } });
    expect(stderr).to.contain('ERR_HARDBIT_NO_CUDA');
  });

  it('shows the stack only under HARDBIT_DEBUG=1', async () => {
    const { stderr } = await hardbit(['data', 'get', 'x'], { env: { HARDBIT_DEBUG: '1' } });
    expect(stderr).to.match(/\n {4}at /);
  });

  it('shows no colours off a terminal', async () => {
    for (const args of [['info'], ['data', 'list'], ['frobnicate']]) {
      const { stdout, stderr } = await hardbit(args);
      expect(stdout + stderr).to.not.contain('\u001b');
    }
  });

  it('info --kernels names a kernel for every layer and number of bits', async () => {
    const { code, stdout } = await hardbit(['info', '--kernels']);
    expect(code).to.equal(0);
    expect(stdout).to.match(/^bits_4x8_generic +bits +generic +4 x 8 +(available|in use)$/m);
    const { native } = JSON.parse((await hardbit(['info', '--json'])).stdout) as { native: NativeInfo };
    const inUse = native.kernels.filter((kernel) => kernel.selected);
    const dense = stdout.split('\n').find((line) => line.startsWith('dense, 784 -> 600')) ?? '';
    expect(dense.trim().split(/\s{2,}/)).to.have.length(5);
    for (const kernel of dense
      .trim()
      .split(/\s{2,}/)
      .slice(1)) {
      expect(inUse.map(({ name }) => name)).to.include(kernel);
    }
  });

  describe('without the native core', () => {
    it('info says what is missing and succeeds', async () => {
      const { code, stdout } = await hardbit(['info'], { env: withoutCore });
      expect(code).to.equal(0);
      expect(stdout).to.contain('/nonexistent/hardbit.node');
      const json = await hardbit(['info', '--json'], { env: withoutCore });
      expect(JSON.parse(json.stdout)).to.deep.include({ version, native: null });
      expect((JSON.parse(json.stdout) as { problem: { code: string } }).problem.code).to.equal(
        'ERR_HARDBIT_NOT_BUILT',
      );
    });

    it('data list works, and what computes says how to build', async () => {
      expect((await hardbit(['data', 'list', '--json'], { env: withoutCore })).code).to.equal(0);
      const { code, stderr } = await hardbit(['train', '--out', 'm'], { env: withoutCore });
      expect(stderr).to.contain('ERR_HARDBIT_NOT_BUILT');
      expect(code).to.equal(1);
    });

    it('build says why it fails', async () => {
      const { code, stdout, stderr } = await hardbit(['build'], { env: { PATH: '/nonexistent' } });
      expect([code, stdout]).to.deep.equal([1, '']);
      expect(stderr).to.contain('CMake is missing').and.to.contain('[ERR_HARDBIT_NOT_BUILT]');
    });
  });
});
