import { pairedDifference } from '../evaluation/statistics.js';
import {
  type AttackedFact,
  type AttackKind,
  type AttackThreat,
  FactIndex,
  meanOf,
  type StudyFacts,
  type Variant,
} from './facts.js';
import type { ClaimRecord } from './results.js';
import {
  epsilonText,
  listing,
  networkText,
  percent,
  points,
  recipeText,
  signedPoints,
  trainingKey,
  trainingText,
} from './words.js';

type Verdict = ClaimRecord['verdicts'][number];

/** Claims 1 and 2: two percentage points. */
const TWO_POINTS = 0.02;
/** Claim 5: twenty percentage points. */
const TWENTY_POINTS = 0.2;
/** Accuracies are quotients of small integers: their differences are off by less. */
const ROUNDING = 1e-9;
const FULL_PRECISION = 'none';
/** The recipes of claim 3. */
const BINARY_RECIPES = ['bnn', 'xnor', 'bwn'] as const;
const THREATS: readonly AttackThreat[] = ['white-box', 'transfer'];

function notTested(scope: string, threatModel: Verdict['threatModel'], missing: string): Verdict {
  return { scope, threatModel, verdict: 'not tested', measured: missing, figures: {} };
}

function verdict(holds: boolean): 'holds' | 'fails' {
  return holds ? 'holds' : 'fails';
}

/** 'white-box, worst gradient mode found' or 'transfer, worst source found'. */
function threatText(threat: AttackThreat): string {
  return threat === 'white-box' ? 'white-box, worst gradient mode found' : 'transfer, worst source found';
}

/** The ways through sign layers (white-box) that turned out worst, where there was a choice. */
function worstModes(facts: readonly AttackedFact[]): string {
  const modes = facts.flatMap(({ record }) =>
    record.threatModel === 'white-box' && record.gradientMode.sign !== null ? [record.gradientMode.sign] : [],
  );
  return modes.length === 0 ? '' : `; worst through sign: ${listing([...new Set(modes)])}`;
}

/** 'n = 2000', over seeds and where attacks differ in it, the range. */
function countText(counts: readonly number[]): string {
  const low = Math.min(...counts);
  const high = Math.max(...counts);
  return low === high ? `n = ${low}` : `n = ${low} to ${high}`;
}

function models(index: FactIndex): string[] {
  return [...new Set(index.variants.map((variant) => variant.model))];
}

function recipes(index: FactIndex, model: string): string[] {
  return [
    ...new Set(index.variants.filter((variant) => variant.model === model).map((variant) => variant.recipe)),
  ];
}

/** `text`, with the model in front where the study has several. */
function scopeOf(index: FactIndex, model: string, text: string): string {
  return models(index).length > 1 ? `${model}: ${text}` : text;
}

function close(
  id: number,
  title: string,
  statement: string,
  criterion: string,
  verdicts: Verdict[],
): ClaimRecord {
  const tested = verdicts.filter((each) => each.verdict !== 'not tested');
  return {
    id,
    title,
    statement,
    criterion,
    verdicts,
    verdict: tested.length === 0 ? 'not tested' : verdict(tested.every((each) => each.verdict === 'holds')),
  };
}

// -- 1: clean accuracy

