"""Writes test/fixtures/schedules.json: the learning rates of PyTorch's OneCycleLR, as factors on its max_lr.

    python3 -m pip install torch
    python3 scripts/reference/make_schedule_fixtures.py
"""

import json
import pathlib
import warnings

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
warnings.filterwarnings("ignore")  # the schedule is stepped without an optimizer's step


def one_cycle(steps, warm_up=0.3, start_divisor=25.0, end_divisor=1e4):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1,
        total_steps=steps,
        pct_start=warm_up,
        anneal_strategy="cos",
        div_factor=start_divisor,
        final_div_factor=end_divisor,
    )
    factors = []
    for step in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        if step + 1 < steps:
            schedule.step()
    return {
        "steps": steps,
        "warmUp": warm_up,
        "startDivisor": start_divisor,
        "endDivisor": end_divisor,
        "factors": factors,
    }


cases = [
    one_cycle(1),
    one_cycle(2),
    one_cycle(7),
    one_cycle(100),
    one_cycle(61, warm_up=0.5, start_divisor=10.0, end_divisor=100.0),
    one_cycle(40, warm_up=1 / 8, start_divisor=2.0, end_divisor=1.0),
]
fixture = {"versions": {"torch": torch.__version__}, "oneCycle": cases}
(ROOT / "test/fixtures/schedules.json").write_text(json.dumps(fixture) + "\n")
