import { z } from 'zod';
import { HardbitError, isHardbitError } from '../errors.js';
import { readFile, writeFileAtomic } from '../files.js';
import { decodeSafetensors, encodeSafetensors, type SafetensorsEntry } from '../tensor/safetensors.js';
import type { Device } from '../tensor/tensor.js';
import { version } from '../version.js';
import type { LayerSpec, ModelSpec } from './layer.js';
import { Model } from './model.js';
import { layerShapes, tensorShapes } from './shapes.js';

/** Version of the `hardbit` metadata; docs/model-file.md describes it, and what version 1 lacked. */
const FORMAT = 2;

/** The training recipe kept in a model file: plain JSON without times, so that equal trainings give equal files. */
export type SavedTraining = Readonly<Record<string, unknown>>;

const count = z.number().int().min(1);
const pair = z.tuple([count, count]);
const side = z.number().int().min(0);
const sides = z.tuple([side, side, side, side]);
const name = z.string().min(1);
const quantizer = z.string();

/** Residual blocks nested deeper than this are refused. */
const MAXIMUM_DEPTH = 16;
const MAXIMUM_LAYERS = 10_000;

/** The description of a layer, `depth` residual blocks deep. */
function layerSchema(depth: number): z.ZodType<LayerSpec> {
  const nested = z.lazy(() =>
    depth === MAXIMUM_DEPTH
      ? z.array(z.never({ error: `residual blocks are nested deeper than ${MAXIMUM_DEPTH}` }))
      : z.array(layerSchema(depth + 1)).max(MAXIMUM_LAYERS),
  );
  return z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('discretizer'), name, bits: z.number().int().min(1).max(8) }),
    z.strictObject({ type: z.literal('flatten'), name }),
    z.strictObject({
      type: z.literal('dense'),
      name,
      inputs: count,
      outputs: count,
      bias: z.boolean(),
      weightQuantizer: quantizer.nullable(),
    }),
    z.strictObject({
      type: z.literal('conv2d'),
      name,
      inputs: count,
      outputs: count,
      kernel: pair,
      stride: pair,
      dilation: pair,
      padding: sides,
      paddingValue: z.enum(['zero', 'one']),
      groups: count,
      bias: z.boolean(),
      weightQuantizer: quantizer.nullable(),
    }),
    z.strictObject({
      type: z.enum(['max-pool', 'average-pool']),
      name,
      kernel: pair,
      stride: pair,
      padding: sides,
    }),
    z.strictObject({
      type: z.literal('batch-norm'),
      name,
      features: count,
      epsilon: z.number().positive(),
      momentum: z.number().min(0).max(1),
    }),
    z.strictObject({ type: z.literal('relu'), name }),
    z.strictObject({ type: z.literal('hardtanh'), name }),
    z.strictObject({ type: z.literal('dropout'), name, rate: z.number().min(0).lt(1) }),
    z.strictObject({ type: z.literal('quantize'), name, quantizer }),
    z.strictObject({ type: z.literal('residual'), name, body: nested, shortcut: nested }),
  ]);
}

const headerSchema = z.strictObject({
  format: z.number().int(),
  library: z.string(),
  model: z.string(),
  recipe: z.string(),
  inputShape: z.tuple([count, count, count]),
  classes: count,
  inputBits: z.number().int().min(1).max(8),
  seed: z.number().int().min(0),
  layers: z.array(layerSchema(0)).min(1).max(MAXIMUM_LAYERS),
  training: z.record(z.string(), z.unknown()),
});

/** One f32 array as it stands in a file. */
export function floatEntry(shape: readonly number[], values: Float32Array): SafetensorsEntry {
  return { dtype: 'F32', shape, data: values };
}

/** The layers of a file of format 1, whose `sign` is now `quantize`. */
function fromFormat1(header: unknown): unknown {
  const { layers } = header as { layers?: unknown };
  if (!Array.isArray(layers)) return header;
  const renamed = layers.map((layer: unknown) =>
    (layer as { type?: unknown } | null)?.type === 'sign'
      ? { ...(layer as object), type: 'quantize' }
      : layer,
  );
  return { ...(header as object), layers: renamed };
}

/** The ±1 of latent weights, sign(0) = +1. */
function signEntry(shape: readonly number[], values: Float32Array): SafetensorsEntry {
  return { dtype: 'I8', shape, data: Int8Array.from(values, (value) => (value >= 0 ? 1 : -1)) };
}

/**
 * Writes a network as one safetensors file, atomically: f32 tensors by path name, weights that exist only as ±1 as I8, latent
 * weights of other quantizers as they are, and the architecture as JSON under the metadata key `hardbit`.
 *
 * @throws ERR_HARDBIT_WRITE where the file cannot be written; an older file of the name is then left as it was.
 */
