import type { Command } from 'commander';
import type { Device } from '../tensor/tensor.js';
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

/** Images of a file, and the network that classifies them. */
interface Classifier extends Disposable {
  readonly count: number;
  readonly classes: number;
  /** Of images [begin, end). */
  predict(
    begin: number,
    end: number,
  ): Promise<{ readonly classes: Int32Array; readonly logits: Float32Array }>;
}

/** A model file, as it was trained. */
async function trained(path: string, imagesPath: string, device: Device): Promise<Classifier> {
  const { loadModel } = await import('../models/registry.js');
  const { readImages } = await import('../data/npy.js');
  const model = loadModel(path, { device });
  const images = readImages(imagesPath, model.inputShape);
  return {
    count: images.rows,
    classes: model.classes,
    async predict(begin, end) {
      using rows = images.slice(begin, end);
      using batch = rows.to(device);
      using logits = model.logits(batch);
      using classes = model.predict(batch);
      return { classes: classes.toInt32Array(), logits: logits.toFloat32Array() };
    },
    [Symbol.dispose]() {
      images.dispose();
      model.dispose();
    },
  };
}

/** A deployed network. */
async function deployed(path: string, imagesPath: string, device: Device): Promise<Classifier> {
  if (device !== 'cpu') {
    const { HardbitError } = await import('../errors.js');
    throw new HardbitError(
      'ERR_HARDBIT_UNSUPPORTED',
      `'${path}' is a deployed network, which predict runs on the cpu alone; use --device cpu, or its model file.`,
    );
  }
  const { PackedNetwork } = await import('../packed/packed.js');
  const { readByteImages } = await import('../data/npy.js');
  const network = await PackedNetwork.load(path);
  const images = readByteImages(imagesPath, network.inputShape);
  const size = network.inputShape.reduce((product, each) => product * each, 1);
  return {
    count: images.length / size,
    classes: network.classes,
    predict: (begin, end) => network.predict(images.subarray(begin * size, end * size)),
    [Symbol.dispose]: () => network.dispose(),
  };
}

/** Whether a file begins as a deployed network does. */
async function isDeployed(path: string): Promise<boolean> {
  const { isHbit } = await import('../packed/format.js');
  const { readFile } = await import('../files.js');
  return isHbit(readFile(path));
}

export function addPredict(program: Command): void {
  addJson(
    addDevice(
      program
        .command('predict')
        .description('Predict the classes of images, one a line; write their logits.')
        .argument('<model>', 'model file (.safetensors), or deployed network (.hbit)')
        .requiredOption(
          '--images <file>',
          '.npy of float32 in [0, 1] or uint8 (.hbit: uint8): N×H×W×C, N×H×W or N×(H·W·C)',
        )
        .option('--logits <file>', 'write the logits here: .npy of float32, N×classes')
        .addHelpText(
          'after',
          '\nExample:\n  hardbit predict model.safetensors --images x.npy --logits out.npy',
        ),
    ),
  ).action(async (path: string, flags: Flags) => {
    const device = await requireDevice(flags.device);
    const { encodeNpy } = await import('../data/npy.js');
    const { requireWritable, writeFileAtomic } = await import('../files.js');
    if (flags.logits !== undefined) requireWritable(flags.logits);
    const { throwIfAborted } = await import('../errors.js');
    const { setImmediate: nextTurn } = await import('node:timers/promises');
    using classifier = await ((await isDeployed(path)) ? deployed : trained)(path, flags.images, device);
    const { count: n, classes } = classifier;
    const logits = new Float32Array(n * classes);
    const predictions: number[] = [];
    await interruptible('nothing was written; repeat the command to start again.', async (signal) => {
      for (let begin = 0; begin < n; begin += BATCH) {
        throwIfAborted(signal);
        const found = await classifier.predict(begin, Math.min(n, begin + BATCH));
        logits.set(found.logits, begin * classes);
        predictions.push(...found.classes);
        await nextTurn();
      }
    });
    if (flags.logits !== undefined) {
      writeFileAtomic(flags.logits, encodeNpy({ dtype: 'f32', shape: [n, classes], data: logits }));
    }
    if (flags.json === true) printJson({ n, classes, predictions, logits: flags.logits ?? null });
    else {
      print(predictions.join('\n'));
      if (flags.logits !== undefined) note(`Logits of ${n} images: ${flags.logits}`);
    }
  });
}
