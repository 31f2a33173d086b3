#!/usr/bin/python3
"""Rebuilds a network in PyTorch from a hardbit model file alone, and predicts.

    python3 scripts/reference/read_model.py MODEL.safetensors --images x.npy --logits out.npy

Written from docs/model-file.md as a stranger would: it knows the safetensors container, the JSON under the metadata
key `hardbit`, and nothing of hardbit's code. Used to check `hardbit predict`. Needs PyTorch and NumPy.

Images: float32 in [0, 1] or uint8 (k stands for k/255), N×H×W×C, N×H×W or N×(H·W·C). Logits: float32, N×classes.
"""

import argparse
import json
import math
import struct

import numpy as np
import torch
import torch.nn.functional as F

NUMPY_TYPES = {"F32": "<f4", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "U32": "<u4"}


def read_safetensors(path):
    """u64 length of the JSON header, the header, the data that its offsets count from."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    data = memoryview(content)[8 + length :]
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data[begin:end], dtype=NUMPY_TYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors, metadata


def signs(x):
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def quantize_weights(quantizer, weight):
    """(W, scale): the whole-numbered weights Σ c_p·s_p in float64, and their scale, a float32 number or one a channel."""
    whole = weight.to(torch.float64)
    if quantizer == "ste-sign":
        return whole, torch.tensor(1.0)
    if quantizer.startswith("magnitude-sign"):
        return signs(whole), whole.flatten(1).abs().mean(1).to(torch.float32)
    if quantizer in ("ste-tern", "ste-tern-twn"):
        delta = torch.tensor(0.05 if quantizer == "ste-tern" else 0.7 * whole.abs().mean()).to(torch.float32)
        return (signs(weight + delta) + signs(weight - delta)).to(torch.float64), torch.tensor(0.5)
    bits = int(quantizer.removeprefix("dorefa-"))
    if bits == 1:
        return signs(whole), whole.abs().mean().to(torch.float32)
    top = 2**bits - 1
    tanh = torch.tanh(whole)
    most = tanh.abs().max()
    code = torch.floor((tanh / (2 * most if most > 0 else 2) + 0.5) * top + 0.5)
    return 2 * code - top, torch.tensor(1.0) / torch.tensor(float(top))


def channels_first(function, x):
    """`function` of PyTorch's channel order, applied to channels last."""
    return function(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def pad(x, sides, value):
    above, below, left, right = sides
    return torch.nn.functional.pad(x, (left, right, above, below), value=value)


def sign(x):
    return torch.where(x >= 0, torch.tensor(1.0), torch.tensor(-1.0))


def unit_codes(x, bits):
    """floor(fl(fl(x·L) + 1/2)), each step in float32, as int64."""
    return torch.floor(x * torch.tensor(float(2**bits - 1)) + torch.tensor(0.5)).to(torch.int64)


def quantized_weights(name, w):
    """The whole numbers Σ c_p·s_p, int64, and the scale: float32, one number or one an output channel."""
    one = torch.tensor(1.0)
    if name == "ste-sign":
        return w.to(torch.int64), one
    if name.startswith("magnitude-sign"):
        return sign(w).to(torch.int64), w.double().abs().reshape(len(w), -1).mean(1).float()
    if name in ("ste-tern", "ste-tern-twn"):
        delta = torch.tensor(0.05 if name == "ste-tern" else 0.7 * w.double().abs().mean().item())
        return (sign(w + delta) + sign(w - delta)).to(torch.int64), one / 2
    if name == "dorefa-1":
        return sign(w).to(torch.int64), w.double().abs().mean().float()
    bits = int(name.removeprefix("dorefa-"))
    t = torch.tanh(w.double()).float()
    largest = t.abs().max() if t.any() else one
    codes = unit_codes(t / (2 * largest) + torch.tensor(0.5), bits)
    return 2 * codes - (2**bits - 1), one / torch.tensor(float(2**bits - 1))


class Values:
    """What flows between layers: float32 values, and where they are whole numbers times 1/levels that a quantized layer
    multiplies exactly (codes, or signs with levels 1), those whole numbers."""

    def __init__(self, real, integers=None, levels=1, signs=False):
        self.real, self.integers, self.levels, self.signs = real, integers, levels, signs

    def map(self, function):
        integers = None if self.integers is None else function(self.integers)
        return Values(function(self.real), integers, self.levels, self.signs)


class Network:
    """The layers in order, images N×H×W×C in, logits out."""

    def __init__(self, path):
        self.tensors, metadata = read_safetensors(path)
        self.spec = json.loads(metadata["hardbit"])
        if self.spec["format"] not in (1, 2):
            raise SystemExit(f"{path} has model format {self.spec['format']}; this script reads formats 1 and 2")

    @torch.no_grad()
    def __call__(self, x):
        """x float32 [N, H, W, C] in [0, 1]."""
        return self.run(self.spec["layers"], Values(x)).real

    def run(self, layers, x):
        for layer in layers:
            kind = "quantize" if layer["type"] == "sign" else layer["type"]  # format 1 says sign
            method = getattr(self, f"layer_{kind.replace('-', '_')}", None)
            if method is None:
                raise SystemExit(f"unknown layer type {kind!r}")
            x = method(layer, x)
        return x

    def tensor(self, layer, name):
        return self.tensors[f"{layer['name']}.{name}"]

    def layer_discretizer(self, layer, x):
        codes, levels = unit_codes(x.real, layer["bits"]), 2 ** layer["bits"] - 1
        return Values(codes.float() / torch.tensor(float(levels)), codes, levels)

    def layer_flatten(self, layer, x):
        return x.map(lambda values: values.reshape(len(values), -1))

    def product(self, layer, x, w):
        """x·Wᵀ, or the cross-correlation of padded x with W."""
        if layer["type"] == "dense":
            return x @ w.T
        geometry = {"stride": layer["stride"], "dilation": layer["dilation"], "groups": layer["groups"]}
        return F.conv2d(x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2), **geometry).permute(0, 2, 3, 1)

    def layer_dense(self, layer, x):
        w, quantizer = self.tensor(layer, "weight"), layer["weightQuantizer"]
        if layer["type"] == "conv2d":
            above, below, left, right = layer["padding"]
            ones = layer["paddingValue"] == "one"
            real = F.pad(x.real, (0, 0, left, right, above, below), value=float(ones))
            integers = x.integers
            if integers is not None:
                integers = F.pad(integers, (0, 0, left, right, above, below), value=x.levels if ones else 0)
            x = Values(real, integers, x.levels)
        if quantizer is None:
            y = self.product(layer, x.real, w)
            return Values(y + self.tensor(layer, "bias") if layer["bias"] else y)
        whole, scale = quantized_weights(quantizer, w)
        if x.integers is None:
            scales = scale.reshape(-1, *[1] * (w.dim() - 1)) if scale.dim() else scale
            return Values(self.product(layer, x.real, whole.float() * scales))
        # Exact in float64: the sums of whole numbers stay below 2^53. Then one multiplication in float32.
        sums = self.product(layer, x.integers.double(), whole.double())
        return Values(sums.float() * (torch.tensor(1.0) / torch.tensor(float(x.levels)) * scale))

    layer_conv2d = layer_dense

    def layer_max_pool(self, layer, x):
        above, below, left, right = layer["padding"]

        def pool(values):
            inner = F.pad(values.double(), (0, 0, left, right, above, below), value=-math.inf).permute(0, 3, 1, 2)
            y = F.max_pool2d(inner, layer["kernel"], layer["stride"]).permute(0, 2, 3, 1)
            return y.to(values.dtype)

        return x.map(pool) if x.signs else Values(pool(x.real))

    def layer_average_pool(self, layer, x):
        above, below, left, right = layer["padding"]
        inner = F.pad(x.real, (0, 0, left, right, above, below)).permute(0, 3, 1, 2)
        return Values(F.avg_pool2d(inner, layer["kernel"], layer["stride"]).permute(0, 2, 3, 1))

    def layer_batch_norm(self, layer, x):
        variance = self.tensor(layer, "runningVariance")
        factor = self.tensor(layer, "gamma") / torch.sqrt(variance + torch.tensor(layer["epsilon"]))
        return Values((x.real - self.tensor(layer, "runningMean")) * factor + self.tensor(layer, "beta"))

    def layer_relu(self, layer, x):
        return Values(torch.relu(x.real))

    def layer_hardtanh(self, layer, x):
        return Values(x.real.clamp(-1, 1))

    def layer_dropout(self, layer, x):
        return x

    def layer_quantize(self, layer, x):
        name = layer["quantizer"]
        if name == "heaviside":
            codes = (x.real > 0).to(torch.int64)
            return Values(codes.float(), codes)
        if name.startswith("dorefa-"):
            bits = int(name.removeprefix("dorefa-"))
            codes, levels = unit_codes(x.real.clamp(0, 1), bits), 2**bits - 1
            return Values(codes.float() / torch.tensor(float(levels)), codes, levels)
        if not name.endswith(("-sign", "-sign-identity")):
            raise SystemExit(f"unknown activation quantizer {name!r}")
        return Values(sign(x.real), sign(x.real).to(torch.int64), signs=True)

    def layer_residual(self, layer, x):
        return Values(self.run(layer["body"], x).real + self.run(layer["shortcut"], x).real)


