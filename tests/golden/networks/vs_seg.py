"""The network of KCL-BMEIS/VS_Seg (`UNet2d5_spvPA`), put together from MONAI's own blocks, of which its are copies."""

from masks import Dropout
from monai.networks.blocks import Convolution, ResidualUnit
from paper import Attention, Gate, Joined
from torch import nn


def unit(name, conv):
    """What a convolution of MONAI's is called, with our dropout in the place of torch's."""
    yield f"{name}.weight", conv.conv.weight
    yield f"{name}.bias", conv.conv.bias
    if hasattr(conv, "adn"):
        yield f"{name}.norm.weight", conv.adn.N.weight
        yield f"{name}.norm.bias", conv.adn.N.bias
        yield f"{name}.slope", conv.adn.A.weight
        yield f"{name}.norm.mean", conv.adn.N.running_mean
        yield f"{name}.norm.variance", conv.adn.N.running_var


def residual(name, block):
    yield from unit(f"{name}.first", block.conv.unit0)
    yield from unit(f"{name}.second", block.conv.unit1)
    if not isinstance(block.residual, nn.Identity):
        yield f"{name}.shortcut.weight", block.residual.weight
        yield f"{name}.shortcut.bias", block.residual.bias


class VsSeg(Joined):
    def __init__(self, config):
        super().__init__(config)
        rate = config["dropout"]
        common = {"norm": "BATCH", "dropout": rate or None}
        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        self.decoder, self.up, self.attention = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        maps = config["attention"] in ("unsupervised", "supervised")
        inputs = config["in_channels"]
        for i, level in enumerate(self.levels):
            c, k = level["channels"], level["kernel"]
            if i + 1 == len(self.levels) and maps:
                self.bottleneck = Attention(inputs, k)
            self.encoder.append(ResidualUnit(3, inputs, c, 1, k, subunits=2, **common))
            if i + 1 < len(self.levels):
                self.down.append(Convolution(3, c, c, level["pool"], k, **common))
            inputs = c
        for i, (level, below) in enumerate(zip(self.levels, self.levels[1:])):
            c, k = level["channels"], level["kernel"]
            up = Convolution(3, below["channels"], c, level["pool"], k, is_transposed=True, **common)
            self.up.append(up)
            if maps:
                self.attention.append(Attention(2 * c, k))
            elif config["attention"] == "gate":
                self.attention.append(Gate(c, below["channels"], level["pool"]))
            outputs = config["classes"] if i == 0 else c
            self.decoder.append(
                ResidualUnit(3, 2 * c, outputs, 1, k, subunits=2, last_conv_only=i == 0, **common)
            )
        if rate:
            for name, conv in self.convolutions():
                if hasattr(conv, "adn"):
                    conv.adn.D = Dropout(name, rate)

    def convolutions(self):
        for kind, blocks in [("encoder", self.encoder), ("decoder", self.decoder)]:
            for i, block in enumerate(blocks):
                yield f"{kind}.{i}.first", block.conv.unit0
                yield f"{kind}.{i}.second", block.conv.unit1
        for i, conv in enumerate(self.down):
            yield f"encoder.{i}.down", conv
        for i, conv in enumerate(self.up):
            yield f"decoder.{i}.up", conv

    def lower(self, i, x):
        return self.down[i - 1](x)

    def named(self):
        if self.bottleneck is not None:
            yield from self.bottleneck.named("bottleneck.attention")
        for i, block in enumerate(self.encoder):
            yield from residual(f"encoder.{i}", block)
        for i, conv in enumerate(self.down):
            yield from unit(f"encoder.{i}.down", conv)
        for i, block in enumerate(self.decoder):
            yield from unit(f"decoder.{i}.up", self.up[i])
            if len(self.attention):
                yield from self.attention[i].named(f"decoder.{i}.attention")
            yield from residual(f"decoder.{i}", block)
