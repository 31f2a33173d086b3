import type { Tensor } from '../tensor/tensor.js';

/**
 * What an attack sees of its victim: logits, and the gradient of any function of the logits with respect to the
 * pixels. Images are f32 [N, H, W, C] in [0, 1]; logits f32 [N, classes]. Results belong to the caller.
 */
export interface Attackable {
  /** Shape of one image, [H, W, C]. */
  readonly inputShape: readonly number[];
  readonly classes: number;
  /**
   * On a GPU, every vjp() of equal shapes queues the same work, so that its steps may be recorded once and run again: all the same,
   * but for draws by the number of gradients taken before, which go on from run to run.
   */
  readonly recordable?: boolean;
  /**
   * Adds to the number of gradients taken, where draws depend on it, and gives the sum: 1 for each that a recording took, −1 for a
   * vjp() that was recorded and not run.
   */
  readonly count?: (gradients: number) => number;
  /** Another number whenever what vjp() computes with has changed: recorded steps are of no use then. */
  readonly version?: number;
  logits(images: Tensor): Tensor;
  /**
   * The vector-Jacobian product: runs the network, asks `cotangent` for dLoss/dLogits at these logits, and returns
   * the logits and dLoss/dImages (the shape of `images`).
   */
  vjp(
    images: Tensor,
    cotangent: (logits: Tensor) => Tensor,
  ): { readonly logits: Tensor; readonly gradient: Tensor };
}
