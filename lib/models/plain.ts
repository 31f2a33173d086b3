import type { LayerSpec } from '../nn/model.js';
import type { Architecture } from './architecture.js';
import type { Recipe } from './recipes.js';

/** Weights, and what belongs to them: a layer in the sense of the papers. */
export type Block =
  | {
      readonly type: 'conv2d';
      readonly outputs: number;
      /** Rows and columns. */
      readonly kernel: number;
      /** On all four sides, standing for zero. */
      readonly padding: number;
      /** Rows, columns and stride of the max-pooling behind it; 1: none. */
      readonly pool: number;
    }
  | { readonly type: 'dense'; readonly outputs: number };

export function conv(
  outputs: number,
  kernel: number,
  { padding = 0, pool = 1 }: { readonly padding?: number; readonly pool?: number } = {},
): Block {
  return { type: 'conv2d', outputs, kernel, padding, pool };
}

export function fullyConnected(outputs: number): Block {
  return { type: 'dense', outputs };
}

/** Behind batch norm: relu, signs or codes. */
function activation(quantizer: string | null, index: number): LayerSpec {
  if (quantizer === null) return { type: 'relu', name: `relu${index}` };
  const name = quantizer.endsWith('sign') ? `sign${index}` : `quantize${index}`;
  return { type: 'quantize', name, quantizer };
}

/** All layers of the blocks; the i-th block's are named `dense<i>`, `batchnorm<i>`, … from 1. */
function plainLayers(
  inputShape: readonly [number, number, number],
  blocks: readonly Block[],
  recipe: Recipe,
  inputBits: number,
): readonly LayerSpec[] {
  const layers: LayerSpec[] = [{ type: 'discretizer', name: 'discretizer', bits: inputBits }];
  let [height, width, channels] = inputShape;
  let flat = false;
  for (const [i, block] of blocks.entries()) {
    const index = i + 1;
    const last = index === blocks.length;
    const weightQuantizer = i === 0 ? recipe.firstWeights : last ? recipe.lastWeights : recipe.hiddenWeights;
    const bias = last && weightQuantizer === null;
    const { outputs } = block;
    if (block.type === 'dense') {
      if (!flat) layers.push({ type: 'flatten', name: 'flatten' });
      const inputs = flat ? channels : height * width * channels;
      flat = true;
      layers.push({ type: 'dense', name: `dense${index}`, inputs, outputs, bias, weightQuantizer });
    } else {
      const { kernel, padding, pool } = block;
      layers.push({
        type: 'conv2d',
        name: `conv${index}`,
        inputs: channels,
        outputs,
        kernel: [kernel, kernel],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [padding, padding, padding, padding],
        paddingValue: 'zero',
        groups: 1,
        bias,
        weightQuantizer,
      });
      if (pool > 1) {
        layers.push({
          type: 'max-pool',
          name: `pool${index}`,
          kernel: [pool, pool],
          stride: [pool, pool],
          padding: [0, 0, 0, 0],
        });
      }
      [height, width] = [height, width].map((size) =>
        Math.floor((size + 2 * padding - kernel + 1) / pool),
      ) as [number, number];
    }
    channels = outputs;
    if (!bias) {
      layers.push({
        type: 'batch-norm',
        name: `batchnorm${index}`,
        features: outputs,
        epsilon: 1e-5,
        momentum: 0.1,
      });
    }
    if (!last) {
      const beforeLast = index === blocks.length - 1;
      layers.push(activation(beforeLast ? recipe.lastActivations : recipe.activations, index));
    }
  }
  return layers;
}

/**
 * A network without branches. Each block is weights → max-pooling → batch norm → activation: pooled before batch norm,
 * the integers of a binary layer are pooled exactly, and its order is the one of the binary papers (Rastegari et al.
 * 2016, fig. 3). The last block gives the logits: with a bias where its weights are f32, else behind a batch norm, since
 * integers need a scale.
 */
export function plainNetwork(
  name: string,
  inputShape: readonly [number, number, number],
  blocks: readonly Block[],
): Architecture {
  return {
    name,
    inputShape,
    classes: blocks.at(-1)?.outputs ?? 0,
    layers: (recipe, inputBits) => plainLayers(inputShape, blocks, recipe, inputBits),
  };
}
