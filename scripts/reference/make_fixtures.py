#!/usr/bin/python3
"""Computes the stored PyTorch references of test/reference/ and writes them to test/fixtures/*.safetensors.

    python3 scripts/reference/make_fixtures.py [--out test/fixtures]

Needs PyTorch and NumPy; the stored files were made by PyTorch 1.13 with OpenBLAS 0.3.21 on x86-64. Another BLAS rounds
otherwise: the files then differ in last digits and in the choice of attacked images, and serve as well.

layers.py beside this file holds the layers of convolutional and quantized networks. Nothing is shared with hardbit:
networks, batch norm, loss, optimizers and automatic differentiation are PyTorch's, the discretizer and the sign are
torch.autograd.Functions written here, and integer pre-activations are computed in int64.

Weights, images and labels are not stored. Both sides compute them by one rule (here `uniform`, in TypeScript
test/support/reference-weights.ts): value i of stream s is

    h = mix(mix(s) + i mod 2^32),  mix = lowbias32 (x ^= x>>16; x *= 0x7feb352d; x ^= x>>15; x *= 0x846ca68b; x ^= x>>16)
    u = h >> 8                     24 bits
    v = fp32(low + (high - low)·u / 2^24)

with low and high dyadic, so that one rounding to fp32 happens. Latent weights of quantizers take u = h >> 20, 12 bits,
and 2^12 instead: on so coarse a grid none of them stands next to a rounding threshold by chance. Images: see `images`.

Layers and models (`Case`) are computed in fp64 and stored rounded to fp32. Where rounding decides a sign, a code, a relu or
the largest of a window, two correct implementations may part; therefore the whole pass is made in fp32 too, and a batch is
taken only where every such value keeps four times that pass's greatest error from its threshold.

Selection of images for the attacks. Attacks follow the sign of the gradient, so where a gradient or a
pre-activation is zero up to rounding, two correct implementations may part. Every attack is therefore run with the
gradient once in fp32 and once in fp64 (the images, the ball and the discretizer stay fp32 in both), from the same
image at each step, and an image is kept only where, at every step of every attack, each pixel's |gradient| and each
unit's distance from ReLU's and sign's thresholds exceed four times the greatest fp32 error seen in that tensor of that
image. The kept images' indices are stored beside the adversarial images and printed.
"""

import argparse
import json
import math
import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import layers as nets

EPSILON = 1e-5
MOMENTUM = 0.1
BITS = (8, 4, 2, 1)
RECIPES = ("none", "bnn")
LOGIT_IMAGES = 16
GRADIENT_IMAGES = 6
ATTACK_IMAGES = 6
CHUNK, MOST_CANDIDATES = 20, 400
MARGIN = 4
ADAM_EPSILON = 1e-4
SAMPLE_ABOVE, SAMPLE_STRIDE = 4000, 199

# ---------------------------------------------------------------------------------------------- safetensors

