import { expect } from 'chai';
import { resolveAttack } from '../../lib/evaluation/attack-options.js';
import { measureCosts, modelKey, networkSeconds, stepKey, taskSeconds } from '../../lib/study/estimate.js';
import type { AttackTask, PlannedNetwork } from '../../lib/study/plan.js';
import { type Preset, presets } from '../../lib/study/presets.js';
import { planPreset } from '../../lib/study/run.js';
import { memoryInfo } from '../../lib/tensor/runtime.js';
import { bars } from './helpers.js';

const { quick } = presets.mnist;
const preset: Preset = {
  ...quick,
  blocks: quick.blocks.map((block) => ({
    ...block,
    inputBits: [8, 2],
    twins: 'natural' as const,
    trainings: [
      ...block.trainings,
      { kind: 'adversarial', attack: 'pgd', epsilon: 0.2, mix: 0.5, steps: 3 },
      {
        kind: 'ensemble',
        attack: 'fgsm',
        epsilon: 0.2,
        mix: 0.5,
        sources: [{ recipe: 'none', inputBits: 8 }],
      },
    ],
  })),
  fit: { ...quick.fit, batchSize: 32 },
};

describe('the estimate of a study', () => {
  const { networks, whiteBox, transfer } = planPreset(preset, 1);
  const find = (recipe: string, kind: string) =>
    networks.find((each) => each.recipe === recipe && each.training.kind === kind) as PlannedNetwork;

  it('measures each model, recipe and training once, and leaves no tensors', async () => {
    const data = { train: bars(256, 1), test: bars(64, 2) };
    const tensors = memoryInfo().liveTensors;
    const costs = await measureCosts({ trained: networks, attacked: networks }, data);
    expect(memoryInfo().liveTensors).to.be.at.most(tensors);
    data.train.dispose();
    data.test.dispose();
    // Two recipes, four trainings; input bits make no difference.
    expect(costs.step.size).to.equal(8);
    expect([...costs.prediction.keys()]).to.deep.equal(['mnist-fcn none', 'mnist-fcn bnn']);
    for (const cost of [...costs.step.values(), ...costs.prediction.values()]) {
      expect(cost).to.be.greaterThan(0);
    }
    for (const cost of costs.gradient.values()) expect(cost).to.be.at.least(0);
  });

  const natural = find('none', 'natural');
  const costs = {
    step: new Map([[stepKey(natural), 0.01]]),
    gradient: new Map([[modelKey(natural), 0.002]]),
    prediction: new Map([
      [modelKey(natural), 0.001],
      ['mnist-fcn bnn', 0.0005],
    ]),
  };
  const networkOf = (id: string) => networks.find((each) => each.id === id) as PlannedNetwork;

  it('counts the steps of a training', () => {
    // 3 epochs of ⌈100 / 32⌉ steps, and 50 predictions.
    expect(networkSeconds(costs, natural, { train: 100, test: 50 })).to.be.closeTo(
      12 * 0.01 + 50 * 0.001,
      1e-12,
    );
  });

  it('counts the gradients of an attack and the predictions of its targets', () => {
    const attack = resolveAttack('pgd', { epsilon: 0.1, steps: 20, restarts: 2 });
    const cell = whiteBox.find(({ network }) => network === natural.id);
    const shown = transfer.find(({ source }) => source === natural.id);
    if (cell === undefined || shown === undefined) throw new Error('The plan has no such cells.');
    const task: AttackTask = {
      network: natural.id,
      attack,
      gradientMode: cell.gradientMode,
      images: 10,
      whiteBox: cell,
      transfer: null,
    };
    const alone = taskSeconds(costs, task, networkOf, 10);
    expect(alone).to.be.closeTo(10 * (40 * 0.002 + 0.001), 1e-12);
    const predictions = shown.targets
      .filter(({ diagonal }) => diagonal !== 'white-box')
      .reduce((sum, { network }) => sum + (networkOf(network).recipe === 'bnn' ? 0.0005 : 0.001), 0);
    expect(taskSeconds(costs, { ...task, transfer: shown }, networkOf, 10)).to.be.closeTo(
      alone + 10 * predictions,
      1e-12,
    );
    const early = { ...task, attack: resolveAttack('pgd', { epsilon: 0.1, steps: 20, earlyStop: true }) };
    expect(taskSeconds(costs, early, networkOf, 10)).to.be.lessThan(
      taskSeconds(
        costs,
        { ...task, attack: resolveAttack('pgd', { epsilon: 0.1, steps: 20 }) },
        networkOf,
        10,
      ),
    );
    const further = { ...task, whiteBox: { ...cell, after: 'another' } };
    expect(taskSeconds(costs, further, networkOf, 10)).to.be.lessThan(alone);
  });
});
