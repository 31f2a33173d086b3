import type { Command } from 'commander';
import type { WhiteBoxEvaluation } from '../evaluation/attack.js';
import type { EvaluationProgress } from '../evaluation/batches.js';
import type { WorstCaseEvaluation } from '../evaluation/worst-case.js';
import type { Tensor } from '../tensor/tensor.js';
import { epsilonText, figuresOf, modeText, worstCaseFigures } from './evaluate.js';
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
import { bar, clearProgress, fixed, percent, print, printJson, progress } from './terminal.js';

interface Flags extends AttackFlags {
  readonly images: string;
  readonly labels: string;
  readonly targets?: string;
  readonly attack: string;
  readonly epsilon: string;
  readonly gradient?: string;
  readonly seed: number;
  readonly out: string;
  readonly json?: boolean;
}

export function addAttack(program: Command): void {
  addJson(
    addDevice(
      addAttackFlags(
        program
          .command('attack')
          .description(
            'Attack images of your own with the gradients of a network, and write the attacked images.',
          )
          .argument('<model>', 'model file (.safetensors)')
          .requiredOption(
            '--images <file>',
            '.npy of float32 in [0, 1] or uint8: N×H×W×C, N×H×W or N×(H·W·C)',
          )
          .requiredOption('--labels <file>', '.npy of integers, N')
          .option('--targets <file>', '.npy of integers, N: the class each image shall reach')
          .requiredOption('--attack <name>', 'fgsm, r-fgsm, bim or pgd')
          .requiredOption('--epsilon <size>', 'radius of the ball, as 0.1 or 8/255')
          .option(
            '--gradient <mode>',
            'how to differentiate, as discretizer=identity,sign=clipped; or all useful modes, of which each image keeps its worst',
          )
          .option('--seed <n>', 'of random starts', wholeNumber('--seed', 0), 0)
          .requiredOption('--out <file>', 'write the attacked images here: .npy of float32, N×H×W×C'),
      ).addHelpText(
        'after',
        '\nExample:\n  hardbit attack model.safetensors --images x.npy --labels y.npy --attack pgd --epsilon 0.1 \\\n' +
          '    --steps 20 --step-size 0.01 --no-random-start --out adv.npy',
      ),
    ),
  ).action(async (path: string, flags: Flags) => {
    const { gradientModesFor, parseGradientMode } = await import('../evaluation/gradient-mode.js');
    const targeted = flags.targets === undefined ? undefined : true;
    const spec = await attackFrom(flags.attack, flags.epsilon, flags, targeted);
    const arithmetic = await arithmeticFrom(flags);
    const named =
      flags.gradient === undefined || flags.gradient === 'all' ? {} : parseGradientMode(flags.gradient);
    const gradient = { ...named, ...arithmetic };
    const device = await requireDevice(flags.device);
    const { loadModel } = await import('../models/registry.js');
    const { createDataset } = await import('../data/dataset.js');
    const { encodeNpy, readImages, readLabels } = await import('../data/npy.js');
    const { evaluateAttack } = await import('../evaluation/attack.js');
    const { evaluateWorstCase } = await import('../evaluation/worst-case.js');
    const { requireWritable, writeFileAtomic } = await import('../files.js');
    requireWritable(flags.out);
    using model = loadModel(path, { device });
    using images = readImages(flags.images, model.inputShape);
    using labels = readLabels(flags.labels, model.classes, images.rows);
    using targets =
      flags.targets === undefined ? null : readLabels(flags.targets, model.classes, images.rows);
    const data = createDataset(flags.images, model.classes, images, labels);
    const common = {
      seed: flags.seed,
      keepAdversarial: true,
      onProgress: ({ fraction }: EvaluationProgress) =>
        progress(`${spec.name} ${bar(fraction)} of ${data.size} images`),
    };
    const attacked = await interruptible(
      'nothing was written; repeat the command to start again.',
      async (signal): Promise<Attacked> => {
        if (flags.gradient === 'all') {
          const { adversarial, ...worst } = await evaluateWorstCase(model, data, [spec], {
            ...common,
            gradients: gradientModesFor(model).map((mode) => ({ ...mode, ...arithmetic })),
            signal,
          });
          return { adversarial, json: worstCaseFigures(worst), text: worstText(worst) };
        }
        const { adversarial, ...evaluation } = await evaluateAttack(model, data, spec, {
          ...common,
          gradient,
          signal,
          targets: targets ?? undefined,
        });
        return { adversarial, json: figuresOf(evaluation), text: evaluationText(evaluation) };
      },
    );
    clearProgress();
    const adversarial = attacked.adversarial as Tensor;
    try {
      const pixels = adversarial.toFloat32Array();
      writeFileAtomic(flags.out, encodeNpy({ dtype: 'f32', shape: [...adversarial.shape], data: pixels }));
    } finally {
      adversarial.dispose();
    }
    if (flags.json === true) printJson({ model: path, out: flags.out, ...attacked.json });
    else print(`${flags.out}: ${attacked.text}`);
  });
}

interface Attacked {
  readonly adversarial: Tensor | undefined;
  readonly json: Record<string, unknown>;
  readonly text: string;
}

function accuracyText({
  cleanAccuracy,
  adversarialAccuracy,
  adversarialLoss,
}: Pick<WorstCaseEvaluation, 'cleanAccuracy' | 'adversarialAccuracy' | 'adversarialLoss'>): string {
  return (
    `${percent(cleanAccuracy)} clean, ${percent(adversarialAccuracy)} attacked: ` +
    `adversarial loss ${fixed(100 * adversarialLoss)} points`
  );
}

function evaluationText(evaluation: Omit<WhiteBoxEvaluation, 'adversarial'>): string {
  const { attack, gradientMode, n, seed, targetSuccess } = evaluation;
  return (
    `${n} images attacked by ${attack.name} at ${epsilonText(evaluation)}, ${modeText(gradientMode)}, seed ${seed}.\n` +
    `Accuracy ${accuracyText(evaluation)}.` +
    (targetSuccess === null ? '' : `\nTargets reached: ${percent(targetSuccess)}.`)
  );
}

function worstText(worst: Omit<WorstCaseEvaluation, 'adversarial'>): string {
  const names = worst.attacks.map(({ name }) => name).join(', ');
  const modes = worst.runs.map(
    ({ evaluation }) => `  ${modeText(evaluation.gradientMode)}: ${accuracyText(evaluation)}`,
  );
  return [
    `${worst.n} images attacked by ${names} at ${epsilonText(worst)}, seed ${worst.seed}, in every useful gradient mode.`,
    ...modes,
    `Worst, image by image: accuracy ${accuracyText(worst)}.`,
  ].join('\n');
}
