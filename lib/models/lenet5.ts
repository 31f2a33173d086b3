import { conv, fullyConnected, plainNetwork } from './plain.js';

/**
 * LeNet-5 (LeCun et al. 1998) as Caffe's example for MNIST has it: convolutions of 20 and 50 channels, 5×5 without
 * padding, each max-pooled by 2, then 800-500-10; with batch norm after each hidden layer, which training with bits needs.
 */
export const lenet5 = plainNetwork(
  'lenet5',
  [28, 28, 1],
  [conv(20, 5, { pool: 2 }), conv(50, 5, { pool: 2 }), fullyConnected(500), fullyConnected(10)],
);
