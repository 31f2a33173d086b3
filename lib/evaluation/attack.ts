import { flippablePixels, measurePerturbation, requireLabels } from '../attacks/ball.js';
import { KeptWalk } from '../attacks/recorded-walk.js';
import {
  type AttackResult,
  type AttackSpec,
  completeAttack,
  type Norm,
  runAttackAsync,
} from '../attacks/registry.js';
import type { Dataset } from '../data/dataset.js';
import { HardbitError } from '../errors.js';
import type { GradientMode } from '../models/registry.js';
import { concatRows } from '../tensor/rows.js';
import { keep, scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  agreement,
  deviceOf,
  type EvaluatedModel,
  type EvaluationBatch,
  type EvaluationOptions,
  forEachBatchAsync,
  fractionOf,
} from './batches.js';
import { type RecordedGradientMode, recordGradientMode } from './gradient-mode.js';

/** A network under one attack: every figure with n, seed, threat model and gradient mode. Accuracies are fractions. */
export interface AttackEvaluation {
  readonly attack: AttackSpec;
  /** Radius of the ball, in units of pixels in [0, 1]. */
  readonly epsilon: number;
  /** The norm that ε is meant in. */
  readonly norm: Norm;
  /** 'white-box': gradients of this network; 'transfer': images made on the network `source`. */
  readonly threatModel: 'white-box' | 'transfer';
  /** How the attacker differentiated (transfer: differentiated the source). */
  readonly gradientMode: RecordedGradientMode;
  readonly source: string | null;
  readonly n: number;
  readonly seed: number;
  readonly cleanAccuracy: number;
  readonly adversarialAccuracy: number;
  /** Clean minus adversarial accuracy. */
  readonly adversarialLoss: number;
  /** L∞: pixels whose code can change within ε, for this network's input bits; L2, which bounds no single pixel: null. */
  readonly flippableFraction: number | null;
  /** Images whose whole first gradient is exactly 0; null where this network was not differentiated. */
  readonly zeroGradientFraction: number | null;
  /** Mean |x′ − x| over all pixels of all images. */
  readonly meanPerturbation: number;
  readonly maxPerturbation: number;
  /** Mean and largest ‖x′ − x‖₂ of an image. */
  readonly meanL2Distance: number;
  readonly maxL2Distance: number;
  /** Pixels (L2: images) outside the ball; anything but 0 is thrown as an error. */
  readonly outsideBall: 0;
  readonly seconds: number;
  /** Per example 1 (correct) or 0, on the clean image. */
  readonly cleanCorrect: Uint8Array;
  /** The same on the attacked image, predicted afresh from the image itself. */
  readonly adversarialCorrect: Uint8Array;
}

export interface WhiteBoxEvaluation extends AttackEvaluation {
  readonly threatModel: 'white-box';
  readonly source: null;
  readonly zeroGradientFraction: number;
  /** Gradients taken, mean over the images: steps · restarts, or fewer where examples stopped early. */
  readonly meanGradientCalls: number;
  /** Whose labels the attack moved away from; accuracy is always against the dataset's. */
  readonly labels: 'given' | 'predicted';
  /** Targeted attacks: the fraction of images classified as their target; else null. */
  readonly targetSuccess: number | null;
  /** The attacked images, f32 [N, H, W, C] on the network's device, where they were asked for; the caller disposes of them. */
  readonly adversarial?: Tensor;
}

/** What a threat model knows before the images are measured. */
type Provenance = Pick<AttackEvaluation, 'attack' | 'threatModel' | 'gradientMode' | 'source' | 'seed'>;

/** Sums over batches of clean and attacked images. */
export class AttackTally {
  readonly #model: EvaluatedModel;
  readonly #epsilon: number;
  readonly #norm: Norm;
  readonly #knownClean: Uint8Array | undefined;
  readonly #cleanCorrect: Uint8Array;
  readonly #adversarialCorrect: Uint8Array;
  readonly #started = performance.now();
  #flippable = 0;
  #distance = 0;
  #maxDistance = 0;
  #l2Distance = 0;
  #maxL2Distance = 0;
  #pixels = 0;

