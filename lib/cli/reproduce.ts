import type { Command } from 'commander';
import type { StudyEvent } from '../study/run.js';
import { interruptible } from './interrupt.js';
import { addDevice, addJson, requireDevice, wholeNumber } from './options.js';
import { bar, clearProgress, duration, note, print, printJson, progress } from './terminal.js';

interface Flags {
  readonly preset: string;
  readonly out: string;
  readonly seeds: number;
  readonly resume?: boolean;
  readonly device: string;
  readonly json?: boolean;
}

/** A word as the shell takes it back. */
function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function tell(event: StudyEvent): void {
  if (event.kind === 'estimate') {
    const { networks, tasks, keptNetworks, keptTasks } = event;
    const kept =
      keptNetworks + keptTasks === 0
        ? ''
        : ` ${keptNetworks} networks and ${keptTasks} attacks are finished already.`;
    note(`${networks} networks, ${tasks} attacks.${kept} Estimated time: ${duration(event.seconds)}.`);
    return;
  }
  const percent = `${Math.floor(100 * event.fraction)} %`.padStart(5);
  progress(`${bar(event.fraction, 12)} ${percent}, ${duration(event.secondsLeft)} left. ${event.doing}`);
}

export function addReproduce(program: Command): void {
  addJson(
    addDevice(
      program
        .command('reproduce')
        .description(
          'Repeat the study of the paper on a dataset: train, attack, judge the five claims, write a report.',
        )
        .argument('<dataset>', 'mnist')
        .option('--preset <name>', 'quick', 'quick')
        .requiredOption('--out <folder>', "the study's folder")
        .option('--seeds <n>', 'train every network from n seeds', wholeNumber('--seeds', 1), 1)
        .option('--resume', 'go on with the study in the folder')
        .addHelpText('after', '\nExample:\n  hardbit reproduce mnist --preset quick --out study'),
    ),
  ).action(async (dataset: string, flags: Flags) => {
    await requireDevice(flags.device);
    const { out, preset, seeds } = flags;
    const seedsFlag = seeds === 1 ? '' : ` --seeds ${seeds}`;
    const command = `hardbit reproduce ${quoted(dataset)} --preset ${quoted(preset)} --out ${quoted(out)}${seedsFlag}`;
    const { runStudy } = await import('../study/run.js');
    const { writeReport } = await import('../report/write-report.js');
    const interrupted = `what was finished is kept; go on with \`${command} --resume\`.`;
    const results = await interruptible(interrupted, (signal) =>
      runStudy({ dataset, preset, out, seeds, resume: flags.resume, signal, onEvent: tell, command }),
    );
    clearProgress();
    const report = await writeReport(out);
    if (flags.json === true) {
      printJson({ out, report: report.html, csv: report.csv, results });
      return;
    }
    const { studySummary } = await import('./summary.js');
    print(studySummary(results));
    print(`\nThe study took ${duration(results.seconds)}. The report: ${report.html}`);
  });
}
