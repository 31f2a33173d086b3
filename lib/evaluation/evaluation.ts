/** The public face of this room. */
export {
  type AttackEvaluation,
  type AttackEvaluationOptions,
  evaluateAttack,
  type WhiteBoxEvaluation,
} from './attack.js';
export type { EvaluatedModel, EvaluationOptions } from './batches.js';
export { type CleanEvaluation, evaluateClean } from './clean.js';
export {
  gradientModesFor,
  parseGradientMode,
  type RecordedGradientMode,
  recordGradientMode,
} from './gradient-mode.js';
export { type PairedDifference, pairedDifference } from './statistics.js';
export {
  evaluateTransfer,
  type TransferEvaluation,
  type TransferOptions,
  type TransferSource,
} from './transfer.js';
