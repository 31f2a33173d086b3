import { z } from 'zod';
import { HardbitError } from '../errors.js';
import { readFile, writeFileAtomic } from '../files.js';
import { decodeSafetensors, encodeSafetensors, type SafetensorsEntry } from '../tensor/safetensors.js';
import { version } from '../version.js';
import { Model, type ModelSpec } from './model.js';

/** Version of the `hardbit` metadata; docs/model-file.md describes it. */
const FORMAT = 1;

/** The training recipe kept in a model file: plain JSON without times, so that equal trainings give equal files. */
export type SavedTraining = Readonly<Record<string, unknown>>;

const count = z.number().int().min(1);
const layerSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('discretizer'), name: z.string(), bits: z.number().int().min(1).max(8) }),
  z.strictObject({ type: z.literal('flatten'), name: z.string() }),
  z.strictObject({
    type: z.literal('dense'),
    name: z.string(),
    inputs: count,
    outputs: count,
    bias: z.boolean(),
    weightQuantizer: z.string().nullable(),
  }),
  z.strictObject({
    type: z.literal('batch-norm'),
    name: z.string(),
    features: count,
    epsilon: z.number().positive(),
    momentum: z.number().min(0).max(1),
  }),
  z.strictObject({ type: z.literal('relu'), name: z.string() }),
  z.strictObject({ type: z.literal('sign'), name: z.string(), quantizer: z.string() }),
]);

const headerSchema = z.strictObject({
  format: z.number().int(),
  library: z.string(),
  model: z.string(),
  recipe: z.string(),
  inputShape: z.tuple([count, count, count]),
  classes: count,
  inputBits: z.number().int().min(1).max(8),
  seed: z.number().int().min(0),
  layers: z.array(layerSchema).min(1).max(10_000),
  training: z.record(z.string(), z.unknown()),
});

/** One f32 array as it stands in a file. */
export function floatEntry(shape: readonly number[], values: Float32Array): SafetensorsEntry {
  return { dtype: 'F32', shape, data: values };
}

/** The ±1 of latent weights, sign(0) = +1. */
function signEntry(shape: readonly number[], values: Float32Array): SafetensorsEntry {
  return { dtype: 'I8', shape, data: Int8Array.from(values, (value) => (value >= 0 ? 1 : -1)) };
}

/**
 * Writes a network as one safetensors file, atomically: f32 tensors by path name, binary weights as I8 ±1, and the
 * architecture as JSON under the metadata key `hardbit`.
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
  const parsed = headerSchema.safeParse(json);
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
 * Checks that the layers of a file fit together and hold no more numbers than the file, before anything is
 * allocated for them.
 */
function checkLayers(spec: ModelSpec, tensors: ReadonlyMap<string, SafetensorsEntry>, path: string): void {
  const wrong = (sentence: string): never => {
    throw new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `The network in '${path}' does not fit together: ${sentence}.`,
    );
  };
  const names = new Set<string>();
  let features = spec.inputShape.reduce((a, b) => a * b, 1);
  if (spec.layers[0]?.type !== 'discretizer') wrong('its first layer is not a discretizer');
  if (spec.layers[0]?.type === 'discretizer' && spec.layers[0].bits !== spec.inputBits) {
    wrong('inputBits and the discretizer differ');
  }
  for (const layer of spec.layers) {
    if (names.has(layer.name)) wrong(`two layers are named '${layer.name}'`);
    names.add(layer.name);
    if (layer.type === 'dense') {
      const weight = tensors.get(`${layer.name}.weight`);
      if (weight === undefined || weight.shape[0] !== layer.outputs || weight.shape[1] !== layer.inputs) {
        wrong(`tensor '${layer.name}.weight' is not [${layer.outputs}, ${layer.inputs}]`);
      }
      if (layer.inputs !== features)
        wrong(`layer '${layer.name}' takes ${layer.inputs} inputs and gets ${features}`);
      features = layer.outputs;
    }
    if (layer.type === 'batch-norm' && layer.features !== features) {
      wrong(`layer '${layer.name}' has ${layer.features} features and gets ${features}`);
    }
  }
  if (features !== spec.classes) wrong(`its last layer gives ${features} logits for ${spec.classes} classes`);
}

/**
 * Reads a network written by `saveModel`. Binary weights become latent weights of ±1.
 *
 * @throws ERR_HARDBIT_READ where the file cannot be read; ERR_HARDBIT_FORMAT where it is truncated, malformed or
 * inconsistent; ERR_HARDBIT_UNSUPPORTED where it was written by a newer format.
 */
export function loadModel(path: string): Model {
  const { tensors, metadata } = decodeSafetensors(readFile(path), path);
  const {
    format: _format,
    library: _library,
    training: _training,
    seed,
    ...spec
  } = parseHeader(metadata['hardbit'], path);
  checkLayers(spec, tensors, path);
  const model = new Model(spec, seed);
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
