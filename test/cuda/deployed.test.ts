import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { compile } from '../../lib/compile/compile.js';
import { GpuNetwork } from '../../lib/compile/gpu-network.js';
import { createModel } from '../../lib/models/registry.js';
import { PackedNetwork } from '../../lib/packed/packed.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { describeOnGpu } from './support.js';

describeOnGpu('a deployed network on the GPU', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hardbit-gpu-'));
  after(() => rmSync(folder, { recursive: true }));

  for (const recipe of ['bnn', 'xnor']) {
    it(`gives the packed engine's logits (lenet5, ${recipe})`, () => {
      const file = join(folder, `${recipe}.hbit`);
      using model = createModel('lenet5', { recipe, inputBits: 2, seed: 3 });
      compile(model, file);
      using packed = PackedNetwork.loadSync(file);
      using network = GpuNetwork.load(file);
      expect(network.inputShape).to.deep.equal([28, 28, 1]);
      expect(network.byteLength).to.be.above(0);
      const images = Uint8Array.from({ length: 2 * 784 }, (_, i) => (i * 37) % 256);
      using x = Tensor.from('u8', [2, 28, 28, 1], images);
      using logits = network.logits(x);
      expect(logits.device).to.equal('cuda');
      expect(logits.toFloat32Array()).to.deep.equal(packed.predictSync(images).logits);
    });
  }

  it('is refused where the file is none, and after dispose()', () => {
    expect(() => GpuNetwork.load(join(folder, 'missing.hbit')))
      .to.throw()
      .with.property('code', 'ERR_HARDBIT_READ');
    expect(() => GpuNetwork.load(new Uint8Array(10)))
      .to.throw()
      .with.property('code', 'ERR_HARDBIT_FORMAT');
    using model = createModel('mnist-fcn', { recipe: 'bnn', inputBits: 1, seed: 1 });
    compile(model, join(folder, 'fcn.hbit'));
    const network = GpuNetwork.load(join(folder, 'fcn.hbit'));
    network.dispose();
    using x = Tensor.from('u8', [1, 28, 28, 1]);
    expect(() => network.logits(x))
      .to.throw()
      .with.property('code', 'ERR_HARDBIT_DISPOSED');
  });
});
