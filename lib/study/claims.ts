import { meanAndDeviation } from '../evaluation/statistics.js';
import { groupBy, unique } from './collections.js';
import {
  type AttackKind,
  FactIndex,
  type Measured,
  type StudyFacts,
  type Variant,
  type View,
} from './facts.js';
import { type PooledDifference, pooledDifference } from './pooled.js';
import type { ClaimRecord, VerdictRecord } from './results.js';
import {
  epsilonText,
  listing,
  modeText,
  networkText,
  percentOver,
  points,
  pointsOver,
  recipeText,
  signedPoints,
  trainingKey,
  trainingText,
} from './words.js';

/** Claims 1 and 2: two percentage points. */
const TWO_POINTS = 0.02;
/** Claim 5: twenty percentage points. */
const TWENTY_POINTS = 0.2;
/** Accuracies are quotients of small integers: their differences are off by less. */
const ROUNDING = 1e-9;
const FULL_PRECISION = 'none';
/** The recipes of claim 3. */
const BINARY_RECIPES = ['bnn', 'xnor', 'bwn'] as const;
const NATURAL = trainingKey({ kind: 'natural' });

function notTested(
  scope: string,
  threatModel: VerdictRecord['threatModel'],
  missing: string,
  of: Partial<VerdictRecord> = {},
): VerdictRecord {
  return {
    scope,
    model: null,
    recipe: null,
    inputBits: null,
    attack: null,
    threatModel,
    gradientMode: null,
    verdict: 'not tested',
    measured: missing,
    n: 0,
    seeds: [],
    figures: {},
    ...of,
  };
}

function verdict(holds: boolean): 'holds' | 'fails' {
  return holds ? 'holds' : 'fails';
}

/** 'white-box, worst gradient mode found', 'white-box, clipped through sign', 'transfer, worst source found'. */
function viewText({ threatModel, gradientMode }: View): string {
  if (threatModel === 'transfer') return 'transfer, worst source found';
  return `white-box, ${gradientMode === null ? 'worst gradient mode found' : modeText(gradientMode)}`;
}

/** The ways through quantized activations that turned out worst, where there was a choice. */
function worstModes(view: View, measured: readonly Measured[]): string {
  if (view.threatModel !== 'white-box' || view.gradientMode !== null) return '';
  const signs = unique(measured.flatMap(({ worstMode }) => worstMode?.sign ?? []));
  return signs.length === 0 ? '' : `; strongest alone through sign: ${listing(signs)}`;
}

/** 'n = 2000', where attacks differ in it the range, and the seeds where there are several. */
function countText(counts: readonly number[], seeds: readonly number[]): string {
  const low = Math.min(...counts);
  const high = Math.max(...counts);
  const n = low === high ? `n = ${low}` : `n = ${low} to ${high}`;
  return seeds.length > 1 ? `${n}, ${seeds.length} seeds` : n;
}

const seedsOf = (variant: Variant): number[] => variant.networks.map(({ record }) => record.seed);

/** `text`, with the model in front where the study has several. */
function scopeOf(index: FactIndex, model: string, text: string): string {
  return index.models.length > 1 ? `${model}: ${text}` : text;
}

const VIEW_NAMES = { none: 'clean accuracy', 'white-box': 'white-box', transfer: 'transfer' } as const;

