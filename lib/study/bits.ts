/** Per-example correctness as bits, example i in bit i mod 8 of byte ⌊i/8⌋; bits past the last example are 0. */
export type Bits = Uint8Array;

export function packBits(flags: Uint8Array): Bits {
  const bytes = new Uint8Array(Math.ceil(flags.length / 8));
  flags.forEach((flag, i) => {
    if (flag !== 0) bytes[i >> 3] = (bytes[i >> 3] as number) | (1 << (i & 7));
  });
  return bytes;
}

/** Per example 1 or 0. */
export function unpackBits(bits: Bits, n: number): Uint8Array {
  return Uint8Array.from({ length: n }, (_, i) => ((bits[i >> 3] as number) >> (i & 7)) & 1);
}

export function encodeBits(bits: Bits): string {
  return Buffer.from(bits).toString('base64');
}

/** The inverse of `encodeBits`; null where `text` does not hold exactly n bits. */
export function decodeBits(text: string, n: number): Bits | null {
  const bytes = Uint8Array.from(Buffer.from(text, 'base64'));
  if (bytes.length !== Math.ceil(n / 8) || encodeBits(bytes) !== text) return null;
  const last = bytes.at(-1) ?? 0;
  return n % 8 !== 0 && last >> (n % 8) !== 0 ? null : bytes;
}

export function countBits(bits: Bits): number {
  let count = 0;
  for (let byte of bits) for (; byte !== 0; byte &= byte - 1) count += 1;
  return count;
}

/** Set where both are; of equal length. */
export function bothBits(a: Bits, b: Bits): Bits {
  return a.map((byte, i) => byte & (b[i] as number));
}
