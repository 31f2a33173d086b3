import { expect } from 'chai';
import { type AttackSpec, resolveAttack, runAttack } from '../../lib/attacks/registry.js';
import { createModel } from '../../lib/models/registry.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { expectWithin, Fixture } from '../support/fixtures.js';
import {
  networks,
  referenceImages,
  referenceLabels,
  referenceRecipes,
  referenceState,
} from '../support/reference-weights.js';

const PIXELS = 784;

/** The attacks whose results are stored; step sizes are those of make_fixtures.py. */
function attacksAt(epsilon: number): AttackSpec[] {
  return [
    resolveAttack('fgsm', { epsilon }),
    resolveAttack('bim', { epsilon, steps: 10, stepSize: epsilon / 10 }),
    resolveAttack('pgd', { epsilon, steps: 20, stepSize: epsilon / 8, randomStart: false }),
  ];
}

describe('attacks without random start against PyTorch', () => {
  const fixture = new Fixture('attacks');

  for (const recipe of referenceRecipes) {
    for (const inputBits of [8, 4, 2, 1]) {
      const key = `${recipe}/${inputBits}`;
      const rows = fixture.integers(`${key}/rows`);
      const candidates = Math.max(...rows) + 1;
      const all = referenceImages(networks.full.images, candidates, PIXELS);
      const allLabels = referenceLabels(networks.full.labels, candidates);
      const clean = new Float32Array(rows.length * PIXELS);
      rows.forEach((row, i) => {
        clean.set(all.subarray(row * PIXELS, (row + 1) * PIXELS), i * PIXELS);
      });
      const labels = Int32Array.from(rows, (row) => allLabels[row] as number);

      it(`${recipe}, ${inputBits} bits: FGSM, BIM and PGD at ε .1, .2, .3`, () => {
        using model = createModel('mnist-fcn', { inputBits, recipe, seed: 0 });
        model.loadState(referenceState(recipe, 'full'));
        for (const epsilon of [0.1, 0.2, 0.3]) {
          const e = Math.fround(epsilon);
          for (const spec of attacksAt(epsilon)) {
            const adversarial = scope(() => {
              const x = Tensor.from('f32', [rows.length, 28, 28, 1], clean);
              const y = Tensor.from('i32', [rows.length], labels);
              return runAttack(spec, model.attackable(), x, y, { seed: 0 }).adversarial.toFloat32Array();
            });
            const what = `${spec.name} at ${epsilon}`;
            expectWithin(adversarial, fixture.floats(`${key}/${spec.name}/${epsilon}`), 1e-6, what);
            const outside = clean.findIndex((x, i) => {
              const value = adversarial[i] as number;
              return !(value >= Math.max(0, Math.fround(x - e)) && value <= Math.min(1, Math.fround(x + e)));
            });
            expect(outside, `${what}: a pixel outside the ball`).to.equal(-1);
          }
        }
      }).timeout(120_000);
    }
  }
});
