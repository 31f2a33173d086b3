import { loadAddon } from './addon.js';

/**
 * The native core as TypeScript sees it. This is the only file that loads the addon; the loader is
 * `native()` at the end. All functions but gatherImagesAsync are synchronous; they throw `Error` with an ERR_HARDBIT_*
 * code, and it rejects with one.
 *
 * Shapes: N examples, K input features, M output features, C channels. Arrays are row-major.
 * A `bits` tensor holds +1 (bit 1) or −1 (bit 0) along its last dimension; each row is padded with zero bits to
 * whole 64-bit words. A `u8` tensor of codes holds 0 … 2^bits − 1.
 */
export type DType = 'f32' | 'i32' | 'i16' | 'u8' | 'bits';

/** Where a tensor's memory is, and where what is computed of it is computed. `cuda` is one GPU (docs/cuda.md). */
export type Device = 'cpu' | 'cuda';

/** Raw contents: f32 Float32Array, i32 Int32Array, i16 Int16Array, u8 Uint8Array, bits BigUint64Array (padded rows). */
export type TensorData = Float32Array | Int32Array | Int16Array | Uint8Array | BigUint64Array;

export interface NativeTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly device: Device;
  /** Bytes of the contents (rows of `bits` padded to 8 bytes). */
  readonly byteLength: number;
  readonly disposed: boolean;
  /** Drops this handle's reference; calling it again does nothing. */
  dispose(): void;
  /** A copy of the contents; of a tensor on a GPU, once all work before it is done. */
  read(): TensorData;
  /** Overwrites the contents; the array's type and length must match. */
  write(data: TensorData): void;
}

export interface KernelInfo {
  readonly name: string;
  readonly isa: string;
  /** What its products are made of: bits by xor and popcount, or bytes by multiplications. */
  readonly operand: 'bits' | 'bytes';
  /** Pixels and channels of a tile. */
  readonly mr: number;
  readonly nr: number;
  /** The CPU has the instructions. */
  readonly available: boolean;
  /** The operator uses this row. */
  readonly selected: boolean;
}

/** The kernel that codes of some bits run on in a layer with weights of one bit. */
export interface KernelChoice {
  readonly layer: string;
  readonly bits: number;
  readonly kernel: string;
}

/** What the float gradients of a layer with binary weights and activations are summed by. */
export interface FloatGradientKernel {
  readonly layer: string;
  /** Null where the float products of the build (oneDNN's) do it. */
  readonly kernel: string | null;
}

export interface CudaDevice {
  readonly name: string;
  /** As in '9.0'. */
  readonly computeCapability: string;
  readonly multiprocessors: number;
  readonly memoryBytes: number;
}

export interface CudaInfo {
  /** This build has the CUDA back end. */
  readonly built: boolean;
  /** By their numbers; `cuda` means the first, unless HARDBIT_CUDA_DEVICE has another number. */
  readonly devices: readonly CudaDevice[];
  /** A sentence: why there is none; empty where there is one. */
  readonly reason: string;
}

export interface NativeInfo {
  readonly version: string;
  readonly compiler: string;
  readonly buildType: string;
  readonly oneDnn: string;
  /** The instruction set in use: 'generic' | 'neon' | 'avx2' | 'avx512bw' | 'avx512vnni' | 'avx512'. */
  readonly isa: string;
  readonly isasAvailable: readonly string[];
  readonly cpu: string;
  readonly threads: number;
  readonly kernels: readonly KernelInfo[];
  /** Typical layers; the measured table behind it is native/cpu/product/choice.cpp. */
  readonly kernelChoices: readonly KernelChoice[];
  /** Typical layers; the rule behind it is native/cpu/float_gradient.cpp. */
  readonly floatGradients: readonly FloatGradientKernel[];
  readonly cuda: CudaInfo;
}

