import { HardbitError } from '../errors.js';

/**
 * The safetensors container (https://github.com/huggingface/safetensors, "Format"), read and written without help:
 *
 *     8 bytes    N, the header's length, unsigned little-endian
 *     N bytes    JSON: { "__metadata__": { string: string }, NAME: { dtype, shape, data_offsets: [begin, end] }, … },
 *                padded with spaces
 *     the rest   the tensors' bytes, little-endian, row-major; offsets count from here
 *
 * A file is accepted only where the tensors cover the data exactly once, without holes.
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

/** Types of the format that this library has no use for: named, so that the sentence can be precise. */
const otherDTypes = ['F64', 'F16', 'BF16', 'I64', 'U64', 'U16', 'BOOL', 'F8_E4M3', 'F8_E5M2', 'C64'];

const METADATA = '__metadata__';
const MAXIMUM_HEADER = 100_000_000;

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

/** The first key that stands twice in one object of `json`, which must be valid JSON (JSON.parse keeps the last). */
function findDuplicateKey(json: string): string | undefined {
  const objects: Set<string>[] = [];
  // The string read last: a key, if a colon follows.
  let text = '';
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (character === '{') objects.push(new Set());
    else if (character === '}') objects.pop();
    else if (character === '"') {
      const begin = i++;
      while (json[i] !== '"') i += json[i] === '\\' ? 2 : 1;
      text = json.slice(begin, i + 1);
    } else if (character === ':') {
      const keys = objects.at(-1) as Set<string>;
      const key = JSON.parse(text) as string;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

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
  const fail = (problem: string) =>
    new HardbitError(
      'ERR_HARDBIT_FORMAT',
      `${what} is not a complete safetensors file: ${problem}; get it anew.`,
    );

  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (bytes.length < 8) throw fail(`it has ${bytes.length} bytes, less than the 8 of the header's length`);
  const declared = bytes.readBigUInt64LE();
  if (declared > MAXIMUM_HEADER) {
    throw fail(`its header would be ${declared} bytes long, more than the format's 100 MB`);
  }
  const headerLength = Number(declared);
  if (headerLength > bytes.length - 8) {
    throw fail(`its header should be ${headerLength} bytes long, but only ${bytes.length - 8} follow`);
  }

  let json: string;
  let header: unknown;
  try {
    json = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      bytes.subarray(8, 8 + headerLength),
    );
    header = JSON.parse(json);
  } catch {
    throw fail('its header is not JSON');
  }
  if (!isObject(header) || !json.startsWith('{')) throw fail('its header is not a JSON object');
  const duplicate = findDuplicateKey(json);
  if (duplicate !== undefined) throw fail(`its header has the key '${duplicate}' twice`);

  const metadata = header[METADATA] ?? {};
  if (!isObject(metadata) || Object.values(metadata).some((value) => typeof value !== 'string')) {
    throw fail(`its ${METADATA} is not an object of strings`);
  }

  const body = bytes.subarray(8 + headerLength);
  const tensors = new Map<string, SafetensorsEntry>();
  const ranges: { readonly name: string; readonly begin: number; readonly end: number }[] = [];
  for (const [name, info] of Object.entries(header)) {
    if (name === METADATA) continue;
    if (!isObject(info)) throw fail(`tensor '${name}' is not described by an object`);
    const { dtype, shape, data_offsets: offsets } = info;
    if (typeof dtype !== 'string' || !(Object.hasOwn(arrays, dtype) || otherDTypes.includes(dtype))) {
      throw fail(`tensor '${name}' has the unknown dtype ${JSON.stringify(dtype)}`);
    }
    if (!Object.hasOwn(arrays, dtype)) {
      throw new HardbitError(
        'ERR_HARDBIT_UNSUPPORTED',
        `Tensor '${name}' in ${what} is ${dtype}; expected ${Object.keys(arrays).join(', ')}: convert it first.`,
      );
    }
    if (!Array.isArray(shape) || !shape.every(isSize)) {
      throw fail(`the shape of tensor '${name}' is not a list of whole numbers`);
    }
    if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
      throw fail(`the data_offsets of tensor '${name}' are not two whole numbers`);
    }
    const [begin, end] = offsets as [number, number];
    if (begin > end || end > body.length) {
      throw fail(`tensor '${name}' should lie at bytes ${begin} to ${end} of ${body.length} bytes of data`);
    }
    const ArrayType = arrays[dtype as SafetensorsDType];
    if (elementCount(shape) * ArrayType.BYTES_PER_ELEMENT !== end - begin) {
      throw fail(
        `tensor '${name}' of shape [${shape.join(', ')}] and dtype ${dtype} cannot have ${end - begin} bytes`,
      );
    }
    ranges.push({ name, begin, end });
    // The copy is aligned, whatever the offset.
    const copy = new Uint8Array(body.subarray(begin, end)).buffer;
    tensors.set(name, { dtype: dtype as SafetensorsDType, shape, data: new ArrayType(copy) });
  }

  ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of ranges) {
    if (begin !== covered) {
      throw fail(
        `tensor '${name}' begins at byte ${begin} of the data, ${begin < covered ? 'inside' : 'not right behind'} the tensor before it`,
      );
    }
    covered = end;
  }
  if (covered !== body.length) throw fail(`${body.length - covered} bytes of data belong to no tensor`);
  return { tensors, metadata: metadata as Record<string, string> };
}
