import { expect } from 'chai';
import { native } from '../../lib/native.js';
import { concatRows } from '../../lib/tensor/rows.js';
import { scope } from '../../lib/tensor/scope.js';
import { Tensor } from '../../lib/tensor/tensor.js';

describe('concatRows', () => {
  it('puts the rows of any number of tensors in order, in new memory, and frees what it made on the way', () => {
    for (let count = 1; count <= 9; count++) {
      const parts = Array.from({ length: count }, (_, i) =>
        Tensor.from(
          'i32',
          [i + 1, 2],
          Int32Array.from({ length: 2 * (i + 1) }, (_, j) => 100 * i + j),
        ),
      );
      const before = native().memory().liveTensors;
      const joined = concatRows(parts);
      expect(native().memory().liveTensors).to.equal(before + 1);
      expect([...joined.shape]).to.deep.equal([(count * (count + 1)) / 2, 2]);
      const rows = parts.flatMap((part) => [...part.toInt32Array()]);
      for (const part of parts) part.dispose();
      expect([...joined.toInt32Array()]).to.deep.equal(rows);
      joined.dispose();
    }
  });

  it('refuses nothing at all, and tensors that differ in width or dtype', () => {
    scope(() => {
      const a = Tensor.from('i32', [1, 2]);
      const wide = Tensor.from('i32', [1, 3]);
      const float = Tensor.from('f32', [1, 2]);
      expect(() => concatRows([]))
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_SHAPE');
      expect(() => concatRows([a, a, wide]))
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_SHAPE');
      expect(() => concatRows([a, float]))
        .to.throw()
        .with.property('code', 'ERR_HARDBIT_DTYPE');
    });
  });
});
