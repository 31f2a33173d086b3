import type { ClaimRecord, NetworkRecord, Results, WhiteBoxRecord } from '../study/results.js';
import { attackText, epsilonText, networkText } from '../study/words.js';
import { colors, fixed, table } from './terminal.js';

/** Networks that differ only in their seed. */
function groups(networks: readonly NetworkRecord[]): [string, NetworkRecord[]][] {
  const found = new Map<string, NetworkRecord[]>();
  for (const network of networks.filter(({ twin }) => !twin)) {
    const name = networkText(network);
    found.set(name, [...(found.get(name) ?? []), network]);
  }
  return [...found];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The largest adversarial loss over gradient modes. */
function worstLoss(cells: readonly WhiteBoxRecord[]): number {
  return Math.max(...cells.map(({ adversarialLoss }) => adversarialLoss));
}

/** Adversarial loss in points by network and attack, white-box under the worst gradient mode, over seeds the mean. */
export function lossTable(results: Results): string {
  const columns = new Map<string, (cell: WhiteBoxRecord) => boolean>();
  for (const { attack, epsilon } of results.whiteBox) {
    columns.set(
      `${attackText(attack)}\n${epsilonText(epsilon)}`,
      (cell) => attackText(cell.attack) === attackText(attack) && cell.epsilon === epsilon,
    );
  }
  const rows = groups(results.networks).map(([name, networks]) => [
    name,
    fixed(100 * mean(networks.map(({ cleanAccuracy }) => cleanAccuracy))),
    ...[...columns.values()].map((suits) => {
      const losses = networks.flatMap(({ id }) => {
        const cells = results.whiteBox.filter((cell) => cell.network === id && suits(cell));
        return cells.length === 0 ? [] : [worstLoss(cells)];
      });
      return losses.length === 0 ? '' : fixed(100 * mean(losses));
    }),
  ]);
  return table(['network', 'clean\n%', ...columns.keys()], rows);
}

const marks: Readonly<Record<ClaimRecord['verdict'], string>> = {
  holds: colors.green('holds'),
  fails: colors.red('fails'),
  'not tested': colors.dim('not tested'),
};

/** '2 of 4 white-box, 1 of 2 transfer' */
function tally(claim: ClaimRecord): string {
  const parts = (['none', 'white-box', 'transfer'] as const).flatMap((threat) => {
    const tested = claim.verdicts.filter(
      (each) => each.threatModel === threat && each.verdict !== 'not tested',
    );
    if (tested.length === 0) return [];
    const held = tested.filter((each) => each.verdict === 'holds').length;
    return [`${held} of ${tested.length}${threat === 'none' ? '' : ` ${threat}`}`];
  });
  return parts.length === 0 ? '' : `holds in ${parts.join(', ')}`;
}

/** The claims, a line each. */
export function claimTable(results: Results): string {
  return results.claims
    .map(({ id, title, verdict, ...claim }) => {
      const mark = marks[verdict] + ' '.repeat('not tested'.length - verdict.length);
      const detail = tally({ id, title, verdict, ...claim });
      return `${id}  ${mark}  ${title}${detail === '' ? '' : colors.dim(` (${detail})`)}`;
    })
    .join('\n');
}

/** What a finished study says on the screen. */
export function studySummary(results: Results): string {
  const images = [...new Set(results.whiteBox.map(({ n }) => n))].join(', ');
  return [
    lossTable(results),
    '',
    `Adversarial loss in points (clean minus adversarial accuracy), by attack and ε: white-box, worst gradient mode found,`,
    `n = ${images} (clean column: ${[...new Set(results.networks.map(({ n }) => n))].join(', ')}), seed${results.seeds.length > 1 ? 's' : ''} ${results.seeds.join(', ')}.`,
    '',
    claimTable(results),
  ].join('\n');
}
