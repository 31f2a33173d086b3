import { type AttackOptions, type AttackSpec, resolveAttack, runAttack } from '../attacks/registry.js';
import { drawIndex } from '../data/dataset.js';
import { HardbitError } from '../errors.js';
import { sha256 } from '../files.js';
import type { Model } from '../nn/model.js';
import { concatRows } from '../tensor/rows.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** A trained network that others are attacked through; it is not changed. */
export interface AdversarialSource {
  readonly name: string;
  readonly model: Model;
}

/**
 * Adversarial training, in one of two forms.
 *
 * Without `sources`, on mixed batches (Goodfellow et al. 2015; Kurakin et al. 2017): in each batch the first ⌈mix·B⌉
 * examples are replaced by adversarial ones, made against the network as it stands; `mix` 1 with pgd is the training of
 * Madry et al. 2018.
 *
 * With `sources`, ensemble adversarial training (Tramèr et al. 2018): each batch draws, uniformly and by (seed, step),
 * the network that it is attacked through from the sources and the current one, and the loss is the mean of the clean and
 * the adversarial loss of the whole batch: one step on its 2B rows, which share the batch statistics.
 */
export interface AdversarialOptions extends AttackOptions {
  /** Name of the attack, e.g. 'fgsm'. */
  readonly attack: string;
  /** Fraction of each batch that is adversarial, in (0, 1]; the rest stays clean. ½ unless given, always with `sources`. */
  readonly mix?: number | undefined;
  readonly sources?: readonly AdversarialSource[] | undefined;
}

export interface AdversarialTraining {
  readonly attack: AttackSpec;
  readonly mix: number;
  /** None: mixed batches; else ensemble adversarial training. */
  readonly sources: readonly AdversarialSource[];
}

function invalid(message: string): HardbitError {
  return new HardbitError('ERR_HARDBIT_ARGUMENT', message);
}

/**
 * @param model the network to be trained
 * @throws ERR_HARDBIT_ARGUMENT or ERR_HARDBIT_UNKNOWN_NAME for options that the attack or adversarial training cannot have;
 * ERR_HARDBIT_SHAPE for a source with other inputs or classes than the model
 */
export function resolveAdversarial(options: AdversarialOptions, model: Model): AdversarialTraining {
  const { attack: name, mix, sources = [], ...attackOptions } = options;
  if (mix !== undefined && !(mix > 0 && mix <= 1)) {
    throw invalid(
      `The adversarial mix is ${mix}; expected the adversarial fraction of a batch, above 0 and at most 1.`,
    );
  }
  if (mix !== undefined && mix !== 0.5 && sources.length > 0) {
    throw invalid(
      `The adversarial mix is ${mix}, but ensemble adversarial training weighs clean and adversarial images equally; leave out mix, or the source models.`,
    );
  }
  if (attackOptions.restarts !== undefined && attackOptions.restarts !== 1) {
    throw invalid(
      `restarts is ${attackOptions.restarts}; adversarial training attacks each image anew in every epoch, so use 1 and, for a stronger attack, more steps.`,
    );
  }
  if (attackOptions.targeted === true) {
    throw invalid(
      'A targeted attack on the true labels would make the images easier; train on an untargeted one.',
    );
  }
  const names = new Set<string>();
  for (const source of sources) {
    if (names.has(source.name))
      throw invalid(`Two source models are named '${source.name}'; give each one once.`);
    names.add(source.name);
    if (source.model === model) {
      throw invalid(
        `The source model '${source.name}' is the network that is trained, which takes part anyway; leave it out.`,
      );
    }
    if (source.model.device !== model.device) {
      throw invalid(
        `The source model '${source.name}' is on ${source.model.device}; expected ${model.device}, as the network that is trained.`,
      );
    }
    const { inputShape, classes } = source.model;
    if (classes !== model.classes || inputShape.some((size, i) => size !== model.inputShape[i])) {
      throw new HardbitError(
        'ERR_HARDBIT_SHAPE',
        `The source model '${source.name}' takes [${inputShape.join(', ')}] and has ${classes} classes; expected [${model.inputShape.join(', ')}] and ${model.classes}, as the network that is trained.`,
      );
    }
  }
  return {
    attack: resolveAttack(name, attackOptions),
    mix: mix ?? 0.5,
    sources,
  };
}

/** SHA-256 of a network's description, parameters and buffers. */
export function modelDigest(model: Model): string {
  const parts: Uint8Array[] = [Buffer.from(JSON.stringify(model.spec))];
  for (const [name, { shape, values }] of model.state()) {
    parts.push(Buffer.from(`\n${name} ${shape.join('×')}\n`));
    parts.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return sha256(Buffer.concat(parts));
}

/** The record of an adversarial training that identifies it. */
export function describeAdversarial({ attack, mix, sources }: AdversarialTraining) {
  return {
    attack,
    mix,
    sources: sources.map(({ name, model }) => ({ name, sha256: modelDigest(model) })),
  };
}

/** The network that the batch of a step is attacked through: one of the sources or `model`, by (seed, step). */
export function drawSource(training: AdversarialTraining, model: Model, seed: number, step: number): Model {
  if (training.sources.length === 0) return model;
  return training.sources[drawIndex(training.sources.length + 1, seed, step)]?.model ?? model;
}

/** Where a batch stands: what its random draws depend on. */
export interface BatchPosition {
  readonly seed: number;
  /** Steps made before. */
  readonly step: number;
  /** Examples seen before: the attack's random streams. */
  readonly firstRow: number;
}

/**
 * The batch to train on. The attack sees a network in evaluation mode, differentiated as in training (identity through
 * the discretizer, clipped through sign); no gradient flows through it.
 *
 * @returns mixed: B rows, the first ⌈mix·B⌉ adversarial; ensemble: 2B rows, the clean ones first
 */
export function adversarialBatch(
  model: Model,
  training: AdversarialTraining,
  images: Tensor,
  labels: Tensor,
  { seed, step, firstRow }: BatchPosition,
): { readonly images: Tensor; readonly labels: Tensor } {
  return scope(() => {
    const attackable = drawSource(training, model, seed, step).attackable();
    // The dataset was checked when the training began.
    const context = { seed, firstRow, imagesOnly: true };
    if (training.sources.length > 0) {
      const { adversarial } = runAttack(training.attack, attackable, images, labels, context);
      return { images: concatRows([images, adversarial]), labels: concatRows([labels, labels]) };
    }
    const count = Math.ceil(training.mix * images.rows);
    const { adversarial } = runAttack(
      training.attack,
      attackable,
      images.slice(0, count),
      labels.slice(0, count),
      context,
    );
    return {
      images:
        count === images.rows ? adversarial : concatRows([adversarial, images.slice(count, images.rows)]),
      labels: labels.slice(0, labels.rows),
    };
  });
}
