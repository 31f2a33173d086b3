import type { ClaimRecord, NetworkRecord, Results } from '../study/results.js';
import { attackText, epsilonText, networkText } from '../study/words.js';
import { colors, fixed, table } from './terminal.js';

/** Networks that differ only in their seed. */
function groups(networks: readonly NetworkRecord[]): NetworkRecord[][] {
  const found = new Map<string, NetworkRecord[]>();
  for (const network of networks.filter(({ twin }) => !twin)) {
    found.set(network.variant, [...(found.get(network.variant) ?? []), network]);
  }
  return [...found.values()];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** A terminal's width holds about so many columns beside the network. */
const MOST_COLUMNS = 12;

/** Of many ε, those that quick studies have too. */
const COMMON_EPSILONS: readonly number[] = [0.1, 0.2, 0.3];

/** The attacks and ε to show: all of them, or where there are many, the common ε in L∞. */
function columnsOf(results: Results): Map<string, { readonly attack: string; readonly epsilon: number }> {
  const all = new Map(
    results.worstCase.map(({ attack, epsilon }) => {
      const text = attackText(attack);
      return [`${text}\n${epsilonText(epsilon)}`, { attack: text, epsilon }];
    }),
  );
  if (all.size <= MOST_COLUMNS) return all;
  return new Map([...all].filter(([, { epsilon }]) => COMMON_EPSILONS.includes(epsilon)));
}

/** Adversarial loss in points by network and attack, white-box, per-example worst over gradient modes; over seeds the mean. */
export function lossTable(results: Results): string {
  const columns = columnsOf(results);
  const several = new Set(results.networks.map(({ model }) => model)).size > 1;
  const losses = new Map(
    results.worstCase.map(({ network, attack, epsilon, adversarialLoss }) => [
      JSON.stringify([network, attackText(attack), epsilon]),
      adversarialLoss,
    ]),
  );
  const rows = groups(results.networks).map((networks) => {
    const [first] = networks as [NetworkRecord];
    return [
      `${several ? `${first.model}, ` : ''}${networkText(first)}`,
      fixed(100 * mean(networks.map(({ cleanAccuracy }) => cleanAccuracy))),
      ...[...columns.values()].map(({ attack, epsilon }) => {
        const found = networks.flatMap(({ id }) => losses.get(JSON.stringify([id, attack, epsilon])) ?? []);
        return found.length === 0 ? '' : fixed(100 * mean(found));
      }),
    ];
  });
  return table(['network', 'clean\n%', ...columns.keys()], rows);
}

type Verdict = ClaimRecord['byThreatModel'][number]['verdict'];

const marks: Readonly<Record<Verdict, string>> = {
  holds: colors.green('holds'),
  fails: colors.red('fails'),
  mixed: colors.yellow('mixed'),
  'not tested': colors.dim('not tested'),
};

/** The claims with their verdicts by threat model. */
export function claimTable(results: Results): string {
  return results.claims
    .map(({ id, title, byThreatModel, heading, caveat }) => {
      const shown = byThreatModel.filter(({ gradientMode }) => gradientMode === null);
      const verdicts = shown.map(({ threatModel, verdict }) =>
        threatModel === 'none' ? marks[verdict] : `${threatModel} ${marks[verdict]}`,
      );
      const lines = [`${id}  ${title}: ${verdicts.join(', ')}`, `   ${colors.dim(heading)}`];
      return [...lines, ...(caveat === null ? [] : [`   ${caveat}`])].join('\n');
    })
    .join('\n');
}

/** What a finished study says on the screen. */
export function studySummary(results: Results): string {
  const images = [...new Set(results.worstCase.map(({ n }) => n))].join(', ');
  const partial = results.complete ? [] : ['Not all of the plan is in these results.', ''];
  return [
    ...partial,
    lossTable(results),
    '',
    'Adversarial loss in points (clean minus adversarial accuracy), by attack and ε: white-box, each image under the worst of the',
    'gradient modes tried, ' +
      `n = ${images} (clean column: ${[...new Set(results.networks.map(({ n }) => n))].join(', ')}), seed${results.seeds.length > 1 ? 's' : ''} ${results.seeds.join(', ')}.`,
    '',
    claimTable(results),
  ].join('\n');
}