export interface MemoryInfo {
  readonly liveTensors: number;
  readonly liveBytes: number;
  readonly cachedBytes: number;
  readonly peakBytes: number;
  /** The same of the GPU's memory. */
  readonly cudaLiveBytes: number;
  readonly cudaCachedBytes: number;
  readonly cudaPeakBytes: number;
}

/** Operators that were recorded on the GPU, with the memory they work in. */
export interface NativeRecording {
  /**
   * Queues all of them once more, to the same bits as if they were called now: what counts the steps made before (draws of dropout
   * and stochastic rounding, Adam's bias corrections) is `steps` more than recorded, and learning rates are multiplied by
   * `rateFactor`.
   */
  run(steps: number, rateFactor: number): void;
  dispose(): void;
}

/** Where the elements of an array lie in a file: `length` bytes from byte `offset` on, row-major. */
export interface FileArray {
  readonly shape: readonly number[];
  readonly offset: number;
  readonly length: number;
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

/** Where a convolution's window goes. Out: ⌊(H + padding − dilation·(KH − 1) − 1) / stride⌋ + 1 rows, columns alike. */
export interface Conv2dGeometry {
  /** Rows, columns. */
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  /** Above, below, left, right. */
  readonly padding: readonly [number, number, number, number];
  /** Divides input and output channels. */
  readonly groups: number;
}

/** Where a pooling window goes; padding is less than the kernel and takes no part (max) or counts as zeros (average). */
export interface Pool2dGeometry {
  /** Rows, columns; their product at most 256. */
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  /** Above, below, left, right. */
  readonly padding: readonly [number, number, number, number];
}

/** What max-pooling makes: the largest of each window, and its place there if asked for. */
export interface MaxPooled {
  readonly y: NativeTensor;
  readonly index: NativeTensor | null;
}

/** What the gradient of a max-pooling takes from it. */
export interface MaxPooling extends Pool2dGeometry {
  readonly index: NativeTensor;
}

/** What a padded pixel of a binary convolution stands for: 0, or 1 (signs +1, codes their largest). */
export type PaddingValue = 'zero' | 'one';

/**
 * Gradient of α·sign(w), α = mean|w| an output channel, with respect to w, for g the gradient of the product: `constant`
 * α·g·1[|w| ≤ 1] (Larq); `paper` g·(1/n + α·1[|w| ≤ 1]) (Rastegari et al. 2016, eq. 11); `chain`
 * α·g·1[|w| ≤ 1] + sign(w)·Σ(sign(w)·g)/n.
 */
export type MagnitudeGradient = 'constant' | 'paper' | 'chain';

/** How the sign behind a batch norm is differentiated; `swish` with β = 5. See lib/ops/sign.ts. */
export type SignSurrogate = 'clipped' | 'identity' | 'approx' | 'swish';
/**
 * In what arithmetic the gradient of a product of quantized operands is summed: `float` fp32; `bf16` fp32 sums of dy
 * rounded to bf16, where supportsGradientArithmetic says so; `int8` exact sums of dy rounded stochastically to whole
 * numbers in ±127, one scale a sample (gradients of inputs) or an output channel (gradients of weights).
 */
export type GradientArithmetic = 'float' | 'bf16' | 'int8';

/** Draws of stochastic rounding (int8 only) are a function of seed, stream, step and the element's place. */
export interface GradientOptions {
  readonly arithmetic: GradientArithmetic;
  readonly seed: number;
  /** Below 2^32; passes of one step that must be independent differ in it. */
  readonly stream: number;
  readonly step: number;
}

export interface BopParameters {
  /** Weight of the newest gradient in the moving average. */
  readonly gamma: number;
  /** A weight flips where w·m exceeds it. */
  readonly threshold: number;
}

/** A row of the tables of product kernels (cpu/kernels/product.h). */
export interface BenchKernel {
  readonly name: string;
  readonly isa: string;
  readonly operand: 'bits' | 'bytes' | 'float';
  readonly mr: number;
  readonly nr: number;
  /** The one that operators use for this operand. */
  readonly selected: boolean;
}

/** A register-only loop: the most that an instruction set's arithmetic could do. */
export interface BenchLimit {
  readonly name: 'popcount' | 'int8' | 'fp32';
  readonly isa: string;
  /** Multiply-accumulates of one time, on one thread. */
  readonly macs: number;
}

/** A deployed network on the GPU. */
export interface DeployedHandle {
  /** Height, width, channels. */
  readonly inputShape: readonly [number, number, number];
  readonly classes: number;
  /** Bytes of weights and tables on the GPU. */
  readonly byteLength: number;
  /** u8 [N, H, W, C] → f32 [N, classes], both on the GPU; queued. */
  logits(images: NativeTensor): NativeTensor;
  dispose(): void;
}

/** Work to time, with operands of its own, on as many threads as were set when it was made. */
export interface BenchJob {
  /** What does it. */
  readonly kernel: string;
  /** Does it `times` times over; the seconds that took. */
  run(times: number): number;
}

/** Batch, height, width, input channels, output channels, kernel, stride, padding on each side. */
export type BenchLayerSizes = readonly [number, number, number, number, number, number, number, number];

export interface NativeAddon {
  readonly Tensor: new (...args: never[]) => NativeTensor;

