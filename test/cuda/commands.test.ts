import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { decodeNpy, encodeNpy } from '../../lib/data/npy.js';
import { createModel, saveModel } from '../../lib/models/registry.js';
import { cudaLibraries, runtimeInfo } from '../../lib/tensor/runtime.js';
import { hardbit, hardbitHere } from '../cli/helpers.js';
import { random } from '../study/helpers.js';
import { describeOnGpu, emulated } from './support.js';

describeOnGpu('the commands on a GPU', () => {
  let folder: string;
  let model: string;
  const n = 5;
  const at = (name: string) => join(folder, name);
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-cuda-'));
    model = at('model.safetensors');
    using network = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 3 });
    saveModel(network, model);
    const next = random(5);
    const pixels = Float32Array.from({ length: n * 784 }, next);
    writeFileSync(at('x.npy'), encodeNpy({ dtype: 'f32', shape: [n, 784], data: pixels }));
    const labels = Int32Array.from({ length: n }, (_, i) => i);
    writeFileSync(at('y.npy'), encodeNpy({ dtype: 'i32', shape: [n], data: labels }));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('info names it, and the libraries it uses', async () => {
    const [device] = runtimeInfo().cuda.devices;
    const { stdout } = await hardbitHere('info');
    expect(stdout).to.contain(`${device?.name} (compute capability ${device?.computeCapability}, `);
    expect(cudaLibraries().join(' ')).to.contain('cuBLAS').and.to.contain('cuDNN');
    for (const library of cudaLibraries()) expect(stdout).to.contain(library);
    expect(JSON.parse((await hardbitHere('info', '--json')).stdout).cudaLibraries).to.deep.equal(
      cudaLibraries(),
    );
  });

  it('predict gives the logits of the cpu, up to rounding', async () => {
    const logits: Float32Array[] = [];
    for (const device of ['cpu', 'cuda']) {
      const out = at(`${device}.npy`);
      const ended = await hardbit([
        ...['predict', model, '--images', at('x.npy')],
        ...['--logits', out, '--device', device],
      ]);
      expect(ended.code, ended.stderr).to.equal(0);
      logits.push(decodeNpy(readFileSync(out), out).data as Float32Array);
    }
    const [onCpu, onGpu] = logits as [Float32Array, Float32Array];
    onGpu.forEach((logit, i) => {
      expect(logit).to.be.closeTo(onCpu[i] as number, 1e-4);
    });
  });

  it('attack runs there', async () => {
    const out = at('adversarial.npy');
    const { code, stdout, stderr } = await hardbit(
      [
        ...['attack', model, '--images', at('x.npy'), '--labels', at('y.npy'), '--attack', 'pgd'],
        ...['--epsilon', '0.1', '--steps', '2', '--gradient', 'all', '--out', out, '--json'],
      ],
      { env: { HARDBIT_DEVICE: 'cuda' } },
    );
    expect(code, stderr).to.equal(0);
    expect(JSON.parse(stdout)).to.include({ n, epsilon: 0.1 });
    expect(decodeNpy(readFileSync(out), out).shape).to.deep.equal([n, 28, 28, 1]);
  });

  it('deployed networks stay on the cpu', async () => {
    const deployed = at('model.hbit');
    expect((await hardbit(['compile', model, '-o', deployed])).code).to.equal(0);
    const ended = await hardbit(['predict', deployed, '--images', at('x.npy'), '--device', 'cuda']);
    expect(ended.stderr).to.contain('runs on the cpu alone').and.to.contain('ERR_HARDBIT_UNSUPPORTED');
    expect(ended.code).to.equal(1);
  });

  it('a GPU that is lost on the way ends the command with its code', async function () {
    if (!emulated) this.skip();
    const ended = await hardbit(['predict', model, '--images', at('x.npy'), '--device', 'cuda'], {
      env: { HARDBIT_EMULATION: 'lost' },
    });
    expect(ended.stderr).to.contain('ERR_HARDBIT_CUDA');
    expect(ended.code).to.equal(1);
  });
});