DTYPES = {"float32": "F32", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8"}


def write_safetensors(path, tensors, metadata):
    """The container: u64 length of the JSON header, the header padded with spaces to 8 bytes, the data."""
    header = {"__metadata__": {key: str(value) for key, value in metadata.items()}}
    blobs, offset = [], 0
    for name, value in tensors.items():
        array = np.array(value, order="C")  # not ascontiguousarray, which makes scalars 1-D
        data = array.tobytes()
        header[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        blobs.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for data in blobs:
            file.write(data)


# ------------------------------------------------------------------------------------- generated data


def mix(x):
    """lowbias32, a bijection of 32-bit integers (Chris Wellons, hash-prospector)."""
    x = np.asarray(x, dtype=np.uint32)
    with np.errstate(over="ignore"):
        x = x ^ (x >> np.uint32(16))
        x = x * np.uint32(0x7FEB352D)
        x = x ^ (x >> np.uint32(15))
        x = x * np.uint32(0x846CA68B)
        return x ^ (x >> np.uint32(16))


def hashes(stream, count):
    with np.errstate(over="ignore"):
        return mix(mix(np.uint32(stream)) + np.arange(count, dtype=np.uint32))


def uniform(stream, shape, low, high, bits=24):
    u = (hashes(stream, int(np.prod(shape))) >> np.uint32(32 - bits)).astype(np.float64)
    return (low + (high - low) * u / 2.0**bits).astype(np.float32).reshape(shape)


def images(stream, count, pixels):
    """[count, pixels] in [0, 1]. Even rows hold levels k/255 as a file of bytes gives them, odd rows 24-bit
    fractions; in both, one pixel in eight is exactly 0 and one in eight exactly 1."""
    h = hashes(stream, count * pixels).reshape(count, pixels)
    levels = ((h >> np.uint32(24)).astype(np.float32) / np.float32(255)).astype(np.float32)
    fractions = ((h >> np.uint32(8)).astype(np.float64) / 2.0**24).astype(np.float32)
    x = np.where((np.arange(count) % 2 == 0)[:, None], levels, fractions)
    kind = h & np.uint32(7)
    x = np.where(kind == 0, np.float32(0), x)
    return np.where(kind == 1, np.float32(1), x).astype(np.float32)


def labels(stream, count):
    return (hashes(stream, count) % np.uint32(10)).astype(np.int32)


def layout(recipe, sizes):
    """(name, shape, low, high) of every parameter, in the order of the streams. sizes: inputs, hidden, hidden, classes.
    Ranges keep batch-normalized values of order 1."""
    a, b, c, d = sizes
    out = []

    def norm(i, features, mean, low, high):
        out.append((f"batchnorm{i}.gamma", (features,), -0.5, 1.5))
        out.append((f"batchnorm{i}.beta", (features,), -0.5, 0.5))
        out.append((f"batchnorm{i}.runningMean", (features,), -mean, mean))
        out.append((f"batchnorm{i}.runningVariance", (features,), low, high))

    if recipe == "none":
        out.append(("dense1.weight", (b, a), -0.0625, 0.0625))
        norm(1, b, 0.25, 0.25, 0.5)
        out.append(("dense2.weight", (c, b), -0.0625, 0.0625))
        norm(2, c, 0.25, 0.25, 0.5)
        out.append(("dense3.weight", (d, c), -0.125, 0.125))
        out.append(("dense3.bias", (d,), -0.25, 0.25))
    else:
        out.append(("dense1.weight", (b, a), -0.5, 0.5))
        norm(1, b, 8.0, 128.0, 384.0)
        out.append(("dense2.weight", (c, b), -0.5, 0.5))
        norm(2, c, 16.0, 256.0, 768.0)
        out.append(("dense3.weight", (d, c), -0.5, 0.5))
        norm(3, d, 8.0, 64.0, 512.0)
    return out


FULL = (784, 600, 400, 10)
SMALL = (36, 24, 16, 10)
BASE_STREAM = {("none", FULL): 1000, ("bnn", FULL): 2000, ("none", SMALL): 3000, ("bnn", SMALL): 4000}
IMAGE_STREAM, LABEL_STREAM = 1, 2
SMALL_IMAGE_STREAM, SMALL_LABEL_STREAM = 3, 4


def weights(recipe, sizes=FULL):
    base = BASE_STREAM[recipe, sizes]
    return {
        name: torch.from_numpy(uniform(base + i, shape, low, high))
        for i, (name, shape, low, high) in enumerate(layout(recipe, sizes))
    }


# ------------------------------------------------------------------------------------- the networks


def sign(x):
    """±1 in x's dtype, sign(0) = +1."""
    return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))


def codes_of(x, bits):
    """floor(fl(fl(x·(2^b − 1)) + 1/2)), every step in fp32; int64."""
    x = x.detach().to(torch.float32)
    return torch.floor(x * torch.tensor(float(2**bits - 1)) + torch.tensor(0.5)).to(torch.int64)


def level(codes, bits):
    """code / (2^b − 1) in fp32."""
    return codes.to(torch.float32) / torch.tensor(float(2**bits - 1))


class Discretize(torch.autograd.Function):
    """Pixels to the value of their code; gradient: identity."""

    @staticmethod
    def forward(ctx, x, bits):
        return level(codes_of(x, bits), bits).to(x.dtype)

    @staticmethod
    def backward(ctx, dy):
        return dy, None


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mode):
        ctx.save_for_backward(x)
        ctx.mode = mode
        return sign(x)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        inside = (x.abs() <= 1).to(dy.dtype)
        if ctx.mode == "clipped":
            return dy * inside, None
        if ctx.mode == "identity":
            return dy, None
        return dy * (2 - 2 * x.abs()) * inside, None


class BinaryDense(torch.autograd.Function):
    """z = float(Σ a·sign(w))·scale with a integer (codes of pixels, or ±1) and the sum in int64.

    As a function of value = a·scale its gradient is dz·sign(w); that of w is dzᵀ·value where |w| ≤ 1.
    """

    @staticmethod
    def forward(ctx, value, w, integers, scale, sums):
        acc = integers @ sign(w).to(torch.int64).T
        sums.append(acc)
        ctx.save_for_backward(value, w)
        return acc.to(value.dtype) * scale.to(value.dtype)

    @staticmethod
    def backward(ctx, dz):
        value, w = ctx.saved_tensors
        return dz @ sign(w), (dz.T @ value) * (w.abs() <= 1).to(dz.dtype), None, None, None