  // -- runtime
  info(): NativeInfo;
  memory(): MemoryInfo;
  emptyCache(): void;
  setThreads(count: number): void;
  /** Waits for what is queued on a device. ERR_HARDBIT_CUDA where it failed or was lost. */
  synchronize(device: Device): void;
  /** What cuBLAS and cuDNN are here, or why they are not used, a sentence each; opens them. Empty without a GPU. */
  cudaLibraries(): readonly string[];

  // -- creation and views
  /** Zeros, or a copy of `data`; on the cpu unless said. */
  tensor(dtype: DType, shape: readonly number[], data?: TensorData, device?: Device): NativeTensor;
  /** The contents on a device; shares storage where they are there already. */
  toDevice(x: NativeTensor, device: Device): NativeTensor;
  /** to ← from, of one dtype, shape and device. */
  assign(to: NativeTensor, from: NativeTensor): void;
  /** The same storage under another shape of equal element count (`bits`: equal last dimension, or multiples of 64). */
  reshape(x: NativeTensor, shape: readonly number[]): NativeTensor;
  /** Rows [begin, end) along the first dimension; shares storage. */
  slice(x: NativeTensor, begin: number, end: number): NativeTensor;
  /** A copy of the given rows: indices i32 [R] in [0, N), on the cpu or the device of x. */
  gather(x: NativeTensor, indices: NativeTensor): NativeTensor;
  /**
   * `gather` of u8 or f32 images as f32, on a thread of its own; u8 k ↦ fl(k / 255). Nobody may write to x meanwhile.
   */
  gatherImagesAsync(x: NativeTensor, indices: NativeTensor): Promise<NativeTensor>;
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
  /** The same bits, row-major, under another shape of equal element count; shares storage where words stay as they are. */
  reshapeSigns(x: NativeTensor, shape: readonly number[]): NativeTensor;
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

  /** dy·β(2 − βx·tanh(βx/2))/(1 + cosh βx), in double, rounded once (Darabi et al. 2018). */
  swishSignBackward(dy: NativeTensor, x: NativeTensor, beta: number): NativeTensor;
  /** dy·1[|x| ≤ 1]; a NaN gives 0. */
  clippedBackward(dy: NativeTensor, x: NativeTensor): NativeTensor;
  /** f32 → u8 codes of one bit, 1[x > 0]. */
  heaviside(x: NativeTensor): NativeTensor;
  /** f32 → u8 codes floor(fl(fl(clip(x, 0, 1)·(2^bits − 1)) + ½)), a NaN gives 0 (DoReFa activations). */
  quantizeUnit(x: NativeTensor, bits: number): NativeTensor;
  /** dy·1[0 ≤ x ≤ 1]. */
  unitBackward(dy: NativeTensor, x: NativeTensor): NativeTensor;

