import type { Command } from 'commander';
import { interruptible } from './interrupt.js';
import { addDevice, addJson, requireDevice } from './options.js';
import { note, print, printJson } from './terminal.js';

const BATCH = 500;

interface Flags {
  readonly images: string;
  readonly logits?: string;
  readonly device: string;
  readonly json?: boolean;
}

export function addPredict(program: Command): void {
  addJson(
    addDevice(
      program
        .command('predict')
        .description('Predict the classes of images, one a line; write their logits.')
        .argument('<model>', 'model file (.safetensors)')
        .requiredOption('--images <file>', '.npy of float32 in [0, 1] or uint8: N×H×W×C, N×H×W or N×(H·W·C)')
        .option('--logits <file>', 'write the logits here: .npy of float32, N×classes')
        .addHelpText(
          'after',
          '\nExample:\n  hardbit predict model.safetensors --images x.npy --logits out.npy',
        ),
    ),
  ).action(async (path: string, flags: Flags) => {
    await requireDevice(flags.device);
    const { loadModel } = await import('../models/registry.js');
    const { encodeNpy, readImages } = await import('../data/npy.js');
    const { requireWritable, writeFileAtomic } = await import('../files.js');
    if (flags.logits !== undefined) requireWritable(flags.logits);
    const { throwIfAborted } = await import('../errors.js');
    const { setImmediate: nextTurn } = await import('node:timers/promises');
    using model = loadModel(path);
    using images = readImages(flags.images, model.inputShape);
    const n = images.rows;
    const logits = new Float32Array(n * model.classes);
    const predictions: number[] = [];
    await interruptible('nothing was written; repeat the command to start again.', async (signal) => {
      for (let begin = 0; begin < n; begin += BATCH) {
        throwIfAborted(signal);
        using batch = images.slice(begin, Math.min(n, begin + BATCH));
        using values = model.logits(batch);
        using classes = model.predict(batch);
        logits.set(values.toFloat32Array(), begin * model.classes);
        predictions.push(...classes.toInt32Array());
        await nextTurn();
      }
    });
    if (flags.logits !== undefined) {
      writeFileAtomic(flags.logits, encodeNpy({ dtype: 'f32', shape: [n, model.classes], data: logits }));
    }
    if (flags.json === true)
      printJson({ n, classes: model.classes, predictions, logits: flags.logits ?? null });
    else {
      print(predictions.join('\n'));
      if (flags.logits !== undefined) note(`Logits of ${n} images: ${flags.logits}`);
    }
  });
}