class Network:
    """mnist-fcn of either recipe from a map of parameters; fp32, or fp64 of the same fp32 numbers."""

    def __init__(self, recipe, bits, parameters, dtype=torch.float32, sign_mode="clipped"):
        self.recipe, self.bits, self.sign_mode = recipe, bits, sign_mode
        self.p = {name: value.to(dtype) for name, value in parameters.items()}
        self.scale = torch.tensor(1.0) / torch.tensor(float(2**bits - 1))
        self.training = False
        self.sums, self.pre = [], []

    def norm(self, z, i):
        gamma, beta, mean, variance = (
            self.p[f"batchnorm{i}.{name}"] for name in ("gamma", "beta", "runningMean", "runningVariance")
        )
        if self.training:
            return F.batch_norm(z, mean, variance, gamma, beta, True, MOMENTUM, EPSILON)
        epsilon = torch.tensor(EPSILON, dtype=torch.float32).to(z.dtype)
        return (z - mean) * (gamma / torch.sqrt(variance + epsilon)) + beta

    def __call__(self, x):
        """x [N, pixels] of the network's dtype → logits. Leaves integer sums and the inputs of ReLU and sign."""
        p = self.p
        self.sums, self.pre = [], []
        value = Discretize.apply(x, self.bits)
        if self.recipe == "none":
            for i in (1, 2):
                y = self.norm(value @ p[f"dense{i}.weight"].T, i)
                self.pre.append(y.detach())
                value = torch.relu(y)
            return value @ p["dense3.weight"].T + p["dense3.bias"]
        integers, scale = codes_of(x, self.bits), self.scale
        for i in (1, 2, 3):
            y = self.norm(BinaryDense.apply(value, p[f"dense{i}.weight"], integers, scale, self.sums), i)
            if i == 3:
                return y
            self.pre.append(y.detach())
            value = Sign.apply(y, self.sign_mode)
            integers, scale = value.detach().to(torch.int64), torch.tensor(1.0)

    def input_gradient(self, x, y):
        """Gradient of the summed cross-entropy."""
        x = x.to(next(iter(self.p.values())).dtype).clone().requires_grad_(True)
        F.cross_entropy(self(x), y, reduction="sum").backward()
        return x.grad


def full_images(count):
    return (
        torch.from_numpy(images(IMAGE_STREAM, count, 784)),
        torch.from_numpy(labels(LABEL_STREAM, count)).to(torch.int64),
    )


# ------------------------------------------------------------------------------------- fixtures: operations


def awkward_pixels():
    """Every level k/255, every rounding threshold of 1 … 8 bits with its neighbours, and levels ± ε."""
    values = [np.arange(256, dtype=np.float32) / np.float32(255)]
    for bits in range(1, 9):
        top = 2**bits - 1
        threshold = ((np.arange(top) + 0.5) / top).astype(np.float32)
        values += [np.nextafter(threshold, np.float32(0)), threshold, np.nextafter(threshold, np.float32(1))]
    for epsilon in (0.1, 0.2, 0.3, 8 / 255):
        e = np.float32(epsilon)
        values += [np.maximum(np.float32(0), values[0] - e), np.minimum(np.float32(1), values[0] + e)]
    tiny = np.array([0, 1e-45, 1e-38, 2.0**-24, 1 - 2.0**-24, 1], dtype=np.float32)
    return np.concatenate(values + [tiny]).astype(np.float32)


