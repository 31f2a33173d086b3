import { expect } from 'chai';
import type { RecordedGradientMode } from '../../lib/evaluation/gradient-mode.js';
import { pairedDifference } from '../../lib/evaluation/statistics.js';
import { packBits } from '../../lib/study/bits.js';
import { judgeClaims } from '../../lib/study/claims.js';
import { worstCases } from '../../lib/study/facts.js';
import { pooledDifference } from '../../lib/study/pooled.js';
import {
  type ClaimRecord,
  claimSchema,
  type NetworkRecord,
  type TransferRecord,
  type VerdictRecord,
  type WhiteBoxRecord,
  worstCaseSchema,
} from '../../lib/study/results.js';
import { random } from './helpers.js';

const N = 1000;

/** `count` ones in front: sets of different size are nested, so that their differences vary least. */
function ones(accuracy: number): Uint8Array {
  return packBits(Uint8Array.from({ length: N }, (_, i) => (i < Math.round(accuracy * N) ? 1 : 0)));
}

/** The claim's verdict under one threat model, white-box in one gradient mode or under the worst of all. */
function overall(claim: ClaimRecord, threatModel = 'white-box', sign: string | null = null): string {
  const found = claim.byThreatModel.filter(
    (each) => each.threatModel === threatModel && (each.gradientMode?.sign ?? null) === sign,
  );
  expect(found.length).to.be.at.most(1);
  return found[0]?.verdict ?? 'no verdict';
}

/** The verdicts that are not about one gradient mode. */
function headVerdicts(claim: ClaimRecord): VerdictRecord[] {
  return claim.verdicts.filter(({ gradientMode }) => gradientMode === null);
}

interface Net {
  readonly bits: number;
  readonly recipe?: string;
  readonly trained?: boolean;
  readonly seed?: number;
  readonly twin?: boolean;
  readonly clean?: number;
}

function idOf({ bits, recipe = 'none', trained = false, seed = 1, twin = false }: Net): string {
  return `${recipe} ${bits} ${trained ? 'trained' : 'natural'} ${seed}${twin ? ' twin' : ''}`;
}

type Attack = 'fgsm' | 'r-fgsm' | 'pgd';

/** Builds the facts of a study by hand. */
class Study {
  readonly networks: { record: NetworkRecord; correct: Uint8Array }[] = [];
  readonly whiteBox: { record: WhiteBoxRecord; correct: Uint8Array }[] = [];
  readonly transfer: { record: TransferRecord; correct: Uint8Array }[] = [];

  net(net: Net): this {
    const { bits, recipe = 'none', trained = false, seed = 1, twin = false, clean = 0.98 } = net;
    const record: NetworkRecord = {
      id: idOf(net),
      variant: idOf({ ...net, seed: 0 }),
      block: 'core',
      model: 'mnist-fcn',
      recipe,
      inputBits: bits,
      training: trained
        ? { kind: 'adversarial', attack: 'fgsm', epsilon: 0.2, mix: 0.5 }
        : { kind: 'natural' },
      seed,
      epochs: 1,
      batchSize: 128,
      parameters: 1,
      macs: 1,
      history: [],
      twin,
      n: N,
      cleanAccuracy: clean,
      trainSeconds: 1,
      file: 'x',
    };
    this.networks.push({ record, correct: ones(clean) });
    return this;
  }

