import { expect } from 'chai';
import fc from 'fast-check';
import {
  type AttackOptions,
  attackNames,
  attackOptions,
  parseEpsilon,
  parseStepSize,
  resolveAttack,
} from '../../lib/attacks/registry.js';

function errorOf(body: () => unknown): Error & { code?: string } {
  try {
    body();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error');
}

describe('resolveAttack', () => {
  it('fills in the defaults of the papers', () => {
    expect(resolveAttack('fgsm', { epsilon: 0.1 })).to.deep.equal({
      name: 'fgsm',
      epsilon: 0.1,
      norm: 'linf',
      targeted: false,
    });
    expect(resolveAttack('r-fgsm', { epsilon: 0.1 })).to.deep.equal({
      name: 'r-fgsm',
      epsilon: 0.1,
      norm: 'linf',
      alpha: 0.05,
      targeted: false,
    });
    expect(resolveAttack('bim', { epsilon: 0.1 })).to.deep.equal({
      name: 'bim',
      epsilon: 0.1,
      norm: 'linf',
      steps: 10,
      stepSize: 0.025,
      earlyStop: false,
      targeted: false,
    });
    expect(resolveAttack('pgd', { epsilon: 0.2, steps: undefined })).to.deep.equal({
      name: 'pgd',
      epsilon: 0.2,
      norm: 'linf',
      steps: 20,
      stepSize: 0.025,
      randomStart: true,
      restarts: 1,
      earlyStop: false,
      targeted: false,
    });
  });

  it('resolves what it resolved to itself, and records every option the attack has', () => {
    for (const attack of attackNames) {
      const { name, ...options } = resolveAttack(attack, { epsilon: 1, targeted: true });
      expect(resolveAttack(name, options)).to.deep.equal({ name, ...options });
      expect(Object.keys(options)).to.deep.equal([...attackOptions[name]]);
    }
    for (const attack of ['fgsm', 'bim', 'pgd'] as const) {
      const { name, ...options } = resolveAttack(attack, { epsilon: 3, norm: 'l2' });
      expect(options.norm).to.equal('l2');
      expect(resolveAttack(name, options)).to.deep.equal({ name, ...options });
    }
    expect(resolveAttack('pgd', { epsilon: 2, norm: 'l2', earlyStop: true })).to.include({
      stepSize: 0.25,
      earlyStop: true,
    });
    // With one step at ε = 1 the default step of 2.5 is cut to 1, which reaches as far.
    expect(resolveAttack('pgd', { epsilon: 1, steps: 1 })).to.include({ stepSize: 1 });
  });

  it('refuses values outside their range', () => {
    const cases: [string, AttackOptions][] = [
      ['fgsm', { epsilon: -0.1 }],
      ['fgsm', { epsilon: Number.NaN }],
      ['fgsm', { epsilon: Number.POSITIVE_INFINITY }],
      ['fgsm', { epsilon: '0.1' as unknown as number }],
      ['fgsm', {} as AttackOptions],
      ['fgsm', { epsilon: 0.1, targeted: 'no' as unknown as boolean }],
      ['fgsm', { epsilon: 0.1, steps: 3 }],
      ['bim', { epsilon: 0.1, restarts: 2 }],
      ['pgd', { epsilon: 0.1, alpha: 0.05 }],
      ['pgd', { epsilon: 0.1, step: 3 } as unknown as AttackOptions],
      ['r-fgsm', { epsilon: 0.1, alpha: 0.11 }],
      ['r-fgsm', { epsilon: 0.1, alpha: -0.01 }],
      ['r-fgsm', { epsilon: 0.1, alpha: Number.NaN }],
      ['pgd', { epsilon: 0.1, steps: 0 }],
      ['pgd', { epsilon: 0.1, steps: 2.5 }],
      ['pgd', { epsilon: 0.1, steps: Number.NaN }],
      ['bim', { epsilon: 0.1, stepSize: -0.01 }],
      ['bim', { epsilon: 0.1, stepSize: 2 }],
      ['bim', { epsilon: 0.1, stepSize: Number.NaN }],
      ['pgd', { epsilon: 0.1, restarts: 0 }],
      ['pgd', { epsilon: 0.1, restarts: 2, randomStart: false }],
      ['pgd', { epsilon: 0, norm: 'l2' }],
      ['pgd', { epsilon: -1, norm: 'l2' }],
      ['pgd', { epsilon: Number.NaN, norm: 'l2' }],
      ['pgd', { epsilon: Number.POSITIVE_INFINITY, norm: 'l2' }],
      ['bim', { epsilon: 1, norm: 'l2', stepSize: -0.1 }],
      ['bim', { epsilon: 1, norm: 'l2', stepSize: Number.POSITIVE_INFINITY }],
      ['fgsm', { epsilon: 0.1, norm: 'l1' as unknown as 'l2' }],
      ['r-fgsm', { epsilon: 0.1, norm: 'l2' }],
      ['r-fgsm', { epsilon: 0.1, earlyStop: true }],
      ['fgsm', { epsilon: 0.1, earlyStop: true }],
      ['pgd', { epsilon: 0.1, earlyStop: 1 as unknown as boolean }],
    ];
    for (const [name, options] of cases) {
      const error = errorOf(() => resolveAttack(name, options));
      expect(error.code, `${name} ${JSON.stringify(options)}`).to.equal('ERR_HARDBIT_ARGUMENT');
      expect(error.message).to.match(/^[^\n]+\.$/);
    }
  });

  it('an ε in 0 … 255 is answered with what it is in [0, 1]', () => {
    expect(errorOf(() => resolveAttack('fgsm', { epsilon: 8 })).message).to.contain('8/255 is 0.0314');
    expect(errorOf(() => resolveAttack('fgsm', { epsilon: 16 })).message).to.contain('16/255 is 0.0627');
    expect(errorOf(() => resolveAttack('fgsm', { epsilon: 1.5 })).message).to.contain('8/255 is 0.0314');
  });

  it('an unknown attack is answered with the nearest known one', () => {
    const error = errorOf(() => resolveAttack('pdg', { epsilon: 0.1 }));
    expect(error.code).to.equal('ERR_HARDBIT_UNKNOWN_NAME');
    expect(error.message).to.contain("'pgd'");
  });
});

describe('parseEpsilon', () => {
  it('reads numbers and fractions', () => {
    const cases: [string, number][] = [
      ['0.1', 0.1],
      ['.1', 0.1],
      ['0', 0],
      ['1', 1],
      ['1e-2', 0.01],
      [' 8/255 ', 8 / 255],
      ['8 / 255', 8 / 255],
      ['0.5/255', 0.5 / 255],
    ];
    for (const [text, value] of cases) expect(parseEpsilon(text), text).to.equal(value);
  });

  it('reads back every fraction and every number it is given', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 255 }), (k) => parseEpsilon(`${k}/255`) === k / 255));
    fc.assert(fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (x) => parseEpsilon(String(x)) === x));
  });

  it('refuses everything else with a code', () => {
    for (const text of [
      '',
      'x',
      '0.1.2',
      '8/',
      '/255',
      '8/0',
      '0/0',
      '-0.1',
      '8',
      '300/255',
      'NaN',
      'Infinity',
      '1e999',
      '8/255/2',
      '0x1',
    ]) {
      expect(errorOf(() => parseEpsilon(text)).code, text).to.equal('ERR_HARDBIT_ARGUMENT');
    }
  });

  it('in L2 takes every number above 0', () => {
    expect(parseEpsilon('2.5', 'l2')).to.equal(2.5);
    expect(parseEpsilon('128/255', 'l2')).to.equal(128 / 255);
    for (const text of ['0', '-1', 'x', 'Infinity']) {
      expect(errorOf(() => parseEpsilon(text, 'l2')).code, text).to.equal('ERR_HARDBIT_ARGUMENT');
    }
  });

  it('step sizes are read alike, 0 included', () => {
    expect(parseStepSize('2/255')).to.equal(2 / 255);
    expect(parseStepSize('0', 'l2')).to.equal(0);
    expect(parseStepSize('2', 'l2')).to.equal(2);
    for (const text of ['2', '-0.1', '1/0', 'x']) {
      expect(errorOf(() => parseStepSize(text)).code, text).to.equal('ERR_HARDBIT_ARGUMENT');
    }
    expect(errorOf(() => parseStepSize('-0.1', 'l2')).code).to.equal('ERR_HARDBIT_ARGUMENT');
  });

  it('never throws anything but its own error', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          const value = parseEpsilon(text);
          return value >= 0 && value <= 1;
        } catch (error) {
          return (error as { code?: string }).code === 'ERR_HARDBIT_ARGUMENT';
        }
      }),
    );
  });
});
