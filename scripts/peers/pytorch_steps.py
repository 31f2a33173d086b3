"""PyTorch's side of `hardbit bench`: training steps, PGD attacks or predictions of one network, timed on request.

    python3 pytorch_steps.py --model mnist-fcn|lenet5|mnist-cnn|vgg-small --recipe none|bnn|xnor
                             --task train|attack|predict --threads N [--layout first|last] [--batch 128] [--bits 8]
                             [--lr 0.001] [--attack-steps 20] [--device cpu|cuda] [--bf16] [--compile]

An ordinary PyTorch program: nn.Linear, nn.Conv2d, nn.BatchNorm, torch.optim.Adam, cross-entropy,
zero_grad(set_to_none). Binary networks are simulated in float, as PyTorch programs do: sign of weights and activations
by torch.autograd.Function with the straight-through gradient, latent weights clipped to [-1, 1] after each step. An
attack differentiates with respect to the images alone: the weights ask for no gradient, and binary ones are binarized
once. On a GPU, --bf16 runs forward and backward passes under autocast, --compile puts the network through torch.compile; the
time of a run ends when the GPU has ended its work.

Protocol: prints one line of JSON (versions) when warmed up, then for every line `go N` on standard input runs N
training steps or attacks of a batch and prints {"seconds", "peakMegabytes", "loss"}. End of input ends the program. Data
are random and made beforehand; each step takes the next batch of a pool.
"""

import argparse
import json
import re
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Sign(torch.autograd.Function):
    """sign(x) with sign(0) = +1; gradient dy where |x| <= 1."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * (x.abs() <= 1)


class MagnitudeSign(torch.autograd.Function):
    """alpha*sign(w), alpha = mean |w| of an output channel; the gradient of XNOR-Net's paper."""

    @staticmethod
    def forward(ctx, w):
        alpha = w.abs().flatten(1).mean(1).reshape(-1, *[1] * (w.dim() - 1))
        ctx.save_for_backward(w, alpha)
        return alpha * torch.where(w >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, dy):
        w, alpha = ctx.saved_tensors
        return dy * (1.0 / w[0].numel() + alpha * (w.abs() <= 1))


def frozen(quantize, layer):
    """The quantized weights, made anew at each training step and once for an attack."""
    if layer.weight.requires_grad:
        return quantize(layer.weight)
    if not hasattr(layer, "quantized"):
        layer.quantized = quantize(layer.weight).detach()
    return layer.quantized


class QuantizedLinear(nn.Linear):
    def __init__(self, inputs, outputs, quantize):
        super().__init__(inputs, outputs, bias=False)
        self.quantize = quantize
        nn.init.uniform_(self.weight, -0.1, 0.1)

    def forward(self, x):
        return F.linear(x, frozen(self.quantize, self))


class QuantizedConv2d(nn.Conv2d):
    def __init__(self, inputs, outputs, kernel, padding, quantize):
        super().__init__(inputs, outputs, kernel, padding=padding, bias=False)
        self.quantize = quantize
        nn.init.uniform_(self.weight, -0.1, 0.1)

    def forward(self, x):
        return F.conv2d(x, frozen(self.quantize, self), padding=self.padding)


class SignActivation(nn.Module):
    def forward(self, x):
        return Sign.apply(x)


