import type { Command } from 'commander';
import type { AttackEvaluation, WhiteBoxEvaluation } from '../evaluation/attack.js';
import type { WorstCaseEvaluation } from '../evaluation/worst-case.js';
import type { GradientMode, Model } from '../models/registry.js';
import { interruptible } from './interrupt.js';
import {
  type AttackFlags,
  addAttackFlags,
  addDevice,
  addJson,
  arithmeticFrom,
  attackFrom,
  requireDevice,
  wholeNumber,
} from './options.js';
import { bar, clearProgress, fixed, percent, print, printJson, progress, table } from './terminal.js';

interface Flags extends AttackFlags {
  readonly dataset: string;
  readonly attack?: string;
  readonly epsilon?: string;
  readonly gradient?: string;
  readonly limit?: number;
  readonly seed: number;
  readonly json?: boolean;
}

/** An evaluation without its per-example arrays. */
export function figuresOf(evaluation: Omit<WhiteBoxEvaluation, 'adversarial'>): Record<string, unknown> {
  const { cleanCorrect: _clean, adversarialCorrect: _adversarial, ...figures } = evaluation;
  return figures;
}

/** A worst case without its per-example arrays, its runs as `figuresOf` gives them. */
export function worstCaseFigures(worst: Omit<WorstCaseEvaluation, 'adversarial'>): Record<string, unknown> {
  const { cleanCorrect: _clean, adversarialCorrect: _adversarial, runs, ...figures } = worst;
  return {
    ...figures,
    runs: runs.map(({ evaluation, newlyFooled }) => ({ ...figuresOf(evaluation), newlyFooled })),
  };
}

/** 'discretizer identity, sign clipped', and the arithmetic where it is not exact */
export function modeText({ discretizer, sign, arithmetic }: AttackEvaluation['gradientMode']): string {
  const reduced = arithmetic === undefined ? '' : `, gradients in ${arithmetic}`;
  return `discretizer ${discretizer}${sign === null ? '' : `, sign ${sign}`}${reduced}`;
}

/** 'ε = 0.1', 'ε = 2 (L2)' */
export function epsilonText({ epsilon, norm }: Pick<AttackEvaluation, 'epsilon' | 'norm'>): string {
  return `ε = ${Number(epsilon.toPrecision(4))}${norm === 'l2' ? ' (L2)' : ''}`;
}

/** The gradient modes that a flag asks for: 'all' those worth trying, else the one it spells out. */
async function gradientsFrom(
  text: string,
  arithmetic: Partial<GradientMode>,
  model: Pick<Model, 'activationGradients'>,
): Promise<readonly Partial<GradientMode>[]> {
  const { gradientModesFor, parseGradientMode } = await import('../evaluation/gradient-mode.js');
  const modes = text === 'all' ? gradientModesFor(model) : [parseGradientMode(text)];
  return modes.map((mode) => ({ ...mode, ...arithmetic }));
}

function checkFlags(flags: Flags, fail: (message: string) => Error): void {
  if (flags.attack !== undefined && flags.epsilon === undefined) {
    throw fail('--attack needs --epsilon, e.g. --epsilon 0.1,0.2 or --epsilon 8/255.');
  }
  if (flags.attack !== undefined) return;
  const given = (
    [
      'epsilon',
      'gradient',
      'gradientArithmetic',
      'norm',
      'steps',
      'stepSize',
      'alpha',
      'restarts',
      'earlyStop',
    ] as const
  ).find((name) => flags[name] !== undefined);
  const name = given ?? (flags.randomStart ? undefined : 'no-random-start');
  if (name !== undefined) {
    const option = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw fail(`--${option} has no meaning without --attack; name one, e.g. --attack pgd.`);
  }
}

