import { throwIfAborted } from '../errors.js';
import { attackStep, attackStepL2, gatherRows, zeroRows } from '../ops/attack-step.js';
import { concatRows } from '../tensor/rows.js';
import { keep, scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Attackable } from './attackable.js';
import { classesOf, crossEntropy } from './objective.js';
import type { AttackContext, Norm } from './options.js';
import { RecordedWalk, type WalkBatch } from './recorded-walk.js';
import { replaceRows } from './rows.js';

export interface AttackResult {
  /** f32, the shape of the images; every image inside the ball. */
  readonly adversarial: Tensor;
  /** Per example 1 where the first gradient (of the first restart) is exactly 0 in every pixel. */
  readonly firstGradientZero: Uint8Array;
  /** Per example the gradients taken for it: steps · restarts, or fewer where it stopped early. */
  readonly gradientCalls: Uint32Array;
}

/**
 * An attack that can be interrupted after each step, when it yields the fraction done, in (0, 1]. Between steps no scope can
 * be open, so its tensors belong to none: they are freed when it ends, fails or is given up by `return()`, all but the
 * result's, which are the caller's.
 */
export type AttackSteps = Generator<number, AttackResult, void>;

/** A gradient attack: where each restart starts, and how it walks. */
export interface Iteration {
  readonly epsilon: number;
  readonly norm: Norm;
  readonly steps: number;
  readonly stepSize: number;
  readonly restarts: number;
  /** An example that is misclassified (targeted: classified as its target) keeps that image and leaves the batch. */
  readonly earlyStop: boolean;
  /** The labels are the classes to reach: descend. */
  readonly targeted: boolean;
  /** A point of the ball for each image, f32 of the images' shape; it may be `images` itself. */
  start(images: Tensor, restart: number): Tensor;
}

/** Restarts run together as one batch of at most this many pixels (64 MiB in fp32), or one by one where one is larger. */
const PIXELS_PER_RUN = 2 ** 24;

/** A batch is gathered anew once this fraction of its rows has stopped: copying then costs less than it saves. */
const GATHER_FRACTION = 1 / 8;

/** Steps that are left must be so many for recording one to pay. */
const RECORDED_STEPS = 3;

/** Tensors that live across steps. */
class Held {
  readonly #tensors = new Set<Tensor>();

  hold(tensor: Tensor): Tensor {
    this.#tensors.add(keep(tensor));
    return tensor;
  }

