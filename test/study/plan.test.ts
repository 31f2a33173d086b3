import { expect } from 'chai';
import type { RecordedGradientMode } from '../../lib/evaluation/gradient-mode.js';
import {
  countCells,
  type PlannedNetwork,
  planStudy,
  type StudyPlan,
  takeShard,
} from '../../lib/study/plan.js';
import { findPreset, type Preset, presets, withImages } from '../../lib/study/presets.js';

const signs = ['clipped', 'identity', 'approx'] as const;

/** Three modes where activations are signs, one where they are real. */
function modesOf(_model: string, recipe: string): readonly RecordedGradientMode[] {
  return ['bnn', 'xnor', 'xnor-chain', 'dorefa-w1a2'].includes(recipe)
    ? signs.map((sign) => ({ discretizer: 'identity', sign }))
    : [{ discretizer: 'identity', sign: null }];
}

const quick: Preset = presets.mnist.quick;
const paper: Preset = presets.mnist.paper;
const networkOf = (plan: StudyPlan, id: string) =>
  plan.networks.find((network) => network.id === id) as PlannedNetwork;
const tasksOf = (plan: StudyPlan) =>
  plan.steps.flatMap((step) => (step.kind === 'attack' ? [step.task] : []));

/** Every step needs what steps before it made, and every network and cell is made once. */
function checkOrder(plan: StudyPlan): void {
  const trained = new Set<string>();
  const measured = new Set<string>();
  const shown = new Set<string>();
  for (const step of plan.steps) {
    if (step.kind === 'train') {
      const { id, training } = step.network;
      for (const source of training.kind === 'ensemble' ? training.sources : []) {
        expect(trained.has(source), `${id} needs ${source}`).to.equal(true);
      }
      expect(trained.has(id)).to.equal(false);
      trained.add(id);
      continue;
    }
    const { network, whiteBox, transfer } = step.task;
    expect(trained.has(network)).to.equal(true);
    if (whiteBox !== null) {
      expect(whiteBox.after === null || measured.has(whiteBox.after)).to.equal(true);
      expect(measured.has(whiteBox.id)).to.equal(false);
      measured.add(whiteBox.id);
    }
    for (const target of transfer?.targets ?? []) expect(trained.has(target.network)).to.equal(true);
    if (transfer !== null) shown.add(transfer.id);
  }
  expect(trained.size).to.equal(plan.networks.length);
  expect(measured).to.deep.equal(new Set(plan.whiteBox.map(({ id }) => id)));
  expect(shown).to.deep.equal(new Set(plan.transfer.map(({ id }) => id)));
}

