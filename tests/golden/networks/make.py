"""Golden files for the networks, from PyTorch in double precision.

Run in this folder, with torch 2.11.0, monai 1.6.0, nnunetv2 2.8.1 and safetensors 0.8.0: python make.py
"""

import json

import losses
import torch
from masks import Dropout
from paper import Unet
from safetensors.torch import save_file
from torch import nn
from vs_seg import VsSeg


def build(config):
    return (VsSeg if config["variant"] == "vs_seg" else Unet)(config)


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def save(name, tensors, header):
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    save_file(tensors, f"{name}.safetensors", metadata={"golden": json.dumps(header)})


def case(name, config, shape, loss, weight=1.0, steps=3, rate=0.01, decay=1e-3, end=False):
    """What goes in is kept in single precision, what comes out in double."""
    torch.manual_seed(len(name))
    net = build(config).double()
    assert len(list(net.named())) == len(net.state_dict()) - sum("num_batches" in k for k in net.state_dict())
    # Away from the special values of a fresh network: norms and slopes of their own.
    for key, tensor in net.named():
        if "norm" in key or "slope" in key:
            tensor.data = torch.rand_like(tensor) * 0.5 + 0.5
        tensor.data = tensor.data.float().double()
    tensors = {f"start/{key}": tensor.detach().float() for key, tensor in net.named()}
    x = torch.randn(shape).double()
    labels = torch.randint(0, config["classes"], [shape[0], *shape[2:]])
    labels[x[:, 0] < 0.3] = 0
    tensors |= {"input": x.float(), "labels": labels.to(torch.uint8)}
    net.eval()
    tensors["infer/logits"] = net(x)[0].detach()
    net.train()
    adam = torch.optim.Adam(net.parameters(), lr=rate, weight_decay=decay)
    values = []
    for step in range(steps):
        Dropout.draw = step
        logits, maps = net(x)
        value = losses.total(loss, weight, config, net, logits, maps, labels)
        adam.zero_grad()
        value.backward()
        if step == 0:
            tensors["train/logits"] = logits.detach()
            tensors |= {f"train/attention.{i}": a.detach() for i, a in enumerate(maps)}
            for key, tensor in net.named():
                if tensor.grad is not None:
                    tensors[f"gradient/{key}"] = tensor.grad.clone()
        values.append(value.item())
        adam.step()
    if end:
        tensors |= {f"end/{key}": tensor.detach().clone() for key, tensor in net.named()}
    tensors["losses"] = torch.tensor(values, dtype=torch.float64)
    header = {"config": config, "loss": loss, "attention_weight": weight, "rate": rate, "decay": decay}
    save(name, tensors, header)


def level(channels, kernel, pool):
    return {"channels": channels, "kernel": kernel, "pool": pool}


FLAT = ([1, 3, 3], [1, 2, 2])
DEEP = ([3, 3, 3], [2, 2, 2])


def config(in_channels, classes, levels, attention, variant="paper", dropout=0.0, supervision=None):
    values = {
        "in_channels": in_channels,
        "classes": classes,
        "levels": levels,
        "attention": attention,
        "variant": variant,
        "dropout": dropout,
    }
    return values | ({"supervision": supervision} if supervision else {})


LOSSES = [
    {"type": "dice"},
    {"type": "generalized_dice"},
    {"type": "hardness_dice", "lambda": 0.6},
    {"type": "hardness_dice", "lambda": 0.0},
    {"type": "cross_entropy"},
    {"type": "focal", "gamma": 2.0, "alpha": None},
    {"type": "focal", "gamma": 0.5, "alpha": 0.75},
    {"type": "dice_ce", "include_background": False},
    {"type": "dice_ce", "include_background": True},
]


