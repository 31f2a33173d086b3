import { createDataset, type Dataset } from '../../lib/data/dataset.js';
import { keep } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';

/** A learnable toy in MNIST's shape: class c lights a block of rows, under noise from a fixed generator. */
export function tinyDigits(size: number, seed = 1): Dataset {
  const pixels = new Uint8Array(size * 784);
  const labels = new Int32Array(size);
  let state = seed >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 16;
  };
  for (let i = 0; i < size; i++) {
    const label = next() % 10;
    labels[i] = label;
    for (let p = 0; p < 784; p++) {
      const lit = Math.floor(p / 28) - 4 - 2 * label;
      pixels[i * 784 + p] = (lit === 0 || lit === 1 ? 150 : 20) + (next() % 100);
    }
  }
  const images = keep(Tensor.from('u8', [size, 28, 28, 1], pixels));
  const targets = keep(Tensor.from('i32', [size], labels));
  return createDataset(`tiny-digits-${seed}`, 10, images, targets);
}
