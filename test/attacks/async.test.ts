import { expect } from 'chai';
import type { Attackable } from '../../lib/attacks/attackable.js';
import { type AttackSpec, resolveAttack, runAttack, runAttackAsync } from '../../lib/attacks/registry.js';
import { native } from '../../lib/native.js';
import { scope } from '../../lib/tensor/scope.js';
import {
  imageTensor,
  labelTensor,
  linearAttackable,
  randomImages,
  randomLabels,
  randomLinear,
} from './linear.js';

const N = 9;
const model = randomLinear(1);
const pixels = randomImages(2, N, model.inputShape);
const labels = randomLabels(3, N, model.classes);
const victim = linearAttackable(model);

/** Takes as long for a gradient as a large network does. */
const slow: Attackable = {
  ...victim,
  vjp: (images, cotangent) => {
    const until = performance.now() + 12;
    while (performance.now() < until);
    return victim.vjp(images, cotangent);
  },
};

/** Runs `body` on images and labels, and checks that it leaves no tensor behind. */
async function withBatch(
  body: (run: (spec: AttackSpec, on: Attackable, signal?: AbortSignal) => Promise<number[]>) => Promise<void>,
  onFraction?: (fraction: number) => void,
): Promise<void> {
  const before = native().memory().liveTensors;
  const images = imageTensor(pixels, model.inputShape);
  const given = labelTensor(labels);
  try {
    await body(async (spec, on, signal) => {
      const { adversarial } = await runAttackAsync(spec, on, images, given, { seed: 5, signal }, onFraction);
      const data = adversarial.toFloat32Array();
      adversarial.dispose();
      return [...data];
    });
  } finally {
    images.dispose();
    given.dispose();
    expect(native().memory().liveTensors).to.be.at.most(before);
  }
}

const specs = [
  resolveAttack('fgsm', { epsilon: 0.1 }),
  resolveAttack('r-fgsm', { epsilon: 0.1 }),
  resolveAttack('bim', { epsilon: 0.1, earlyStop: true }),
  resolveAttack('pgd', { epsilon: 0.1, restarts: 3 }),
  resolveAttack('pgd', { epsilon: 0.5, norm: 'l2', restarts: 3, earlyStop: true }),
];

describe('runAttackAsync', () => {
  it('makes what runAttack makes, even where several run at once', async () => {
    await withBatch(async (run) => {
      const made = await Promise.all(specs.map((spec) => run(spec, spec.name === 'pgd' ? slow : victim)));
      made.forEach((data, i) => {
        const expected = scope(() => {
          const images = imageTensor(pixels, model.inputShape);
          const context = { seed: 5 };
          return runAttack(
            specs[i] as AttackSpec,
            victim,
            images,
            labelTensor(labels),
            context,
          ).adversarial.toFloat32Array();
        });
        expect(data).to.deep.equal([...expected]);
      });
    });
  });

  it('serves timers between the steps, and says how far it is', async () => {
    const fractions: number[] = [];
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    try {
      await withBatch(
        async (run) => {
          await run(resolveAttack('pgd', { epsilon: 0.1, steps: 8 }), slow);
        },
        (fraction) => fractions.push(fraction),
      );
    } finally {
      clearInterval(timer);
    }
    expect(turns).to.be.at.least(5);
    expect(fractions).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8].map((step) => step / 8));
  });

  it('stops within a step of an abortion from outside', async () => {
    const controller = new AbortController();
    let gradients = 0;
    const counted: Attackable = {
      ...slow,
      vjp: (images, cotangent) => {
        gradients++;
        return slow.vjp(images, cotangent);
      },
    };
    setTimeout(() => controller.abort(), 30);
    const spec = resolveAttack('pgd', { epsilon: 0.1, steps: 1000, restarts: 2, earlyStop: true });
    await withBatch(async (run) => {
      let code: unknown;
      await run(spec, counted, controller.signal).catch((error: { code?: string }) => {
        code = error.code;
      });
      expect(code).to.equal('ERR_HARDBIT_ABORTED');
    });
    expect(gradients).to.be.below(100);
  });

  it('frees what it holds where the listener fails', async () => {
    const listener = () => {
      throw new Error('not listening');
    };
    await withBatch(async (run) => {
      let message = '';
      await run(resolveAttack('pgd', { epsilon: 0.1 }), slow).catch((error: Error) => {
        message = error.message;
      });
      expect(message).to.equal('not listening');
    }, listener);
  });
});
