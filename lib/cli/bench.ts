import type { Command } from 'commander';
import type { BenchReport, BenchRow, Peer, Seconds } from '../bench/results.js';
import { HardbitError } from '../errors.js';
import { interruptible } from './interrupt.js';
import { addJson, wholeNumber } from './options.js';
import { clearProgress, note, print, printJson, progress, table } from './terminal.js';

interface Flags {
  readonly threads?: number;
  readonly rounds: number;
  readonly sample: number;
  readonly out?: string;
  readonly json?: boolean;
}

interface TrainingFlags extends Flags {
  readonly model: string;
  readonly recipe: string;
  readonly batch: number;
  readonly bits: number;
  readonly gradientArithmetic: string;
  readonly steps?: number;
  readonly python?: string;
}

interface InferenceFlags extends Flags {
  readonly file?: string;
  readonly model?: string;
  readonly recipe?: string;
  readonly bits?: number;
  readonly batch: readonly number[];
}

/** What a measurement is told of how it runs. */
interface Context {
  readonly threads: number;
  readonly rounds: number;
  readonly sampleSeconds: number;
  readonly signal: AbortSignal;
  readonly onRow: (row: BenchRow) => void;
}

/** Of PGD, unless --steps says otherwise. */
const ATTACK_STEPS = 20;

/** Beyond it, other work takes a good part of a processor. */
const BUSY = 0.5;