describe('the plan of the quick study', () => {
  const plan = planStudy(quick, 1, modesOf);

  it('trains input bits × recipes × trainings', () => {
    expect(plan.networks).to.have.length(16);
    expect(new Set(plan.networks.map(({ id }) => id)).size).to.equal(16);
    expect(plan.networks.every(({ seed, twin }) => seed === 1 && !twin)).to.equal(true);
    expect(plan.networks.every(({ fit }) => fit.epochs === 3 && fit.schedule === 'linear')).to.equal(true);
  });

  it('attacks full precision in one gradient mode and binary networks in three, and shows masking once', () => {
    const of = (recipe: string, inputBits: number) =>
      plan.whiteBox.filter(({ network: id }) => {
        const network = networkOf(plan, id);
        return (
          network.recipe === recipe && network.inputBits === inputBits && network.training.kind === 'natural'
        );
      });
    expect(of('none', 8)).to.have.length(9 + 1);
    expect(of('bnn', 8)).to.have.length(27 + 1);
    expect(of('bnn', 8).filter(({ gradientMode }) => gradientMode.discretizer === 'exact')).to.have.length(1);
    expect(new Set(of('bnn', 8).map(({ gradientMode }) => gradientMode.sign))).to.deep.equal(new Set(signs));
    expect(of('none', 8).every(({ gradientMode }) => gradientMode.sign === null)).to.equal(true);
    expect(plan.whiteBox.every(({ after, images }) => after === null && images === 2000)).to.equal(true);
  });

  it('shows the images of each source to every network', () => {
    expect(plan.transfer).to.have.length(16 * 2 * 3);
    for (const { source, targets } of plan.transfer) {
      expect(targets).to.have.length(16);
      expect(
        targets.filter(({ diagonal }) => diagonal === 'white-box').map(({ network }) => network),
      ).to.deep.equal([source]);
    }
    expect(new Set(plan.transfer.map(({ attack }) => attack.name))).to.deep.equal(new Set(['fgsm', 'pgd']));
  });

  it('makes the images of multi-step attacks once for both threat models', () => {
    const both = tasksOf(plan).filter(({ whiteBox, transfer }) => whiteBox !== null && transfer !== null);
    expect(both).to.have.length(16 * 3);
    for (const { whiteBox, transfer, attack } of both) {
      expect(attack.name).to.equal('pgd');
      expect(whiteBox?.attack).to.deep.equal(transfer?.attack);
      expect(whiteBox?.gradientMode).to.deep.equal(transfer?.gradientMode);
      expect(whiteBox?.network).to.equal(transfer?.source);
    }
  });

  it('takes an example from ten cells', () => {
    const classes = plan.whiteBox.flatMap(({ exampleOfClass }) => exampleOfClass ?? []);
    expect(classes.sort((a, b) => a - b)).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('repeats everything for each seed, with no transfer between seeds', () => {
    const three = planStudy(quick, 3, modesOf);
    expect(three.networks).to.have.length(48);
    expect(three.steps).to.have.length(3 * plan.steps.length);
    for (const { source, targets } of three.transfer) {
      for (const { network } of targets) {
        expect(networkOf(three, network).seed).to.equal(networkOf(three, source).seed);
      }
    }
    expect(three.whiteBox.flatMap(({ exampleOfClass }) => exampleOfClass ?? [])).to.have.length(10);
    const variants = new Set(three.networks.map(({ variant }) => variant));
    expect(variants.size).to.equal(16);
    checkOrder(three);
  });

  it('with twins, takes the diagonal from a twin of another seed', () => {
    const blocks = quick.blocks.map((block) => ({ ...block, twins: 'all' as const }));
    const twins = planStudy({ ...quick, blocks }, 1, modesOf);
    expect(twins.networks.filter(({ twin }) => twin)).to.have.length(16);
    const diagonals = twins.transfer.flatMap(({ source, targets }) =>
      targets
        .filter(({ diagonal }) => diagonal !== null)
        .map(({ network, diagonal }) => ({ source, network, diagonal })),
    );
    expect(diagonals).to.have.length(16 * 2 * 3);
    for (const { source, network, diagonal } of diagonals) {
      expect(diagonal).to.equal('twin');
      const [twin, original] = [networkOf(twins, source), networkOf(twins, network)];
      expect(twin.twin).to.equal(true);
      expect(twin.variant).to.equal(original.variant);
      expect(twin.seed).to.not.equal(original.seed);
    }
    const ids = new Set(twins.networks.filter(({ twin }) => twin).map(({ id }) => id));
    expect(twins.whiteBox.filter(({ network }) => ids.has(network))).to.have.length(0);
  });

  it('has a hash of all that decides the results', () => {
    const changed = (preset: Preset) => planStudy(preset, 1, modesOf).hash;
    expect(changed(quick)).to.equal(plan.hash);
    expect(planStudy(quick, 2, modesOf).hash).to.not.equal(plan.hash);
    expect(changed({ ...quick, fit: { ...quick.fit, epochs: 4 } })).to.not.equal(plan.hash);
    expect(changed({ ...quick, images: 1999 })).to.not.equal(plan.hash);
    expect(planStudy(quick, 1, () => modesOf('', 'none')).hash).to.not.equal(plan.hash);
  });

  it('attacks as many images as is asked for, everywhere', () => {
    for (const preset of [quick, paper]) {
      const few = planStudy(withImages(preset, 7), 1, modesOf);
      expect(new Set([...few.whiteBox, ...few.transfer].map(({ images }) => images))).to.deep.equal(
        new Set([7]),
      );
      const whole = planStudy(preset, 1, modesOf);
      expect(few.whiteBox.length).to.equal(whole.whiteBox.length);
      expect(few.hash).to.not.equal(whole.hash);
      expect(withImages(preset, undefined)).to.equal(preset);
    }
    for (const images of [0, 1.5]) {
      expect(() => withImages(quick, images)).to.throw(`images is ${images}; expected an integer from 1.`);
    }
  });

  it('refuses seeds that are no count, and unknown names with the nearest known one', () => {
    for (const seeds of [0, -1, 1.5, Number.NaN, 101]) {
      expect(() => planStudy(quick, seeds, modesOf))
        .to.throw('whole number of seeds')
        .with.property('code', 'ERR_HARDBIT_ARGUMENT');
    }
    expect(() => findPreset('mnits', 'quick'))
      .to.throw("did you mean 'mnist'")
      .with.property('code', 'ERR_HARDBIT_UNKNOWN_NAME');
    expect(() => findPreset('mnist', 'quik'))
      .to.throw("did you mean 'quick'")
      .with.property('code', 'ERR_HARDBIT_UNKNOWN_NAME');
    expect(findPreset('fashion-mnist', 'paper')).to.deep.equal({ ...paper, dataset: 'fashion-mnist' });
  });
});

describe("the plan of the paper's study", () => {
  const plan = planStudy(paper, 1, modesOf);
  const count = (test: (network: PlannedNetwork) => boolean) => plan.networks.filter(test).length;

  it('has every network of every block', () => {
    for (const model of ['mnist-fcn', 'lenet5', 'mnist-cnn']) {
      const of = (block: string, twin = false) =>
        count((network) => network.model === model && network.block === block && network.twin === twin);
      // 4 bits × 4 recipes × 2 trainings; twins of the natural ones.
      expect(of('core')).to.equal(32);
      expect(of('core', true)).to.equal(16);
      expect(of('ensemble')).to.equal(4);
      expect(of('trainings')).to.equal(8);
      expect(of('recipes')).to.equal(6);
      expect(of('training-epsilons')).to.equal(model === 'lenet5' ? 8 : 0);
    }
    expect(plan.networks).to.have.length(3 * 66 + 8);
  });

  it('names every kept file once, without characters a file system minds', () => {
    const ids = [...plan.networks, ...plan.whiteBox, ...plan.transfer].map(({ id }) => id);
    expect(new Set(ids).size).to.equal(ids.length);
    for (const id of ids) expect(id).to.match(/^[\w.-]{1,200}$/);
  });

  it('works in an order in which nothing is missing', () => checkOrder(plan));

  it('takes the sources of ensemble training from the twins of two natural networks of the model', () => {
    const ensembles = plan.networks.filter(({ training }) => training.kind === 'ensemble');
    expect(ensembles).to.have.length(3 * 4);
    for (const { model, training, seed } of ensembles) {
      const sources = training.kind === 'ensemble' ? training.sources.map((id) => networkOf(plan, id)) : [];
      expect(sources.map(({ recipe }) => recipe)).to.deep.equal(['none', 'bnn']);
      for (const source of sources) {
        expect(source).to.include({ model, inputBits: 8, twin: true });
        expect(source.training).to.deep.equal({ kind: 'natural' });
        expect(source.seed).to.not.equal(seed);
      }
    }
  });

  it('attacks by FGSM in every mode, by PGD in further modes only what withstood those before', () => {
    const cells = (id: string, name: string) =>
      plan.whiteBox.filter(
        ({ network, attack, gradientMode }) =>
          network === id && attack.name === name && gradientMode.discretizer !== 'exact',
      );
    const bnn = 'lenet5_bnn_2bit_natural_seed1';
    expect(cells(bnn, 'fgsm')).to.have.length(8 * 3);
    expect(cells(bnn, 'r-fgsm')).to.have.length(5);
    expect(cells(bnn, 'pgd')).to.have.length(3 * 3 + 2);
    const chain = cells(bnn, 'pgd').filter(({ attack }) => attack.epsilon === 0.2);
    expect(chain.map(({ after }) => after)).to.deep.equal([null, chain[0]?.id, chain[1]?.id]);
    expect(chain.every(({ attack }) => 'earlyStop' in attack && attack.earlyStop === true)).to.equal(true);
    const l2 = cells(bnn, 'pgd').filter(({ attack }) => 'norm' in attack && attack.norm === 'l2');
    expect(l2.map(({ attack }) => attack.epsilon)).to.deep.equal([1, 2]);
    const full = 'lenet5_none_2bit_natural_seed1';
    expect(cells(full, 'pgd')).to.have.length(3 + 2);
  });

  it('transfers from natural networks to all of their part, the diagonal from twins where there are some', () => {
    for (const { source, targets, attack } of plan.transfer) {
      const from = networkOf(plan, source);
      expect(from.training.kind).to.equal('natural');
      expect('earlyStop' in attack && attack.earlyStop === true).to.equal(false);
      const all = from.block === 'core' ? 36 : from.model === 'lenet5' ? 22 : 14;
      const diagonal = targets.filter((target) => target.diagonal !== null);
      if (from.twin) {
        expect(targets).to.have.length(1);
        expect(targets[0]?.diagonal).to.equal('twin');
      } else if (from.block === 'core') {
        expect(targets).to.have.length(all - 1);
        expect(diagonal).to.have.length(0);
      } else {
        expect(targets).to.have.length(all);
        expect(diagonal).to.deep.equal([{ network: source, diagonal: 'white-box' }]);
      }
      for (const target of targets) expect(networkOf(plan, target.network).group).to.equal(from.group);
    }
    // 22 natural networks and 16 twins of each model, 5 attacks.
    expect(plan.transfer).to.have.length(3 * 38 * 5);
  });

  it('gives each network the fit of the last entry that suits it', () => {
    const fits = [
      { of: { recipes: ['bnn'] }, fit: { epochs: 11 } },
      { of: { models: ['lenet5'], trainings: ['adversarial' as const] }, fit: { batchSize: 64 } },
      { of: { models: ['lenet5'], recipes: ['bnn'], inputBits: [2] }, fit: { epochs: 12 } },
    ];
    const changed = planStudy({ ...paper, fits }, 1, modesOf);
    const fitOf = (id: string) => networkOf(changed, id).fit;
    expect(fitOf('lenet5_none_8bit_natural_seed1')).to.deep.equal(paper.fit);
    expect(fitOf('mnist-fcn_bnn_2bit_natural_seed1')).to.deep.equal({ ...paper.fit, epochs: 11 });
    expect(fitOf('lenet5_bnn_2bit_fgsm-trained-0.2-0.5_seed1')).to.deep.equal({
      ...paper.fit,
      epochs: 12,
      batchSize: 64,
    });
  });

  it('says which network an ensemble lacks', () => {
    const blocks = paper.blocks.map((block) => ({ ...block, twins: 'none' as const }));
    expect(() => planStudy({ ...paper, blocks }, 1, modesOf))
      .to.throw('give that network a twin')
      .with.property('code', 'ERR_HARDBIT_ARGUMENT');
  });
});

describe('the shards of a plan', () => {
  const plan = planStudy(paper, 2, modesOf);

  for (const shards of [1, 2, 3, 5, 12]) {
    it(`are disjoint, complete and need nothing of each other: ${shards}`, () => {
      const parts = Array.from({ length: shards }, (_, i) =>
        takeShard(plan, { index: i + 1, count: shards }),
      );
      const together = (list: (part: StudyPlan) => readonly { readonly id: string }[]) =>
        parts.flatMap((part) => list(part).map(({ id }) => id)).sort();
      const ids = (list: readonly { readonly id: string }[]) => list.map(({ id }) => id).sort();
      expect(together(({ networks }) => networks)).to.deep.equal(ids(plan.networks));
      expect(together(({ whiteBox }) => whiteBox)).to.deep.equal(ids(plan.whiteBox));
      expect(together(({ transfer }) => transfer)).to.deep.equal(ids(plan.transfer));
      expect(parts.reduce((sum, part) => sum + countCells(part), 0)).to.equal(countCells(plan));
      for (const part of parts) {
        expect(part.networks.length).to.be.greaterThan(0);
        expect(part.hash).to.equal(plan.hash);
        checkOrder(part);
      }
    });
  }

  it('share the work by weight', () => {
    const two = [1, 2].map((index) =>
      takeShard(planStudy(paper, 1, modesOf), { index, count: 2 }).groups.map(({ model }) => model),
    );
    expect(two).to.deep.equal([
      ['mnist-fcn', 'mnist-cnn', 'mnist-cnn'],
      ['mnist-fcn', 'lenet5', 'lenet5'],
    ]);
  });

  it('are not more than there are parts of models and seeds', () => {
    expect(() => takeShard(plan, { index: 1, count: 13 }))
      .to.throw('1 to 12')
      .with.property('code', 'ERR_HARDBIT_ARGUMENT');
    expect(() => takeShard(plan, { index: 1, count: 0 })).to.throw('cannot be cut into 0');
    for (const index of [0, 4, 1.5]) {
      expect(() => takeShard(plan, { index, count: 3 }))
        .to.throw('no shard')
        .with.property('code', 'ERR_HARDBIT_ARGUMENT');
    }
  });
});
