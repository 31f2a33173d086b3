import { HardbitError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import type { Model } from '../models/registry.js';
import { type DeployedLayer, deploymentOf } from '../nn/deployment.js';
import { requireWeightQuantizer } from '../nn/quantizers.js';
import { batchNormFactors, type FrozenBatchNorm, foldSigns } from '../ops/fold.js';
import { outputChannels, productScale } from '../ops/quantized-weights.js';
import { hbitHash } from '../packed/format.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import { encodeHbit, type HbitLayer } from './hbit.js';

/** Minimums that every integer and none reaches. */
const ALWAYS = -(2 ** 31);
const NEVER = 2 ** 31 - 1;

type State = ReturnType<Model['state']>;

function invalid(layer: string, message: string): HardbitError {
  return new HardbitError('ERR_HARDBIT_ARGUMENT', `Layer '${layer}' cannot be deployed: ${message}.`);
}

/** A tensor of the model by path; all its numbers are finite. */
function values(state: State, layer: string, name: string): Float32Array {
  const found = (state.get(`${layer}.${name}`) as { readonly values: Float32Array }).values;
  const bad = found.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw invalid(layer, `its ${name} holds ${found[bad]}, not a finite number`);
  return found;
}

/** The batch norm behind a layer; without one, the one that changes nothing. */
function frozenNorm(state: State, { norm, product }: DeployedLayer): FrozenBatchNorm {
  const channels = product.outputs;
  const tensor = (name: string, otherwise: number) =>
    Tensor.from(
      'f32',
      [channels],
      norm === null ? new Float32Array(channels).fill(otherwise) : values(state, norm.name, name),
    );
  return {
    gamma: tensor('gamma', 1),
    beta: tensor('beta', 0),
    runningMean: tensor('runningMean', 0),
    runningVariance: tensor('runningVariance', 1),
    epsilon: norm?.epsilon ?? 0,
  };
}

/** Errors of the native core about a channel say whose it is. */
function foldedFor<T>(layer: string, fold: () => T): T {
  try {
    return fold();
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_HARDBIT_ARGUMENT') throw error;
    throw invalid(layer, (error as Error).message.replace(/^\w+: /, '').replace(/\.$/, ''));
  }
}

/** Rows of bits with those negated that are chosen; the bits past `columns` stay 0. */
function negateRows(
  planes: BigUint64Array,
  columns: number,
  chosen: (row: number) => boolean,
): BigUint64Array {
  const words = Math.ceil(columns / 64);
  const rest = columns % 64;
  const last = rest === 0 ? 2n ** 64n - 1n : 2n ** BigInt(rest) - 1n;
  return planes.map((word, i) => {
    if (!chosen(Math.floor(i / words))) return word;
    return word ^ (i % words === words - 1 ? last : 2n ** 64n - 1n);
  });
}

/** Where the windows of a product go; a dense layer's is its whole input. */
function geometryOf({ product, inputShape }: DeployedLayer) {
  if (product.type === 'conv2d') {
    const { kernel, stride, dilation, padding, paddingValue, groups } = product;
    return { kernel, stride, dilation, padding, paddingValue, groups };
  }
  const [height, width] = inputShape;
  return {
    kernel: [height, width],
    stride: [1, 1],
    dilation: [1, 1],
    padding: [0, 0, 0, 0],
    paddingValue: 'zero',
    groups: 1,
  } as const;
}

/** The whole numbers and the scale of ±1 weights, and what batch norm makes of them. */
function binaryLayer(
  layer: DeployedLayer,
  state: State,
  inputBits: number | null,
): Pick<HbitLayer, 'weights' | 'minimum' | 'all' | 'scale' | 'norm'> {
  const { product, result } = layer;
  const latent = values(state, product.name, 'weight');
  const columns = latent.length / product.outputs;
  const { quantize } = requireWeightQuantizer(product.weightQuantizer as string);
  const weights = quantize(Tensor.from('f32', [product.outputs, columns], latent));
  const bits = weights.planes.read() as BigUint64Array;
  const scale = productScale(inputBits, weights.scale);
  const scales =
    typeof scale === 'number'
      ? new Float32Array(outputChannels(weights)).fill(scale)
      : scale.toFloat32Array();
  if (result === 'reals') {
    return { weights: bits, minimum: null, all: null, scale: scales, norm: normOf(layer, state) };
  }
  const magnitude = columns * (inputBits === null ? 1 : 2 ** inputBits - 1);
  const norm = frozenNorm(state, layer);
  const { direction, minimum } = foldedFor(layer.norm?.name ?? product.name, () =>
    foldSigns(magnitude, Tensor.from('f32', [product.outputs], scales), norm),
  );
  return {
    weights: negateRows(bits, columns, (row) => direction[row] === -1),
    minimum: minimum.map((least, i) => (direction[i] !== 0 ? least : least === 0 ? ALWAYS : NEVER)),
    // The largest integer of a window has the largest sign where the sign rises with it, else the least.
    all:
      layer.pool === null ? null : Uint8Array.from(direction, (d) => (d === -1 && !layer.poolsSigns ? 1 : 0)),
    scale: null,
    norm: null,
  };
}

function normOf(layer: DeployedLayer, state: State): HbitLayer['norm'] {
  if (layer.norm === null) return null;
  const { name } = layer.norm;
  const norm = frozenNorm(state, layer);
  return {
    mean: norm.runningMean.toFloat32Array(),
    factor: foldedFor(name, () => batchNormFactors(norm)),
    beta: norm.beta.toFloat32Array(),
  };
}

function hbitLayer(layer: DeployedLayer, state: State, bits: number): HbitLayer {
  const { product, inputShape, relu, result } = layer;
  const { name, outputs } = product;
  const common = { name, result, inputShape, outputs, ...geometryOf(layer), pool: layer.pool, relu };
  if (layer.binary) {
    const arrays = binaryLayer(layer, state, layer.input === 'codes' ? bits : null);
    return { ...common, product: 'binary', bias: null, ...arrays };
  }
  return {
    ...common,
    product: 'float',
    weights: values(state, name, 'weight'),
    minimum: null,
    all: null,
    scale: null,
    bias: product.bias ? values(state, name, 'bias') : null,
    norm: normOf(layer, state),
  };
}

/** The codes of the 256 values of a pixel. */
function pixelTable(model: Model): Uint8Array {
  const pixels = Float32Array.from({ length: 256 }, (_, value) => value / 255);
  using images = Tensor.from('f32', [1, 16, 16, 1], pixels);
  using there = images.to(model.device);
  return model.codes(there);
}

/**
 * A network as the bytes of a .hbit file (docs/hbit.md): weights are bits, batch norm and signs are integer thresholds. The deployed
 * network gives the logits of `model.logits`, bit by bit, on every image of bytes k, whose pixels are fl(k/255).
 * Equal networks give equal bytes.
 *
 * @throws ERR_HARDBIT_UNSUPPORTED with the first layer that cannot be deployed, and why; ERR_HARDBIT_ARGUMENT where a weight or a
 * statistic is not finite
 */
export function compileModel(model: Model): Uint8Array {
  const deployment = deploymentOf(model.spec);
  if (deployment.layers === null) throw new HardbitError('ERR_HARDBIT_UNSUPPORTED', deployment.obstacle);
  const { spec } = model;
  const state = model.state();
  const layers: HbitLayer[] = [];
  for (const layer of deployment.layers) {
    scope(() => {
      layers.push(hbitLayer(layer, state, spec.inputBits));
    });
  }
  return encodeHbit({
    model: spec.model,
    recipe: spec.recipe,
    inputShape: spec.inputShape,
    inputBits: spec.inputBits,
    classes: spec.classes,
    pixelTable: pixelTable(model),
    layers,
  });
}

/** A layer of a compiled network, for people to read. */
export interface CompiledLayer {
  readonly name: string;
  /** ±1 as bits, or f32. */
  readonly weights: 'bits' | 'f32';
  readonly input: 'codes' | 'signs' | 'reals';
  readonly result: 'signs' | 'reals';
  /** [H, W, C], behind the pool. */
  readonly inputShape: readonly number[];
  readonly outputShape: readonly number[];
  readonly weightCount: number;
}

/** A network compiled to a file. */
export interface Compiled {
  readonly path: string;
  /** Of the whole file. */
  readonly byteLength: number;
  /** SHA-256 of its contents, by which loads share weights: 64 hexadecimal digits. */
  readonly hash: string;
  readonly layers: readonly CompiledLayer[];
}

/**
 * Writes `compileModel` to a file, atomically.
 *
 * @throws as `compileModel`; ERR_HARDBIT_WRITE, and an older file of the name is then left as it was
 */
export function compile(model: Model, path: string): Compiled {
  const bytes = compileModel(model);
  writeFileAtomic(path, bytes);
  const state = model.state();
  const layers = deploymentOf(model.spec).layers ?? [];
  return {
    path,
    byteLength: bytes.length,
    hash: Buffer.from(bytes.subarray(hbitHash.begin, hbitHash.end)).toString('hex'),
    layers: layers.map(({ product, binary, input, result, inputShape, outputShape }) => ({
      name: product.name,
      weights: binary ? 'bits' : 'f32',
      input,
      result,
      inputShape,
      outputShape,
      weightCount: state.get(`${product.name}.weight`)?.values.length ?? 0,
    })),
  };
}
