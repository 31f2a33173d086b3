import { expect } from 'chai';
import { benchInference, peerLayer } from '../../lib/bench/inference.js';
import type { PackedLayer } from '../../lib/packed/packed.js';
import { rejection } from '../support/failure.js';

const layer: PackedLayer = {
  name: 'conv1',
  product: 'binary',
  input: 'signs',
  result: 'signs',
  in: [8, 6, 5],
  convolved: [8, 6, 7],
  out: [4, 3, 7],
  kernel: [3, 3],
  stride: [1, 1],
  dilation: [1, 1],
  padding: [1, 1, 1, 1],
  paddingValue: 'zero',
  groups: 1,
  pool: { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  batchNorm: true,
  relu: false,
  multiplyAccumulates: 1,
};

describe("the peers' layers", () => {
  it('are convolutions with their pooling, or dense where a kernel is as large as its image', () => {
    const conv = { type: 'conv', inputs: 5, outputs: 7, kernel: 3, stride: 1, padding: 1 };
    expect(peerLayer(layer)).to.deep.equal({ ...conv, pool: 2 });
    expect(peerLayer({ ...layer, pool: null })).to.deep.equal({ ...conv, pool: 1 });
    const whole = {
      ...layer,
      kernel: [8, 6],
      padding: [0, 0, 0, 0],
      convolved: [1, 1, 7],
      pool: null,
    } as const;
    expect(peerLayer(whole)).to.deep.equal({ type: 'dense', inputs: 8 * 6 * 5, outputs: 7 });
  });

  it('are none where their programs would build something else', () => {
    const pool = { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] } as const;
    for (const change of [
      { kernel: [3, 1] },
      { stride: [1, 2] },
      { dilation: [2, 2] },
      { padding: [1, 0, 1, 0] },
      { groups: 5 },
      { pool: { ...pool, stride: [1, 1] } },
      { pool: { ...pool, padding: [1, 0, 0, 0] } },
    ] as const) {
      expect(peerLayer({ ...layer, ...change } as PackedLayer), JSON.stringify(change)).to.equal(null);
    }
  });
});

describe('measurements of inference', function () {
  this.timeout(120_000);

  const quick = { threads: 1, rounds: 2, sampleSeconds: 0 };
  const network = { model: 'lenet5', recipe: 'bnn', bits: 2 };

  it('time a deployed network in a process of its own, and account for every peer', async () => {
    const { rows, benchmark } = await benchInference({ ...quick, network, batches: [1, 3] });
    expect(benchmark).to.equal('inference');
    expect(rows.map(({ shape }) => shape)).to.deep.equal([
      '28×28×1 of 2 bits, batch 1',
      '28×28×1 of 2 bits, batch 3',
    ]);
    // 20·25 taps on 24² pixels, 50·20·25 on 8², 500·800, 10·500.
    const macs = 20 * 25 * 24 * 24 + 50 * 20 * 25 * 8 * 8 + 500 * 800 + 10 * 500;
    expect(rows.map(({ operations }) => operations)).to.deep.equal([2 * macs, 3 * 2 * macs]);
    for (const { seconds, rate, limit, peers, absent, peakMegabytes } of rows) {
      expect(rate).to.be.above(0);
      expect([seconds.samples, limit]).to.deep.equal([2, null]);
      expect(peakMegabytes).to.be.within(20, 1000);
      expect([...peers, ...absent].map(({ name }) => name)).to.have.members([
        'onnxruntime fp32',
        'onnxruntime int8',
        'tfjs wasm',
      ]);
    }
  });

  it('refuse recipes that do not compile, and files that are none', async () => {
    const wrong = benchInference({ ...quick, network: { ...network, recipe: 'none' }, batches: [1] });
    expect((await rejection(wrong)).code).to.equal('ERR_HARDBIT_UNSUPPORTED');
    const missing = benchInference({ ...quick, network: { file: '/nonexistent/net.hbit' }, batches: [1] });
    expect((await rejection(missing)).code).to.equal('ERR_HARDBIT_READ');
  });
});
