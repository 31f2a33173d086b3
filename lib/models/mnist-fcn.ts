import type { LayerSpec } from '../nn/model.js';
import type { Architecture } from './architecture.js';

const widths = [784, 600, 400, 10] as const;

/**
 * 784-600-400-10, fully connected, batch norm after each hidden layer. Under `bnn` every layer has binary weights and
 * every hidden activation is binary (Hubara et al. 2016): batch norm stands behind the last layer too, because its
 * integers need a scale.
 */
export const mnistFcn: Architecture = {
  name: 'mnist-fcn',
  inputShape: [28, 28, 1],
  classes: 10,
  layers(recipe, inputBits) {
    const binary = recipe === 'bnn';
    const layers: LayerSpec[] = [
      { type: 'discretizer', name: 'discretizer', bits: inputBits },
      { type: 'flatten', name: 'flatten' },
    ];
    for (let i = 1; i < widths.length; i++) {
      const inputs = widths[i - 1] as number;
      const outputs = widths[i] as number;
      const last = i === widths.length - 1;
      layers.push({
        type: 'dense',
        name: `dense${i}`,
        inputs,
        outputs,
        bias: last && !binary,
        weightQuantizer: binary ? 'ste-sign' : null,
      });
      if (!last || binary) {
        layers.push({
          type: 'batch-norm',
          name: `batchnorm${i}`,
          features: outputs,
          epsilon: 1e-5,
          momentum: 0.1,
        });
      }
      if (!last) {
        layers.push(
          binary
            ? { type: 'sign', name: `sign${i}`, quantizer: 'ste-sign' }
            : { type: 'relu', name: `relu${i}` },
        );
      }
    }
    return layers;
  },
};
