import {
  type AttackRecord,
  type GradientModeRecord,
  type NetworkRecord,
  recipeText,
  type TrainingRecord,
} from '../study/results.js';

export { recipeText } from '../study/results.js';

/** A fraction as a percentage with one decimal and no sign: 0.9432 → '94.3'. */
export function percent(fraction: number): string {
  return fixed(100 * fraction, 1);
}

/** Fixed decimals with a true minus sign and no negative zero. */
export function fixed(value: number, decimals: number): string {
  const text = value.toFixed(decimals);
  if (!text.startsWith('-')) return text;
  return Number(text) === 0 ? text.slice(1) : `−${text.slice(1)}`;
}

/** An integer with thousands separated: 2000 → '2,000'. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** ε as people write it: 0.1, or 8/255 where the decimal is long and the fraction exact. */
export function epsilonText(epsilon: number): string {
  const short = String(Number(epsilon.toPrecision(4)));
  if (Number(short) === epsilon) return short;
  const of255 = epsilon * 255;
  return Math.abs(of255 - Math.round(of255)) < 1e-6 && Math.round(of255) > 0
    ? `${Math.round(of255)}/255`
    : short;
}

/** '38 s', '3 min 20 s', '2 h 5 min'. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${fixed(seconds, 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A figure of unknown unit, to at most four significant digits. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  return Number.isInteger(value) ? String(value).replace('-', '−') : plainNumber(value);
}

function plainNumber(value: number): string {
  return String(Number(value.toPrecision(4))).replace('-', '−');
}

/** 'a', 'a and b', 'a, b and c'. */
export function listing(items: readonly string[]): string {
  if (items.length < 2) return items[0] ?? '';
  return `${items.slice(0, -1).join(', ')} and ${items[items.length - 1]}`;
}

/** Distinct numbers as '7', '7 and 8' or '500 to 2,000'. */
export function span(values: Iterable<number>, show: (value: number) => string = count): string {
  const distinct = [...new Set(values)].sort((a, b) => a - b);
  if (distinct.length < 3) return listing(distinct.map(show));
  return `${show(distinct[0] as number)} to ${show(distinct[distinct.length - 1] as number)}`;
}

/** 'seed 1', 'seeds 1 and 2', 'seeds 1 to 5'. */
export function seedsText(seeds: Iterable<number>): string {
  const distinct = new Set(seeds);
  return `${distinct.size > 1 ? 'seeds' : 'seed'} ${span(distinct, String)}`;
}

type Adversarial = Exclude<TrainingRecord, { kind: 'natural' }>;

function trainingAttack({ attack, steps }: Adversarial): string {
  return `${attackName(attack)}${steps === undefined ? '' : `-${steps}`}`;
}

/** 'natural', 'FGSM-trained, ε = 0.2', 'ensemble-trained (FGSM), ε = 0.2'. */
export function trainingLabel(training: TrainingRecord): string {
  if (training.kind === 'natural') return 'natural';
  const attack = trainingAttack(training);
  const how = training.kind === 'ensemble' ? `ensemble-trained (${attack})` : `${attack}-trained`;
  return `${how}, ε = ${epsilonText(training.epsilon)}`;
}

/** The training as a heading: 'Natural training', 'FGSM training at ε = 0.2 (50 % of each batch adversarial)'. */
export function trainingHeading(training: TrainingRecord): string {
  if (training.kind === 'natural') return 'Natural training';
  const attack = trainingAttack(training);
  const how = training.kind === 'ensemble' ? `Ensemble training with ${attack}` : `${attack} training`;
  const share = `${Number((100 * training.mix).toPrecision(3))} % of each batch adversarial`;
  return `${how} at ε = ${epsilonText(training.epsilon)} (${share})`;
}

export function bitsLabel(bits: number): string {
  return `${bits} bit`;
}

/** 'lenet5, 2 bit BNN, natural, seed 1'. */
export function networkLabel(network: NetworkRecord): string {
  const twin = network.twin ? ', twin' : '';
  return (
    `${network.model}, ${bitsLabel(network.inputBits)} ${recipeText(network.recipe)}, ` +
    `${trainingLabel(network.training)}, seed ${network.seed}${twin}`
  );
}

export function attackName(name: string): string {
  return name.toUpperCase();
}

/** Name and everything but ε and what follows from ε: 'PGD-20', 'PGD-40 (L2), 5 restarts', 'FGSM, targeted'. */
export function attackLabel(attack: AttackRecord): string {
  const steps = attack.steps === undefined ? '' : `-${attack.steps}`;
  const restarts =
    attack.restarts !== undefined && attack.restarts > 1 ? `, ${attack.restarts} restarts` : '';
  const start = attack.name === 'pgd' && attack.randomStart === false ? ', no random start' : '';
  const norm = attack.norm === 'l2' ? ' (L2)' : '';
  return `${attackName(attack.name)}${steps}${norm}${restarts}${start}${attack.targeted ? ', targeted' : ''}`;
}

/** True for attacks that follow the gradient more than once. */
export function isMultiStep(attack: AttackRecord): boolean {
  return (attack.steps ?? 1) > 1;
}

/** 'discretizer identity, sign clipped'; the sign is left out for a network without sign layers. */
export function modeLabel(mode: GradientModeRecord): string {
  return `discretizer ${mode.discretizer}${mode.sign === null ? '' : `, sign ${mode.sign}`}`;
}

/** True for a mode with an exact (zero) gradient somewhere, which exists only to show masking. */
export function isMasking(mode: GradientModeRecord): boolean {
  return mode.discretizer === 'exact' || mode.sign === 'exact';
}

/** A name as it may stand in a file name: letters, digits, '.', '_' and '-'; anything else becomes '-'. */
export function slug(text: string): string {
  return text.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[-.]+|-+$/g, '');
}

/** Low and high end of an interval in percent: '83.1–86.2'. */
export function intervalText({ low, high }: { readonly low: number; readonly high: number }): string {
  return `${percent(low)}–${percent(high)}`;
}
