import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { compileModel } from '../../lib/compile/compile.js';
import { toFloatImages } from '../../lib/data/dataset.js';
import { createModel, loadModel, type Model, type ModelSpec, saveModel } from '../../lib/models/registry.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { adam, bop, type OptimizerSpec } from '../../lib/training/options.js';
import { createTrainer } from '../../lib/training/step.js';
import { everyLayer } from '../nn/networks.js';
import { failure } from '../support/failure.js';
import { describeOnGpu, noisy, onBoth, specOf } from './support.js';

const networks: readonly (readonly [string, () => ModelSpec])[] = [
  ['mnist-fcn bnn', () => specOf('mnist-fcn', 'bnn', 2)],
  ['lenet5 xnor', () => specOf('lenet5', 'xnor', 8)],
  ['every layer', () => everyLayer],
];

/** Largest difference of two networks' parameters and buffers. */
function distance(a: Model, b: Model): number {
  const other = b.state();
  let most = 0;
  for (const [name, { values }] of a.state()) {
    const there = other.get(name)?.values as Float32Array;
    values.forEach((value, i) => {
      most = Math.max(most, Math.abs(value - (there[i] as number)));
    });
  }
  return most;
}

/** Fraction of their numbers that differ by more than a rounding. */
function apart(a: Model, b: Model): number {
  const other = b.state();
  let [differ, count] = [0, 0];
  for (const [name, { values }] of a.state()) {
    const there = other.get(name)?.values as Float32Array;
    values.forEach((value, i) => {
      const far = Math.abs(value - (there[i] as number)) > 1e-4 * Math.max(1, Math.abs(value));
      differ += Number(far);
    });
    count += values.length;
  }
  return differ / count;
}

describeOnGpu('networks on a GPU', () => {
  for (const [title, spec] of networks) {
    it(`begin with the same weights, and sum the same integers (${title})`, () => {
      using both = onBoth(spec(), 3);
      const { cpu, gpu } = both;
      expect([cpu.device, gpu.device]).to.deep.equal(['cpu', 'cuda']);
      expect(distance(cpu, gpu)).to.equal(0);
      scope(() => {
        const images = toFloatImages(noisy(4, cpu.inputShape, cpu.classes).images);
        expect(gpu.codes(images.to('cuda'))).to.deep.equal(cpu.codes(images));
        expect(gpu.integerPreactivations(images.to('cuda'))).to.deep.equal(cpu.integerPreactivations(images));
        const expected = cpu.logits(images).toFloat32Array();
        gpu
          .logits(images.to('cuda'))
          .toFloat32Array()
          .forEach((logit, i) => {
            expect(logit).to.be.closeTo(expected[i] as number, 1e-4);
          });
      });
    });
  }

  const trainings: readonly (readonly [string, () => ModelSpec, OptimizerSpec])[] = [
    ...networks.map(([title, spec]) => [title, spec, adam()] as const),
    ['mnist-fcn bnn, bop', () => specOf('mnist-fcn', 'bnn', 2), bop()],
  ];
  for (const [title, spec, optimizer] of trainings) {
    it(`train alike (${title})`, () => {
      using both = onBoth(spec(), 3);
      const { cpu, gpu } = both;
      scope(() => {
        const data = noisy(6, cpu.inputShape, cpu.classes);
        const images = toFloatImages(data.images);
        const there = data.to('cuda');
        const trainers = [cpu, gpu].map((model) => createTrainer(model, { optimizer, seed: 5 }));
        const [host, device] = trainers as [(typeof trainers)[0], (typeof trainers)[0]];
        const before = memoryInfo().liveTensors;
        for (let step = 0; step < 3; step++) {
          const expected = host.step(images, data.labels);
          const found = device.step(toFloatImages(there.images), there.labels);
          // A gradient that all but vanishes may turn its sign, and Adam's first step is one of signs.
          expect(found.lossSum).to.be.closeTo(expected.lossSum, step === 0 ? 1e-4 : 0.5);
          expect(found.rows).to.equal(6);
          if (step === 0) expect(apart(cpu, gpu)).to.be.below(0.01);
        }
        // Only the images of the three steps, which belong to this scope, and four tensors of a recorded step.
        expect(memoryInfo().liveTensors).to.be.at.most(before + 3 + 4);
        for (const trainer of trainers) trainer.dispose();
      });
    });
  }

  it('take their losses along in queued steps', () => {
    const options = { inputBits: 2, recipe: 'bnn', seed: 1, device: 'cuda' } as const;
    using one = createModel('mnist-fcn', options);
    using other = createModel('mnist-fcn', options);
    scope(() => {
      const data = noisy(6, one.inputShape, 10).to('cuda');
      const images = toFloatImages(data.images);
      const read = createTrainer(one, { optimizer: adam() });
      const queued = createTrainer(other, { optimizer: adam() });
      let lossSum = 0;
      for (let step = 0; step < 3; step++) {
        lossSum += read.step(images, data.labels).lossSum;
        queued.queueStep(images, data.labels);
      }
      expect(queued.unreadSteps).to.equal(3);
      const found = queued.readSteps();
      expect(found.lossSum).to.be.closeTo(lossSum, 1e-9);
      expect([found.rows, queued.unreadSteps]).to.deep.equal([18, 0]);
      expect(distance(one, other)).to.equal(0);
      for (const trainer of [read, queued]) trainer.dispose();
    });
  });

  it('are written and read across devices, to the same bytes', () => {
    const folder = mkdtempSync(join(tmpdir(), 'hardbit-cuda-'));
    const at = (name: string) => join(folder, name);
    try {
      using both = onBoth(everyLayer, 7);
      saveModel(both.cpu, at('cpu'));
      saveModel(both.gpu, at('gpu'));
      expect(readFileSync(at('gpu'))).to.deep.equal(readFileSync(at('cpu')));
      using onGpu = loadModel(at('cpu'), { device: 'cuda' });
      using onCpu = loadModel(at('gpu'));
      expect([onGpu.device, onCpu.device]).to.deep.equal(['cuda', 'cpu']);
      expect(distance(onGpu, onCpu)).to.equal(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('are copied from one device to the other', () => {
    using both = onBoth(everyLayer, 7);
    using there = both.cpu.to('cuda');
    using back = there.to('cpu');
    expect([there.device, back.device]).to.deep.equal(['cuda', 'cpu']);
    expect(distance(both.cpu, back)).to.equal(0);
    // A copy of its own.
    back.parameters[0]?.variable.value.write(
      new Float32Array(back.parameters[0].variable.value.toFloat32Array().length).fill(9),
    );
    expect(distance(both.cpu, there)).to.equal(0);
  });

  it('compile to the same file', () => {
    using both = onBoth(specOf('mnist-fcn', 'bnn', 2), 7);
    expect(compileModel(both.gpu)).to.deep.equal(compileModel(both.cpu));
  });

  it('say where the images have to be', () => {
    using both = onBoth(everyLayer, 7);
    scope(() => {
      const images = toFloatImages(noisy(2, [6, 6, 2], 3).images);
      for (const [model, wrong] of [
        [both.gpu, images],
        [both.cpu, images.to('cuda')],
      ] as const) {
        const error = failure(() => model.logits(wrong));
        expect(error.code).to.equal('ERR_HARDBIT_ARGUMENT');
        expect(error.message).to.contain(`images.to('${model.device}')`);
      }
    });
  });
});