  /**
   * @param n number of images
   * @param knownClean per example 1 where the model classifies the clean image correctly, if that is known already
   * @throws ERR_HARDBIT_SHAPE where its length is not n
   */
  constructor(model: EvaluatedModel, n: number, attack: AttackSpec, knownClean: Uint8Array | undefined) {
    if (knownClean !== undefined && knownClean.length !== n) {
      throw new HardbitError(
        'ERR_HARDBIT_SHAPE',
        `cleanCorrect has ${knownClean.length} entries; expected ${n}, one for each image.`,
      );
    }
    this.#model = model;
    this.#epsilon = attack.epsilon;
    this.#norm = attack.norm ?? 'linf';
    this.#knownClean = knownClean;
    this.#cleanCorrect = knownClean === undefined ? new Uint8Array(n) : Uint8Array.from(knownClean);
    this.#adversarialCorrect = new Uint8Array(n);
  }

  /**
   * Measures one batch; returns the classes predicted for the attacked images.
   *
   * @throws ERR_HARDBIT_PIXELS where attacked images are outside the ball
   */
  add({ images, labels, begin }: EvaluationBatch, adversarial: Tensor): Tensor {
    const { sum, max, distances, outside } = measurePerturbation(
      adversarial,
      images,
      this.#epsilon,
      this.#norm,
    );
    if (outside > 0) {
      const what = this.#norm === 'linf' ? 'attacked pixels' : 'attacked images or pixels';
      throw new HardbitError(
        'ERR_HARDBIT_PIXELS',
        `${outside} ${what} are more than epsilon = ${this.#epsilon} from the clean images or outside [0, 1]; ` +
          'expected images made from these clean images within that epsilon.',
      );
    }
    if (this.#knownClean === undefined) {
      this.#cleanCorrect.set(agreement(this.#model.predict(images), labels), begin);
    }
    const predicted = this.#model.predict(adversarial);
    this.#adversarialCorrect.set(agreement(predicted, labels), begin);
    if (this.#norm === 'linf') {
      this.#flippable += flippablePixels(images, this.#epsilon, this.#model.inputBits);
    }
    this.#distance += sum;
    this.#maxDistance = Math.max(this.#maxDistance, max);
    for (const distance of distances) {
      this.#l2Distance += distance;
      this.#maxL2Distance = Math.max(this.#maxL2Distance, distance);
    }
    this.#pixels += images.shape.reduce((product, size) => product * size, 1);
    return predicted;
  }

