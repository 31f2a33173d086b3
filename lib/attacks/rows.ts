import { gatherRows } from '../ops/attack-step.js';
import { concatRows } from '../tensor/rows.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { AttackContext } from './options.js';

export { gatherRows } from '../ops/attack-step.js';

/** The places where `flags` is 1, ascending. */
export function placesOf(flags: Uint8Array): number[] {
  const places: number[] = [];
  flags.forEach((flag, i) => {
    if (flag !== 0) places.push(i);
  });
  return places;
}

/** A copy of `base` with row rows[k] taken from row k of `replacements`; same trailing shape. */
export function replaceRows(base: Tensor, rows: readonly number[], replacements: Tensor): Tensor {
  const source = Array.from({ length: base.rows }, (_, i) => i);
  rows.forEach((row, k) => {
    source[row] = base.rows + k;
  });
  return scope(() => gatherRows(concatRows([base, replacements]), source));
}

/**
 * A random start for every row of `images`, each by its number in the dataset: `draw` is called for stretches of rows
 * that follow one another, with the number of the first.
 */
export function startRows(
  images: Tensor,
  { firstRow = 0, rows }: Pick<AttackContext, 'firstRow' | 'rows'>,
  draw: (images: Tensor, firstRow: number) => Tensor,
): Tensor {
  if (rows === undefined) return draw(images, firstRow);
  return scope(() => {
    const parts: Tensor[] = [];
    for (let begin = 0; begin < rows.length; ) {
      const first = rows[begin] as number;
      let end = begin + 1;
      while (end < rows.length && rows[end] === first + end - begin) end++;
      parts.push(draw(images.slice(begin, end), first));
      begin = end;
    }
    return parts.length === 1 ? (parts[0] as Tensor) : concatRows(parts);
  });
}
