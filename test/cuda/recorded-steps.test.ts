import { expect } from 'chai';
import { epochOrder, shuffledBatch, toFloatImages } from '../../lib/data/dataset.js';
import { Model } from '../../lib/models/registry.js';
import { native } from '../../lib/native.js';
import type { GradientArithmetic } from '../../lib/nn/model.js';
import { adam, bop, Optimizer, type OptimizerSpec, sgd } from '../../lib/optim/optimizer.js';
import { rateFactor, resolveSchedule } from '../../lib/optim/schedule.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { adversarialBatch, resolveAdversarial } from '../../lib/training/adversarial.js';
import { fit } from '../../lib/training/fit.js';
import { createTrainer } from '../../lib/training/step.js';
import { conv, dense, norm, spec } from '../nn/networks.js';
import { failure } from '../support/failure.js';
import { describeOnGpu, emulated, noisy, withEmulation } from './support.js';

/** Binary and float products, channels of each kind of rounding, dropout, and parameters that decay. */
const network = spec([
  conv('conv1', 2, 16, { weightQuantizer: 'ste-sign' }),
  { type: 'max-pool', name: 'pool1', kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  norm('norm1', 16),
  { type: 'quantize', name: 'sign1', quantizer: 'ste-sign' },
  conv('conv2', 16, 7, { weightQuantizer: 'magnitude-sign', paddingValue: 'one' }),
  norm('norm2', 7),
  { type: 'dropout', name: 'dropout', rate: 0.2 },
  { type: 'flatten', name: 'flatten' },
  dense('dense1', 63, 12, null),
  norm('norm3', 12),
  { type: 'quantize', name: 'sign2', quantizer: 'approx-sign' },
  dense('dense2', 12, 3, 'ste-tern'),
  norm('norm4', 3),
]);

const SEED = 5;

interface Batch {
  readonly images: Tensor;
  readonly labels: Tensor;
}

/** Everything that a training changes. */
function stateOf(model: Model, optimizer: Optimizer) {
  return {
    network: new Map([...model.state()].map(([name, { values }]) => [name, values])),
    slots: new Map([...optimizer.slots].map(([name, tensor]) => [name, tensor.toFloat32Array()])),
    steps: optimizer.steps,
  };
}

/** A step of a loop of one's own, which nobody records; the losses and the classes found. */
function ownStep(
  model: Model,
  optimizer: Optimizer,
  { images, labels }: Batch,
  gradientArithmetic: GradientArithmetic,
  factor: number,
) {
  return scope(() => {
    const draw = { seed: SEED, step: optimizer.steps, gradientArithmetic };
    const { logits, losses, gradients } = model.trainingGradients(images, labels, draw);
    optimizer.step(gradients, factor);
    model.invalidate();
    return { losses: losses.toFloat32Array(), logits: logits.toFloat32Array() };
  });
}

/** Batches of these sizes, all different, in the caller's scope. */
function batchesOf(sizes: readonly number[], seed = 1): Batch[] {
  return sizes.map((size, i) => {
    const data = noisy(size, network.inputShape, network.classes, seed + i).to('cuda');
    return { images: toFloatImages(data.images), labels: data.labels };
  });
}

const lossOf = (losses: Float32Array): number => losses.reduce((sum, loss) => sum + loss, 0);

/** How many recordings `body` makes. */
async function recordings(body: () => unknown): Promise<number> {
  const core = native();
  const { finishRecording } = core;
  let count = 0;
  core.finishRecording = () => {
    count += 1;
    return finishRecording();
  };
  try {
    await body();
  } finally {
    core.finishRecording = finishRecording;
  }
  return count;
}

describeOnGpu('training steps that are recorded on a GPU', () => {
  const sizes = [6, 6, 6, 4, 6, 6, 6, 6];
  const factors = [1, 0.9, 0.5, 0.7, 1 / 3, 0, 0.1, 1e-3];
  const trainings: readonly (readonly [string, OptimizerSpec, GradientArithmetic])[] = [
    ...(['float', 'bf16', 'int8'] as const).map(
      (arithmetic) => ['adam', adam({ learningRate: 0.01, weightDecay: 0.1 }), arithmetic] as const,
    ),
    ['sgd', sgd({ momentum: 0, weightDecay: 0.01 }), 'float'],
    ['sgd with Nesterov momentum', sgd({ nesterov: true }), 'bf16'],
    ['bop', bop({ gamma: 0.3, threshold: 1e-4 }), 'int8'],
  ];
  for (const [title, optimizer, arithmetic] of trainings) {
    it(`are those of a loop of one's own, bit by bit (${title}, ${arithmetic})`, () => {
      using expected = new Model(network, 3, 'cuda');
      using found = new Model(network, 3, 'cuda');
      const before = memoryInfo().liveTensors;
      scope(() => {
        const own = new Optimizer(optimizer, expected.parameters);
        const trainer = createTrainer(found, { optimizer, seed: SEED, gradientArithmetic: arithmetic });
        let lossSum = 0;
        const recorded: boolean[] = [];
        for (const [i, batch] of batchesOf(sizes).entries()) {
          const factor = factors[i] as number;
          lossSum += lossOf(ownStep(expected, own, batch, arithmetic, factor).losses);
          trainer.queueStep(batch.images, batch.labels, factor);
          recorded.push(trainer.recorded);
          // Evaluation keeps quantized weights, which no later step may take for its own.
          const logits = [expected, found].map((model) => model.logits(batch.images).read());
          expect(logits[1]).to.deep.equal(logits[0]);
        }
        expect(recorded).to.deep.equal([false, true, true, false, true, true, true, true]);
        const read = trainer.readSteps();
        expect(read.rows).to.equal(sizes.reduce((a, b) => a + b));
        expect(read.lossSum).to.be.closeTo(lossSum, 1e-9 * lossSum);
        expect(stateOf(found, trainer.optimizer)).to.deep.equal(stateOf(expected, own));
        own.dispose();
        trainer.dispose();
      });
      for (const model of [expected, found]) model.invalidate();
      expect(memoryInfo().liveTensors).to.equal(before);
    });
  }

  it('are not recorded where HARDBIT_CUDA_GRAPHS says so, and a wrong value is an error', () => {
    const before = process.env.HARDBIT_CUDA_GRAPHS;
    using model = new Model(network, 3, 'cuda');
    const steps = (setting: string): boolean => {
      process.env.HARDBIT_CUDA_GRAPHS = setting;
      return scope(() => {
        const trainer = createTrainer(model, { optimizer: sgd({}), seed: SEED });
        for (const { images, labels } of batchesOf([6, 6])) trainer.queueStep(images, labels);
        const { recorded } = trainer;
        trainer.dispose();
        return recorded;
      });
    };
    try {
      expect(steps('')).to.equal(true);
      expect(steps('off')).to.equal(false);
      const error = failure(() => steps('no'));
      expect(error.code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
      expect(error.message).to.equal("HARDBIT_CUDA_GRAPHS is 'no'; expected 'off' or nothing.");
    } finally {
      if (before === undefined) delete process.env.HARDBIT_CUDA_GRAPHS;
      else process.env.HARDBIT_CUDA_GRAPHS = before;
    }
  });

  it('tell of each batch, read one by one or together', () => {
    using expected = new Model(network, 3, 'cuda');
    using found = new Model(network, 3, 'cuda');
    scope(() => {
      const own = new Optimizer(adam(), expected.parameters);
      const trainer = createTrainer(found, { optimizer: adam(), seed: SEED });
      for (const batch of batchesOf([6, 6, 6, 6])) {
        const { losses, logits } = ownStep(expected, own, batch, 'float', 1);
        const labels = batch.labels.toInt32Array();
        const correct = labels.filter((label, i) => {
          const row = [...logits.subarray(3 * i, 3 * i + 3)];
          return row.indexOf(Math.max(...row)) === label;
        }).length;
        expect(trainer.step(batch.images, batch.labels)).to.deep.equal({
          lossSum: lossOf(losses),
          correct,
          rows: 6,
        });
      }
      own.dispose();
      trainer.dispose();
    });
  });

  it('follow a network that is given another state, and another size of batches', () => {
    using expected = new Model(network, 3, 'cuda');
    using found = new Model(network, 3, 'cuda');
    using other = new Model(network, 4, 'cuda');
    const state = new Map([...other.state()].map(([name, { values }]) => [name, values]));
    scope(() => {
      const own = new Optimizer(adam(), expected.parameters);
      const trainer = createTrainer(found, { optimizer: adam(), seed: SEED });
      const recorded: boolean[] = [];
      for (const [i, batch] of batchesOf([6, 6, 6, 4, 4, 4, 6]).entries()) {
        if (i === 2) for (const model of [expected, found]) model.loadState(state);
        ownStep(expected, own, batch, 'float', 1);
        trainer.queueStep(batch.images, batch.labels);
        recorded.push(trainer.recorded);
      }
      // One recording at a time: that of fours replaces that of sixes.
      expect(recorded).to.deep.equal([false, true, true, false, true, true, false]);
      expect(stateOf(found, trainer.optimizer)).to.deep.equal(stateOf(expected, own));
      own.dispose();
      trainer.dispose();
    });
  });

  it('are queued one by one where a number of theirs goes to the host', () => {
    const dorefa = spec([
      { type: 'flatten', name: 'flatten' },
      dense('dense1', 72, 8, 'dorefa-2'),
      norm('norm1', 8),
      { type: 'quantize', name: 'sign1', quantizer: 'ste-sign' },
      dense('dense2', 8, 3, 'ste-tern-twn'),
      norm('norm2', 3),
    ]);
    using expected = new Model(dorefa, 3, 'cuda');
    using found = new Model(dorefa, 3, 'cuda');
    scope(() => {
      const own = new Optimizer(adam(), expected.parameters);
      const trainer = createTrainer(found, { optimizer: adam(), seed: SEED });
      for (const batch of batchesOf([6, 6, 6, 6])) {
        ownStep(expected, own, batch, 'float', 1);
        trainer.queueStep(batch.images, batch.labels);
        expect(trainer.recorded).to.equal(false);
      }
      expect(stateOf(found, trainer.optimizer)).to.deep.equal(stateOf(expected, own));
      own.dispose();
      trainer.dispose();
    });
  });

  it('refuse what other steps refuse', () => {
    const model = new Model(network, 3, 'cuda');
    scope(() => {
      const trainer = createTrainer(model, { optimizer: adam(), seed: SEED });
      const [batch, wrong] = batchesOf([6, 5]) as [Batch, Batch];
      for (let i = 0; i < 3; i++) trainer.queueStep(batch.images, batch.labels);
      expect(trainer.recorded).to.equal(true);
      expect(failure(() => trainer.queueStep(batch.images, wrong.labels)).code).to.equal('ERR_HARDBIT_SHAPE');
      expect(failure(() => trainer.queueStep(batch.images, batch.labels, -1)).code).to.equal(
        'ERR_HARDBIT_ARGUMENT',
      );
      for (let i = 0; i < 2; i++) trainer.queueStep(batch.images, batch.labels);
      const labels = Tensor.from('i32', [6], Int32Array.of(0, 1, 2, 3, 0, 1), 'cuda');
      trainer.queueStep(batch.images, labels);
      expect(failure(() => trainer.readSteps()).code).to.equal('ERR_HARDBIT_LABELS');
      expect(trainer.optimizer.steps).to.equal(6);
      model.dispose();
      expect(failure(() => trainer.queueStep(batch.images, batch.labels)).code).to.equal(
        'ERR_HARDBIT_DISPOSED',
      );
      trainer.dispose();
      expect(failure(() => trainer.step(batch.images, batch.labels)).code).to.equal('ERR_HARDBIT_DISPOSED');
    });
  });

  it('are queued one by one where the memory does not suffice', function () {
    if (!emulated) this.skip();
    using expected = new Model(network, 3, 'cuda');
    using found = new Model(network, 3, 'cuda');
    scope(() => {
      const own = new Optimizer(adam(), expected.parameters);
      const trainer = createTrainer(found, { optimizer: adam(), seed: SEED });
      const batches = batchesOf([6, 6, 6]);
      for (const batch of batches) ownStep(expected, own, batch, 'float', 1);
      // What is cached goes back to the device when it asks for more than there is.
      withEmulation('1000', () => failure(() => Tensor.from('f32', [1e7], undefined, 'cuda')));
      const [first, ...others] = batches as [Batch, ...Batch[]];
      trainer.queueStep(first.images, first.labels);
      const { cudaLiveBytes, cudaCachedBytes } = memoryInfo();
      withEmulation(`${cudaLiveBytes + cudaCachedBytes}`, () => {
        for (const { images, labels } of others) trainer.queueStep(images, labels);
      });
      expect(trainer.recorded).to.equal(false);
      expect(stateOf(found, trainer.optimizer)).to.deep.equal(stateOf(expected, own));
      own.dispose();
      trainer.dispose();
    });
  });

  it("make up fit()'s epochs, with their schedule and their average", async () => {
    const [epochs, batchSize, seed] = [3, 6, SEED];
    const data = noisy(16, network.inputShape, network.classes).to('cuda');
    using expected = new Model(network, 3, 'cuda');
    using found = new Model(network, 3, 'cuda');
    const decay = 0.7;
    const schedule = resolveSchedule({ name: 'cosine', warmUpSteps: 2 });
    const optimizer = adam({ learningRate: 0.01 });
    const own = new Optimizer(optimizer, expected.parameters);
    let average: Map<string, Float32Array> | undefined;
    const history: number[] = [];
    for (let epoch = 0; epoch < epochs; epoch++) {
      const order = epochOrder(data, seed, epoch);
      let lossSum = 0;
      for (const [begin, end] of [
        [0, 6],
        [6, 12],
        [12, 16],
      ] as const) {
        scope(() => {
          const factor = rateFactor(schedule, own.steps, 3 * epochs, epochs);
          const batch = shuffledBatch(data, order, begin, end);
          lossSum += lossOf(ownStep(expected, own, batch, 'int8', factor).losses);
        });
        const now = stateOf(expected, own).network;
        average = new Map(
          [...now].map(([name, values]) => {
            const before = average?.get(name);
            if (before === undefined) return [name, values];
            return [name, values.map((v, i) => decay * (before[i] as number) + (1 - decay) * v)];
          }),
        );
      }
      order.dispose();
      history.push(lossSum / data.size);
    }
    own.dispose();
    const made = await recordings(async () => {
      const result = await fit(found, data, {
        ...{ epochs, batchSize, seed, optimizer, schedule, gradientArithmetic: 'int8', average: { decay } },
      });
      result.history.forEach(({ loss }, i) => {
        expect(loss).to.be.closeTo(history[i] as number, 1e-9);
      });
    });
    // One of the steps, and one of the average.
    expect(made).to.equal(2);
    expect(new Map([...found.state()].map(([name, { values }]) => [name, values]))).to.deep.equal(average);
    data.dispose();
  });

  it('take adversarial batches', async () => {
    const [epochs, batchSize, seed] = [1, 6, SEED];
    const data = noisy(24, network.inputShape, network.classes).to('cuda');
    using expected = new Model(network, 3, 'cuda');
    using found = new Model(network, 3, 'cuda');
    using source = new Model(network, 4, 'cuda');
    const adversarial = {
      ...{ attack: 'pgd', epsilon: 0.2, steps: 5 },
      sources: [{ name: 'source', model: source }],
    };
    const training = resolveAdversarial(adversarial, expected);
    const own = new Optimizer(adam(), expected.parameters);
    const order = epochOrder(data, seed, 0);
    for (let step = 0; step < 4; step++) {
      scope(() => {
        const { images, labels } = shuffledBatch(data, order, 6 * step, 6 * step + 6);
        const position = { seed, step, firstRow: 6 * step };
        ownStep(expected, own, adversarialBatch(expected, training, images, labels, position), 'float', 1);
      });
    }
    const made = await recordings(() => fit(found, data, { epochs, batchSize, seed, adversarial }));
    expect(stateOf(found, own).network).to.deep.equal(stateOf(expected, own).network);
    // One of each attack, and one of the steps.
    expect(made).to.equal(5);
    for (const each of [order, own, data]) each.dispose();
  });
});
