"""Golden files for the networks, from PyTorch in double precision.

Run in this folder: python make.py

The U-Net is written anew from the description of Wang et al. (MICCAI 2019, arXiv 1906.03906); it shares
nothing with the Rust code but the names of its tensors.
"""

import json

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel, padding=[k // 2 for k in kernel], bias=False)
        self.norm = nn.BatchNorm3d(outputs)
        self.act = nn.PReLU()

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))

    def named(self, name):
        yield f"{name}.weight", self.conv.weight
        yield f"{name}.norm.weight", self.norm.weight
        yield f"{name}.norm.bias", self.norm.bias
        yield f"{name}.slope", self.act.weight
        yield f"{name}.norm.mean", self.norm.running_mean
        yield f"{name}.norm.variance", self.norm.running_var


class Block(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.first = ConvNorm(inputs, outputs, kernel)
        self.second = ConvNorm(outputs, outputs, kernel)

    def forward(self, x):
        return self.second(self.first(x))

    def named(self, name):
        yield from self.first.named(f"{name}.first")
        yield from self.second.named(f"{name}.second")


class Attention(nn.Module):
    def __init__(self, channels, kernel):
        super().__init__()
        padding = [k // 2 for k in kernel]
        self.first = nn.Conv3d(channels, channels // 2, kernel, padding=padding)
        self.second = nn.Conv3d(channels // 2, 1, kernel, padding=padding)

    def forward(self, x):
        a = torch.sigmoid(self.second(torch.relu(self.first(x))))
        return x * a + x, a

    def named(self, name):
        for part in ["first", "second"]:
            yield f"{name}.{part}.weight", getattr(self, part).weight
            yield f"{name}.{part}.bias", getattr(self, part).bias


class Unet(nn.Module):
    def __init__(self, config):
        super().__init__()
        levels = config["levels"]
        self.levels = levels
        self.multiple = [1, 1, 1]
        for level in levels[:-1]:
            self.multiple = [m * p for m, p in zip(self.multiple, level["pool"])]
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.attention = nn.ModuleList(), nn.ModuleList()
        inputs = config["in_channels"]
        for level in levels:
            self.encoder.append(Block(inputs, level["channels"], level["kernel"]))
            inputs = level["channels"]
        for level, below in zip(levels, levels[1:]):
            c = level["channels"]
            self.up.append(nn.ConvTranspose3d(below["channels"], c, level["pool"], stride=level["pool"]))
            if config["attention"] != "off":
                self.attention.append(Attention(2 * c, level["kernel"]))
            self.decoder.append(Block(2 * c, c, level["kernel"]))
        self.head = nn.Conv3d(levels[0]["channels"], config["classes"], 1)

    def pad(self, x):
        d, h, w = [(m - n % m) % m for n, m in zip(x.shape[2:], self.multiple)]
        return F.pad(x, [0, w, 0, h, 0, d], mode="replicate")

    def forward(self, x):
        size = x.shape[2:]
        x = self.pad(x)
        skips, maps = [], []
        for i, block in enumerate(self.encoder):
            if i:
                pool = self.levels[i - 1]["pool"]
                x = F.max_pool3d(x, pool, pool)
            x = block(x)
            skips.append(x)
        for i in reversed(range(len(self.decoder))):
            x = torch.cat([skips[i], self.up[i](x)], 1)
            if len(self.attention):
                x, a = self.attention[i](x)
                maps.insert(0, a)
            x = self.decoder[i](x)
        x = self.head(x)
        return x[:, :, : size[0], : size[1], : size[2]], maps

    def named(self):
        for i, block in enumerate(self.encoder):
            yield from block.named(f"encoder.{i}")
        for i, block in enumerate(self.decoder):
            yield f"decoder.{i}.up.weight", self.up[i].weight
            yield f"decoder.{i}.up.bias", self.up[i].bias
            if len(self.attention):
                yield from self.attention[i].named(f"decoder.{i}.attention")
            yield from block.named(f"decoder.{i}")
        yield "head.weight", self.head.weight
        yield "head.bias", self.head.bias


def dice(p, g, lam, eps=1e-5):
    axes = tuple(range(2, p.ndim))
    w = lam * (p - g).abs() + (1 - lam)
    return (1 - (2 * (w * p * g).sum(axes) + eps) / ((w * (p + g)).sum(axes) + eps)).mean()


def total(net, config, logits, maps, labels, lam, weight):
    truth = F.one_hot(labels, config["classes"]).movedim(-1, 1).double()
    loss = dice(torch.softmax(logits, 1), truth, lam)
    if config["attention"] != "supervised":
        return loss
    foreground = net.pad((labels > 0).double()[:, None])
    attention = []
    for i, a in enumerate(maps):
        scale = [foreground.shape[j + 2] // a.shape[j + 2] for j in range(3)]
        attention.append(dice(a, F.avg_pool3d(foreground, scale, scale), lam))
    return weight * torch.stack(attention).mean() + loss


def case(name, config, shape, lam, weight, steps=3, rate=0.01, decay=1e-3):
    torch.manual_seed(len(name))
    net = Unet(config).double()
    # Away from the special values of a fresh network: norms and slopes of their own.
    for key, tensor in net.named():
        if "norm" in key or "slope" in key:
            tensor.data = torch.rand_like(tensor) * 0.5 + 0.5
    tensors = {f"start/{key}": tensor.detach().clone() for key, tensor in net.named()}
    x = torch.randn(shape, dtype=torch.float64)
    labels = torch.randint(0, config["classes"], [shape[0], *shape[2:]])
    labels[x[:, 0] < 0.3] = 0
    tensors |= {"input": x, "labels": labels.to(torch.uint8)}
    net.eval()
    tensors["infer/logits"] = net(x)[0].detach()
    net.train()
    adam = torch.optim.Adam(net.parameters(), lr=rate, weight_decay=decay)
    losses = []
    for step in range(steps):
        logits, maps = net(x)
        loss = total(net, config, logits, maps, labels, lam, weight)
        adam.zero_grad()
        loss.backward()
        if step == 0:
            tensors["train/logits"] = logits.detach()
            tensors |= {f"train/attention.{i}": a.detach() for i, a in enumerate(maps)}
            for key, tensor in net.named():
                if tensor.grad is not None:
                    tensors[f"gradient/{key}"] = tensor.grad.clone()
        losses.append(loss.item())
        adam.step()
    tensors |= {f"end/{key}": tensor.detach().clone() for key, tensor in net.named()}
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    header = {"config": config, "lambda": lam, "attention_weight": weight, "rate": rate, "decay": decay}
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    save_file(tensors, f"{name}.safetensors", metadata={"golden": json.dumps(header)})


def level(channels, kernel, pool):
    return {"channels": channels, "kernel": kernel, "pool": pool}


FLAT = ([1, 3, 3], [1, 2, 2])
DEEP = ([3, 3, 3], [2, 2, 2])


def config(in_channels, classes, levels, attention):
    return {
        "in_channels": in_channels,
        "classes": classes,
        "levels": levels,
        "attention": attention,
        "variant": "paper",
    }


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
    plain = config(3, 3, [level(2, *FLAT), level(3, *FLAT)], "off")
    case("unet_2d", plain, [2, 3, 1, 8, 6], lam=0.0, weight=1.0)
    mixed = [level(2, *FLAT), level(3, *FLAT), level(4, *DEEP), level(5, *DEEP)]
    # 5 slices: one level pools them, so that one is repeated.
    case("unet_25d_supervised", config(1, 2, mixed, "supervised"), [2, 1, 5, 16, 20], lam=0.6, weight=0.5)
    solid = [level(2, *DEEP), level(4, *DEEP), level(3, *DEEP)]
    case("unet_3d_unsupervised", config(1, 2, solid, "unsupervised"), [1, 1, 8, 8, 8], lam=0.4, weight=1.0)
    torch.jit.script(Threshold()).save("threshold.pt")
    torch.jit.script(Centre()).save("centre.pt")


if __name__ == "__main__":
    main()
