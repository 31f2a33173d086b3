import { createDataset, type Dataset } from '../../lib/data/dataset.js';
import { Tensor } from '../../lib/tensor/tensor.js';

/** A small generator of equal numbers on every machine (Numerical Recipes' LCG). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Ten classes of 28×28 images, each a bright bar at its own height over faint noise: learnt in an epoch. */
export function bars(size: number, seed: number): Dataset {
  const next = random(seed);
  const images = new Uint8Array(size * 784);
  const labels = new Int32Array(size);
  for (let i = 0; i < size; i++) {
    const label = Math.floor(next() * 10);
    labels[i] = label;
    for (let p = 0; p < 784; p++) {
      const row = Math.floor(p / 28);
      const bar = row === 2 * label + 3 || row === 2 * label + 4;
      images[i * 784 + p] = Math.floor(next() * 90) + (bar ? 140 : 0);
    }
  }
  return createDataset(
    'bars',
    10,
    Tensor.from('u8', [size, 28, 28, 1], images),
    Tensor.from('i32', [size], labels),
  );
}