def op_fixtures():
    out = {}
    generator = torch.Generator().manual_seed(20240719)

    def random(*shape, scale=1.0):
        return (torch.rand(*shape, generator=generator) * 2 - 1) * scale

    def keep(prefix, **tensors):
        for name, value in tensors.items():
            if isinstance(value, torch.Tensor):
                value = value.detach().numpy()
            out[f"{prefix}/{name}"] = value

    # dense
    x, w, b, dy = random(5, 37), random(11, 37), random(11), random(5, 11)
    for t in (x, w, b):
        t.requires_grad_(True)
    y = F.linear(x, w, b)
    y.backward(dy)
    keep("dense", x=x, w=w, bias=b, dy=dy, y=y, dx=x.grad, dw=w.grad, dBias=b.grad)

    # batch norm, floats, then integers with a scale
    def batch_norm(prefix, z, extra):
        channels = z.shape[1]
        gamma, beta, dy = random(channels), random(channels), random(*z.shape)
        mean, variance = random(channels), random(channels).abs() + 0.1
        keep(prefix, **extra, gamma=gamma, beta=beta, dy=dy, mean0=mean.clone(), variance0=variance.clone())
        z, gamma, beta = (t.clone().requires_grad_(True) for t in (z, gamma, beta))
        scale = gamma / torch.sqrt(variance + torch.tensor(EPSILON))
        evaluated = (z - mean) * scale + beta
        evaluated.backward(dy)
        keep(prefix, evalY=evaluated, evalDx=z.grad)
        z.grad = gamma.grad = beta.grad = None
        mean, variance = mean.clone(), variance.clone()
        y = F.batch_norm(z, mean, variance, gamma, beta, True, MOMENTUM, EPSILON)
        y.backward(dy)
        keep(prefix, y=y, dx=z.grad, dGamma=gamma.grad, dBeta=beta.grad, mean1=mean, variance1=variance)

    z = random(9, 13) * 3 + 1
    batch_norm("batchNorm", z, {"x": z})
    acc = torch.randint(-20000, 20000, (9, 12), generator=generator)
    acc[:, 5] = 7  # a channel without variance
    scale = torch.tensor(1.0) / torch.tensor(255.0)
    batch_norm("batchNormInteger", acc.to(torch.float32) * scale, {"x": acc.to(torch.int32).numpy()})

    # relu, sign: with zeros, −0 and the ends of the clipping interval
    x = torch.cat([random(50, scale=2.0), torch.tensor([0.0, -0.0, 1.0, -1.0, 1.0000001, -1.0000001, 0.99999994])])
    dy = random(x.numel())
    x.requires_grad_(True)
    y = torch.relu(x)
    y.backward(dy)
    keep("relu", x=x, dy=dy, y=y, dx=x.grad)
    keep("sign", x=x, dy=dy, y=sign(x.detach()))
    for mode in ("clipped", "approx"):
        x.grad = None
        Sign.apply(x, mode).backward(dy)
        keep("sign", **{mode: x.grad})

    # softmax cross-entropy, with logits large enough to overflow an unstable one
    logits = random(8, 10, scale=6.0)
    logits[0] *= 100
    logits[1] = 0
    target = torch.randint(0, 10, (8,), generator=generator)
    logits.requires_grad_(True)
    losses = F.cross_entropy(logits, target, reduction="none")
    losses.sum().backward()
    keep("crossEntropy", logits=logits, labels=target.to(torch.int32), losses=losses, gradient=logits.grad)

    # optimizers: three steps on given gradients
    value = random(41)
    gradients = random(3, 41, scale=0.1)
    gradients[:, :3] = 0  # never a gradient
    gradients[1, 3:6] = 0
    keep("optimizer", value=value, gradients=gradients)
    for name, make in {
        "adam": lambda p: torch.optim.Adam([p], lr=1e-2, betas=(0.9, 0.999), eps=1e-8),
        "adamw": lambda p: torch.optim.AdamW([p], lr=1e-2, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
        "sgd": lambda p: torch.optim.SGD([p], lr=0.1),
        "momentum": lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01),
        "nesterov": lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    }.items():
        parameter = value.clone().requires_grad_(True)
        optimizer = make(parameter)
        states = []
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
            states.append(parameter.detach().clone())
        keep("optimizer", **{name: torch.stack(states)})

    # discretizer
    x = torch.from_numpy(awkward_pixels())
    keep("discretizer", x=x)
    for bits in range(1, 9):
        codes = codes_of(x, bits)
        keep("discretizer", **{f"codes{bits}": codes.to(torch.uint8), f"values{bits}": level(codes, bits)})

    # bits: integer products
    a, w = sign(random(5, 131)), sign(random(7, 131))
    codes = torch.randint(0, 256, (5, 131), generator=generator)
    keep("products", a=a, w=w, binary=(a.long() @ w.long().T).to(torch.int32), codes=codes.to(torch.uint8))
    for bits in BITS:
        part = codes >> (8 - bits)
        keep("products", **{f"codes{bits}": (part @ w.long().T).to(torch.int32)})
    return out


# ------------------------------------------------------------------------------------- fixtures: networks


def logit_fixtures():
    out = {}
    x, _ = full_images(LOGIT_IMAGES)
    for recipe in RECIPES:
        p = weights(recipe)
        for bits in BITS:
            network = Network(recipe, bits, p)
            out[f"{recipe}/{bits}/logits"] = network(x).numpy()
            for i, acc in enumerate(network.sums, 1):
                out[f"{recipe}/{bits}/dense{i}"] = acc.numpy().astype(np.int32 if i == 1 and bits > 5 else np.int16)
    return out


def gradient_fixtures():
    out = {}
    x, y = full_images(GRADIENT_IMAGES)
    for recipe in RECIPES:
        p = weights(recipe)
        for bits in BITS:
            for mode in ("clipped",) if recipe == "none" else ("clipped", "identity", "approx"):
                gradient = Network(recipe, bits, p, sign_mode=mode).input_gradient(x, y)
                exact = Network(recipe, bits, p, torch.float64, mode).input_gradient(x, y)
                worst = float((gradient - exact).abs().max() / exact.abs().max())
                assert worst < 1e-5, f"{recipe} {bits} {mode}: fp32 is {worst} from fp64; choose other images"
                out[f"{recipe}/{bits}/{mode}"] = gradient.numpy()
    return out


ATTACKS = {"fgsm": (1, 1), "bim": (10, 10), "pgd": (20, 8)}  # steps, ε / step size


def attack_fixtures():
    """Adversarial images without random start. The ball: lo = max(0, fl(x − ε)), hi = min(1, fl(x + ε)).

    Candidates are tried in chunks until enough are kept, half of them even rows (levels k/255, where ties with the
    discretizer's thresholds occur), half odd ones.
    """
    out = {}
    half = ATTACK_IMAGES // 2
    for recipe in RECIPES:
        p = weights(recipe)
        for bits in BITS:
            single, double = Network(recipe, bits, p), Network(recipe, bits, p, torch.float64)
            rows, results = [], {}
            tried = 0
            while sum(row % 2 == 0 for row in rows) < half or sum(row % 2 == 1 for row in rows) < half:
                assert tried < MOST_CANDIDATES, "too few images stay clear of rounding"
                x, y = full_images(tried + CHUNK)
                good, adversarial = attack_chunk(single, double, x[tried:], y[tried:])
                for i in np.flatnonzero(good):
                    row = tried + int(i)
                    if sum(kept % 2 == row % 2 for kept in rows) < half:
                        rows.append(row)
                        for name, images in adversarial.items():
                            results.setdefault(name, []).append(images[i].numpy())
                tried += CHUNK
            print(f"attacks on {recipe}, {bits} bits: kept {rows} of {tried} candidates")
            out[f"{recipe}/{bits}/rows"] = np.array(rows, dtype=np.int32)
            for name, images in results.items():
                out[f"{recipe}/{bits}/{name}"] = np.stack(images)
    return out


