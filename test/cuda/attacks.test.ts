import { expect } from 'chai';
import type { Attackable } from '../../lib/attacks/attackable.js';
import { measurePerturbation } from '../../lib/attacks/ball.js';
import { crossEntropy } from '../../lib/attacks/objective.js';
import { KeptWalk } from '../../lib/attacks/recorded-walk.js';
import { type AttackSpec, resolveAttack, runAttack } from '../../lib/attacks/registry.js';
import { toFloatImages } from '../../lib/data/dataset.js';
import { HardbitError } from '../../lib/errors.js';
import { evaluateAttack } from '../../lib/evaluation/attack.js';
import { evaluateClean } from '../../lib/evaluation/clean.js';
import { evaluateTransfer } from '../../lib/evaluation/transfer.js';
import { evaluateWorstCase } from '../../lib/evaluation/worst-case.js';
import { attackStep, attackStepL2 } from '../../lib/ops/attack-step.js';
import { record } from '../../lib/ops/recording.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { conv, dense, everyLayer, norm, spec } from '../nn/networks.js';
import { numbers } from '../ops/numeric.js';
import { describeOnGpu, noisy, onBoth, specOf } from './support.js';

/** Fraction of the pixels that differ by more than a rounding: where a gradient all but vanishes it may have the other sign. */
function apart(a: Float32Array, b: Float32Array): number {
  return a.filter((pixel, i) => Math.abs(pixel - (b[i] as number)) > 1e-5).length / a.length;
}

/** Channels enough for gradients in int8. */
const channels = spec([
  conv('conv1', 2, 16, { weightQuantizer: 'ste-sign' }),
  norm('norm1', 16),
  { type: 'quantize', name: 'sign1', quantizer: 'ste-sign' },
  conv('conv2', 16, 8, { weightQuantizer: 'ste-sign' }),
  norm('norm2', 8),
  { type: 'flatten', name: 'flatten' },
  dense('dense', 288, 3, null),
]);

