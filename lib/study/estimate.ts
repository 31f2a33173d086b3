import { type Dataset, takeFirst } from '../data/dataset.js';
import { evaluateAttack } from '../evaluation/attack.js';
import { resolveAttack } from '../evaluation/attack-options.js';
import { evaluateClean } from '../evaluation/clean.js';
import { createModel } from '../models/registry.js';
import { fit } from '../training/fit.js';
import type { AttackTask, PlannedNetwork, Preset, StudyPlan } from './plan.js';
import { trainingKey } from './words.js';

/** Measured costs of a study's elementary steps, in seconds, by recipe. */
export interface StudyCosts {
  /** One training step, by recipe and training (`stepKey`). */
  readonly step: ReadonlyMap<string, number>;
  /** One gradient with respect to one image. */
  readonly gradient: ReadonlyMap<string, number>;
  /** One prediction of one image. */
  readonly prediction: ReadonlyMap<string, number>;
}

const WARM_UP_STEPS = 3;
const MEASURED_STEPS = 8;
const MEASURED_IMAGES = 500;
const MEASURED_GRADIENTS = 3;

export function stepKey(network: Pick<PlannedNetwork, 'recipe' | 'training'>): string {
  return `${network.recipe} ${trainingKey(network.training)}`;
}

/** What `fit` needs for one network of a study. */
export function fitOptionsOf(preset: Preset, network: Pick<PlannedNetwork, 'training' | 'seed'>) {
  const { training } = network;
  return {
    epochs: preset.epochs,
    batchSize: preset.batchSize,
    seed: network.seed,
    optimizer: preset.optimizer,
    schedule: preset.schedule,
    ...(training.kind === 'natural'
      ? {}
      : { adversarial: { attack: training.attack, epsilon: training.epsilon, mix: training.mix } }),
  };
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

/** Runs a few real training steps, attack steps and predictions of each kind the plan holds. Takes a second or two. */
export async function measureCosts(
  plan: StudyPlan,
  data: { readonly train: Dataset; readonly test: Dataset },
  signal?: AbortSignal,
): Promise<StudyCosts> {
  const { preset } = plan;
  const step = new Map<string, number>();
  const gradient = new Map<string, number>();
  const prediction = new Map<string, number>();
  const rows = Math.min(data.train.size, preset.batchSize * (WARM_UP_STEPS + MEASURED_STEPS));
  const train = takeFirst(data.train, rows);
  const test = takeFirst(data.test, Math.min(data.test.size, MEASURED_IMAGES));
  try {
    for (const network of plan.networks) {
      const key = stepKey(network);
      if (step.has(key)) continue;
      const model = createModel(network.model, network);
      try {
        const ends: number[] = [performance.now()];
        await fit(model, train, {
          ...fitOptionsOf(preset, network),
          epochs: 1,
          signal,
          onProgress: () => ends.push(performance.now()),
        });
        const spent = ends.slice(1).map((end, i) => (end - (ends[i] as number)) / 1000);
        step.set(key, median(spent.slice(Math.min(WARM_UP_STEPS, spent.length - 1))));
        if (prediction.has(network.recipe)) continue;
        await evaluateClean(model, test, { signal });
        prediction.set(
          network.recipe,
          (await secondsOf(() => evaluateClean(model, test, { signal }))) / test.size,
        );
        const attack = resolveAttack('pgd', { epsilon: 0.1, steps: MEASURED_GRADIENTS });
        const attacked = await secondsOf(() => evaluateAttack(model, test, attack, { seed: 0, signal }));
        gradient.set(network.recipe, attacked / (test.size * MEASURED_GRADIENTS));
      } finally {
        model.dispose();
      }
    }
  } finally {
    train.dispose();
    test.dispose();
  }
  return { step, gradient, prediction };
}

/** Estimated seconds to train a network and measure its clean accuracy. */
export function networkSeconds(
  costs: StudyCosts,
  preset: Preset,
  network: PlannedNetwork,
  examples: { readonly train: number; readonly test: number },
): number {
  const steps = preset.epochs * Math.ceil(examples.train / preset.batchSize);
  return (
    steps * (costs.step.get(stepKey(network)) ?? 0) +
    examples.test * (costs.prediction.get(network.recipe) ?? 0)
  );
}

/** Estimated seconds of one attack with its measurements. */
export function taskSeconds(
  costs: StudyCosts,
  task: AttackTask,
  recipeOf: (network: string) => string,
  images: number,
): number {
  const { attack } = task;
  const gradients =
    (attack.name === 'pgd' || attack.name === 'bim' ? attack.steps : 1) *
    (attack.name === 'pgd' ? attack.restarts : 1);
  const predicted = (task.transfer?.targets ?? [])
    .filter((target) => target.diagonal !== 'white-box')
    .reduce((sum, target) => sum + (costs.prediction.get(recipeOf(target.network)) ?? 0), 0);
  const own = recipeOf(task.network);
  return images * (gradients * (costs.gradient.get(own) ?? 0) + (costs.prediction.get(own) ?? 0) + predicted);
}