def attack_chunk(single, double, x0, y):
    """All attacks on some images with the fp32 network's gradients, and which images stay clear of rounding."""
    good, results = np.ones(len(x0), dtype=bool), {}
    thresholds = (0,) if single.recipe == "none" else (-1, 0, 1)
    for name, (steps, divisor) in ATTACKS.items():
        for epsilon in (0.1, 0.2, 0.3):
            e = torch.tensor(epsilon, dtype=torch.float32)
            alpha = torch.tensor(epsilon / divisor, dtype=torch.float32)
            lo, hi = torch.clamp(x0 - e, min=0), torch.clamp(x0 + e, max=1)
            x = x0
            for _ in range(steps):
                g32, g64 = single.input_gradient(x, y), double.input_gradient(x, y)
                good &= separated(g32, g64, (0,))
                for y32, y64 in zip(single.pre, double.pre):
                    good &= separated(y32, y64, thresholds)
                x = torch.minimum(torch.maximum(x + alpha * torch.sign(g32), lo), hi)
            results[f"{name}/{epsilon}"] = x
    return good, results


def separated(a32, a64, thresholds):
    """Per row: every |a − threshold| is greater than MARGIN × the row's greatest fp32 error."""
    error = (a32.to(torch.float64) - a64).abs().amax(1)
    distance = torch.stack([(a64 - t).abs().amin(1) for t in thresholds]).amin(0)
    return (distance > MARGIN * error).numpy()


# ------------------------------------------------------------------------------------- fixtures: training


def train(recipe, sizes, bits, x, y, steps, lr, dtype):
    """`steps` Adam steps on one batch; each step's loss, logits, gradients, parameters and threshold distances."""
    network = Network(recipe, bits, weights(recipe, sizes), dtype)
    network.training = True
    for name in network.p:
        network.p[name] = network.p[name].clone()
    trained = {n: t for n, t in network.p.items() if not n.endswith(("runningMean", "runningVariance"))}
    for t in trained.values():
        t.requires_grad_(True)
    optimizer = torch.optim.Adam(trained.values(), lr=lr, eps=ADAM_EPSILON)
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        logits = network(x.to(dtype))
        loss = F.cross_entropy(logits, y)
        loss.backward()
        gradients = {n: t.grad.clone() for n, t in trained.items()}
        optimizer.step()
        if recipe == "bnn":
            with torch.no_grad():
                for n, t in trained.items():
                    if n.endswith(".weight"):
                        t.clamp_(-1, 1)
        history.append(
            {
                "loss": loss.detach(),
                "logits": logits.detach(),
                "gradients": gradients,
                "parameters": {n: t.detach().clone() for n, t in network.p.items()},
                "pre": network.pre,
            }
        )
    return history


def training_fixtures():
    """A small network in full; the full-size one with every 199th element of tensors of more than 4000.

    Adam's ε is 1e−4: with 1e−8 its first steps divide gradients by their own size, so that one of 1e−9, which is
    rounding noise, moves its parameter by a whole learning rate, and nothing could be compared.
    """
    out = {}
    lr = 1e-3
    for recipe in RECIPES:
        for label, sizes, bits, batch, streams, steps in (
            ("small", SMALL, 2, 8, (SMALL_IMAGE_STREAM, SMALL_LABEL_STREAM), 3),
            ("full", FULL, 8, 16, (IMAGE_STREAM, LABEL_STREAM), 3),
        ):
            x = torch.from_numpy(images(streams[0], batch, sizes[0]))
            y = torch.from_numpy(labels(streams[1], batch)).to(torch.int64)
            single = train(recipe, sizes, bits, x, y, steps, lr, torch.float32)
            double = train(recipe, sizes, bits, x, y, steps, lr, torch.float64)
            for step, (a, b) in enumerate(zip(single, double), 1):
                clear = all(
                    bool(separated(u.reshape(1, -1), v.reshape(1, -1), (0,) if recipe == "none" else (-1, 0, 1)).all())
                    for u, v in zip(a["pre"], b["pre"])
                )
                apart = abs(float(a["loss"]) - float(b["loss"]))
                print(f"training {recipe} {label} step {step}: clear of thresholds: {clear}, |loss32 − loss64| = {apart:.1e}")
                prefix = f"{recipe}/{label}/step{step}"
                worst = 0.0
                out[f"{prefix}/loss"] = a["loss"].reshape(1).numpy()
                kinds = ("gradients", "parameters") if label == "small" or step == 1 else ("parameters",)
                if "gradients" in kinds:
                    out[f"{prefix}/logits"] = a["logits"].numpy()
                for kind in kinds:
                    for name, value in a[kind].items():
                        flat, exact = value.reshape(-1).numpy(), b[kind][name].reshape(-1).numpy()
                        if label == "full" and flat.size > SAMPLE_ABOVE:
                            flat, exact = flat[::SAMPLE_STRIDE], exact[::SAMPLE_STRIDE]
                        worst = max(worst, float((np.abs(flat - exact) / (1 + np.abs(exact))).max()))
                        out[f"{prefix}/{kind}/{name}"] = flat if label == "full" else value.numpy()
                assert apart < 1e-6 and worst < 2e-6, "rounding alone changes this training; choose other images"
                print(f"  gradients and parameters differ from fp64 by at most {worst:.1e}·(1 + |value|)")
    return out