  // -- quantized weights: w f32 [M,K]; planes bits [P·M,K], plane p in rows p·M … (p + 1)·M − 1
  /** bits, sign(fl(w + shift)), sign(0) = +1. */
  packSignsShifted(w: NativeTensor, shift: number): NativeTensor;
  /** Mean of |w| over all elements, summed in double. */
  meanMagnitude(w: NativeTensor): number;
  /** Mean of |w| of each row, summed in double, f32 [M]. */
  rowMagnitudes(w: NativeTensor): NativeTensor;
  /** dW from the gradient g f32 [M,K] of α·sign(w); alpha f32 [M]. */
  magnitudeSignBackward(
    g: NativeTensor,
    w: NativeTensor,
    alpha: NativeTensor,
    gradient: MagnitudeGradient,
  ): NativeTensor;
  /** DoReFa: t = tanh w, m = max|t| (1 where all are 0), codes u8 of t/(2m) + ½ in `bits` bits, [M,K]. */
  dorefaWeights(w: NativeTensor, bits: number): { codes: NativeTensor; maximum: number };
  /** g·(1 − tanh²w)/maximum. */
  dorefaWeightsBackward(g: NativeTensor, w: NativeTensor, maximum: number): NativeTensor;
  /** Codes u8 [M,K] of `bits` bits as planes [bits·M,K], plane p the bit 2^p. */
  codePlanes(codes: NativeTensor, bits: number): NativeTensor;
  /** f32 [M,K] = scale[m]·Σ_p coefficients[p]·plane_p, planes of ±1; coefficients whole numbers. */
  planesToFloat(planes: NativeTensor, coefficients: readonly number[], scale: NativeTensor): NativeTensor;
  /** i16 | i32 [R,P·M] → i32 [R,M]: Σ_p coefficients[p]·y[r, p·M + m]. */
  combinePlanes(y: NativeTensor, coefficients: readonly number[]): NativeTensor;
  /** f32 | i16 | i32 […,C], scales f32 [C] → f32, fl(x·scales[c]). */
  scaleChannels(x: NativeTensor, scales: NativeTensor): NativeTensor;
  /** Places where two bits tensors of one shape differ, and their logical size is count(shape). */
  countDifferentSigns(a: NativeTensor, b: NativeTensor): number;

  // -- convolution, NHWC: x [N,H,W,C] → [N,OH,OW,M]. Float weights [M,KH,KW,C/groups]; binary ones bits
  //    [M, KH·KW·(C/groups)], the same order in one row.
  conv2dForward(
    x: NativeTensor,
    w: NativeTensor,
    bias: NativeTensor | null,
    geometry: Conv2dGeometry,
  ): NativeTensor;
  /** The same, each sum in one fixed order on every CPU and thread count: over taps, then channels, the bias last. */
  orderedConv2dForward(
    x: NativeTensor,
    w: NativeTensor,
    bias: NativeTensor | null,
    geometry: Conv2dGeometry,
  ): NativeTensor;
  /** dL/dx for x of height and width `size`. */
  conv2dBackwardInput(
    dy: NativeTensor,
    w: NativeTensor,
    size: readonly [number, number],
    geometry: Conv2dGeometry,
  ): NativeTensor;
  /** dL/dw for a kernel of rows and columns `kernel`. */
  conv2dBackwardWeight(
    dy: NativeTensor,
    x: NativeTensor,
    kernel: readonly [number, number],
    geometry: Conv2dGeometry,
  ): NativeTensor;
  /** x bits (±1) by w bits, exact: i16 where KH·KW·(C/groups) ≤ 32767, else i32. */
  binaryConv2d(
    x: NativeTensor,
    w: NativeTensor,
    kernel: readonly [number, number],
    geometry: Conv2dGeometry,
    padding: PaddingValue,
  ): NativeTensor;
  /** Codes u8 of `bits` bits by w bits, exact: i16 where KH·KW·(C/groups)·(2^bits − 1) ≤ 32767, else i32. */
  codesConv2d(
    codes: NativeTensor,
    bits: number,
    w: NativeTensor,
    kernel: readonly [number, number],
    geometry: Conv2dGeometry,
    padding: PaddingValue,
  ): NativeTensor;
  /** Either of the two (codes where `inputBits` is given) and `maxPool2d` of its result. */
  binaryConv2dPool(
    x: NativeTensor,
    inputBits: number | null,
    w: NativeTensor,
    kernel: readonly [number, number],
    geometry: Conv2dGeometry,
    padding: PaddingValue,
    pool: Pool2dGeometry,
    withIndex: boolean,
  ): MaxPooled;
  /** The same two by the scalar reference, for tests. */
  binaryConv2dReference(
    x: NativeTensor,
    w: NativeTensor,
    kernel: readonly [number, number],
    geometry: Conv2dGeometry,
    padding: PaddingValue,
  ): NativeTensor;
  codesConv2dReference(
    codes: NativeTensor,
    bits: number,
    w: NativeTensor,
    kernel: readonly [number, number],
    geometry: Conv2dGeometry,
    padding: PaddingValue,
  ): NativeTensor;

