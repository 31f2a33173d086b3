/** What every .hbit file begins with (docs/hbit.md): '\x89HBT\r\n\x1a\n'. */
export const hbitMagic: Uint8Array = Uint8Array.of(0x89, 0x48, 0x42, 0x54, 0x0d, 0x0a, 0x1a, 0x0a);

/** Where the SHA-256 of a .hbit file stands, and the first byte that it covers. */
export const hbitHash = { begin: 24, end: 56 } as const;

/** Whether bytes begin as a deployed network does. */
export function isHbit(bytes: Uint8Array): boolean {
  return hbitMagic.every((byte, i) => bytes[i] === byte);
}
