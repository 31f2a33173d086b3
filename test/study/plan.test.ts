import { expect } from 'chai';
import { findPreset, type Preset, planStudy, presets } from '../../lib/study/plan.js';

const hasSign = (recipe: string): boolean => recipe === 'bnn';
const quick: Preset = presets.quick;

describe('the plan of a study', () => {
  const plan = planStudy(quick, 1, hasSign);

  it('trains input bits × recipes × trainings', () => {
    expect(plan.networks).to.have.length(16);
    expect(new Set(plan.networks.map(({ id }) => id)).size).to.equal(16);
    expect(plan.networks.every(({ seed, twin }) => seed === 1 && !twin)).to.equal(true);
  });

  it('attacks full precision in one gradient mode and binary networks in three, and shows masking once', () => {
    const of = (recipe: string, inputBits: number) => {
      const network = plan.networks.find(
        (each) => each.recipe === recipe && each.inputBits === inputBits && each.training.kind === 'natural',
      );
      return plan.tasks.filter((task) => task.network === network?.id && task.whiteBox !== null);
    };
    expect(of('none', 8)).to.have.length(9 + 1);
    expect(of('bnn', 8)).to.have.length(27 + 1);
    expect(of('bnn', 8).filter((task) => task.gradientMode.discretizer === 'exact')).to.have.length(1);
    expect(new Set(of('bnn', 8).map((task) => task.gradientMode.sign))).to.deep.equal(
      new Set(['clipped', 'identity', 'approx']),
    );
    expect(of('none', 8).every((task) => task.gradientMode.sign === null)).to.equal(true);
  });

  it('makes the images of each source once and shows them to every network', () => {
    const transfers = plan.tasks.flatMap(({ transfer }) => transfer ?? []);
    expect(transfers).to.have.length(16 * 2 * 3);
    for (const { source, targets } of transfers) {
      expect(targets).to.have.length(16);
      expect(
        targets.filter(({ diagonal }) => diagonal === 'white-box').map(({ network }) => network),
      ).to.deep.equal([source]);
    }
    expect(new Set(transfers.map(({ attack }) => attack.name))).to.deep.equal(new Set(['fgsm', 'pgd']));
  });

  it('names every kept file once, without characters a file system minds', () => {
    const ids = plan.tasks.flatMap(({ whiteBox, transfer }) =>
      [whiteBox?.id ?? [], transfer?.id ?? []].flat(),
    );
    expect(new Set(ids).size).to.equal(ids.length);
    for (const id of ids) expect(id).to.match(/^[\w.-]{1,200}$/);
  });

  it('takes an example from ten cells', () => {
    const classes = plan.tasks.flatMap(({ whiteBox }) => whiteBox?.exampleOfClass ?? []);
    expect(classes.sort((a, b) => a - b)).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('repeats everything for each seed, with no transfer between seeds', () => {
    const three = planStudy(quick, 3, hasSign);
    expect(three.networks).to.have.length(48);
    expect(three.tasks).to.have.length(3 * plan.tasks.length);
    const seedOf = (id: string) => three.networks.find((network) => network.id === id)?.seed;
    for (const { transfer } of three.tasks) {
      for (const { network } of transfer?.targets ?? [])
        expect(seedOf(network)).to.equal(seedOf(transfer?.source ?? ''));
    }
    expect(three.tasks.flatMap(({ whiteBox }) => whiteBox?.exampleOfClass ?? [])).to.have.length(10);
  });

  it('with twins, takes the diagonal from a twin of another seed', () => {
    const twins = planStudy({ ...quick, twins: true }, 1, hasSign);
    expect(twins.networks.filter(({ twin }) => twin)).to.have.length(16);
    const transfers = twins.tasks.flatMap(({ transfer }) => transfer ?? []);
    const diagonals = transfers.flatMap(({ source, targets }) =>
      targets
        .filter(({ diagonal }) => diagonal !== null)
        .map(({ network, diagonal }) => ({ source, network, diagonal })),
    );
    expect(diagonals).to.have.length(16 * 2 * 3);
    for (const { source, network, diagonal } of diagonals) {
      expect(diagonal).to.equal('twin');
      const twin = twins.networks.find(({ id }) => id === source);
      const original = twins.networks.find(({ id }) => id === network);
      expect(twin).to.deep.include({ twin: true, recipe: original?.recipe, inputBits: original?.inputBits });
      expect(twin?.seed).to.not.equal(original?.seed);
    }
    expect(
      twins.tasks.filter(({ network, whiteBox }) => network.endsWith('_twin') && whiteBox !== null),
    ).to.have.length(0);
  });

  it('has a hash of all that decides the results', () => {
    expect(planStudy(quick, 1, hasSign).hash).to.equal(plan.hash);
    expect(planStudy(quick, 2, hasSign).hash).to.not.equal(plan.hash);
    expect(planStudy({ ...quick, epochs: quick.epochs + 1 }, 1, hasSign).hash).to.not.equal(plan.hash);
  });

  it('refuses seeds that are no count, and unknown names with the nearest known one', () => {
    for (const seeds of [0, -1, 1.5, Number.NaN, 101]) {
      expect(() => planStudy(quick, seeds, hasSign))
        .to.throw('whole number of seeds')
        .with.property('code', 'ERR_HARDBIT_ARGUMENT');
    }
    expect(() => findPreset('mnits', 'quick'))
      .to.throw("did you mean 'mnist'")
      .with.property('code', 'ERR_HARDBIT_UNKNOWN_NAME');
    expect(() => findPreset('mnist', 'quik'))
      .to.throw("did you mean 'quick'")
      .with.property('code', 'ERR_HARDBIT_UNKNOWN_NAME');
  });
});
