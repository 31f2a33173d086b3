import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Dataset, moveSplits, takeFirst } from '../data/dataset.js';
import { loadDataset } from '../data/registry.js';
import { throwIfAborted } from '../errors.js';
import {
  gradientModesFor,
  type RecordedGradientMode,
  recordGradientMode,
} from '../evaluation/gradient-mode.js';
import { createModel } from '../models/registry.js';
import { gpuName, runtimeInfo } from '../tensor/runtime.js';
import type { Device } from '../tensor/tensor.js';
import { assemble, imagesOf, type Kept, readKept, writeResults } from './assemble.js';
import { measureCosts, stepSeconds } from './estimate.js';
import { OpenModels, type TrainedNetwork, trainNetwork } from './networks.js';
import { type AttackTask, planStudy, type Shard, type Step, type StudyPlan, takeShard } from './plan.js';
import { findPreset, type Preset, withImages } from './presets.js';
import { type EstimatedPart, Meter, type StudyEvent } from './progress.js';
import type { Results } from './results.js';
import { type Environment, environmentSchema, finishedSchema, StudyStore } from './store.js';
import { type OpenNetworks, runTask } from './tasks.js';
import { attackText, epsilonText, networkText } from './words.js';

export type { StudyEvent } from './progress.js';

export interface StudyOptions {
  readonly dataset: string;
  readonly preset: string;
  /** The study's folder; it is made where it is missing. */
  readonly out: string;
  /** Number of seeds, 1 … 100; 1 by default. */
  readonly seeds?: number | undefined;
  /** Attacked images of every measurement, the first of the test set; the preset's numbers by default. */
  readonly images?: number | undefined;
  /** The part of the plan to work off; all of it by default. */
  readonly shard?: Shard | undefined;
  /** Go on with the study that the folder holds; without one, start it. */
  readonly resume?: boolean | undefined;
  /** Where everything is computed; 'cpu' unless given. */
  readonly device?: Device | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: StudyEvent) => void) | undefined;
  /** The command that repeats the study, for the report. */
  readonly command: string;
}

/** What a study trains and measures on. */
export interface StudyData {
  readonly train: Dataset;
  readonly test: Dataset;
  /** Of each file. */
  readonly sha256: Readonly<Record<string, string>>;
}

/**
 * Trains, attacks and measures everything a preset plans, judges the claims, and leaves results.json and examples.json in
 * the folder. Every finished network and cell is kept as it is finished; with `resume` an interrupted study goes on, and
 * ends in the same results, times apart.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME for an unknown dataset or preset; ERR_HARDBIT_ARGUMENT for seeds, images or a shard out of range;
 * ERR_HARDBIT_RESUME for a folder that holds something else; ERR_HARDBIT_ABORTED when `signal` fires, with what was
 * finished kept; ERR_HARDBIT_WRITE
 */
export async function runStudy(options: StudyOptions): Promise<Results> {
  const preset = findPreset(options.dataset, options.preset);
  return runPreset(preset, () => loadDataset(preset.dataset, { signal: options.signal }), options);
}

/** `runStudy` with a preset and data of one's own, which are freed at the end. */
export async function runPreset(
  preset: Preset,
  load: () => Promise<StudyData>,
  options: Omit<StudyOptions, 'dataset' | 'preset'>,
): Promise<Results> {
  const { images } = options;
  const whole = planPreset(withImages(preset, images), options.seeds ?? 1);
  const plan = options.shard === undefined ? whole : takeShard(whole, options.shard);
  const store = StudyStore.open(
    options.out,
    {
      dataset: preset.dataset,
      preset: preset.name,
      seeds: plan.seeds.length,
      ...(images === undefined ? {} : { images }),
      shard: plan.shard,
      plan: plan.hash,
    },
    options.resume ?? false,
  );
  try {
    return await runPlan(store, whole, plan, await load(), options);
  } finally {
    store.close();
  }
}

/** The whole plan of a preset, with the gradient modes of its networks: asked of a network, once a model and recipe. */
export function planPreset(preset: Preset, seeds: number): StudyPlan {
  const known = new Map<string, readonly RecordedGradientMode[]>();
  return planStudy(preset, seeds, (name, recipe) => {
    const key = `${name} ${recipe}`;
    const found = known.get(key);
    if (found !== undefined) return found;
    const model = createModel(name, { inputBits: 8, recipe, seed: 0 });
    const modes = gradientModesFor(model).map((mode) => recordGradientMode(model, mode));
    model.dispose();
    known.set(key, modes);
    return modes;
  });
}

