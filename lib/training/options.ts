// What commands and studies need to know of training, so that they need not reach past this room.
export { gradientArithmetics, requireGradientArithmetic } from '../nn/model.js';
export { adam, bop, type OptimizerSpec, optimizerNames, resolveOptimizer, sgd } from '../optim/optimizer.js';
export { resolveSchedule, type Schedule, type ScheduleSpec, scheduleNames } from '../optim/schedule.js';
export { modelDigest } from './adversarial.js';
export { stoppingMetrics } from './early-stopping.js';
