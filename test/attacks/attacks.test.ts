import { expect } from 'chai';
import fc from 'fast-check';
import type { Attackable } from '../../lib/attacks/attackable.js';
import { flippablePixels, measurePerturbation } from '../../lib/attacks/ball.js';
import { type AttackSpec, attackNames, resolveAttack, runAttack } from '../../lib/attacks/registry.js';
import { native } from '../../lib/native.js';
import { signStart, uniformStart } from '../../lib/ops/attack-step.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import {
  imageTensor,
  type Linear,
  labelTensor,
  linearAttackable,
  randomImages,
  randomLabels,
  randomLinear,
  randomSource,
  referenceBall,
  referenceClass,
  referenceLoss,
  referenceWalk,
  rowsOf,
} from './linear.js';

const N = 9;
const model = randomLinear(1);
const pixels = randomImages(2, N, model.inputShape);
const labels = randomLabels(3, N, model.classes);

interface Run {
  readonly adversarial: Float32Array;
  readonly firstGradientZero: Uint8Array;
  readonly gradientCalls: number[];
}

/** Attacks `data`, with every tensor freed. */
function attack(
  spec: AttackSpec,
  options: {
    victim?: Linear;
    data?: Float32Array;
    labels?: Int32Array;
    seed?: number;
    firstRow?: number;
  } = {},
): Run {
  const victim = options.victim ?? model;
  return scope(() => {
    const images = imageTensor(options.data ?? pixels, victim.inputShape);
    const result = runAttack(spec, linearAttackable(victim), images, labelTensor(options.labels ?? labels), {
      seed: options.seed ?? 5,
      firstRow: options.firstRow ?? 0,
    });
    return {
      adversarial: result.adversarial.toFloat32Array(),
      firstGradientZero: result.firstGradientZero,
      gradientCalls: [...result.gradientCalls],
    };
  });
}

/** The reference for all examples. */
function expected(
  starts: Float32Array,
  walk: { epsilon: number; steps: number; stepSize: number },
  given: Int32Array = labels,
): Float32Array {
  const origins = rowsOf(pixels, N);
  const rows = rowsOf(starts, N).map((start, i) =>
    referenceWalk(model, origins[i] as Float32Array, start, given[i] as number, walk),
  );
  return Float32Array.from(rows.flatMap((row) => [...row]));
}

function startOf(draw: (origin: Tensor) => Tensor): Float32Array {
  return scope(() => draw(imageTensor(pixels, model.inputShape)).toFloat32Array());
}

