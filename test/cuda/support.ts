import { createDataset, type Dataset } from '../../lib/data/dataset.js';
import { createModel, Model, type ModelSpec } from '../../lib/models/registry.js';
import { native } from '../../lib/native.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { random } from '../study/helpers.js';

const { devices, reason } = native().info().cuda;

/** The GPU is one that the CPU plays; HARDBIT_EMULATION says what is wrong with it. */
export const emulated = devices[0]?.name === 'emulated on the CPU';

/** Tests that need a GPU, or a build that emulates one (`npm run test:cuda`). */
export function describeOnGpu(title: string, body: () => void): void {
  describe(title, function () {
    this.timeout(120_000);
    if (devices.length > 0) body();
    else it.skip(`needs a GPU: ${reason}`);
  });
}

/** Runs `body` while the emulated GPU is out of order. */
export function withEmulation<T>(setting: string, body: () => T): T {
  process.env['HARDBIT_EMULATION'] = setting;
  try {
    return body();
  } finally {
    delete process.env['HARDBIT_EMULATION'];
  }
}

/** One network on both devices, from one seed. */
export function onBoth(
  spec: ModelSpec,
  seed: number,
): Disposable & { readonly cpu: Model; readonly gpu: Model } {
  const cpu = new Model(spec, seed);
  const gpu = new Model(spec, seed, 'cuda');
  return {
    cpu,
    gpu,
    [Symbol.dispose]() {
      cpu.dispose();
      gpu.dispose();
    },
  };
}

/** The layers of a known network. */
export function specOf(model: string, recipe: string, inputBits: number): ModelSpec {
  using described = createModel(model, { inputBits, recipe, seed: 0 });
  return described.spec;
}

/** u8 images of noise under a brighter block that their class chooses, on the cpu. */
export function noisy(
  size: number,
  shape: readonly [number, number, number],
  classes: number,
  seed = 1,
): Dataset {
  const next = random(seed);
  const pixels = shape.reduce((a, b) => a * b, 1);
  const labels = Int32Array.from({ length: size }, () => Math.floor(next() * classes));
  const images = Uint8Array.from({ length: size * pixels }, (_, i) => {
    const label = labels[Math.floor(i / pixels)] as number;
    const block = Math.floor(((i % pixels) / pixels) * classes);
    return Math.floor(next() * 150) + (block === label ? 100 : 0);
  });
  return createDataset(
    'noisy',
    classes,
    Tensor.from('u8', [size, ...shape], images),
    Tensor.from('i32', [size], labels),
  );
}
