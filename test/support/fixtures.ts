import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { decodeSafetensors, type SafetensorsEntry } from '../../lib/tensor/safetensors.js';

/** PyTorch's numbers, stored by scripts/reference/make_fixtures.py. */
export class Fixture {
  readonly #tensors: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(readonly name: 'ops' | 'logits' | 'gradients' | 'attacks' | 'training' | 'layers' | 'models') {
    const url = new URL(`../fixtures/${name}.safetensors`, import.meta.url);
    const { tensors, metadata } = decodeSafetensors(readFileSync(url), `${name}.safetensors`);
    this.#tensors = tensors;
    this.metadata = metadata;
  }

  get keys(): readonly string[] {
    return [...this.#tensors.keys()];
  }

  entry(key: string): SafetensorsEntry {
    const entry = this.#tensors.get(key);
    if (entry === undefined) throw new Error(`the fixture ${this.name} has no tensor '${key}'`);
    return entry;
  }

  shape(key: string): readonly number[] {
    return this.entry(key).shape;
  }

  floats(key: string): Float32Array {
    const { data } = this.entry(key);
    if (!(data instanceof Float32Array)) throw new Error(`'${key}' of the fixture ${this.name} is not F32`);
    return data;
  }

  /** Integers of any width as numbers. */
  integers(key: string): Int32Array {
    const { data } = this.entry(key);
    if (data instanceof Float32Array) throw new Error(`'${key}' of the fixture ${this.name} is F32`);
    return Int32Array.from(data);
  }
}

/** The first difference between two arrays that must be equal, or none. */
export function expectIdentical(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  expect(actual.length, `${what}: length`).to.equal(expected.length);
  for (let i = 0; i < expected.length; i++) {
    if (actual[i] !== expected[i]) expect.fail(`${what}[${i}] is ${actual[i]}, PyTorch has ${expected[i]}`);
  }
}

/** Every |actual − expected| ≤ tolerance; NaN fails. */
export function expectWithin(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
): void {
  expect(actual.length, `${what}: length`).to.equal(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs((actual[i] as number) - (expected[i] as number));
    if (!(error <= tolerance)) {
      expect.fail(
        `${what}[${i}] is ${actual[i]}, PyTorch has ${expected[i]}; allowed difference ${tolerance}`,
      );
    }
  }
}

/**
 * Every |actual − expected| ≤ relative · the largest |expected| of its column. Rounding errors of sums are relative to
 * the largest terms, not to each result; channels differ in scale, so each column is judged by itself.
 */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  relative: number,
  what: string,
  columns = 1,
): void {
  expect(actual.length, `${what}: length`).to.equal(expected.length);
  const scale = new Float64Array(columns);
  for (let i = 0; i < expected.length; i++) {
    scale[i % columns] = Math.max(scale[i % columns] as number, Math.abs(expected[i] as number));
  }
  for (let i = 0; i < expected.length; i++) {
    const allowed = relative * (scale[i % columns] as number);
    const error = Math.abs((actual[i] as number) - (expected[i] as number));
    if (!(error <= allowed)) {
      expect.fail(`${what}[${i}] is ${actual[i]}, PyTorch has ${expected[i]}; allowed difference ${allowed}`);
    }
  }
}
