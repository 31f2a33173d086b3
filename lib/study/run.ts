import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Dataset, takeFirst } from '../data/dataset.js';
import { loadDataset } from '../data/registry.js';
import { throwIfAborted } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { createModel, type Model } from '../models/registry.js';
import { runtimeInfo } from '../tensor/runtime.js';
import { version } from '../version.js';
import { judgeClaims } from './claims.js';
import { measureCosts, networkSeconds, taskSeconds } from './estimate.js';
import type { StudyFacts } from './facts.js';
import { findNetwork, openNetwork, type TrainedNetwork, trainNetwork } from './networks.js';
import { type AttackTask, findPreset, type Preset, planStudy, type StudyPlan } from './plan.js';
import { Meter, type StudyEvent } from './progress.js';
import {
  type Examples,
  examplesSchema,
  RESULTS_SCHEMA,
  RESULTS_VERSION,
  type Results,
  resultsSchema,
} from './results.js';
import { decodeBits, StudyStore } from './store.js';
import { type FinishedTask, findTask, type OpenNetworks, runTask } from './tasks.js';
import { attackText, epsilonText, networkText } from './words.js';

export type { StudyEvent } from './progress.js';

export interface StudyOptions {
  readonly dataset: string;
  readonly preset: string;
  /** The study's folder; it is made where it is missing. */
  readonly out: string;
  /** Number of seeds, 1 … 100; 1 by default. */
  readonly seeds?: number | undefined;
  /** Go on with the study that the folder holds; without one, start it. */
  readonly resume?: boolean | undefined;
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
 * @throws ERR_HARDBIT_UNKNOWN_NAME for an unknown dataset or preset; ERR_HARDBIT_RESUME for a folder that holds something
 * else; ERR_HARDBIT_ABORTED when `signal` fires, with what was finished kept; ERR_HARDBIT_WRITE
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
  const started = performance.now();
  const plan = planStudy(preset, options.seeds ?? 1, hasSignOf(preset));
  const store = StudyStore.open(
    options.out,
    { preset: preset.name, seeds: plan.seeds.length, hash: plan.hash },
    options.resume ?? false,
  );
  try {
    return await runPlan(store, plan, await load(), preset.images, options, started);
  } finally {
    store.close();
  }
}

/** Does what the plan leaves to do, and frees the data. */
async function runPlan(
  store: StudyStore,
  plan: StudyPlan,
  data: StudyData,
  images: number,
  options: Omit<StudyOptions, 'dataset' | 'preset'>,
  started: number,
): Promise<Results> {
  const attacked = takeFirst(data.test, Math.min(images, data.test.size));
  const models = new Map<string, Model>();
  try {
    const work = await Work.prepare(store, plan, data, attacked, options);
    const kept = work.keptSeconds;
    const trained = await work.trainNetworks();
    const networks: OpenNetworks = {
      trained: (id) => trained.get(id) as TrainedNetwork,
      model: (id) => {
        const open = models.get(id) ?? openNetwork(store, (trained.get(id) as TrainedNetwork).plan);
        models.set(id, open);
        return open;
      },
    };
    const finished = await work.runTasks(networks);
    const seconds = kept + (performance.now() - started) / 1000;
    return writeResults(store, plan, data, attacked.size, trained, finished, options.command, seconds);
  } finally {
    for (const model of models.values()) model.dispose();
    attacked.dispose();
    data.train.dispose();
    data.test.dispose();
  }
}

/** Whether networks of a recipe have sign layers: asked of a network, once a recipe. */
function hasSignOf(preset: Preset): (recipe: string) => boolean {
  const known = new Map<string, boolean>();
  return (recipe) => {
    const found = known.get(recipe);
    if (found !== undefined) return found;
    const model = createModel(preset.model, { inputBits: 8, recipe, seed: 0 });
    known.set(recipe, model.hasSign);
    model.dispose();
    return known.get(recipe) as boolean;
  };
}

/** The work of a study that is left, with what it is expected to cost. */
class Work {
  readonly #meter: Meter;

