import type { LayerSpec, ModelSpec, Pair, SpecOf } from './layer.js';
import { requireActivationQuantizer, requireWeightQuantizer } from './quantizers.js';
import { layerShapes } from './shapes.js';

/** A layer of a deployed network: weights, and what follows them up to the next weights. */
export interface DeployedLayer {
  readonly product: SpecOf<'dense'> | SpecOf<'conv2d'>;
  /** [H, W, C]; what a dense layer flattens counts as one window. */
  readonly inputShape: readonly [number, number, number];
  /** [H, W, C], behind the pool. */
  readonly outputShape: readonly [number, number, number];
  readonly input: 'codes' | 'signs' | 'reals';
  /** Weights are ±1, on whole numbers, with a scale behind. */
  readonly binary: boolean;
  /** Of windows of more than one place. */
  readonly pool: SpecOf<'max-pool' | 'average-pool'> | null;
  /** The pool follows batch norm or the sign, so that it takes their largest value, not the product's. */
  readonly poolsSigns: boolean;
  readonly norm: SpecOf<'batch-norm'> | null;
  readonly relu: boolean;
  readonly result: 'signs' | 'reals';
}

/** The layers of a network as it is deployed, or the first obstacle to that, as a sentence. */
export type Deployment =
  | { readonly layers: readonly DeployedLayer[] }
  | { readonly layers: null; readonly obstacle: string };

const places = (window: Pair) => window[0] * window[1];

/** Thrown within this file alone. */
class Obstacle extends Error {}

function stop(spec: LayerSpec, why: string): never {
  throw new Obstacle(`Layer '${spec.name}' cannot be deployed: it ${why}.`);
}

/** Why a layer has no place in a deployed network. */
function misfit(spec: LayerSpec): string {
  switch (spec.type) {
    case 'residual':
      return 'is a residual block, and deployed networks have no branches';
    case 'average-pool':
    case 'hardtanh':
      return `is of type ${spec.type}, which deployed networks do not have`;
    case 'quantize': {
      const { kind, precision } = requireActivationQuantizer(spec.quantizer);
      if (kind === 'codes') {
        return `makes codes of ${precision} bits ('${spec.quantizer}'), and binary weights take signs behind the first layer`;
      }
    }
  }
  return 'stands where deployed networks have no such layer; expected weights, then max-pooling, batch norm, and a sign or relu';
}

/** What a product computes with; stops where a deployed network has no such product. */
function isBinary(spec: DeployedLayer['product'], input: DeployedLayer['input'], last: boolean): boolean {
  if (spec.weightQuantizer === null) {
    if (input === 'signs') stop(spec, 'has full-precision weights on signs');
    if (input === 'reals' && !last) {
      stop(
        spec,
        'has full-precision weights between others, which only the first and the last layer may have',
      );
    }
    return false;
  }
  const { planes } = requireWeightQuantizer(spec.weightQuantizer);
  if (planes > 1)
    stop(spec, `has weights of ${planes} planes of bits ('${spec.weightQuantizer}'), not of one`);
  if (input === 'reals') stop(spec, 'has binary weights on real inputs, not on signs or codes');
  return true;
}

/** The layers yet to be read, without dropout, which does nothing in evaluation, and the shape that comes to them. */
class Rest {
  readonly #layers: LayerSpec[];
  readonly #shapes: ReadonlyMap<string, readonly number[]>;
  /** [H, W, C], whatever is flattened. */
  shape: readonly [number, number, number];

  constructor(spec: ModelSpec) {
    this.#shapes = new Map(layerShapes(spec).map(({ name, outputShape }) => [name, outputShape]));
    this.#layers = spec.layers.slice(1).filter(({ type }) => type !== 'dropout');
    this.shape = spec.inputShape;
  }

  get next(): LayerSpec | undefined {
    return this.#layers[0];
  }

  get hasProducts(): boolean {
    return this.#layers.some(({ type }) => type === 'dense' || type === 'conv2d' || type === 'residual');
  }

  skip(): void {
    const { name, type } = this.#layers.shift() as LayerSpec;
    if (type === 'flatten') return;
    const shape = this.#shapes.get(name) as readonly number[];
    this.shape = (shape.length === 3 ? shape : [1, 1, ...shape]) as unknown as typeof this.shape;
  }
}

/** Reads what follows a product, up to the next one. */
function readRest(
  rest: Rest,
  binary: boolean,
): Pick<DeployedLayer, 'pool' | 'poolsSigns' | 'norm' | 'relu' | 'result'> {
  let pool: SpecOf<'max-pool' | 'average-pool'> | null = null;
  let poolsSigns = false;
  let norm: SpecOf<'batch-norm'> | null = null;
  let activation: LayerSpec | null = null;
  for (let spec = rest.next; spec !== undefined; spec = rest.next) {
    if (spec.type === 'max-pool' && pool === null) {
      if (places(spec.kernel) === 1 && places(spec.stride) > 1) {
        stop(spec, 'only leaves out places; give its stride to the weights in front');
      }
      pool = places(spec.kernel) > 1 ? spec : null;
      poolsSigns = norm !== null || activation !== null;
    } else if (spec.type === 'batch-norm' && norm === null && activation === null) {
      norm = spec;
    } else if (spec.type === 'relu' && activation === null) {
      activation = spec;
    } else if (spec.type === 'quantize' && activation === null) {
      if (requireActivationQuantizer(spec.quantizer).kind !== 'signs') stop(spec, misfit(spec));
      activation = spec;
    } else {
      break;
    }
    rest.skip();
  }
  const result = activation?.type === 'quantize' ? 'signs' : 'reals';
  if (pool !== null && poolsSigns && !(binary && result === 'signs')) {
    stop(pool, 'pools behind batch norm or an activation, which only signs of binary weights allow');
  }
  return { pool, poolsSigns, norm, relu: activation?.type === 'relu', result };
}

function readLayers(spec: ModelSpec): readonly DeployedLayer[] {
  const rest = new Rest(spec);
  const layers: DeployedLayer[] = [];
  let input: DeployedLayer['input'] = 'codes';
  for (let product = rest.next; product !== undefined; product = rest.next) {
    const inputShape = rest.shape;
    rest.skip();
    if (product.type === 'flatten') continue;
    if (product.type !== 'dense' && product.type !== 'conv2d') stop(product, misfit(product));
    const binary = isBinary(product, input, !rest.hasProducts);
    const following = readRest(rest, binary);
    layers.push({ product, inputShape, outputShape: rest.shape, input, binary, ...following });
    input = following.result;
  }
  const last = layers.at(-1);
  if (last === undefined || !layers.some(({ binary }) => binary)) {
    throw new Obstacle(`Model '${spec.model}' cannot be deployed: it has no binary weights.`);
  }
  if (last.result === 'signs') stop(last.product, 'gives the logits as signs, not as reals');
  if (rest.shape[0] * rest.shape[1] > 1) stop(last.product, 'gives the logits as an image, not as one pixel');
  return layers;
}

/**
 * Finds out whether a network can be deployed, from its layers alone: in sequence, each weights, max-pooling, batch norm, and a
 * sign or relu. Weights are ±1 on codes or signs, but for full-precision ones of the first layer, and of the last on reals.
 *
 * @throws as `layerShapes` where the layers do not fit together
 */
export function deploymentOf(spec: ModelSpec): Deployment {
  try {
    return { layers: readLayers(spec) };
  } catch (error) {
    if (error instanceof Obstacle) return { layers: null, obstacle: error.message };
    throw error;
  }
}
