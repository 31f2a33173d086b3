import { HardbitError, requireName } from '../errors.js';
import type { EpochRecord } from './checkpoint.js';

export const stoppingMetrics = ['loss', 'accuracy'] as const;
export type StoppingMetric = (typeof stoppingMetrics)[number];

/** Training ends where the validation set has not become better for a while; the best epoch's network stays. */
export interface EarlyStoppingOptions {
  /** Epochs without improvement after which training ends, at least 1. */
  readonly patience: number;
  /** On the validation set: 'loss' unless given. */
  readonly metric?: StoppingMetric | undefined;
  /** What counts as an improvement: more than this; 0 unless given. */
  readonly minDelta?: number | undefined;
}

export interface EarlyStopping {
  readonly patience: number;
  readonly metric: StoppingMetric;
  readonly minDelta: number;
}

/** @throws ERR_HARDBIT_ARGUMENT, ERR_HARDBIT_UNKNOWN_NAME for options out of range, or without validation */
export function resolveEarlyStopping(options: EarlyStoppingOptions, validated: boolean): EarlyStopping {
  const { patience, metric = 'loss', minDelta = 0 } = options;
  if (!Number.isSafeInteger(patience) || patience < 1) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `The patience of early stopping is ${patience}; expected a whole number of epochs, at least 1.`,
    );
  }
  if (!(minDelta >= 0 && minDelta < Number.POSITIVE_INFINITY)) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      `minDelta of early stopping is ${minDelta}; expected a number, at least 0.`,
    );
  }
  if (!validated) {
    throw new HardbitError(
      'ERR_HARDBIT_ARGUMENT',
      'Early stopping watches a validation set, and there is none; give one, e.g. --validation-split 0.1.',
    );
  }
  return { patience, metric: requireName('metric', metric, stoppingMetrics), minDelta };
}

/**
 * Where a training stands after the epochs of `history`: a pure function, so that nothing but the history needs to be
 * kept. The first of equals is the best.
 */
export function judge(
  { patience, metric, minDelta }: EarlyStopping,
  history: readonly EpochRecord[],
): { readonly bestEpoch: number | null; readonly stop: boolean } {
  let best = Number.NEGATIVE_INFINITY;
  let bestEpoch: number | null = null;
  for (const { epoch, validationLoss, validationAccuracy } of history) {
    const score = metric === 'loss' ? -(validationLoss as number) : (validationAccuracy as number);
    if (bestEpoch === null || score > best + minDelta) {
      best = score;
      bestEpoch = epoch;
    }
  }
  return { bestEpoch, stop: bestEpoch !== null && history.length - bestEpoch >= patience };
}
