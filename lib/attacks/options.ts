import { HardbitError } from '../errors.js';
import type { KeptWalk } from './recorded-walk.js';

/** How the size of a perturbation is measured: max |x′ − x| over pixels, or ‖x′ − x‖₂ of a whole image. */
export const norms = ['linf', 'l2'] as const;
export type Norm = (typeof norms)[number];

/** The hyper-parameters an attack may have; which of them one has, and its defaults, stand in that attack's file. */
export interface AttackOptions {
  /** Radius of the ball; pixels are in [0, 1]. `linf`: in [0, 1]; `l2`: in (0, √(H·W·C)]. */
  readonly epsilon: number;
  /** 'linf' by default. */
  readonly norm?: Norm | undefined;
  readonly steps?: number | undefined;
  /** Size of each step in the attack's norm; `linf`: in [0, 1]; `l2`: at least 0. */
  readonly stepSize?: number | undefined;
  /** Size of R+FGSM's random step, in [0, epsilon]. */
  readonly alpha?: number | undefined;
  readonly randomStart?: boolean | undefined;
  readonly restarts?: number | undefined;
  /** An example stops where it is misclassified (targeted: classified as its target) and keeps that image. */
  readonly earlyStop?: boolean | undefined;
  /** The given labels are the classes to reach: the attack descends on their loss. */
  readonly targeted?: boolean | undefined;
}

/** What every attack's result depends on besides its hyper-parameters. */
export interface AttackContext {
  /** Integer in [0, 2^53). Random draws depend on (seed, restart, number of the row in the dataset) alone. */
  readonly seed: number;
  /** Number of the batch's row 0 in the dataset, so that splitting into batches changes no draw; 0 by default. */
  readonly firstRow?: number;
  /** The number of each row in the dataset where they do not follow one another; in place of `firstRow`. */
  readonly rows?: readonly number[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * The images are known to be in [0, 1], and of the result only the images are wanted: `firstGradientZero` stays 0. Nothing
   * has to be read back then, so that an attack without early stop and restarts does not wait for a GPU.
   */
  readonly imagesOnly?: boolean | undefined;
  /** Keeps the recorded step for the attack's other batches, on a GPU; whoever gives it disposes of it. */
  readonly recorded?: KeptWalk | undefined;
}

function invalid(message: string): HardbitError {
  return new HardbitError('ERR_HARDBIT_ARGUMENT', message);
}

/** A norm by name, 'linf' where none is given. @throws ERR_HARDBIT_ARGUMENT */
export function requireNorm(norm: Norm = 'linf'): Norm {
  if (!norms.includes(norm)) throw invalid(`norm is '${norm}'; expected ${norms.join(' or ')}.`);
  return norm;
}

/**
 * An ε in [0, 1]; in L2 one above 0, whose upper end depends on the images (`requireBall`).
 *
 * @throws ERR_HARDBIT_ARGUMENT
 */
export function requireEpsilon(epsilon: number, norm: Norm = 'linf'): number {
  if (norm === 'l2') {
    if (!(typeof epsilon === 'number' && epsilon > 0 && Number.isFinite(epsilon))) {
      throw invalid(`epsilon is ${epsilon}; expected a number above 0 in L2, such as 0.5 or 2.`);
    }
    return epsilon;
  }
  if (typeof epsilon === 'number' && epsilon > 1) {
    const level = Number.isInteger(epsilon) && epsilon <= 255 ? epsilon : 8;
    throw invalid(
      `epsilon is ${epsilon}; expected a number in [0, 1], since pixels are in [0, 1]: ` +
        `${level}/255 is ${(level / 255).toFixed(4)}.`,
    );
  }
  if (!(typeof epsilon === 'number' && epsilon >= 0)) {
    throw invalid(`epsilon is ${epsilon}; expected a number in [0, 1], such as 0.1 or 8/255.`);
  }
  return epsilon;
}

/**
 * Checks an L2 radius against the images: at most √(H·W·C), the distance of a black and a white one.
 *
 * @throws ERR_HARDBIT_ARGUMENT
 */
export function requireBall(epsilon: number, norm: Norm, inputShape: readonly number[]): void {
  const largest = Math.sqrt(inputShape.reduce((product, size) => product * size, 1));
  if (norm === 'l2' && epsilon > largest) {
    throw invalid(
      `epsilon is ${epsilon} in L2; expected at most √(${inputShape.join('·')}) = ${largest.toFixed(2)}, ` +
        'the distance of a black and a white image.',
    );
  }
}

/** A number in [0, limit]. @throws ERR_HARDBIT_ARGUMENT */
export function requireSize(name: string, value: number, limit: number, limitName = `${limit}`): number {
  if (!(typeof value === 'number' && value >= 0 && value <= limit)) {
    throw invalid(
      `${name} is ${value}; expected a number in [0, ${limitName}], in units of pixels in [0, 1].`,
    );
  }
  return value;
}

/** An integer in [low, high]. @throws ERR_HARDBIT_ARGUMENT */
export function requireInteger(name: string, value: number, low: number, high: number): number {
  if (!(Number.isInteger(value) && value >= low && value <= high)) {
    throw invalid(`${name} is ${value}; expected an integer from ${low} to ${high}.`);
  }
  return value;
}

export function requireSteps(steps: number): number {
  return requireInteger('steps', steps, 1, 1_000_000);
}

/** A flag; anything but true and false is an error, so that 'no' does not mean yes. */
export function requireFlag(name: string, value: boolean): boolean {
  if (typeof value !== 'boolean') throw invalid(`${name} is ${String(value)}; expected true or false.`);
  return value;
}

/**
 * The step size given, or 2.5·ε/steps (Madry et al. 2018). In L∞ it is at most 1, and so is the default: a larger step
 * reaches no further.
 *
 * @throws ERR_HARDBIT_ARGUMENT
 */
export function requireStepSize(
  given: number | undefined,
  epsilon: number,
  steps: number,
  norm: Norm,
): number {
  const usual = (2.5 * epsilon) / steps;
  if (norm === 'linf') return requireSize('stepSize', given ?? Math.min(1, usual), 1);
  const size = given ?? usual;
  if (!(typeof size === 'number' && size >= 0 && Number.isFinite(size))) {
    throw invalid(`stepSize is ${size}; expected a number of at least 0.`);
  }
  return size;
}

/** @throws ERR_HARDBIT_ARGUMENT for an option that the attack does not have. */
export function requireKnownOptions(attack: string, options: object, known: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !known.includes(name)) {
      throw invalid(`The attack ${attack} has no option '${name}'; it has: ${known.join(', ')}.`);
    }
  }
}

