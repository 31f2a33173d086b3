import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset } from '../data/dataset.js';
import { isHardbitError } from '../errors.js';
import { evaluateClean } from '../evaluation/clean.js';
import { readFile, sha256 } from '../files.js';
import { createModel, loadModel, type Model, saveModel } from '../models/registry.js';
import { type FitOptions, type FitResult, fit } from '../training/fit.js';
import { fitOptionsOf } from './estimate.js';
import type { PlannedNetwork, Preset } from './plan.js';
import { decodeBits, encodeBits, type KeptNetwork, keptNetworkSchema, type StudyStore } from './store.js';

/** A trained network of a study. */
export interface TrainedNetwork {
  readonly plan: PlannedNetwork;
  readonly kept: KeptNetwork;
  /** Per test image 1 where it is classified as labelled. */
  readonly correct: Uint8Array;
}

/** Training writes its state this often, in steps; a kill costs no more than that. */
const CHECKPOINT_STEPS = 400;

const recordPath = (network: PlannedNetwork): string => join('networks', `${network.id}.json`);
export const modelPath = (network: PlannedNetwork): string => join('networks', `${network.id}.safetensors`);
const checkpointPath = (network: PlannedNetwork): string => join('networks', `${network.id}.checkpoint`);

/** The network, if it was finished before: its files are complete and belong together. */
export function findNetwork(
  store: StudyStore,
  network: PlannedNetwork,
  testExamples: number,
): TrainedNetwork | null {
  const kept = store.read(recordPath(network), keptNetworkSchema);
  if (kept === null || kept.record.id !== network.id || kept.record.n !== testExamples) return null;
  const correct = decodeBits(kept.correct, testExamples);
  const path = store.path(modelPath(network));
  if (correct === null || !existsSync(path) || sha256(readFile(path)) !== kept.sha256) return null;
  return { plan: network, kept, correct };
}

export function openNetwork(store: StudyStore, network: PlannedNetwork): Model {
  return loadModel(store.path(modelPath(network)));
}

/** Trains, going on from a checkpoint where there is a sound one. */
async function train(
  network: PlannedNetwork,
  data: Dataset,
  options: FitOptions & { readonly checkpoint: { readonly path: string; readonly everySteps: number } },
): Promise<{ readonly model: Model; readonly result: FitResult }> {
  const attempt = async (resume: boolean) => {
    const model = createModel(network.model, network);
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
  options: { readonly signal?: AbortSignal | undefined; readonly onFraction: (fraction: number) => void },
): Promise<TrainedNetwork> {
  const checkpoint = checkpointPath(network);
  const { model, result } = await train(network, data.train, {
    ...fitOptionsOf(preset, network),
    signal: options.signal,
    checkpoint: { path: store.path(checkpoint), everySteps: CHECKPOINT_STEPS },
    onProgress: ({ epoch, epochs, step, steps }) => options.onFraction((epoch - 1 + step / steps) / epochs),
  });
  try {
    const path = modelPath(network);
    saveModel(model, store.path(path), {
      study: preset.name,
      dataset: preset.dataset,
      epochs: preset.epochs,
      batchSize: preset.batchSize,
      optimizer: preset.optimizer,
      schedule: preset.schedule,
      seed: network.seed,
      training: network.training,
    });
    const clean = await evaluateClean(model, data.test, { signal: options.signal });
    const kept: KeptNetwork = {
      record: {
        id: network.id,
        model: network.model,
        recipe: network.recipe,
        inputBits: network.inputBits,
        training: network.training,
        seed: network.seed,
        epochs: preset.epochs,
        batchSize: preset.batchSize,
        parameters: model.parameterCount(),
        twin: network.twin,
        n: clean.n,
        cleanAccuracy: clean.accuracy,
        trainSeconds: result.seconds,
        file: path,
      },
      sha256: sha256(readFile(store.path(path))),
      correct: encodeBits(clean.correct),
    };
    store.write(recordPath(network), keptNetworkSchema, kept);
    store.remove(checkpoint);
    return { plan: network, kept, correct: clean.correct };
  } finally {
    model.dispose();
  }
}
