import type { GradientArithmetic, NativeAddon, NativeTensor } from '../native.js';
import { interleave, type Subject } from './interleave.js';
import { type LayersOptions, type MeasuredLayer, measuredLayers, shapeText } from './layers.js';
import { describeMachine, onThreads, ratesOf } from './machine.js';
import { validMacs } from './operations.js';
import type { AbsentPeer, BenchReport, BenchRow } from './results.js';
import { byTime, peerOf } from './statistics.js';

/** The layers that have these gradients: those of up to four input channels are summed in float whatever is asked for. */
export const gradientLayers: readonly MeasuredLayer[] = measuredLayers.filter(({ inputs }) => inputs > 4);

type Direction = 'inputs' | 'weights';

/** One gradient of one layer, in one arithmetic. The tensors are the caller's. */
function subject(
  core: NativeAddon,
  layer: MeasuredLayer,
  direction: Direction,
  arithmetic: GradientArithmetic,
  { dy, x, planes }: Readonly<Record<'dy' | 'x' | 'planes', NativeTensor>>,
): Subject {
  const { height, width, kernel, stride, padding } = layer;
  const window = [kernel, kernel] as const;
  const geometry = {
    stride: [stride, stride],
    dilation: [1, 1],
    padding: [padding, padding, padding, padding],
    groups: 1,
  } as const;
  let step = 0;
  const once = (): NativeTensor => {
    const options = { arithmetic, seed: 0, stream: 0, step: step++ };
    return direction === 'inputs'
      ? core.binaryConv2dBackwardInput(dy, planes, [1], 1, [height, width], window, geometry, options)
      : core.binaryConv2dBackwardWeight(dy, x, null, window, geometry, 'zero', options);
  };
  return {
    run(times) {
      const begin = process.hrtime.bigint();
      for (let i = 0; i < times; i++) once().dispose();
      return Number(process.hrtime.bigint() - begin) / 1e9;
    },
  };
}

function randomSigns(core: NativeAddon, shape: readonly number[], seed: number): NativeTensor {
  const values = core.randomUniform(shape, -1, 1, seed, 0);
  try {
    return core.packSigns(values);
  } finally {
    values.dispose();
  }
}

async function measure(
  core: NativeAddon,
  layer: MeasuredLayer,
  batch: number,
  direction: Direction,
  options: LayersOptions,
): Promise<BenchRow> {
  const { threads } = options;
  const { height, width, inputs, outputs, kernel, stride, padding } = layer;
  const outputOf = (size: number) => Math.floor((size + 2 * padding - kernel) / stride) + 1;
  const tensors = {
    dy: core.randomUniform([batch, outputOf(height), outputOf(width), outputs], -1, 1, 1, 0),
    x: randomSigns(core, [batch, height, width, inputs], 2),
    planes: randomSigns(core, [outputs, kernel * kernel * inputs], 3),
  };
  const { isa } = core.info();
  const limit = core.benchTables().limits.find((each) => each.name === 'int8' && each.isa === isa);
  const others: readonly GradientArithmetic[] = core.supportsGradientArithmetic('bf16')
    ? ['float', 'bf16']
    : ['float'];
  const absent: AbsentPeer[] = others.includes('bf16')
    ? []
    : [{ name: 'bf16', reason: 'this CPU has neither AVX512-BF16 nor AMX' }];
  try {
    const samples = await interleave(
      [
        ...(['int8', ...others] as const).map((each) => subject(core, layer, direction, each, tensors)),
        ...(limit === undefined ? [] : [core.benchLimit(limit.name, limit.isa)]),
      ],
      options,
    );
    const rates = ratesOf(
      samples[0] as readonly number[],
      2 * batch * validMacs(layer),
      limit === undefined
        ? null
        : { samples: samples.at(-1) as readonly number[], operations: 2 * limit.macs * threads },
    );
    return {
      name: `int8, of ${direction}`,
      shape: shapeText({ ...layer, pool: false }, batch),
      threads,
      ...rates,
      peers: byTime(
        others.map((name, i) => peerOf(name, samples[1 + i] as readonly number[], rates.seconds)),
      ),
      absent,
    };
  } finally {
    for (const tensor of Object.values(tensors)) tensor.dispose();
  }
}

/**
 * Gradients of binary convolutions in int8, with respect to inputs and to weights: the whole operator, with the quantization of
 * dy, the unpacking of the other operand and the scaling of the result. Beside it the register-only limit of int8 products,
 * and the same operator in float (oneDNN in fp32 on unpacked signs) and, where the CPU has it, in bf16 (oneDNN too).
 *
 * @throws ERR_HARDBIT_ARGUMENT for threads out of range; ERR_HARDBIT_ABORTED
 */
export async function benchGradients(options: LayersOptions): Promise<BenchReport> {
  const { threads, layers = gradientLayers, batches = [32] } = options;
  return onThreads(threads, async (core) => {
    const machine = describeMachine(threads);
    const rows: BenchRow[] = [];
    for (const batch of batches) {
      for (const layer of layers) {
        for (const direction of ['inputs', 'weights'] as const) {
          const row = await measure(core, layer, batch, direction, options);
          rows.push(row);
          options.onRow?.(row);
        }
      }
    }
    return {
      benchmark: 'gradients',
      machine,
      counted:
        'Two operations a multiply-accumulate on taps inside the image only: padding is not counted, nor is quantizing.',
      rows,
    };
  });
}