# ------------------------------------------------------------------------------------- fixtures: layers, models


class Case:
    """A network, its weights and a batch. The streams are stored, the numbers are not."""

    def __init__(self, name, index, layers, input_shape, classes, bits, rows, gradients):
        self.name, self.layers, self.input_shape, self.classes, self.bits = name, layers, input_shape, classes, bits
        self.rows, self.gradients = rows, gradients
        self.weight_stream = 100_000 + 1000 * index
        self.parameters = {}
        for i, (path, shape, low, high, resolution) in enumerate(nets.parameter_ranges(layers)):
            values = uniform(self.weight_stream + i, shape, low, high, resolution)
            self.parameters[path] = torch.from_numpy(values)
        for layer in nets.walk(layers):
            if layer["type"] == "batch-norm":
                self.parameters[f"{layer['name']}.runningMean"] = torch.zeros(layer["features"])
                self.parameters[f"{layer['name']}.runningVariance"] = torch.ones(layer["features"])
        self.trained = [path for path, *_ in nets.parameter_ranges(layers)]

    def batch(self, attempt):
        self.image_stream, self.label_stream = (self.weight_stream + 500 + 2 * attempt + k for k in (0, 1))
        pixels = math.prod(self.input_shape)
        x = torch.from_numpy(images(self.image_stream, self.rows, pixels)).reshape(self.rows, *self.input_shape)
        y = torch.from_numpy((hashes(self.label_stream, self.rows) % np.uint32(self.classes)).astype(np.int64))
        return x, y

    def train(self, x, y, dtype):
        """A training pass: the network, logits, losses, gradients of the mean loss."""
        network = nets.Layers(self.layers, {n: t.clone() for n, t in self.parameters.items()}, dtype, True)
        leaves = [network.p[n].requires_grad_(True) for n in self.trained]
        logits = network(x.to(dtype))
        losses = F.cross_entropy(logits, y, reduction="none")
        gradients = torch.autograd.grad(losses.mean(), leaves)
        return network, {"logits": logits, "losses": losses} | dict(zip([f"gradients/{n}" for n in self.trained], gradients))

    def evaluate(self, x, y, dtype, statistics):
        """An evaluation pass with the given running statistics: the last network, logits, gradients of the summed loss
        with respect to pixels by the attacker's surrogate."""
        results, networks = {}, []
        for gradient in self.gradients:
            network = nets.Layers(self.layers, self.parameters | statistics, dtype, False, gradient)
            pixels = x.to(dtype).clone().requires_grad_(True)
            logits = network(pixels)
            F.cross_entropy(logits, y, reduction="sum").backward()
            results |= {"evaluation/logits": logits, f"evaluation/{gradient}": pixels.grad}
            networks.append(network)
        return networks, results

    def run(self, attempt, sampled):
        """All results in fp64, or None where rounding decides one of them."""
        x, y = self.batch(attempt)
        single, results32 = self.train(x, y, torch.float32)
        double, results = self.train(x, y, torch.float64)
        if not nets.clear(single, double, MARGIN):
            return None
        statistics = {}
        for name, (mean, variance) in double.statistics.items():
            statistics |= {f"{name}.runningMean": mean.float(), f"{name}.runningVariance": variance.float()}
        singles, evaluated32 = self.evaluate(x, y, torch.float32, statistics)
        doubles, evaluated = self.evaluate(x, y, torch.float64, statistics)
        if not all(nets.clear(a, b, MARGIN) for a, b in zip(singles, doubles)):
            return None
        results, results32 = results | evaluated, results32 | evaluated32
        worst = 0.0
        for key, value in results.items():
            scale = float(value.detach().abs().max())
            assert scale > 1e-9, f"{self.name}: {key} is zero; choose another network"
            worst = max(worst, float((value - results32[key]).abs().max()) / scale)
        print(f"{self.name}: batch {attempt}, fp32 within {worst:.1e} of fp64")
        if worst > MOST_ERROR[sampled]:
            return None
        sums = {f"sums/{name}": value for name, value in doubles[0].sums.items()}
        return results, sums, statistics

    def store(self, out, sampled):
        for attempt in range(300):
            found = self.run(attempt, sampled)
            if found is not None:
                break
        else:
            raise AssertionError(f"{self.name}: no batch stays clear of rounding")
        results, sums, statistics = found
        for name, value in statistics.items():
            out[f"{self.name}/statistics/{name}"] = value.numpy()
        for key, value in (results | sums).items():
            flat = value.detach().reshape(-1).numpy()
            flat = flat.astype(np.float32 if value.is_floating_point() else np.int32)
            if sampled:
                if value.is_floating_point():
                    out[f"{self.name}/{key}/norm"] = np.array([np.linalg.norm(value.detach().numpy())], dtype=np.float32)
                flat = flat[:: sample_stride(flat.size)]
            out[f"{self.name}/{key}"] = flat
        return {
            "name": self.name,
            "layers": self.layers,
            "inputShape": self.input_shape,
            "classes": self.classes,
            "inputBits": self.bits,
            "rows": self.rows,
            "streams": {"weights": self.weight_stream, "images": self.image_stream, "labels": self.label_stream},
            "ranges": [list(each) for each in nets.parameter_ranges(self.layers)],
            "gradients": self.gradients,
        }