def every_loss():
    """All losses with all ways of supervision, on logits and maps of their own."""
    torch.manual_seed(1)
    levels = [level(2, *DEEP), level(2, *FLAT), level(2, *FLAT)]
    logits = torch.randn([2, 3, 2, 4, 4], dtype=torch.float64) * 2
    labels = torch.randint(0, 3, [2, 2, 4, 4])
    # A class that the second sample does not have, and one that is rare in it.
    labels[1] = 0
    labels[1, 0, 1, 1:3] = 1
    maps = [torch.rand([2, 1, 2, 4, 4], dtype=torch.float64), torch.rand([2, 1, 1, 2, 2], dtype=torch.float64)]
    tensors = {"logits": logits, "labels": labels.to(torch.uint8)}
    tensors |= {f"map.{i}": a for i, a in enumerate(maps)}
    cases = []
    ways = [(pooling, map_loss) for pooling in ["average", "maximum"] for map_loss in ["segmentation", "dice"]]
    for loss in LOSSES:
        for pooling, map_loss in [(None, None), *ways]:
            attention = "supervised" if pooling else "unsupervised"
            supervision = {"pooling": pooling, "loss": map_loss} if pooling else None
            network = config(1, 3, levels, attention, supervision=supervision)
            inputs = [tensor.clone().requires_grad_() for tensor in [logits, *maps]]
            value = losses.total(loss, 0.7, network, Unet(network), inputs[0], inputs[1:], labels)
            value.backward()
            case = {"config": network, "loss": loss, "value": value.item()}
            if pooling is None:
                other = losses.peer(loss, logits, labels)
                if other is not None:
                    case["peer"] = other.item()
                    assert abs(case["peer"] - case["value"]) < 1e-6, (loss, case)
                tensors[f"{len(cases)}/logits"] = inputs[0].grad
            else:
                tensors |= {f"{len(cases)}/map.{i}": a.grad for i, a in enumerate(inputs[1:])}
            cases.append(case)
    save("losses", tensors, {"attention_weight": 0.7, "cases": cases})


def parameters():
    """How many numbers each named network has, by PyTorch's own count."""
    rows = []
    for name, dims, attention, variant, levels in [
        ("2D U-Net", "2d", "off", "paper", 5),
        ("3D U-Net", "3d", "off", "paper", 5),
        ("2.5D U-Net", "2.5d", "off", "paper", 5),
        ("2.5D U-Net + AG", "2.5d", "gate", "paper", 5),
        ("2.5D U-Net + PA", "2.5d", "unsupervised", "paper", 5),
        ("2.5D U-Net + SpvPA", "2.5d", "supervised", "paper", 5),
        ("VS_Seg", "2.5d", "supervised", "vs_seg", 5),
        ("VS_Seg, six levels", "2.5d", "supervised", "vs_seg", 6),
    ]:
        flat = {"2d": levels, "2.5d": 2, "3d": 0}[dims]
        each = [level(16 * (i + 1), *(FLAT if i < flat else DEEP)) for i in range(levels)]
        net = build(config(1, 2, each, attention, variant, 0.1 if variant == "vs_seg" else 0.0))
        settings = {"dims": dims, "levels": levels, "channels": 16, "attention": attention, "variant": variant}
        rows.append({"name": name, "settings": settings, "parameters": count(net)})
    with open("parameters.json", "w") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")


class Threshold(nn.Module):
    """Logits that make every voxel above one half a tumour: what comes out shows what went in."""

    def forward(self, x):
        return torch.cat([0.5 - x, x - 0.5], 1)


class Centre(nn.Module):
    """The same from the middle channel of a stack, with something beside the logits."""

    def forward(self, x):
        middle = x[:, x.shape[1] // 2 : x.shape[1] // 2 + 1]
        return torch.cat([0.5 - middle, middle - 0.5], 1), x


def main():
    dice, generalized, hardness, _, _, focal, _, dice_ce, _ = LOSSES
    plain = config(3, 3, [level(2, *FLAT), level(3, *FLAT)], "off")
    case("unet_2d", plain, [2, 3, 1, 8, 6], dice, end=True)
    # 3 slices and 6 rows: the pools divide neither, so that the last of each is repeated.
    mixed = [level(2, *FLAT), level(3, *DEEP), level(2, *DEEP)]
    case("unet_25d_supervised", config(1, 2, mixed, "supervised"), [2, 1, 3, 6, 8], hardness, weight=0.5)
    case("unet_25d_gate", config(1, 2, mixed, "gate"), [1, 1, 4, 8, 8], focal)
    solid = [level(2, *DEEP), level(3, *DEEP)]
    case("unet_3d_unsupervised", config(1, 2, solid, "unsupervised"), [1, 1, 4, 4, 4], dice_ce)
    dropped = config(1, 3, solid, "off", dropout=0.3)
    case("unet_3d_dropout", dropped, [2, 1, 4, 4, 4], dice)
    published = {"pooling": "maximum", "loss": "dice"}
    residual = config(1, 2, mixed, "supervised", "vs_seg", 0.1, published)
    case("vs_seg_supervised", residual, [2, 1, 3, 8, 8], hardness)
    # Kernels and strides that have nothing to do with one another.
    odd = [level(2, [1, 3, 5], [1, 2, 3]), level(2, [3, 1, 1], [3, 1, 2]), level(3, *DEEP)]
    case("vs_seg_gate", config(2, 3, odd, "gate", "vs_seg"), [1, 2, 3, 4, 11], generalized)
    every_loss()
    parameters()
    torch.jit.script(Threshold()).save("threshold.pt")
    torch.jit.script(Centre()).save("centre.pt")


if __name__ == "__main__":
    main()