function environmentOf(data: StudyData, dataset: string, command: string, device: Device): Environment {
  const info = runtimeInfo();
  return {
    command,
    dataset: {
      name: dataset,
      trainExamples: data.train.size,
      testExamples: data.test.size,
      sha256: { ...data.sha256 },
    },
    imageShape: [...data.test.imageShape],
    machine: {
      cpu: info.cpu,
      isa: info.isa,
      threads: info.threads,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      // Left out for the cpu, as in results from before there was a choice.
      ...(device === 'cpu' ? {} : { device, gpu: gpuName() }),
    },
  };
}

/** Does what the plan leaves to do, and frees the data. */
async function runPlan(
  store: StudyStore,
  whole: StudyPlan,
  plan: StudyPlan,
  host: StudyData,
  options: Omit<StudyOptions, 'dataset' | 'preset'>,
): Promise<Results> {
  const { device = 'cpu' } = options;
  const environment = environmentOf(host, plan.preset.dataset, options.command, device);
  store.write('environment.json', environmentSchema, environment);
  const data = moveSplits(host, device);
  const models = new OpenModels(store, device);
  const attacked = new Map<number, Dataset>();
  const imagesFor = (task: AttackTask): Dataset => {
    const size = imagesOf(task, data.test.size);
    const images = attacked.get(size) ?? takeFirst(data.test, size);
    attacked.set(size, images);
    return images;
  };
  try {
    const work = await Work.prepare(store, plan, data, options);
    await work.run(models, imagesFor);
    const known = store.read('finished.json', finishedSchema);
    const finished = known ?? { finishedAt: new Date().toISOString() };
    if (known === null || work.didSomething) store.write('finished.json', finishedSchema, finished);
    const pieces = { plan, environment, finishedAt: finished.finishedAt, kept: work.kept };
    const assembled = assemble(whole, [pieces], options.command);
    writeResults((name) => store.path(name), assembled);
    return assembled.results;
  } finally {
    models.dispose();
    for (const images of attacked.values()) images.dispose();
    data.train.dispose();
    data.test.dispose();
  }
}

/** How many files are looked at before other things get a turn. */
const FILES_A_TURN = 32;

/** The work of a study that is left, with what it is expected to cost. */
class Work {
  readonly #meter: Meter;
  readonly #left: ReadonlySet<Step>;

  private constructor(
    readonly store: StudyStore,
    readonly plan: StudyPlan,
    readonly data: StudyData,
    readonly options: Pick<StudyOptions, 'device' | 'signal' | 'onEvent'>,
    readonly kept: Kept,
    left: readonly Step[],
    readonly secondsOf: (step: Step) => number,
  ) {
    this.#left = new Set(left);
    this.#meter = new Meter(left.reduce((sum, step) => sum + secondsOf(step), 0));
  }

  get didSomething(): boolean {
    return this.#left.size > 0;
  }

  /** Looks at what is there, measures what the rest will cost, and says so. */
  static async prepare(
    store: StudyStore,
    plan: StudyPlan,
    data: StudyData,
    options: Pick<StudyOptions, 'device' | 'signal' | 'onEvent'>,
  ): Promise<Work> {
    const { device, signal, onEvent } = options;
    let looked = 0;
    const kept = await readKept(store, plan, data.test.size, true, async () => {
      throwIfAborted(signal);
      if (++looked % FILES_A_TURN === 0) await nextTurn();
    });
    const left = plan.steps.filter((step) => !isDone(step, kept));
    const byId = new Map(plan.networks.map((network) => [network.id, network]));
    const trained = left.flatMap((step) => (step.kind === 'train' ? [step.network] : []));
    const attacked = left
      .flatMap((step) =>
        step.kind === 'train'
          ? []
          : [step.task.network, ...(step.task.transfer?.targets ?? []).map(({ network }) => network)],
      )
      .flatMap((id) => byId.get(id) ?? []);
    const costs = await measureCosts({ trained, attacked }, data, { device, signal });
    const secondsOf = stepSeconds(costs, plan.networks, {
      train: data.train.size,
      test: data.test.size,
    });
    const work = new Work(store, plan, data, options, kept, left, secondsOf);
    const tasks = plan.steps.length - plan.networks.length;
    onEvent?.({
      kind: 'estimate',
      seconds: work.#meter.secondsLeft,
      networks: plan.networks.length,
      tasks,
      keptNetworks: plan.networks.length - trained.length,
      keptTasks: tasks - (left.length - trained.length),
      shard: plan.shard,
      parts: work.#parts(),
    });
    return work;
  }