export function saveModel(model: Model, path: string, training: SavedTraining = {}): void {
  const binary = new Set(
    model.parameters.filter((parameter) => parameter.binary).map((parameter) => parameter.name),
  );
  const tensors = new Map<string, SafetensorsEntry>();
  for (const [name, { shape, values }] of model.state()) {
    tensors.set(name, binary.has(name) ? signEntry(shape, values) : floatEntry(shape, values));
  }
  const header = {
    format: FORMAT,
    library: `hardbit ${version}`,
    model: model.spec.model,
    recipe: model.spec.recipe,
    inputShape: model.spec.inputShape,
    classes: model.spec.classes,
    inputBits: model.spec.inputBits,
    seed: model.seed,
    layers: model.spec.layers,
    training,
  };
  writeFileAtomic(path, encodeSafetensors(tensors, { hardbit: JSON.stringify(header) }));
}

function parseHeader(text: string | undefined, path: string): z.infer<typeof headerSchema> {
  if (text === undefined) {
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `'${path}' is a safetensors file without hardbit metadata; expected a model written by hardbit.`,
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new HardbitError('ERR_HARDBIT_FORMAT', `The hardbit metadata of '${path}' is not valid JSON.`, {
      cause,
    });
  }
  const format = (json as { format?: unknown } | null)?.format;
  if (typeof format === 'number' && format > FORMAT) {
    throw new HardbitError(
      'ERR_HARDBIT_UNSUPPORTED',
      `'${path}' has model format ${format}; this version of hardbit reads up to ${FORMAT}: update hardbit.`,
    );
  }
  const parsed = headerSchema.safeParse(format === 1 ? fromFormat1(json) : json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `The hardbit metadata of '${path}' is wrong at '${issue?.path.join('.') ?? ''}': ${issue?.message ?? 'invalid'}.`,
    );
  }
  return parsed.data;
}

/**
 * Checks that the layers of a file fit together and that the file holds their tensors, before anything is allocated for
 * them.
 */
function checkLayers(spec: ModelSpec, tensors: ReadonlyMap<string, SafetensorsEntry>, path: string): void {
  try {
    layerShapes(spec);
  } catch (cause) {
    if (!isHardbitError(cause)) throw cause;
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `The network in '${path}' does not fit together: ${cause.message}`,
      { cause },
    );
  }
  for (const { name, shape } of tensorShapes(spec.layers)) {
    const held = tensors.get(name)?.shape;
    if (held === undefined || held.length !== shape.length || held.some((size, i) => size !== shape[i])) {
      throw new HardbitError(
        'ERR_HARDBIT_FORMAT',
        `The network in '${path}' does not fit together: tensor '${name}' is ${held === undefined ? 'missing' : `[${held.join(', ')}]`}; expected [${shape.join(', ')}].`,
      );
    }
  }
}

/**
 * Reads a network written by `saveModel`, from whatever device, to one: the cpu unless said. Weights of ±1 become latent
 * weights of ±1.
 *
 * @throws ERR_HARDBIT_READ where the file cannot be read; ERR_HARDBIT_FORMAT where it is truncated, malformed or
 * inconsistent; ERR_HARDBIT_UNSUPPORTED where it was written by a newer format; ERR_HARDBIT_NO_CUDA for 'cuda' where there is
 * none.
 */
export function loadModel(path: string, { device }: { readonly device?: Device | undefined } = {}): Model {
  const { tensors, metadata } = decodeSafetensors(readFile(path), path);
  const {
    format: _format,
    library: _library,
    training: _training,
    seed,
    ...spec
  } = parseHeader(metadata['hardbit'], path);
  checkLayers(spec, tensors, path);
  const model = new Model(spec, seed, device);
  try {
    const binary = new Set(
      model.parameters.filter((parameter) => parameter.binary).map((parameter) => parameter.name),
    );
    const state = new Map<string, Float32Array>();
    for (const [name, entry] of tensors) {
      const expected = binary.has(name) ? 'I8' : 'F32';
      if (entry.dtype !== expected) {
        throw new HardbitError(
          'ERR_HARDBIT_FORMAT',
          `Tensor '${name}' of '${path}' is ${entry.dtype}; expected ${expected}.`,
        );
      }
      if (binary.has(name) && (entry.data as Int8Array).some((value) => value !== 1 && value !== -1)) {
        throw new HardbitError(
          'ERR_HARDBIT_FORMAT',
          `Tensor '${name}' of '${path}' holds values other than ±1.`,
        );
      }
      state.set(name, Float32Array.from(entry.data));
    }
    model.loadState(state);
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}
