#!/usr/bin/python3
"""Rebuilds a network in PyTorch from a hardbit model file alone, and predicts.

    python3 scripts/reference/read_model.py MODEL.safetensors --images x.npy --logits out.npy

Written from docs/model-file.md as a stranger would: it knows the safetensors container, the JSON under the metadata
key `hardbit`, and nothing of hardbit's code. Used to check `hardbit predict`. Needs PyTorch and NumPy.

Images: float32 in [0, 1] or uint8 (k stands for k/255), N×H×W×C, N×H×W or N×(H·W·C). Logits: float32, N×classes.
"""

import argparse
import json
import struct

import numpy as np
import torch

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


class Network(torch.nn.Module):
    """The layers in order. Between layers flows a float tensor; beside it, where the values are exact integers times
    a scale (codes of the discretizer, signs), those integers, because binary layers sum integers."""

    def __init__(self, path):
        super().__init__()
        self.tensors, metadata = read_safetensors(path)
        self.spec = json.loads(metadata["hardbit"])
        if self.spec["format"] != 1:
            raise SystemExit(f"{path} has model format {self.spec['format']}; this script reads format 1")

    def tensor(self, layer, name):
        return self.tensors[f"{layer['name']}.{name}"]

    @torch.no_grad()
    def forward(self, x):
        """x float32 [N, H, W, C] in [0, 1]."""
        integers, scale = None, None
        for layer in self.spec["layers"]:
            kind = layer["type"]
            if kind == "discretizer":
                # code = floor(fl(fl(x·top) + 1/2)), each step in float32; the value of a code is code / top.
                top = torch.tensor(float(2 ** layer["bits"] - 1))
                code = torch.floor(x * top + torch.tensor(0.5))
                x, integers, scale = code / top, code.to(torch.int64), torch.tensor(1.0) / top
            elif kind == "flatten":
                x = x.reshape(len(x), -1)
                integers = None if integers is None else integers.reshape(len(x), -1)
            elif kind == "dense":
                weight = self.tensor(layer, "weight")
                if layer["weightQuantizer"] is None:
                    x = x @ weight.T
                    if layer["bias"]:
                        x = x + self.tensor(layer, "bias")
                else:
                    # ±1 weights, exact integer sums, then one multiplication in float32.
                    x = (integers @ weight.to(torch.int64).T).to(torch.float32) * scale
                integers, scale = None, None
            elif kind == "batch-norm":
                variance = self.tensor(layer, "runningVariance")
                factor = self.tensor(layer, "gamma") / torch.sqrt(variance + torch.tensor(layer["epsilon"]))
                x = (x - self.tensor(layer, "runningMean")) * factor + self.tensor(layer, "beta")
            elif kind == "relu":
                x = torch.relu(x)
            elif kind == "sign":
                x = torch.where(x >= 0, torch.tensor(1.0), torch.tensor(-1.0))
                integers, scale = x.to(torch.int64), torch.tensor(1.0)
            else:
                raise SystemExit(f"unknown layer type {kind!r}")
        return x


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
