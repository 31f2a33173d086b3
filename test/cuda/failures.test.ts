import { expect } from 'chai';
import { toFloatImages } from '../../lib/data/dataset.js';
import { createModel } from '../../lib/models/registry.js';
import { memoryInfo, runtimeInfo, synchronize } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { hardbitHere } from '../cli/helpers.js';
import { failure } from '../support/failure.js';
import { describeOnGpu, emulated, noisy, withEmulation } from './support.js';

const options = { inputBits: 2, recipe: 'bnn', seed: 1 } as const;

describeOnGpu('a GPU that fails', () => {
  before(function () {
    // A real one cannot be asked to.
    if (!emulated) this.skip();
  });

  it('is not there', () => {
    withEmulation('none', () => {
      const { devices, reason, built } = runtimeInfo().cuda;
      expect([built, devices]).to.deep.equal([true, []]);
      expect(reason).to.equal('This machine shows no CUDA device.');
      for (const use of [
        () => Tensor.from('f32', [2], undefined, 'cuda'),
        () => createModel('mnist-fcn', { ...options, device: 'cuda' }),
      ]) {
        const error = failure(use);
        expect(error.code).to.equal('ERR_HARDBIT_NO_CUDA');
        expect(error.message).to.contain('This machine shows no CUDA device.');
      }
    });
  });

  it('is not there, says the command line', async () => {
    process.env['HARDBIT_EMULATION'] = 'none';
    try {
      const { code, stderr } = await hardbitHere('evaluate', 'm', '--device', 'cuda');
      expect(code).to.equal(1);
      expect(stderr).to.equal(
        'hardbit: CUDA was asked for. This machine shows no CUDA device; use --device cpu. [ERR_HARDBIT_NO_CUDA]\n',
      );
      expect((await hardbitHere('info')).stdout).to.match(/^CUDA +This machine shows no CUDA device\.$/m);
    } finally {
      delete process.env['HARDBIT_EMULATION'];
    }
  });

  it('has too little memory, and says how much was asked for and free; the rest goes on', () => {
    using kept = Tensor.from('f32', [2], Float32Array.of(1, 2), 'cuda');
    const before = memoryInfo().liveTensors;
    const error = withEmulation('1000000', () =>
      failure(() => Tensor.from('f32', [1_000_000], undefined, 'cuda')),
    );
    expect(error.code).to.equal('ERR_HARDBIT_MEMORY');
    expect(error.message).to.match(/no memory for 4 MB: 1 MB/);
    const model = withEmulation('1000000', () =>
      failure(() => createModel('mnist-fcn', { ...options, device: 'cuda' })),
    );
    expect(model.code).to.equal('ERR_HARDBIT_MEMORY');
    expect(memoryInfo().liveTensors).to.be.at.most(before + 4);
    expect([...kept.read()]).to.deep.equal([1, 2]);
  });

  it('is lost: every use says so, and the cpu goes on', () => {
    using there = Tensor.from('f32', [2], Float32Array.of(1, 2), 'cuda');
    using model = createModel('mnist-fcn', options);
    scope(() => {
      const images = toFloatImages(noisy(3, [28, 28, 1], 10).images);
      withEmulation('lost', () => {
        for (const use of [
          () => there.read(),
          () => there.clone(),
          () => synchronize('cuda'),
          () => Tensor.from('f32', [2], undefined, 'cuda'),
        ]) {
          expect(failure(use).code).to.equal('ERR_HARDBIT_CUDA');
        }
        expect(model.logits(images).shape).to.deep.equal([3, 10]);
        // Freeing what was there does no harm.
        const other = there.slice(0, 1);
        other.dispose();
      });
    });
  });
});
