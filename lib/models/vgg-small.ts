import { conv, fullyConnected, plainNetwork } from './plain.js';

/**
 * The network of BinaryNet for CIFAR-10 (Courbariaux et al. 2016, §2.2), of the VGG kind: pairs of 3×3 convolutions of 128,
 * 256 and 512 channels with zero padding, each pair max-pooled by 2, then 8192-1024-1024-10.
 */
export const vggSmall = plainNetwork(
  'vgg-small',
  [32, 32, 3],
  [
    conv(128, 3, { padding: 1 }),
    conv(128, 3, { padding: 1, pool: 2 }),
    conv(256, 3, { padding: 1 }),
    conv(256, 3, { padding: 1, pool: 2 }),
    conv(512, 3, { padding: 1 }),
    conv(512, 3, { padding: 1, pool: 2 }),
    fullyConnected(1024),
    fullyConnected(1024),
    fullyConnected(10),
  ],
);