  free(tensor: Tensor): void {
    if (this.#tensors.delete(tensor)) tensor.dispose();
  }

  /** The tensor becomes the caller's. */
  release(tensor: Tensor): Tensor {
    this.#tensors.delete(tensor);
    return tensor;
  }

  dispose(): void {
    for (const tensor of this.#tensors) tensor.dispose();
    this.#tensors.clear();
  }
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** All parts in one tensor, in a handle of its own. */
function join(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  return parts.length === 1 && first !== undefined ? first.slice(0, first.rows) : concatRows(parts);
}

/** Per row whether the attack is where it wants to be: misclassified or, targeted, classified as the target. */
function reached(logits: Tensor, wanted: Int32Array, targeted: boolean): boolean[] {
  return Array.from(classesOf(logits), (predicted, i) => (predicted === wanted[i]) === targeted);
}

interface Walked {
  /** Where each example ended; the caller's, in no scope. */
  readonly images: Tensor;
  /** Examples that stopped early. */
  readonly stopped: readonly boolean[];
  readonly gradientCalls: Uint32Array;
}

/**
 * Walks from `start`, f32 [N, …] like `origin`, all of which stay the caller's. With early stop the batch shrinks: a row
 * that has arrived is set aside at once, by the logits that come with the gradient, and goes on as ballast until the next
 * gathering.
 */
function* walk(
  attackable: Attackable,
  start: Tensor,
  origin: Tensor,
  labels: Tensor,
  iteration: Iteration,
  { signal, recorded: kept }: Pick<AttackContext, 'signal' | 'recorded'>,
  onFirstGradient: (gradient: Tensor) => void,
  fractionDone: (ofWalk: number) => number,
): Generator<number, Walked, void> {
  const { epsilon, steps, earlyStop, targeted } = iteration;
  const stepSize = targeted ? -iteration.stepSize : iteration.stepSize;
  const move = iteration.norm === 'l2' ? attackStepL2 : attackStep;
  const stopped = new Array<boolean>(start.rows).fill(false);
  const gradientCalls = new Uint32Array(start.rows).fill(earlyStop ? 0 : steps);
  const held = new Held();
  /** Images set aside, and which examples they are. */
  const aside: { readonly images: Tensor; readonly examples: readonly number[] }[] = [];
  /** The batch, and the example in each of its rows. */
  let batch: { x: Tensor; origin: Tensor; labels: Tensor } = { x: start, origin, labels };
  let examples = range(start.rows);
  /** The labels, where they are asked for. */
  let wanted = earlyStop ? labels.toInt32Array() : new Int32Array();

  /** Replaces the batch by the given rows of it. */
  const gather = (rows: readonly number[]): void => {
    const old = batch;
    batch = {
      x: held.hold(gatherRows(old.x, rows)),
      origin: held.hold(gatherRows(old.origin, rows)),
      labels: held.hold(gatherRows(old.labels, rows)),
    };
    for (const tensor of Object.values(old)) held.free(tensor);
    examples = rows.map((row) => examples[row] as number);
    wanted = Int32Array.from(rows, (row) => wanted[row] as number);
  };
  /** Rows of the batch that have not stopped. */
  const active = (): number[] =>
    range(examples.length).filter((row) => stopped[examples[row] as number] === false);

  /** The first step makes what a network keeps for later ones; the others may be one recorded sequence. */
  let recordable = !earlyStop && start.device === 'cuda' && attackable.recordable === true;
  /** Of this walk alone, or kept for others. */
  let recorded: RecordedWalk | undefined;
  const recordedStep = ({ x, origin: center, labels: classes }: WalkBatch): void => {
    const { gradient } = attackable.vjp(x, (output) => crossEntropy(output, classes).gradient);
    x.assign(move(x, gradient, center, stepSize, epsilon));
  };
  let isKept = false;

  try {
    for (let step = 0; step < steps; step++) {
      throwIfAborted(signal);
      if (recordable && step > 0 && steps - step >= RECORDED_STEPS) {
        recordable = false;
        const key = [iteration.norm, epsilon, stepSize].join();
        recorded = kept?.take(attackable, batch, key, recordedStep);
        isKept = recorded !== undefined;
        if (isKept) held.free(batch.x);
        recorded ??= RecordedWalk.record(attackable, batch, key, recordedStep);
      }
      if (recorded !== undefined) {
        recorded.run();
        yield fractionDone((step + 1) / steps);
        continue;
      }
      const seen = scope(() => {
        const { logits, gradient } = attackable.vjp(
          batch.x,
          (output) => crossEntropy(output, batch.labels).gradient,
        );
        if (step === 0) onFirstGradient(gradient);
        return { gradient, arrived: earlyStop ? reached(logits, wanted, targeted) : [] };
      });
      let gradient = held.hold(seen.gradient);
      if (earlyStop) {
        const before = active();
        for (const row of before) (gradientCalls[examples[row] as number] as number) += 1;
        const leaving = before.filter((row) => seen.arrived[row]);
        if (leaving.length > 0) {
          const ids = leaving.map((row) => examples[row] as number);
          aside.push({ images: held.hold(gatherRows(batch.x, leaving)), examples: ids });
          for (const id of ids) stopped[id] = true;
        }
        const staying = active();
        if (staying.length === 0) break;
        if (examples.length - staying.length >= GATHER_FRACTION * examples.length) {
          const fewer = held.hold(gatherRows(gradient, staying));
          held.free(gradient);
          gradient = fewer;
          gather(staying);
        }
      }
      const next = held.hold(move(batch.x, gradient, batch.origin, stepSize, epsilon));
      held.free(gradient);
      held.free(batch.x);
      batch.x = next;
      yield fractionDone((step + 1) / steps);
    }
    if (recorded !== undefined && isKept) {
      const { x } = recorded.batch;
      return { images: keep(x.clone()), stopped, gradientCalls };
    }
    if (aside.length === 0) return { images: held.release(batch.x), stopped, gradientCalls };
    const last = active();
    if (last.length > 0) {
      aside.push({
        images: held.hold(gatherRows(batch.x, last)),
        examples: last.map((row) => examples[row] as number),
      });
    }
    const place = new Array<number>(start.rows);
    aside
      .flatMap((part) => part.examples)
      .forEach((example, row) => {
        place[example] = row;
      });
    const images = keep(scope(() => gatherRows(join(aside.map((part) => part.images)), place)));
    return { images, stopped, gradientCalls };
  } finally {
    if (!isKept) recorded?.dispose();
    held.dispose();
  }
}

/** How final images fare: those that reached their aim before those that did not, then the higher score. */
interface Verdict {
  readonly fooled: boolean;
  /** The loss, negated for targeted attacks; NaN counts as −∞. */
  readonly score: number;
}

function judge(attackable: Attackable, final: Tensor, labels: Tensor, targeted: boolean): Verdict[] {
  return scope(() => {
    const logits = attackable.logits(final);
    const fooled = reached(logits, labels.toInt32Array(), targeted);
    const losses = crossEntropy(logits, labels).losses.toFloat32Array();
    return fooled.map((each, i) => {
      const loss = losses[i] as number;
      return { fooled: each, score: Number.isNaN(loss) ? -Infinity : targeted ? -loss : loss };
    });
  });
}

function isWorse(next: Verdict, kept: Verdict | undefined): boolean {
  if (kept === undefined) return true;
  return next.fooled === kept.fooled ? next.score > kept.score : next.fooled;
}

/**
 * A gradient attack with all its restarts: x ← P(x + stepSize·d), P the projection to the ball of the image, d = sign(∇J) in
 * L∞ and ∇J/‖∇J‖₂ in L2, J the cross-entropy summed over the batch.
 *
 * Of several restarts each **example** keeps its worst: one that is misclassified (targeted: classified as the target)
 * before one that is not, then the one of the highest (targeted: lowest) loss, then the earliest; judged by the logits of
 * the final images. Restarts are tiled along the batch. With early stop they follow one another, and an example that was
 * fooled takes no part in later ones. Either way an example's result does not depend on the others, as far as its logits
 * and gradient do not.
 *
 * @param images f32 [N, H, W, C] in [0, 1], checked by the caller
 * @param labels i32 [N]: labels, or targets where `iteration.targeted`
 */
export function* iterate(
  attackable: Attackable,
  images: Tensor,
  labels: Tensor,
  iteration: Iteration,
  context: Pick<AttackContext, 'signal' | 'imagesOnly' | 'recorded'> = {},
): AttackSteps {
  const { imagesOnly = false } = context;
  const { restarts, earlyStop, targeted } = iteration;
  const rows = images.rows;
  const pixels = images.shape.reduce((product, size) => product * size, 1);
  const restartsPerRun = earlyStop ? 1 : Math.max(1, Math.floor(PIXELS_PER_RUN / pixels));
  const gradientCalls = new Uint32Array(rows);
  let firstGradientZero: Uint8Array | undefined;
  const onFirstGradient = (gradient: Tensor): void => {
    if (imagesOnly) return;
    firstGradientZero ??= scope(() =>
      Uint8Array.from(zeroRows(gradient.slice(0, rows)).read() as Uint8Array),
    );
  };

  const held = new Held();
  const verdicts = new Array<Verdict | undefined>(rows).fill(undefined);
  /** The examples that are still attacked. */
  let left = range(rows);
  let worst: Tensor | undefined;
  try {
    for (let begin = 0; begin < restarts && left.length > 0; begin += restartsPerRun) {
      const count = Math.min(restartsPerRun, restarts - begin);
      const examples = left;
      const take = (x: Tensor): Tensor => (examples.length === rows ? x : gatherRows(x, examples));
      const tiled = (part: (restart: number) => Tensor): Tensor =>
        held.hold(scope(() => join(Array.from({ length: count }, (_, r) => take(part(begin + r))))));
      const start = tiled((restart) => iteration.start(images, restart));
      const origin = tiled(() => images);
      const wanted = tiled(() => labels);
      const walked = yield* walk(
        attackable,
        start,
        origin,
        wanted,
        iteration,
        context,
        onFirstGradient,
        (ofWalk) => (begin + count * ofWalk) / restarts,
      );
      const final = held.hold(walked.images);
      walked.gradientCalls.forEach((calls, k) => {
        (gradientCalls[examples[k % examples.length] as number] as number) += calls;
      });
      if (restarts === 1) {
        worst = final;
        break;
      }
      /** The row of `final` that an example takes over, where it is worse than what it has. */
      const taken = new Map<number, number>();
      judge(attackable, final, wanted, targeted).forEach((judged, k) => {
        const example = examples[k % examples.length] as number;
        const verdict = { ...judged, fooled: judged.fooled || walked.stopped[k] === true };
        if (!isWorse(verdict, verdicts[example])) return;
        verdicts[example] = verdict;
        taken.set(example, k);
      });
      const previous = worst;
      // The first run has an image for every example, each better than none.
      worst = held.hold(
        scope(() => {
          if (previous === undefined)
            return gatherRows(
              final,
              examples.map((example) => taken.get(example) as number),
            );
          return taken.size === 0
            ? previous.slice(0, rows)
            : replaceRows(previous, [...taken.keys()], gatherRows(final, [...taken.values()]));
        }),
      );
      for (const tensor of [start, origin, wanted, final]) held.free(tensor);
      if (previous !== undefined) held.free(previous);
      if (earlyStop) left = examples.filter((example) => verdicts[example]?.fooled === false);
    }
    return {
      adversarial: held.release(worst as Tensor),
      firstGradientZero: firstGradientZero ?? new Uint8Array(rows),
      gradientCalls,
    };
  } finally {
    held.dispose();
  }
}
