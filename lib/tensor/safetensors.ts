import { HardbitError } from '../errors.js';
import { native } from '../native.js';

/**
 * The safetensors container (https://github.com/huggingface/safetensors, "Format"):
 *
 *     8 bytes    N, the header's length, unsigned little-endian
 *     N bytes    JSON: { "__metadata__": { string: string }, NAME: { dtype, shape, data_offsets: [begin, end] }, … },
 *                padded with spaces
 *     the rest   the tensors' bytes, little-endian, row-major; offsets count from here
 *
 * A file is accepted only where the tensors cover the data exactly once, without holes. The reader is native.
 */
export type SafetensorsDType = 'F32' | 'I32' | 'I16' | 'I8' | 'U8' | 'U32';

export interface SafetensorsEntry {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Int16Array | Int8Array | Uint8Array | Uint32Array;
}

const arrays = {
  F32: Float32Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U8: Uint8Array,
  U32: Uint32Array,
} as const;

const METADATA = '__metadata__';

const elementCount = (shape: readonly number[]) => shape.reduce((count, size) => count * size, 1);

/**
 * The file's bytes, a function of the arguments alone: the header keeps the map's order and is padded to a multiple of
 * 8 bytes; data is laid out by falling element size, so that every tensor is aligned wherever the file is mapped.
 *
 * @throws ERR_HARDBIT_ARGUMENT where a name is `__metadata__`; ERR_HARDBIT_DTYPE and ERR_HARDBIT_SHAPE where an array
 * does not fit its dtype or shape.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, SafetensorsEntry>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  for (const [name, { dtype, shape, data }] of tensors) {
    if (name === METADATA) {
      throw new HardbitError(
        'ERR_HARDBIT_ARGUMENT',
        `A tensor cannot be named '${METADATA}', which safetensors keeps for itself; choose another name.`,
      );
    }
    if (!(data instanceof arrays[dtype])) {
      throw new HardbitError(
        'ERR_HARDBIT_DTYPE',
        `Tensor '${name}' is declared ${dtype} but given as ${data.constructor.name}; expected ${arrays[dtype].name}.`,
      );
    }
    if (
      !shape.every((size) => Number.isSafeInteger(size) && size >= 0) ||
      elementCount(shape) !== data.length
    ) {
      throw new HardbitError(
        'ERR_HARDBIT_SHAPE',
        `Tensor '${name}' has ${data.length} elements; its shape [${shape.join(', ')}] asks for another number.`,
      );
    }
  }

  const bySize = [...tensors].sort(([, a], [, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT);
  const begins = new Map<string, number>();
  let dataLength = 0;
  for (const [name, { data }] of bySize) {
    begins.set(name, dataLength);
    dataLength += data.byteLength;
  }

  const fields: string[] = [];
  if (Object.keys(metadata).length > 0) fields.push(`"${METADATA}":${JSON.stringify(metadata)}`);
  for (const [name, { dtype, shape, data }] of tensors) {
    const begin = begins.get(name) as number;
    const entry = { dtype, shape, data_offsets: [begin, begin + data.byteLength] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  }
  const header = Buffer.from(`{${fields.join(',')}}`);
  const headerLength = Math.ceil(header.length / 8) * 8;

  const file = Buffer.alloc(8 + headerLength + dataLength);
  file.writeBigUInt64LE(BigInt(headerLength));
  file.fill(' ', 8, 8 + headerLength);
  header.copy(file, 8);
  for (const [name, { data }] of bySize) {
    file.set(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      8 + headerLength + (begins.get(name) as number),
    );
  }
  return file;
}

/**
 * The tensors (copies, in the header's order) and metadata of a file's bytes.
 *
 * @param what the file's name, for the sentences
 * @throws ERR_HARDBIT_FORMAT where the bytes are not a valid file; ERR_HARDBIT_UNSUPPORTED for a valid element type
 * that is not a SafetensorsDType.
 */
export function decodeSafetensors(
  data: Uint8Array,
  what: string,
): { tensors: Map<string, SafetensorsEntry>; metadata: Record<string, string> } {
  const header = native().readSafetensors(data, what);
  const tensors = new Map<string, SafetensorsEntry>();
  for (const { name, dtype, shape, offset, length } of header.tensors) {
    // The copy is aligned, whatever the offset.
    const copy = new Uint8Array(data.subarray(offset, offset + length)).buffer;
    tensors.set(name, { dtype, shape, data: new arrays[dtype](copy) });
  }
  return { tensors, metadata: Object.fromEntries(header.metadata) };
}
