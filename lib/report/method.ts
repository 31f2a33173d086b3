import type { AttackRecord } from '../study/results.js';
import { attackLabel, epsilonText, span } from './format.js';
import { html, type Markup } from './markup.js';
import { distinct, type Summary } from './summary.js';

/** What the words and figures of the report mean, and every attack with its hyper-parameters. */
export function method(summary: Summary): Markup {
  const { results } = summary;
  const specs = distinct(
    [...results.whiteBox, ...results.transfer].map((cell) => cell.attack),
    (attack) => JSON.stringify(attack),
  );
  const lines = distinct(specs, attackLabel).map((first) => {
    const same = specs.filter((attack) => attackLabel(attack) === attackLabel(first));
    const sizes = (name: string, value: (attack: AttackRecord) => number | undefined) => {
      const sizesByEpsilon = same.flatMap((attack) => {
        const size = value(attack);
        return size === undefined
          ? []
          : [`${Number(size.toPrecision(4))} at ε = ${epsilonText(attack.epsilon)}`];
      });
      return sizesByEpsilon.length === 0 ? [] : [`${name} ${[...new Set(sizesByEpsilon)].join(', ')}`];
    };
    const parts = [
      ...[
        ...new Set(same.flatMap((attack) => (attack.steps === undefined ? [] : [`${attack.steps} steps`]))),
      ],
      ...sizes('step size', (attack) => attack.stepSize),
      ...sizes('α', (attack) => attack.alpha),
      ...(first.randomStart === undefined ? [] : [first.randomStart ? 'random start' : 'no random start']),
      ...(first.restarts === undefined
        ? []
        : [
            `restarts ${span(
              same.flatMap((attack) => attack.restarts ?? []),
              String,
            )}`,
          ]),
      ...(first.targeted ? ['targeted'] : []),
      ...(same.some((attack) => attack.earlyStop === true)
        ? [
            'images are left alone once they are misclassified, so that perturbations are not the largest that fit',
          ]
        : []),
    ];
    return html`<dd>${attackLabel(first)}: ${parts.length === 0 ? 'one step of size ε' : parts.join('; ')}.</dd>
`;
  });
  return html`<dl class="notes">
<dt>Images, ε and the ball</dt>
<dd>Pixels lie in [0, 1] and ε is in the same units. In L∞ an attacked image stays within lo = max(0, x − ε) and hi = min(1, x + ε) of the clean one, pixel by pixel; in L2 the length of the whole change is at most ε. Whether an attack succeeded is decided by predicting the stored attacked image again, not by the attack.</dd>
<dt>Discretization</dt>
<dd>A network with b-bit input rounds every pixel to the nearest of 2<sup>b</sup> evenly spaced levels, its codes 0 to 2<sup>b</sup> − 1, before its first layer. The attacker works on pixels, through the discretizer.</dd>
<dt>Flippable fraction</dt>
<dd>The share of pixels whose code can change at all within ε: those where lo and hi have different codes. Where it is small, a network is safe because the attack has little to change. At 2 bits the rounding thresholds lie at 1/6, 1/2 and 5/6, so that a pixel at exactly 0 or 1 cannot change for ε below 1/6.</dd>
<dt>Adversarial loss</dt>
<dd>Clean accuracy minus accuracy under attack, on the same images, in percentage points.</dd>
<dt>Threat models</dt>
<dd>White-box: the attacker uses the gradients of the network under attack. Black-box transfer: the attacker uses those of a named source network only. The diagonal of the transfer matrix uses a twin, the same network trained from another seed, where there is one.</dd>
<dt>Gradient modes</dt>
<dd>Rounding and sign have derivative zero almost everywhere, so an attacker must choose a substitute. <i>Identity</i> passes the gradient through unchanged; <i>clipped</i> passes it where the input of the sign lies in [−1, 1]; <i>approx</i> uses a triangle over [−1, 1] in its place; <i>swish</i> a smooth curve about zero; <i>exact</i> uses the true derivative, zero, and exists only to show how a masked gradient passes for robustness. The mode is the attacker’s choice, independent of how the network was trained.</dd>
<dt>Per-example worst</dt>
<dd>An image counts as lost where any gradient mode tried wins it; exact modes are left out. Where later modes attacked only the images that had withstood the earlier ones, the result is the same, and only the first mode has a figure of its own.</dd>
<dt>Adversarial training</dt>
<dd>A share of each training batch is replaced by images attacked with the network as it is at that step; ensemble training makes some of them on static networks, twins of naturally trained ones, instead.</dd>
<dt>Attacks in this study</dt>
${lines}<dt>n and seeds</dt>
<dd>n is the number of test images a figure rests on. With several seeds a figure is the mean ± the sample standard deviation over trainings; with one it has Wilson’s 95 % interval, which speaks of other images for the same network and not of another training.</dd>
</dl>
`;
}