class Round(torch.autograd.Function):
    """Rounds pixels to 2^bits levels; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx, x, top):
        return torch.floor(x * top + 0.5) / top

    @staticmethod
    def backward(ctx, dy):
        return dy, None


class Discretizer(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.top = float(2**bits - 1)

    def forward(self, x):
        return Round.apply(x, self.top)


# Channels and size of the image, then the hidden layers: ("conv", outputs, kernel, padding, pool), where pool is the
# size and stride of the max-pooling behind it, and ("dense", outputs).
MODELS = {
    "mnist-fcn": (1, 28, [("dense", 600), ("dense", 400)]),
    "lenet5": (1, 28, [("conv", 20, 5, 0, 2), ("conv", 50, 5, 0, 2), ("dense", 500)]),
    "mnist-cnn": (1, 28, [("conv", 32, 3, 1, 2), ("conv", 64, 3, 1, 2), ("dense", 512)]),
    "vgg-small": (
        3,
        32,
        [
            *[("conv", 128, 3, 1, 1), ("conv", 128, 3, 1, 2)],
            *[("conv", 256, 3, 1, 1), ("conv", 256, 3, 1, 2)],
            *[("conv", 512, 3, 1, 1), ("conv", 512, 3, 1, 2)],
            *[("dense", 1024), ("dense", 1024)],
        ],
    ),
}


def build(model, recipe, bits):
    """Batch norm behind every hidden layer, and behind the last one of `bnn`, whose weights are all binary."""
    channels, size, hidden = MODELS[model]
    layers = [Discretizer(bits)]
    flat = False

    def quantizer(index):
        if recipe == "bnn":
            return Sign.apply
        return MagnitudeSign.apply if recipe == "xnor" and 0 < index < len(hidden) else None

    def dense(index, inputs, outputs):
        quantize = quantizer(index)
        if quantize is None:
            return nn.Linear(inputs, outputs, bias=index == len(hidden))
        return QuantizedLinear(inputs, outputs, quantize)

    for index, (kind, outputs, *rest) in enumerate(hidden):
        if kind == "conv":
            kernel, padding, pool = rest
            quantize = quantizer(index)
            if quantize is None:
                layers.append(nn.Conv2d(channels, outputs, kernel, padding=padding, bias=False))
            else:
                layers.append(QuantizedConv2d(channels, outputs, kernel, padding, quantize))
            size = (size + 2 * padding - kernel + 1) // pool
            channels = outputs
            if pool > 1:
                layers.append(nn.MaxPool2d(pool))
            layers.append(nn.BatchNorm2d(outputs))
        else:
            if not flat:
                layers.append(nn.Flatten())
                channels, flat = channels * size * size, True
            layers += [dense(index, channels, outputs), nn.BatchNorm1d(outputs)]
            channels = outputs
        last_hidden = index == len(hidden) - 1
        real = recipe == "none" or (recipe == "xnor" and last_hidden)
        layers.append(nn.ReLU() if real else SignActivation())
    layers.append(dense(len(hidden), channels, 10))
    if recipe == "bnn":
        layers.append(nn.BatchNorm1d(10))
    return nn.Sequential(*layers)


def blas():
    """What multiplies matrices: the library files mapped into this process, else how PyTorch was built."""
    try:
        with open("/proc/self/maps") as maps:
            files = {line.split(maxsplit=5)[5].strip() for line in maps if line.count("/")}
    except OSError:
        files = set()
    names = ("blas", "mkl_", "blis", "atlas")
    found = sorted(f for f in files if any(name in f.rsplit("/", 1)[-1] for name in names))
    return ", ".join(found) or re.search(r"BLAS_INFO=(\w+)", torch.__config__.show()).group(1)


def is_reference(description):
    """Netlib's plain loops, which Debian installs where nothing better is chosen."""
    return not any(name in description.lower() for name in ("openblas", "mkl", "blis", "atlas", "flexiblas", "accelerate"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=sorted(MODELS), required=True)
    parser.add_argument("--recipe", choices=["none", "bnn", "xnor"], required=True)
    parser.add_argument("--task", choices=["train", "attack", "predict"], default="train")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--layout", choices=["first", "last"], default="first")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--attack-steps", type=int, default=20)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--pool", type=int, default=16)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    layout = torch.channels_last if args.layout == "last" else torch.contiguous_format
    device = torch.device(args.device)
    network = build(args.model, args.recipe, args.bits).to(device=device, memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), lr=args.lr)
    latent = [m.weight for m in network if isinstance(m, (QuantizedLinear, QuantizedConv2d))]
    channels, size, _ = MODELS[args.model]
    images = [
        torch.rand(args.batch, channels, size, size).to(device=device, memory_format=layout) for _ in range(args.pool)
    ]
    labels = [torch.randint(0, 10, (args.batch,)).to(device) for _ in range(args.pool)]
    compiled = torch.compile(network) if args.compile else network

    def model(x):
        with torch.autocast(args.device, torch.bfloat16, enabled=args.bf16):
            return compiled(x).float()

    def train_step(x, y):
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for weight in latent:
                weight.clamp_(-1, 1)
        return loss

    def attack(origin, y, epsilon=0.2):
        size = 2.5 * epsilon / args.attack_steps
        low, high = (origin - epsilon).clamp_(min=0), (origin + epsilon).clamp_(max=1)
        x = torch.min(torch.max(origin + torch.empty_like(origin).uniform_(-epsilon, epsilon), low), high)
        loss = None
        for _ in range(args.attack_steps):
            x.requires_grad_(True)
            loss = F.cross_entropy(model(x), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x)
            with torch.no_grad():
                x = torch.min(torch.max(x + size * gradient.sign(), low), high)
        return loss

    def predict(x, y):
        with torch.no_grad():
            return model(x).sum()

    if args.task == "train":
        network.train()
        one = train_step
    else:
        network.eval()
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        one = attack if args.task == "attack" else predict
    done = 0

    def run(steps):
        nonlocal done
        loss = None
        begin = time.perf_counter()
        for _ in range(steps):
            loss = one(images[done % args.pool], labels[done % args.pool])
            done += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        return {"seconds": seconds, "peakMegabytes": peak, "loss": float(loss)}

    run(args.warmup)
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "python": sys.version.split()[0],
                "threads": torch.get_num_threads(),
                "layout": args.layout,
                "blas": blas(),
                "referenceBlas": is_reference(blas()),
            }
        ),
        flush=True,
    )
    for line in sys.stdin:
        command = line.split()
        if not command:
            continue
        if command[0] != "go":
            raise SystemExit(f"unknown command {line!r}; expected 'go N'")
        print(json.dumps(run(int(command[1]))), flush=True)


if __name__ == "__main__":
    main()