  /** What is left, by model. */
  #parts(): EstimatedPart[] {
    const models = new Map(this.plan.networks.map(({ id, model }) => [id, model]));
    const parts = new Map<string, { model: string; training: number; whiteBox: number; transfer: number }>();
    for (const step of this.#left) {
      const model = models.get(step.kind === 'train' ? step.network.id : step.task.network) as string;
      const part = parts.get(model) ?? { model, training: 0, whiteBox: 0, transfer: 0 };
      parts.set(model, part);
      const kind = step.kind === 'train' ? 'training' : step.task.transfer === null ? 'whiteBox' : 'transfer';
      part[kind] += this.secondsOf(step);
    }
    return [...parts.values()];
  }

  #report(doing: string): void {
    this.options.onEvent?.({
      kind: 'progress',
      doing,
      fraction: this.#meter.fraction,
      secondsElapsed: this.#meter.secondsElapsed,
      secondsLeft: this.#meter.secondsLeft,
    });
  }

  /** Runs one piece with its progress. */
  async #piece<T>(
    doing: string,
    seconds: number,
    run: (onFraction: (fraction: number) => void) => Promise<T>,
  ): Promise<T> {
    throwIfAborted(this.options.signal);
    this.#report(doing);
    const result = await run((fraction) => {
      this.#meter.advance(seconds, fraction);
      this.#report(doing);
    });
    this.#meter.finish(seconds);
    await nextTurn();
    return result;
  }

  /** Works off what is left, in the plan's order, into `kept`. */
  async run(models: OpenModels, imagesFor: (task: AttackTask) => Dataset): Promise<void> {
    const { networks } = this.kept;
    const open: OpenNetworks = {
      trained: (id) => networks.get(id) as TrainedNetwork,
      model: (id) => models.get((networks.get(id) as TrainedNetwork).plan),
    };
    const totals = {
      train: this.plan.networks.length,
      attack: this.plan.steps.length - this.plan.networks.length,
    };
    const counts = { train: 0, attack: 0 };
    for (const step of this.plan.steps) {
      const number = ++counts[step.kind];
      if (!this.#left.has(step)) continue;
      const place = `${number} of ${totals[step.kind]}`;
      if (step.kind === 'train') await this.#train(step, place, open);
      else await this.#attack(step, place, open, imagesFor(step.task));
    }
  }

  async #train(step: Step & { kind: 'train' }, place: string, open: OpenNetworks): Promise<void> {
    const { network } = step;
    const { training } = network;
    const sources = training.kind === 'ensemble' ? training.sources : [];
    const doing = `Training network ${place}: ${network.model}, ${networkText(network)}`;
    const trained = await this.#piece(doing, this.secondsOf(step), (onFraction) =>
      trainNetwork(this.store, this.plan.preset, network, this.data, {
        sources: sources.map((name) => ({ name, model: open.model(name) })),
        device: this.options.device,
        signal: this.options.signal,
        onFraction,
      }),
    );
    this.kept.networks.set(network.id, trained);
  }

  async #attack(
    step: Step & { kind: 'attack' },
    place: string,
    open: OpenNetworks,
    images: Dataset,
  ): Promise<void> {
    const { task } = step;
    const { whiteBox, transfer } = this.kept;
    const { plan } = open.trained(task.network);
    const doing =
      `Attack ${place}: ${attackText(task.attack)}, ε = ${epsilonText(task.attack.epsilon)}, ` +
      `on ${plan.model}, ${networkText(plan)}`;
    const known = {
      whiteBox: task.whiteBox === null ? null : (whiteBox.get(task.whiteBox.id) ?? null),
      transfer: task.transfer === null ? null : (transfer.get(task.transfer.id) ?? null),
    };
    const before = task.whiteBox?.after == null ? undefined : whiteBox.get(task.whiteBox.after);
    const done = await this.#piece(doing, this.secondsOf(step), (onFraction) =>
      runTask(this.store, task, known, before, open, images, { signal: this.options.signal, onFraction }),
    );
    if (task.whiteBox !== null && done.whiteBox !== null) whiteBox.set(task.whiteBox.id, done.whiteBox);
    if (task.transfer !== null && done.transfer !== null) transfer.set(task.transfer.id, done.transfer);
  }
}

function isDone(step: Step, kept: Kept): boolean {
  if (step.kind === 'train') return kept.networks.has(step.network.id);
  const { whiteBox, transfer } = step.task;
  return (
    (whiteBox === null || kept.whiteBox.has(whiteBox.id)) &&
    (transfer === null || kept.transfer.has(transfer.id))
  );
}