  private constructor(
    readonly store: StudyStore,
    readonly plan: StudyPlan,
    readonly data: StudyData,
    readonly attacked: Dataset,
    readonly options: Pick<StudyOptions, 'signal' | 'onEvent'>,
    readonly kept: {
      readonly networks: ReadonlyMap<string, TrainedNetwork>;
      readonly tasks: ReadonlyMap<AttackTask, FinishedTask>;
    },
    readonly secondsOf: {
      readonly network: (id: string) => number;
      readonly task: (task: AttackTask) => number;
    },
  ) {
    const { networks, tasks } = this.#left();
    this.#meter = new Meter(
      networks.reduce((sum, { id }) => sum + secondsOf.network(id), 0) +
        tasks.reduce((sum, task) => sum + secondsOf.task(task), 0),
    );
  }

  /** Looks at what is there, measures what the rest will cost, and says so. */
  static async prepare(
    store: StudyStore,
    plan: StudyPlan,
    data: StudyData,
    attacked: Dataset,
    options: Pick<StudyOptions, 'signal' | 'onEvent'>,
  ): Promise<Work> {
    const networks = new Map<string, TrainedNetwork>();
    for (const network of plan.networks) {
      throwIfAborted(options.signal);
      const found = findNetwork(store, network, data.test.size);
      if (found !== null) networks.set(network.id, found);
    }
    const tasks = new Map<AttackTask, FinishedTask>();
    for (const task of plan.tasks) {
      tasks.set(
        task,
        findTask(store, task, (id) => networks.get(id), attacked.size),
      );
    }
    const complete =
      plan.networks.every(({ id }) => networks.has(id)) &&
      plan.tasks.every((task) => isComplete(task, tasks));
    const byId = new Map(plan.networks.map((network) => [network.id, network]));
    let secondsOf = { network: (_id: string) => 0, task: (_task: AttackTask) => 0 };
    if (!complete) {
      const costs = await measureCosts(plan, data, options.signal);
      const examples = { train: data.train.size, test: data.test.size };
      const planned = (id: string) => byId.get(id) as (typeof plan.networks)[number];
      secondsOf = {
        network: (id) => networkSeconds(costs, plan.preset, planned(id), examples),
        task: (task) => taskSeconds(costs, task, (id) => planned(id).recipe, attacked.size),
      };
    }
    const work = new Work(store, plan, data, attacked, options, { networks, tasks }, secondsOf);
    const left = work.#left();
    options.onEvent?.({
      kind: 'estimate',
      seconds: work.#meter.secondsLeft,
      networks: plan.networks.length,
      tasks: plan.tasks.length,
      keptNetworks: plan.networks.length - left.networks.length,
      keptTasks: plan.tasks.length - left.tasks.length,
    });
    return work;
  }

  /** Seconds that earlier runs spent on what they finished. */
  get keptSeconds(): number {
    const trainings = [...this.kept.networks.values()].map(({ kept }) => kept.record.trainSeconds);
    const attacks = [...this.kept.tasks.values()].flatMap(({ whiteBox, transfer }) => [
      whiteBox?.record.seconds ?? 0,
      ...(transfer?.targets ?? []).map(({ record }) =>
        record.diagonal === 'white-box' ? 0 : record.seconds,
      ),
    ]);
    return [...trainings, ...attacks].reduce((sum, seconds) => sum + seconds, 0);
  }

  #left() {
    return {
      networks: this.plan.networks.filter(({ id }) => !this.kept.networks.has(id)),
      tasks: this.plan.tasks.filter((task) => !isComplete(task, this.kept.tasks)),
    };
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

  async trainNetworks(): Promise<ReadonlyMap<string, TrainedNetwork>> {
    const trained = new Map<string, TrainedNetwork>();
    const { length } = this.plan.networks;
    for (const [i, network] of this.plan.networks.entries()) {
      const kept = this.kept.networks.get(network.id);
      const doing = `Training network ${i + 1} of ${length}: ${networkText(network)}`;
      trained.set(
        network.id,
        kept ??
          (await this.#piece(doing, this.secondsOf.network(network.id), (onFraction) =>
            trainNetwork(this.store, this.plan.preset, network, this.data, {
              signal: this.options.signal,
              onFraction,
            }),
          )),
      );
    }
    return trained;
  }

  async runTasks(networks: OpenNetworks): Promise<ReadonlyMap<AttackTask, FinishedTask>> {
    const finished = new Map<AttackTask, FinishedTask>();
    const { length } = this.plan.tasks;
    for (const [i, task] of this.plan.tasks.entries()) {
      const known = this.kept.tasks.get(task) as FinishedTask;
      if (isComplete(task, this.kept.tasks)) {
        finished.set(task, known);
        continue;
      }
      const { plan } = networks.trained(task.network);
      const doing = `Attack ${i + 1} of ${length}: ${attackText(task.attack)}, ε = ${epsilonText(task.attack.epsilon)}, on ${networkText(plan)}`;
      const done = await this.#piece(doing, this.secondsOf.task(task), (onFraction) =>
        runTask(this.store, task, known, networks, this.attacked, {
          signal: this.options.signal,
          onFraction,
        }),
      );
      finished.set(task, done);
    }
    return finished;
  }
}

