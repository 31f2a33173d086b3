import { loadAddon } from '../addon.js';

/** What a loaded network says of itself. Shapes are [H, W, C] of one image. */
export interface PackedInfo {
  /** SHA-256 of the file's contents, 64 hexadecimal digits; loads of equal hashes share their weights. */
  readonly hash: string;
  readonly model: string;
  readonly recipe: string;
  readonly image: readonly [number, number, number];
  readonly inputBits: number;
  readonly classes: number;
  /** Of the weights as they are packed for this processor, and of its tables. */
  readonly bytes: number;
  /** Images that one core computes at a time. */
  readonly chunk: number;
  readonly layers: readonly PackedLayer[];
}

/** A layer of a deployed network, as docs/hbit.md describes it. */
export interface PackedLayer {
  readonly name: string;
  readonly product: 'binary' | 'float';
  readonly input: 'codes' | 'signs' | 'reals';
  readonly result: 'signs' | 'reals';
  /** Of the input, behind the product, and behind the pool. */
  readonly in: readonly [number, number, number];
  readonly convolved: readonly [number, number, number];
  readonly out: readonly [number, number, number];
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  /** Above, below, left, right. */
  readonly padding: readonly [number, number, number, number];
  readonly paddingValue: 'zero' | 'one';
  readonly groups: number;
  readonly pool: {
    readonly kernel: readonly [number, number];
    readonly stride: readonly [number, number];
    readonly padding: readonly [number, number, number, number];
  } | null;
  readonly batchNorm: boolean;
  readonly relu: boolean;
  /** Of one image, taps on padding left out. */
  readonly multiplyAccumulates: number;
}

/** The state of the process's worker pool. */
export interface PoolStatistics {
  readonly threads: number;
  /** Predictions that wait. */
  readonly queued: number;
  /** Parts of predictions that are being computed. */
  readonly running: number;
  /** Predictions that ended since the process began. */
  readonly done: number;
  readonly cancelled: number;
  /** Bytes that each worker keeps for activations. */
  readonly arenaBytes: number;
}

/** A loaded network in the addon. */
export interface PackedHandle {
  info(): PackedInfo;
  /** Copies the images; calls `done` once, later, the results written. Returns a ticket. */
  predict(
    images: Uint8Array,
    logits: Float32Array,
    classes: Int32Array,
    done: (error: Error | null) => void,
  ): number;
  /** True: nothing more is begun for the ticket, and its `done` gets ERR_HARDBIT_ABORTED. */
  cancel(ticket: number): boolean;
  predictSync(images: Uint8Array, logits: Float32Array, classes: Int32Array): void;
  /** The sums of a binary layer before pooling, of the weights as they stand in the file, [OH, OW, M] of one image. */
  integers(image: Uint8Array, layer: number): Int32Array;
  /** The same of a full-precision layer. */
  reals(image: Uint8Array, layer: number): Float32Array;
  dispose(): void;
}

/** What the engine was built as and runs on. */
export interface EngineInfo {
  readonly version: string;
  readonly buildType: string;
  /** The instruction set in use, of those that this processor has. */
  readonly isa: string;
  readonly isasAvailable: readonly string[];
  readonly cpu: string;
  /** Workers of the process's pool. */
  readonly threads: number;
}

/** The addon hardbit_packed.node. It throws `Error` with an ERR_HARDBIT_* code. */
export interface PackedAddon {
  load(source: Uint8Array | string): PackedHandle;
  info(): EngineInfo;
  statistics(): PoolStatistics;
}

let addon: PackedAddon | undefined;

/**
 * The addon, loaded at the first call.
 *
 * @throws ERR_HARDBIT_NOT_BUILT with the reason and the cure. HARDBIT_PACKED_ADDON names another file to load in its place.
 */
export function packedAddon(): PackedAddon {
  addon ??= loadAddon({
    what: 'engine of deployed networks',
    file: 'hardbit_packed.node',
    variable: 'HARDBIT_PACKED_ADDON',
    cure: 'npx hardbit build --packed',
  }) as PackedAddon;
  return addon;
}
