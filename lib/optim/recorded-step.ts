import { isHardbitError } from '../errors.js';
import { type NativeRecording, record } from '../ops/recording.js';
import { keep } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** What a step tells of its batch, on the device of the network: f32 and i32 [B]. */
export interface StepOutcome {
  readonly losses: Tensor;
  readonly predicted: Tensor;
}

const sameShape = (a: Tensor, b: Tensor): boolean =>
  a.dtype === b.dtype && a.device === b.device && a.shape.join() === b.shape.join();

/**
 * A whole training step on batches of one shape, recorded on a GPU. It reads images and labels from memory of its own, works
 * on the network and its optimizer's state where they are, and leaves its outcome in memory of its own.
 */
export class RecordedStep {
  private constructor(
    readonly recording: NativeRecording,
    readonly batch: { readonly images: Tensor; readonly labels: Tensor },
    readonly outcome: StepOutcome,
    /** Steps made before the one that was recorded. */
    readonly step: number,
  ) {}

  /**
   * @param images of the shape and dtype to record for, as `labels`; their contents do not matter
   * @param step steps made before
   * @param make queues the step on a batch, with a learning rate of factor 1
   * @returns undefined where the step waits for the GPU, or the GPU's memory does not suffice for a second set of
   * activations
   */
  static record(
    images: Tensor,
    labels: Tensor,
    step: number,
    make: (images: Tensor, labels: Tensor) => StepOutcome,
  ): RecordedStep | undefined {
    const held: Tensor[] = [];
    const hold = (tensor: Tensor): Tensor => {
      held.push(keep(tensor));
      return tensor;
    };
    let recording: NativeRecording | undefined;
    try {
      const batch = { images: hold(images.clone()), labels: hold(labels.clone()) };
      let outcome: StepOutcome | undefined;
      recording = record(() => {
        const { losses, predicted } = make(batch.images, batch.labels);
        outcome = { losses: hold(losses), predicted: hold(predicted) };
      });
      if (recording !== undefined && outcome !== undefined) {
        return new RecordedStep(recording, batch, outcome, step);
      }
    } catch (error) {
      if (!(isHardbitError(error) && error.code === 'ERR_HARDBIT_MEMORY')) throw error;
    } finally {
      if (recording === undefined) for (const tensor of held) tensor.dispose();
    }
    return undefined;
  }

  /** Of the images. */
  get shape(): string {
    return this.batch.images.shape.join();
  }

  /** Whether it was recorded for batches like this one. */
  takes(images: Tensor, labels: Tensor): boolean {
    return sameShape(images, this.batch.images) && sameShape(labels, this.batch.labels);
  }

  /** Queues the step; the caller owns what it returns. */
  run(images: Tensor, labels: Tensor, step: number, rateFactor: number): StepOutcome {
    this.batch.images.assign(images);
    this.batch.labels.assign(labels);
    this.recording.run(step - this.step, rateFactor);
    const { losses, predicted } = this.outcome;
    return { losses: losses.clone(), predicted: predicted.clone() };
  }

  dispose(): void {
    this.recording.dispose();
    for (const tensor of [...Object.values(this.batch), ...Object.values(this.outcome)]) tensor.dispose();
  }
}
