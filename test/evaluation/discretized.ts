import type { Dataset } from '../../lib/data/dataset.js';
import { createDataset } from '../../lib/data/dataset.js';
import type { EvaluatedModel } from '../../lib/evaluation/batches.js';
import { native } from '../../lib/native.js';
import { argmax } from '../../lib/ops/cross-entropy.js';
import { keep, scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { type Linear, linearAttackable } from '../attacks/linear.js';

/** A linear network behind a discretizer of `inputBits` bits: the least that an evaluation can tell apart. */
export function discretizedLinear(
  model: Linear,
  inputBits: number,
  activationGradients: EvaluatedModel['activationGradients'] = [],
): EvaluatedModel {
  const inner = linearAttackable(model);
  const discretized = (images: Tensor) =>
    scope(() => {
      const codes = new Tensor(native().discretize(images.handle, inputBits));
      return new Tensor(native().codesToFloat(codes.handle, inputBits));
    });
  const logits = (images: Tensor) => scope(() => inner.logits(discretized(images)));
  return {
    inputShape: model.inputShape,
    classes: model.classes,
    inputBits,
    activationGradients,
    logits,
    predict: (images) => scope(() => argmax(logits(images))),
    attackable: (mode) => ({
      inputShape: model.inputShape,
      classes: model.classes,
      logits,
      vjp: (images, cotangent) =>
        scope(() => {
          const result = inner.vjp(discretized(images), cotangent);
          return mode?.discretizer === 'exact'
            ? { logits: result.logits, gradient: Tensor.from('f32', images.shape) }
            : result;
        }),
    }),
  };
}

/** u8 or f32 images with labels, kept until `dispose()`. */
export function datasetOf(
  pixels: Uint8Array | Float32Array,
  labels: Int32Array,
  inputShape: readonly [number, number, number],
  classes: number,
): Dataset {
  const dtype = pixels instanceof Uint8Array ? 'u8' : 'f32';
  const images = keep(Tensor.from(dtype, [labels.length, ...inputShape], pixels));
  return createDataset('points', classes, images, keep(Tensor.from('i32', [labels.length], labels)));
}