# fp32's own error relative to the largest of a tensor, in small networks and in hardbit's.
MOST_ERROR = {False: 4e-6, True: 1e-5}
MOST_SAMPLES = 300


def sample_stride(count):
    """Odd, so that it meets all channels."""
    stride = -(-count // MOST_SAMPLES)
    return stride + 1 - stride % 2


def store_cases(cases, sampled):
    out = {}
    described = [case.store(out, sampled) for case in cases]
    return out, {"networks": json.dumps(described)}


SIGN_MODES = ["clipped", "identity", "approx", "swish"]


def layer_cases():
    """Small networks that hold every layer and quantizer in every neighbourhood that occurs."""
    shape, classes, bits, rows = [7, 6, 2], 4, 3, 5
    discretizer = {"type": "discretizer", "name": "discretizer", "bits": bits}
    flatten = {"type": "flatten", "name": "flatten"}
    cases = []

    def case(name, *body, gradients=("clipped",)):
        """The layers up to the flatten, which this adds, with a dense layer."""
        layers = [discretizer, *body]
        probe = nets.Layers(layers, Case("", 0, layers, shape, classes, bits, 1, ()).parameters, torch.float32, False)
        features = probe(torch.zeros(1, *shape)).numel()
        tail = [] if any(layer["type"] == "flatten" for layer in body) else [flatten]
        layers = [*layers, *tail, nets.dense("logits", features, classes)]
        cases.append(Case(name, len(cases), layers, shape, classes, bits, rows, list(gradients)))

    def relu(name):
        return {"type": "relu", "name": name}

    def quantize(name, quantizer):
        return {"type": "quantize", "name": name, "quantizer": quantizer}

    conv, pool, norm = nets.conv2d, nets.pool, nets.batch_norm
    case(
        "convolution",
        conv("conv1", 2, 4, (3, 2), (2, 1), (1, 2), (1, 0, 2, 1), groups=2, bias=True),
        relu("relu1"),
        pool("max-pool", "pool1", (3, 3), (2, 1), (1, 0, 0, 1)),
        conv("conv2", 4, 6, 2, (1, 2), 1, 1, bias=True),
        {"type": "hardtanh", "name": "hardtanh2"},
        pool("average-pool", "pool2", (2, 3), (1, 1), (0, 1, 1, 0)),
    )
    case(
        "batch norm",
        conv("conv1", 2, 4, 3),
        norm("norm1", 4),
        relu("relu1"),
        conv("conv2", 4, 5, 3, padding=1),
        pool("max-pool", "pool2", 2, 1),
        norm("norm2", 5),
        relu("relu2"),
    )
    case(
        "residual",
        conv("conv1", 2, 4, 3),
        norm("norm1", 4),
        relu("relu1"),
        {
            "type": "residual",
            "name": "block1",
            "body": [
                conv("conv2", 4, 4, 3, padding=1),
                norm("norm2", 4),
                relu("relu2"),
                conv("conv3", 4, 4, 3, padding=1),
                norm("norm3", 4),
            ],
            "shortcut": [],
        },
        {
            "type": "residual",
            "name": "block2",
            "body": [conv("conv4", 4, 6, 3, 2, padding=1), norm("norm4", 6)],
            "shortcut": [conv("conv5", 4, 6, 1, 2)],
        },
        relu("relu5"),
        pool("average-pool", "pool5", (3, 2), 1),
    )
    case(
        "residual of signs",
        conv("conv1", 2, 4, 3),
        norm("norm1", 4),
        {
            "type": "residual",
            "name": "block1",
            "body": [
                quantize("sign1", "approx-sign"),
                conv("conv2", 4, 4, 3, padding=1, quantizer="ste-sign"),
                norm("norm2", 4),
            ],
            "shortcut": [],
        },
        {
            "type": "residual",
            "name": "block2",
            "body": [
                quantize("sign2", "ste-sign"),
                conv("conv3", 4, 6, 3, 2, padding=1, quantizer="magnitude-sign"),
                norm("norm3", 6),
            ],
            "shortcut": [pool("average-pool", "pool3", 2, 2, (0, 1, 0, 0)), conv("conv4", 4, 6, 1), norm("norm4", 6)],
        },
        gradients=SIGN_MODES,
    )
    case(
        "pooled integers",
        pool("max-pool", "pool0", (2, 3), 1),
        conv("conv1", 2, 5, 2, quantizer="ste-sign"),
        norm("norm1", 5),
        quantize("sign1", "ste-sign"),
        pool("max-pool", "pool1", 2, 1, (1, 1, 0, 0)),
        conv("conv2", 5, 6, 2, padding=1, value="one", quantizer="ste-sign"),
        pool("max-pool", "pool2", 3, 2, (1, 0, 0, 1)),
        norm("norm2", 6),
        relu("relu2"),
    )
    for i, quantizer in enumerate(
        [*nets.SIGN_GRADIENTS, "heaviside", "dorefa-1", "dorefa-2", "dorefa-4", "dorefa-8"]
    ):
        case(
            f"activations {quantizer}",
            conv("conv1", 2, 4, 3, padding=1),
            norm("norm1", 4),
            quantize("quantize1", quantizer),
            conv("conv2", 4, 5, (3, 2), (1, 2), 1, (1, 1, 0, 1), ("zero", "one")[i % 2], quantizer="ste-sign"),
            norm("norm2", 5),
            relu("relu2"),
            gradients=("clipped", "identity") if quantizer.startswith("dorefa") else SIGN_MODES,
        )
    for quantizer in WEIGHT_QUANTIZERS:
        for value in ("zero", "one"):
            options = {"value": value, "quantizer": quantizer}
            case(
                f"weights {quantizer}, padding {value}",
                conv("conv1", 2, 4, 3, padding=1, **options),
                norm("norm1", 4),
                quantize("quantize1", "ste-sign"),
                conv("conv2", 4, 6, (2, 3), (1, 2), (2, 1), (1, 0, 0, 1), groups=2, **options),
                norm("norm2", 6),
                relu("relu2"),
                conv("conv3", 6, 6, 2, quantizer=quantizer),
                norm("norm3", 6),
                quantize("quantize3", "dorefa-2"),
                conv("conv4", 6, 4, 2, padding=(0, 0, 1, 1), groups=2, **options),
                norm("norm4", 4),
                quantize("quantize4", "heaviside"),
                flatten,
                nets.dense("dense5", 48, 7, False, quantizer),
                norm("norm5", 7),
                quantize("quantize5", "ste-sign"),
                nets.dense("dense6", 7, 8, False, quantizer),
                norm("norm6", 8),
                relu("relu6"),
                nets.dense("dense7", 8, 6, False, quantizer),
                norm("norm7", 6),
            )
    return cases


WEIGHT_QUANTIZERS = (
    "ste-sign",
    "ste-tern",
    "ste-tern-twn",
    "magnitude-sign",
    "magnitude-sign-constant",
    "magnitude-sign-chain",
    "dorefa-1",
    "dorefa-2",
    "dorefa-4",
    "dorefa-8",
)


def layer_fixtures():
    return store_cases(layer_cases(), sampled=False)


# Recipe and input bits. One-bit pixels only where the first layer's sums are whole numbers: equal patches of pixels make
# ties in pooling, which floating-point sums need not keep.
MODEL_RECIPES = {
    "none": 8,
    "bnn": 1,
    "bwn": 4,
    "xnor": 2,
    "xnor-constant": 8,
    "xnor-chain": 3,
    "ternary": 4,
    "dorefa-w1a1": 2,
    "dorefa-w1a2": 8,
    "dorefa-w2a2": 4,
    "dorefa-w4a3": 2,
}


def model_fixtures():
    """hardbit's own networks under every recipe: a training and an evaluation pass on five images, sampled."""
    cases = []
    for name in nets.MODELS:
        for recipe, bits in MODEL_RECIPES.items():
            layers = nets.model(name, recipe, bits)
            case = Case(f"{name}/{recipe}", 200 + len(cases), layers, [28, 28, 1], 10, bits, 5, ["clipped"])
            cases.append(case)
    return store_cases(cases, sampled=True)


MAKERS = {
    "ops": op_fixtures,
    "logits": logit_fixtures,
    "gradients": gradient_fixtures,
    "attacks": attack_fixtures,
    "training": training_fixtures,
    "layers": layer_fixtures,
    "models": model_fixtures,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=Path, default=root / "test" / "fixtures")
    parser.add_argument("--only", nargs="*", default=list(MAKERS))
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        path = args.out / f"{name}.safetensors"
        metadata = {"generator": "scripts/reference/make_fixtures.py", "torch": torch.__version__}
        made = MAKERS[name]()
        tensors, more = made if isinstance(made, tuple) else (made, {})
        write_safetensors(path, tensors, metadata | more)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
