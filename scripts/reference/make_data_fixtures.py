"""Writes test/fixtures/npy.json and test/fixtures/safetensors.json: files made by NumPy and by the
safetensors package, base64, with their contents, for the tests of our own readers and writers.

    python3 -m pip install numpy safetensors
    python3 scripts/reference/make_data_fixtures.py
"""

import base64
import io
import json
import pathlib

import numpy as np
import safetensors.numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]


def npy(array, version=(1, 0)):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version, allow_pickle=True)
    return base64.b64encode(out.getvalue()).decode()


def write(path, fixtures, **versions):
    (ROOT / path).write_text(json.dumps({"versions": versions, "fixtures": fixtures}, indent=2) + "\n")


f32 = np.array([0, 1, 0.1, -2.5e-40, 3.4028235e38, 0.5], np.float32).reshape(1, 2, 3, 1)
u8 = np.arange(0, 256, 17, dtype=np.uint8).reshape(4, 4)
i32 = np.array([0, -1, 2147483647, -2147483648], np.int32)

# Read by decodeNpy, and written again byte for byte where they are of version 1.0 and not int64.
good = {
    "float32": f32,
    "uint8": u8,
    "int32": i32,
    "int64": np.array([3, -7, 2147483647, -2147483648], np.int64),
    "scalar": np.array(7, np.uint8),
    "empty": np.zeros((0, 28, 28), np.float32),
    "one element": np.array([1], np.int32),
}
fixtures = {
    "good": [
        {"name": name, "dtype": str(x.dtype), "shape": list(x.shape), "values": x.ravel().tolist(), "base64": npy(x)}
        for name, x in good.items()
    ],
    "versions": [
        {"name": f"version {v[0]}.0", "base64": npy(i32, v), "values": i32.tolist()} for v in [(1, 0), (2, 0), (3, 0)]
    ],
    "refused": [
        {"name": "float64", "base64": npy(np.zeros((2, 2)))},
        {"name": "float16", "base64": npy(np.zeros(2, np.float16))},
        {"name": "bool", "base64": npy(np.zeros(2, np.bool_))},
        {"name": "int16", "base64": npy(np.zeros(2, np.int16))},
        {"name": "complex64", "base64": npy(np.zeros(2, np.complex64))},
        {"name": "Python objects", "base64": npy(np.array([None, {}], object))},
        {"name": "structured records", "base64": npy(np.zeros(2, [("a", "<f4"), ("b", "<i4")]))},
        {"name": "elements of type '<U3'", "base64": npy(np.array(["abc"]))},
        {"name": "big-endian float32", "base64": npy(np.zeros(2, ">f4"))},
        {"name": "big-endian int64", "base64": npy(np.zeros(2, ">i8"))},
        {"name": "Fortran order", "base64": npy(np.asfortranarray(f32.reshape(2, 3)))},
        {"name": "which does not fit 32 bits", "base64": npy(np.array([0, 2147483648], np.int64))},
    ],
}
write("test/fixtures/npy.json", fixtures, numpy=np.__version__)

tensors = {
    "layers.1.weight": np.array([[1, -1, 1], [-1, -1, 1]], np.int8),
    "layers.2.gamma": np.array([0.25, 1.5, -3e-41], np.float32),
    "layers.2.count": np.array(12345, np.int32),
    "codes": np.array([0, 128, 255], np.uint8),
    "sums": np.array([[-32768], [32767]], np.int16),
    "seeds": np.array([4294967295], np.uint32),
    "nothing": np.zeros((0, 4), np.float32),
}
file = safetensors.numpy.save(tensors, {"hardbit": '{"version":1,"note":"é \\"quoted\\""}'})
write(
    "test/fixtures/safetensors.json",
    {
        "base64": base64.b64encode(file).decode(),
        "metadata": {"hardbit": '{"version":1,"note":"é \\"quoted\\""}'},
        "tensors": {
            name: {"dtype": str(x.dtype), "shape": list(x.shape), "values": x.ravel().tolist()}
            for name, x in tensors.items()
        },
        "float64": base64.b64encode(safetensors.numpy.save({"x": np.zeros(2)})).decode(),
    },
    safetensors=safetensors.__version__,
    numpy=np.__version__,
)
