import type { Pair, SpecOf } from '../nn/layer.js';

/** A convolution and the image it stands over. */
export interface PlacedConvolution {
  readonly spec: SpecOf<'conv2d'>;
  /** Rows and columns of its input. */
  readonly size: Pair;
  /** How often the network has it. */
  readonly count: number;
}

function placed(
  name: string,
  size: number,
  inputs: number,
  outputs: number,
  kernel: number,
  stride: number,
  count: number,
): PlacedConvolution {
  const padding = (kernel - 1) / 2;
  return {
    spec: {
      type: 'conv2d',
      name,
      inputs,
      outputs,
      kernel: [kernel, kernel],
      stride: [stride, stride],
      dilation: [1, 1],
      padding: [padding, padding, padding, padding],
      paddingValue: 'zero',
      groups: 1,
      bias: false,
      weightQuantizer: 'ste-sign',
    },
    size: [size, size],
    count,
  };
}

/** A stage that halves the image and doubles the channels: its first convolution, the others, and the shortcut. */
function stage(index: number, size: number, channels: number): readonly PlacedConvolution[] {
  const inputs = channels / 2;
  return [
    placed(`stage${index}.first`, 2 * size, inputs, channels, 3, 2, 1),
    placed(`stage${index}.rest`, size, channels, channels, 3, 1, 3),
    placed(`stage${index}.shortcut`, 2 * size, inputs, channels, 1, 2, 1),
  ];
}

/**
 * The convolutions of ResNet-18 for images of 224×224 (He et al. 2016, table 1; option B's 1×1 shortcuts) that binary
 * versions of it quantize: all but the first one, each shape once. They are what binary kernels are commonly measured on.
 */
export const resnet18Layers: readonly PlacedConvolution[] = [
  placed('stage1', 56, 64, 64, 3, 1, 4),
  ...stage(2, 28, 128),
  ...stage(3, 14, 256),
  ...stage(4, 7, 512),
];