/** 'White-box under the worst gradient mode fails in 3 of 4, transfer holds in all 2.' */
function headingOf(byThreatModel: ClaimRecord['byThreatModel']): string {
  const parts = byThreatModel
    .filter(({ gradientMode }) => gradientMode === null)
    .map(({ threatModel, holds, fails, verdict: overall }) => {
      const tested = holds + fails;
      const name = `${VIEW_NAMES[threatModel]}${threatModel === 'white-box' ? ' under the worst gradient mode' : ''}`;
      if (overall === 'not tested') return `${name} is not tested`;
      const all = tested === 1 ? 'the one case' : `all ${tested}`;
      return overall === 'mixed' ? `${name} fails in ${fails} of ${tested}` : `${name} ${overall} in ${all}`;
    });
  const sentence = `${parts.join(', ')}.`;
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

function close(
  id: number,
  title: string,
  statement: string,
  criterion: string,
  verdicts: VerdictRecord[],
  caveat: string | null = null,
): ClaimRecord {
  const groups = groupBy(verdicts, ({ threatModel, gradientMode }) =>
    JSON.stringify([threatModel, gradientMode]),
  );
  const byThreatModel = [...groups.values()].map((members) => {
    const { threatModel, gradientMode } = members[0] as VerdictRecord;
    const count = (which: VerdictRecord['verdict']) =>
      members.filter((each) => each.verdict === which).length;
    const [holds, fails] = [count('holds'), count('fails')];
    return {
      threatModel,
      gradientMode,
      holds,
      fails,
      notTested: count('not tested'),
      verdict:
        holds + fails === 0
          ? ('not tested' as const)
          : fails === 0
            ? ('holds' as const)
            : holds === 0
              ? ('fails' as const)
              : ('mixed' as const),
    };
  });
  return {
    id,
    title,
    statement,
    criterion,
    verdicts,
    byThreatModel,
    heading: headingOf(byThreatModel),
    caveat,
  };
}

// -- 1: clean accuracy

function cleanAccuracy(index: FactIndex): ClaimRecord {
  const verdicts: VerdictRecord[] = [];
  for (const two of index.variants.filter((variant) => variant.inputBits === 2)) {
    const eight = index.find(two.model, two.recipe, 8, trainingKey(two.training));
    if (eight === undefined) continue;
    const accuracies = (variant: Variant) => variant.networks.map(({ record }) => record.cleanAccuracy);
    const [ofEight, ofTwo] = [accuracies(eight), accuracies(two)];
    const [meanEight, meanTwo] = [meanAndDeviation(ofEight).mean, meanAndDeviation(ofTwo).mean];
    const difference = meanEight - meanTwo;
    const counts = [...eight.networks, ...two.networks].map(({ record }) => record.n);
    verdicts.push({
      scope: scopeOf(index, two.model, `${recipeText(two.recipe)}, ${trainingText(two.training)}`),
      model: two.model,
      recipe: two.recipe,
      inputBits: null,
      attack: null,
      threatModel: 'none',
      gradientMode: null,
      verdict: verdict(difference <= TWO_POINTS + ROUNDING),
      measured:
        `Clean accuracy is ${percentOver(ofEight)} with 8-bit and ${percentOver(ofTwo)} with 2-bit inputs: ` +
        `a difference of ${points(difference)} points (${countText(counts, seedsOf(two))}).`,
      n: Math.min(...counts),
      seeds: seedsOf(two),
      figures: {
        'clean accuracy, 8 bit': meanEight,
        'clean accuracy, 2 bit': meanTwo,
        'difference, 8 bit minus 2 bit': difference,
      },
    });
  }
  if (verdicts.length === 0) {
    verdicts.push(
      notTested('8-bit against 2-bit inputs', 'none', 'No 8-bit and 2-bit pair of networks was trained.'),
    );
  }
  return close(
    1,
    'Two bits keep clean accuracy',
    'Discretizing the inputs to 2 bits keeps clean accuracy within 1 to 2 points of 8-bit inputs.',
    'Clean accuracy with 8-bit minus that with 2-bit inputs is at most 2 points.',
    verdicts,
  );
}

// -- 2: single-step attacks

interface Tolerance {
  /** The largest tested ε at which at most 2 points are lost; 0 where every one costs more. */
  readonly epsilon: number;
  /** Over seeds the mean. */
  readonly losses: readonly number[];
  readonly text: string;
  readonly measured: readonly Measured[];
}

/** The losses over all of `epsilons`; undefined where one was not measured. */
function toleranceOf(
  index: FactIndex,
  variant: Variant,
  view: View,
  kind: AttackKind,
  epsilons: readonly number[],
): Tolerance | undefined {
  const measured = epsilons.map((epsilon) => index.measured(variant, view, kind, epsilon));
  if (!measured.every((each) => each !== undefined)) return undefined;
  const lossesOf = (each: readonly Measured[]) => each.map(({ adversarialLoss }) => adversarialLoss);
  const losses = measured.map((each) => meanAndDeviation(lossesOf(each)).mean);
  const tolerated = epsilons.filter((_, i) => (losses[i] as number) <= TWO_POINTS + ROUNDING);
  const epsilon = Math.max(0, ...tolerated);
  const upTo = epsilon > 0 ? `at most 2 up to ε = ${epsilonText(epsilon)}` : 'more than 2 at every ε tested';
  const lost = measured.map((each) => pointsOver(lossesOf(each))).join(' / ');
  return {
    epsilon,
    losses,
    text: `${variant.inputBits}-bit inputs lose ${lost} points, ${upTo}`,
    measured: measured.flat(),
  };
}

function singleStepVerdict(
  index: FactIndex,
  two: Variant,
  eight: Variant,
  view: View,
  kind: AttackKind,
): VerdictRecord | undefined {
  const epsilons = index.epsilons(view, kind);
  if (epsilons.length === 0) return undefined;
  const small = toleranceOf(index, two, view, kind, epsilons);
  const large = toleranceOf(index, eight, view, kind, epsilons);
  if (small === undefined || large === undefined) return undefined;
  // 0 is at least twice 0, but shows no range of ε at all: the claim needs one.
  const holds = small.epsilon > 0 && small.epsilon >= 2 * large.epsilon - ROUNDING;
  const figures: Record<string, number> = {
    'largest ε with at most 2 points lost, 2 bit': small.epsilon,
    'largest ε with at most 2 points lost, 8 bit': large.epsilon,
  };
  epsilons.forEach((epsilon, i) => {
    figures[`adversarial loss at ε = ${epsilonText(epsilon)}, 2 bit`] = small.losses[i] as number;
    figures[`adversarial loss at ε = ${epsilonText(epsilon)}, 8 bit`] = large.losses[i] as number;
  });
  const measured = [...small.measured, ...large.measured];
  const counts = measured.map(({ n }) => n);
  return {
    scope: scopeOf(
      index,
      two.model,
      `${recipeText(two.recipe)}, naturally trained, ${kind.label}, ${viewText(view)}`,
    ),
    model: two.model,
    recipe: two.recipe,
    inputBits: null,
    attack: kind.label,
    ...view,
    verdict: verdict(holds),
    measured:
      `At ε = ${epsilons.map(epsilonText).join(' / ')}, ${small.text}; ${large.text}` +
      `${worstModes(view, measured)} (${countText(counts, seedsOf(two))}).`,
    n: Math.min(...counts),
    seeds: seedsOf(two),
    figures,
  };
}

function singleStep(index: FactIndex): ClaimRecord {
  const verdicts: VerdictRecord[] = [];
  for (const view of index.views) {
    for (const model of index.models) {
      for (const recipe of index.recipes(model)) {
        const two = index.find(model, recipe, 2, NATURAL);
        const eight = index.find(model, recipe, 8, NATURAL);
        if (two === undefined || eight === undefined || !index.concerns(view, [two, eight])) continue;
        for (const kind of index.kinds(view).filter((each) => !each.multiStep)) {
          const found = singleStepVerdict(index, two, eight, view, kind);
          if (found !== undefined) verdicts.push(found);
        }
      }
    }
  }
  if (verdicts.length === 0) {
    verdicts.push(
      notTested(
        'naturally trained, 2-bit against 8-bit inputs',
        'white-box',
        'No naturally trained 2-bit and 8-bit pair of networks was attacked by a single-step attack.',
      ),
    );
  }
  return close(
    2,
    'Two bits withstand single-step attacks',
    'Against single-step attacks (FGSM, R-FGSM) 2-bit inputs lose only 1 to 2 points of accuracy for a substantial range of ε; 8-bit inputs lose far more.',
    'The largest ε tested at which the naturally trained 2-bit network loses at most 2 points is above 0 and at least twice that of the 8-bit network.',
    verdicts,
  );
}

// -- 3, 4 and 5: paired comparisons

/** Adversarial accuracy of the first minus the second at one ε. */
interface Comparison extends PooledDifference {
  readonly epsilon: number;
  readonly measured: readonly Measured[];
}

/** The accuracy of `a` minus that of `b` at each ε both were attacked at, paired over seeds and images. */
function compare(index: FactIndex, a: Variant, b: Variant, view: View, kind: AttackKind): Comparison[] {
  return index.epsilons(view, kind).flatMap((epsilon) => {
    const ofA = index.measured(a, view, kind, epsilon);
    const ofB = index.measured(b, view, kind, epsilon);
    if (ofA === undefined || ofB === undefined || ofA.length !== ofB.length) return [];
    const measured = [...ofA, ...ofB];
    // Attacked images are the first of the test set.
    const n = Math.min(...measured.map((each) => each.n));
    if (n < 2) return [];
    const bits = (each: readonly Measured[]) => each.map(({ correct }) => correct);
    return [{ epsilon, ...pooledDifference(bits(ofA), bits(ofB), n), measured }];
  });
}

/** Significantly better at some ε, significantly worse at none. */
function beats(comparisons: readonly Comparison[]): boolean {
  return comparisons.some(({ low }) => low > 0) && !comparisons.some(({ high }) => high < 0);
}

/** '+4.1 [+2.9, +5.3] points at ε = 0.1, −3.0 [−4.1, −1.9] at ε = 0.2'; with seeds '+4.1 ± 0.3 [+2.9, +5.3]'. */
function comparisonText(comparisons: readonly Comparison[]): string {
  return comparisons
    .map(({ epsilon, difference, low, high, deviation }, i) => {
      const spread = deviation === null ? '' : ` ± ${points(deviation)}`;
      const interval = `[${signedPoints(low)}, ${signedPoints(high)}]`;
      return `${signedPoints(difference)}${spread} ${interval}${i === 0 ? ' points' : ''} at ε = ${epsilonText(epsilon)}`;
    })
    .join(', ');
}

function comparisonFigures(comparisons: readonly Comparison[], prefix = ''): Record<string, number> {
  return Object.fromEntries(
    comparisons.flatMap(({ epsilon, difference, low, high, deviation }) => [
      [`${prefix}difference at ε = ${epsilonText(epsilon)}`, difference],
      [`${prefix}95 % interval at ε = ${epsilonText(epsilon)}, low`, low],
      [`${prefix}95 % interval at ε = ${epsilonText(epsilon)}, high`, high],
      ...(deviation === null
        ? []
        : [[`${prefix}standard deviation over seeds at ε = ${epsilonText(epsilon)}`, deviation] as const]),
    ]),
  );
}

function comparisonVerdict(
  scope: string,
  of: Pick<VerdictRecord, 'model' | 'recipe' | 'inputBits' | 'seeds'>,
  view: View,
  kind: AttackKind,
  subject: string,
  comparisons: readonly Comparison[],
  holds: boolean,
): VerdictRecord {
  const measured = comparisons.flatMap((comparison) => comparison.measured);
  const counts = comparisons.map(({ n }) => n);
  return {
    scope,
    ...of,
    attack: kind.label,
    ...view,
    verdict: verdict(holds),
    measured:
      `${subject}: ${comparisonText(comparisons)}${worstModes(view, measured)} ` +
      `(${countText(counts, of.seeds)}, paired).`,
    n: Math.min(...counts),
    figures: comparisonFigures(comparisons),
  };
}

/**
 * Where networks beat others while the attacker differentiates in one mode, but not under the worst mode, they only
 * looked more robust.
 */
function caveatOf(verdicts: readonly VerdictRecord[]): string | null {
  const cases = groupBy(
    verdicts.filter(({ threatModel }) => threatModel === 'white-box'),
    ({ model, recipe, inputBits, attack }) => JSON.stringify([model, recipe, inputBits, attack]),
  );
  const worstFails = [...cases.values()].filter((members) =>
    members.some(({ gradientMode, verdict: found }) => gradientMode === null && found === 'fails'),
  );
  const seeming = worstFails.flatMap((members) => {
    const signs = members.flatMap(({ gradientMode, verdict: found }) =>
      found === 'holds' && gradientMode?.sign != null ? [gradientMode.sign] : [],
    );
    return signs.length === 0 ? [] : [{ case: members[0] as VerdictRecord, signs }];
  });
  if (seeming.length === 0) return null;
  const signs = unique(seeming.flatMap((each) => each.signs)).join(' or ');
  const recipes = listing(
    unique(seeming.map((each) => `${recipeText(each.case.recipe ?? '')} on ${each.case.model}`)),
  );
  const tested = [...cases.values()].filter((members) =>
    members.some(({ gradientMode, verdict: found }) => gradientMode === null && found !== 'not tested'),
  ).length;
  return (
    `Binary networks look more robust only to an attacker who keeps to one gradient mode (sign by ${signs}); ` +
    `under the worst of all modes, image by image, they are not (${seeming.length} of ${tested} comparisons: ${recipes}).`
  );
}

function binaryNetworks(index: FactIndex): ClaimRecord {
  const verdicts: VerdictRecord[] = [];
  for (const recipe of BINARY_RECIPES) {
    const before = verdicts.length;
    for (const view of index.views) {
      for (const binary of index.variants) {
        if (binary.recipe !== recipe || binary.training.kind !== 'natural') continue;
        const full = index.find(binary.model, FULL_PRECISION, binary.inputBits, NATURAL);
        if (full === undefined || !index.concerns(view, [binary, full])) continue;
        for (const kind of index.kinds(view)) {
          const comparisons = compare(index, binary, full, view, kind);
          if (comparisons.length === 0) continue;
          verdicts.push(
            comparisonVerdict(
              scopeOf(
                index,
                binary.model,
                `${recipeText(recipe)}, ${binary.inputBits}-bit inputs, naturally trained, ${kind.label}, ${viewText(view)}`,
              ),
              { model: binary.model, recipe, inputBits: binary.inputBits, seeds: seedsOf(binary) },
              view,
              kind,
              `Adversarial accuracy of ${recipeText(recipe)} minus full precision`,
              comparisons,
              beats(comparisons),
            ),
          );
        }
      }
    }
    if (verdicts.length === before) {
      verdicts.push(
        notTested(
          recipeText(recipe),
          'white-box',
          `${recipeText(recipe)} networks were not trained and attacked beside full-precision ones.`,
          { recipe },
        ),
      );
    }
  }
  return close(
    3,
    'Binary networks are more robust',
    'Binary networks (BNN, XNOR, BWN) are more robust than full-precision networks of the same architecture.',
    'Naturally trained, with equal inputs, paired over images: the 95 % confidence interval of the difference in adversarial accuracy lies above 0 at some ε and below 0 at none, under the worst gradient mode found.',
    verdicts,
    caveatOf(verdicts),
  );
}

function together(index: FactIndex): ClaimRecord {
  const verdicts: VerdictRecord[] = [];
  for (const view of index.views) {
    for (const model of index.models) {
      const both = index.find(model, 'bnn', 2, NATURAL);
      if (both === undefined) continue;
      const trained = index
        .trained(model, FULL_PRECISION, 8)
        .filter(({ training }) => training.kind === 'adversarial' && training.attack === 'fgsm');
      for (const other of trained.filter((each) => index.concerns(view, [both, each]))) {
        for (const kind of index.kinds(view)) {
          const comparisons = compare(index, both, other, view, kind);
          if (comparisons.length === 0) continue;
          verdicts.push(
            comparisonVerdict(
              scopeOf(
                index,
                model,
                `${networkText(both)}, against ${networkText(other)}, ${kind.label}, ${viewText(view)}`,
              ),
              { model, recipe: 'bnn', inputBits: 2, seeds: seedsOf(both) },
              view,
              kind,
              'Adversarial accuracy of the first minus the second',
              comparisons,
              comparisons.some(({ low }) => low > 0),
            ),
          );
        }
      }
    }
  }
  if (verdicts.length === 0) {
    verdicts.push(
      notTested(
        'naturally trained 2-bit BNN against FGSM-trained 8-bit full precision',
        'white-box',
        'The two networks were not both trained and attacked.',
      ),
    );
  }
  return close(
    4,
    'Discretization and binarization together need no adversarial training',
    'Discretized inputs and a binary network together are better than either, and for some ε need no adversarial training.',
    'The naturally trained 2-bit BNN against the FGSM-trained 8-bit full-precision network, paired over images: the 95 % confidence interval of the difference in adversarial accuracy lies above 0 at some ε, under the worst gradient mode found.',
    verdicts,
  );
}

interface Gap {
  readonly gap: number;
  readonly variant: Variant;
  readonly epsilon: number;
  /** Under the single-step and the multi-step attack, over seeds the mean. */
  readonly losses: readonly [number, number];
}

/** Where in the grid the multi-step attack costs most beyond the single-step one. */
function widestGap(
  index: FactIndex,
  variants: readonly Variant[],
  view: View,
  single: AttackKind,
  multi: AttackKind,
): Gap | undefined {
  const meanLoss = (measured: readonly Measured[]) =>
    meanAndDeviation(measured.map(({ adversarialLoss }) => adversarialLoss)).mean;
  const gaps = variants.flatMap((variant) =>
    index.epsilons(view, multi).flatMap((epsilon): Gap[] => {
      const one = index.measured(variant, view, single, epsilon);
      const many = index.measured(variant, view, multi, epsilon);
      if (one === undefined || many === undefined) return [];
      const losses = [meanLoss(one), meanLoss(many)] as const;
      return [{ gap: losses[1] - losses[0], variant, epsilon, losses }];
    }),
  );
  return gaps.reduce<Gap | undefined>((a, b) => (a === undefined || b.gap > a.gap ? b : a), undefined);
}

function multiStepVerdict(
  index: FactIndex,
  trained: Variant,
  view: View,
  single: AttackKind,
  multi: AttackKind,
): VerdictRecord | undefined {
  const { model, recipe } = trained;
  const natural = index.find(model, recipe, 2, NATURAL);
  const trainedEight = index.find(model, recipe, 8, trainingKey(trained.training));
  if (natural === undefined || trainedEight === undefined) return undefined;
  if (!index.concerns(view, [natural, trained, trainedEight])) return undefined;
  const grid = index.variants.filter((variant) => variant.model === model && variant.recipe === recipe);
  const widest = widestGap(index, grid, view, single, multi);
  const overNatural = compare(index, trained, natural, view, multi);
  const overEight = compare(index, trained, trainedEight, view, multi);
  if (widest === undefined || overNatural.length === 0 || overEight.length === 0) return undefined;
  const breaks = widest.gap >= TWENTY_POINTS - ROUNDING;
  const better = [beats(overNatural), beats(overEight)] as const;
  const comparisons = [...overNatural, ...overEight];
  const measured = comparisons.flatMap((comparison) => comparison.measured);
  const counts = comparisons.map(({ n }) => n);
  return {
    scope: scopeOf(
      index,
      model,
      `${recipeText(recipe)}, ${trainingText(trained.training)}, ${multi.label} against ${single.label}, ${viewText(view)}`,
    ),
    model,
    recipe,
    inputBits: null,
    attack: multi.label,
    ...view,
    verdict: verdict(breaks && better[0] && better[1]),
    measured:
      `${multi.label} costs up to ${points(widest.gap)} points more than ${single.label} ` +
      `(${points(widest.losses[1])} against ${points(widest.losses[0])}, ${networkText(widest.variant)}, ε = ${epsilonText(widest.epsilon)})` +
      `${breaks ? '' : ', less than 20'}; ` +
      `under ${multi.label} the adversarially trained 2-bit network ${better[0] ? 'beats' : 'does not beat'} the natural 2-bit one ` +
      `(${comparisonText(overNatural)}) and ${better[1] ? 'beats' : 'does not beat'} the trained 8-bit one ` +
      `(${comparisonText(overEight)})${worstModes(view, measured)} (${countText(counts, seedsOf(trained))}, paired).`,
    n: Math.min(...counts),
    seeds: seedsOf(trained),
    figures: {
      'widest gap of adversarial losses': widest.gap,
      'widest gap, input bits': widest.variant.inputBits,
      'widest gap, ε': widest.epsilon,
      ...comparisonFigures(overNatural, 'trained minus natural 2 bit: '),
      ...comparisonFigures(overEight, 'trained 2 bit minus trained 8 bit: '),
    },
  };
}

function multiStep(index: FactIndex): ClaimRecord {
  const verdicts: VerdictRecord[] = [];
  for (const view of index.views) {
    const kinds = index.kinds(view);
    const single = kinds.find(({ name, norm }) => name === 'fgsm' && norm === 'linf');
    if (single === undefined) continue;
    // ε of the two attacks is only comparable in one norm.
    const multis = kinds.filter(({ multiStep: steps, norm }) => steps && norm === single.norm);
    for (const model of index.models) {
      for (const recipe of index.recipes(model)) {
        for (const trained of index.trained(model, recipe, 2)) {
          for (const multi of multis) {
            const found = multiStepVerdict(index, trained, view, single, multi);
            if (found !== undefined) verdicts.push(found);
          }
        }
      }
    }
  }
  if (verdicts.length === 0) {
    verdicts.push(
      notTested(
        'discretization with and without adversarial training',
        'white-box',
        'Natural and adversarially trained 2-bit and adversarially trained 8-bit networks were not all attacked by FGSM and a multi-step attack.',
      ),
    );
  }
  return close(
    5,
    'Multi-step attacks break discretization alone',
    'Multi-step attacks break discretization alone; discretization with adversarial training is the better defence.',
    'The adversarial loss under PGD exceeds that under FGSM by at least 20 points somewhere in the grid; and under PGD the adversarially trained 2-bit network beats both the natural 2-bit and the adversarially trained 8-bit one (paired over images, 95 % confidence interval above 0 at some ε and below 0 at none).',
    verdicts,
  );
}

/** Judges the paper's five claims by criteria fixed beforehand; a claim whose networks are missing is 'not tested'. */
export function judgeClaims(facts: StudyFacts): ClaimRecord[] {
  const index = new FactIndex(facts);
  return [cleanAccuracy, singleStep, binaryNetworks, together, multiStep].map((judge) => judge(index));
}
