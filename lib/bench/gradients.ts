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

/** The operands, of the caller: dy, x and the weights as signs, and the latter two as floats. */
type Operands = Readonly<Record<'dy' | 'x' | 'planes' | 'realX' | 'realW', NativeTensor>>;

function timed(once: () => NativeTensor): Subject {
  return {
    run(times) {
      const begin = process.hrtime.bigint();
      for (let i = 0; i < times; i++) once().dispose();
      return Number(process.hrtime.bigint() - begin) / 1e9;
    },
  };
}

function windowOf({ kernel, stride, padding }: MeasuredLayer) {
  return {
    kernel: [kernel, kernel] as const,
    geometry: {
      stride: [stride, stride],
      dilation: [1, 1],
      padding: [padding, padding, padding, padding],
      groups: 1,
    } as const,
  };
}

/** One gradient of one layer, in one arithmetic. */
function subject(
  core: NativeAddon,
  layer: MeasuredLayer,
  direction: Direction,
  arithmetic: GradientArithmetic,
  { dy, x, planes }: Operands,
): Subject {
  const { kernel, geometry } = windowOf(layer);
  const size = [layer.height, layer.width] as const;
  let step = 0;
  return timed(() => {
    const options = { arithmetic, seed: 0, stream: 0, step: step++ };
    return direction === 'inputs'
      ? core.binaryConv2dBackwardInput(dy, planes, [1], 1, size, kernel, geometry, options)
      : core.binaryConv2dBackwardWeight(dy, x, null, kernel, geometry, 'zero', options);
  });
}

/** The same on floats that are ±1, unpacked beforehand: oneDNN's convolutions, where the build has it. */
function onFloats(
  core: NativeAddon,
  layer: MeasuredLayer,
  direction: Direction,
  { dy, realX, realW }: Operands,
): Subject {
  const { kernel, geometry } = windowOf(layer);
  return timed(() =>
    direction === 'inputs'
      ? core.conv2dBackwardInput(dy, realW, [layer.height, layer.width], geometry)
      : core.conv2dBackwardWeight(dy, realX, kernel, geometry),
  );
}

function randomSigns(core: NativeAddon, shape: readonly number[], seed: number): NativeTensor {
  const values = core.randomUniform(shape, -1, 1, seed, 0);
  try {
    return core.packSigns(values);
  } finally {
    values.dispose();
  }
}

/** What `make` makes with operands of one layer and batch, which are freed behind it. */
async function withOperands<T>(
  core: NativeAddon,
  layer: MeasuredLayer,
  batch: number,
  make: (operands: Operands) => Promise<T>,
): Promise<T> {
  const { height, width, inputs, outputs, kernel, stride, padding } = layer;
  const outputOf = (size: number) => Math.floor((size + 2 * padding - kernel) / stride) + 1;
  const x = randomSigns(core, [batch, height, width, inputs], 2);
  const planes = randomSigns(core, [outputs, kernel * kernel * inputs], 3);
  const realW = core.randomUniform([outputs, kernel, kernel, inputs], -1, 1, 0, 0);
  const flat = core.unpackSigns(planes);
  realW.write(flat.read());
  flat.dispose();
  const tensors = {
    dy: core.randomUniform([batch, outputOf(height), outputOf(width), outputs], -1, 1, 1, 0),
    x,
    planes,
    realX: core.unpackSigns(x),
    realW,
  };
  try {
    return await make(tensors);
  } finally {
    for (const tensor of Object.values(tensors)) tensor.dispose();
  }
}

/** What one arithmetic stands beside, and what this machine or build lacks of it. */
function peersOf(
  core: NativeAddon,
  layer: MeasuredLayer,
  direction: Direction,
  arithmetic: 'int8' | 'float',
  operands: Operands,
): { peers: { name: string; subject: Subject }[]; absent: AbsentPeer[] } {
  if (arithmetic === 'float') {
    return core.info().oneDnn === 'none'
      ? { peers: [], absent: [{ name: 'oneDNN fp32', reason: 'this build has no oneDNN' }] }
      : {
          peers: [{ name: 'oneDNN fp32', subject: onFloats(core, layer, direction, operands) }],
          absent: [],
        };
  }
  const peer = (name: GradientArithmetic) => ({
    name,
    subject: subject(core, layer, direction, name, operands),
  });
  return core.supportsGradientArithmetic('bf16')
    ? { peers: [peer('float'), peer('bf16')], absent: [] }
    : {
        peers: [peer('float')],
        absent: [{ name: 'bf16', reason: 'this CPU has neither AVX512-BF16 nor AMX' }],
      };
}

/** One gradient of one layer in one arithmetic, beside its limit and its peers. */
async function measure(
  core: NativeAddon,
  layer: MeasuredLayer,
  batch: number,
  direction: Direction,
  arithmetic: 'int8' | 'float',
  options: LayersOptions,
): Promise<BenchRow> {
  const { threads } = options;
  const { isa } = core.info();
  const { limits } = core.benchTables();
  const named = (wanted: string) => limits.find(({ name, isa: of }) => name === wanted && of === isa);
  const limit = arithmetic === 'int8' ? named('int8') : (named('sums') ?? named('fp32'));
  return withOperands(core, layer, batch, async (operands) => {
    const { peers, absent } = peersOf(core, layer, direction, arithmetic, operands);
    const samples = await interleave(
      [
        subject(core, layer, direction, arithmetic, operands),
        ...peers.map((peer) => peer.subject),
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
      name: `${arithmetic}, of ${direction}`,
      shape: shapeText({ ...layer, pool: false }, batch),
      threads,
      ...rates,
      peers: byTime(
        peers.map(({ name }, i) => peerOf(name, samples[1 + i] as readonly number[], rates.seconds)),
      ),
      absent,
    };
  });
}

/**
 * Gradients of binary convolutions in int8 and in float, with respect to inputs and to weights: the whole operator, with the
 * quantization of dy, the repacking of the other operand and the scaling of the result. Beside int8 the register-only limit
 * of its products, and the same operator in float and, where the CPU has it, in bf16. Beside float the limit of sums under
 * signs (of multiply-additions where the instruction set has none), and the convolution's gradient on floats that
 * are ±1, by oneDNN.
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
          for (const arithmetic of ['int8', 'float'] as const) {
            const row = await measure(core, layer, batch, direction, arithmetic, options);
            rows.push(row);
            options.onRow?.(row);
          }
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
