// Networks as ONNX files, written by hand: an ONNX file is one protocol-buffers message, and these few operators need
// no library. Numbers of the fields: onnx/onnx.proto of the ONNX project.

/** Field numbers are from 1 to 2^29; wire types: 0 a varint, 2 bytes behind their length, 5 four bytes. */
function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

const integer = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const bytes = (field, value) => Buffer.concat([varint((field << 3) | 2), varint(value.length), value]);
const text = (field, value) => bytes(field, Buffer.from(value));
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));

const elementTypes = { float: 1, uint8: 2, int8: 3, int32: 6 };

/** TensorProto: dims, data_type, name, raw_data. */
function tensor(name, type, dims, values) {
  return message(
    5,
    ...dims.map((size) => integer(1, size)),
    integer(2, elementTypes[type]),
    text(8, name),
    bytes(9, Buffer.from(values.buffer, values.byteOffset, values.byteLength)),
  );
}

/** ValueInfoProto of floats. */
function value(field, name, dims) {
  const shape = message(2, ...dims.map((size) => message(1, integer(1, size))));
  return message(field, text(1, name), message(2, message(1, integer(1, elementTypes.float), shape)));
}

/** AttributeProto: an integer, or a list of them. */
function attribute(name, given) {
  return Array.isArray(given)
    ? message(5, text(1, name), ...given.map((each) => integer(8, each)), integer(20, 7))
    : message(5, text(1, name), integer(3, given), integer(20, 2));
}

const uniform = (count, size) => Float32Array.from({ length: count }, () => size * (2 * Math.random() - 1));

/**
 * A plain network with random weights: convolutions and dense layers with biases (into which batch norm folds), ReLU behind all
 * but the last, max-pooling. `layers`: { type: 'conv', inputs, outputs, kernel, stride, padding, pool } or { type: 'dense', inputs,
 * outputs }. Input 'x' f32 [batch, channels, height, width].
 *
 * `int8`: as onnxruntime's own static quantizer writes it (QDQ): QuantizeLinear and DequantizeLinear around each activation, u8,
 * per tensor; weights s8, symmetric, per output channel; biases in 32 bits.
 */
export function onnxNetwork({ batch, height, width, channels, layers, int8 }) {
  const nodes = [];
  const initializers = [];
  const node = (operator, inputs, output, attributes = {}) => {
    nodes.push(
      message(
        1,
        ...inputs.map((name) => text(1, name)),
        text(2, output),
        text(4, operator),
        ...Object.entries(attributes).map(([name, given]) => attribute(name, given)),
      ),
    );
    return output;
  };
  const constant = (name, type, dims, values) => {
    initializers.push(tensor(name, type, dims, values));
    return name;
  };
  /** There and back again, where the network is quantized. */
  const quantized = (name, scale) => {
    if (!int8) return name;
    const parameters = [
      constant(`${name}_scale`, 'float', [], Float32Array.of(scale)),
      constant(`${name}_zero`, 'uint8', [], Uint8Array.of(0)),
    ];
    node('QuantizeLinear', [name, ...parameters], `${name}_q`);
    return node('DequantizeLinear', [`${name}_q`, ...parameters], `${name}_d`);
  };

  const pixel = 1 / 255;
  const activation = 4 / 255;
  let last = quantized('x', pixel);
  let inputScale = pixel;
  let flat = false;
  for (const [i, layer] of layers.entries()) {
    const { type, inputs, outputs } = layer;
    const isLast = i === layers.length - 1;
    const dims = type === 'conv' ? [outputs, inputs, layer.kernel, layer.kernel] : [outputs, inputs];
    const count = dims.reduce((a, b) => a * b, 1);
    const largest = Math.sqrt((6 * outputs) / count);
    const weights = `w${i}`;
    const bias = `b${i}`;
    if (int8) {
      const values = Int8Array.from({ length: count }, () => Math.round(254 * Math.random() - 127));
      const scale = largest / 127;
      const scales = (name, one) => constant(name, 'float', [outputs], new Float32Array(outputs).fill(one));
      const zeros = (name, kind, of) => constant(name, kind, [outputs], new of(outputs));
      constant(`${weights}_q`, 'int8', dims, values);
      node(
        'DequantizeLinear',
        [`${weights}_q`, scales(`${weights}_scale`, scale), zeros(`${weights}_zero`, 'int8', Int8Array)],
        weights,
        { axis: 0 },
      );
      zeros(`${bias}_q`, 'int32', Int32Array);
      node(
        'DequantizeLinear',
        [
          `${bias}_q`,
          scales(`${bias}_scale`, scale * inputScale),
          zeros(`${bias}_zero`, 'int32', Int32Array),
        ],
        bias,
        { axis: 0 },
      );
    } else {
      constant(weights, 'float', dims, uniform(count, largest));
      constant(bias, 'float', [outputs], uniform(outputs, 0.1));
    }
    if (type === 'conv') {
      const { kernel, stride, padding } = layer;
      last = node('Conv', [last, weights, bias], `conv${i}`, {
        kernel_shape: [kernel, kernel],
        strides: [stride, stride],
        pads: [padding, padding, padding, padding],
      });
    } else {
      if (!flat) last = node('Flatten', [last], 'flat');
      flat = true;
      last = node('Gemm', [last, weights, bias], isLast ? 'logits' : `dense${i}`, { transB: 1 });
    }
    if (isLast) break;
    last = quantized(node('Relu', [last], `relu${i}`), activation);
    inputScale = activation;
    if (layer.pool > 1) {
      const size = [layer.pool, layer.pool];
      last = quantized(
        node('MaxPool', [last], `pool${i}`, { kernel_shape: size, strides: size }),
        activation,
      );
    }
  }
  const classes = layers.at(-1).outputs;
  const graph = message(
    7,
    ...nodes,
    text(2, 'network'),
    ...initializers,
    value(11, 'x', [batch, channels, height, width]),
    value(12, 'logits', [batch, classes]),
  );
  // IR 8 with operator set 17: per-channel DequantizeLinear and all of onnxruntime 1.12 and newer.
  return Buffer.concat([integer(1, 8), message(8, text(1, ''), integer(2, 17)), graph]);
}
