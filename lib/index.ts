/**
 * hardbit: train, attack, audit and ship image classifiers whose inputs are discretized and whose weights and
 * activations may be binary.
 */

export type { Attackable } from './attacks/attackable.js';
export * as attacks from './attacks/registry.js';
export { type Compiled, type CompiledLayer, compile, compileModel } from './compile/compile.js';
export { GpuNetwork } from './compile/gpu-network.js';
export * as data from './data/registry.js';
export { type ErrorCode, errorCodes, HardbitError, isHardbitError } from './errors.js';
export { type AttackEvaluation, evaluateAttack } from './evaluation/attack.js';
export { type CleanEvaluation, evaluateClean } from './evaluation/clean.js';
export { gradientModesFor, parseGradientMode } from './evaluation/gradient-mode.js';
export {
  type Interval,
  type MeanAndDeviation,
  meanAndDeviation,
  type PairedDifference,
  pairedDifference,
  wilsonInterval,
} from './evaluation/statistics.js';
export { evaluateTransfer, evaluateTransferMatrix, type MatrixCell } from './evaluation/transfer.js';
export { evaluateWorstCase, type WorstCaseEvaluation } from './evaluation/worst-case.js';
export * as models from './models/registry.js';
export type { CudaDevice, CudaInfo, MemoryInfo, NativeInfo } from './native.js';
export { adam, bop, type OptimizerSpec, sgd } from './optim/optimizer.js';
export type { Schedule } from './optim/schedule.js';
export { memoryInfo, runtimeInfo, synchronize } from './tensor/runtime.js';
export { keep, scope } from './tensor/scope.js';
export { type Device, type DType, Tensor, type TensorData } from './tensor/tensor.js';
export { type FitOptions, type FitProgress, type FitResult, fit } from './training/fit.js';
export { createTrainer, type StepResult, Trainer } from './training/step.js';
export { version } from './version.js';
