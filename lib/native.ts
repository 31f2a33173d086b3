import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HardbitError } from './errors.js';

/**
 * The native core as TypeScript sees it. This is the only file that loads the addon; the loader is
 * `native()` at the end. All functions are synchronous and throw `Error` with an ERR_HARDBIT_* code.
 *
 * Shapes: N examples, K input features, M output features, C channels. Arrays are row-major.
 * A `bits` tensor holds +1 (bit 1) or −1 (bit 0) along its last dimension; each row is padded with zero bits to
 * whole 64-bit words. A `u8` tensor of codes holds 0 … 2^bits − 1.
 */
export type DType = 'f32' | 'i32' | 'i16' | 'u8' | 'bits';

/** Raw contents: f32 Float32Array, i32 Int32Array, i16 Int16Array, u8 Uint8Array, bits BigUint64Array (padded rows). */
export type TensorData = Float32Array | Int32Array | Int16Array | Uint8Array | BigUint64Array;

export interface NativeTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Bytes of the contents (rows of `bits` padded to 8 bytes). */
  readonly byteLength: number;
  readonly disposed: boolean;
  /** Drops this handle's reference; calling it again does nothing. */
  dispose(): void;
  /** A copy of the contents. */
  read(): TensorData;
  /** Overwrites the contents; the array's type and length must match. */
  write(data: TensorData): void;
}

export interface KernelInfo {
  readonly name: string;
  readonly isa: string;
  readonly mr: number;
  readonly nr: number;
  readonly kr: number;
  /** The CPU has the instructions. */
  readonly available: boolean;
  /** The operator uses this row. */
  readonly selected: boolean;
}

export interface NativeInfo {
  readonly version: string;
  readonly compiler: string;
  readonly buildType: string;
  readonly oneDnn: string;
  /** The instruction set in use: 'generic' | 'avx2' | 'avx512'. */
  readonly isa: string;
  readonly isasAvailable: readonly string[];
  readonly cpu: string;
  readonly threads: number;
  readonly kernels: readonly KernelInfo[];
  readonly cuda: { readonly built: boolean; readonly devices: readonly string[] };
}

export interface MemoryInfo {
  readonly liveTensors: number;
  readonly liveBytes: number;
  readonly cachedBytes: number;
  readonly peakBytes: number;
}

export interface AdamParameters {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** 1 for the first step (bias correction). */
  readonly step: number;
  /** Decoupled (AdamW); 0 for none. */
  readonly weightDecay: number;
  /** Clip the updated values to [−clip, clip]; 0 for no clipping. */
  readonly clip: number;
}

export interface SgdParameters {
  readonly learningRate: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  /** Added to the gradient (L2); 0 for none. */
  readonly weightDecay: number;
  readonly clip: number;
}

export interface NativeAddon {
  readonly Tensor: new (...args: never[]) => NativeTensor;

  // -- runtime
  info(): NativeInfo;
  memory(): MemoryInfo;
  emptyCache(): void;
  setThreads(count: number): void;

  // -- creation and views
  /** Zeros, or a copy of `data`. */
  tensor(dtype: DType, shape: readonly number[], data?: TensorData): NativeTensor;
  /** The same storage under another shape of equal element count (`bits`: equal last dimension). */
  reshape(x: NativeTensor, shape: readonly number[]): NativeTensor;
  /** Rows [begin, end) along the first dimension; shares storage. */
  slice(x: NativeTensor, begin: number, end: number): NativeTensor;
  /** A copy of the given rows: indices i32 [R] in [0, N). */
  gather(x: NativeTensor, indices: NativeTensor): NativeTensor;
  clone(x: NativeTensor): NativeTensor;
  /** Rows of a, then rows of b (same dtype and trailing shape). */
  concat(a: NativeTensor, b: NativeTensor): NativeTensor;
  /** Row i of a where mask[i] ≠ 0, else of b; mask u8 [N]. */
  selectRows(mask: NativeTensor, a: NativeTensor, b: NativeTensor): NativeTensor;

  // -- elementwise (f32)
  /** u8 → f32, k ↦ fl(k / 255). */
  u8ToFloat(x: NativeTensor): NativeTensor;
  /** i16 | i32 → f32, n ↦ fl(float(n) · scale). */
  intToFloat(x: NativeTensor, scale: number): NativeTensor;
  /** y ← y + a·x, in place. */
  axpy(y: NativeTensor, a: number, x: NativeTensor): void;
  relu(x: NativeTensor): NativeTensor;
  /** dy where y > 0, else 0. */
  reluBackward(dy: NativeTensor, y: NativeTensor): NativeTensor;

