import type { AttackRecord, GradientModeRecord, NetworkRecord, Results } from '../study/results.js';

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
];

function networkValues(network: NetworkRecord | undefined): Value[] {
  if (network === undefined) return networkFields.map(() => null);
  const { training } = network;
  const adversarial = training.kind === 'adversarial' ? training : null;
  return [
    network.model,
    network.recipe,
    network.inputBits,
    training.kind,
    adversarial?.attack,
    adversarial?.epsilon,
    adversarial?.mix,
  ];
}

const attackFields = [
  'attack',
  'epsilon',
  'alpha',
  'steps',
  'step_size',
  'random_start',
  'restarts',
  'targeted',
];

function attackValues(attack: AttackRecord, epsilon: number): Value[] {
  return [
    attack.name,
    epsilon,
    attack.alpha,
    attack.steps,
    attack.stepSize,
    attack.randomStart,
    attack.restarts,
    attack.targeted,
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
  'mean_perturbation',
  'seconds',
];

function measuredValues(cell: Results['whiteBox'][number] | Results['transfer'][number]): Value[] {
  return [
    cell.n,
    cell.seed,
    cell.cleanAccuracy,
    cell.adversarialAccuracy,
    cell.adversarialLoss,
    cell.flippableFraction,
    cell.meanPerturbation,
    cell.seconds,
  ];
}

/** One record a network. */
export function networksCsv(results: Results): string {
  return toCsv(
    [
      'id',
      ...networkFields,
      'seed',
      'twin',
      'epochs',
      'batch_size',
      'parameters',
      'n',
      'clean_accuracy',
      'train_seconds',
      'file',
    ],
    results.networks.map((network) => [
      network.id,
      ...networkValues(network),
      network.seed,
      network.twin,
      network.epochs,
      network.batchSize,
      network.parameters,
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
      'zero_gradient_fraction',
    ],
    results.whiteBox.map((cell) => [
      cell.threatModel,
      cell.network,
      ...networkValues(byId.get(cell.network)),
      ...attackValues(cell.attack, cell.epsilon),
      ...modeValues(cell.gradientMode),
      ...measuredValues(cell),
      cell.zeroGradientFraction,
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
    ]),
  );
}
