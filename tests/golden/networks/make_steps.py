"""Golden steps of optimizers and learning rates of schedulers, from PyTorch in double precision.

Run in this folder: python make_steps.py  (torch 2.11.0, safetensors 0.8.0)
"""

import json

import torch
from safetensors.torch import save_file
from torch.optim import lr_scheduler

STEPS = 7
RATE = 0.1
SCHEDULE_STEPS = 12
HALVE_EVERY = 3
WARM_UP = 4

OPTIMIZERS = [
    ({"type": "adam", "betas": [0.9, 0.999], "epsilon": 1e-8}, 1e-2, 0.0),
    ({"type": "adam", "betas": [0.8, 0.95], "epsilon": 1e-3}, 3e-2, 0.0),
    ({"type": "adamw", "betas": [0.9, 0.999], "epsilon": 1e-8}, 0.3, 0.0),
    ({"type": "adamw", "betas": [0.5, 0.9], "epsilon": 1e-4}, 0.1, 1.0),
    ({"type": "sgd", "momentum": 0.0, "nesterov": False}, 0.0, 0.0),
    ({"type": "sgd", "momentum": 0.9, "nesterov": False}, 1e-2, 0.0),
    ({"type": "sgd", "momentum": 0.99, "nesterov": True}, 3e-2, 0.0),
    ({"type": "sgd", "momentum": 0.99, "nesterov": True}, 3e-2, 1.5),
]


def optimizer(config, parameters, decay):
    if config["type"] == "sgd":
        more = {"momentum": config["momentum"], "nesterov": config["nesterov"]}
        return torch.optim.SGD(parameters, lr=RATE, weight_decay=decay, **more)
    kind = torch.optim.AdamW if config["type"] == "adamw" else torch.optim.Adam
    return kind(parameters, lr=RATE, betas=config["betas"], eps=config["epsilon"], weight_decay=decay)


def steps(config, decay, clip_norm, start, gradients):
    parameter = torch.nn.Parameter(start.clone())
    rule = optimizer(config, [parameter], decay)
    ends = []
    for gradient in gradients:
        parameter.grad = gradient.clone()
        if clip_norm > 0:
            torch.nn.utils.clip_grad_norm_([parameter], clip_norm)
        rule.step()
        ends.append(parameter.detach().clone())
    return torch.stack(ends)


def after_warm_up(kind, steps):
    if kind["type"] == "halve":
        return lambda rule: lr_scheduler.StepLR(rule, HALVE_EVERY, 0.5)
    if kind["type"] == "polynomial":
        return lambda rule: lr_scheduler.PolynomialLR(rule, steps, kind["power"])
    if kind["type"] == "cosine":
        return lambda rule: lr_scheduler.CosineAnnealingLR(rule, steps)
    return lambda rule: lr_scheduler.ConstantLR(rule, 1.0, 0)


def rates(kind):
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    rule = torch.optim.SGD([parameter], lr=1.0)
    warm_up = kind["warm_up"]
    schedule = after_warm_up(kind, SCHEDULE_STEPS - warm_up)(rule)
    if warm_up:
        # From 1/n in the first step to n/n in the last of the warm-up.
        rise = lr_scheduler.LinearLR(rule, 1 / warm_up, 1.0, warm_up - 1)
        schedule = lr_scheduler.SequentialLR(rule, [rise, schedule], [warm_up])
    found = []
    for _ in range(SCHEDULE_STEPS):
        found.append(rule.param_groups[0]["lr"])
        rule.step()
        schedule.step()
    return torch.tensor(found, dtype=torch.float64)


def main():
    generator = torch.Generator().manual_seed(11)
    start = torch.randn(6, generator=generator, dtype=torch.float64)
    gradients = torch.randn(STEPS, 6, generator=generator, dtype=torch.float64)
    tensors = {"start": start, "gradients": gradients}
    header = {"optimizers": [], "schedules": {"steps": SCHEDULE_STEPS, "halve_every": HALVE_EVERY, "cases": []}}
    for number, (config, decay, clip_norm) in enumerate(OPTIMIZERS):
        name = f"ends.{number}"
        tensors[name] = steps(config, decay, clip_norm, start, gradients)
        more = {"rate": RATE, "decay": decay, "clip_norm": clip_norm, "ends": name}
        header["optimizers"].append({"optimizer": config, **more})
    kinds = [{"type": "polynomial", "power": 0.9, "warm_up": n} for n in (0, WARM_UP)]
    kinds += [{"type": kind, "warm_up": n} for kind in ("cosine", "halve") for n in (0, WARM_UP)]
    kinds += [{"type": "constant", "warm_up": WARM_UP}]
    for number, kind in enumerate(kinds):
        name = f"rates.{number}"
        tensors[name] = rates(kind)
        header["schedules"]["cases"].append({"schedule": kind, "rates": name})
    save_file(tensors, "steps.safetensors", {"golden": json.dumps(header)})


if __name__ == "__main__":
    main()
