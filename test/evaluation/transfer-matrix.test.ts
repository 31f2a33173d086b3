import { expect } from 'chai';
import { resolveAttack } from '../../lib/attacks/registry.js';
import type { Dataset } from '../../lib/data/dataset.js';
import { evaluateAttack } from '../../lib/evaluation/attack.js';
import type { EvaluatedModel } from '../../lib/evaluation/batches.js';
import {
  evaluateTransfer,
  evaluateTransferMatrix,
  type MatrixSource,
  type NamedNetwork,
  type TransferMatrixOptions,
} from '../../lib/evaluation/transfer.js';
import { native } from '../../lib/native.js';
import type { Tensor } from '../../lib/tensor/tensor.js';
import { randomImages, randomLabels, randomLinear } from '../attacks/linear.js';
import { datasetOf, discretizedLinear } from './discretized.js';

const N = 30;
const shape = [3, 2, 2] as const;
const named = (name: string, seed: number, bits: number): NamedNetwork => ({
  name,
  model: discretizedLinear(randomLinear(seed, shape), bits),
});
const a = named('a', 71, 2);
const b = named('b', 72, 8);
const c = named('c', 73, 4);
const twin = named('a, another seed', 74, 2);
const pixels = randomImages(75, N, shape);
const labels = randomLabels(76, N, 4);
const attack = resolveAttack('pgd', { epsilon: 0.2, steps: 3 });

async function withData<T>(body: (data: Dataset) => Promise<T>): Promise<T> {
  const before = native().memory().liveTensors;
  const data = datasetOf(pixels, labels, shape, 4);
  try {
    return await body(data);
  } finally {
    data.dispose();
    expect(native().memory().liveTensors).to.be.at.most(before);
  }
}

const matrix = (
  sources: readonly MatrixSource[],
  targets: readonly NamedNetwork[],
  options: Partial<TransferMatrixOptions> = {},
) => withData((data) => evaluateTransferMatrix(sources, targets, data, attack, { seed: 6, ...options }));

function figures({ seconds, ...rest }: { readonly seconds: number }): object {
  return rest;
}

/** The images of `source` shown to `target`, by the single evaluation. */
function single(source: NamedNetwork, target: NamedNetwork): Promise<object> {
  return withData(async (data) => {
    const { adversarial, ...own } = await evaluateAttack(source.model, data, attack, {
      seed: 6,
      keepAdversarial: true,
    });
    const images = adversarial as Tensor;
    try {
      if (source === target) return figures(own);
      const info = { source: source.name, attack, gradientMode: own.gradientMode, seed: 6 };
      return figures(await evaluateTransfer(target.model, data, images, info));
    } finally {
      images.dispose();
    }
  });
}

/** Counts how often a network is differentiated. */
function counting(network: NamedNetwork): NamedNetwork & { readonly count: () => number } {
  let calls = 0;
  const model: EvaluatedModel = {
    ...network.model,
    attackable: (mode) => {
      calls++;
      return network.model.attackable(mode);
    },
  };
  return { name: network.name, model, count: () => calls };
}

describe('evaluateTransferMatrix', () => {
  it('has a cell for each source and target, equal to the single evaluation', async () => {
    const cells = await matrix([{ ...a, twin }, b], [a, b, c], { batchSize: 11 });
    const expected = [
      ['a', 'a', 'twin', await single(twin, a)],
      ['a', 'b', null, await single(a, b)],
      ['a', 'c', null, await single(a, c)],
      ['b', 'a', null, await single(b, a)],
      ['b', 'b', 'white-box', await single(b, b)],
      ['b', 'c', null, await single(b, c)],
    ];
    expect(
      cells.map((cell) => [cell.source, cell.target, cell.diagonal, figures(cell.evaluation)]),
    ).to.deep.equal(expected);
    expect(cells.map(({ evaluation }) => evaluation.threatModel)).to.deep.equal([
      'transfer',
      'transfer',
      'transfer',
      'transfer',
      'white-box',
      'transfer',
    ]);
    expect(cells[0]?.evaluation.source).to.equal(twin.name);
  });

  it('attacks each source once, and a twin only where its network is a target', async () => {
    const [source, other, second] = [counting(a), counting(b), counting(twin)];
    await matrix([{ ...source, twin: second }, other], [source, other, c]);
    expect([source.count(), other.count(), second.count()]).to.deep.equal([1, 1, 1]);
    await matrix([{ ...source, twin: second }], [c]);
    expect([source.count(), second.count()]).to.deep.equal([2, 1]);
    await matrix([{ ...source, twin: second }], [source]);
    expect([source.count(), second.count()]).to.deep.equal([2, 2]);
  });

  it('says how far it is, from 0 to 1', async () => {
    const seen: string[] = [];
    const fractions: number[] = [];
    await matrix([{ ...a, twin }, b], [a, b], {
      onProgress: ({ source, target, fraction }) => {
        fractions.push(fraction);
        if (seen.at(-1) !== `${source} → ${target}`) seen.push(`${source} → ${target}`);
      },
    });
    expect(seen).to.deep.equal([
      'a → null',
      'a → b',
      `${twin.name} → null`,
      `${twin.name} → a`,
      'b → null',
      'b → a',
    ]);
    expect([...fractions].sort((x, y) => x - y)).to.deep.equal(fractions);
  });

  it('stops when it is aborted, wherever it is, and frees everything', async () => {
    for (const stopAt of [1, 2, 3, 4]) {
      const controller = new AbortController();
      let calls = 0;
      let code: unknown;
      await matrix([a, b], [a, b, c], {
        signal: controller.signal,
        batchSize: 10,
        onProgress: () => {
          if (++calls === 2 * stopAt) controller.abort();
        },
      }).catch((error: { code?: string }) => {
        code = error.code;
      });
      expect(code, String(stopAt)).to.equal('ERR_HARDBIT_ABORTED');
    }
  });

  it('refuses lists that are empty or ambiguous', async () => {
    const cases: [readonly MatrixSource[], readonly NamedNetwork[]][] = [
      [[], [a]],
      [[a], []],
      [[a, a], [b]],
      [[a], [b, b]],
      [[a], [{ name: 'a', model: b.model }]],
      [[{ ...a, twin: { name: 'b', model: twin.model } }], [b]],
    ];
    for (const [sources, targets] of cases) {
      let code: unknown;
      await matrix(sources, targets).catch((error: { code?: string }) => {
        code = error.code;
      });
      expect(code).to.equal('ERR_HARDBIT_ARGUMENT');
    }
  });
});
