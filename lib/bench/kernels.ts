import type { BenchKernel } from '../native.js';
import { interleave, type Timing } from './interleave.js';
import { describeMachine, onThreads, ratesOf } from './machine.js';
import type { BenchReport, BenchRow } from './results.js';

/** Inner dimensions: windows of 3×3 of 32 to 512 channels. */
export const innerLengths: readonly number[] = [288, 576, 1152, 2304, 4608];

const limitOf = { bits: 'popcount', bytes: 'int8', float: 'fp32' } as const;

export interface KernelsOptions extends Timing {
  readonly threads: number;
  /** Default: `innerLengths`. */
  readonly lengths?: readonly number[];
  readonly onRow?: (row: BenchRow) => void;
}

/**
 * Every product kernel of the instruction set in use, and those it borrows from a weaker one, on operands in the first
 * cache, against the register-only loop of the kernel's own instruction set: how much of the arithmetic a kernel gets
 * out of the processor where memory is no hindrance.
 *
 * @throws ERR_HARDBIT_ARGUMENT for threads out of range or lengths that are no multiples of 32; ERR_HARDBIT_ABORTED
 */
export async function benchKernels(options: KernelsOptions): Promise<BenchReport> {
  const { threads, lengths = innerLengths } = options;
  return onThreads(threads, async (core) => {
    const machine = describeMachine(threads);
    const { kernels, limits } = core.benchTables();
    const rows: BenchRow[] = [];
    const measure = async (kernel: BenchKernel, k: number, planes: number): Promise<void> => {
      const limit = limits.find(({ name, isa }) => name === limitOf[kernel.operand] && isa === kernel.isa);
      const jobs = [
        core.benchKernel(kernel.name, k, planes),
        ...(limit === undefined ? [] : [core.benchLimit(limit.name, limit.isa)]),
      ];
      const [samples = [], most = []] = await interleave(jobs, options);
      const row: BenchRow = {
        name: kernel.name,
        shape: `${kernel.mr}×${kernel.nr}, K ${k}${planes > 1 ? `, ${planes} planes` : ''}`,
        threads,
        ...ratesOf(
          samples,
          2 * kernel.mr * kernel.nr * k * planes * threads,
          limit === undefined ? null : { samples: most, operations: 2 * limit.macs * threads },
        ),
        peers: [],
        absent: [],
      };
      rows.push(row);
      options.onRow?.(row);
    };
    for (const kernel of kernels) {
      if (kernel.isa !== machine.isa && !kernel.selected) continue;
      for (const planes of kernel.operand === 'bits' ? [1, 2] : [1]) {
        for (const k of lengths) await measure(kernel, k, planes);
      }
    }
    return {
      benchmark: 'kernels',
      machine,
      counted:
        'Two operations a multiply-accumulate; one of bits is an XOR, a count and an addition, in each plane.',
      rows,
    };
  });
}