function errorOf(body: () => unknown): Error & { code?: string } {
  try {
    body();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error');
}

describe('attacks against an independent float64 reference', () => {
  for (const epsilon of [0.03, 0.1, 8 / 255, 0.5]) {
    it(`FGSM is x + ε·sign(∇J) in the ball, ε = ${epsilon}`, () => {
      const { adversarial } = attack(resolveAttack('fgsm', { epsilon }));
      expect(adversarial).to.deep.equal(expected(pixels, { epsilon, steps: 1, stepSize: epsilon }));
    });

    it(`BIM and PGD without random start are projected sign steps from the image, ε = ${epsilon}`, () => {
      const walk = { epsilon, steps: 7, stepSize: epsilon / 3 };
      const { epsilon: e, steps, stepSize } = walk;
      const bim = attack(resolveAttack('bim', { epsilon: e, steps, stepSize }));
      const pgd = attack(resolveAttack('pgd', { epsilon: e, steps, stepSize, randomStart: false }));
      expect(bim.adversarial).to.deep.equal(expected(pixels, walk));
      expect(pgd.adversarial).to.deep.equal(bim.adversarial);
      expect(bim.gradientCalls).to.deep.equal(new Array(N).fill(7));
    });

    it(`PGD starts from U[−ε, ε) of random stream 0 and takes 20 steps of 2.5ε/20, ε = ${epsilon}`, () => {
      const start = startOf((x) => uniformStart(x, epsilon, epsilon, { seed: 5, stream: 0, firstRow: 0 }));
      const { adversarial, gradientCalls } = attack(resolveAttack('pgd', { epsilon }));
      const stepSize = Math.min(1, (2.5 * epsilon) / 20);
      expect(adversarial).to.deep.equal(expected(start, { epsilon, steps: 20, stepSize }));
      expect(gradientCalls).to.deep.equal(new Array(N).fill(20));
    });

    it(`R+FGSM steps ε − α from x + α·sign(noise), ε = ${epsilon}`, () => {
      for (const alpha of [epsilon / 2, 0, epsilon, epsilon / 5]) {
        const start = startOf((x) => signStart(x, alpha, epsilon, { seed: 5, stream: 0, firstRow: 0 }));
        const { adversarial } = attack(resolveAttack('r-fgsm', { epsilon, alpha }));
        expect(adversarial).to.deep.equal(expected(start, { epsilon, steps: 1, stepSize: epsilon - alpha }));
      }
    });
  }

  it('targeted attacks descend on the loss of the target', () => {
    const targets = labels.map((label) => (label + 1) % model.classes);
    const fgsm = attack(resolveAttack('fgsm', { epsilon: 0.2, targeted: true }), { labels: targets });
    expect(fgsm.adversarial).to.deep.equal(
      expected(pixels, { epsilon: 0.2, steps: 1, stepSize: -0.2 }, targets),
    );
    const bim = attack(resolveAttack('bim', { epsilon: 0.2, targeted: true }), { labels: targets });
    const walk = { epsilon: 0.2, steps: 10, stepSize: -0.05 };
    expect(bim.adversarial).to.deep.equal(expected(pixels, walk, targets));
    const loss = (x: Float32Array) =>
      rowsOf(x, N).reduce((sum, row, i) => sum + referenceLoss(model, row, targets[i] as number), 0);
    expect(loss(bim.adversarial)).to.be.below(loss(pixels));
  });

  it('restarts keep the worst of each example: misclassified first, then the highest loss', () => {
    const walk = { epsilon: 0.3, steps: 1, stepSize: 0.02 };
    const restarts = 6;
    const { adversarial, gradientCalls } = attack(resolveAttack('pgd', { ...walk, restarts }));
    const runs = Array.from({ length: restarts }, (_, stream) => {
      const start = startOf((x) => uniformStart(x, 0.3, 0.3, { seed: 5, stream, firstRow: 0 }));
      return rowsOf(expected(start, walk), N);
    });
    const chosen = new Set<number>();
    rowsOf(adversarial, N).forEach((row, i) => {
      const label = labels[i] as number;
      const ranks = runs.map((run) => {
        const x = run[i] as Float32Array;
        return (referenceClass(model, x) === label ? 0 : 1000) + referenceLoss(model, x, label);
      });
      const best = ranks.indexOf(Math.max(...ranks));
      chosen.add(best);
      expect(row).to.deep.equal(runs[best]?.[i]);
    });
    expect(chosen.size).to.be.above(2);
    expect(gradientCalls).to.deep.equal(new Array(N).fill(restarts));
  });

  it('a targeted restart is better where it reaches the target, then where the loss is lowest', () => {
    const walk = { epsilon: 0.3, steps: 1, stepSize: 0.02 };
    const { adversarial } = attack(resolveAttack('pgd', { ...walk, restarts: 6, targeted: true }));
    const runs = Array.from({ length: 6 }, (_, stream) => {
      const start = startOf((x) => uniformStart(x, 0.3, 0.3, { seed: 5, stream, firstRow: 0 }));
      return rowsOf(expected(start, { ...walk, stepSize: -0.02 }), N);
    });
    rowsOf(adversarial, N).forEach((row, i) => {
      const label = labels[i] as number;
      const ranks = runs.map((run) => {
        const x = run[i] as Float32Array;
        return (referenceClass(model, x) === label ? 1000 : 0) - referenceLoss(model, x, label);
      });
      expect(row).to.deep.equal(runs[ranks.indexOf(Math.max(...ranks))]?.[i]);
    });
  });
});

describe('the ball', () => {
  const levels = Float32Array.from({ length: 256 }, (_, k) => k / 255);
  const pixel = fc.oneof(
    fc.constantFrom(0, 1),
    fc.integer({ min: 0, max: 255 }).map((k) => Math.fround(k / 255)),
    fc.float({ min: 0, max: 1, noNaN: true }),
  );
  const radius = fc.oneof(
    fc.constantFrom(0, 1, 0.1, 0.2, 0.3, 8 / 255, 1 / 6, 1e-9),
    fc.double({ min: 0, max: 1, noNaN: true }),
  );

  it('no attack returns a pixel outside max(0, fl(x − ε)) … min(1, fl(x + ε))', () => {
    const property = fc.property(
      fc.array(pixel, { minLength: 12, maxLength: 12 }),
      radius,
      fc.constantFrom(...attackNames),
      fc.boolean(),
      fc.nat(),
      (image, epsilon, name, targeted, seed) => {
        const data = Float32Array.from(image);
        const spec = resolveAttack(name, { epsilon, targeted });
        const { adversarial } = attack(spec, { data, labels: Int32Array.of(1), seed });
        adversarial.forEach((value, j) => {
          const [low, high] = referenceBall(data[j] as number, epsilon);
          expect(value).to.be.within(low, high);
        });
        scope(() => {
          const [a, b] = [adversarial, data].map((values) => imageTensor(values, model.inputShape));
          expect(measurePerturbation(a as Tensor, b as Tensor, epsilon).outside).to.equal(0);
        });
      },
    );
    fc.assert(property, { numRuns: 150, seed: 11 });
  });

  it('measures the distance in double, and counts pixels that are outside', () => {
    scope(() => {
      const a = Tensor.from('f32', [1, 5], Float32Array.of(0.5, 0.625, 0.25, 1, 0));
      const b = Tensor.from('f32', [1, 5], Float32Array.of(0.5, 0.5, 0.5, 1, 0));
      expect(measurePerturbation(a, b, 0.125)).to.deep.equal({
        sum: 0.375,
        max: 0.25,
        distances: Float32Array.of(Math.hypot(0.125, 0.25)),
        outside: 1,
      });
    });
  });

  it('counts the pixels whose code can change, ties included', () => {
    const f = Math.fround;
    const scaled = (x: number, bits: number) => f(f(x * (2 ** bits - 1)) + 0.5);
    for (const bits of [1, 2, 4, 8]) {
      for (const epsilon of [0, 0.001, 8 / 255, 0.1, 0.2, 0.3, 1]) {
        const flips = [...levels].filter((x) => {
          const [low, high] = referenceBall(x, epsilon);
          return Math.floor(scaled(low, bits)) !== Math.floor(scaled(high, bits));
        });
        const counted = scope(() => flippablePixels(Tensor.from('f32', [1, 256], levels), epsilon, bits));
        expect(counted, `${bits} bits, ε = ${epsilon}`).to.equal(flips.length);
      }
    }
    // At ε = .1 and 2 bits, six levels touch a rounding threshold exactly, so the count above met real ties.
    const ties = [...levels].filter((x) =>
      referenceBall(x, 0.1).some((end) => end > 0 && end < 1 && Number.isInteger(scaled(end, 2))),
    );
    expect(ties.length).to.equal(6);
  });

  it('at ε = 0 every attack returns the images', () => {
    for (const name of attackNames) {
      expect(attack(resolveAttack(name, { epsilon: 0 })).adversarial, name).to.deep.equal(pixels);
    }
  });

  it('random starts fill the ball evenly, and the coin of R+FGSM is fair', () => {
    const grey = new Float32Array(4000).fill(0.5);
    const [uniform, coin] = scope(() => {
      const x = Tensor.from('f32', [4, 10, 10, 10], grey);
      const source = { seed: 9, stream: 0, firstRow: 0 };
      return [
        uniformStart(x, 0.1, 0.1, source).toFloat32Array(),
        signStart(x, 0.1, 0.1, source).toFloat32Array(),
      ];
    }) as [Float32Array, Float32Array];
    const fifths = [0, 0, 0, 0, 0];
    for (const value of uniform) fifths[Math.min(4, Math.floor((value - 0.4) / 0.04))]! += 1;
    for (const count of fifths) expect(count).to.be.within(680, 920); // 800 ± 4.7 standard deviations
    expect(coin.filter((value) => value > 0.5).length).to.be.within(1850, 2150);
    expect(new Set(coin).size).to.equal(2);
  });
});

describe('gradients that vanish', () => {
  it('sign(0) = 0: a pixel that the loss ignores stays where it is', () => {
    const blind: Linear = {
      ...model,
      weights: model.weights.map((row) => row.map((w, j) => (j % 3 === 0 ? 0 : w))),
    };
    for (const name of ['fgsm', 'bim'] as const) {
      const { adversarial, firstGradientZero } = attack(resolveAttack(name, { epsilon: 0.1 }), {
        victim: blind,
      });
      adversarial.forEach((value, j) => {
        if (j % 3 === 0) expect(value).to.equal(pixels[j]);
      });
      expect(adversarial).not.to.deep.equal(pixels);
      expect([...firstGradientZero]).to.deep.equal(new Array(N).fill(0));
    }
  });

  it('reports the examples whose whole first gradient is zero', () => {
    const numb: Linear = { ...model, weights: model.weights.map((row) => row.map(() => 0)) };
    const { adversarial, firstGradientZero } = attack(resolveAttack('fgsm', { epsilon: 0.1 }), {
      victim: numb,
    });
    expect([...firstGradientZero]).to.deep.equal(new Array(N).fill(1));
    expect(adversarial).to.deep.equal(pixels);
  });
});

describe('batches and restarts', () => {
  const specs = [
    resolveAttack('fgsm', { epsilon: 0.1 }),
    resolveAttack('r-fgsm', { epsilon: 0.1 }),
    resolveAttack('bim', { epsilon: 0.1 }),
    resolveAttack('pgd', { epsilon: 0.1 }),
    resolveAttack('pgd', { epsilon: 0.3, steps: 2, stepSize: 0.03, restarts: 3 }),
  ];

  for (const spec of specs) {
    it(`one image at a time gives what the whole batch gives: ${JSON.stringify(spec)}`, () => {
      const whole = attack(spec);
      const single = rowsOf(pixels, N).map((data, i) =>
        attack(spec, { data, labels: labels.slice(i, i + 1), firstRow: i }),
      );
      expect(single.flatMap((run) => [...run.adversarial])).to.deep.equal([...whole.adversarial]);
      expect(single.flatMap((run) => [...run.firstGradientZero])).to.deep.equal([...whole.firstGradientZero]);
    });
  }

  it('the seed decides the random start, and so does the row', () => {
    const spec = resolveAttack('pgd', { epsilon: 0.1, steps: 1, stepSize: 0.001 });
    const one = attack(spec, { seed: 1 }).adversarial;
    expect(attack(spec, { seed: 1 }).adversarial).to.deep.equal(one);
    expect(attack(spec, { seed: 2 }).adversarial).not.to.deep.equal(one);
    expect(attack(spec, { seed: 1, firstRow: 1 }).adversarial).not.to.deep.equal(one);
  });

  it('more restarts are never worse for any example', () => {
    const loss = (restarts: number) => {
      const spec = resolveAttack('pgd', { epsilon: 0.3, steps: 1, stepSize: 0.05, restarts });
      return rowsOf(attack(spec).adversarial, N).map((row, i) => ({
        fooled: referenceClass(model, row) !== labels[i],
        loss: referenceLoss(model, row, labels[i] as number),
      }));
    };
    const counts = [1, 2, 5, 12].map(loss);
    for (let k = 1; k < counts.length; k++) {
      counts[k]?.forEach((after, i) => {
        const before = counts[k - 1]?.[i] as { fooled: boolean; loss: number };
        expect(after.fooled || !before.fooled).to.equal(true);
        if (after.fooled === before.fooled) expect(after.loss).to.be.at.least(before.loss - 1e-6);
      });
    }
  });

  /** Three classes; the logits depend on the first pixel alone and the gradient is zero, so runs end where they start. */
  function firstPixel(
    size: number,
    logitsOf: (x: number) => readonly number[],
    onLogits = () => {},
  ): Attackable {
    const logits = (images: Tensor) => {
      onLogits();
      const data = images.toFloat32Array();
      const width = data.length / images.rows;
      const rows = Array.from({ length: images.rows }, (_, i) => logitsOf(data[i * width] as number));
      return Tensor.from('f32', [images.rows, 3], Float32Array.from(rows.flat()));
    };
    return {
      inputShape: [size, size, 1],
      classes: 3,
      logits,
      vjp: (images, cotangent) => {
        const output = Tensor.from('f32', [images.rows, 3]);
        cotangent(output);
        return { logits: output, gradient: Tensor.from('f32', images.shape) };
      },
    };
  }

  it('a misclassified restart beats one of higher loss that is still classified correctly', () => {
    // Left half: correct (.36 against .32 and .32), loss 1.02. Right half: misclassified (.45 against .55), loss .80.
    const victim = firstPixel(2, (x) => (x < 0.5 ? [0.36, 0.32, 0.32] : [0.45, 0.55, 1e-9]).map(Math.log));
    scope(() => {
      const images = imageTensor(new Float32Array(80).fill(0.5), [2, 2, 1]);
      const given = labelTensor(new Int32Array(20));
      const spec = resolveAttack('pgd', { epsilon: 0.1, steps: 1, restarts: 12 });
      const { adversarial } = runAttack(spec, victim, images, given, { seed: 3 });
      const single = runAttack({ ...spec, restarts: 1 } as AttackSpec, victim, images, given, { seed: 3 });
      const right = (x: Tensor) =>
        rowsOf(x.toFloat32Array(), 20).filter((row) => (row[0] as number) >= 0.5).length;
      expect(right(adversarial)).to.equal(20);
      expect(right(single.adversarial)).to.be.within(2, 18);
    });
  });

  it('restarts too large for one run are split into several, and still the worst is kept', () => {
    scope(() => {
      const images = imageTensor(new Float32Array(512 * 512).fill(0.5), [512, 512, 1]);
      const firsts = Array.from({ length: 66 }, (_, stream) =>
        scope(() => uniformStart(images, 0.25, 0.25, { seed: 3, stream, firstRow: 0 }).toFloat32Array()[0]),
      );
      let gradients = 0;
      let judged = 0;
      // Only where the last restart starts is the image misclassified. The gradient is zero in the second run alone.
      const still = firstPixel(
        512,
        (x) => (x === firsts[65] ? [0, 1, 0] : [1, 0, 0]),
        () => {
          judged++;
        },
      );
      const victim: Attackable = {
        ...still,
        vjp: (x, cotangent) => {
          const result = still.vjp(x, cotangent);
          return ++gradients > 1 ? result : { ...result, gradient: x.clone() };
        },
      };
      const spec = resolveAttack('pgd', { epsilon: 0.25, steps: 1, restarts: 66 });
      const result = runAttack(spec, victim, images, labelTensor(Int32Array.of(0)), { seed: 3 });
      expect([gradients, judged]).to.deep.equal([2, 2]);
      expect(result.adversarial.toFloat32Array()[0]).to.equal(firsts[65]);
      expect([...result.firstGradientZero]).to.deep.equal([0]);
    });
  }).timeout(20_000);
});

describe('runAttack', () => {
  const victim = linearAttackable(model);

  it('frees every tensor but its result, on errors too', () => {
    const images = imageTensor(pixels, model.inputShape);
    const given = labelTensor(labels);
    const wrong = labelTensor(labels.map(() => model.classes));
    const before = native().memory().liveTensors;
    for (const name of attackNames) {
      const { adversarial } = runAttack(resolveAttack(name, { epsilon: 0.1 }), victim, images, given, {
        seed: 1,
      });
      expect(native().memory().liveTensors, name).to.be.at.most(before + 1);
      adversarial.dispose();
    }
    const restarted = resolveAttack('pgd', { epsilon: 0.1, restarts: 4 });
    runAttack(restarted, victim, images, given, { seed: 1 }).adversarial.dispose();
    expect(errorOf(() => runAttack(restarted, victim, images, wrong, { seed: 1 })).code).to.equal(
      'ERR_HARDBIT_LABELS',
    );
    expect(native().memory().liveTensors).to.be.at.most(before);
    expect(images.toFloat32Array()).to.deep.equal(pixels);
    for (const tensor of [images, given, wrong]) tensor.dispose();
  });

  it('holds no more tensors at the last step than at the second', () => {
    const live: number[] = [];
    const watched: Attackable = {
      ...victim,
      vjp: (images, cotangent) => {
        live.push(native().memory().liveTensors);
        return victim.vjp(images, cotangent);
      },
    };
    scope(() => {
      const images = imageTensor(pixels, model.inputShape);
      runAttack(resolveAttack('pgd', { epsilon: 0.1 }), watched, images, labelTensor(labels), { seed: 1 });
    });
    expect(live).to.have.length(20);
    expect(new Set(live.slice(1)).size).to.equal(1);
  });

  it('stops between steps when the signal is aborted', () => {
    const controller = new AbortController();
    let gradients = 0;
    const stopping: Attackable = {
      ...victim,
      vjp: (images, cotangent) => {
        if (++gradients === 3) controller.abort();
        return victim.vjp(images, cotangent);
      },
    };
    scope(() => {
      const images = imageTensor(pixels, model.inputShape);
      const spec = resolveAttack('pgd', { epsilon: 0.1 });
      const before = native().memory().liveTensors;
      const run = () => runAttack(spec, stopping, images, given, { seed: 1, signal: controller.signal });
      const given = labelTensor(labels);
      expect(errorOf(run).code).to.equal('ERR_HARDBIT_ABORTED');
      expect(gradients).to.equal(3);
      expect(native().memory().liveTensors).to.be.at.most(before + 1);
    });
  });

  it('refuses images and labels that do not fit, with a code and a sentence', () => {
    const spec = resolveAttack('fgsm', { epsilon: 0.1 });
    const bad = (value: number) => Float32Array.from(pixels, (x, i) => (i === 7 ? value : x));
    const cases: [string, () => readonly [Tensor, Tensor]][] = [
      ['ERR_HARDBIT_PIXELS', () => [imageTensor(bad(Number.NaN), model.inputShape), labelTensor(labels)]],
      ['ERR_HARDBIT_PIXELS', () => [imageTensor(bad(1.0001), model.inputShape), labelTensor(labels)]],
      ['ERR_HARDBIT_PIXELS', () => [imageTensor(bad(-1e-8), model.inputShape), labelTensor(labels)]],
      ['ERR_HARDBIT_PIXELS', () => [imageTensor(bad(200), model.inputShape), labelTensor(labels)]],
      ['ERR_HARDBIT_SHAPE', () => [imageTensor(pixels, [2, 2, 3]), labelTensor(labels)]],
      ['ERR_HARDBIT_SHAPE', () => [imageTensor(pixels, [12]), labelTensor(labels)]],
      [
        'ERR_HARDBIT_SHAPE',
        () => [imageTensor(new Float32Array(0), model.inputShape), labelTensor(new Int32Array(0))],
      ],
      ['ERR_HARDBIT_DTYPE', () => [Tensor.from('u8', [N, ...model.inputShape]), labelTensor(labels)]],
      ['ERR_HARDBIT_LABELS', () => [imageTensor(pixels, model.inputShape), labelTensor(labels.slice(1))]],
      ['ERR_HARDBIT_LABELS', () => [imageTensor(pixels, model.inputShape), Tensor.from('f32', [N])]],
      [
        'ERR_HARDBIT_LABELS',
        () => [imageTensor(pixels, model.inputShape), labelTensor(labels.map(() => -1))],
      ],
    ];
    for (const [code, make] of cases) {
      const error = errorOf(() =>
        scope(() => {
          const [images, given] = make();
          return runAttack(spec, victim, images, given, { seed: 1 });
        }),
      );
      expect(error.code, error.message).to.equal(code);
      expect(error.message).to.match(/\.$/);
    }
  });

  it('checks a spec made by hand, and the context', () => {
    scope(() => {
      const images = imageTensor(pixels, model.inputShape);
      const given = labelTensor(labels);
      const run = (spec: object, context: object) => () =>
        runAttack(spec as AttackSpec, victim, images, given, { seed: 1, ...context });
      expect(errorOf(run({ name: 'fgsm', epsilon: 2 }, {})).code).to.equal('ERR_HARDBIT_ARGUMENT');
      expect(errorOf(run({ name: 'fgsm', epsilon: 0.1, steps: 3 }, {})).code).to.equal(
        'ERR_HARDBIT_ARGUMENT',
      );
      expect(errorOf(run({ name: 'fsgm', epsilon: 0.1 }, {})).code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
      for (const context of [
        { seed: -1 },
        { seed: 0.5 },
        { seed: 2 ** 53 },
        { firstRow: -1 },
        { firstRow: 0.5 },
      ]) {
        expect(errorOf(run({ name: 'fgsm', epsilon: 0.1 }, context)).code).to.equal('ERR_HARDBIT_ARGUMENT');
      }
    });
  });

  it('gives the same images on repetition, whatever runs in between', () => {
    const random = randomSource(4);
    const spec = resolveAttack('pgd', { epsilon: 0.2, restarts: 2 });
    const first = attack(spec).adversarial;
    attack(resolveAttack('r-fgsm', { epsilon: random() }));
    expect(attack(spec).adversarial).to.deep.equal(first);
  });
});
