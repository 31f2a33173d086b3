import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { compileModel } from '../../lib/compile/compile.js';
import { decodeNpy, encodeNpy } from '../../lib/data/npy.js';
import { createModel, saveModel } from '../../lib/models/registry.js';
import { PackedNetwork } from '../../lib/packed/packed.js';
import { byteImages } from '../support/deployable.js';
import { hardbit, hardbitHere } from './helpers.js';

describe('hardbit compile', function () {
  this.timeout(60_000);
  let folder: string;
  const at = (name: string) => join(folder, name);
  let expected: Uint8Array;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-compile-cli-'));
    using model = createModel('lenet5', { inputBits: 2, recipe: 'xnor', seed: 3 });
    saveModel(model, at('model.safetensors'));
    expected = compileModel(model);
    using float = createModel('lenet5', { inputBits: 2, recipe: 'none', seed: 3 });
    saveModel(float, at('float.safetensors'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('writes the deployed network and shows its layers, size and hash', async () => {
    const { code, stdout, stderr } = await hardbit([
      'compile',
      at('model.safetensors'),
      '-o',
      at('net.hbit'),
    ]);
    expect([code, stderr]).to.deep.equal([0, '']);
    expect(readFileSync(at('net.hbit')).equals(expected)).to.equal(true);
    const lines = stdout.split('\n').map((line) => line.trim().split(/ {2,}/));
    expect(lines).to.deep.include(['conv1', '500 f32', '28×28×1 codes', '12×12×20 signs']);
    expect(lines).to.deep.include(['conv2', '25,000 bits', '12×12×20 signs', '4×4×50 signs']);
    expect(lines).to.deep.include(['dense3', '400,000 bits', '4×4×50 signs', '1×1×500 reals']);
    expect(lines).to.deep.include(['dense4', '5,000 f32', '1×1×500 reals', '1×1×10 reals']);
    const hash = Buffer.from(expected.subarray(24, 56)).toString('hex');
    expect(stdout).to.contain(`Contents (SHA-256): ${hash}\n`);
    const ratio = statSync(at('model.safetensors')).size / expected.length;
    expect(stdout).to.contain(`${ratio.toFixed(1)} times as much.`);
  });

  it('answers the same as JSON', async () => {
    const { code, stdout } = await hardbitHere(
      ...['compile', at('model.safetensors'), '--out', at('json.hbit'), '--json'],
    );
    expect(code).to.equal(0);
    const answer = JSON.parse(stdout) as Record<string, unknown>;
    expect(answer).to.deep.include({
      path: at('json.hbit'),
      byteLength: expected.length,
      modelBytes: statSync(at('model.safetensors')).size,
      hash: Buffer.from(expected.subarray(24, 56)).toString('hex'),
    });
    expect(answer['layers']).to.have.length(4);
  });

  it('refuses with the layer that cannot be deployed, and writes nothing', async () => {
    const { code, stderr } = await hardbitHere('compile', at('float.safetensors'), '-o', at('float.hbit'));
    expect(code).to.equal(1);
    expect(stderr).to.contain("Layer 'conv2' cannot be deployed").and.to.contain('[ERR_HARDBIT_UNSUPPORTED]');
    expect(existsSync(at('float.hbit'))).to.equal(false);
    const unwritable = await hardbitHere('compile', at('model.safetensors'), '-o', '/nonexistent/net.hbit');
    expect([unwritable.code, unwritable.stdout]).to.deep.equal([1, '']);
    expect(unwritable.stderr).to.contain('[ERR_HARDBIT_WRITE]');
    expect((await hardbitHere('compile', at('model.safetensors'))).stderr).to.contain('--out');
  });

  describe('hardbit predict', () => {
    const count = 6;
    let bytes: Uint8Array;
    before(() => {
      writeFileSync(at('deployed.hbit'), expected);
      using network = PackedNetwork.loadSync(expected);
      using model = createModel('lenet5', { inputBits: network.inputBits, recipe: 'xnor', seed: 3 });
      bytes = byteImages(model.spec, count, 1);
      writeFileSync(at('u8.npy'), encodeNpy({ dtype: 'u8', shape: [count, 28, 28], data: bytes }));
      const floats = Float32Array.from(bytes, (k) => k / 255);
      writeFileSync(at('f32.npy'), encodeNpy({ dtype: 'f32', shape: [count, 28, 28], data: floats }));
    });

    it('of a deployed network gives what the model file gives', async () => {
      const predict = (file: string, logits: string) =>
        hardbit(['predict', at(file), '--images', at('u8.npy'), '--logits', at(logits), '--json']);
      const [packed, model] = [
        await predict('deployed.hbit', 'packed.npy'),
        await predict('model.safetensors', 'model.npy'),
      ];
      expect([packed.code, model.code], packed.stderr).to.deep.equal([0, 0]);
      const { logits: _path, ...answer } = JSON.parse(packed.stdout) as Record<string, unknown>;
      expect(JSON.parse(model.stdout)).to.deep.include(answer);
      const logits = (name: string) => [...decodeNpy(readFileSync(at(name)), name).data];
      expect(logits('packed.npy')).to.deep.equal(logits('model.npy'));
    });

    it('of a deployed network takes bytes alone', async () => {
      const { code, stderr } = await hardbitHere('predict', at('deployed.hbit'), '--images', at('f32.npy'));
      expect(code).to.equal(1);
      expect(stderr).to.contain('does not hold uint8').and.to.contain('[ERR_HARDBIT_DTYPE]');
    });

    it('names a damaged network', async () => {
      writeFileSync(at('cut.hbit'), expected.subarray(0, 999));
      const { code, stderr } = await hardbitHere('predict', at('cut.hbit'), '--images', at('u8.npy'));
      expect(code).to.equal(1);
      expect(stderr).to.contain('cut.hbit').and.to.contain('[ERR_HARDBIT_FORMAT]');
    });
  });
});
