import { HardbitError, requireName } from '../errors.js';
import { defaultGradientMode, type GradientMode, type Model } from '../models/registry.js';

export { requireGradientArithmetic } from '../models/registry.js';

/** How the attacker differentiated, as it stands beside a figure. */
export interface RecordedGradientMode {
  readonly discretizer: GradientMode['discretizer'];
  /** null for a network without quantized activations. */
  readonly sign: GradientMode['sign'] | null;
  /** Where it was reduced: exact sums, `float`, are not named. */
  readonly arithmetic?: Exclude<GradientMode['arithmetic'], 'float'>;
}

/** The choices of each key; the compiler sees to it that none is missing. */
const choices: { readonly [K in keyof GradientMode]: Readonly<Record<GradientMode[K], true>> } = {
  discretizer: { identity: true, exact: true },
  sign: { clipped: true, identity: true, approx: true, swish: true, exact: true },
  arithmetic: { float: true, bf16: true, int8: true },
};

function parseChoice<K extends keyof GradientMode>(key: K, value: string): GradientMode[K] {
  return requireName(`${key} gradient`, value, Object.keys(choices[key]) as GradientMode[K][]);
}

/**
 * Reads a gradient mode written as text: 'discretizer=identity,sign=clipped', or either alone; 'arithmetic=int8' reduces
 * the sums.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME for an unknown key or value, with the nearest known one; ERR_HARDBIT_ARGUMENT for
 * text of another form or a key given twice.
 */
export function parseGradientMode(text: string): Partial<GradientMode> {
  const mode: { -readonly [K in keyof GradientMode]?: GradientMode[K] } = {};
  for (const part of text.split(',')) {
    const [name = '', value, ...rest] = part.split('=').map((piece) => piece.trim());
    if (value === undefined || rest.length > 0) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `'${part.trim()}' is not a gradient mode; expected text such as 'discretizer=identity,sign=clipped'.`,
      );
    }
    const key = requireName('gradient mode key', name, Object.keys(choices) as (keyof GradientMode)[]);
    if (mode[key] !== undefined) {
      throw new HardbitError('ERR_HARDBIT_ARGUMENT', `The gradient mode names '${key}' twice; give it once.`);
    }
    if (key === 'discretizer') mode.discretizer = parseChoice(key, value);
    else if (key === 'sign') mode.sign = parseChoice(key, value);
    else mode.arithmetic = parseChoice(key, value);
  }
  return mode;
}

/** The mode that an attack on `model` uses where `mode` is asked for, as it is recorded. */
export function recordGradientMode(
  model: Pick<Model, 'activationGradients'>,
  mode: Partial<GradientMode> = {},
): RecordedGradientMode {
  const { discretizer, sign, arithmetic } = { ...defaultGradientMode, ...mode };
  return {
    discretizer,
    sign: model.activationGradients.length > 0 ? sign : null,
    ...(arithmetic === 'float' ? {} : { arithmetic }),
  };
}

/**
 * The gradient modes worth trying against a network; the worst is the one to report: identity through the discretizer, with
 * each useful surrogate of the quantized activations where the network has some, its default first. `exact` is not among
 * them: its gradient is zero, and it only shows masking.
 */
export function gradientModesFor(
  model: Pick<Model, 'activationGradients'>,
): readonly Partial<GradientMode>[] {
  if (model.activationGradients.length === 0) return [{ discretizer: 'identity' }];
  return model.activationGradients.map((sign) => ({ discretizer: 'identity', sign }));
}
