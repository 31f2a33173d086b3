import { type Basis, provenance, scrollTable } from './cells.js';
import { attackLabel, count, fixed, isMasking, percent } from './format.js';
import { html, type Markup } from './markup.js';
import { zeroGradientFlag } from './modes.js';
import { mean } from './statistics.js';
import { cellKey, type Summary } from './summary.js';

/** Breaches up to one point pass: figures rest on a sample of images and on random starts. */
const tolerance = 0.01;

/** One comparison: how far it goes the wrong way, in [−1, 1], and what it rests on. */
interface Comparison extends Basis {
  readonly breach: number;
}

interface Check {
  readonly title: string;
  readonly why: string;
  readonly threatModel: string;
  of(summary: Summary, model: string): Comparison[];
}

const checks: readonly Check[] = [
  {
    title: 'More steps are no weaker',
    why: 'A multi-step attack leaves no more than the strongest single-step one at the same ε.',
    threatModel: 'white-box, worst gradient mode',
    of: (summary, model) => {
      const linf = summary.attacks.filter(({ norm }) => norm === 'linf');
      const single = linf.filter(({ multiStep }) => !multiStep);
      const multi = linf.filter(({ multiStep }) => multiStep);
      const epsilons = [...new Set(multi.flatMap((attack) => attack.epsilons))];
      return summary.of(model).flatMap((variant) =>
        epsilons.flatMap((epsilon) => {
          const a = summary.strongest(variant, single, epsilon);
          const b = summary.strongest(variant, multi, epsilon);
          return a === null || b === null
            ? []
            : [{ breach: b.accuracy - a.accuracy, n: a.n, seeds: a.seeds }];
        }),
      );
    },
  },
  {
    title: 'A larger ε is no weaker',
    why: 'Under one attack accuracy does not rise from one ε to the next.',
    threatModel: 'white-box, worst gradient mode',
    of: (summary, model) =>
      summary.of(model).flatMap((variant) =>
        summary.attacks.flatMap((attack) => {
          const cells = attack.epsilons
            .map((epsilon) => summary.worst(variant, attack, epsilon))
            .filter((cell) => cell !== null);
          return cells.slice(1).flatMap((cell, i) => {
            const before = cells[i];
            return before === undefined
              ? []
              : [{ breach: cell.accuracy - before.accuracy, n: cell.n, seeds: cell.seeds }];
          });
        }),
      ),
  },
  {
    title: 'White-box is no weaker than transfer',
    why: 'Images made on another network leave no less than the network’s own gradients do, at the same attack and ε.',
    threatModel: 'white-box against transfer',
    of: (summary, model) => {
      const own = new Map(
        summary.results.worstCase.map((cell) => [
          cellKey(cell.network, attackLabel(cell.attack), cell.epsilon),
          cell.adversarialAccuracy,
        ]),
      );
      return summary.results.transfer
        .filter(
          ({ target, diagonal }) => diagonal !== 'white-box' && summary.byId.get(target)?.model === model,
        )
        .flatMap((cell) => {
          const white = own.get(cellKey(cell.target, attackLabel(cell.attack), cell.epsilon));
          return white === undefined
            ? []
            : [{ breach: white - cell.adversarialAccuracy, n: [cell.n], seeds: [cell.seed] }];
        });
    },
  },
  {
    title: 'Gradients are there',
    why: `Fewer than ${percent(zeroGradientFlag)} % of the attacked images have an exactly zero first gradient.`,
    threatModel: 'white-box, every honest gradient mode',
    of: (summary, model) =>
      summary.results.whiteBox
        .filter(
          ({ network, gradientMode }) =>
            !isMasking(gradientMode) && summary.byId.get(network)?.model === model,
        )
        .flatMap((cell) =>
          cell.zeroGradientFraction === null
            ? []
            : [
                {
                  // Passes below the flag, so that the common tolerance serves.
                  breach: cell.zeroGradientFraction,
                  n: [cell.n],
                  seeds: [cell.seed],
                },
              ],
        ),
  },
];

/** Signs that an attack was blind rather than a network robust (Athalye et al. 2018; Carlini et al. 2019), by model. */
export function checksTable(summary: Summary): Markup {
  const seen: Basis[] = [];
  const rows = checks.map((check) => {
    const cells = summary.models.map((model) => {
      const compared = check.of(summary, model);
      seen.push(...compared);
      if (compared.length === 0) return html`<td class="none text">not measured</td>`;
      const breached = compared.filter(({ breach }) => breach >= tolerance);
      const largest = compared.reduce((most, { breach }) => Math.max(most, breach), 0);
      const passed = compared.length - breached.length;
      return breached.length === 0
        ? html`<td class="text"><span class="badge holds">all ${count(compared.length)}</span></td>`
        : html`<td class="text"><span class="badge fails">${count(passed)} of ${count(compared.length)}</span><small>up to ${fixed(100 * largest, 1)} points</small></td>`;
    });
    return html`<tr><th scope="row"><b>${check.title}.</b> ${check.why} <span class="quiet">${check.threatModel}.</span></th>${cells}</tr>
`;
  });
  return scrollTable(
    html`<b>Signs of masked gradients.</b> ${provenance(seen, 'Threat model as said').replace(/mean ± sample standard deviation over /, '')}; gradient mode as said, a comparison passes up to ${percent(tolerance)} point. Where one fails, the attack was too weak there and the accuracy kept says little.`,
    'Signs of masked gradients by model',
    html`<thead>
<tr><th scope="col">Check</th>${summary.models.map((model) => html`<th scope="col" class="text">${model}</th>`)}</tr>
</thead>
<tbody>
${rows}</tbody>
`,
    'checks',
  );
}

/** What an attack seems to leave when it takes the discretizer's gradient as it is, zero: one sentence. */
export function maskingSentence(summary: Summary): string | null {
  const masked = summary.results.whiteBox.filter(({ gradientMode }) => isMasking(gradientMode));
  const worst = new Map(
    summary.results.worstCase.map((cell) => [
      cellKey(cell.network, attackLabel(cell.attack), cell.epsilon),
      cell.adversarialAccuracy,
    ]),
  );
  const pairs = masked.flatMap((cell) => {
    const honest = worst.get(cellKey(cell.network, attackLabel(cell.attack), cell.epsilon));
    return honest === undefined ? [] : [{ shown: cell.adversarialAccuracy, honest }];
  });
  if (pairs.length === 0) return null;
  const [shown, honest] = [mean(pairs.map((pair) => pair.shown)), mean(pairs.map((pair) => pair.honest))];
  return (
    `What masking looks like: with gradients taken as exact, that is zero, the same attacks seem to leave ${percent(shown)} % ` +
    `on average where honest modes leave ${percent(honest)} % (${count(pairs.length)} pairs, white-box). Such figures stand nowhere else on this page.`
  );
}
