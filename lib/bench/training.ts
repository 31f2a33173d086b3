import { HardbitError } from '../errors.js';
import { describeModel } from '../models/registry.js';
import { requireGradientArithmetic } from '../training/options.js';
import { interleave, type Timing } from './interleave.js';
import { describeMachine, onThreads } from './machine.js';
import { type Configuration, ownProgram, type Program, startProgram } from './programs.js';
import { pytorchConfigurations, type StepWork } from './pytorch.js';
import type { AbsentPeer, BenchReport, BenchRow } from './results.js';
import { byTime, peerOf, summarize } from './statistics.js';

export interface TrainingOptions extends Timing {
  readonly task: 'train' | 'attack';
  readonly model: string;
  readonly recipes: readonly string[];
  /** Images a step; at least 2. */
  readonly batch: number;
  /** Bits a pixel. */
  readonly bits: number;
  readonly threads: number;
  /** Of PGD, whose time they are proportional to. */
  readonly attackSteps: number;
  /** Of our gradients of products of quantized operands: float, bf16 or int8; a row each. */
  readonly gradientArithmetics: readonly string[];
  /** A Python that imports torch; default: /usr/bin/python3 or python3, where one does. */
  readonly python?: string | undefined;
  readonly onRow?: (row: BenchRow) => void;
}

/** As in pytorch_steps.py. */
const ATTACK_EPSILON = 0.2;

function ownConfiguration(work: StepWork, threads: number): Configuration {
  return ownProgram(
    'steps',
    [
      ...['--model', work.model, '--recipe', work.recipe, '--task', work.task],
      ...['--batch', String(work.batch), '--bits', String(work.bits)],
      ...['--gradient-arithmetic', work.gradientArithmetic],
      ...['--epsilon', String(ATTACK_EPSILON), '--attack-steps', String(work.attackSteps)],
    ],
    threads,
  );
}

/** Starts them one after the other, so that none warms up beside another. Reference BLAS is told of, not measured. */
async function startAll(configurations: readonly Configuration[], absent: AbsentPeer[], programs: Program[]) {
  for (const configuration of configurations) {
    const program = await startProgram(configuration);
    if (program.hello['referenceBlas'] === true) {
      await program.stop();
      absent.push({
        name: configuration.name,
        reason:
          "it uses Netlib's reference BLAS, about 15 times slower than OpenBLAS (Debian: libopenblas0-openmp)",
      });
    } else programs.push(program);
  }
}

/** A row for each arithmetic of our gradients; all of them, and the peers, take turns. */
async function measure(
  works: readonly StepWork[],
  options: TrainingOptions,
  versions: Record<string, string>,
): Promise<readonly BenchRow[]> {
  const [work] = works;
  if (work === undefined) return [];
  const { threads, python } = options;
  const { configurations, absent: reasons } = pytorchConfigurations(work, threads, python);
  const absent = [...reasons];
  const programs: Program[] = [];
  try {
    const own = works.map((ours) => ownConfiguration(ours, threads));
    await startAll([...own, ...configurations], absent, programs);
    const samples = await interleave(programs, options);
    const measured = programs.map((program, i) => ({
      program,
      samples: samples[i] as readonly number[],
      peakMegabytes: program.peakMegabytes(),
    }));
    const peers = measured.slice(works.length);
    for (const { program } of peers) {
      if (typeof program.hello['torch'] === 'string') versions['PyTorch'] = program.hello['torch'];
    }
    return works.map(({ model, recipe, gradientArithmetic, batch, bits, task, attackSteps }, i) => {
      const ours = measured[i] as (typeof measured)[number];
      const seconds = summarize(ours.samples);
      return {
        name: `${model}, ${recipe}, ${gradientArithmetic}`,
        shape: `batch ${batch}, ${bits}-bit pixels${task === 'attack' ? `, PGD-${attackSteps}` : ''}`,
        threads,
        seconds,
        operations: null,
        rate: null,
        limit: null,
        fraction: null,
        peers: byTime(
          peers.map((peer) => peerOf(peer.program.name, peer.samples, seconds, peer.peakMegabytes)),
        ),
        absent,
        ...(ours.peakMegabytes === undefined ? {} : { peakMegabytes: ours.peakMegabytes }),
      };
    });
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
  }
}

/**
 * Training steps (Adam) or PGD attacks of whole batches of random images, a row a recipe and arithmetic, beside the same network in
 * PyTorch, which simulates binary layers in float. Each side is a process of its own; they take turns.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME for a model, recipe or arithmetic; ERR_HARDBIT_ARGUMENT for a batch below 2, bits or
 * threads out of range; ERR_HARDBIT_UNSUPPORTED for an arithmetic that this CPU lacks, where `python` has no PyTorch or a
 * program fails; ERR_HARDBIT_ABORTED
 */
export async function benchTraining(options: TrainingOptions): Promise<BenchReport> {
  const { task, model, recipes, batch, bits, threads, attackSteps, gradientArithmetics } = options;
  for (const recipe of recipes) describeModel(model, { recipe, inputBits: bits });
  for (const arithmetic of gradientArithmetics) requireGradientArithmetic(arithmetic);
  if (!Number.isInteger(batch) || batch < 2) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The batch is ${batch}; expected a whole number from 2 on.`,
    );
  }
  const versions: Record<string, string> = {};
  // Refuses a thread count out of range.
  const machine = await onThreads(threads, async () => describeMachine(threads));
  const rows: BenchRow[] = [];
  for (const recipe of recipes) {
    const common = { task, model, recipe, batch, bits, attackSteps };
    const works = gradientArithmetics.map((gradientArithmetic) => ({ ...common, gradientArithmetic }));
    for (const row of await measure(works, options, versions)) {
      rows.push(row);
      options.onRow?.(row);
    }
  }
  return {
    benchmark: task,
    machine: { ...machine, versions: { ...machine.versions, ...versions } },
    counted: `Seconds of one ${task === 'train' ? 'training step' : `PGD-${attackSteps} of a batch`}; operations are not counted.`,
    rows,
  };
}
