import { Fixture } from '../support/fixtures.js';
import { buildReference, ReferenceCheck, referenceNetworks } from '../support/reference-networks.js';

/** PyTorch's own fp32 results are within 4e−6 of its fp64 ones here, which are stored. */
const RELATIVE = 1e-5;

describe('layers and quantizers against PyTorch', () => {
  const fixture = new Fixture('layers');

  for (const network of referenceNetworks(fixture)) {
    const check = new ReferenceCheck(fixture, network, RELATIVE, false);

    it(`${network.name}: logits, losses and all gradients of a training pass`, () => {
      using model = buildReference(network);
      check.training(model);
    });

    it(`${network.name}: logits, integer sums and gradients of pixels in evaluation`, () => {
      using model = buildReference(network);
      check.evaluation(model);
    });
  }
});