  #measured(net: Net, attack: Attack, epsilon: number, accuracy: number) {
    const clean = this.networks.find(({ record }) => record.id === idOf(net))?.record.cleanAccuracy as number;
    return {
      attack: attack === 'pgd' ? { name: attack, epsilon, steps: 20 } : { name: attack, epsilon },
      epsilon,
      norm: 'linf' as const,
      n: N,
      seed: 1,
      cleanAccuracy: clean,
      adversarialAccuracy: accuracy,
      adversarialLoss: clean - accuracy,
      flippableFraction: 0.1,
      meanPerturbation: 0.01,
      seconds: 1,
    };
  }

  /** White-box accuracies at ε = .1, .2, .3. */
  hit(
    net: Net,
    attack: Attack,
    accuracies: readonly number[],
    sign?: WhiteBoxRecord['gradientMode']['sign'],
  ): this {
    accuracies.forEach((accuracy, i) => {
      const epsilon = [0.1, 0.2, 0.3][i] as number;
      this.whiteBox.push({
        record: {
          threatModel: 'white-box',
          network: idOf(net),
          ...this.#measured(net, attack, epsilon, accuracy),
          gradientMode: {
            discretizer: sign === 'exact' ? 'exact' : 'identity',
            sign: net.recipe === 'bnn' ? (sign ?? 'clipped') : null,
          },
          coverage: 'all',
          attacked: N,
          zeroGradientFraction: 0,
        },
        correct: ones(accuracy),
      });
    });
    return this;
  }

  shown(
    source: Net,
    target: Net,
    attack: Attack,
    accuracies: readonly number[],
    diagonal: TransferRecord['diagonal'] = null,
  ): this {
    accuracies.forEach((accuracy, i) => {
      this.transfer.push({
        record: {
          threatModel: 'transfer',
          source: idOf(source),
          target: idOf(target),
          diagonal,
          ...this.#measured(target, attack, [0.1, 0.2, 0.3][i] as number, accuracy),
          gradientMode: { discretizer: 'identity', sign: null },
        },
        correct: ones(accuracy),
      });
    });
    return this;
  }

  /** Modes worth trying of which some were not tried; else those that were tried. */
  modes: readonly RecordedGradientMode[] = [];

  get worstCase() {
    const found = worstCases(this.whiteBox, (id) => {
      if (this.modes.length > 0 && id.startsWith('bnn')) return this.modes;
      return this.whiteBox
        .map(({ record }) => record)
        .filter(({ network, gradientMode }) => network === id && gradientMode.discretizer !== 'exact')
        .map(({ gradientMode }) => gradientMode);
    });
    for (const { record } of found) worstCaseSchema.parse(record);
    return found;
  }

  claim(id: number): ClaimRecord {
    const claims = judgeClaims(this);
    for (const claim of claims) claimSchema.parse(claim);
    expect(claims.map((claim) => claim.id)).to.deep.equal([1, 2, 3, 4, 5]);
    return claims[id - 1] as ClaimRecord;
  }
}

const eight: Net = { bits: 8 };
const two: Net = { bits: 2 };
const one: Net = { bits: 1 };
const bnnTwo: Net = { bits: 2, recipe: 'bnn' };
const bnnEight: Net = { bits: 8, recipe: 'bnn' };
const trainedTwo: Net = { bits: 2, trained: true };
const trainedEight: Net = { bits: 8, trained: true };

