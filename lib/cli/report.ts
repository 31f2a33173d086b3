import type { Command } from 'commander';
import { addJson } from './options.js';
import { print, printJson } from './terminal.js';

export function addReport(program: Command): void {
  addJson(
    program
      .command('report')
      .description('Write report.html and the CSV files of a finished study anew, from its results.json.')
      .argument('<folder>', "the study's folder")
      .addHelpText('after', '\nExample:\n  hardbit report study'),
  ).action(async (folder: string, { json }: { json?: boolean }) => {
    const { writeReport } = await import('../report/write-report.js');
    const { html, csv } = await writeReport(folder);
    if (json === true) printJson({ html, csv });
    else print([html, ...csv].join('\n'));
  });
}