export function addEvaluate(program: Command): void {
  addJson(
    addDevice(
      addAttackFlags(
        program
          .command('evaluate')
          .description(
            'Measure accuracy, clean and under a white-box attack, on the test images of a dataset.',
          )
          .argument('<model>', 'model file (.safetensors)')
          .option('--dataset <name>', 'dataset', 'mnist')
          .option('--attack <name>', 'fgsm, r-fgsm, bim or pgd; clean accuracy alone without it')
          .option('--epsilon <list>', 'radius of the ball, as 0.1,0.2 or 8/255')
          .option(
            '--gradient <mode>',
            'how to differentiate, as discretizer=identity,sign=clipped (default: all useful modes and the worst of them)',
          )
          .option('--limit <n>', 'the first n test images only', wholeNumber('--limit', 1))
          .option('--seed <n>', 'of random starts', wholeNumber('--seed', 0), 0),
      ).addHelpText(
        'after',
        '\nExample:\n  hardbit evaluate model.safetensors --dataset mnist --attack pgd --epsilon 0.1,0.2 \\\n' +
          '    --gradient discretizer=identity,sign=clipped',
      ),
    ),
  ).action(async (path: string, flags: Flags) => {
    const { HardbitError } = await import('../errors.js');
    checkFlags(flags, (message) => new HardbitError('ERR_HARDBIT_ARGUMENT', message));
    const { attack, epsilon = '' } = flags;
    const specs =
      attack === undefined
        ? []
        : await Promise.all(epsilon.split(',').map((text) => attackFrom(attack, text, flags)));
    const arithmetic = await arithmeticFrom(flags);
    const device = await requireDevice(flags.device);
    const { loadDataset } = await import('../data/registry.js');
    const { takeFirst } = await import('../data/dataset.js');
    const { loadModel } = await import('../models/registry.js');
    const { evaluateClean } = await import('../evaluation/clean.js');
    const { evaluateWorstCase } = await import('../evaluation/worst-case.js');
    using model = loadModel(path, { device });
    const gradients = await gradientsFrom(flags.gradient ?? 'all', arithmetic, model);
    await interruptible('nothing was kept; repeat the command to start again.', async (signal) => {
      const { train, test } = await loadDataset(flags.dataset, { signal });
      train.dispose();
      const onHost = takeFirst(test, flags.limit ?? test.size);
      test.dispose();
      const data = onHost.to(device);
      onHost.dispose();
      try {
        const clean = await evaluateClean(model, data, { signal });
        const worst: WorstCaseEvaluation[] = [];
        for (const spec of specs) {
          worst.push(
            await evaluateWorstCase(model, data, [spec], {
              gradients,
              seed: flags.seed,
              signal,
              cleanCorrect: clean.correct,
              onProgress: ({ fraction }) =>
                progress(`${spec.name} at ε = ${spec.epsilon} ${bar(fraction)} of ${data.size} images`),
            }),
          );
        }
        clearProgress();
        const { n, accuracy, loss } = clean;
        if (flags.json === true) {
          printJson({
            model: path,
            dataset: flags.dataset,
            clean: { n, accuracy, loss },
            attacks: worst.flatMap(({ runs }) => runs.map(({ evaluation }) => figuresOf(evaluation))),
            worst: worst.map(headlineOf),
          });
          return;
        }
        print(`Clean accuracy ${percent(accuracy)} on ${n} test images of ${flags.dataset}.`);
        if (worst.length > 0) print(`\n${evaluationTable(worst)}`);
      } finally {
        data.dispose();
      }
    });
  });
}

/** What a worst case says beside its runs. */
function headlineOf(worst: WorstCaseEvaluation): Record<string, unknown> {
  const { runs, ...headline } = worstCaseFigures(worst);
  return headline;
}

function evaluationTable(worst: readonly WorstCaseEvaluation[]): string {
  const first = worst[0] as WorstCaseEvaluation;
  const head = [
    'attack',
    first.norm === 'l2' ? 'ε (L2)' : 'ε',
    'accuracy',
    'adversarial\nloss, points',
    'flippable\npixels',
    'zero\ngradients',
    'gradient mode',
  ];
  const epsilon = (each: { readonly epsilon: number }) => String(Number(each.epsilon.toPrecision(4)));
  const rows = worst.flatMap((each) => [
    ...each.runs.map(({ evaluation: run }) => [
      run.attack.name,
      epsilon(run),
      percent(run.adversarialAccuracy),
      fixed(100 * run.adversarialLoss),
      run.flippableFraction === null ? '' : percent(run.flippableFraction),
      percent(run.zeroGradientFraction),
      modeText(run.gradientMode),
    ]),
    ...(each.runs.length > 1
      ? [
          [
            each.attacks.map(({ name }) => name).join(', '),
            epsilon(each),
            percent(each.adversarialAccuracy),
            fixed(100 * each.adversarialLoss),
            '',
            '',
            'worst, image by image',
          ],
        ]
      : []),
  ]);
  return `${table(head, rows)}\n\nWhite-box, n = ${first.n}, seed ${first.seed}.`;
}