describe('the claims of a study', () => {
  it('are not tested where nothing was trained', () => {
    const study = new Study();
    for (const id of [1, 2, 3, 4, 5]) {
      const claim = study.claim(id);
      expect(claim.byThreatModel.map((each) => each.verdict)).to.deep.equal(['not tested']);
      expect(claim.heading).to.contain('is not tested');
      expect(claim.caveat).to.equal(null);
    }
  });

  describe('1, clean accuracy', () => {
    it('holds at a difference of exactly 2 points, whatever rounding does to it', () => {
      const claim = new Study()
        .net({ ...eight, clean: 0.98 })
        .net({ ...two, clean: 0.96 })
        .claim(1);
      expect(0.98 - 0.96).to.be.greaterThan(0.02);
      expect(overall(claim, 'none')).to.equal('holds');
      expect(claim.verdicts[0]?.measured).to.contain('2.0 points');
    });

    it('fails above 2 points, and judges each recipe and training by itself', () => {
      const claim = new Study()
        .net({ ...eight, clean: 0.98 })
        .net({ ...two, clean: 0.959 })
        .net({ ...trainedEight, clean: 0.9 })
        .net({ ...trainedTwo, clean: 0.95 })
        .claim(1);
      expect(claim.verdicts.map(({ verdict, threatModel }) => [verdict, threatModel])).to.deep.equal([
        ['fails', 'none'],
        ['holds', 'none'],
      ]);
      expect(overall(claim, 'none')).to.equal('mixed');
      expect(claim.heading).to.equal('Clean accuracy fails in 1 of 2.');
    });

    it('takes the mean over seeds and leaves twins out', () => {
      const claim = new Study()
        .net({ ...eight, clean: 0.98 })
        .net({ ...eight, seed: 2, clean: 0.98 })
        .net({ ...two, clean: 0.97 })
        .net({ ...two, seed: 2, clean: 0.95 })
        .net({ ...two, seed: 1001, twin: true, clean: 0.1 })
        .claim(1);
      expect(overall(claim, 'none')).to.equal('holds');
      expect(claim.verdicts[0]?.figures['difference, 8 bit minus 2 bit']).to.be.closeTo(0.02, 1e-12);
    });
  });

  describe('2, single-step attacks', () => {
    const pair = () => new Study().net(eight).net(two);

    it('holds where 2 bits lose at most 2 points up to twice the ε of 8 bits', () => {
      const claim = pair().hit(two, 'fgsm', [0.97, 0.96, 0.5]).hit(eight, 'fgsm', [0.965, 0.1, 0]).claim(2);
      expect(claim.verdicts).to.have.length(1);
      expect(claim.verdicts[0]).to.deep.include({ verdict: 'holds', threatModel: 'white-box' });
      expect(claim.verdicts[0]?.figures['largest ε with at most 2 points lost, 2 bit']).to.equal(0.2);
      expect(claim.verdicts[0]?.figures['largest ε with at most 2 points lost, 8 bit']).to.equal(0.1);
    });

    it('holds where 8 bits withstand no ε of the grid and 2 bits withstand one', () => {
      expect(
        overall(pair().hit(two, 'fgsm', [0.97, 0.1, 0]).hit(eight, 'fgsm', [0.3, 0, 0]).claim(2)),
      ).to.equal('holds');
    });

    it('fails where neither withstands any ε: twice nothing is no range', () => {
      const claim = pair().hit(two, 'fgsm', [0.94, 0.1, 0]).hit(eight, 'fgsm', [0.3, 0, 0]).claim(2);
      expect(overall(claim)).to.equal('fails');
      expect(claim.verdicts[0]?.measured).to.contain('more than 2 at every ε tested');
    });

    it('fails where 8 bits withstand as much', () => {
      expect(
        overall(pair().hit(two, 'fgsm', [0.97, 0.97, 0]).hit(eight, 'fgsm', [0.97, 0.97, 0]).claim(2)),
      ).to.equal('fails');
    });

    it('judges by the worst gradient mode, never by an exact one', () => {
      const study = new Study().net(bnnEight).net(bnnTwo);
      study.hit(bnnTwo, 'fgsm', [0.98, 0.98, 0.98]).hit(bnnTwo, 'fgsm', [0.9, 0.9, 0.9], 'approx');
      study.hit(bnnEight, 'fgsm', [0.5, 0.5, 0.5]).hit(bnnEight, 'fgsm', [0, 0, 0], 'exact');
      const claim = study.claim(2);
      expect(overall(claim)).to.equal('fails');
      expect(claim.verdicts[0]?.figures['adversarial loss at ε = 0.1, 2 bit']).to.be.closeTo(0.08, 1e-12);
      expect(claim.verdicts[0]?.figures['adversarial loss at ε = 0.1, 8 bit']).to.be.closeTo(0.48, 1e-12);
      expect(claim.verdicts[0]?.measured).to.contain('strongest alone through sign: approx and clipped');
    });

    it('judges transfer by the worst other source, not by the network itself', () => {
      const study = pair()
        .shown(two, two, 'fgsm', [0, 0, 0], 'white-box')
        .shown(eight, two, 'fgsm', [0.97, 0.9, 0.9])
        .shown(one, two, 'fgsm', [0.98, 0.98, 0.98])
        .shown(two, eight, 'fgsm', [0.5, 0.5, 0.5]);
      const claim = study.claim(2);
      expect(claim.verdicts.map(({ threatModel, verdict }) => [threatModel, verdict])).to.deep.equal([
        ['transfer', 'holds'],
      ]);
      expect(claim.verdicts[0]?.figures['largest ε with at most 2 points lost, 2 bit']).to.equal(0.1);
    });

    it('leaves multi-step attacks and adversarially trained networks out', () => {
      const study = pair()
        .net(trainedTwo)
        .net(trainedEight)
        .hit(two, 'pgd', [0, 0, 0])
        .hit(eight, 'pgd', [0, 0, 0]);
      study.hit(trainedTwo, 'fgsm', [0.9, 0.9, 0.9]).hit(trainedEight, 'fgsm', [0.9, 0.9, 0.9]);
      expect(overall(study.claim(2))).to.equal('not tested');
    });
  });

  describe('3, binary networks', () => {
    const pair = () => new Study().net(eight).net(bnnEight);

    it('holds where better beyond doubt at some ε and worse at none; xnor and bwn stay untested', () => {
      const claim = pair().hit(bnnEight, 'fgsm', [0.9, 0.2, 0]).hit(eight, 'fgsm', [0.8, 0.2, 0]).claim(3);
      expect(headVerdicts(claim).map(({ verdict }) => verdict)).to.deep.equal([
        'holds',
        'not tested',
        'not tested',
      ]);
      expect(overall(claim)).to.equal('holds');
      expect(claim.byThreatModel[0]).to.deep.equal({
        threatModel: 'white-box',
        gradientMode: null,
        holds: 1,
        fails: 0,
        notTested: 2,
        verdict: 'holds',
      });
      expect(claim.heading).to.equal('White-box under the worst gradient mode holds in the one case.');
      expect(claim.verdicts[0]?.figures['difference at ε = 0.1']).to.be.closeTo(0.1, 1e-12);
      expect(claim.verdicts[0]?.figures['95 % interval at ε = 0.1, low']).to.be.within(0.08, 0.1);
    });

    it('fails where worse at another ε', () => {
      expect(
        overall(pair().hit(bnnEight, 'fgsm', [0.9, 0.1, 0]).hit(eight, 'fgsm', [0.8, 0.3, 0]).claim(3)),
      ).to.equal('fails');
    });

    it('fails where the difference is within chance', () => {
      expect(
        overall(pair().hit(bnnEight, 'fgsm', [0.801, 0, 0]).hit(eight, 'fgsm', [0.8, 0, 0]).claim(3)),
      ).to.equal('fails');
    });

    it('compares under the worst gradient mode', () => {
      const study = pair()
        .hit(bnnEight, 'fgsm', [0.9, 0.9, 0.9])
        .hit(bnnEight, 'fgsm', [0.1, 0.1, 0.1], 'identity');
      study.hit(eight, 'fgsm', [0.5, 0.5, 0.5]);
      const claim = study.claim(3);
      expect(overall(claim)).to.equal('fails');
      expect(claim.verdicts[0]?.measured).to.contain('strongest alone through sign: identity');
    });

    it('pools the images over seeds, and shows how seeds differ', () => {
      const study = pair()
        .net({ ...eight, seed: 2 })
        .net({ ...bnnEight, seed: 2 });
      study.hit(bnnEight, 'pgd', [0.6]).hit(eight, 'pgd', [0.5]);
      study.hit({ ...bnnEight, seed: 2 }, 'pgd', [0.62]).hit({ ...eight, seed: 2 }, 'pgd', [0.5]);
      const [found] = study.claim(3).verdicts;
      expect(found?.measured).to.contain('n = 1000, 2 seeds, paired');
      expect(found?.measured).to.contain('+11.0 ± 1.4 [');
      expect(found).to.deep.include({ n: N, seeds: [1, 2], recipe: 'bnn', inputBits: 8, attack: 'PGD-20' });
    });

    it('says in which gradient mode it holds, and that it only seems so', () => {
      const study = pair()
        .hit(bnnEight, 'fgsm', [0.9, 0.9, 0.9])
        .hit(bnnEight, 'fgsm', [0.8, 0.8, 0.8], 'approx')
        .hit(bnnEight, 'fgsm', [0.1, 0.1, 0.1], 'identity');
      study.hit(eight, 'fgsm', [0.5, 0.5, 0.5]);
      const claim = study.claim(3);
      expect(overall(claim)).to.equal('fails');
      expect(overall(claim, 'white-box', 'clipped')).to.equal('holds');
      expect(overall(claim, 'white-box', 'approx')).to.equal('holds');
      expect(overall(claim, 'white-box', 'identity')).to.equal('fails');
      expect(claim.caveat).to.equal(
        'Binary networks look more robust only to an attacker who keeps to one gradient mode (sign by clipped or approx); ' +
          'under the worst of all modes, image by image, they are not (1 of 1 comparisons: BNN on mnist-fcn).',
      );
    });

    it('has no caveat where it holds under the worst mode, or fails in every one', () => {
      const held = pair().hit(bnnEight, 'fgsm', [0.9]).hit(bnnEight, 'fgsm', [0.8], 'approx');
      expect(held.hit(eight, 'fgsm', [0.5]).claim(3).caveat).to.equal(null);
      const failed = pair().hit(bnnEight, 'fgsm', [0.4]).hit(bnnEight, 'fgsm', [0.3], 'approx');
      expect(failed.hit(eight, 'fgsm', [0.5]).claim(3).caveat).to.equal(null);
    });

    it('counts an image as lost where any mode wins it', () => {
      const study = pair().hit(bnnEight, 'fgsm', [0.9]).hit(bnnEight, 'fgsm', [0.8], 'approx');
      const [clipped, approx] = study.whiteBox;
      // The approx mode wins other images than the clipped one: the last 200 against the first 100.
      const flags = (from: number, to: number) =>
        packBits(Uint8Array.from({ length: N }, (_, i) => Number(i >= from && i < to)));
      study.whiteBox.splice(
        0,
        2,
        { record: clipped?.record as WhiteBoxRecord, correct: flags(100, N) },
        { record: approx?.record as WhiteBoxRecord, correct: flags(0, 800) },
      );
      const [worst] = study.worstCase;
      expect(worst?.record.adversarialAccuracy).to.equal(0.7);
      expect(worst?.record.adversarialLoss).to.be.closeTo(0.28, 1e-12);
      expect(worst?.record.worstMode).to.deep.equal({
        gradientMode: { discretizer: 'identity', sign: 'approx' },
        adversarialAccuracy: 0.8,
      });
      expect(
        study.hit(eight, 'fgsm', [0.75]).claim(3).verdicts[0]?.figures['difference at ε = 0.1'],
      ).to.be.closeTo(-0.05, 1e-12);
    });

    it('does not call the default mode the worst where the others were not tried', () => {
      const study = pair().hit(bnnEight, 'r-fgsm', [0.9]).hit(eight, 'r-fgsm', [0.5]);
      study.modes = [
        { discretizer: 'identity', sign: 'clipped' },
        { discretizer: 'identity', sign: 'approx' },
      ];
      const claim = study.claim(3);
      expect(study.worstCase.map(({ record }) => record.everyMode)).to.deep.equal([false, true]);
      expect(overall(claim)).to.equal('not tested');
      expect(overall(claim, 'white-box', 'clipped')).to.equal('holds');
      expect(claim.caveat).to.equal(null);
    });

    it('judges remaining images under the worst mode, never as a mode of its own', () => {
      const study = pair().hit(bnnEight, 'pgd', [0.9]).hit(bnnEight, 'pgd', [0.2], 'identity');
      const [, further] = study.whiteBox;
      study.whiteBox[1] = {
        record: { ...(further?.record as WhiteBoxRecord), coverage: 'remaining', attacked: 900 },
        correct: further?.correct as Uint8Array,
      };
      const claim = study.hit(eight, 'pgd', [0.5]).claim(3);
      expect(overall(claim)).to.equal('fails');
      expect(overall(claim, 'white-box', 'clipped')).to.equal('holds');
      expect(overall(claim, 'white-box', 'identity')).to.equal('no verdict');
      expect(claim.caveat).to.contain('sign by clipped)');
    });
  });

  describe('4, both together', () => {
    const pair = () => new Study().net(bnnTwo).net(trainedEight);

    it('holds where better at some ε, though worse at another', () => {
      const claim = pair()
        .hit(bnnTwo, 'fgsm', [0.89, 0, 0])
        .hit(trainedEight, 'fgsm', [0.79, 0.81, 0.55])
        .claim(4);
      expect(overall(claim)).to.equal('holds');
      expect(claim.verdicts[0]?.measured).to.match(
        /\+10\.0 \[\+8\.\d, \+11\.\d\] points at ε = 0\.1, −81\.0/,
      );
    });

    it('fails where better nowhere', () => {
      expect(
        overall(pair().hit(bnnTwo, 'fgsm', [0.7, 0, 0]).hit(trainedEight, 'fgsm', [0.79, 0.8, 0.5]).claim(4)),
      ).to.equal('fails');
    });

    it('says by threat model where it holds', () => {
      const study = pair().hit(bnnTwo, 'fgsm', [0.7]).hit(trainedEight, 'fgsm', [0.79]);
      study.shown(trainedEight, bnnTwo, 'fgsm', [0.95]).shown(bnnTwo, trainedEight, 'fgsm', [0.8]);
      const claim = study.claim(4);
      expect(overall(claim)).to.equal('fails');
      expect(overall(claim, 'transfer')).to.equal('holds');
      expect(claim.heading).to.equal(
        'White-box under the worst gradient mode fails in the one case, transfer holds in the one case.',
      );
    });
  });

  describe('5, multi-step attacks', () => {
    /** Natural 2 and 1 bit, trained 2 and 8 bit; the PGD accuracies given. */
    const study = (
      natural: number[],
      trained: number[],
      trained8: number[],
      naturalFgsm = [0.94, 0.5, 0.5],
    ) =>
      new Study()
        .net(two)
        .net(one)
        .net(trainedTwo)
        .net(trainedEight)
        .hit(two, 'fgsm', naturalFgsm)
        .hit(two, 'pgd', natural)
        .hit(one, 'fgsm', [0.95, 0.9, 0.9])
        .hit(one, 'pgd', [0.95, 0.9, 0.85])
        .hit(trainedTwo, 'pgd', trained)
        .hit(trainedEight, 'pgd', trained8);

    it('holds where PGD costs 20 points more and the trained 2-bit network beats both others', () => {
      const claim = study([0.9, 0.3, 0], [0.92, 0.4, 0], [0.5, 0.1, 0]).claim(5);
      expect(overall(claim)).to.equal('holds');
      expect(claim.verdicts[0]?.figures['widest gap of adversarial losses']).to.be.closeTo(0.5, 1e-12);
      expect(claim.verdicts[0]?.figures['widest gap, ε']).to.equal(0.3);
    });

    it('finds the gap at exactly 20 points', () => {
      const claim = study([0.94, 0.3, 0.5], [0.97, 0.4, 0.5], [0.5, 0.1, 0]).claim(5);
      expect(overall(claim)).to.equal('holds');
      expect(claim.verdicts[0]?.figures['widest gap, input bits']).to.equal(2);
    });

    it('fails where PGD costs less', () => {
      const claim = study([0.9, 0.4, 0.4], [0.95, 0.6, 0.5], [0.5, 0.1, 0]).claim(5);
      expect(overall(claim)).to.equal('fails');
      expect(claim.verdicts[0]?.measured).to.contain('less than 20');
    });

    it('fails where the trained 2-bit network does not beat the natural one', () => {
      const claim = study([0.9, 0.3, 0], [0.9, 0.3, 0], [0.5, 0.1, 0]).claim(5);
      expect(overall(claim)).to.equal('fails');
      expect(claim.verdicts[0]?.measured).to.contain('does not beat the natural 2-bit one');
    });

    it('fails where it is worse than the trained 8-bit one at some ε', () => {
      const claim = study([0.9, 0.3, 0], [0.95, 0.4, 0], [0.5, 0.6, 0]).claim(5);
      expect(overall(claim)).to.equal('fails');
      expect(claim.verdicts[0]?.measured).to.contain('does not beat the trained 8-bit one');
    });

    it('is not tested without the adversarially trained networks', () => {
      const claim = new Study().net(two).hit(two, 'fgsm', [0.9]).hit(two, 'pgd', [0.1]).claim(5);
      expect(overall(claim)).to.equal('not tested');
    });
  });

  it('do not change with the order of the facts', () => {
    const study = new Study().net(eight).net(bnnEight).net(two).net(bnnTwo).net(trainedEight).net(trainedTwo);
    for (const net of [eight, bnnEight, two, bnnTwo, trainedEight, trainedTwo]) {
      study.hit(net, 'fgsm', [0.9, 0.5, 0.1]).hit(net, 'pgd', [0.6, 0.1, 0]);
    }
    const before = judgeClaims(study).map(({ byThreatModel }) => byThreatModel);
    study.whiteBox.reverse();
    expect(judgeClaims(study).map(({ byThreatModel }) => byThreatModel)).to.deep.equal(before);
  });
});