  // -- gradients of quantized operands, as they are packed. dy f32 [N,OH,OW,M] or [N,M]; planes bits [P·M,K], plane p in
  //    rows p·M … (p + 1)·M − 1, W = scale·Σ_p coefficients[p]·plane_p, scale one number or f32 [M]; x bits (inputBits null)
  //    or u8 codes that stand for code / (2^inputBits − 1). ERR_HARDBIT_UNSUPPORTED: bf16 where the CPU lacks it;
  //    Σ|coefficients| above 64 in int8, above 256 in bf16.
  /** Whether the device, else the CPU, has it; true of 'float' and 'int8', and of every GPU. */
  supportsGradientArithmetic(arithmetic: GradientArithmetic, device?: Device): boolean;
  /** dL/dx f32 [N,H,W,C] for `size` = [H, W]; up to four channels in one group are summed in fp32 whatever is asked for. */
  binaryConv2dBackwardInput(
    dy: NativeTensor,
    planes: NativeTensor,
    coefficients: readonly number[],
    scale: number | NativeTensor,
    size: readonly [number, number],
    kernel: readonly [number, number],
    geometry: Conv2dGeometry,
    gradient: GradientOptions,
  ): NativeTensor;
  /** dL/dW f32 [M, KH·KW·(C/groups)] of the real weights. */
  binaryConv2dBackwardWeight(
    dy: NativeTensor,
    x: NativeTensor,
    inputBits: number | null,
    kernel: readonly [number, number],
    geometry: Conv2dGeometry,
    padding: PaddingValue,
    gradient: GradientOptions,
  ): NativeTensor;
  /** The same two of the dy that `maxPool2dBackward` makes of this one. */
  binaryConv2dPoolBackwardInput(
    dy: NativeTensor,
    pooling: MaxPooling,
    planes: NativeTensor,
    coefficients: readonly number[],
    scale: number | NativeTensor,
    size: readonly [number, number],
    kernel: readonly [number, number],
    geometry: Conv2dGeometry,
    gradient: GradientOptions,
  ): NativeTensor;
  binaryConv2dPoolBackwardWeight(
    dy: NativeTensor,
    pooling: MaxPooling,
    x: NativeTensor,
    inputBits: number | null,
    kernel: readonly [number, number],
    geometry: Conv2dGeometry,
    padding: PaddingValue,
    gradient: GradientOptions,
  ): NativeTensor;
  /** dL/dx f32 [N,K]. */
  binaryMatmulBackwardInput(
    dy: NativeTensor,
    planes: NativeTensor,
    coefficients: readonly number[],
    scale: number | NativeTensor,
    gradient: GradientOptions,
  ): NativeTensor;
  /** dL/dW f32 [M,K] of the real weights. */
  binaryMatmulBackwardWeight(
    dy: NativeTensor,
    x: NativeTensor,
    inputBits: number | null,
    gradient: GradientOptions,
  ): NativeTensor;
  /**
   * dy f32 [N,…,M] by stochastic rounding to q in ±levels (1 … 127): codes u8 q + 128, scales f32 [N] or [M] with
   * s = max|dy| / levels, dy ≈ q·s. Unbiased to 2^-16 of a step; a NaN or infinity gives s = NaN and q = 0.
   */
  quantizeGradient(
    dy: NativeTensor,
    by: 'sample' | 'channel',
    levels: number,
    seed: number,
    stream: number,
    step: number,
  ): { codes: NativeTensor; scales: NativeTensor };

