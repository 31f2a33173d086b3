import { type Dataset, takeFirst } from '../data/dataset.js';
import { evaluateAttack } from '../evaluation/attack.js';
import { resolveAttack } from '../evaluation/attack-options.js';
import { evaluateClean } from '../evaluation/clean.js';
import { createModel } from '../models/registry.js';
import { synchronize } from '../tensor/runtime.js';
import type { Device } from '../tensor/tensor.js';
import { fit } from '../training/fit.js';
import { fitOptionsOf } from './networks.js';
import type { AttackTask, PlannedNetwork, Step } from './plan.js';

/** Measured costs of a study's elementary steps, in seconds. */
export interface StudyCosts {
  /** One training step, by model, recipe, batch size and attack (`stepKey`). */
  readonly step: ReadonlyMap<string, number>;
  /** One gradient with respect to one image, by model and recipe (`modelKey`). */
  readonly gradient: ReadonlyMap<string, number>;
  /** One prediction of one image, by model and recipe. */
  readonly prediction: ReadonlyMap<string, number>;
}

/** Training steps that count, after those that warm up. */
const WARM_UP_STEPS = 2;
const MEASURED_STEPS = 4;
const MEASURED_IMAGES = 500;
const MEASURED_GRADIENTS = 2;
/** What early stopping leaves of an attack's gradients, and what is left to attack after a first mode: rough means. */
const STOPPED_EARLY = 0.5;
const REMAINING = 0.4;

type CostedNetwork = Pick<PlannedNetwork, 'model' | 'recipe' | 'training' | 'fit'>;

export function modelKey({ model, recipe }: Pick<PlannedNetwork, 'model' | 'recipe'>): string {
  return `${model} ${recipe}`;
}

/**
 * Networks of one key take equally long to train by a step. Input bits, and which network an attack goes through, change
 * little.
 */
export function stepKey(network: CostedNetwork): string {
  const { training, fit: options } = network;
  const attack =
    training.kind === 'natural' ? '' : `${training.attack} ${training.steps ?? 1} ${training.mix}`;
  return `${modelKey(network)} ${options.batchSize} ${options.optimizer.name} ${training.kind} ${attack}`;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

interface MeasureOptions {
  /** Where the study computes; 'cpu' unless given. */
  readonly device?: Device | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Seconds of a real training step; ensemble training is measured with an untrained source. */
async function measureStep(
  network: PlannedNetwork,
  train: Dataset,
  { device = 'cpu', signal }: MeasureOptions,
): Promise<number> {
  const model = createModel(network.model, { ...network, device });
  const source = createModel(network.model, { ...network, seed: network.seed + 1, device });
  const rows = Math.min(train.size, network.fit.batchSize * (WARM_UP_STEPS + MEASURED_STEPS));
  const part = takeFirst(train, rows);
  try {
    const ends: number[] = [performance.now()];
    await fit(model, part, {
      ...fitOptionsOf(network, [{ name: 'source', model: source }]),
      epochs: 1,
      signal,
      onProgress: () => {
        // A GPU is only then done with the step.
        synchronize(device);
        ends.push(performance.now());
      },
    });
    const spent = ends.slice(1).map((end, i) => (end - (ends[i] as number)) / 1000);
    return median(spent.slice(Math.min(WARM_UP_STEPS, spent.length - 1)));
  } finally {
    part.dispose();
    source.dispose();
    model.dispose();
  }
}

/** Seconds of a prediction and of an attack's gradient, an image. */
async function measureAttack(
  network: PlannedNetwork,
  test: Dataset,
  { device, signal }: MeasureOptions,
): Promise<{ readonly prediction: number; readonly gradient: number }> {
  const model = createModel(network.model, { ...network, device });
  try {
    await evaluateClean(model, test, { signal });
    const predicted = await secondsOf(() => evaluateClean(model, test, { signal }));
    const attack = resolveAttack('pgd', { epsilon: 0.1, steps: MEASURED_GRADIENTS });
    const attacked = await secondsOf(() => evaluateAttack(model, test, attack, { seed: 0, signal }));
    return {
      prediction: predicted / test.size,
      // The attack also predicts the clean and the attacked images.
      gradient: Math.max(0, attacked - 2 * predicted) / (test.size * MEASURED_GRADIENTS),
    };
  } finally {
    model.dispose();
  }
}

/**
 * Runs a few real steps of each kind that is needed.
 *
 * @param networks those to be trained, and those to be attacked or shown images
 */
export async function measureCosts(
  networks: { readonly trained: readonly PlannedNetwork[]; readonly attacked: readonly PlannedNetwork[] },
  data: { readonly train: Dataset; readonly test: Dataset },
  options: MeasureOptions = {},
): Promise<StudyCosts> {
  const step = new Map<string, number>();
  const gradient = new Map<string, number>();
  const prediction = new Map<string, number>();
  const test = takeFirst(data.test, Math.min(data.test.size, MEASURED_IMAGES));
  try {
    for (const network of networks.trained) {
      const key = stepKey(network);
      if (!step.has(key)) step.set(key, await measureStep(network, data.train, options));
    }
    for (const network of [...networks.trained, ...networks.attacked]) {
      const key = modelKey(network);
      if (prediction.has(key)) continue;
      const costs = await measureAttack(network, test, options);
      prediction.set(key, costs.prediction);
      gradient.set(key, costs.gradient);
    }
  } finally {
    test.dispose();
  }
  return { step, gradient, prediction };
}

/** Estimated seconds to train a network and measure its clean accuracy. */
export function networkSeconds(
  costs: StudyCosts,
  network: CostedNetwork,
  examples: { readonly train: number; readonly test: number },
): number {
  const steps = network.fit.epochs * Math.ceil(examples.train / network.fit.batchSize);
  return (
    steps * (costs.step.get(stepKey(network)) ?? 0) +
    examples.test * (costs.prediction.get(modelKey(network)) ?? 0)
  );
}

/** Estimated seconds of one attack with its measurements. */
export function taskSeconds(
  costs: StudyCosts,
  task: AttackTask,
  networkOf: (id: string) => Pick<PlannedNetwork, 'model' | 'recipe'>,
  images: number,
): number {
  const { attack } = task;
  const steps = 'steps' in attack ? attack.steps : 1;
  const restarts = attack.name === 'pgd' ? attack.restarts : 1;
  const stopped = 'earlyStop' in attack && attack.earlyStop === true ? STOPPED_EARLY : 1;
  const remaining = task.whiteBox?.after == null ? 1 : REMAINING;
  const predictionOf = (id: string) => costs.prediction.get(modelKey(networkOf(id))) ?? 0;
  const predicted = (task.transfer?.targets ?? [])
    .filter((target) => target.diagonal !== 'white-box')
    .reduce((sum, target) => sum + predictionOf(target.network), 0);
  const gradients = steps * restarts * stopped;
  const own =
    gradients * (costs.gradient.get(modelKey(networkOf(task.network))) ?? 0) + predictionOf(task.network);
  return images * (remaining * own + predicted);
}

/** Estimated seconds of each step. */
export function stepSeconds(
  costs: StudyCosts,
  networks: readonly PlannedNetwork[],
  examples: { readonly train: number; readonly test: number },
): (step: Step) => number {
  const byId = new Map(networks.map((network) => [network.id, network]));
  return (step) =>
    step.kind === 'train'
      ? networkSeconds(costs, step.network, examples)
      : taskSeconds(
          costs,
          step.task,
          (id) => byId.get(id) as PlannedNetwork,
          Math.min(step.task.images, examples.test),
        );
}
