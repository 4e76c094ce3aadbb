"""Dropout by masks that a hash of draw, layer and place gives: SplitMix64, FNV-1a and Wellons' lowbias32."""

import numpy as np
import torch
from torch import nn

LOW = (1 << 64) - 1


def split_mix(x):
    x = (x + 0x9E3779B97F4A7C15) & LOW
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & LOW
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & LOW
    return x ^ (x >> 31)


def fnv(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & LOW
    return value


def lowbias32(x):
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


class Dropout(nn.Module):
    """`draw` is set before each step."""

    draw = 0

    def __init__(self, name, rate):
        super().__init__()
        self.name, self.rate = name, rate

    def forward(self, x):
        if not self.training or self.rate == 0:
            return x
        key = split_mix(Dropout.draw ^ fnv(self.name))
        place = np.arange(x.numel(), dtype=np.uint32)
        value = lowbias32(lowbias32(place ^ np.uint32(key & 0xFFFFFFFF)) ^ np.uint32(key >> 32))
        kept = torch.from_numpy(value >= np.uint32(round(self.rate * 2**32))).reshape(x.shape)
        return x * kept / (1 - self.rate)
