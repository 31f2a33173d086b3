import type { Command } from 'commander';
import { HardbitError } from '../errors.js';
import type { WrittenReport } from '../report/write-report.js';
import { addJson } from './options.js';
import { note, print, printJson, quoted } from './terminal.js';

interface Flags {
  readonly out?: string;
  readonly partial?: boolean;
  readonly json?: boolean;
}

/** The report and its tables by path; pages and figures, which are many, by number. */
function writtenText({ html, csv, pages, figures }: WrittenReport): string {
  return [html, ...csv, `${pages.length} pages in networks/, ${figures.length} figures in figures/`].join(
    '\n',
  );
}

export function addReport(program: Command): void {
  addJson(
    program
      .command('report')
      .description(
        'Write the report of a finished study anew (pages, figures, CSV files), or merge the shards of a study and write theirs.',
      )
      .argument('<folders...>', "the study's folder, or the folders of its shards")
      .option('--out <folder>', 'merge into this folder')
      .option('--partial', 'merge what is there, though shards are missing or unfinished')
      .addHelpText(
        'after',
        '\nExamples:\n  hardbit report study\n  hardbit report shard-1 shard-2 shard-3 --out study',
      ),
  ).action(async (folders: string[], { out, partial, json }: Flags) => {
    if (out === undefined && (folders.length > 1 || partial === true)) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `${folders.length > 1 ? 'Several folders are merged' : '--partial merges'} into a folder of its own; name it by --out.`,
      );
    }
    const { writeReport } = await import('../report/write-report.js');
    if (out === undefined) {
      const written = await writeReport(folders[0] as string);
      if (json === true) printJson(written);
      else print(writtenText(written));
      return;
    }
    const { mergeShards } = await import('../study/merge.js');
    const words = [...folders, '--out', out, ...(partial === true ? ['--partial'] : [])];
    const command = ['hardbit report', ...words.map(quoted)].join(' ');
    const results = await mergeShards(folders, { out, partial, command });
    const written = await writeReport(out);
    if (!results.complete) note('Not all of the plan is in these results.');
    if (json === true) {
      printJson({ out, ...written, results });
      return;
    }
    const { studySummary } = await import('./summary.js');
    print(studySummary(results));
    print(`\n${writtenText(written)}`);
  });
}
