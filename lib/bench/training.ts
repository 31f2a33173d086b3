import { HardbitError } from '../errors.js';
import { describeModel } from '../models/registry.js';
import { requireGradientArithmetic } from '../training/options.js';
import { interleave, type Timing } from './interleave.js';
import { describeMachine, onThreads } from './machine.js';
import { type Configuration, ownProgram, type Program, startProgram } from './programs.js';
import { attackWork, pytorchConfigurations, type StepWork } from './pytorch.js';
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
  /** Of our gradients of products of quantized operands: float, bf16 or int8; a row each. */
  readonly gradientArithmetics: readonly string[];
  /** A Python that imports torch; default: /usr/bin/python3 or python3, where one does. */
  readonly python?: string | undefined;
  readonly onRow?: (row: BenchRow) => void;
}

function ownConfiguration(work: StepWork, threads: number): Configuration {
  return ownProgram(
    'steps',
    [
      ...['--model', work.model, '--recipe', work.recipe, '--task', work.task],
      ...['--batch', String(work.batch), '--bits', String(work.bits)],
      ...['--gradient-arithmetic', work.gradientArithmetic],
      ...['--epsilon', String(attackWork.epsilon), '--attack-steps', String(attackWork.steps)],
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

async function measure(work: StepWork, options: TrainingOptions, versions: Record<string, string>) {
  const { configurations, absent: reasons } = pytorchConfigurations(work, options.threads, options.python);
  const absent = [...reasons];
  const programs: Program[] = [];
  try {
    await startAll([ownConfiguration(work, options.threads), ...configurations], absent, programs);
    const [samples = [], ...others] = await interleave(programs, options);
    const seconds = summarize(samples);
    const peers = programs.slice(1).map((program, i) => {
      if (typeof program.hello['torch'] === 'string') versions['PyTorch'] = program.hello['torch'];
      return peerOf(program.name, others[i] as readonly number[], seconds, program.peakMegabytes());
    });
    const peakMegabytes = programs[0]?.peakMegabytes();
    return {
      name: `${work.model}, ${work.recipe}, ${work.gradientArithmetic}`,
      shape: `batch ${work.batch}, ${work.bits}-bit pixels${work.task === 'attack' ? `, PGD-${attackWork.steps}` : ''}`,
      threads: options.threads,
      seconds,
      operations: null,
      rate: null,
      limit: null,
      fraction: null,
      peers: byTime(peers),
      absent,
      ...(peakMegabytes === undefined ? {} : { peakMegabytes }),
    } satisfies BenchRow;
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
  const { task, model, recipes, batch, bits, threads, gradientArithmetics } = options;
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
    for (const gradientArithmetic of gradientArithmetics) {
      const work = { task, model, recipe, batch, bits, gradientArithmetic };
      const row = await measure(work, options, versions);
      rows.push(row);
      options.onRow?.(row);
    }
  }
  return {
    benchmark: task,
    machine: { ...machine, versions: { ...machine.versions, ...versions } },
    counted: `Seconds of one ${task === 'train' ? 'training step' : `PGD-${attackWork.steps} of a batch`}; operations are not counted.`,
    rows,
  };
}
