import { expect } from 'chai';
import { resolveAttack, runAttack } from '../../lib/attacks/registry.js';
import { toFloatImages } from '../../lib/data/dataset.js';
import { evaluateAttack } from '../../lib/evaluation/attack.js';
import { evaluateClean } from '../../lib/evaluation/clean.js';
import { evaluateTransfer } from '../../lib/evaluation/transfer.js';
import { evaluateWorstCase } from '../../lib/evaluation/worst-case.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { everyLayer } from '../nn/networks.js';
import { describeOnGpu, noisy, onBoth, specOf } from './support.js';

describeOnGpu('attacks on a GPU', () => {
  for (const [title, spec] of [
    ['mnist-fcn bnn', () => specOf('mnist-fcn', 'bnn', 2)],
    ['every layer', () => everyLayer],
  ] as const) {
    for (const attack of [
      resolveAttack('pgd', { epsilon: 0.2, steps: 3, restarts: 2 }),
      resolveAttack('pgd', { epsilon: 1, norm: 'l2', steps: 3, earlyStop: true }),
      resolveAttack('r-fgsm', { epsilon: 0.1 }),
    ]) {
      it(`give the same images, up to rounding (${attack.name}, ${attack.norm}, ${title})`, () => {
        using both = onBoth(spec(), 3);
        scope(() => {
          const data = noisy(5, both.cpu.inputShape, both.cpu.classes);
          const there = data.to('cuda');
          const context = { seed: 2 };
          const [onCpu, onGpu] = [
            runAttack(attack, both.cpu.attackable(), toFloatImages(data.images), data.labels, context),
            runAttack(attack, both.gpu.attackable(), toFloatImages(there.images), there.labels, context),
          ];
          expect(onGpu.adversarial.device).to.equal('cuda');
          expect(onGpu.gradientCalls).to.deep.equal(onCpu.gradientCalls);
          expect(onGpu.firstGradientZero).to.deep.equal(onCpu.firstGradientZero);
          const expected = onCpu.adversarial.toFloat32Array();
          const found = onGpu.adversarial.toFloat32Array();
          // A gradient that all but vanishes may have the other sign.
          const other = found.filter((pixel, i) => Math.abs(pixel - (expected[i] as number)) > 1e-5).length;
          expect(other / found.length).to.be.below(0.01);
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
    expect(memoryInfo().liveTensors).to.equal(before);
    for (const each of [data, there]) each.dispose();
  });
});
