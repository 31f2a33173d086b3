"""Networks of layers in PyTorch, for make_fixtures.py: convolutions, pooling, quantizers, residual blocks, and the
networks that hardbit knows by name, under every recipe.

A network is a list of layers with the fields that docs/model-file.md gives them. It shares no code with hardbit and
little with hardbit's way of computing: quantized weights and activations are real tensors whose surrogate gradients
come from automatic differentiation, and convolution's gradients are PyTorch's own. Only the value of a product of whole
numbers is replaced by the exact one, computed in float64 (all sums stay far below 2^53).

Tensors are NHWC outside, as in hardbit, and NCHW inside PyTorch's functions.
"""

import math

import torch
import torch.nn.functional as F

MOMENTUM = 0.1


def sign(x):
    """±1 in x's dtype, sign(0) = +1."""
    return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))


class Replace(torch.autograd.Function):
    """The value of `value` with the gradient of `surrogate`."""

    @staticmethod
    def forward(ctx, surrogate, value):
        assert surrogate.shape == value.shape
        return value.to(surrogate.dtype).clone()

    @staticmethod
    def backward(ctx, dy):
        return dy, None


def clipped(x):
    """x inside [−1, 1], 0 outside: the gradient is 1 at the ends too, unlike torch.clamp's."""
    inside = (x.detach().abs() <= 1).to(x.dtype)
    return x * inside


# ------------------------------------------------------------------------------------- quantized weights


