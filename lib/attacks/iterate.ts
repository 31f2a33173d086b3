import { throwIfAborted } from '../errors.js';
import { attackStep, selectRows, zeroRows } from '../ops/attack-step.js';
import { concatRows } from '../tensor/rows.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { classesOf, crossEntropy } from './objective.js';

export interface AttackResult {
  /** f32, the shape of the images; every pixel inside the ball. */
  readonly adversarial: Tensor;
  /** Per example 1 where the first gradient (of the first restart) is exactly 0 in every pixel. */
  readonly firstGradientZero: Uint8Array;
  /** Gradients taken for each example: steps · restarts. */
  readonly gradientCalls: number;
}

/** A sign-gradient attack: where each restart starts, and how it walks. */
export interface Iteration {
  readonly epsilon: number;
  readonly steps: number;
  readonly stepSize: number;
  readonly restarts: number;
  /** The labels are the classes to reach: descend. */
  readonly targeted: boolean;
  /** A point of the ball for each image, f32 of the images' shape; it may be `images` itself. */
  start(images: Tensor, restart: number): Tensor;
}

/** Restarts run together as one batch of at most this many pixels (64 MiB in fp32), or one by one where one is larger. */
const PIXELS_PER_RUN = 2 ** 24;

/** `count` copies of all rows, one after the other; one copy is the tensor itself. */
function tile(x: Tensor, count: number): Tensor {
  return count === 1 ? x : concatRows(Array.from({ length: count }, () => x));
}

/** Walks from `x`; all tensors of a step are freed before the next one. `firstGradient` sees the first gradient. */
function walk(
  attackable: Attackable,
  x: Tensor,
  origin: Tensor,
  labels: Tensor,
  iteration: Iteration,
  signal: AbortSignal | undefined,
  firstGradient: (gradient: Tensor) => void,
): Tensor {
  const stepSize = iteration.targeted ? -iteration.stepSize : iteration.stepSize;
  let current = x;
  for (let step = 0; step < iteration.steps; step++) {
    throwIfAborted(signal);
    const next = scope(() => {
      const { gradient } = attackable.vjp(current, (logits) => crossEntropy(logits, labels).gradient);
      if (step === 0) firstGradient(gradient);
      return attackStep(current, gradient, origin, stepSize, iteration.epsilon);
    });
    if (current !== x) current.dispose();
    current = next;
  }
  return current;
}

/** Final images of one restart, and how each example fares there. */
interface Outcome {
  readonly images: Tensor;
  readonly fooled: readonly boolean[];
  /** The higher the worse for the network; NaN losses count as −∞. */
  readonly score: readonly number[];
}

/** Judges the final images of `count` restarts, tiled along the batch, by the network's logits on them. */
function judge(
  attackable: Attackable,
  final: Tensor,
  labels: Tensor,
  count: number,
  targeted: boolean,
): Outcome[] {
  const { classes, losses, wanted } = scope(() => {
    const tiled = tile(labels, count);
    const logits = attackable.logits(final);
    return {
      classes: classesOf(logits),
      losses: crossEntropy(logits, tiled).losses.toFloat32Array(),
      wanted: tiled.toInt32Array(),
    };
  });
  const fooled = Array.from(classes, (predicted, i) => (predicted === wanted[i]) === targeted);
  const score = Array.from(losses, (loss) => (Number.isNaN(loss) ? -Infinity : targeted ? -loss : loss));
  const rows = labels.rows;
  return Array.from({ length: count }, (_, r) => ({
    images: final.slice(r * rows, (r + 1) * rows),
    fooled: fooled.slice(r * rows, (r + 1) * rows),
    score: score.slice(r * rows, (r + 1) * rows),
  }));
}

/** Per example the worse of two outcomes: fooled before not fooled, then the higher score, then `kept`. */
function worseOf(kept: Outcome, next: Outcome): Outcome {
  const wins = next.score.map((score, i) => {
    if (next.fooled[i] !== kept.fooled[i]) return next.fooled[i] === true;
    return score > (kept.score[i] as number);
  });
  return {
    images: scope(() => {
      const mask = Tensor.from('u8', [wins.length], Uint8Array.from(wins, Number));
      return selectRows(mask, next.images, kept.images);
    }),
    fooled: wins.map((win, i) => (win ? next : kept).fooled[i] as boolean),
    score: wins.map((win, i) => (win ? next : kept).score[i] as number),
  };
}

/**
 * Runs a sign-gradient attack with all its restarts: x ← clamp(x + stepSize·sign(∇J), lo, hi) in the ball of the image,
 * J the cross-entropy summed over the batch. Restarts are tiled along the batch. Of several restarts each **example** keeps
 * its worst: one that is misclassified (targeted: classified as the target) before one that is not, then the one of the
 * highest (targeted: lowest) loss, then the earliest; judged by the logits of the final images.
 *
 * @param images f32 [N, H, W, C] in [0, 1], checked by the caller
 * @param labels i32 [N]: labels, or targets where `iteration.targeted`
 */
export function iterate(
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  iteration: Iteration,
  signal?: AbortSignal,
): AttackResult {
  const rows = images.rows;
  const { restarts, steps, targeted } = iteration;
  const pixels = images.shape.reduce((product, size) => product * size, 1);
  const restartsPerRun = Math.max(1, Math.floor(PIXELS_PER_RUN / pixels));
  let firstGradientZero: Uint8Array | undefined;
  const noteZeros = (gradient: Tensor) => {
    firstGradientZero ??= scope(() =>
      Uint8Array.from(zeroRows(gradient.slice(0, rows)).read() as Uint8Array),
    );
  };

  /** Final images of restarts begin … begin + count − 1, tiled. */
  const run = (begin: number, count: number) =>
    scope(() => {
      const starts = Array.from({ length: count }, (_, r) => iteration.start(images, begin + r));
      const start = count === 1 ? (starts[0] as Tensor) : concatRows(starts);
      return walk(attackable, start, tile(images, count), tile(labels, count), iteration, signal, noteZeros);
    });

  const adversarial = scope(() => {
    if (restarts === 1) return run(0, 1);
    let worst: Outcome | undefined;
    for (let begin = 0; begin < restarts; begin += restartsPerRun) {
      const count = Math.min(restartsPerRun, restarts - begin);
      worst = scope(() => {
        const outcomes = judge(attackable, run(begin, count), labels, count, targeted);
        return (worst === undefined ? outcomes : [worst, ...outcomes]).reduce(worseOf);
      });
    }
    return (worst as Outcome).images;
  });
  return {
    adversarial,
    firstGradientZero: firstGradientZero ?? new Uint8Array(rows),
    gradientCalls: steps * restarts,
  };
}
