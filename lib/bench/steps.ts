import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { KeptWalk } from '../attacks/recorded-walk.js';
import { resolveAttack, runAttack } from '../attacks/registry.js';
import { requireName } from '../errors.js';
import { createModel } from '../models/registry.js';
import { native } from '../native.js';
import { Tensor } from '../tensor/tensor.js';
import { adam, requireGradientArithmetic } from '../training/options.js';
import { createTrainer } from '../training/step.js';

// hardbit's side of `hardbit bench train` and `attack`: a program of its own, as PyTorch's is, so that neither's memory
// and threads are the other's. It speaks the protocol of programs.ts.

const POOL = 16;

function main(): void {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: '' },
      recipe: { type: 'string', default: '' },
      task: { type: 'string', default: '' },
      batch: { type: 'string', default: '' },
      bits: { type: 'string', default: '' },
      'gradient-arithmetic': { type: 'string', default: '' },
      epsilon: { type: 'string', default: '' },
      'attack-steps': { type: 'string', default: '' },
      device: { type: 'string', default: 'cpu' },
    },
  });
  const device = requireName('device', values.device, ['cpu', 'cuda']);
  const batch = Number(values.batch);
  const { model: name, recipe } = values;
  const model = createModel(name, { inputBits: Number(values.bits), recipe, seed: 0, device });
  const pixels = model.spec.inputShape.reduce((a, b) => a * b, 1);
  const random = <T extends Float32Array | Int32Array>(array: T, value: () => number): T => {
    for (let i = 0; i < array.length; i++) array[i] = value();
    return array;
  };
  const pool = Array.from({ length: POOL }, () => ({
    images: Tensor.from(
      'f32',
      [batch, ...model.spec.inputShape],
      random(new Float32Array(batch * pixels), Math.random),
      device,
    ),
    labels: Tensor.from(
      'i32',
      [batch],
      random(new Int32Array(batch), () => Math.floor(Math.random() * model.classes)),
      device,
    ),
  }));
  const arithmetic = requireGradientArithmetic(values['gradient-arithmetic'], device);
  const trainer = createTrainer(model, {
    optimizer: adam({ learningRate: 1e-3 }),
    gradientArithmetic: arithmetic,
  });
  const attack = resolveAttack('pgd', {
    epsilon: Number(values.epsilon),
    steps: Number(values['attack-steps']),
  });
  const attackable = model.attackable({ arithmetic });
  const recorded = new KeptWalk();
  let done = 0;
  const run = (times: number): number => {
    const begin = process.hrtime.bigint();
    for (let i = 0; i < times; i++, done++) {
      const { images, labels } = pool[done % POOL] as (typeof pool)[number];
      if (values.task === 'train') {
        if (device === 'cpu') trainer.step(images, labels);
        else trainer.queueStep(images, labels);
      } else runAttack(attack, attackable, images, labels, { seed: done, recorded }).adversarial.dispose();
    }
    if (trainer.unreadSteps > 0) trainer.readSteps();
    native().synchronize(device);
    return Number(process.hrtime.bigint() - begin) / 1e9;
  };
  const reply = (value: object): void => {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  };
  run(2);
  reply({ threads: native().info().threads });
  createInterface({ input: process.stdin }).on('line', (line) => {
    const seconds = run(Number(line.split(' ')[1]));
    reply({ seconds, peakMegabytes: process.resourceUsage().maxRSS / 1000 });
  });
}

main();
