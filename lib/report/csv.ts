import type { AttackRecord, GradientModeRecord, NetworkRecord, Results } from '../study/results.js';
import { modeLabel } from './format.js';

type Value = string | number | boolean | null | undefined;

function field(value: Value): string {
  if (value === null || value === undefined) return '';
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** RFC 4180: CRLF after every record, the first record names the fields; null and undefined are empty. */
export function toCsv(header: readonly string[], rows: readonly (readonly Value[])[]): string {
  return [header, ...rows].map((row) => `${row.map(field).join(',')}\r\n`).join('');
}

const networkFields = [
  'model',
  'recipe',
  'input_bits',
  'training',
  'training_attack',
  'training_epsilon',
  'training_mix',
  'training_steps',
  'training_sources',
];

function networkValues(network: NetworkRecord | undefined): Value[] {
  if (network === undefined) return networkFields.map(() => null);
  const { training } = network;
  const adversarial = training.kind === 'natural' ? null : training;
  return [
    network.model,
    network.recipe,
    network.inputBits,
    training.kind,
    adversarial?.attack,
    adversarial?.epsilon,
    adversarial?.mix,
    adversarial?.steps,
    training.kind === 'ensemble' ? training.sources.join(' ') : null,
  ];
}

const attackFields = [
  'attack',
  'norm',
  'epsilon',
  'alpha',
  'steps',
  'step_size',
  'random_start',
  'restarts',
  'targeted',
  'early_stop',
];

function attackValues(attack: AttackRecord, epsilon: number): Value[] {
  return [
    attack.name,
    attack.norm ?? 'linf',
    epsilon,
    attack.alpha,
    attack.steps,
    attack.stepSize,
    attack.randomStart,
    attack.restarts,
    attack.targeted,
    attack.earlyStop,
  ];
}

const modeFields = ['discretizer_gradient', 'sign_gradient'];

function modeValues(mode: GradientModeRecord): Value[] {
  return [mode.discretizer, mode.sign];
}

const measuredFields = [
  'n',
  'seed',
  'clean_accuracy',
  'adversarial_accuracy',
  'adversarial_loss',
  'flippable_fraction',
];

type Cell = Results['whiteBox' | 'worstCase' | 'transfer'][number];

function measuredValues(cell: Cell): Value[] {
  return [
    cell.n,
    cell.seed,
    cell.cleanAccuracy,
    cell.adversarialAccuracy,
    cell.adversarialLoss,
    cell.flippableFraction,
  ];
}

/** One record a network. */
export function networksCsv(results: Results): string {
  return toCsv(
    [
      'id',
      'variant',
      'block',
      ...networkFields,
      'seed',
      'twin',
      'epochs',
      'batch_size',
      'parameters',
      'macs',
      'n',
      'clean_accuracy',
      'train_seconds',
      'file',
    ],
    results.networks.map((network) => [
      network.id,
      network.variant,
      network.block,
      ...networkValues(network),
      network.seed,
      network.twin,
      network.epochs,
      network.batchSize,
      network.parameters,
      network.macs,
      network.n,
      network.cleanAccuracy,
      network.trainSeconds,
      network.file,
    ]),
  );
}

/** One record a white-box cell, every gradient mode. */
export function whiteBoxCsv(results: Results): string {
  const byId = new Map(results.networks.map((network) => [network.id, network]));
  return toCsv(
    [
      'threat_model',
      'network',
      ...networkFields,
      ...attackFields,
      ...modeFields,
      ...measuredFields,
      'coverage',
      'attacked',
      'mean_perturbation',
      'zero_gradient_fraction',
      'seconds',
    ],
    results.whiteBox.map((cell) => [
      cell.threatModel,
      cell.network,
      ...networkValues(byId.get(cell.network)),
      ...attackValues(cell.attack, cell.epsilon),
      ...modeValues(cell.gradientMode),
      ...measuredValues(cell),
      cell.coverage,
      cell.attacked,
      cell.meanPerturbation,
      cell.zeroGradientFraction,
      cell.seconds,
    ]),
  );
}

/** One record a network, attack and ε: the per-example worst over gradient modes. */
export function worstCaseCsv(results: Results): string {
  const byId = new Map(results.networks.map((network) => [network.id, network]));
  return toCsv(
    [
      'threat_model',
      'network',
      ...networkFields,
      ...attackFields,
      ...measuredFields,
      'interval_low',
      'interval_high',
      'every_mode',
      'gradient_modes',
      'worst_discretizer_gradient',
      'worst_sign_gradient',
      'worst_mode_accuracy',
    ],
    results.worstCase.map((cell) => [
      cell.threatModel,
      cell.network,
      ...networkValues(byId.get(cell.network)),
      ...attackValues(cell.attack, cell.epsilon),
      ...measuredValues(cell),
      cell.interval.low,
      cell.interval.high,
      cell.everyMode,
      cell.gradientModes.map(modeLabel).join('; '),
      ...modeValues(cell.worstMode.gradientMode),
      cell.worstMode.adversarialAccuracy,
    ]),
  );
}

/** One record a transfer cell. */
export function transferCsv(results: Results): string {
  const byId = new Map(results.networks.map((network) => [network.id, network]));
  const prefixed = (prefix: string) => networkFields.map((name) => `${prefix}_${name}`);
  return toCsv(
    [
      'threat_model',
      'source',
      ...prefixed('source'),
      'target',
      ...prefixed('target'),
      'diagonal',
      ...attackFields,
      ...modeFields,
      ...measuredFields,
      'mean_perturbation',
      'seconds',
    ],
    results.transfer.map((cell) => [
      cell.threatModel,
      cell.source,
      ...networkValues(byId.get(cell.source)),
      cell.target,
      ...networkValues(byId.get(cell.target)),
      cell.diagonal,
      ...attackValues(cell.attack, cell.epsilon),
      ...modeValues(cell.gradientMode),
      ...measuredValues(cell),
      cell.meanPerturbation,
      cell.seconds,
    ]),
  );
}

/** One record a verdict; `figures` is JSON. */
export function claimsCsv(results: Results): string {
  return toCsv(
    [
      'claim',
      'title',
      'threat_model',
      ...modeFields,
      'model',
      'recipe',
      'input_bits',
      'attack',
      'scope',
      'verdict',
      'measured',
      'n',
      'seeds',
      'figures',
    ],
    results.claims.flatMap((claim) =>
      claim.verdicts.map((verdict) => [
        claim.id,
        claim.title,
        verdict.threatModel,
        ...(verdict.gradientMode === null ? [null, null] : modeValues(verdict.gradientMode)),
        verdict.model,
        verdict.recipe,
        verdict.inputBits,
        verdict.attack,
        verdict.scope,
        verdict.verdict,
        verdict.measured,
        verdict.n,
        verdict.seeds.join(' '),
        JSON.stringify(verdict.figures),
      ]),
    ),
  );
}
