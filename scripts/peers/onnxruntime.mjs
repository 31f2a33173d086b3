// onnxruntime's side of `hardbit bench inference`: one network in fp32 or int8, on the CPU.
import { createRequire } from 'node:module';
import * as ort from 'onnxruntime-node';
import { onnxNetwork } from './onnx.mjs';
import { network, randomImages, serve } from './serve.mjs';

const given = network();
const { batch, height, width, channels, threads } = given;
const session = await ort.InferenceSession.create(onnxNetwork(given), {
  executionProviders: ['cpu'],
  graphOptimizationLevel: 'all',
  executionMode: 'sequential',
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
});
const x = new ort.Tensor('float32', randomImages(given), [batch, channels, height, width]);
const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json');
await serve({ onnxruntime: version }, async () => {
  await session.run({ x });
});
