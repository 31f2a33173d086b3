import { fullyConnected, plainNetwork } from './plain.js';

/** 784-600-400-10, fully connected, batch norm after each hidden layer. */
export const mnistFcn = plainNetwork(
  'mnist-fcn',
  [28, 28, 1],
  [fullyConnected(600), fullyConnected(400), fullyConnected(10)],
);