/** 0.00123 → '1.23 ms' */
function timeText(seconds: number): string {
  const [value, unit] =
    seconds < 1e-6
      ? [seconds * 1e9, 'ns']
      : seconds < 1e-3
        ? [seconds * 1e6, 'µs']
        : seconds < 1
          ? [seconds * 1e3, 'ms']
          : [seconds, 's'];
  return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0)} ${unit}`;
}

function spreadText({ p10, p90 }: Seconds): string {
  return `${timeText(p10)} … ${timeText(p90)}`;
}

/** 1.234e12 → '1,234' */
function gigaText(rate: number | null): string {
  return rate === null ? '' : Math.round(rate / 1e9).toLocaleString('en-US');
}

/** 'PyTorch, 2 threads, channels last' → 'PyTorch' */
function familyOf({ name }: Pick<Peer, 'name'>): string {
  return name.split(',', 1)[0] as string;
}

/** What `hardbit bench` says on the screen. */
export function benchText({ benchmark, machine, counted, rows }: BenchReport): string {
  const families = [...new Set(rows.flatMap(({ peers }) => peers.map(familyOf)))].sort();
  const counts = rows.some(({ operations }) => operations !== null);
  const limits = rows.some(({ limit }) => limit !== null);
  const memory = rows.some(({ peakMegabytes }) => peakMegabytes !== undefined);
  const head = [
    benchmark,
    'shape',
    'median',
    'p10 … p90',
    ...(counts ? ['Gop/s'] : []),
    ...(limits ? ['limit', 'of limit'] : []),
    ...(memory ? ['MB'] : []),
    ...families.map((name) => `${name}\n× our time`),
  ];
  const body = rows.map((row) => [
    row.name,
    row.shape,
    timeText(row.seconds.median),
    spreadText(row.seconds),
    ...(counts ? [gigaText(row.rate)] : []),
    ...(limits
      ? [gigaText(row.limit), row.fraction === null ? '' : `${(100 * row.fraction).toFixed(0)} %`]
      : []),
    ...(memory ? [row.peakMegabytes?.toFixed(0) ?? ''] : []),
    // The fastest of a family stands first.
    ...families.map((family) => row.peers.find((peer) => familyOf(peer) === family)?.ratio.toFixed(2) ?? ''),
  ]);
  const threads = `${machine.threads} ${machine.threads === 1 ? 'thread' : 'threads'}`;
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  const absent = new Map(
    rows.flatMap((row) => row.absent.map(({ name, reason }) => [name, reason] as const)),
  );
  const fastest = families.flatMap((family) => {
    const names = new Set(
      rows.flatMap(({ peers }) => peers.find((peer) => familyOf(peer) === family)?.name ?? []),
    );
    return names.has(family) ? [] : [`Fastest ${family}: ${[...names].join('; ')}.`];
  });
  return [
    table(head, body),
    '',
    `${machine.cpu}, ${machine.isa}, ${threads}; ${versions.join(', ')}; ${machine.date}.`,
    counted,
    ...fastest,
    ...[...absent].map(([name, reason]) => `Without ${name}: ${reason.replace(/\.$/, '')}.`),
  ].join('\n');
}

/** Runs a measurement and tells of it. */
async function measured(flags: Flags, measure: (context: Context) => Promise<BenchReport>): Promise<void> {
  const { requireWritable, writeFileAtomic } = await import('../files.js');
  const { runtimeInfo } = await import('../tensor/runtime.js');
  if (flags.out !== undefined) requireWritable(flags.out);
  const threads = flags.threads ?? runtimeInfo().threads;
  const report = await interruptible('nothing was kept; repeat the command to start again.', (signal) =>
    measure({
      threads,
      rounds: flags.rounds,
      sampleSeconds: flags.sample / 1000,
      signal,
      onRow: ({ name, shape, seconds }) => progress(`${name}, ${shape}: ${timeText(seconds.median)}`),
    }),
  );
  clearProgress();
  const { loadAverage } = report.machine;
  if (loadAverage > BUSY) {
    note(
      `The machine is busy (load average ${loadAverage.toFixed(1)}): these figures are not worth quoting.`,
    );
  }
  if (flags.out !== undefined) writeFileAtomic(flags.out, `${JSON.stringify(report, null, 2)}\n`);
  if (flags.json === true) printJson(report);
  else print(benchText(report));
}

function addTiming(command: Command, sample: number, rounds: number): Command {
  return addJson(
    command
      .option(
        '--threads <n>',
        'threads (default: HARDBIT_NUM_THREADS, else all)',
        wholeNumber('--threads', 1),
      )
      .option('--rounds <n>', 'samples of everything measured', wholeNumber('--rounds', 1), rounds)
      .option('--sample <ms>', 'how long a sample lasts at least', wholeNumber('--sample', 0), sample)
      .option('--out <file>', 'write the JSON document to a file too'),
  );
}

function addTraining(bench: Command, task: 'train' | 'attack', what: string, batches: string): Command {
  return addTiming(
    bench
      .command(task)
      .description(`${what}, beside PyTorch where a python3 imports torch.`)
      .option('--model <name>', 'architecture', 'lenet5')
      .option('--recipe <list>', 'recipes, a row each', 'none,bnn')
      .option('--batch <n>', `images a ${batches}`, wholeNumber('--batch', 2), 128)
      .option('--bits <n>', 'bits a pixel', wholeNumber('--bits', 1), 8)
      .option(
        '--gradient-arithmetic <list>',
        "of quantized layers' gradients: float, bf16, int8; a row each",
        'float',
      )
      .option('--python <file>', 'a Python that imports torch (default: /usr/bin/python3 or python3)')
      .addHelpText(
        'after',
        `\nExample:\n  hardbit bench ${task} --model lenet5 --recipe bnn,xnor --threads 2`,
      ),
    500,
    12,
  ).action(async (flags: TrainingFlags) => {
    const { benchTraining } = await import('../bench/training.js');
    const { model, batch, bits, python, steps = ATTACK_STEPS } = flags;
    const recipes = flags.recipe.split(',');
    const gradientArithmetics = flags.gradientArithmetic.split(',');
    await measured(flags, (context) =>
      benchTraining({
        ...context,
        ...{ task, model, recipes, batch, bits, attackSteps: steps, gradientArithmetics, python },
      }),
    );
  });
}

export function addBench(program: Command): void {
  const bench = program
    .command('bench')
    .description(
      'Measure this machine: kernels, layers, gradients, training, attacks and inference, against limits and peers.',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  hardbit bench layers --threads 1\n  hardbit bench train --model lenet5 --recipe bnn --json',
    );

  addTiming(
    bench
      .command('kernels')
      .description("Product kernels on operands in the first cache, against their instruction set's limit.")
      .addHelpText(
        'after',
        '\nExample:\n  hardbit bench kernels --threads 1\n\nHARDBIT_ISA=avx2, say, measures the kernels of a weaker instruction set.',
      ),
    20,
    15,
  ).action(async (flags: Flags) => {
    const { benchKernels } = await import('../bench/kernels.js');
    await measured(flags, benchKernels);
  });

  addTiming(
    bench
      .command('layers')
      .description('Binary 3×3 layers, bits to bits, against the limit and oneDNN in fp32 and int8.')
      .addHelpText('after', '\nExample:\n  hardbit bench layers --threads 1 --out layers.json'),
    20,
    15,
  ).action(async (flags: Flags) => {
    const { benchLayers } = await import('../bench/layers.js');
    await measured(flags, benchLayers);
  });

  addTiming(
    bench
      .command('gradients')
      .description('Gradients of binary layers in int8, against the limit and those in float and bf16.')
      .addHelpText('after', '\nExample:\n  hardbit bench gradients --threads 1'),
    20,
    15,
  ).action(async (flags: Flags) => {
    const { benchGradients } = await import('../bench/gradients.js');
    await measured(flags, benchGradients);
  });

  addTraining(bench, 'train', 'Training steps', 'step');
  addTraining(bench, 'attack', 'PGD on batches', 'batch').option(
    '--steps <n>',
    'steps of PGD',
    wholeNumber('--steps', 1),
    ATTACK_STEPS,
  );

  addTiming(
    bench
      .command('inference')
      .description('A deployed network, beside onnxruntime in fp32 and int8 and tfjs on WebAssembly.')
      .option('--file <file>', 'a deployed network (.hbit); else one with random weights is made')
      .option('--model <name>', 'architecture (default: vgg-small)')
      .option('--recipe <name>', 'recipe (default: bnn)')
      .option('--bits <n>', 'bits a pixel (default: 2)', wholeNumber('--bits', 1))
      .option(
        '--batch <list>',
        'images a call, a row each',
        (text) => text.split(',').map(wholeNumber('--batch', 1)),
        [1, 32],
      )
      .addHelpText(
        'after',
        '\nExample:\n  hardbit bench inference --model vgg-small --bits 2 --batch 1,32 --threads 1',
      ),
    200,
    12,
  ).action(async (flags: InferenceFlags) => {
    const { file, model, recipe, bits, batch } = flags;
    const named = (['model', 'recipe', 'bits'] as const).find((name) => flags[name] !== undefined);
    if (file !== undefined && named !== undefined) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `--${named} has no meaning with --file, which says what network it is; leave one of them out.`,
      );
    }
    const { benchInference } = await import('../bench/inference.js');
    const network =
      file === undefined
        ? { model: model ?? 'vgg-small', recipe: recipe ?? 'bnn', bits: bits ?? 2 }
        : { file };
    await measured(flags, (context) => benchInference({ ...context, network, batches: batch }));
  });
}
