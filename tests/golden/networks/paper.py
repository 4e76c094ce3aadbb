"""The U-Net of Wang et al. (MICCAI 2019, arXiv 1906.03906) and the gate of Oktay et al. (MIDL 2018, arXiv 1804.03999).

Written anew from the two papers; it shares nothing with the Rust code but the names of its tensors.
"""

import torch
import torch.nn.functional as F
from masks import Dropout
from torch import nn


class ConvNorm(nn.Module):
    def __init__(self, name, inputs, outputs, kernel, dropout):
        super().__init__()
        self.name = name
        self.conv = nn.Conv3d(inputs, outputs, kernel, padding=[k // 2 for k in kernel], bias=False)
        self.norm = nn.BatchNorm3d(outputs)
        self.dropout = Dropout(name, dropout)
        self.act = nn.PReLU()

    def forward(self, x):
        return self.act(self.dropout(self.norm(self.conv(x))))

    def named(self):
        yield f"{self.name}.weight", self.conv.weight
        yield f"{self.name}.norm.weight", self.norm.weight
        yield f"{self.name}.norm.bias", self.norm.bias
        yield f"{self.name}.slope", self.act.weight
        yield f"{self.name}.norm.mean", self.norm.running_mean
        yield f"{self.name}.norm.variance", self.norm.running_var


class Block(nn.Module):
    def __init__(self, name, inputs, outputs, kernel, dropout):
        super().__init__()
        self.first = ConvNorm(f"{name}.first", inputs, outputs, kernel, dropout)
        self.second = ConvNorm(f"{name}.second", outputs, outputs, kernel, dropout)

    def forward(self, x):
        return self.second(self.first(x))

    def named(self):
        yield from self.first.named()
        yield from self.second.named()


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


class Gate(nn.Module):
    def __init__(self, channels, below, pool):
        super().__init__()
        half = max(channels // 2, 1)
        self.theta = nn.Conv3d(channels, half, pool, stride=pool, bias=False)
        self.phi = nn.Conv3d(below, half, 1)
        self.psi = nn.Conv3d(half, 1, 1)

    def forward(self, x, g):
        a = torch.sigmoid(self.psi(torch.relu(self.theta(x) + self.phi(g))))
        a = F.interpolate(a, size=x.shape[2:], mode="trilinear", align_corners=False)
        return x * a, a

    def named(self, name):
        yield f"{name}.theta.weight", self.theta.weight
        for part in ["phi", "psi"]:
            yield f"{name}.{part}.weight", getattr(self, part).weight
            yield f"{name}.{part}.bias", getattr(self, part).bias


class Joined(nn.Module):
    """What both variants do: sizes that the pools do not divide, and levels on the way down and up."""

    def __init__(self, config):
        super().__init__()
        self.config, self.levels = config, config["levels"]
        self.bottleneck, self.head = None, nn.Identity()
        self.multiple = [1, 1, 1]
        for level in self.levels[:-1]:
            self.multiple = [m * p for m, p in zip(self.multiple, level["pool"])]

    def pad(self, x):
        d, h, w = [(m - n % m) % m for n, m in zip(x.shape[2:], self.multiple)]
        return F.pad(x, [0, w, 0, h, 0, d], mode="replicate")

    def forward(self, x):
        d, h, w = x.shape[2:]
        x, maps = self.unpadded(self.pad(x))
        return x[:, :, :d, :h, :w], maps

    def unpadded(self, x):
        skips, maps = [], []
        for i, block in enumerate(self.encoder):
            if i:
                x = self.lower(i, x)
            if self.bottleneck is not None and i + 1 == len(self.encoder):
                x, a = self.bottleneck(x)
                maps.append(a)
            x = block(x)
            skips.append(x)
        for i in reversed(range(len(self.decoder))):
            skip, up = skips[i], self.up[i](x)
            if self.config["attention"] == "gate":
                skip, a = self.attention[i](skip, x)
                maps.insert(0, a)
            x = torch.cat([skip, up], 1)
            if self.config["attention"] in ("unsupervised", "supervised"):
                x, a = self.attention[i](x)
                maps.insert(0, a)
            x = self.decoder[i](x)
        return self.head(x), maps


class Unet(Joined):
    def __init__(self, config):
        super().__init__(config)
        dropout = config.get("dropout", 0.0)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.attention = nn.ModuleList(), nn.ModuleList()
        inputs = config["in_channels"]
        for i, level in enumerate(self.levels):
            self.encoder.append(Block(f"encoder.{i}", inputs, level["channels"], level["kernel"], dropout))
            inputs = level["channels"]
        for i, (level, below) in enumerate(zip(self.levels, self.levels[1:])):
            c = level["channels"]
            self.up.append(nn.ConvTranspose3d(below["channels"], c, level["pool"], stride=level["pool"]))
            if config["attention"] == "gate":
                self.attention.append(Gate(c, below["channels"], level["pool"]))
            elif config["attention"] != "off":
                self.attention.append(Attention(2 * c, level["kernel"]))
            self.decoder.append(Block(f"decoder.{i}", 2 * c, c, level["kernel"], dropout))
        self.head = nn.Conv3d(self.levels[0]["channels"], config["classes"], 1)

    def lower(self, i, x):
        pool = self.levels[i - 1]["pool"]
        return F.max_pool3d(x, pool, pool)

    def named(self):
        for block in self.encoder:
            yield from block.named()
        for i, block in enumerate(self.decoder):
            yield f"decoder.{i}.up.weight", self.up[i].weight
            yield f"decoder.{i}.up.bias", self.up[i].bias
            if len(self.attention):
                yield from self.attention[i].named(f"decoder.{i}.attention")
            yield from block.named()
        yield "head.weight", self.head.weight
        yield "head.bias", self.head.bias