def read_images(path, shape):
    images = np.load(path)
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / np.float32(255)
    if images.dtype != np.float32:
        raise SystemExit(f"{path} holds {images.dtype}; expected float32 or uint8")
    return torch.from_numpy(images.reshape(len(images), *shape))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--images", required=True, help=".npy")
    parser.add_argument("--logits", help=".npy to write")
    parser.add_argument("--against", help="logits .npy of hardbit predict: prints the largest difference")
    args = parser.parse_args()
    network = Network(args.model)
    logits = network(read_images(args.images, network.spec["inputShape"])).numpy()
    if args.logits:
        np.save(args.logits, logits)
    spec = network.spec
    print(f"{spec['model']} ({spec['recipe']}, {spec['inputBits']} bits): {len(logits)} images; first classes", logits[:10].argmax(1))
    if args.against:
        other = np.load(args.against)
        if other.shape != logits.shape or other.dtype != np.float32:
            raise SystemExit(f"{args.against} holds {other.dtype} {other.shape}; expected float32 {logits.shape}")
        difference = float(np.abs(other - logits).max())
        print(f"largest difference of logits: {difference:.3g}; classes equal: {bool((other.argmax(1) == logits.argmax(1)).all())}")
        if not difference <= 1e-4:
            raise SystemExit("the logits differ by more than 1e-4")


if __name__ == "__main__":
    main()
