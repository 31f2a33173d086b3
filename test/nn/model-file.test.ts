import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { isHardbitError } from '../../lib/errors.js';
import { type LayerSpec, Model } from '../../lib/nn/model.js';
import { loadModel, saveModel } from '../../lib/nn/model-file.js';
import { decodeSafetensors, encodeSafetensors } from '../../lib/tensor/safetensors.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { numbers } from '../ops/numeric.js';
import { conv, dense, everyLayer, spec } from './networks.js';

describe('a model file', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hardbit-model-file-'));
    path = join(folder, 'model.safetensors');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** Rewrites the metadata of the file. */
  function edit(change: (header: { format: number; layers: Record<string, unknown>[] }) => void): void {
    const { tensors, metadata } = decodeSafetensors(readFileSync(path), path);
    const header = JSON.parse(metadata['hardbit']!);
    change(header);
    writeFileSync(path, encodeSafetensors(tensors, { hardbit: JSON.stringify(header) }));
  }

  function expectRefusal(code: string, message: RegExp): void {
    try {
      loadModel(path).dispose();
    } catch (error) {
      if (!isHardbitError(error)) throw error;
      expect(error.code).to.equal(code);
      expect(error.message).to.match(message);
      return;
    }
    expect.fail('expected an error');
  }

  it('keeps every type of layer: the loaded network has the same description, numbers and logits', () => {
    scope(() => {
      using model = new Model(everyLayer, 5);
      const images = Tensor.from(
        'f32',
        [8, 6, 6, 2],
        numbers(576, 1).map((v) => (v + 1) / 2),
      );
      const labels = Tensor.from('i32', [8], Int32Array.from([0, 1, 2, 0, 1, 2, 0, 1]));
      model.trainingGradients(images, labels, { seed: 1, step: 0 });
      saveModel(model, path, { note: 'kept' });
      using loaded = loadModel(path);
      expect(loaded.spec).to.deep.equal(everyLayer);
      expect(loaded.seed).to.equal(5);
      expect([...loaded.logits(images).toFloat32Array()]).to.deep.equal([
        ...model.logits(images).toFloat32Array(),
      ]);
      const [saved, read] = [model.state(), loaded.state()];
      expect([...read.keys()]).to.deep.equal([...saved.keys()]);
      for (const [name, { values }] of saved) {
        const expected = name === 'conv2.weight' ? values.map((v) => (v >= 0 ? 1 : -1)) : values;
        expect([...read.get(name)!.values], name).to.deep.equal([...expected]);
      }
      const { tensors } = decodeSafetensors(readFileSync(path), path);
      const dtypes = [...tensors]
        .filter(([, { dtype }]) => dtype !== 'F32')
        .map(([name, { dtype }]) => [name, dtype]);
      expect(dtypes).to.deep.equal([['conv2.weight', 'I8']]);
      expect(tensors.get('conv2.weight')!.shape).to.deep.equal([6, 3, 3, 4]);
    });
  });

  it('of format 1 is read: its sign layers are quantize layers', () => {
    using model = new Model(
      spec([
        { type: 'quantize', name: 'sign1', quantizer: 'approx-sign' },
        { type: 'flatten', name: 'flatten' },
        dense('dense', 72, 3, 'ste-sign'),
      ]),
      5,
    );
    saveModel(model, path);
    edit((header) => {
      expect(header.format).to.equal(2);
      header.format = 1;
      header.layers[1]!['type'] = 'sign';
    });
    using loaded = loadModel(path);
    expect(loaded.spec).to.deep.equal(model.spec);
  });

  const refused: [string, string, RegExp, (layers: Record<string, unknown>[]) => void][] = [
    ['a newer layer', 'FORMAT', /layers\.1/, (layers) => (layers[1]!['type'] = 'attention')],
    ['an unknown key', 'FORMAT', /layers\.1/, (layers) => (layers[1]!['colour'] = 1)],
    [
      'a padding of three sides',
      'FORMAT',
      /layers\.1\.padding/,
      (layers) => (layers[1]!['padding'] = [1, 1, 1]),
    ],
    [
      'a kernel that is not whole',
      'FORMAT',
      /layers\.1\.kernel/,
      (layers) => (layers[1]!['kernel'] = [3.5, 3]),
    ],
    [
      'a tensor of another shape',
      'FORMAT',
      /conv\.weight/,
      (layers) => Object.assign(layers[1]!, { kernel: [1, 3], padding: [0, 0, 1, 1] }),
    ],
    ['layers that do not fit', 'FORMAT', /'conv' takes 3 channels/, (layers) => (layers[1]!['inputs'] = 3)],
    ['an unknown quantizer', 'FORMAT', /'ste-sin'/, (layers) => (layers[1]!['weightQuantizer'] = 'ste-sin')],
    [
      'a missing tensor',
      'FORMAT',
      /'more.gamma' is missing/,
      (layers) =>
        layers.splice(2, 0, { type: 'batch-norm', name: 'more', features: 2, epsilon: 1e-5, momentum: 0.1 }),
    ],
    [
      'a layer of signs in format 2',
      'FORMAT',
      /layers\.1/,
      (layers) => (layers[1] = { type: 'sign', name: 's', quantizer: 'ste-sign' }),
    ],
  ];
  for (const [what, code, message, change] of refused) {
    it(`with ${what} is refused`, () => {
      using model = new Model(
        spec([conv('conv', 2, 2), { type: 'flatten', name: 'flatten' }, dense('dense', 72, 3, null)]),
        5,
      );
      saveModel(model, path);
      edit(({ layers }) => change(layers));
      expectRefusal(`ERR_HARDBIT_${code}`, message);
    });
  }

  it('with residual blocks in blocks without end is refused', () => {
    using model = new Model(spec([{ type: 'flatten', name: 'flatten' }, dense('dense', 72, 3, null)]), 5);
    saveModel(model, path);
    const nest = (depth: number): LayerSpec => ({
      type: 'residual',
      name: `block${depth}`,
      body: depth === 0 ? [] : [nest(depth - 1)],
      shortcut: [],
    });
    edit(({ layers }) => layers.splice(1, 0, nest(15) as unknown as Record<string, unknown>));
    loadModel(path).dispose();
    edit(({ layers }) => {
      layers[1] = nest(500) as unknown as Record<string, unknown>;
    });
    expectRefusal('ERR_HARDBIT_FORMAT', /nested deeper than 16/);
  });
});