/**
 * @param count number of images in the batch
 * @throws ERR_HARDBIT_ARGUMENT
 */
export function requireContext(context: AttackContext, count: number): void {
  requireInteger('seed', context.seed, 0, Number.MAX_SAFE_INTEGER);
  requireInteger('firstRow', context.firstRow ?? 0, 0, 2 ** 32 - 1);
  const { rows } = context;
  if (rows === undefined) return;
  if (rows.length !== count || context.firstRow !== undefined) {
    throw invalid(
      `rows has ${rows.length} numbers${context.firstRow === undefined ? '' : ' beside firstRow'}; ` +
        `expected ${count}, one for each image, in place of firstRow.`,
    );
  }
  for (const row of rows) requireInteger('rows', row, 0, 2 ** 32 - 1);
}

const decimal = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?`;
const fractionPattern = new RegExp(String.raw`^\s*(${decimal})\s*(?:/\s*(${decimal})\s*)?$`, 'i');

/**
 * Reads an ε written as a number or a fraction: '0.1', '8/255'.
 *
 * @throws ERR_HARDBIT_ARGUMENT for other text and for values outside [0, 1]; in L2 for values that are not above 0.
 */
export function parseEpsilon(text: string, norm: Norm = 'linf'): number {
  const match = fractionPattern.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) / Number(match[2] ?? 1);
  if (!Number.isFinite(value)) {
    const range =
      norm === 'l2' ? 'a number above 0 such as 0.5 or 2' : 'a number in [0, 1] such as 0.1 or 8/255';
    throw invalid(`'${text}' is not an epsilon; expected ${range}.`);
  }
  return requireEpsilon(value, norm);
}

/** Reads a step size, written as an ε is. @throws ERR_HARDBIT_ARGUMENT */
export function parseStepSize(text: string, norm: Norm = 'linf'): number {
  const match = fractionPattern.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) / Number(match[2] ?? 1);
  const limit = norm === 'l2' ? Number.MAX_VALUE : 1;
  if (!(value >= 0 && value <= limit)) {
    throw invalid(
      `'${text}' is not a step size; expected a number ${norm === 'l2' ? 'of at least 0' : 'in [0, 1]'} such as 0.01 or 2/255.`,
    );
  }
  return value;
}
