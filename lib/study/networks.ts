import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset } from '../data/dataset.js';
import { isHardbitError } from '../errors.js';
import { evaluateClean } from '../evaluation/clean.js';
import { readFile, sha256 } from '../files.js';
import { createModel, layerShapes, loadModel, type Model, saveModel } from '../models/registry.js';
import type { Device } from '../tensor/tensor.js';
import { type AdversarialOptions, type FitOptions, type FitResult, fit } from '../training/fit.js';
import { type Bits, decodeBits, encodeBits, packBits } from './bits.js';
import type { PlannedNetwork } from './plan.js';
import type { Preset } from './presets.js';
import { type KeptNetwork, keptNetworkSchema, type StudyStore } from './store.js';

/** A trained network of a study. */
export interface TrainedNetwork {
  readonly plan: PlannedNetwork;
  readonly kept: KeptNetwork;
  /** On the clean test set. */
  readonly correct: Bits;
}

/** Training writes its state this often, in steps; a kill costs no more than that. */
const CHECKPOINT_STEPS = 400;

const recordPath = (network: PlannedNetwork): string => join('networks', `${network.id}.json`);
export const modelPath = (network: PlannedNetwork): string => join('networks', `${network.id}.safetensors`);
const checkpointPath = (network: PlannedNetwork): string => join('networks', `${network.id}.checkpoint`);

/**
 * The network, if it was finished before: its record is complete and belongs to the plan.
 *
 * @param withModel its model file has to be there too, as it was
 */
export function findNetwork(
  store: StudyStore,
  network: PlannedNetwork,
  testExamples: number,
  withModel: boolean,
): TrainedNetwork | null {
  const kept = store.read(recordPath(network), keptNetworkSchema);
  if (kept === null || kept.record.id !== network.id || kept.record.n !== testExamples) return null;
  const correct = decodeBits(kept.correct, testExamples);
  if (correct === null) return null;
  const path = store.path(modelPath(network));
  if (withModel && (!existsSync(path) || sha256(readFile(path)) !== kept.sha256)) return null;
  return { plan: network, kept, correct };
}

/** Trained networks, opened when they are needed and closed when others need the room. */
export class OpenModels {
  readonly #models = new Map<string, Model>();

  /**
   * @param device where they compute
   * @param room trainable numbers that may be open at a time, beside the network asked for last
   */
  constructor(
    readonly store: StudyStore,
    readonly device: Device = 'cpu',
    readonly room = 20_000_000,
  ) {}

  /** The network; it stays open until at least three others were asked for. */
  get(network: PlannedNetwork): Model {
    const { id } = network;
    const open =
      this.#models.get(id) ?? loadModel(this.store.path(modelPath(network)), { device: this.device });
    // The one used last stands last.
    this.#models.delete(id);
    this.#models.set(id, open);
    let size = 0;
    for (const model of this.#models.values()) size += model.parameterCount();
    for (const [oldest, model] of this.#models) {
      if (size <= this.room || this.#models.size <= 4) break;
      size -= model.parameterCount();
      this.#models.delete(oldest);
      model.dispose();
    }
    return open;
  }

  dispose(): void {
    for (const model of this.#models.values()) model.dispose();
    this.#models.clear();
  }
}

/** What `fit` needs for a network of a study. */
export function fitOptionsOf(
  network: Pick<PlannedNetwork, 'training' | 'seed' | 'fit'>,
  sources: NonNullable<AdversarialOptions['sources']>,
) {
  const { training, seed } = network;
  const options = { ...network.fit, seed };
  if (training.kind === 'natural') return options;
  const { attack, epsilon, mix, steps } = training;
  const adversarial: AdversarialOptions = { attack, epsilon, mix, steps };
  return {
    ...options,
    adversarial: training.kind === 'ensemble' ? { ...adversarial, sources } : adversarial,
  };
}

/** Trains, going on from a checkpoint where there is a sound one. */
async function train(
  network: PlannedNetwork,
  data: Dataset,
  device: Device | undefined,
  options: FitOptions & { readonly checkpoint: { readonly path: string; readonly everySteps: number } },
): Promise<{ readonly model: Model; readonly result: FitResult }> {
  const attempt = async (resume: boolean) => {
    const model = createModel(network.model, { ...network, device });
    try {
      return { model, result: await fit(model, data, { ...options, resume }) };
    } catch (error) {
      model.dispose();
      throw error;
    }
  };
  if (!existsSync(options.checkpoint.path)) return attempt(false);
  try {
    return await attempt(true);
  } catch (error) {
    // A damaged or foreign checkpoint is no loss beyond its steps.
    const code = isHardbitError(error) ? error.code : null;
    if (code !== 'ERR_HARDBIT_FORMAT' && code !== 'ERR_HARDBIT_RESUME' && code !== 'ERR_HARDBIT_READ')
      throw error;
    return attempt(false);
  }
}

/** Trains one network, measures its clean accuracy and keeps it. */
export async function trainNetwork(
  store: StudyStore,
  preset: Preset,
  network: PlannedNetwork,
  data: { readonly train: Dataset; readonly test: Dataset },
  options: {
    /** The static networks of ensemble training, by id; they stay the caller's. */
    readonly sources: NonNullable<AdversarialOptions['sources']>;
    readonly device?: Device | undefined;
    readonly signal?: AbortSignal | undefined;
    readonly onFraction: (fraction: number) => void;
  },
): Promise<TrainedNetwork> {
  const checkpoint = checkpointPath(network);
  const { model, result } = await train(network, data.train, options.device, {
    ...fitOptionsOf(network, options.sources),
    signal: options.signal,
    checkpoint: { path: store.path(checkpoint), everySteps: CHECKPOINT_STEPS },
    onProgress: ({ epoch, epochs, step, steps }) => options.onFraction((epoch - 1 + step / steps) / epochs),
  });
  try {
    const path = modelPath(network);
    saveModel(model, store.path(path), {
      study: preset.name,
      dataset: preset.dataset,
      ...network.fit,
      seed: network.seed,
      training: network.training,
    });
    const clean = await evaluateClean(model, data.test, { signal: options.signal });
    const correct = packBits(clean.correct);
    const kept = store.write(recordPath(network), keptNetworkSchema, {
      record: {
        id: network.id,
        variant: network.variant,
        block: network.block,
        model: network.model,
        recipe: network.recipe,
        inputBits: network.inputBits,
        training: network.training,
        seed: network.seed,
        epochs: network.fit.epochs,
        batchSize: network.fit.batchSize,
        parameters: model.parameterCount(),
        macs: layerShapes(model.spec).reduce((sum, layer) => sum + layer.macs, 0),
        twin: network.twin,
        n: clean.n,
        cleanAccuracy: clean.accuracy,
        history: result.history.map(({ epoch, loss, accuracy }) => ({ epoch, loss, accuracy })),
        trainSeconds: result.seconds,
        file: path,
      },
      sha256: sha256(readFile(store.path(path))),
      correct: encodeBits(correct),
    });
    store.remove(checkpoint);
    return { plan: network, kept, correct };
  } finally {
    model.dispose();
  }
}
