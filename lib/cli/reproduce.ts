import type { Command } from 'commander';
import { HardbitError } from '../errors.js';
import type { Shard } from '../study/plan.js';
import type { StudyEvent } from '../study/run.js';
import { interruptible } from './interrupt.js';
import { addDevice, addJson, requireDevice, wholeNumber } from './options.js';
import { bar, clearProgress, duration, note, print, printJson, progress, quoted } from './terminal.js';

interface Flags {
  readonly preset: string;
  readonly out: string;
  readonly seeds: number;
  readonly images?: number;
  readonly shard?: Shard;
  readonly resume?: boolean;
  readonly device: string;
  readonly json?: boolean;
}

/** Where an estimate is longer than this, in seconds, it says where the time goes. */
const LONG = 900;

function tell(event: StudyEvent): void {
  if (event.kind === 'estimate') {
    const { networks, tasks, keptNetworks, keptTasks, shard, seconds, parts } = event;
    const kept =
      keptNetworks + keptTasks === 0
        ? ''
        : ` ${keptNetworks} networks and ${keptTasks} attacks are finished already.`;
    const part = shard.count === 1 ? '' : `Shard ${shard.index} of ${shard.count}: `;
    note(`${part}${networks} networks, ${tasks} attacks.${kept} Estimated time: ${duration(seconds)}.`);
    if (seconds > LONG) {
      for (const { model, training, whiteBox, transfer } of parts) {
        note(
          `  ${model}: training ${duration(training)}, white-box attacks ${duration(whiteBox)}, transfer ${duration(transfer)}`,
        );
      }
    }
    return;
  }
  const percent = `${Math.floor(100 * event.fraction)} %`.padStart(5);
  progress(`${bar(event.fraction, 12)} ${percent}, ${duration(event.secondsLeft)} left. ${event.doing}`);
}

/** Reads '2/3'; whether the study can be cut so is found where it is planned. */
function parseShard(text: string): Shard {
  const match = /^\s*(\d{1,6})\s*\/\s*(\d{1,6})\s*$/.exec(text);
  if (match === null) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `--shard is '${text}'; expected a shard and their number, such as 1/3.`,
    );
  }
  return { index: Number(match[1]), count: Number(match[2]) };
}

export function addReproduce(program: Command): void {
  addJson(
    addDevice(
      program
        .command('reproduce')
        .description(
          'Repeat the study of the paper on a dataset: train, attack, judge the five claims, write a report.',
        )
        .argument('<dataset>', 'mnist or fashion-mnist')
        .option('--preset <name>', 'quick (minutes) or paper (hours)', 'quick')
        .requiredOption('--out <folder>', "the study's folder")
        .option('--seeds <n>', 'train every network from n seeds', wholeNumber('--seeds', 1), 1)
        .option(
          '--images <n>',
          'attack the first n test images everywhere, in place of what the preset says',
          wholeNumber('--images', 1),
        )
        .option(
          '--shard <i/n>',
          'work off part i of n, each in a folder of its own; merge them with `hardbit report`',
          parseShard,
        )
        .option('--resume', 'go on with the study in the folder')
        .addHelpText(
          'after',
          '\nExamples:\n  hardbit reproduce mnist --preset quick --out study\n  hardbit reproduce mnist --preset paper --shard 1/3 --out shard-1',
        ),
    ),
  ).action(async (dataset: string, flags: Flags) => {
    const device = await requireDevice(flags.device);
    const { out, preset, seeds, images, shard } = flags;
    const seedsFlag = seeds === 1 ? '' : ` --seeds ${seeds}`;
    const imagesFlag = images === undefined ? '' : ` --images ${images}`;
    const shardFlag = shard === undefined ? '' : ` --shard ${shard.index}/${shard.count}`;
    const deviceFlag = device === 'cpu' ? '' : ` --device ${device}`;
    const command = `hardbit reproduce ${quoted(dataset)} --preset ${quoted(preset)} --out ${quoted(out)}${seedsFlag}${imagesFlag}${shardFlag}${deviceFlag}`;
    const { runStudy } = await import('../study/run.js');
    const { writeReport } = await import('../report/write-report.js');
    const interrupted = `what was finished is kept; go on with \`${command} --resume\`.`;
    const results = await interruptible(interrupted, (signal) =>
      runStudy({
        ...{ dataset, preset, out, seeds, images, shard, device, resume: flags.resume },
        ...{ signal, onEvent: tell, command },
      }),
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
