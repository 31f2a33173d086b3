import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import {
  rateFactor,
  resolveSchedule,
  type Schedule,
  type ScheduleSpec,
  scheduleNames,
} from '../../lib/optim/schedule.js';
import { failure } from '../support/failure.js';

interface OneCycleCase {
  readonly steps: number;
  readonly warmUp: number;
  readonly startDivisor: number;
  readonly endDivisor: number;
  readonly factors: readonly number[];
}

const { oneCycle } = JSON.parse(
  readFileSync(new URL('../fixtures/schedules.json', import.meta.url), 'utf8'),
) as { oneCycle: readonly OneCycleCase[] };

const all = (schedule: Schedule, steps: number, epochs = 1): number[] => {
  const spec = resolveSchedule(schedule);
  return Array.from({ length: steps }, (_, step) => rateFactor(spec, step, steps, epochs));
};

describe('schedules', () => {
  for (const { factors, steps, ...settings } of oneCycle) {
    it(`one-cycle gives PyTorch's factors over ${steps} steps`, () => {
      all({ name: 'one-cycle', ...settings }, steps).forEach((factor, step) => {
        expect(factor).to.be.closeTo(factors[step] as number, 1e-14, `step ${step}`);
      });
    });
  }

  it('have the closed forms of their papers', () => {
    expect(all('constant', 3)).to.deep.equal([1, 1, 1]);
    expect(all('linear', 4)).to.deep.equal([1, 0.75, 0.5, 0.25]);
    expect(all('cosine', 4).map((x) => x.toFixed(6))).to.deep.equal([
      '1.000000',
      '0.853553',
      '0.500000',
      '0.146447',
    ]);
    expect(all({ name: 'step', everyEpochs: 2, factor: 0.5 }, 10, 5)).to.deep.equal([
      1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25,
    ]);
    // Four steps of warm-up, then the same cosine over the six that are left.
    const warm = all({ name: 'cosine', warmUpSteps: 4 }, 10);
    expect(warm.slice(0, 4)).to.deep.equal([0.25, 0.5, 0.75, 1]);
    expect(warm.slice(4)).to.deep.equal(all('cosine', 6));
    expect(all({ name: 'linear', warmUpSteps: 2 }, 6)).to.deep.equal([0.5, 1, 1, 0.75, 0.5, 0.25]);
  });

  it('stay in (0, 1], reach 1, and rise at most until they peak', () => {
    const anySchedule: fc.Arbitrary<Schedule> = fc.oneof(
      fc.constantFrom(...scheduleNames),
      fc.record({ name: fc.constantFrom('linear' as const, 'cosine' as const), warmUpSteps: fc.nat(19) }),
      fc.record({
        name: fc.constant('step' as const),
        everyEpochs: fc.integer({ min: 1, max: 4 }),
        factor: fc.double({ min: 0.01, max: 1, noNaN: true }),
      }),
      fc.record({
        name: fc.constant('one-cycle' as const),
        warmUp: fc.double({ min: 0, max: 1, noNaN: true }),
        startDivisor: fc.double({ min: 1, max: 100, noNaN: true }),
        endDivisor: fc.double({ min: 1, max: 1e5, noNaN: true }),
      }),
    );
    fc.assert(
      fc.property(
        anySchedule,
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 9 }),
        (schedule, stepsPerEpoch, epochs) => {
          const steps = Math.max(20, stepsPerEpoch * epochs);
          const factors = all(schedule, steps, epochs);
          for (const factor of factors) expect(factor).to.be.within(0, 1 + 1e-12);
          const peak = factors.indexOf(Math.max(...factors));
          for (let i = 1; i < steps; i++) {
            const rise = (factors[i] as number) - (factors[i - 1] as number);
            if (i <= peak) expect(rise).to.be.greaterThan(-1e-12);
            else expect(rise).to.be.lessThan(1e-12);
          }
          if (typeof schedule === 'string' && schedule !== 'one-cycle') expect(factors[0]).to.equal(1);
        },
      ),
    );
  });

  it('take names, names with settings, and what they were resolved to', () => {
    for (const name of scheduleNames) {
      const spec: ScheduleSpec = resolveSchedule(name);
      expect(spec.name).to.equal(name);
      expect(resolveSchedule({ name })).to.deep.equal(spec);
      expect(resolveSchedule(spec)).to.deep.equal(spec);
    }
    expect(resolveSchedule({ name: 'step', factor: 0.5 })).to.deep.equal({
      name: 'step',
      everyEpochs: 30,
      factor: 0.5,
    });
  });

  it('refuse unknown names and settings, and values out of range', () => {
    const wrong: readonly (readonly [Schedule, string, string])[] = [
      ['cosin' as Schedule, "did you mean 'cosine'", 'ERR_HARDBIT_UNKNOWN_NAME'],
      [{ name: 'step', every: 2 }, 'everyEpochs', 'ERR_HARDBIT_UNKNOWN_NAME'],
      [{ name: 'constant', factor: 2 }, "no setting 'factor'", 'ERR_HARDBIT_ARGUMENT'],
      [{ name: 'step', everyEpochs: 1.5 }, 'everyEpochs of the schedule step is 1.5', 'ERR_HARDBIT_ARGUMENT'],
      [{ name: 'step', factor: '0.1' }, 'factor of the schedule step is 0.1', 'ERR_HARDBIT_ARGUMENT'],
      [{ name: 'cosine', warmUpSteps: -1 }, 'warmUpSteps', 'ERR_HARDBIT_ARGUMENT'],
      [{ name: 'one-cycle', warmUp: 1.1 }, 'a number from 0 to 1', 'ERR_HARDBIT_ARGUMENT'],
      [{ name: 'one-cycle', startDivisor: 0 }, 'startDivisor', 'ERR_HARDBIT_ARGUMENT'],
    ];
    for (const [schedule, sentence, code] of wrong) {
      const error = failure(() => resolveSchedule(schedule));
      expect(error.message).to.contain(sentence);
      expect(error.code).to.equal(code);
    }
  });
});
