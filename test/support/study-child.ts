/** Runs a small study on made-up data, for tests that kill it: study-child.ts OUT. Prints a line an event. */
import { presets } from '../../lib/study/presets.js';
import { runPreset } from '../../lib/study/run.js';
import { bars } from '../study/helpers.js';

const [out = ''] = process.argv.slice(2);
const { quick } = presets.mnist;
const [core] = quick.blocks;
if (core === undefined) throw new Error('The quick study has no networks.');

await runPreset(
  {
    ...quick,
    name: 'killed',
    blocks: [{ ...core, inputBits: [2] }],
    fit: { ...quick.fit, epochs: 3, batchSize: 32 },
    whiteBox: [
      { name: 'fgsm', epsilons: [0.1], gradientModes: 'all' },
      { name: 'pgd', epsilons: [0.2], steps: 3, gradientModes: 'all' },
    ],
    transfer: [{ name: 'fgsm', epsilons: [0.1] }],
    images: 60,
  },
  async () => ({ train: bars(512, 1), test: bars(100, 2), sha256: { bars: 'none' } }),
  {
    out,
    command: 'hardbit test',
    resume: true,
    onEvent: ({ kind }) => process.stdout.write(`${kind}\n`),
  },
);