  // -- pooling, NHWC
  /**
   * Largest of each window, x f32 | i16 | i32 | bits; a NaN wins, as in PyTorch. `index` u8 [N,OH,OW,C]: the first such
   * place of the window, row-major, only where asked for.
   */
  maxPool2d(x: NativeTensor, geometry: Pool2dGeometry, withIndex: boolean): MaxPooled;
  /** dx f32 of height and width `size`. */
  maxPool2dBackward(
    dy: NativeTensor,
    index: NativeTensor,
    size: readonly [number, number],
    geometry: Pool2dGeometry,
  ): NativeTensor;
  /** Bits pooled by OR, channels whose bit in `and` bits [C] is 1 by AND: max-pooling moved behind a falling threshold. */
  poolSigns(x: NativeTensor, geometry: Pool2dGeometry, and: NativeTensor): NativeTensor;
  /** Mean of each window over all its places, padding counting as zeros; x f32. */
  avgPool2d(x: NativeTensor, geometry: Pool2dGeometry): NativeTensor;
  avgPool2dBackward(
    dy: NativeTensor,
    size: readonly [number, number],
    geometry: Pool2dGeometry,
  ): NativeTensor;

  // -- elementwise of networks (f32)
  add(a: NativeTensor, b: NativeTensor): NativeTensor;
  /** clamp(x, −1, 1); a NaN stays. */
  hardtanh(x: NativeTensor): NativeTensor;
  /** dy·1[−1 < x < 1]. */
  hardtanhBackward(dy: NativeTensor, x: NativeTensor): NativeTensor;
  /**
   * fl(x/(1 − rate)) where the mask bit is 1, else 0; element i is kept by draw i of (seed, stream, step), with
   * probability 1 − rate. 0 ≤ rate < 1.
   */
  dropout(
    x: NativeTensor,
    rate: number,
    seed: number,
    stream: number,
    step: number,
  ): { y: NativeTensor; mask: NativeTensor };
  dropoutBackward(dy: NativeTensor, mask: NativeTensor, rate: number): NativeTensor;

  // -- dense (f32, oneDNN): x [N,K], w [M,K], bias [M]
  denseForward(x: NativeTensor, w: NativeTensor, bias: NativeTensor | null): NativeTensor;
  /** The same, each sum in one fixed order, over K. */
  orderedDenseForward(x: NativeTensor, w: NativeTensor, bias: NativeTensor | null): NativeTensor;
  /** dy [N,M] · w [M,K] → [N,K]. */
  denseBackwardInput(dy: NativeTensor, w: NativeTensor): NativeTensor;
  /** dyᵀ · x → [M,K]. */
  denseBackwardWeight(dy: NativeTensor, x: NativeTensor): NativeTensor;
  /** Sums over rows, […,M] → [M]. */
  sumRows(dy: NativeTensor): NativeTensor;

  // -- batch norm over rows: x f32 | i16 | i32 […,C], z = scale·x (scale 1 for f32); integer sums are exact.
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