function cleanAccuracy(index: FactIndex): ClaimRecord {
  const verdicts: Verdict[] = [];
  for (const two of index.variants.filter((variant) => variant.inputBits === 2)) {
    const eight = index.variants.find(
      (variant) =>
        variant.inputBits === 8 &&
        variant.model === two.model &&
        variant.recipe === two.recipe &&
        trainingKey(variant.training) === trainingKey(two.training),
    );
    if (eight === undefined) continue;
    const mean = (variant: Variant) =>
      variant.networks.reduce((sum, { record }) => sum + record.cleanAccuracy, 0) / variant.networks.length;
    const difference = mean(eight) - mean(two);
    const n = countText([...eight.networks, ...two.networks].map(({ record }) => record.n));
    verdicts.push({
      scope: scopeOf(index, two.model, `${recipeText(two.recipe)}, ${trainingText(two.training)}`),
      threatModel: 'none',
      verdict: verdict(difference <= TWO_POINTS + ROUNDING),
      measured:
        `Clean accuracy is ${percent(mean(eight))} with 8-bit and ${percent(mean(two))} with 2-bit inputs: ` +
        `a difference of ${points(difference)} points (${n}).`,
      figures: {
        'clean accuracy, 8 bit': mean(eight),
        'clean accuracy, 2 bit': mean(two),
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
  readonly losses: readonly number[];
  readonly facts: readonly AttackedFact[];
}

/** The losses over all of `epsilons`; undefined where one was not measured. */
function toleranceOf(
  index: FactIndex,
  variant: Variant,
  threat: AttackThreat,
  kind: AttackKind,
  epsilons: readonly number[],
): Tolerance | undefined {
  const measured = epsilons.map((epsilon) => index.worst(variant, threat, kind, epsilon));
  if (!measured.every((facts) => facts !== undefined)) return undefined;
  const losses = measured.map((facts) => meanOf(facts, 'adversarialLoss'));
  const tolerated = epsilons.filter((_, i) => (losses[i] as number) <= TWO_POINTS + ROUNDING);
  return { epsilon: Math.max(0, ...tolerated), losses, facts: measured.flat() };
}

function toleranceText(bits: number, { epsilon, losses }: Tolerance): string {
  const upTo = epsilon > 0 ? `at most 2 up to ε = ${epsilonText(epsilon)}` : 'more than 2 at every ε tested';
  return `${bits}-bit inputs lose ${losses.map(points).join(' / ')} points, ${upTo}`;
}

function singleStepVerdict(
  index: FactIndex,
  two: Variant,
  eight: Variant,
  threat: AttackThreat,
  kind: AttackKind,
): Verdict | undefined {
  const epsilons = index.epsilons(threat, kind).filter((epsilon) => epsilon > 0);
  if (epsilons.length === 0) return undefined;
  const small = toleranceOf(index, two, threat, kind, epsilons);
  const large = toleranceOf(index, eight, threat, kind, epsilons);
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
  const facts = [...small.facts, ...large.facts];
  return {
    scope: scopeOf(
      index,
      two.model,
      `${recipeText(two.recipe)}, naturally trained, ${kind.label}, ${threatText(threat)}`,
    ),
    threatModel: threat,
    verdict: verdict(holds),
    measured:
      `At ε = ${epsilons.map(epsilonText).join(' / ')}, ${toleranceText(2, small)}; ${toleranceText(8, large)}` +
      `${worstModes(facts)} (${countText(facts.map(({ record }) => record.n))}).`,
    figures,
  };
}

function singleStep(index: FactIndex): ClaimRecord {
  const verdicts: Verdict[] = [];
  for (const threat of THREATS) {
    for (const model of models(index)) {
      for (const recipe of recipes(index, model)) {
        const two = index.find(model, recipe, 2, 'natural');
        const eight = index.find(model, recipe, 8, 'natural');
        if (two === undefined || eight === undefined) continue;
        for (const kind of index.kinds(threat).filter((each) => !each.multiStep)) {
          const found = singleStepVerdict(index, two, eight, threat, kind);
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

interface Comparison {
  readonly epsilon: number;
  /** Adversarial accuracy of the first minus the second, with its 95 % confidence interval. */
  readonly difference: number;
  readonly low: number;
  readonly high: number;
  readonly n: number;
  readonly facts: readonly AttackedFact[];
}

function joined(facts: readonly AttackedFact[]): Uint8Array {
  return Uint8Array.from(facts.flatMap(({ correct }) => [...correct]));
}

/** The accuracy of `a` minus that of `b` at each ε both were attacked at, paired over images and seeds. */
function compare(
  index: FactIndex,
  a: Variant,
  b: Variant,
  threat: AttackThreat,
  kind: AttackKind,
): Comparison[] {
  const comparisons: Comparison[] = [];
  for (const epsilon of index.epsilons(threat, kind)) {
    if (epsilon === 0) continue;
    const ofA = index.worst(a, threat, kind, epsilon);
    const ofB = index.worst(b, threat, kind, epsilon);
    if (ofA === undefined || ofB === undefined || ofA.length !== ofB.length) continue;
    comparisons.push({ epsilon, ...pairedDifference(joined(ofA), joined(ofB)), facts: [...ofA, ...ofB] });
  }
  return comparisons;
}

/** Significantly better at some ε, significantly worse at none. */
function beats(comparisons: readonly Comparison[]): boolean {
  return comparisons.some(({ low }) => low > 0) && !comparisons.some(({ high }) => high < 0);
}

/** '+4.1 [+2.9, +5.3] points at ε = 0.1, −3.0 [−4.1, −1.9] at ε = 0.2'. */
function comparisonText(comparisons: readonly Comparison[]): string {
  return comparisons
    .map(
      ({ epsilon, difference, low, high }, i) =>
        `${signedPoints(difference)} [${signedPoints(low)}, ${signedPoints(high)}]${i === 0 ? ' points' : ''} ` +
        `at ε = ${epsilonText(epsilon)}`,
    )
    .join(', ');
}

function comparisonFigures(comparisons: readonly Comparison[], prefix = ''): Record<string, number> {
  return Object.fromEntries(
    comparisons.flatMap(({ epsilon, difference, low, high }) => [
      [`${prefix}difference at ε = ${epsilonText(epsilon)}`, difference],
      [`${prefix}95 % interval at ε = ${epsilonText(epsilon)}, low`, low],
      [`${prefix}95 % interval at ε = ${epsilonText(epsilon)}, high`, high],
    ]),
  );
}

function comparisonVerdict(
  scope: string,
  threat: AttackThreat,
  subject: string,
  comparisons: readonly Comparison[],
  holds: boolean,
): Verdict {
  const facts = comparisons.flatMap((comparison) => comparison.facts);
  return {
    scope,
    threatModel: threat,
    verdict: verdict(holds),
    measured:
      `${subject}: ${comparisonText(comparisons)}${worstModes(facts)} ` +
      `(${countText(comparisons.map(({ n }) => n))} pairs).`,
    figures: comparisonFigures(comparisons),
  };
}

function binaryNetworks(index: FactIndex): ClaimRecord {
  const verdicts: Verdict[] = [];
  for (const recipe of BINARY_RECIPES) {
    const before = verdicts.length;
    for (const threat of THREATS) {
      for (const binary of index.variants) {
        if (binary.recipe !== recipe || binary.training.kind !== 'natural') continue;
        const full = index.find(binary.model, FULL_PRECISION, binary.inputBits, 'natural');
        if (full === undefined) continue;
        for (const kind of index.kinds(threat)) {
          const comparisons = compare(index, binary, full, threat, kind);
          if (comparisons.length === 0) continue;
          verdicts.push(
            comparisonVerdict(
              scopeOf(
                index,
                binary.model,
                `${recipeText(recipe)}, ${binary.inputBits}-bit inputs, naturally trained, ${kind.label}, ${threatText(threat)}`,
              ),
              threat,
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
  );
}

function together(index: FactIndex): ClaimRecord {
  const verdicts: Verdict[] = [];
  for (const threat of THREATS) {
    for (const model of models(index)) {
      const both = index.find(model, 'bnn', 2, 'natural');
      const trained = index.find(model, FULL_PRECISION, 8, 'adversarial');
      if (both === undefined || trained === undefined) continue;
      for (const kind of index.kinds(threat)) {
        const comparisons = compare(index, both, trained, threat, kind);
        if (comparisons.length === 0) continue;
        verdicts.push(
          comparisonVerdict(
            scopeOf(
              index,
              model,
              `${networkText(both)}, against ${networkText(trained)}, ${kind.label}, ${threatText(threat)}`,
            ),
            threat,
            'Adversarial accuracy of the first minus the second',
            comparisons,
            comparisons.some(({ low }) => low > 0),
          ),
        );
      }
    }
  }
  if (verdicts.length === 0) {
    verdicts.push(
      notTested(
        'naturally trained 2-bit BNN against adversarially trained 8-bit full precision',
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

/** Where in the grid the multi-step attack costs most beyond the single-step one. */
function widestGap(
  index: FactIndex,
  variants: readonly Variant[],
  threat: AttackThreat,
  single: AttackKind,
  multi: AttackKind,
):
  | {
      readonly gap: number;
      readonly variant: Variant;
      readonly epsilon: number;
      readonly losses: readonly [number, number];
    }
  | undefined {
  const gaps = variants.flatMap((variant) =>
    index.epsilons(threat, multi).flatMap((epsilon) => {
      const one = index.worst(variant, threat, single, epsilon);
      const many = index.worst(variant, threat, multi, epsilon);
      if (one === undefined || many === undefined) return [];
      const losses = [meanOf(one, 'adversarialLoss'), meanOf(many, 'adversarialLoss')] as const;
      return [{ gap: losses[1] - losses[0], variant, epsilon, losses }];
    }),
  );
  return gaps.reduce<(typeof gaps)[number] | undefined>(
    (a, b) => (a === undefined || b.gap > a.gap ? b : a),
    undefined,
  );
}

function multiStepVerdict(
  index: FactIndex,
  model: string,
  recipe: string,
  threat: AttackThreat,
  single: AttackKind,
  multi: AttackKind,
): Verdict | undefined {
  const natural = index.find(model, recipe, 2, 'natural');
  const trained = index.find(model, recipe, 2, 'adversarial');
  const trainedEight = index.find(model, recipe, 8, 'adversarial');
  if (natural === undefined || trained === undefined || trainedEight === undefined) return undefined;
  const grid = index.variants.filter((variant) => variant.model === model && variant.recipe === recipe);
  const widest = widestGap(index, grid, threat, single, multi);
  const overNatural = compare(index, trained, natural, threat, multi);
  const overEight = compare(index, trained, trainedEight, threat, multi);
  if (widest === undefined || overNatural.length === 0 || overEight.length === 0) return undefined;
  const breaks = widest.gap >= TWENTY_POINTS - ROUNDING;
  const better = [beats(overNatural), beats(overEight)] as const;
  const facts = [...overNatural, ...overEight].flatMap((comparison) => comparison.facts);
  return {
    scope: scopeOf(
      index,
      model,
      `${recipeText(recipe)}, ${multi.label} against ${single.label}, ${threatText(threat)}`,
    ),
    threatModel: threat,
    verdict: verdict(breaks && better[0] && better[1]),
    measured:
      `${multi.label} costs up to ${points(widest.gap)} points more than ${single.label} ` +
      `(${points(widest.losses[1])} against ${points(widest.losses[0])}, ${networkText(widest.variant)}, ε = ${epsilonText(widest.epsilon)})` +
      `${breaks ? '' : ', less than 20'}; ` +
      `under ${multi.label} the adversarially trained 2-bit network ${better[0] ? 'beats' : 'does not beat'} the natural 2-bit one ` +
      `(${comparisonText(overNatural)}) and ${better[1] ? 'beats' : 'does not beat'} the trained 8-bit one ` +
      `(${comparisonText(overEight)})${worstModes(facts)} (${countText(overNatural.map(({ n }) => n))} pairs).`,
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
  const verdicts: Verdict[] = [];
  for (const threat of THREATS) {
    const kinds = index.kinds(threat);
    const single = kinds.find(({ label }) => label === 'FGSM');
    if (single === undefined) continue;
    for (const model of models(index)) {
      for (const recipe of recipes(index, model)) {
        for (const multi of kinds.filter((kind) => kind.multiStep)) {
          const found = multiStepVerdict(index, model, recipe, threat, single, multi);
          if (found !== undefined) verdicts.push(found);
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