  // -- bits and codes
  /** f32 → bits, sign(0) = +1. */
  packSigns(x: NativeTensor): NativeTensor;
  /** bits → f32 of ±1. */
  unpackSigns(x: NativeTensor): NativeTensor;
  /** f32 in [0,1] → u8 codes floor(fl(fl(x·(2^bits − 1)) + ½)); bits 1 … 8. */
  discretize(x: NativeTensor, bits: number): NativeTensor;
  /** u8 codes → f32 fl(code / (2^bits − 1)). */
  codesToFloat(codes: NativeTensor, bits: number): NativeTensor;
  /** a bits [N,K], w bits [M,K] → Σ a·w as i16 (K ≤ 32767) else i32, [N,M]. */
  binaryMatmul(a: NativeTensor, w: NativeTensor): NativeTensor;
  /** codes u8 [N,K], w bits [M,K] → Σ code·w as i16 where K·(2^bits − 1) ≤ 32767, else i32, [N,M]. */
  codesMatmul(codes: NativeTensor, bits: number, w: NativeTensor): NativeTensor;
  /** The same two products by the scalar reference, for tests. */
  binaryMatmulReference(a: NativeTensor, w: NativeTensor): NativeTensor;
  codesMatmulReference(codes: NativeTensor, bits: number, w: NativeTensor): NativeTensor;
  /** x f32 → signs bits and STE mask bits (1 where |x| ≤ 1, a NaN gives 0). */
  signForward(x: NativeTensor): { signs: NativeTensor; mask: NativeTensor };
  /** dy where the mask bit is 1, else 0. */
  maskBackward(dy: NativeTensor, mask: NativeTensor): NativeTensor;
  /** dy·(2 − 2|x|)·1[|x| ≤ 1]. */
  approxSignBackward(dy: NativeTensor, x: NativeTensor): NativeTensor;

  // -- dense (f32, oneDNN): x [N,K], w [M,K], bias [M]
  denseForward(x: NativeTensor, w: NativeTensor, bias: NativeTensor | null): NativeTensor;
  /** dy [N,M] · w [M,K] → [N,K]. */
  denseBackwardInput(dy: NativeTensor, w: NativeTensor): NativeTensor;
  /** dyᵀ · x → [M,K]. */
  denseBackwardWeight(dy: NativeTensor, x: NativeTensor): NativeTensor;
  /** Sums over rows, [N,M] → [M]. */
  sumRows(dy: NativeTensor): NativeTensor;

  // -- batch norm over rows: x f32 | i16 | i32 [N,C], z = scale·x (scale 1 for f32); integer sums are exact.
  /** Also updates running ← (1 − momentum)·running + momentum·batch, in place (unbiased variance, as PyTorch). */
  batchNormTrain(
    x: NativeTensor,
    scale: number,
    gamma: NativeTensor,
    beta: NativeTensor,
    runningMean: NativeTensor,
    runningVariance: NativeTensor,
    momentum: number,
    epsilon: number,
  ): { y: NativeTensor; mean: NativeTensor; inverseDeviation: NativeTensor };
  /** Gradients with respect to z, gamma, beta. */
  batchNormBackward(
    dy: NativeTensor,
    x: NativeTensor,
    scale: number,
    gamma: NativeTensor,
    mean: NativeTensor,
    inverseDeviation: NativeTensor,
  ): { dx: NativeTensor; dGamma: NativeTensor; dBeta: NativeTensor };
  /** y = fl(fl(fl(z − mean)·fl(gamma / sqrt(variance + epsilon))) + beta). */
  batchNormEval(
    x: NativeTensor,
    scale: number,
    gamma: NativeTensor,
    beta: NativeTensor,
    runningMean: NativeTensor,
    runningVariance: NativeTensor,
    epsilon: number,
  ): NativeTensor;
  batchNormEvalBackward(
    dy: NativeTensor,
    gamma: NativeTensor,
    runningVariance: NativeTensor,
    epsilon: number,
  ): NativeTensor;

  // -- loss: logits f32 [N,C], labels i32 [N] in [0,C) (else ERR_HARDBIT_LABELS)
  /** Losses f32 [N] by stable log-softmax, and gradientScale·(softmax − onehot) f32 [N,C]. */
  softmaxCrossEntropy(
    logits: NativeTensor,
    labels: NativeTensor,
    gradientScale: number,
  ): { losses: NativeTensor; gradient: NativeTensor };
  /** Index of the largest logit (the first among equals; NaN never wins), i32 [N]. */
  argmax(logits: NativeTensor): NativeTensor;

  // -- optimizers, in place
  adamStep(
    value: NativeTensor,
    gradient: NativeTensor,
    m: NativeTensor,
    v: NativeTensor,
    parameters: AdamParameters,
  ): void;
  sgdStep(
    value: NativeTensor,
    gradient: NativeTensor,
    velocity: NativeTensor | null,
    parameters: SgdParameters,
  ): void;

