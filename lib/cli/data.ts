import type { Command } from 'commander';
import { interruptible } from './interrupt.js';
import { addJson } from './options.js';
import { bar, clearProgress, print, printJson, progress, table } from './terminal.js';

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

export function addData(program: Command): void {
  const data = program
    .command('data')
    .description('List the datasets, or get one.')
    .addHelpText('after', '\nExamples:\n  hardbit data list\n  hardbit data get mnist');

  addJson(
    data
      .command('list')
      .description('List the known datasets and where their files are; downloads nothing.')
      .addHelpText('after', '\nExample:\n  hardbit data list --json'),
  ).action(async ({ json }: { json?: boolean }) => {
    const { listDatasets } = await import('../data/registry.js');
    const datasets = await listDatasets();
    if (json === true) printJson({ datasets });
    else {
      print(
        table(
          ['dataset', 'package', 'size', 'here', 'folder'],
          datasets.map((each) => [
            each.name,
            `${each.package}@${each.version}`,
            megabytes(each.bytes),
            each.cached ? 'yes' : 'no',
            each.path,
          ]),
        ),
      );
      print(
        `\n${datasets.map((each) => `${each.name}: ${each.classNames.join(', ')}.`).join('\n')}\n` +
          'idx:FOLDER: your own images, in a folder of IDX files.',
      );
    }
  });

  addJson(
    data
      .command('get')
      .description('Fetch a dataset where it is not here yet, and verify its files.')
      .argument('<name>', 'dataset: mnist, fashion-mnist, or idx:FOLDER')
      .addHelpText('after', '\nExample:\n  hardbit data get mnist'),
  ).action(async (name: string, { json }: { json?: boolean }) => {
    const { listDatasets, loadDataset } = await import('../data/registry.js');
    const splits = await interruptible('nothing was kept; repeat the command to start again.', (signal) =>
      loadDataset(name, {
        signal,
        onProgress: ({ received, total }) =>
          progress(
            total === null
              ? `Downloading ${name}: ${megabytes(received)}`
              : `Downloading ${name} ${bar(received / total)} ${megabytes(received)} of ${megabytes(total)}`,
          ),
      }),
    );
    clearProgress();
    const { train, test, sha256 } = splits;
    const path = name.startsWith('idx:')
      ? name.slice('idx:'.length)
      : ((await listDatasets()).find((each) => each.name === name)?.path ?? null);
    if (json === true) {
      printJson({
        name,
        path,
        trainExamples: train.size,
        testExamples: test.size,
        classes: train.classes,
        sha256,
      });
    } else {
      // What a folder of one's own holds was published nowhere.
      const verified = name.startsWith('idx:') ? '' : ', verified,';
      print(`${name}: ${train.size} training and ${test.size} test images${verified} in ${path}.`);
    }
    train.dispose();
    test.dispose();
  });
}
