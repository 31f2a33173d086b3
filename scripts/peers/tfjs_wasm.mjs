// tfjs's side of `hardbit bench inference`: one network in fp32 on its WebAssembly backend.
import { setThreadsCount } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { network, randomImages, serve } from './serve.mjs';

const given = network();
const { batch, height, width, channels, layers, threads } = given;
setThreadsCount(threads);
await tf.setBackend('wasm');
await tf.ready();

const steps = layers.map(({ type, inputs, outputs, kernel, stride, padding, pool }, i) => {
  const activation = i === layers.length - 1 ? 'linear' : 'relu';
  const count = type === 'conv' ? inputs * kernel * kernel : inputs;
  const size = Math.sqrt(6 / count);
  const bias = tf.randomUniform([outputs], -0.1, 0.1);
  if (type === 'dense') {
    const b = tf.randomUniform([inputs, outputs], -size, size);
    return (a) => tf.fused.matMul({ a: tf.reshape(a, [batch, inputs]), b, bias, activation });
  }
  const filter = tf.randomUniform([kernel, kernel, inputs, outputs], -size, size);
  return (x) => {
    const y = tf.fused.conv2d({ x, filter, strides: stride, pad: padding, bias, activation });
    return pool > 1 ? tf.maxPool(y, pool, pool, 'valid') : y;
  };
});
const images = tf.tensor4d(randomImages(given), [batch, height, width, channels]);
await serve({ tfjs: tf.version_core }, async () => {
  const logits = tf.tidy(() => steps.reduce((x, step) => step(x), images));
  await logits.data();
  logits.dispose();
});