  // -- attacks (f32). The ball: lo = max(0, fl(x0 − ε)), hi = min(1, fl(x0 + ε)).
  /** clamp(fl(x + fl(stepSize·sign(gradient))), lo, hi), sign(0) = 0; a negative step descends. */
  attackStep(
    x: NativeTensor,
    gradient: NativeTensor,
    origin: NativeTensor,
    stepSize: number,
    epsilon: number,
  ): NativeTensor;
  /** clamp(x0 + U[−radius, radius), lo, hi); row i draws from stream (seed, stream, firstRow + i), so batching changes nothing. */
  attackUniformStart(
    origin: NativeTensor,
    radius: number,
    epsilon: number,
    seed: number,
    stream: number,
    firstRow: number,
  ): NativeTensor;
  /** clamp(x0 + alpha·sign(N(0, I)), lo, hi): fair coin per pixel. */
  attackSignStart(
    origin: NativeTensor,
    alpha: number,
    epsilon: number,
    seed: number,
    stream: number,
    firstRow: number,
  ): NativeTensor;
  /** Pixels whose code can change: Q(lo) ≠ Q(hi). */
  countFlippable(x: NativeTensor, epsilon: number, bits: number): number;
  /** Per row: 1 where every element is exactly 0, u8 [N]. */
  zeroRows(gradient: NativeTensor): NativeTensor;
  /** Over all elements, in double: Σ|a − b|, max |a − b|; `outside` counts elements of `a` outside the ball of `b`. */
  perturbation(
    a: NativeTensor,
    b: NativeTensor,
    epsilon: number,
  ): { sum: number; max: number; outside: number };
  /** Number of elements that are NaN or outside [0, 1]. */
  countInvalidPixels(x: NativeTensor): number;

  // -- random: Philox4x32-10, key = seed, the same integers on every thread count
  /** i32 [count], uniform 32-bit patterns. */
  randomIntegers(count: number, seed: number, stream: number): NativeTensor;
  /** f32, uniform in [low, high). */
  randomUniform(
    shape: readonly number[],
    low: number,
    high: number,
    seed: number,
    stream: number,
  ): NativeTensor;
  /** i32 [count], a uniform permutation of 0 … count − 1. */
  permutation(count: number, seed: number, stream: number): NativeTensor;
}

/** The folder of package.json: this file is lib/native.ts in a checkout and dist/native.js in the package. */
const packageRoot = dirname(dirname(fileURLToPath(import.meta.url)));

/** The first line of the log that scripts/install.mjs leaves after a failed build says what went wrong. */
function installFailure(): string | undefined {
  try {
    return readFileSync(join(packageRoot, 'build', 'install.log'), 'utf8').split('\n', 1)[0] || undefined;
  } catch {
    return undefined;
  }
}

/** Why require() failed, in a few words. */
function loadFailure(error: unknown, chosen: boolean): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== 'MODULE_NOT_FOUND') return message.split('\n', 1)[0] as string;
  if (chosen) return 'there is no such file';
  return installFailure() ?? 'it has not been built (install scripts may have been turned off)';
}

/**
 * How long an OpenMP thread spins at a barrier before it sleeps. GCC's default spins for milliseconds: on a machine
 * with other work the waiting thread then keeps the processor from the one it waits for, and a step takes ten times as
 * long. The OpenMP runtime reads the variable once, when it is loaded with the addon; a setting of the user's own stays.
 */
const OPENMP_SPINS = '10000';

function load(): NativeAddon {
  process.env['GOMP_SPINCOUNT'] ??= OPENMP_SPINS;
  const chosen = process.env['HARDBIT_ADDON'];
  const path = chosen || join(packageRoot, 'build', 'cmake', 'Release', 'hardbit.node');
  try {
    return createRequire(import.meta.url)(path) as NativeAddon;
  } catch (error) {
    throw new HardbitError(
      'ERR_HARDBIT_NOT_BUILT',
      chosen
        ? `The native core at HARDBIT_ADDON=${chosen} cannot be loaded: ${loadFailure(error, true)}; correct the path or unset it.`
        : `hardbit's native core cannot be loaded: ${loadFailure(error, false)}; run \`npx hardbit build\`.`,
      { cause: error },
    );
  }
}

let addon: NativeAddon | undefined;

/**
 * The native core, loaded at the first call.
 *
 * @throws ERR_HARDBIT_NOT_BUILT with the reason and the cure where it is missing or does not load. HARDBIT_ADDON
 * names another file to load in its place (sanitizer builds).
 */
export function native(): NativeAddon {
  addon ??= load();
  return addon;
}
