"""PyTorch's side of train-mnist-fcn.mjs: one training step of mnist-fcn (784-600-400-10), timed on request.

    python3 pytorch_train_mnist_fcn.py --recipe none|bnn --threads N [--batch 128] [--bits 8] [--lr 0.001]

An ordinary PyTorch program: nn.Linear, nn.BatchNorm1d, torch.optim.Adam, cross-entropy, zero_grad(set_to_none).
The binary network is simulated in float, as PyTorch programs do: sign of weights and activations by
torch.autograd.Function with the straight-through gradient, latent weights clipped to [-1, 1] after each step.

Protocol: prints one line of JSON (versions) when warmed up, then for every line `go N` on standard input runs N
training steps and prints {"seconds", "cpuSeconds", "loss"}. End of input ends the program. Data are random and made
beforehand; each step takes the next batch of a pool.
"""

import argparse
import json
import re
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


class BinaryLinear(nn.Linear):
    """nn.Linear with binarized weights."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)
        nn.init.uniform_(self.weight, -0.1, 0.1)

    def forward(self, x):
        return F.linear(x, Sign.apply(self.weight))


class SignActivation(nn.Module):
    def forward(self, x):
        return Sign.apply(x)


class Discretizer(nn.Module):
    """Rounds pixels to 2^bits levels. Nothing below it is trained, so training needs no gradient of it."""

    def __init__(self, bits):
        super().__init__()
        self.top = float(2**bits - 1)

    def forward(self, x):
        return torch.floor(x * self.top + 0.5) / self.top


def build(recipe, bits):
    if recipe == "none":
        return nn.Sequential(
            Discretizer(bits),
            nn.Flatten(),
            nn.Linear(784, 600, bias=False),
            nn.BatchNorm1d(600),
            nn.ReLU(),
            nn.Linear(600, 400, bias=False),
            nn.BatchNorm1d(400),
            nn.ReLU(),
            nn.Linear(400, 10),
        )
    return nn.Sequential(
        Discretizer(bits),
        nn.Flatten(),
        BinaryLinear(784, 600),
        nn.BatchNorm1d(600),
        SignActivation(),
        BinaryLinear(600, 400),
        nn.BatchNorm1d(400),
        SignActivation(),
        BinaryLinear(400, 10),
        nn.BatchNorm1d(10),
    )


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
    parser.add_argument("--recipe", choices=["none", "bnn"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--pool", type=int, default=16)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = build(args.recipe, args.bits)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    latent = [m.weight for m in model if isinstance(m, BinaryLinear)]
    images = [torch.rand(args.batch, 28, 28, 1) for _ in range(args.pool)]
    labels = [torch.randint(0, 10, (args.batch,)) for _ in range(args.pool)]
    done = 0

    def run(steps):
        nonlocal done
        loss = None
        cpu = time.process_time()
        begin = time.perf_counter()
        for _ in range(steps):
            x, y = images[done % args.pool], labels[done % args.pool]
            done += 1
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for weight in latent:
                    weight.clamp_(-1, 1)
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, "cpuSeconds": time.process_time() - cpu, "loss": float(loss)}

    run(args.warmup)
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "python": sys.version.split()[0],
                "threads": torch.get_num_threads(),
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
