import { Buffer } from 'node:buffer';

/** Draws that a seed repeats (mulberry32). */
export class Draws {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number in [0, n). */
  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

/** One to three bytes flipped, cut, repeated or put in; `tokens` are what the format is made of. */
export function mutateBytes(bytes: Uint8Array, draws: Draws, tokens: readonly string[]): Buffer {
  let result = Buffer.from(bytes);
  for (let edits = 1 + draws.below(3); edits > 0; edits--) {
    const at = draws.below(result.length + 1);
    const until = Math.min(result.length, at + 1 + draws.below(24));
    const [before, part, after] = [
      result.subarray(0, at),
      result.subarray(at, until),
      result.subarray(until),
    ];
    switch (draws.below(6)) {
      case 0:
        if (at < result.length) result[at] = (result[at] as number) ^ (1 << draws.below(8));
        break;
      case 1:
        if (at < result.length) result[at] = draws.below(256);
        break;
      case 2:
        result = Buffer.from(before);
        break;
      case 3:
        result = Buffer.concat([before, after]);
        break;
      case 4:
        result = Buffer.concat([before, part, part, after]);
        break;
      default:
        result = Buffer.concat([before, Buffer.from(draws.pick(tokens)), part, after]);
    }
  }
  return result;
}

/** Values to stand in another's place, as they are written in JSON, some of them wrongly. */
const values: readonly string[] = [
  'null',
  'true',
  'false',
  '0',
  '-0',
  '1',
  '-1',
  '2',
  '0.5',
  '1e-320',
  '1e308',
  '1e999',
  '9007199254740991',
  '9007199254740993',
  '4294967296',
  'NaN',
  'Infinity',
  'undefined',
  '""',
  '"x"',
  '"__proto__"',
  '"\\u0000\\n\\u001b[31m"',
  '"\\ud800"',
  `"${'long '.repeat(4000)}"`,
  '[]',
  '[null]',
  '[0,1,2]',
  '{}',
  '{"__proto__":{"polluted":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  `${'['.repeat(20_000)}${']'.repeat(20_000)}`,
  `${'{"a":'.repeat(20_000)}0${'}'.repeat(20_000)}`,
];
const keys: readonly string[] = ['__proto__', 'constructor', 'toString', 'extra', '', 'line\nfeed', '0'];

/** Stands where raw text goes, until the document is written. */
const HOLE = '@hole@';

/** JSON text with one value replaced, or one key dropped, repeated or added. */
export function mutateJson(json: string, draws: Draws): string {
  const root = { document: JSON.parse(json) as unknown };
  const places: { readonly holder: Record<string, unknown>; readonly key: string }[] = [];
  const visit = (holder: object) => {
    for (const [key, value] of Object.entries(holder)) {
      places.push({ holder: holder as Record<string, unknown>, key });
      if (typeof value === 'object' && value !== null) visit(value);
    }
  };
  visit(root);
  const { holder, key } = draws.pick(places);
  const fill = (find: string, text: string) => JSON.stringify(root.document).replace(find, () => text);
  const raw = draws.pick(values);
  const kind = draws.below(5);
  const target = holder[key];
  if (kind === 0 && !Array.isArray(holder) && holder !== root) {
    delete holder[key];
    return fill(HOLE, HOLE);
  }
  if (kind === 1 && !Array.isArray(holder) && holder !== root) {
    const again = draws.below(2) === 0 ? raw : JSON.stringify(target);
    holder[HOLE] = 0;
    return fill(`"${HOLE}":0`, `${JSON.stringify(key)}:${again}`);
  }
  if (kind === 2 && typeof target === 'object' && target !== null && !Array.isArray(target)) {
    (target as Record<string, unknown>)[HOLE] = 0;
    return fill(`"${HOLE}":0`, `${JSON.stringify(draws.pick(keys))}:${raw}`);
  }
  if (kind === 3) {
    const other = draws.pick(places);
    [holder[key], other.holder[other.key]] = [other.holder[other.key], structuredClone(target)];
    return fill(HOLE, HOLE);
  }
  holder[key] = HOLE;
  return fill(`"${HOLE}"`, raw);
}

/** What JSON is made of, for `mutateBytes`. */
export const jsonTokens: readonly string[] = [
  ...values.filter((value) => value.length < 100),
  ...keys.map((key) => `"${key}":`),
  ...['{', '}', '[', ']', ',', ':', '"', '\\', '\\u', '\uFEFF', '\0', '//'],
  '['.repeat(50_000),
];