describe('a difference pooled over seeds', () => {
  const flags = (n: number, seed: number, share: number) => {
    const next = random(seed);
    return Uint8Array.from({ length: n }, () => Number(next() < share));
  };

  it('is the paired difference for one seed', () => {
    for (const n of [2, 9, 1000]) {
      const [a, b] = [flags(n, 1, 0.7), flags(n, 2, 0.5)];
      const { deviation, ...pooled } = pooledDifference([packBits(a)], [packBits(b)], n);
      const paired = pairedDifference(a, b);
      expect(deviation).to.equal(null);
      expect(pooled.difference).to.be.closeTo(paired.difference, 1e-15);
      expect(pooled.low).to.be.closeTo(paired.low, 1e-14);
      expect(pooled.high).to.be.closeTo(paired.high, 1e-14);
      expect(pooled.n).to.equal(n);
    }
  });

  it('does not gain from seeds that repeat each other, as joining the pairs would', () => {
    const [a, b] = [packBits(flags(500, 1, 0.7)), packBits(flags(500, 2, 0.5))];
    const single = pooledDifference([a], [b], 500);
    const triple = pooledDifference([a, a, a], [b, b, b], 500);
    expect(triple.low).to.be.closeTo(single.low, 1e-14);
    expect(triple.high).to.be.closeTo(single.high, 1e-14);
    expect(triple.deviation).to.equal(0);
  });

  it('is the mean over images of the mean over seeds, with its own deviation', () => {
    const n = 400;
    const a = [3, 4, 5].map((seed) => flags(n, seed, 0.8));
    const b = [6, 7, 8].map((seed) => flags(n, seed, 0.6));
    const perImage = Array.from({ length: n }, (_, i) => {
      const at = (list: Uint8Array[]) => list.reduce((sum, each) => sum + (each[i] as number), 0) / 3;
      return at(a) - at(b);
    });
    const mean = perImage.reduce((sum, d) => sum + d, 0) / n;
    const deviation = Math.sqrt(perImage.reduce((sum, d) => sum + (d - mean) ** 2, 0) / (n - 1));
    const pooled = pooledDifference(a.map(packBits), b.map(packBits), n);
    expect(pooled.difference).to.be.closeTo(mean, 1e-12);
    expect(pooled.high - pooled.low).to.be.closeTo((2 * 1.959963984540054 * deviation) / Math.sqrt(n), 1e-12);
  });
});