def quantized_weight(name, w):
    """The weights a layer computes with, differentiable, and the same as integers times a scale.

    w [M, …] latent. Returns (real, integers int64, scale: scalar or [M]).
    """
    magnitudes = sign(w).detach() * w
    if name == "ste-sign":
        integers, scale = sign(w), torch.ones((), dtype=w.dtype)
        surrogate = clipped(w)
    elif name.startswith("magnitude-sign"):
        rows = [d for d in range(1, w.dim())]
        alpha = magnitudes.mean(rows, keepdim=True)
        integers, scale = sign(w), alpha.detach().reshape(-1)
        fixed = alpha.detach() * Replace.apply(clipped(w), sign(w))
        if name == "magnitude-sign":
            surrogate = fixed + w / (w.numel() // len(w))
        elif name == "magnitude-sign-constant":
            surrogate = fixed
        else:
            surrogate = alpha * Replace.apply(clipped(w), sign(w))
    elif name in ("ste-tern", "ste-tern-twn"):
        delta = 0.05 if name == "ste-tern" else 0.7 * w.detach().abs().to(torch.float64).mean().item()
        distance = (w.detach().abs().to(torch.float64) - delta).abs().min().item()
        assert distance > 1e-6, f"a weight is {distance} from the ternary threshold; choose other weights"
        integers, scale = 2 * torch.sign(w) * (w.abs() > delta), torch.tensor(0.5, dtype=w.dtype)
        surrogate = clipped(w)
    elif name == "dorefa-1":
        scale = w.detach().abs().mean()
        integers, surrogate = sign(w), w
    else:
        levels = 2 ** int(name.removeprefix("dorefa-")) - 1
        t = torch.tanh(w)
        unit = t / (2 * t.detach().abs().max()) + 0.5
        place = unit.detach().to(torch.float64) * levels + 0.5
        # 0 stands exactly on a threshold, on both sides.
        distance = (place - place.round()).abs()[w != 0].min().item()
        assert distance > 1e-5 or levels > 100, f"a weight is {distance} from a rounding threshold"
        integers = 2 * torch.floor(place).to(w.dtype) - levels
        scale = torch.tensor(1.0, dtype=w.dtype) / levels
        surrogate = 2 * unit - 1
    integers = integers.detach()
    per_row = scale.reshape(-1, *[1] * (w.dim() - 1)) if scale.dim() else scale
    return Replace.apply(surrogate, integers * per_row), integers.to(torch.int64), scale


# ------------------------------------------------------------------------------------- quantized activations


def sign_surrogate(x, gradient):
    """A function whose derivative is the surrogate gradient of sign."""
    if gradient == "identity":
        return x
    if gradient == "clipped":
        return clipped(x)
    if gradient == "approx":
        y = torch.where(x < 0, 2 * x + x * x, 2 * x - x * x)
        return torch.where(x.detach().abs() <= 1, y, torch.zeros_like(y))
    assert gradient == "swish"
    s = torch.sigmoid(5 * x)
    return 2 * s * (1 + 5 * x * (1 - s)) - 1


SIGN_GRADIENTS = {"ste-sign": "clipped", "ste-sign-identity": "identity", "approx-sign": "approx", "swish-sign": "swish"}


def quantized_activation(name, x, gradient=None):
    """(real, integers int64, levels, thresholds): real = integers/levels, differentiable; thresholds: where value or
    gradient jump. `gradient` overrides the quantizer's own."""
    if name in SIGN_GRADIENTS:
        gradient = gradient or SIGN_GRADIENTS[name]
        integers = sign(x.detach())
        thresholds = [-1, 0, 1] if gradient == "clipped" else [0]
        return Replace.apply(sign_surrogate(x, gradient), integers), integers.to(torch.int64), 1, thresholds
    if name == "heaviside":
        integers = (x.detach() > 0).to(x.dtype)
        return Replace.apply(sign_surrogate(x, gradient or "clipped"), integers), integers.to(torch.int64), 1, [-1, 0, 1]
    levels = 2 ** int(name.removeprefix("dorefa-")) - 1
    inside = ((x.detach() >= 0) & (x.detach() <= 1)).to(x.dtype)
    if gradient == "identity":
        inside = torch.ones_like(x)
    integers = torch.floor(x.detach().clamp(0, 1) * levels + 0.5)
    thresholds = [0, 1] + [(i + 0.5) / levels for i in range(levels)]
    value = integers.to(torch.float32) / torch.tensor(float(levels))
    return Replace.apply(x * inside, value), integers.to(torch.int64), levels, thresholds


# ------------------------------------------------------------------------------------- the network


class Flow:
    """What flows between layers: a real tensor, and where it stands for whole numbers, those too: inputs of a binary
    layer divided by `levels`, or the sums of one (`levels` None)."""

    def __init__(self, real, integers=None, levels=None, signs=False):
        self.real, self.integers, self.levels, self.signs = real, integers, levels, signs


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def padded(x, padding, value):
    """x NCHW; padding above, below, left, right."""
    top, bottom, left, right = padding
    return F.pad(x, (left, right, top, bottom), value=value)


def affine(layer, x, w):
    """Product of a dense layer or a convolution, x NHWC or [N, K]; x is padded already."""
    if layer["type"] == "dense":
        return x @ w.T
    geometry = {"stride": layer["stride"], "dilation": layer["dilation"], "groups": layer["groups"]}
    return nhwc(F.conv2d(nchw(x), w.permute(0, 3, 1, 2), **geometry))


class Layers:
    """A network from its layers and a map of fp32 parameters, computed in `dtype`."""

    def __init__(self, layers, parameters, dtype, training, sign_gradient=None):
        self.layers, self.dtype, self.training, self.sign_gradient = layers, dtype, training, sign_gradient
        self.p = {name: value.to(dtype) for name, value in parameters.items()}
        self.sums = {}  # exact integer products by layer
        self.checks = []  # (tensor, thresholds): a value on a threshold may go either way
        self.statistics = {}  # batch mean and biased variance by batch norm

    def __call__(self, x):
        """x [N, H, W, C] of dtype `dtype`."""
        return self.run(self.layers, Flow(x)).real

    def run(self, layers, flow):
        for layer in layers:
            flow = getattr(self, layer["type"].replace("-", "_"))(layer, flow)
        return flow

    def discretizer(self, layer, x):
        levels = 2 ** layer["bits"] - 1
        codes = torch.floor(x.real.detach().to(torch.float32) * torch.tensor(float(levels)) + torch.tensor(0.5))
        value = codes / torch.tensor(float(levels))
        return Flow(Replace.apply(x.real, value), codes.to(torch.int64), levels)

    def flatten(self, layer, x):
        n = len(x.real)
        return Flow(x.real.reshape(n, -1), None if x.integers is None else x.integers.reshape(n, -1), x.levels, x.signs)

    def weighted(self, layer, x):
        w = self.p[f"{layer['name']}.weight"]
        integers, quantizer = None if x.levels is None else x.integers, layer["weightQuantizer"]
        real = x.real
        if layer["type"] == "conv2d":
            one = layer["paddingValue"] == "one"
            real = nhwc(padded(nchw(real), layer["padding"], 1.0 if one else 0.0))
            if integers is not None:
                top = float(x.levels if one else 0)
                integers = nhwc(padded(nchw(integers.to(torch.float64)), layer["padding"], top)).to(torch.int64)
        if quantizer is None:
            y = affine(layer, real, w)
            if layer["bias"]:
                y = y + self.p[f"{layer['name']}.bias"]
            return Flow(y)
        weight, whole, scale = quantized_weight(quantizer, w)
        y = affine(layer, real, weight)
        if integers is None:
            return Flow(y)
        sums = affine(layer, integers.to(torch.float64), whole.to(torch.float64)).to(torch.int64)
        self.sums[layer["name"]] = sums
        unit = torch.tensor(1.0, dtype=self.dtype) / x.levels
        return Flow(Replace.apply(y, sums.to(self.dtype) * (unit * scale)), sums)

    dense = conv2d = weighted

    def max_pool(self, layer, x):
        inner = padded(nchw(x.real), layer["padding"], -math.inf)
        kernel, stride = layer["kernel"], layer["stride"]
        y = F.max_pool2d(inner, kernel, stride)
        if x.integers is None:
            self.check_pool(inner.detach(), kernel, stride)
            return Flow(nhwc(y))
        # Equal whole numbers are equal on both sides: the first of the window wins.
        whole = padded(nchw(x.integers.to(torch.float64)), layer["padding"], -math.inf)
        whole = nhwc(F.max_pool2d(whole, kernel, stride)).to(torch.int64)
        return Flow(nhwc(y), whole, x.levels if x.signs else None, x.signs)

    def check_pool(self, inner, kernel, stride):
        """The largest of a window must lead the second by more than rounding."""
        windows = inner.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1]).flatten(4)
        if windows.shape[-1] > 1:
            first, second = windows.topk(2, dim=-1).values.unbind(-1)
            # Zeros that relu made are equal on both sides.
            lead = torch.where((first == 0) & (second == 0), torch.ones_like(first), first - second)
            self.checks.append((lead[torch.isfinite(lead)], [0]))

    def average_pool(self, layer, x):
        inner = padded(nchw(x.real), layer["padding"], 0.0)
        return Flow(nhwc(F.avg_pool2d(inner, layer["kernel"], layer["stride"])))

    def batch_norm(self, layer, x):
        name = layer["name"]
        gamma, beta, mean, variance = (
            self.p[f"{name}.{each}"] for each in ("gamma", "beta", "runningMean", "runningVariance")
        )
        if self.training:
            rows = x.real.reshape(-1, layer["features"])
            self.statistics[name] = (rows.detach().mean(0), rows.detach().var(0, unbiased=False))
            y = F.batch_norm(rows, mean, variance, gamma, beta, True, layer["momentum"], layer["epsilon"])
            return Flow(y.reshape(x.real.shape))
        epsilon = torch.tensor(layer["epsilon"], dtype=torch.float32).to(self.dtype)
        return Flow((x.real - mean) * (gamma / torch.sqrt(variance + epsilon)) + beta)

    def relu(self, layer, x):
        self.checks.append((x.real.detach(), [0]))
        return Flow(torch.relu(x.real))

    def hardtanh(self, layer, x):
        self.checks.append((x.real.detach(), [-1, 1]))
        return Flow(F.hardtanh(x.real))

    def quantize(self, layer, x):
        gradient = None if self.training else self.sign_gradient
        real, integers, levels, thresholds = quantized_activation(layer["quantizer"], x.real, gradient)
        self.checks.append((x.real.detach(), thresholds))
        return Flow(real, integers, levels, layer["quantizer"] in SIGN_GRADIENTS)

    def residual(self, layer, x):
        body = self.run(layer["body"], x)
        shortcut = self.run(layer["shortcut"], x)
        return Flow(body.real + shortcut.real)


