import { meanAndDeviation } from '../evaluation/statistics.js';
import {
  type AttackRecord,
  type GradientModeRecord,
  type NetworkRecord,
  recipeText,
  type TrainingRecord,
} from './results.js';

export { recipeText } from './results.js';

/** A number with a true minus sign and no negative zero. */
function signless(text: string): string {
  return Number(text) === 0 ? text.replace('-', '') : text.replace('-', '−');
}

/** A fraction in percent with one decimal: 0.9432 → '94.3 %'. */
export function percent(fraction: number): string {
  return `${signless((100 * fraction).toFixed(1))} %`;
}

/** A difference of fractions in percentage points, without the unit: 0.041 → '4.1', −0.02 → '−2.0'. */
export function points(difference: number): string {
  return signless((100 * difference).toFixed(1));
}

/** The same with its sign always shown: '+4.1'. */
export function signedPoints(difference: number): string {
  const text = points(difference);
  return text.startsWith('−') || Number(text) === 0 ? text : `+${text}`;
}

function over(values: readonly number[], text: (value: number) => string): string {
  const { mean, deviation } = meanAndDeviation(values);
  return deviation === null ? text(mean) : `${text(mean)} ± ${points(deviation)}`;
}

/** Over seeds the mean ± sample standard deviation: '98.7 ± 0.1 %'; for one seed '98.7 %'. */
export function percentOver(values: readonly number[]): string {
  return `${over(values, points)} %`;
}

/** The same in points, without the unit. */
export function pointsOver(values: readonly number[]): string {
  return over(values, points);
}

/** ε as people write it: at most four significant digits. */
export function epsilonText(epsilon: number): string {
  return String(Number(epsilon.toPrecision(4)));
}

/** 'a', 'a and b', 'a, b and c'. */
export function listing(items: readonly string[]): string {
  if (items.length < 2) return items[0] ?? '';
  return `${items.slice(0, -1).join(', ')} and ${items[items.length - 1]}`;
}

/** 'FGSM', 'R-FGSM', 'PGD-20', 'PGD-20 (L2)'. */
export function attackText(attack: Pick<AttackRecord, 'name' | 'steps' | 'norm'>): string {
  const steps = attack.steps === undefined ? '' : `-${attack.steps}`;
  return `${attack.name.toUpperCase()}${steps}${attack.norm === 'l2' ? ' (L2)' : ''}`;
}

/** 'naturally trained', 'FGSM-trained (ε = 0.2)', 'ensemble-trained (FGSM, ε = 0.2)'. */
export function trainingText(training: TrainingRecord): string {
  if (training.kind === 'natural') return 'naturally trained';
  const attack = attackText({ name: training.attack, steps: training.steps });
  const epsilon = `ε = ${epsilonText(training.epsilon)}`;
  return training.kind === 'ensemble'
    ? `ensemble-trained (${attack}, ${epsilon})`
    : `${attack}-trained (${epsilon})`;
}

/** '2-bit BNN, naturally trained'. */
export function networkText(network: Pick<NetworkRecord, 'inputBits' | 'recipe' | 'training'>): string {
  return `${network.inputBits}-bit ${recipeText(network.recipe)}, ${trainingText(network.training)}`;
}

/** Equal for trainings that differ in nothing but which networks, of another seed, were their sources. */
export function trainingKey(training: TrainingRecord): string {
  if (training.kind === 'natural') return 'natural';
  const { kind, attack, epsilon, mix, steps } = training;
  return `${kind} ${attack} ${steps ?? 1} ${epsilon} ${mix}`;
}

/** 'identity through the discretizer', 'approx through sign'. */
export function modeText({ discretizer, sign }: GradientModeRecord): string {
  if (sign === null || discretizer === 'exact') return `${discretizer} through the discretizer`;
  return `${sign} through sign`;
}
