import { isHardbitError } from '../errors.js';
import type { BenchJob, NativeAddon } from '../native.js';
import { interleave, type Timing } from './interleave.js';
import { describeMachine, onThreads, ratesOf } from './machine.js';
import { type LayerShape, layerSizes, validMacs } from './operations.js';
import type { AbsentPeer, BenchReport, BenchRow } from './results.js';
import { byTime, peerOf } from './statistics.js';

export interface MeasuredLayer extends LayerShape {
  /** 0: from ±1; else from codes of so many bits. */
  readonly bits: number;
  /** Max-pooling by 2 behind the threshold. */
  readonly pool: boolean;
}

function square(size: number, inputs: number, outputs: number, pool: boolean, bits = 0): MeasuredLayer {
  return { height: size, width: size, inputs, outputs, kernel: 3, stride: 1, padding: 1, bits, pool };
}

/** The 3×3 layers of vgg-small behind 2-bit pixels, pooled where it pools, and one of 64 channels. */
export const measuredLayers: readonly MeasuredLayer[] = [
  square(32, 3, 128, false, 2),
  square(32, 64, 64, false),
  square(32, 128, 128, true),
  square(16, 128, 256, false),
  square(16, 256, 256, true),
  square(8, 256, 512, false),
  square(8, 512, 512, true),
];

export interface LayersOptions extends Timing {
  readonly threads: number;
  /** Default: `measuredLayers`. */
  readonly layers?: readonly MeasuredLayer[];
  /** Default: 1 and 32. */
  readonly batches?: readonly number[];
  readonly onRow?: (row: BenchRow) => void;
}

/** '3×3, 128→128, 32², pool, batch 32' */
export function shapeText(layer: MeasuredLayer, batch: number): string {
  const { kernel, inputs, outputs, height, width, pool } = layer;
  const size = height === width ? `${height}²` : `${height}×${width}`;
  return `${kernel}×${kernel}, ${inputs}→${outputs}, ${size}${pool ? ', pool' : ''}, batch ${batch}`;
}

/** The two convolutions of oneDNN, or why there are none. */
function peersOf(core: NativeAddon, layer: MeasuredLayer, batch: number) {
  const peers: { name: string; job: BenchJob }[] = [];
  const absent: AbsentPeer[] = [];
  for (const [name, int8] of [
    ['oneDNN fp32', false],
    ['oneDNN int8', true],
  ] as const) {
    try {
      peers.push({ name, job: core.benchOneDnnLayer(layerSizes(layer, batch), int8) });
    } catch (error) {
      if (!isHardbitError(error) || error.code !== 'ERR_HARDBIT_UNSUPPORTED') throw error;
      absent.push({ name, reason: error.message });
    }
  }
  return { peers, absent };
}

/** What `make` makes on one thread: jobs run on the threads that there are when they are made. */
function onOneThread(core: NativeAddon, threads: number, make: () => BenchJob): BenchJob {
  core.setThreads(1);
  try {
    return make();
  } finally {
    core.setThreads(threads);
  }
}

/**
 * Whole binary layers as the deployed network runs them, bits to bits: padding, thresholds, pooling and packing included.
 * Beside them the register-only limit of popcounts, and oneDNN's convolution alone, in fp32 and in int8, in the layouts
 * it likes best; and, on several threads, the same layer on one.
 *
 * @throws ERR_HARDBIT_ARGUMENT for threads or sizes out of range; ERR_HARDBIT_ABORTED
 */
export async function benchLayers(options: LayersOptions): Promise<BenchReport> {
  const { threads, layers = measuredLayers, batches = [1, 32] } = options;
  return onThreads(threads, async (core) => {
    const machine = describeMachine(threads);
    const { kernels, limits } = core.benchTables();
    const rows: BenchRow[] = [];
    for (const batch of batches) {
      for (const layer of layers) {
        const make = () => core.benchBinaryLayer(layerSizes(layer, batch), layer.bits, layer.pool);
        const ours = make();
        const kernel = kernels.find(({ name }) => name === ours.kernel);
        const limit = limits.find(({ name, isa }) => name === 'popcount' && isa === kernel?.isa);
        const { peers, absent } = peersOf(core, layer, batch);
        if (threads > 1) peers.push({ name: '1 thread', job: onOneThread(core, threads, make) });
        const measured = [
          ours,
          ...peers.map(({ job }) => job),
          ...(limit === undefined ? [] : [core.benchLimit(limit.name, limit.isa)]),
        ];
        const samples = await interleave(measured, options);
        const own = samples[0] as readonly number[];
        const planes = Math.max(layer.bits, 1);
        const rates = ratesOf(
          own,
          2 * batch * planes * validMacs(layer),
          limit === undefined
            ? null
            : { samples: samples.at(-1) as readonly number[], operations: 2 * limit.macs * threads },
        );
        const row: BenchRow = {
          name: layer.bits === 0 ? 'bits to bits' : `${layer.bits}-bit pixels to bits`,
          shape: shapeText(layer, batch),
          threads,
          ...rates,
          peers: byTime(
            peers.map(({ name }, i) => peerOf(name, samples[1 + i] as readonly number[], rates.seconds)),
          ),
          absent,
        };
        rows.push(row);
        options.onRow?.(row);
      }
    }
    return {
      benchmark: 'layers',
      machine,
      counted:
        'Two operations a multiply-accumulate of bits, in each plane, on taps inside the image only: padding is not counted.',
      rows,
    };
  });
}