  finish(provenance: Provenance): Omit<AttackEvaluation, 'zeroGradientFraction'> {
    const cleanAccuracy = fractionOf(this.#cleanCorrect);
    const adversarialAccuracy = fractionOf(this.#adversarialCorrect);
    return {
      ...provenance,
      epsilon: this.#epsilon,
      norm: this.#norm,
      n: this.#cleanCorrect.length,
      cleanAccuracy,
      adversarialAccuracy,
      adversarialLoss: cleanAccuracy - adversarialAccuracy,
      flippableFraction: this.#norm === 'linf' ? this.#flippable / this.#pixels : null,
      meanPerturbation: this.#distance / this.#pixels,
      maxPerturbation: this.#maxDistance,
      meanL2Distance: this.#l2Distance / this.#cleanCorrect.length,
      maxL2Distance: this.#maxL2Distance,
      outsideBall: 0,
      seconds: (performance.now() - this.#started) / 1000,
      cleanCorrect: this.#cleanCorrect,
      adversarialCorrect: this.#adversarialCorrect,
    };
  }
}

export interface AttackEvaluationOptions extends EvaluationOptions {
  /** How to differentiate the discretizer and sign layers; 'identity' and 'clipped' by default. */
  readonly gradient?: Partial<GradientMode> | undefined;
  readonly seed: number;
  /** 'predicted': the attack moves away from the network's own predictions, not from the dataset's labels. */
  readonly labels?: 'given' | 'predicted' | undefined;
  /** The class that each image shall reach, i32 [N]; needed by targeted attacks and only by them. */
  readonly targets?: Tensor | undefined;
  /** Returns the attacked images too. */
  readonly keepAdversarial?: boolean | undefined;
  /**
   * Where `data` is a part of a dataset: the number of each of its images there, so that random starts are those of the
   * whole.
   */
  readonly rows?: readonly number[] | undefined;
  /** Per example 1 where this model classifies the clean image correctly (`evaluateClean`), to save predicting again. */
  readonly cleanCorrect?: Uint8Array | undefined;
}

function checkOptions(spec: AttackSpec, options: AttackEvaluationOptions, n: number): void {
  const targeted = spec.targeted === true;
  const { rows } = options;
  const problem =
    targeted && options.targets === undefined
      ? 'A targeted attack needs the class each image shall reach; give `targets`.'
      : !targeted && options.targets !== undefined
        ? '`targets` were given to an attack that is not targeted; set `targeted: true` or leave them out.'
        : targeted && options.labels === 'predicted'
          ? "`labels: 'predicted'` has no meaning for a targeted attack, which uses its targets; leave it out."
          : rows !== undefined && rows.length !== n
            ? `rows has ${rows.length} numbers; expected ${n}, one for each image.`
            : undefined;
  if (problem !== undefined) throw new HardbitError('ERR_HARDBIT_ARGUMENT', problem);
  if (options.targets !== undefined) requireLabels(options.targets, n);
}

/**
 * Attacks a network on a dataset with the gradients of that same network, batch by batch, and gives way to the event loop
 * between batches and between the steps of long ones. Success is judged by predicting the attacked images afresh.
 *
 * @throws as `forEachBatchAsync` and `runAttack`; nothing is kept alive after an error
 */
export async function evaluateAttack(
  model: EvaluatedModel,
  data: Dataset,
  spec: AttackSpec,
  options: AttackEvaluationOptions,
): Promise<WhiteBoxEvaluation> {
  const attack = completeAttack(spec);
  checkOptions(attack, options, data.size);
  const { seed, signal, targets, rows, labels: whose = 'given' } = options;
  const attackable = model.attackable(options.gradient);
  const tally = new AttackTally(model, data.size, attack, options.cleanCorrect);
  const kept: Tensor[] = [];
  const recorded = new KeptWalk();
  let zeroGradients = 0;
  let gradientCalls = 0;
  let targetsReached = 0;
  const measure = (batch: EvaluationBatch, target: Tensor | undefined, result: AttackResult): void => {
    const predicted = tally.add(batch, result.adversarial);
    for (const zero of result.firstGradientZero) zeroGradients += zero;
    for (const calls of result.gradientCalls) gradientCalls += calls;
    if (target !== undefined) for (const hit of agreement(predicted, target)) targetsReached += hit;
  };
  try {
    await forEachBatchAsync(model, data, options, async (batch, onFraction) => {
      const { images, begin, end } = batch;
      const target =
        targets === undefined ? undefined : keep(scope(() => targets.slice(begin, end).to(deviceOf(model))));
      const guessed = whose === 'predicted' ? keep(model.predict(images)) : undefined;
      const numbers = rows === undefined ? { firstRow: begin } : { rows: rows.slice(begin, end) };
      const context = { seed, signal, recorded, ...numbers };
      try {
        const labels = target ?? guessed ?? batch.labels;
        const result = await runAttackAsync(attack, attackable, images, labels, context, onFraction);
        kept.push(result.adversarial);
        scope(() => measure(batch, target, result));
        if (options.keepAdversarial !== true) kept.pop()?.dispose();
      } finally {
        target?.dispose();
        guessed?.dispose();
      }
    });
    const gradientMode = recordGradientMode(model, options.gradient);
    const provenance = { attack, threatModel: 'white-box', gradientMode, source: null, seed } as const;
    return {
      ...tally.finish(provenance),
      ...provenance,
      zeroGradientFraction: zeroGradients / data.size,
      meanGradientCalls: gradientCalls / data.size,
      labels: whose,
      targetSuccess: targets === undefined ? null : targetsReached / data.size,
      ...(options.keepAdversarial === true ? { adversarial: keep(scope(() => concatRows(kept))) } : {}),
    };
  } finally {
    recorded.dispose();
    for (const tensor of kept) tensor.dispose();
  }
}
