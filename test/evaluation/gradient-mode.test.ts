import { expect } from 'chai';
import {
  gradientModesFor,
  parseGradientMode,
  recordGradientMode,
} from '../../lib/evaluation/gradient-mode.js';
import { createModel } from '../../lib/models/registry.js';

function errorOf(body: () => unknown): Error & { code?: string } {
  try {
    body();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error');
}

describe('gradient modes', () => {
  it('are read from text', () => {
    expect(parseGradientMode('discretizer=identity,sign=clipped')).to.deep.equal({
      discretizer: 'identity',
      sign: 'clipped',
    });
    expect(parseGradientMode(' sign = approx ')).to.deep.equal({ sign: 'approx' });
    expect(parseGradientMode('sign=swish,arithmetic=int8')).to.deep.equal({
      sign: 'swish',
      arithmetic: 'int8',
    });
    for (const sign of ['clipped', 'identity', 'approx', 'swish', 'exact']) {
      expect(parseGradientMode(`sign=${sign},discretizer=exact`)).to.deep.equal({
        sign,
        discretizer: 'exact',
      });
    }
  });

  it('unknown keys and values are answered with the nearest known one', () => {
    const cases: [string, string, string][] = [
      ['sing=clipped', 'ERR_HARDBIT_UNKNOWN_NAME', "'sign'"],
      ['sign=cliped', 'ERR_HARDBIT_UNKNOWN_NAME', "'clipped'"],
      ['discretizer=idenity', 'ERR_HARDBIT_UNKNOWN_NAME', "'identity'"],
      ['arithmetic=int16', 'ERR_HARDBIT_UNKNOWN_NAME', "'int8'"],
      ['discretizer=approx', 'ERR_HARDBIT_UNKNOWN_NAME', 'identity, exact'],
      ['toString=exact', 'ERR_HARDBIT_UNKNOWN_NAME', 'discretizer, sign'],
      ['sign', 'ERR_HARDBIT_ARGUMENT', 'discretizer=identity,sign=clipped'],
      ['', 'ERR_HARDBIT_ARGUMENT', 'discretizer=identity,sign=clipped'],
      ['sign=clipped,', 'ERR_HARDBIT_ARGUMENT', 'discretizer=identity,sign=clipped'],
      ['sign=clipped=x', 'ERR_HARDBIT_ARGUMENT', 'discretizer=identity,sign=clipped'],
      ['sign=exact,sign=exact', 'ERR_HARDBIT_ARGUMENT', 'twice'],
    ];
    for (const [text, code, hint] of cases) {
      const error = errorOf(() => parseGradientMode(text));
      expect(error.code, text).to.equal(code);
      expect(error.message, text).to.contain(hint);
    }
  });

  it('are recorded with sign null where there is no sign layer', () => {
    expect(recordGradientMode({ activationGradients: [] }, { sign: 'approx' })).to.deep.equal({
      discretizer: 'identity',
      sign: null,
    });
    expect(recordGradientMode({ activationGradients: ['clipped', 'approx'] })).to.deep.equal({
      discretizer: 'identity',
      sign: 'clipped',
    });
    expect(
      recordGradientMode(
        { activationGradients: ['clipped', 'approx'] },
        { discretizer: 'exact', sign: 'approx' },
      ),
    ).to.deep.equal({
      discretizer: 'exact',
      sign: 'approx',
    });
  });

  it('name the arithmetic where it is not exact', () => {
    const model = { activationGradients: ['clipped'] as const };
    expect(recordGradientMode(model, { arithmetic: 'int8' })).to.deep.equal({
      discretizer: 'identity',
      sign: 'clipped',
      arithmetic: 'int8',
    });
    expect(recordGradientMode(model, { arithmetic: 'float' })).to.not.have.property('arithmetic');
  });

  it('worth trying are those of the quantized activations in their order, or one without; never exact', () => {
    expect(gradientModesFor({ activationGradients: [] })).to.deep.equal([{ discretizer: 'identity' }]);
    expect(gradientModesFor({ activationGradients: ['approx', 'identity'] })).to.deep.equal([
      { discretizer: 'identity', sign: 'approx' },
      { discretizer: 'identity', sign: 'identity' },
    ]);
    using model = createModel('mnist-fcn', { inputBits: 2, recipe: 'bnn', seed: 1 });
    expect(gradientModesFor(model).map((mode) => mode.sign)).to.deep.equal([
      'clipped',
      'identity',
      'approx',
      'swish',
    ]);
  });
});
