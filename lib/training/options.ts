// What commands and studies need to know of optimizers, so that they need not reach past this room.
export { adam, type OptimizerSpec, optimizerNames, sgd } from '../optim/optimizer.js';
export { type Schedule, scheduleNames } from '../optim/schedule.js';
