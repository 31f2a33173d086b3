import { createModel } from '../../lib/models/registry.js';
import { Fixture } from '../support/fixtures.js';
import { ReferenceCheck, referenceNetworks } from '../support/reference-networks.js';

/** PyTorch's own fp32 results are within 1e−5 of its fp64 ones here, which are stored. */
const RELATIVE = 2e-5;

describe('the known networks under every recipe against PyTorch', function () {
  this.timeout(60_000);
  const fixture = new Fixture('models');

  for (const network of referenceNetworks(fixture)) {
    const [name, recipe] = network.name.split('/') as [string, string];
    const make = () => createModel(name, { recipe, inputBits: network.inputBits, seed: 1 });
    const check = new ReferenceCheck(fixture, network, RELATIVE, true);

    it(`${name}, ${recipe}, ${network.inputBits} bits: logits, losses and all gradients of a training pass`, () => {
      using model = make();
      check.training(model);
    });

    it(`${name}, ${recipe}, ${network.inputBits} bits: logits, integer sums and gradients of pixels in evaluation`, () => {
      using model = make();
      check.evaluation(model);
    });
  }
});
