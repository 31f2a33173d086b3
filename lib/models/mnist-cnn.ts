import { conv, fullyConnected, plainNetwork } from './plain.js';

/**
 * Convolutions of 32 and 64 channels, 3×3 with zero padding, each max-pooled by 2, then 3136-512-10; batch norm after
 * each hidden layer. A small network of the VGG kind (Simonyan, Zisserman 2015).
 */
export const mnistCnn = plainNetwork(
  'mnist-cnn',
  [28, 28, 1],
  [
    conv(32, 3, { padding: 1, pool: 2 }),
    conv(64, 3, { padding: 1, pool: 2 }),
    fullyConnected(512),
    fullyConnected(10),
  ],
);
