import { type AttackSpec, completeAttack, type Norm } from '../attacks/registry.js';
import { gatherRows, placesOf, replaceRows } from '../attacks/rows.js';
import { type Dataset, takeRows } from '../data/dataset.js';
import { HardbitError } from '../errors.js';
import type { GradientMode } from '../models/registry.js';
import { keep, scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AttackEvaluationOptions, evaluateAttack, type WhiteBoxEvaluation } from './attack.js';
import { type EvaluatedModel, fractionOf } from './batches.js';
import { evaluateClean } from './clean.js';
import { gradientModesFor, type RecordedGradientMode, recordGradientMode } from './gradient-mode.js';

/** One attack in one gradient mode. */
export interface WorstCaseRun {
  /** On the images of this run alone: all figures are about its `n`, its arrays follow `rows`. */
  readonly evaluation: Omit<WhiteBoxEvaluation, 'adversarial'>;
  /** The images this run attacked, by number: all of them, or those that no earlier run had fooled. */
  readonly rows: readonly number[];
  /** Images that this run fooled and no run before it. */
  readonly newlyFooled: number;
}

/**
 * A network under several attacks, each in several gradient modes: an image counts as correct where it withstands all of
 * them. That is what an attacker achieves who tries everything and keeps what works.
 */
export interface WorstCaseEvaluation {
  readonly threatModel: 'white-box';
  readonly attacks: readonly AttackSpec[];
  readonly gradientModes: readonly RecordedGradientMode[];
  readonly epsilon: number;
  readonly norm: Norm;
  readonly n: number;
  readonly seed: number;
  readonly labels: 'given' | 'predicted';
  readonly cleanAccuracy: number;
  /** Fraction of images classified as labelled in every run. */
  readonly adversarialAccuracy: number;
  /** Clean minus adversarial accuracy. */
  readonly adversarialLoss: number;
  /** Runs after the first left out the images that were fooled already. */
  readonly skippedFooled: boolean;
  /** Attack by attack, and within one the gradient modes in order; the last ones are missing where nothing was left to attack. */
  readonly runs: readonly WorstCaseRun[];
  /** The run of the lowest accuracy, the first among equals; null where runs skipped images, so that none stands alone. */
  readonly worstAlone: number | null;
  /** Per example 1 (correct) or 0, on the clean image. */
  readonly cleanCorrect: Uint8Array;
  /** Per example 1 where it is correct in every run. */
  readonly adversarialCorrect: Uint8Array;
  /**
   * The attacked images, f32 [N, H, W, C], where they were asked for: of each image the first that fools the network, else
   * that of the first run. The caller disposes of them.
   */
  readonly adversarial?: Tensor;
}

export interface WorstCaseOptions extends Omit<AttackEvaluationOptions, 'gradient' | 'targets' | 'rows'> {
  /** The gradient modes to try, `gradientModesFor(model)` by default. */
  readonly gradients?: readonly Partial<GradientMode>[] | undefined;
  /** Attacks in later runs only what no run has fooled: the same headline for less work; false by default. */
  readonly skipFooled?: boolean | undefined;
  /** Called with each run when it begins. */
  readonly onRun?:
    | ((run: { readonly attack: AttackSpec; readonly gradient: Partial<GradientMode> }) => void)
    | undefined;
}

/** The attacks, completed. @throws ERR_HARDBIT_ARGUMENT where they do not share one ball, or are targeted */
function requireAttacks(specs: readonly AttackSpec[], modes: number): readonly AttackSpec[] {
  const attacks = specs.map(completeAttack);
  const [first] = attacks;
  const problem =
    first === undefined || modes === 0
      ? 'A worst case needs at least one attack and one gradient mode.'
      : attacks.some((each) => each.targeted)
        ? 'A worst case counts misclassified images; a targeted attack has another aim: evaluate it alone.'
        : attacks.some((each) => each.epsilon !== first.epsilon || each.norm !== first.norm)
          ? 'The attacks of a worst case share one ball; give all of them the same epsilon and norm.'
          : undefined;
  if (problem !== undefined) throw new HardbitError('ERR_HARDBIT_ARGUMENT', problem);
  return attacks;
}