function isComplete(task: AttackTask, found: ReadonlyMap<AttackTask, FinishedTask>): boolean {
  const { whiteBox = null, transfer = null } = found.get(task) ?? {};
  return (task.whiteBox === null || whiteBox !== null) && (task.transfer === null || transfer !== null);
}

/** Puts the kept pieces together, in the plan's order. */
function writeResults(
  store: StudyStore,
  plan: StudyPlan,
  data: StudyData,
  images: number,
  trained: ReadonlyMap<string, TrainedNetwork>,
  finished: ReadonlyMap<AttackTask, FinishedTask>,
  command: string,
  seconds: number,
): Results {
  const pieces = plan.tasks.map((task) => finished.get(task) as FinishedTask);
  const whiteBox = pieces.flatMap((piece) => piece.whiteBox ?? []);
  const transfer = pieces.flatMap((piece) => piece.transfer?.targets ?? []);
  const networks = plan.networks.map(({ id }) => trained.get(id) as TrainedNetwork);
  const flags = (bits: string) => decodeBits(bits, images) as Uint8Array;
  const facts: StudyFacts = {
    networks: networks.map(({ kept, correct }) => ({ record: kept.record, correct })),
    whiteBox: whiteBox.map(({ record, correct }) => ({ record, correct: flags(correct) })),
    transfer: transfer.map(({ record, correct }) => ({ record, correct: flags(correct) })),
  };
  const info = runtimeInfo();
  const results: Results = resultsSchema.parse({
    schema: RESULTS_SCHEMA,
    version: RESULTS_VERSION,
    library: { name: 'hardbit', version },
    command,
    preset: plan.preset.name,
    dataset: {
      name: plan.preset.dataset,
      trainExamples: data.train.size,
      testExamples: data.test.size,
      sha256: data.sha256,
    },
    machine: {
      cpu: info.cpu,
      isa: info.isa,
      threads: info.threads,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
    },
    seeds: [...plan.seeds],
    finishedAt: new Date().toISOString(),
    seconds,
    networks: facts.networks.map(({ record }) => record),
    whiteBox: facts.whiteBox.map(({ record }) => record),
    transfer: facts.transfer.map(({ record }) => record),
    claims: judgeClaims(facts),
  } satisfies Results);
  const examples: Examples = examplesSchema.parse({
    schema: 'hardbit/examples',
    version: 1,
    imageShape: [...data.test.imageShape],
    examples: whiteBox.flatMap(({ example }) => example ?? []),
  });
  writeFileAtomic(store.path('examples.json'), `${JSON.stringify(examples, null, 1)}\n`);
  writeFileAtomic(store.path('results.json'), `${JSON.stringify(results, null, 1)}\n`);
  return results;
}
