import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compile } from '../compile/compile.js';
import { createModel } from '../models/registry.js';
import { type PackedLayer, PackedNetwork } from '../packed/packed.js';
import { packageRoot } from '../version.js';
import { interleave, type Timing } from './interleave.js';
import { describeMachine, onThreads, ratesOf } from './machine.js';
import { type Configuration, ownProgram, type Program, startProgram } from './programs.js';
import type { AbsentPeer, BenchReport, BenchRow } from './results.js';
import { byTime, peerOf } from './statistics.js';

export interface InferenceOptions extends Timing {
  /** A deployed network, or what to make one of, with random weights. */
  readonly network:
    | { readonly file: string }
    | { readonly model: string; readonly recipe: string; readonly bits: number };
  /** Images a call, a row each. */
  readonly batches: readonly number[];
  readonly threads: number;
  readonly onRow?: (row: BenchRow) => void;
}

/** A layer as scripts/peers build it in full precision. */
export type PeerLayer =
  | {
      readonly type: 'conv';
      readonly inputs: number;
      readonly outputs: number;
      readonly kernel: number;
      readonly stride: number;
      readonly padding: number;
      readonly pool: number;
    }
  | { readonly type: 'dense'; readonly inputs: number; readonly outputs: number };

/** The layer for the peers; null where its geometry is beyond what they build. */
export function peerLayer(layer: PackedLayer): PeerLayer | null {
  const { kernel, stride, dilation, padding, groups, pool, in: input, convolved } = layer;
  const [height, width, inputs] = input;
  const outputs = convolved[2];
  const isWhole = kernel[0] === height && kernel[1] === width && padding.every((size) => size === 0);
  if (isWhole && pool === null && groups === 1) {
    return { type: 'dense', inputs: height * width * inputs, outputs };
  }
  const same = (sizes: readonly number[], size: number | undefined) => sizes.every((each) => each === size);
  const plain =
    same(kernel, kernel[0]) &&
    same(stride, stride[0]) &&
    same(dilation, 1) &&
    same(padding, padding[0]) &&
    groups === 1 &&
    (pool === null || (same([...pool.kernel, ...pool.stride], pool.kernel[0]) && same(pool.padding, 0)));
  if (!plain) return null;
  return {
    type: 'conv',
    inputs,
    outputs,
    kernel: kernel[0],
    stride: stride[0],
    padding: padding[0],
    pool: pool === null ? 1 : pool.kernel[0],
  };
}

const peers = [
  { name: 'onnxruntime fp32', script: 'onnxruntime.mjs', needs: ['onnxruntime-node'], int8: false },
  { name: 'onnxruntime int8', script: 'onnxruntime.mjs', needs: ['onnxruntime-node'], int8: true },
  {
    name: 'tfjs wasm',
    script: 'tfjs_wasm.mjs',
    needs: ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-wasm'],
    int8: false,
  },
] as const;

/** The peers that are installed, with the network to build. */
function peerConfigurations(network: PackedNetwork, batch: number, threads: number) {
  const configurations: Configuration[] = [];
  const absent: AbsentPeer[] = [];
  const folder = join(packageRoot, 'scripts', 'peers');
  const layers = network.layers.map(peerLayer);
  const [height, width, channels] = network.inputShape;
  for (const { name, script, needs, int8 } of peers) {
    if (!needs.every((needed) => existsSync(join(folder, 'node_modules', needed)))) {
      absent.push({
        name,
        reason: `not present: ONNXRUNTIME_NODE_INSTALL=skip npm install --prefix ${folder}`,
      });
    } else if (layers.includes(null)) {
      absent.push({ name, reason: 'a layer of this network has a geometry that its program does not build' });
    } else {
      const given = { batch, height, width, channels, layers, threads, int8 };
      configurations.push({
        name,
        command: process.execPath,
        args: [join(folder, script), JSON.stringify(given)],
      });
    }
  }
  return { configurations, absent };
}

async function measure(
  file: string,
  network: PackedNetwork,
  batch: number,
  options: InferenceOptions,
  versions: Record<string, string>,
): Promise<BenchRow> {
  const { threads } = options;
  const { configurations, absent } = peerConfigurations(network, batch, threads);
  const own = ownProgram('predictions', ['--file', file, '--batch', String(batch)], threads);
  const programs: Program[] = [];
  try {
    for (const configuration of [own, ...configurations]) programs.push(await startProgram(configuration));
    const [samples = [], ...others] = await interleave(programs, options);
    const macs = network.layers.reduce((sum, { multiplyAccumulates }) => sum + multiplyAccumulates, 0);
    const rates = ratesOf(samples, 2 * batch * macs, null);
    for (const { hello } of programs) {
      for (const name of ['onnxruntime', 'tfjs']) {
        if (typeof hello[name] === 'string') versions[name] = hello[name];
      }
    }
    const peakMegabytes = programs[0]?.peakMegabytes();
    return {
      name: `${network.model}, ${network.recipe}`,
      shape: `${network.inputShape.join('×')} of ${network.inputBits} bits, batch ${batch}`,
      threads,
      ...rates,
      peers: byTime(
        programs
          .slice(1)
          .map((program, i) =>
            peerOf(program.name, others[i] as readonly number[], rates.seconds, program.peakMegabytes()),
          ),
      ),
      absent,
      ...(peakMegabytes === undefined ? {} : { peakMegabytes }),
    };
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
  }
}

/**
 * Predictions of a deployed network, beside a network of the same layers in full precision and in int8 (onnxruntime) and in
 * full precision on WebAssembly (tfjs), where they are installed. Each is a process of its own; they take turns.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME for a model or recipe; ERR_HARDBIT_UNSUPPORTED for a recipe that does not compile, or a
 * program that fails; ERR_HARDBIT_READ, ERR_HARDBIT_FORMAT for a file; ERR_HARDBIT_ARGUMENT; ERR_HARDBIT_ABORTED
 */
export async function benchInference(options: InferenceOptions): Promise<BenchReport> {
  const { network: source, batches, threads } = options;
  const machine = await onThreads(threads, async () => describeMachine(threads));
  const versions: Record<string, string> = {};
  const rows: BenchRow[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'hardbit-bench-'));
  try {
    let file = join(folder, 'network.hbit');
    if ('file' in source) file = source.file;
    else {
      using model = createModel(source.model, {
        recipe: source.recipe,
        inputBits: source.bits,
        seed: 0,
      });
      compile(model, file);
    }
    using network = PackedNetwork.loadSync(file);
    for (const batch of batches) {
      const row = await measure(file, network, batch, options, versions);
      rows.push(row);
      options.onRow?.(row);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return {
    benchmark: 'inference',
    machine: { ...machine, versions: { ...machine.versions, ...versions } },
    counted:
      'Two operations a multiply-accumulate of the network, whatever its bits, on taps inside the image only: padding is not counted.',
    rows,
  };
}