/**
 * Runs each attack in each gradient mode and takes, image by image, the worst of all: the figure to report for a network
 * that can be differentiated in several ways.
 *
 * @param specs attacks of one ε and one norm, not targeted
 * @throws ERR_HARDBIT_ARGUMENT for attacks that do not suit; as `evaluateAttack`; nothing is kept alive after an error
 */
export async function evaluateWorstCase(
  model: EvaluatedModel,
  data: Dataset,
  specs: readonly AttackSpec[],
  options: WorstCaseOptions,
): Promise<WorstCaseEvaluation> {
  const { gradients = gradientModesFor(model), skipFooled = false, onRun, onProgress, ...common } = options;
  const attacks = requireAttacks(specs, gradients.length);
  const { signal, batchSize, keepAdversarial = false } = options;
  const cleanCorrect =
    options.cleanCorrect ?? (await evaluateClean(model, data, { signal, batchSize })).correct;
  const planned = attacks.flatMap((attack) => gradients.map((gradient) => ({ attack, gradient })));
  const runs: WorstCaseRun[] = [];
  const correct = new Uint8Array(data.size).fill(1);
  const everything = Array.from(correct, (_, i) => i);
  let worstImages: Tensor | undefined;
  try {
    for (const [index, { attack, gradient }] of planned.entries()) {
      const rows = skipFooled ? placesOf(correct) : everything;
      if (rows.length === 0) break;
      onRun?.({ attack, gradient });
      const whole = rows.length === data.size;
      const part = whole ? data : takeRows(data, rows);
      try {
        const { adversarial, ...evaluation } = await evaluateAttack(model, part, attack, {
          ...common,
          gradient,
          rows: whole ? undefined : rows,
          cleanCorrect: whole ? cleanCorrect : Uint8Array.from(rows, (row) => cleanCorrect[row] as number),
          onProgress: ({ fraction }) => {
            const ofAll = (index + fraction) / planned.length;
            onProgress?.({ done: Math.floor(ofAll * data.size), total: data.size, fraction: ofAll });
          },
        });
        const fooled: number[] = [];
        evaluation.adversarialCorrect.forEach((flag, k) => {
          if (flag === 0 && correct[rows[k] as number] === 1) fooled.push(k);
        });
        if (adversarial !== undefined) worstImages = mergeWorst(worstImages, adversarial, rows, fooled);
        for (const k of fooled) correct[rows[k] as number] = 0;
        runs.push({ evaluation, rows, newlyFooled: fooled.length });
      } finally {
        if (!whole) part.dispose();
      }
    }
  } catch (error) {
    worstImages?.dispose();
    throw error;
  }
  const cleanAccuracy = fractionOf(cleanCorrect);
  const adversarialAccuracy = fractionOf(correct);
  const [first] = attacks as readonly [AttackSpec];
  return {
    threatModel: 'white-box',
    attacks,
    gradientModes: gradients.map((mode) => recordGradientMode(model, mode)),
    epsilon: first.epsilon,
    norm: first.norm ?? 'linf',
    n: data.size,
    seed: options.seed,
    labels: options.labels ?? 'given',
    cleanAccuracy,
    adversarialAccuracy,
    adversarialLoss: cleanAccuracy - adversarialAccuracy,
    skippedFooled: skipFooled,
    runs,
    worstAlone: skipFooled ? null : worstOf(runs),
    cleanCorrect,
    adversarialCorrect: correct,
    ...(keepAdversarial && worstImages !== undefined ? { adversarial: worstImages } : {}),
  };
}

/**
 * The images kept so far, with the newly fooled ones in their places; frees what it is given.
 *
 * @param rows the image of each row of `adversarial`
 * @param fooled rows of `adversarial`
 */
function mergeWorst(
  kept: Tensor | undefined,
  adversarial: Tensor,
  rows: readonly number[],
  fooled: readonly number[],
): Tensor {
  if (kept === undefined) return adversarial;
  try {
    if (fooled.length === 0) return kept.slice(0, kept.rows);
    const places = fooled.map((k) => rows[k] as number);
    return keep(scope(() => replaceRows(kept, places, gatherRows(adversarial, fooled))));
  } finally {
    kept.dispose();
    adversarial.dispose();
  }
}

/** The first run of the lowest accuracy. */
function worstOf(runs: readonly WorstCaseRun[]): number {
  const accuracies = runs.map((run) => run.evaluation.adversarialAccuracy);
  return accuracies.indexOf(Math.min(...accuracies));
}