describeOnGpu('attacks on a GPU', () => {
  for (const [metric, arithmetic, network] of [
    ['linf', 'float', everyLayer],
    ['l2', 'float', everyLayer],
    ['l2', 'int8', channels],
  ] as const) {
    it(`take recorded steps as they take others (${metric}, ${arithmetic})`, () => {
      using both = onBoth(network, 3);
      const attack = resolveAttack('pgd', {
        ...{ epsilon: metric === 'l2' ? 1 : 0.2, norm: metric, steps: 7, restarts: 2 },
      });
      scope(() => {
        const { images, labels } = noisy(5, both.cpu.inputShape, both.cpu.classes).to('cuda');
        const x = toFloatImages(images);
        const walks = (recordable?: boolean) => {
          const attackable = both.gpu.attackable({ arithmetic });
          const seen = recordable === undefined ? attackable : { ...attackable, recordable };
          // What draws by the number of gradients goes on from one attack to the next.
          return [1, 2].map((seed) =>
            runAttack(attack, seen, x, labels, { seed }).adversarial.toFloat32Array(),
          );
        };
        const [first, second] = walks();
        expect([first, second]).to.deep.equal(walks(false));
        expect(first).not.to.deep.equal(second);
        expect(first).not.to.deep.equal(x.toFloat32Array());
      });
    });
  }

  for (const arithmetic of ['float', 'int8'] as const) {
    it(`keep a recorded step for the batches that follow (${arithmetic})`, () => {
      using both = onBoth(channels, 3);
      const attack = resolveAttack('pgd', { epsilon: 0.2, steps: 6 });
      scope(() => {
        const { images, labels } = noisy(11, both.cpu.inputShape, both.cpu.classes).to('cuda');
        const x = toFloatImages(images);
        // Batches of 4, 4 and 3 images, then other weights, then another attack.
        const walks = (recorded?: KeptWalk) => {
          const attackable = both.gpu.attackable({ arithmetic });
          const seen = recorded === undefined ? { ...attackable, recordable: false } : attackable;
          const run = (spec: AttackSpec, begin: number, end: number) =>
            runAttack(spec, seen, x.slice(begin, end), labels.slice(begin, end), {
              ...{ seed: 1, firstRow: begin },
              ...{ recorded },
            }).adversarial.toFloat32Array();
          const before = both.gpu.state();
          const results = [run(attack, 0, 4), run(attack, 4, 8), run(attack, 8, 11)];
          const values = [...before].map(
            ([name, { values }]) => [name, name.endsWith('weight') ? values.map((v) => -v) : values] as const,
          );
          both.gpu.loadState(new Map(values));
          results.push(run(attack, 0, 4), run({ ...attack, epsilon: 0.1 }, 0, 4), run(attack, 4, 8));
          both.gpu.loadState(new Map([...before].map(([name, { values }]) => [name, values])));
          return results;
        };
        const expected = walks();
        const recorded = new KeptWalk();
        const take = recorded.take.bind(recorded);
        const taken: unknown[] = [];
        recorded.take = (...given) => {
          const walk = take(...given);
          taken.push(walk);
          return walk;
        };
        expect(walks(recorded)).to.deep.equal(expected);
        expect(taken[0]).to.not.equal(undefined);
        expect(taken[1]).to.equal(taken[0]);
        expect(taken[2]).to.equal(undefined);
        expect(new Set(taken).size).to.equal(5);
        recorded.dispose();
        expect(new Set(expected.map((each) => each.join())).size).to.equal(6);
      });
    });
  }

  it('queue steps one by one where there is no room for a recorded one', () => {
    using both = onBoth(channels, 3);
    const attack = resolveAttack('pgd', { epsilon: 0.2, steps: 6 });
    scope(() => {
      const { images, labels } = noisy(4, both.cpu.inputShape, both.cpu.classes).to('cuda');
      const x = toFloatImages(images);
      const attackable = both.gpu.attackable();
      const expected = runAttack(attack, attackable, x, labels, { seed: 1 }).adversarial.toFloat32Array();
      for (const recorded of [undefined, new KeptWalk()]) {
        let calls = 0;
        // The first step runs; what follows is recorded for others, then for this batch alone, then queued.
        const full: Attackable = {
          ...attackable,
          vjp(at, cotangent) {
            calls += 1;
            if (calls > 1 && calls < (recorded === undefined ? 3 : 4)) {
              throw new HardbitError('ERR_HARDBIT_MEMORY', 'The GPU is full.');
            }
            return attackable.vjp(at, cotangent);
          },
        };
        const { adversarial } = runAttack(attack, full, x, labels, { seed: 1, recorded });
        expect(adversarial.toFloat32Array()).to.deep.equal(expected);
        expect(calls).to.equal(recorded === undefined ? 7 : 8);
        recorded?.dispose();
      }
    });
  });

  it('leave no memory behind that a recorded step had', async () => {
    using both = onBoth(channels, 3);
    const data = noisy(8, both.cpu.inputShape, both.cpu.classes);
    const attack = resolveAttack('pgd', { epsilon: 0.2, steps: 6 });
    const measure = () => evaluateAttack(both.gpu, data, attack, { seed: 1, batchSize: 4 });
    const first = await measure();
    const { liveTensors } = memoryInfo();
    expect((await measure()).adversarialAccuracy).to.equal(first.adversarialAccuracy);
    expect(memoryInfo().liveTensors).to.be.at.most(liveTensors); // forgotten ones of other tests may be collected meanwhile
  });

  it('have the int8 gradients of the cpu through binary convolutions, pooling and signs, bit by bit', () => {
    const binary = { weightQuantizer: 'ste-sign', paddingValue: 'one' } as const;
    const pool = { type: 'max-pool', kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] } as const;
    const sign = { type: 'quantize', quantizer: 'ste-sign' } as const;
    const network = spec(
      [
        conv('conv1', 5, 24, binary),
        norm('norm1', 24),
        { ...sign, name: 'sign1' },
        conv('conv2', 24, 128, binary),
        { ...pool, name: 'pool2' },
        norm('norm2', 128),
        { ...sign, name: 'sign2' },
        conv('conv3', 128, 20, binary),
        { ...pool, name: 'pool3' },
        norm('norm3', 20),
        { ...sign, name: 'sign3' },
        { type: 'flatten', name: 'flatten' },
        dense('dense', 20 * 2 * 1, 3, 'ste-sign'),
        norm('norm4', 3),
      ],
      { inputShape: [8, 6, 5] },
    );
    using both = onBoth(network, 3);
    const gradientOn = (device: 'cpu' | 'gpu') =>
      scope(() => {
        const place = device === 'cpu' ? 'cpu' : 'cuda';
        const pixels = numbers(4 * 240, 5).map((v) => (v + 1) / 2);
        const images = Tensor.from('f32', [4, 8, 6, 5], pixels, place);
        const cotangent = Tensor.from('f32', [4, 3], numbers(12, 6), place);
        const attackable = both[device].attackable({ arithmetic: 'int8' });
        return [...attackable.vjp(images, () => cotangent).gradient.toFloat32Array()];
      });
    const expected = gradientOn('cpu');
    expect(expected.some((v) => v !== 0)).to.equal(true);
    expect(gradientOn('gpu')).to.deep.equal(expected);
  });

  for (const recipe of ['none', 'bnn', 'xnor', 'bwn']) {
    it(`take steps that can be recorded (lenet5, ${recipe})`, () => {
      using both = onBoth(specOf('lenet5', recipe, 2), 3);
      const attackable = both.gpu.attackable();
      scope(() => {
        const { images, labels } = noisy(2, both.cpu.inputShape, both.cpu.classes).to('cuda');
        const x = toFloatImages(images);
        const step = (): void => {
          const { gradient } = attackable.vjp(x, (logits) => crossEntropy(logits, labels).gradient);
          x.assign(attackStep(x, gradient, x, 0.1, 0.1));
        };
        step();
        const recorded = record(step);
        expect(recorded).not.to.equal(undefined);
        recorded?.run(0, 1);
        recorded?.dispose();
      });
    });
  }

  for (const [title, spec] of [
    ['mnist-fcn bnn', () => specOf('mnist-fcn', 'bnn', 2)],
    ['every layer', () => everyLayer],
  ] as const) {
    for (const norm of ['linf', 'l2'] as const) {
      it(`take the same steps, up to rounding (${norm}, ${title})`, () => {
        using both = onBoth(spec(), 3);
        const epsilon = norm === 'l2' ? 1 : 0.2;
        const move = norm === 'l2' ? attackStepL2 : attackStep;
        scope(() => {
          const data = noisy(5, both.cpu.inputShape, both.cpu.classes);
          const there = data.to('cuda');
          const labels = { cpu: data.labels, gpu: there.labels };
          const origin = { cpu: toFloatImages(data.images), gpu: toFloatImages(there.images) };
          const step = (key: 'cpu' | 'gpu', x: Tensor): Tensor => {
            const { gradient } = both[key]
              .attackable()
              .vjp(x, (logits) => crossEntropy(logits, labels[key]).gradient);
            return move(x, gradient, origin[key], epsilon / 2, epsilon);
          };
          // Each from the cpu's images: a pixel apart may turn a sign somewhere, and the rest of the way with it.
          let x = origin.cpu;
          for (let i = 0; i < 3; i++) {
            const found = step('gpu', x.to('cuda')).toFloat32Array();
            x = step('cpu', x);
            expect(apart(found, x.toFloat32Array())).to.be.below(0.01);
          }
        });
      });
    }

    for (const attack of [
      resolveAttack('pgd', { epsilon: 0.2, steps: 3, restarts: 2 }),
      resolveAttack('pgd', { epsilon: 1, norm: 'l2', steps: 3, earlyStop: true }),
      resolveAttack('r-fgsm', { epsilon: 0.1 }),
    ]) {
      it(`stay in the ball, from the same starts (${attack.name}, ${attack.norm}, ${title})`, () => {
        using both = onBoth(spec(), 3);
        const { cpu, gpu } = both;
        scope(() => {
          const data = noisy(5, cpu.inputShape, cpu.classes);
          const there = data.to('cuda');
          const [images, onGpu] = [toFloatImages(data.images), toFloatImages(there.images)];
          const context = { seed: 2 };
          const made = runAttack(attack, gpu.attackable(), onGpu, there.labels, context);
          expect(made.adversarial.device).to.equal('cuda');
          expect(measurePerturbation(made.adversarial, onGpu, attack.epsilon, attack.norm).outside).to.equal(
            0,
          );
          const expected = runAttack(attack, cpu.attackable(), images, data.labels, context);
          expect(made.firstGradientZero).to.deep.equal(expected.firstGradientZero);
          // One step decides nothing on the way.
          if (attack.name !== 'r-fgsm') return;
          expect(made.gradientCalls).to.deep.equal(expected.gradientCalls);
          const difference = apart(made.adversarial.toFloat32Array(), expected.adversarial.toFloat32Array());
          expect(difference).to.be.below(0.01);
        });
      });
    }
  }

  it('are evaluated from data on either device, and shown to a network on the other one', async () => {
    using both = onBoth(specOf('mnist-fcn', 'bnn', 2), 3);
    const data = noisy(12, [28, 28, 1], 10);
    const there = data.to('cuda');
    const before = memoryInfo().liveTensors;
    const attack = resolveAttack('pgd', { epsilon: 0.2, steps: 2 });
    const common = { seed: 1, batchSize: 5 };
    const { loss, correct } = await evaluateClean(both.gpu, data, { batchSize: 5 });
    const onCpu = await evaluateClean(both.cpu, there);
    expect(correct).to.deep.equal(onCpu.correct);
    expect(loss).to.be.closeTo(onCpu.loss, 1e-4);
    const made = await evaluateAttack(both.gpu, data, attack, { ...common, keepAdversarial: true });
    const again = await evaluateAttack(both.gpu, there, attack, common);
    expect(made.adversarialCorrect).to.deep.equal(again.adversarialCorrect);
    const adversarial = made.adversarial as NonNullable<typeof made.adversarial>;
    expect(adversarial.device).to.equal('cuda');
    const shown = await evaluateTransfer(both.cpu, data, adversarial, {
      source: 'gpu',
      attack,
      gradientMode: made.gradientMode,
      seed: 1,
    });
    expect(shown.adversarialCorrect).to.deep.equal(made.adversarialCorrect);
    adversarial.dispose();
    const worst = await evaluateWorstCase(both.gpu, there, [attack], {
      ...common,
      skipFooled: true,
      keepAdversarial: true,
    });
    expect(worst.adversarialAccuracy).to.be.at.most(made.adversarialAccuracy);
    worst.adversarial?.dispose();
    // Networks keep their quantized weights until they change.
    for (const model of [both.cpu, both.gpu]) model.invalidate();
    expect(memoryInfo().liveTensors).to.be.at.most(before); // as above
    for (const each of [data, there]) each.dispose();
  });
});