  /**
   * Scale, batch norm and sign of integers n of [−magnitude, magnitude] as one condition a channel, direction·n ≥ minimum: it
   * holds exactly where batchNormEval of fl(n·scales[c]) is 0 or more. Direction 0: always (minimum 0) or never (minimum 1).
   * All f32 [C]; the results i32 [C].
   */
  foldSigns(
    magnitude: number,
    scales: NativeTensor,
    gamma: NativeTensor,
    beta: NativeTensor,
    runningMean: NativeTensor,
    runningVariance: NativeTensor,
    epsilon: number,
  ): { direction: NativeTensor; minimum: NativeTensor };
  /** fl(gamma / fl(sqrt(fl(variance + epsilon)))), f32 [C]. */
  batchNormFactors(gamma: NativeTensor, runningVariance: NativeTensor, epsilon: number): NativeTensor;
  // -- batch norm followed by sign, y never kept: equal to the last bit to the two operators one after the other
  /** batchNormTrain, then packSigns, or signForward where `withMask`. */
  batchNormSignTrain(
    x: NativeTensor,
    scale: number,
    gamma: NativeTensor,
    beta: NativeTensor,
    runningMean: NativeTensor,
    runningVariance: NativeTensor,
    momentum: number,
    epsilon: number,
    withMask: boolean,
  ): {
    signs: NativeTensor;
    mask: NativeTensor | null;
    mean: NativeTensor;
    inverseDeviation: NativeTensor;
  };
  /** Gradients with respect to z, gamma, beta from that of the signs; the mask is for `clipped` and only for it. */
  batchNormSignBackward(
    dy: NativeTensor,
    x: NativeTensor,
    scale: number,
    gamma: NativeTensor,
    beta: NativeTensor,
    mean: NativeTensor,
    inverseDeviation: NativeTensor,
    surrogate: SignSurrogate,
    mask: NativeTensor | null,
  ): { dx: NativeTensor; dGamma: NativeTensor; dBeta: NativeTensor };
  /** batchNormEval, then packSigns, or signForward where `withMask`. */
  batchNormSignEval(
    x: NativeTensor,
    scale: number,
    gamma: NativeTensor,
    beta: NativeTensor,
    runningMean: NativeTensor,
    runningVariance: NativeTensor,
    epsilon: number,
    withMask: boolean,
  ): { signs: NativeTensor; mask: NativeTensor | null };
  /** The gradient with respect to z; x is for `approx` and `swish`, the mask for `clipped`, and only for them. */
  batchNormSignEvalBackward(
    dy: NativeTensor,
    x: NativeTensor | null,
    scale: number,
    gamma: NativeTensor,
    beta: NativeTensor,
    runningMean: NativeTensor,
    runningVariance: NativeTensor,
    epsilon: number,
    surrogate: SignSurrogate,
    mask: NativeTensor | null,
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

  /** Bop (Helwegen et al. 2019) on weights of ±1: m ← fl((1 − γ)m + γg); w ← −w where w·m > threshold. */
  bopStep(weights: NativeTensor, gradient: NativeTensor, m: NativeTensor, parameters: BopParameters): void;
  /** average ← decay·average + (1 − decay)·value, in place. */
  averageStep(average: NativeTensor, value: NativeTensor, decay: number): void;

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
  /**
   * The L2 step: x + stepSize·g/‖g‖₂ a row (a zero gradient moves nothing), then onto the ball of radius ε around x0, then
   * into [0, 1]. Norms in double.
   */
  attackStepL2(
    x: NativeTensor,
    gradient: NativeTensor,
    origin: NativeTensor,
    stepSize: number,
    epsilon: number,
  ): NativeTensor;
  /** Uniform in the L2 ball of radius ε, then into [0, 1]; row i draws from (seed, stream, firstRow + i). */
  attackUniformStartL2(
    origin: NativeTensor,
    epsilon: number,
    seed: number,
    stream: number,
    firstRow: number,
  ): NativeTensor;
  /** ‖a − b‖₂ of each row, summed in double, f32 [N]. */
  rowDistances(a: NativeTensor, b: NativeTensor): NativeTensor;
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

  // -- recording: what a thread's operators queue on the GPU, to be queued again as a whole; ERR_HARDBIT_NO_CUDA without it.
  //    Until finishRecording() they are recorded and not run.
  beginRecording(): void;
  finishRecording(): NativeRecording;
  /** Forgets what was recorded. */
  abandonRecording(): void;

  // -- random: Philox4x32-10, key = seed, the same integers on every thread count
  /** i32 [count], uniform 32-bit patterns. */
  randomIntegers(count: number, seed: number, stream: number, device?: Device): NativeTensor;
  /** f32, uniform in [low, high). */
  randomUniform(
    shape: readonly number[],
    low: number,
    high: number,
    seed: number,
    stream: number,
    device?: Device,
  ): NativeTensor;
  /** i32 [count], a uniform permutation of 0 … count − 1. */
  permutation(count: number, seed: number, stream: number, device?: Device): NativeTensor;

  // -- readers of files that others wrote: they check the whole file and copy nothing; `what` names it in errors
  /** An IDX file of unsigned bytes with that many dimensions. */
  readIdx(file: Uint8Array, dimensions: number, what: string): FileArray;
  /** A `.npy` file, C order, little-endian. */
  readNpy(file: Uint8Array, what: string): FileArray & { readonly descriptor: 'f4' | 'u1' | 'i4' | 'i8' };
  /** A safetensors file. Both lists are in the header's order; names and keys are distinct. */
  readSafetensors(
    file: Uint8Array,
    what: string,
  ): {
    readonly tensors: readonly (FileArray & {
      readonly name: string;
      readonly dtype: 'F32' | 'I32' | 'I16' | 'I8' | 'U8' | 'U32';
    })[];
    readonly metadata: readonly (readonly [key: string, value: string])[];
  };

  // -- deployed networks on the GPU
  /** Puts the network of a .hbit file on the GPU; `what` names it in errors. ERR_HARDBIT_FORMAT, ERR_HARDBIT_NO_CUDA. */
  loadDeployed(file: Uint8Array, what: string): DeployedHandle;

  // -- measurements (hardbit bench)
  benchTables(): { readonly kernels: readonly BenchKernel[]; readonly limits: readonly BenchLimit[] };
  benchLimit(name: string, isa: string): BenchJob;
  /** A whole tile of a kernel in the first cache; k inner elements: bits in words of 32, bytes in words of 4, floats. */
  benchKernel(name: string, k: number, planes: number): BenchJob;
  /** A binary layer, bits to bits, as deployed: from ±1 (bits 0) or codes of `bits` bits; `pool`: 2×2 max-pooling. */
  benchBinaryLayer(sizes: BenchLayerSizes, bits: number, pool: boolean): BenchJob;
  /** The same on the GPU. ERR_HARDBIT_NO_CUDA. */
  benchCudaLayer(sizes: BenchLayerSizes, bits: number, pool: boolean): BenchJob;
  /** oneDNN's forward convolution in layouts of its choice, f32 or u8 by s8. ERR_HARDBIT_UNSUPPORTED without oneDNN. */
  benchOneDnnLayer(sizes: BenchLayerSizes, int8: boolean): BenchJob;
}

/**
 * How long an OpenMP thread spins at a barrier before it sleeps. GCC's default spins for milliseconds: on a machine
 * with other work the waiting thread then keeps the processor from the one it waits for, and a step takes ten times as
 * long. The OpenMP runtime reads the variable once, when it is loaded with the addon; a setting of the user's own stays.
 */
const OPENMP_SPINS = '10000';

function load(): NativeAddon {
  process.env['GOMP_SPINCOUNT'] ??= OPENMP_SPINS;
  return loadAddon({
    what: 'native core',
    file: 'hardbit.node',
    variable: 'HARDBIT_ADDON',
    cure: 'npx hardbit build',
  }) as NativeAddon;
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
