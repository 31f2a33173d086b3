import { Command, CommanderError } from 'commander';
import { version } from '../version.js';
import { addAttack } from './attack.js';
import { addBench } from './bench.js';
import { addBuild } from './build.js';
import { addCompile } from './compile.js';
import { addData } from './data.js';
import { addEvaluate } from './evaluate.js';
import { exitCodes, reportFailure } from './failure.js';
import { addInfo } from './info.js';
import { addSummary } from './model-summary.js';
import { addPredict } from './predict.js';
import { addReport } from './report.js';
import { addReproduce } from './reproduce.js';
import { addTrain } from './train.js';

const commands = [
  addInfo,
  addReproduce,
  addTrain,
  addEvaluate,
  addAttack,
  addPredict,
  addSummary,
  addCompile,
  addData,
  addReport,
  addBench,
  addBuild,
];

const epilogue = `
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (what was finished is kept).
Environment: HARDBIT_DATA (folder of datasets), HARDBIT_NUM_THREADS, HARDBIT_ISA, HARDBIT_DEVICE,
  NO_COLOR, HARDBIT_DEBUG=1 (stacks of errors).`;

function createProgram(): Command {
  const program = new Command('hardbit')
    .description(
      'Train, attack, audit and deploy image classifiers with discretized inputs and binary weights.',
    )
    .version(version)
    .helpCommand(false)
    .exitOverride()
    // Errors are told by reportFailure.
    .configureOutput({ outputError: () => undefined })
    .addHelpText('after', epilogue);
  for (const add of commands) add(program);
  return program;
}

/** Runs one command line (without node and script); returns the exit code and never throws. */
export async function run(argv: readonly string[]): Promise<number> {
  const options = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  const json = options.includes('--json');
  const program = createProgram();
  if (argv.length === 0) {
    process.stderr.write(program.helpInformation());
    return exitCodes.usage;
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof CommanderError && (error.exitCode === 0 || error.code === 'commander.help')) {
      return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    }
    return reportFailure(error, json);
  }
}