def clear(single, double, margin):
    """Whether every value of the fp32 run stays `margin` times its error away from each threshold."""
    if any(not torch.equal(sums, double.sums[name]) for name, sums in single.sums.items()):
        return False
    for (a, thresholds), (b, _) in zip(single.checks, double.checks):
        if a.numel() == 0:
            continue
        if a.shape != b.shape:
            return False
        error = (a.to(torch.float64) - b).abs().max()
        distance = min((b - t).abs().min() for t in thresholds)
        if not distance > margin * error:
            return False
    return True


# ------------------------------------------------------------------------------------- parameters


def walk(layers):
    for layer in layers:
        yield layer
        if layer["type"] == "residual":
            yield from walk(layer["body"])
            yield from walk(layer["shortcut"])


def parameter_ranges(layers):
    """(name, shape, low, high, bits) of every trained parameter in order. Ranges are dyadic and keep values of order 1;
    latent weights pass ±1 where the quantizer's gradient has a mask that training's clipping does not make void."""
    for layer in walk(layers):
        name = layer["name"]
        if layer["type"] in ("dense", "conv2d"):
            if layer["type"] == "dense":
                shape = (layer["outputs"], layer["inputs"])
            else:
                shape = (layer["outputs"], *layer["kernel"], layer["inputs"] // layer["groups"])
            quantizer = layer["weightQuantizer"]
            if quantizer is None:
                bound = 2.0 ** round(math.log2(2 / math.sqrt(math.prod(shape[1:]))))
            else:
                bound = 1.25 if quantizer.startswith(("magnitude", "dorefa")) else 0.75
            yield f"{name}.weight", shape, -bound, bound, 24 if quantizer is None else 12
            if layer["bias"]:
                yield f"{name}.bias", (layer["outputs"],), -0.25, 0.25, 24
        elif layer["type"] == "batch-norm":
            yield f"{name}.gamma", (layer["features"],), -0.5, 1.5, 24
            yield f"{name}.beta", (layer["features"],), -0.5, 0.5, 24


# ------------------------------------------------------------------------------------- hardbit's networks


def recipe(name):
    """(first, hidden, last weights, activations, activations before the last layer)."""
    if name == "none":
        return None, None, None, "relu", "relu"
    if name == "bnn":
        return "ste-sign", "ste-sign", "ste-sign", "ste-sign", "ste-sign"
    if name == "bwn":
        return None, "magnitude-sign", None, "relu", "relu"
    if name.startswith("xnor"):
        return None, name.replace("xnor", "magnitude-sign"), None, "ste-sign", "relu"
    if name == "ternary":
        return None, "ste-tern-twn", None, "relu", "relu"
    weights, activations = name.removeprefix("dorefa-w").split("a")
    return None, f"dorefa-{weights}", None, f"dorefa-{activations}", f"dorefa-{activations}"


# Convolutions: (channels in, out, kernel, padding), each followed by pooling of 2; then the widths of dense layers.
MODELS = {
    "mnist-fcn": ([], [784, 600, 400, 10]),
    "lenet5": ([(1, 20, 5, 0), (20, 50, 5, 0)], [800, 500, 10]),
    "mnist-cnn": ([(1, 32, 3, 1), (32, 64, 3, 1)], [3136, 512, 10]),
}


def model(name, recipe_name, bits):
    convolutions, widths = MODELS[name]
    first, hidden, last, activations, last_activations = recipe(recipe_name)
    count = len(convolutions) + len(widths) - 1
    layers = [{"type": "discretizer", "name": "discretizer", "bits": bits}]
    for i in range(1, count + 1):
        quantizer = first if i == 1 else last if i == count else hidden
        if i <= len(convolutions):
            inputs, outputs, kernel, padding = convolutions[i - 1]
            layers.append(conv2d(f"conv{i}", inputs, outputs, kernel, padding=padding, quantizer=quantizer))
            layers.append(pool("max-pool", f"pool{i}", 2, 2))
        else:
            if i == len(convolutions) + 1:
                layers.append({"type": "flatten", "name": "flatten"})
            inputs, outputs = widths[i - len(convolutions) - 1 :][:2]
            bias = i == count and quantizer is None
            layers.append(dense(f"dense{i}", inputs, outputs, bias=bias, quantizer=quantizer))
            if bias:
                break
        layers.append(batch_norm(f"batchnorm{i}", outputs))
        if i < count:
            kind = last_activations if i == count - 1 else activations
            if kind == "relu":
                layers.append({"type": "relu", "name": f"relu{i}"})
            else:
                layers.append({"type": "quantize", "name": f"quantize{i}", "quantizer": kind})
    return layers


def pair(value):
    return [value, value] if isinstance(value, int) else list(value)


def conv2d(
    name, inputs, outputs, kernel, stride=1, dilation=1, padding=0, value="zero", groups=1, bias=False, quantizer=None
):
    return {
        "type": "conv2d",
        "name": name,
        "inputs": inputs,
        "outputs": outputs,
        "kernel": pair(kernel),
        "stride": pair(stride),
        "dilation": pair(dilation),
        "padding": [padding] * 4 if isinstance(padding, int) else list(padding),
        "paddingValue": value,
        "groups": groups,
        "bias": bias,
        "weightQuantizer": quantizer,
    }


def pool(kind, name, kernel, stride, padding=0):
    return {
        "type": kind,
        "name": name,
        "kernel": pair(kernel),
        "stride": pair(stride),
        "padding": [padding] * 4 if isinstance(padding, int) else list(padding),
    }


def dense(name, inputs, outputs, bias=True, quantizer=None):
    return {
        "type": "dense",
        "name": name,
        "inputs": inputs,
        "outputs": outputs,
        "bias": bias,
        "weightQuantizer": quantizer,
    }


def batch_norm(name, features):
    return {"type": "batch-norm", "name": name, "features": features, "epsilon": 1e-5, "momentum": MOMENTUM}
