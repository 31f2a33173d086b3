import { expect } from 'chai';
import { createModel, type Model } from '../../lib/models/registry.js';
import { type NativeAddon, native } from '../../lib/native.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { byteImages, pixels } from '../support/deployable.js';

const forwards = ['denseForward', 'conv2dForward', 'orderedDenseForward', 'orderedConv2dForward'] as const;

/** How often `body` calls each forward product of f32. */
function counted(body: () => void): Record<string, number> {
  const core = native() as { -readonly [name in keyof NativeAddon]: NativeAddon[name] };
  const calls = Object.fromEntries(forwards.map((name) => [name, 0]));
  const originals = forwards.map((name) => [name, core[name]] as const);
  try {
    for (const [name, original] of originals) {
      core[name] = ((...args: Parameters<typeof original>) => {
        calls[name] = (calls[name] ?? 0) + 1;
        return (original as (...values: unknown[]) => unknown)(...args);
      }) as never;
    }
    scope(body);
  } finally {
    for (const [name, original] of originals) core[name] = original as never;
  }
  return calls;
}

describe('the order of f32 sums', () => {
  const callsOf = (recipe: string, body: (model: Model, images: Tensor) => void): Record<string, number> => {
    using model = createModel('lenet5', { recipe, inputBits: 2, seed: 1 });
    using images = pixels(model.spec, byteImages(model.spec, 2, 1));
    return counted(() => body(model, images));
  };
  const logits = (model: Model, images: Tensor) => {
    model.logits(images);
  };
  const gradient = (model: Model, images: Tensor) => {
    model.attackable().vjp(images, (values) => Tensor.from('f32', values.shape));
  };
  const fixed = { denseForward: 0, conv2dForward: 0, orderedDenseForward: 1, orderedConv2dForward: 1 };

  it('is that of the deployed network in evaluation and in attacks, where there is one', () => {
    expect(callsOf('xnor', logits)).to.deep.equal(fixed);
    expect(callsOf('xnor', gradient)).to.deep.equal(fixed);
  });

  it("is oneDNN's in training, and where a network cannot be deployed", () => {
    const free = callsOf('none', logits);
    expect(free).to.deep.equal({
      denseForward: 2,
      conv2dForward: 2,
      orderedDenseForward: 0,
      orderedConv2dForward: 0,
    });
    const trained = callsOf('xnor', (model, images) => {
      model.trainingGradients(images, Tensor.from('i32', [2], Int32Array.of(1, 2)), { seed: 1, step: 0 });
    });
    expect(trained).to.deep.include({ orderedDenseForward: 0, orderedConv2dForward: 0 });
  });
});
