import type { Command } from 'commander';
import type { AttackEvaluation } from '../evaluation/attack.js';
import type { GradientMode } from '../models/registry.js';
import { interruptible } from './interrupt.js';
import {
  type AttackFlags,
  addAttackFlags,
  addDevice,
  addJson,
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
  readonly device: string;
  readonly json?: boolean;
}

/** An evaluation without its per-example arrays. */
export function figuresOf(evaluation: AttackEvaluation): Record<string, unknown> {
  const { cleanCorrect: _clean, adversarialCorrect: _adversarial, ...figures } = evaluation;
  return figures;
}

/** 'discretizer identity, sign clipped' */
export function modeText({ discretizer, sign }: AttackEvaluation['gradientMode']): string {
  return `discretizer ${discretizer}${sign === null ? '' : `, sign ${sign}`}`;
}

async function gradientsFrom(
  text: string | undefined,
  model: { readonly hasSign: boolean },
): Promise<readonly Partial<GradientMode>[]> {
  const { gradientModesFor, parseGradientMode } = await import('../evaluation/gradient-mode.js');
  if (text === 'all') return gradientModesFor(model);
  return [text === undefined ? {} : parseGradientMode(text)];
}

function checkFlags(flags: Flags, fail: (message: string) => Error): void {
  if (flags.attack !== undefined && flags.epsilon === undefined) {
    throw fail('--attack needs --epsilon, e.g. --epsilon 0.1,0.2 or --epsilon 8/255.');
  }
  if (flags.attack !== undefined) return;
  const given = (['epsilon', 'gradient', 'steps', 'stepSize', 'alpha', 'restarts'] as const).find(
    (name) => flags[name] !== undefined,
  );
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
          .option('--gradient <mode>', 'how to differentiate, as discretizer=identity,sign=clipped; or all')
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
    const { parseEpsilon } = await import('../evaluation/attack-options.js');
    const { attack, epsilon = '' } = flags;
    const specs =
      attack === undefined
        ? []
        : await Promise.all(epsilon.split(',').map((text) => attackFrom(attack, parseEpsilon(text), flags)));
    await requireDevice(flags.device);
    const { loadDataset } = await import('../data/registry.js');
    const { takeFirst } = await import('../data/dataset.js');
    const { loadModel } = await import('../models/registry.js');
    const { evaluateClean } = await import('../evaluation/clean.js');
    const { evaluateAttack } = await import('../evaluation/attack.js');
    using model = loadModel(path);
    const gradients = await gradientsFrom(flags.gradient, model);
    await interruptible('nothing was kept; repeat the command to start again.', async (signal) => {
      const { train, test } = await loadDataset(flags.dataset, { signal });
      train.dispose();
      const data = takeFirst(test, flags.limit ?? test.size);
      test.dispose();
      try {
        const clean = await evaluateClean(model, data, { signal });
        const attacks: AttackEvaluation[] = [];
        for (const spec of specs) {
          for (const gradient of gradients) {
            const doing = `${spec.name} at ε = ${spec.epsilon}`;
            attacks.push(
              await evaluateAttack(model, data, spec, {
                gradient,
                seed: flags.seed,
                signal,
                cleanCorrect: clean.correct,
                onProgress: ({ done, total }) =>
                  progress(`${doing} ${bar(done / total)} ${done} of ${total} images`),
              }),
            );
          }
        }
        clearProgress();
        const { n, accuracy, loss } = clean;
        if (flags.json === true) {
          printJson({
            model: path,
            dataset: flags.dataset,
            clean: { n, accuracy, loss },
            attacks: attacks.map(figuresOf),
          });
          return;
        }
        print(`Clean accuracy ${percent(accuracy)} on ${n} test images of ${flags.dataset}.`);
        if (attacks.length > 0) print(`\n${evaluationTable(attacks)}`);
      } finally {
        data.dispose();
      }
    });
  });
}

function evaluationTable(attacks: readonly AttackEvaluation[]): string {
  const first = attacks[0] as AttackEvaluation;
  const head = [
    'attack',
    'ε',
    'accuracy',
    'adversarial\nloss, points',
    'flippable\npixels',
    'zero\ngradients',
    'gradient mode',
  ];
  const rows = attacks.map((each) => [
    each.attack.name,
    String(Number(each.epsilon.toPrecision(4))),
    percent(each.adversarialAccuracy),
    fixed(100 * each.adversarialLoss),
    percent(each.flippableFraction),
    each.zeroGradientFraction === null ? '' : percent(each.zeroGradientFraction),
    modeText(each.gradientMode),
  ]);
  return `${table(head, rows)}\n\nWhite-box, n = ${first.n}, seed ${first.seed}.`;
}
