import type { Command } from 'commander';
import { figuresOf, modeText } from './evaluate.js';
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
  readonly device: string;
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
          .option('--gradient <mode>', 'how to differentiate, as discretizer=identity,sign=clipped')
          .option('--seed <n>', 'of random starts', wholeNumber('--seed', 0), 0)
          .requiredOption('--out <file>', 'write the attacked images here: .npy of float32, N×H×W×C'),
      ).addHelpText(
        'after',
        '\nExample:\n  hardbit attack model.safetensors --images x.npy --labels y.npy --attack pgd --epsilon 0.1 \\\n' +
          '    --steps 20 --step-size 0.01 --no-random-start --out adv.npy',
      ),
    ),
  ).action(async (path: string, flags: Flags) => {
    const { parseEpsilon } = await import('../evaluation/attack-options.js');
    const { parseGradientMode } = await import('../evaluation/gradient-mode.js');
    const spec = await attackFrom(
      flags.attack,
      parseEpsilon(flags.epsilon),
      flags,
      flags.targets === undefined ? undefined : true,
    );
    const gradient = flags.gradient === undefined ? {} : parseGradientMode(flags.gradient);
    await requireDevice(flags.device);
    const { loadModel } = await import('../models/registry.js');
    const { createDataset } = await import('../data/dataset.js');
    const { encodeNpy, readImages, readLabels } = await import('../data/npy.js');
    const { evaluateAttack } = await import('../evaluation/attack.js');
    const { requireWritable, writeFileAtomic } = await import('../files.js');
    requireWritable(flags.out);
    using model = loadModel(path);
    using images = readImages(flags.images, model.inputShape);
    using labels = readLabels(flags.labels, model.classes, images.rows);
    using targets =
      flags.targets === undefined ? null : readLabels(flags.targets, model.classes, images.rows);
    const data = createDataset(flags.images, model.classes, images, labels);
    const { adversarial, ...evaluation } = await interruptible(
      'nothing was written; repeat the command to start again.',
      (signal) =>
        evaluateAttack(model, data, spec, {
          gradient,
          seed: flags.seed,
          signal,
          targets: targets ?? undefined,
          keepAdversarial: true,
          onProgress: ({ done, total }) =>
            progress(`${spec.name} ${bar(done / total)} ${done} of ${total} images`),
        }),
    );
    clearProgress();
    if (adversarial !== undefined) {
      const pixels = adversarial.toFloat32Array();
      writeFileAtomic(flags.out, encodeNpy({ dtype: 'f32', shape: [...adversarial.shape], data: pixels }));
      adversarial.dispose();
    }
    if (flags.json === true) {
      printJson({ model: path, out: flags.out, ...figuresOf(evaluation) });
      return;
    }
    print(
      `${flags.out}: ${evaluation.n} images attacked by ${spec.name} at ε = ${Number(spec.epsilon.toPrecision(4))}, ` +
        `${modeText(evaluation.gradientMode)}, seed ${evaluation.seed}.\n` +
        `Accuracy ${percent(evaluation.cleanAccuracy)} clean, ${percent(evaluation.adversarialAccuracy)} attacked: ` +
        `adversarial loss ${fixed(100 * evaluation.adversarialLoss)} points.` +
        (evaluation.targetSuccess === null ? '' : `\nTargets reached: ${percent(evaluation.targetSuccess)}.`),
    );
  });
}
