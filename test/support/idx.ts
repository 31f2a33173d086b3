import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** An IDX file of unsigned bytes; its data may be of a wrong length, on purpose. */
export function idx(shape: readonly number[], data: ArrayLike<number>): Uint8Array {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.set([0, 0, 8, shape.length]);
  shape.forEach((size, i) => {
    header.writeUInt32BE(size, 4 + 4 * i);
  });
  return Buffer.concat([header, Uint8Array.from(data)]);
}

export function writeIdxFolder(folder: string, files: Readonly<Record<string, Uint8Array>>): void {
  for (const [name, data] of Object.entries(files)) writeFileSync(join(folder, name), data);
}
