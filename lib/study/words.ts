import type { AttackRecord, NetworkRecord, TrainingRecord } from './results.js';

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

/** ε as people write it: at most four significant digits. */
export function epsilonText(epsilon: number): string {
  return String(Number(epsilon.toPrecision(4)));
}

/** 'a', 'a and b', 'a, b and c'. */
export function listing(items: readonly string[]): string {
  if (items.length < 2) return items[0] ?? '';
  return `${items.slice(0, -1).join(', ')} and ${items[items.length - 1]}`;
}

/** 'full precision' for the recipe 'none', else its name in capitals. */
export function recipeText(recipe: string): string {
  return recipe === 'none' ? 'full precision' : recipe.toUpperCase();
}

/** 'FGSM', 'R-FGSM', 'PGD-20'. */
export function attackText(attack: Pick<AttackRecord, 'name' | 'steps'>): string {
  return attack.steps === undefined
    ? attack.name.toUpperCase()
    : `${attack.name.toUpperCase()}-${attack.steps}`;
}

/** 'naturally trained', or 'FGSM-trained (ε = 0.2)'. */
export function trainingText(training: TrainingRecord): string {
  return training.kind === 'natural'
    ? 'naturally trained'
    : `${training.attack.toUpperCase()}-trained (ε = ${epsilonText(training.epsilon)})`;
}

/** '2-bit BNN, naturally trained'. */
export function networkText(network: Pick<NetworkRecord, 'inputBits' | 'recipe' | 'training'>): string {
  return `${network.inputBits}-bit ${recipeText(network.recipe)}, ${trainingText(network.training)}`;
}

/** Natural trainings have one key, equal adversarial ones another. */
export function trainingKey(training: TrainingRecord): string {
  return training.kind === 'natural' ? 'natural' : `${training.attack} ${training.epsilon} ${training.mix}`;
}
