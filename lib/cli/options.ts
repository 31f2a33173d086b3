import { type Command, Option } from 'commander';
import { HardbitError, requireName } from '../errors.js';
import type { Device } from '../tensor/tensor.js';

function invalid(message: string): HardbitError {
  return new HardbitError('ERR_HARDBIT_ARGUMENT', message);
}

/** A parser of whole numbers from `low` up, for an option named in the sentence. */
export function wholeNumber(name: string, low: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value) || value < low) {
      throw invalid(`${name} is '${text}'; expected a whole number, at least ${low}.`);
    }
    return value;
  };
}

/** A parser of numbers; what range they need is checked where they are used. */
export function anyNumber(name: string): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (!Number.isFinite(value)) throw invalid(`${name} is '${text}'; expected a number.`);
    return value;
  };
}

export function addJson(command: Command): Command {
  return command.option('--json', 'print one JSON document on standard output and nothing else there');
}

const devices: readonly Device[] = ['cpu', 'cuda'];

export function addDevice(command: Command): Command {
  return command.addOption(new Option('--device <name>', 'cpu or cuda').env('HARDBIT_DEVICE').default('cpu'));
}

/**
 * The device asked for, which is there.
 *
 * @throws ERR_HARDBIT_UNKNOWN_NAME with the nearest known one; ERR_HARDBIT_NO_CUDA
 */
export async function requireDevice(name: string): Promise<Device> {
  const device = requireName('device', name, devices);
  if (device === 'cpu') return device;
  const { runtimeInfo } = await import('../tensor/runtime.js');
  const { devices: found, reason } = runtimeInfo().cuda;
  if (found.length > 0) return device;
  throw new HardbitError(
    'ERR_HARDBIT_NO_CUDA',
    `CUDA was asked for. ${reason.replace(/\.$/, '')}; use --device cpu.`,
  );
}

/** The options of attacks, as commander leaves them. */
export interface AttackFlags {
  readonly steps?: number;
  readonly stepSize?: string;
  readonly alpha?: string;
  readonly restarts?: number;
  readonly randomStart: boolean;
  readonly norm?: string;
  readonly earlyStop?: boolean;
  readonly gradient?: string;
  readonly gradientArithmetic?: string;
  readonly device: string;
}

export function addAttackFlags(command: Command): Command {
  return command
    .option('--norm <name>', 'measure ε in linf or l2 (default: linf)')
    .option('--steps <n>', 'gradient steps (default: pgd 20, bim 10)', wholeNumber('--steps', 1))
    .option('--step-size <size>', 'size of a step, as 0.01 or 2/255 (default: 2.5·ε/steps)')
    .option('--alpha <size>', "size of R-FGSM's random step (default: ε/2)")
    .option(
      '--restarts <n>',
      'random starts of which each image keeps its worst (default: 1)',
      wholeNumber('--restarts', 1),
    )
    .option('--no-random-start', 'start pgd from the image itself')
    .option('--early-stop', 'bim and pgd: stop with an image as soon as it is misclassified')
    .option(
      '--gradient-arithmetic <name>',
      'sum the gradients of quantized layers in float, bf16 or int8 (default: float); anything but float is named beside each figure',
    );
}

/** The arithmetic of the gradients that an attack's flags ask for; empty without the flag. */
export async function arithmeticFrom({ gradient, gradientArithmetic, device }: AttackFlags) {
  if (gradientArithmetic === undefined) return {};
  const { requireGradientArithmetic } = await import('../evaluation/gradient-mode.js');
  if (gradient?.includes('arithmetic=')) {
    throw invalid('The gradient mode and --gradient-arithmetic both name an arithmetic; give it once.');
  }
  return {
    arithmetic: requireGradientArithmetic(gradientArithmetic, requireName('device', device, devices)),
  };
}

/** An attack from its flags; those not given take the attack's defaults. */
export async function attackFrom(name: string, epsilon: string, flags: AttackFlags, targeted?: boolean) {
  const { norms, parseEpsilon, parseStepSize, resolveAttack } = await import(
    '../evaluation/attack-options.js'
  );
  const norm = flags.norm === undefined ? undefined : requireName('norm', flags.norm, norms);
  const size = (flag: string, text: string | undefined): number | undefined => {
    if (text === undefined) return undefined;
    try {
      return parseStepSize(text, norm);
    } catch {
      const range = norm === 'l2' ? 'of at least 0 such as 0.1' : 'in [0, 1] such as 0.01 or 2/255';
      throw invalid(`${flag} is '${text}'; expected a number ${range}.`);
    }
  };
  return resolveAttack(name, {
    epsilon: parseEpsilon(epsilon, norm),
    norm,
    steps: flags.steps,
    stepSize: size('--step-size', flags.stepSize),
    alpha: size('--alpha', flags.alpha),
    restarts: flags.restarts,
    randomStart: flags.randomStart ? undefined : false,
    earlyStop: flags.earlyStop,
    targeted,
  });
}
