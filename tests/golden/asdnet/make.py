"""Golden files for the networks and losses of ASDNet's rows, from PyTorch in double precision.

Run in this folder, with torch 2.11.0 and safetensors 0.8.0: python make.py
Numbers that go in are made by the same arithmetic here and in the tests, so that the file holds what comes out alone.
"""

import json

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

MASK = (1 << 64) - 1
EPSILON = 1e-5
GAMMA = 0.5839
OUT = {}
HEADER = {}


def mixed(value):
    z = (value + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def hashed(name):
    """FNV-1a of a name."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def uniform(name, *shape):
    """Numbers from 0 to below 1 that follow from a name."""
    count = 1
    for length in shape:
        count *= length
    start = hashed(name)
    values = [(mixed((start + i) & MASK) >> 11) / (1 << 53) for i in range(count)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


class Network(nn.Module):
    """What tomoflow calls its tensors, of modules that are called as PyTorch calls them."""

    RENAMED = [
        (".conv.", "."),
        (".norm.running_mean", ".norm.mean"),
        (".norm.running_var", ".norm.variance"),
        (".act.weight", ".slope"),
    ]

    def named(self):
        tensors = list(self.named_parameters()) + list(self.named_buffers())
        for key, tensor in tensors:
            if "num_batches" in key:
                continue
            for own, other in self.RENAMED:
                key = key.replace(own, other)
            yield key, tensor

    def weigh(self):
        """Weights that follow from their names."""
        with torch.no_grad():
            for key, tensor in self.named():
                numbers = uniform(key, *tensor.shape)
                if key.endswith("variance"):
                    numbers = numbers + 0.5
                elif key.endswith("norm.weight") or key.endswith("slope"):
                    numbers = numbers * 0.5 + 0.5
                elif tensor.dim() > 1:
                    numbers = (numbers * 2 - 1) * (3 / tensor[0].numel()) ** 0.5
                else:
                    numbers = numbers * 0.2 - 0.1
                tensor.copy_(numbers)
        return self


def norm_of(kind, channels):
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    if kind == "group":
        groups = next(n for n in range(8, 0, -1) if channels % n == 0)
        return nn.GroupNorm(groups, channels)
    return nn.Identity()


class Unit(nn.Module):
    """Convolution, norm, what is added, PReLU with a slope for each channel."""

    def __init__(self, conv, kind):
        super().__init__()
        self.conv = conv
        self.norm = norm_of(kind, conv.out_channels)
        self.act = nn.PReLU(conv.out_channels)

    def forward(self, x, plus=0):
        return self.act(self.norm(self.conv(x)) + plus)


def along(input, output, kernel, kind):
    return Unit(nn.Conv3d(input, output, kernel, padding=kernel // 2), kind)


class Vnet(Network):
    """Milletari et al. 2016, of any depth and kernel."""

    def __init__(self, widths, counts, kernel, kind, classes, head):
        super().__init__()
        self.multiple = 2 ** (len(widths) - 1)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level, (width, count) in enumerate(zip(widths, counts)):
            block = nn.ModuleDict()
            for place in range(count):
                block[str(place)] = along(1 if level == 0 and place == 0 else width, width, kernel, kind)
            if level + 1 < len(widths):
                block["down"] = Unit(nn.Conv3d(width, widths[level + 1], 2, stride=2), kind)
            self.encoder.append(block)
        for level, (width, count) in enumerate(zip(widths[:-1], counts)):
            below = widths[level + 1] * (1 if level + 2 == len(widths) else 2)
            block = nn.ModuleDict({"up": Unit(nn.ConvTranspose3d(below, width, 2, stride=2), kind)})
            for place in range(count):
                block[str(place)] = along(2 * width, 2 * width, kernel, kind)
            self.decoder.append(block)
        deep = 2 * widths[0]
        if head == "level":
            self.head = nn.ModuleDict({"level": along(deep, classes, kernel, kind)})
            deep = classes
        else:
            self.head = nn.ModuleDict()
        self.head["conv"] = nn.Conv3d(deep, classes, 1)

    @staticmethod
    def residual(block, x, plus):
        units = [block[key] for key in sorted(key for key in block if key.isdigit())]
        features = x
        for unit in units[:-1]:
            features = unit(features)
        return units[-1](features, plus)

    def forward(self, x):
        x, size = padded(x, self.multiple)
        skips = []
        for block in self.encoder:
            # The first level's input is spread over its channels.
            x = self.residual(block, x, x)
            skips.append(x)
            if "down" in block:
                x = block["down"](x)
        for block, skip in zip(reversed(self.decoder), reversed(skips[:-1])):
            both = torch.cat([skip, block["up"](x)], 1)
            x = self.residual(block, both, both)
        if "level" in self.head:
            x = self.head["level"](x)
        return cropped(self.head["conv"](x), size), []


class Layer(nn.Module):
    """Norm, ReLU, convolution."""

    def __init__(self, input, output, kind):
        super().__init__()
        self.norm = norm_of(kind, input)
        self.conv = nn.Conv3d(input, output, 3, padding=1)

    def forward(self, x):
        return self.conv(F.relu(self.norm(x)))


class Block(nn.Module):
    def __init__(self, input, output, kind):
        super().__init__()
        self.add_module("0", Layer(input, output, kind))
        self.add_module("1", Layer(output, output, kind))
        self.shortcut = nn.Conv3d(input, output, 1) if input != output else nn.Identity()

    def forward(self, x):
        return getattr(self, "1")(getattr(self, "0")(x)) + self.shortcut(x)


class Residual(Network):
    """A residual U-Net with summed skips, and heads on coarser levels in training."""

    def __init__(self, widths, kind, classes, heads):
        super().__init__()
        self.multiple = 2 ** (len(widths) - 1)
        self.stem = nn.Conv3d(1, widths[0], 3, padding=1)
        self.encoder, self.decoder, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for above, width in zip([widths[0], *widths], widths):
            self.encoder.append(Block(above, width, kind))
        for width, below in zip(widths, widths[1:]):
            block = Block(width, width, kind)
            block.up = nn.ConvTranspose3d(below, width, 2, stride=2)
            self.decoder.append(block)
        for level in range(heads):
            scale = 2 ** (level + 1)
            self.heads.append(nn.ConvTranspose3d(widths[level + 1], classes, scale, stride=scale))
        self.head = nn.ModuleDict({"norm": norm_of(kind, widths[0]), "conv": nn.Conv3d(widths[0], classes, 1)})

    def forward(self, x):
        x, size = padded(x, self.multiple)
        x = self.stem(x)
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(F.max_pool3d(x, 2) if level else x)
            skips.append(x)
        done = []
        for block, skip in zip(reversed(self.decoder), reversed(skips[:-1])):
            x = block(block.up(x) + skip)
            done.append(x)
        logits = cropped(self.head["conv"](F.relu(self.head["norm"](x))), size)
        # From the finest of the coarser levels on.
        coarser = done[-2::-1]
        return logits, [cropped(head(level), size) for head, level in zip(self.heads, coarser)]


class Fcn(Network):
    """The critic of voxels: what comes up is added to what went down."""

    def __init__(self, classes, width):
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.down = nn.ModuleList([nn.Conv3d(classes, width, 3, padding=1)])
        self.up = nn.ModuleList()
        for above, below in zip(widths, widths[1:]):
            self.down.append(nn.Conv3d(above, below, 4, stride=2, padding=1))
            # With the batch's own statistics at any time.
            norm = nn.BatchNorm3d(above, track_running_stats=False)
            up = nn.ModuleDict({"conv": nn.ConvTranspose3d(below, above, 4, stride=2, padding=1), "norm": norm})
            self.up.append(up)
        self.head = nn.Conv3d(width, 1, 1)

    def forward(self, x):
        x, size = padded(x, 8)
        skips = []
        for conv in self.down:
            x = F.leaky_relu(conv(x), 0.2)
            skips.append(x)
        for up, skip in zip(reversed(self.up), reversed(skips[:-1])):
            x = F.relu(F.relu(up["norm"](up["conv"](x))) + skip)
        return cropped(self.head(x), size)


class Cnn(Network):
    """The critic of samples."""

    def __init__(self, classes, width, window):
        super().__init__()
        self.convolution = nn.ModuleList()
        input = classes
        for place, output in enumerate(width * times for times in [1, 1, 2, 2, 4, 4, 4, 4]):
            self.convolution.append(nn.Conv3d(input, output, 3, stride=1 + place % 2, padding=1))
            input = output
        flat = input
        for length in window:
            for _ in range(4):
                length = (length + 1) // 2
            flat *= length
        self.dense = nn.ModuleList([nn.Linear(flat, 32 * width), nn.Linear(32 * width, 1)])

    def forward(self, x):
        for conv in self.convolution:
            x = F.elu(conv(x))
        return self.dense[1](F.elu(self.dense[0](x.flatten(1))))


def padded(x, multiple):
    size = x.shape[2:]
    d, h, w = ((-length) % multiple for length in size)
    return F.pad(x, (0, w, 0, h, 0, d), mode="replicate"), size


def cropped(x, size):
    d, h, w = size
    return x[:, :, :d, :h, :w]


def one_hot(labels, classes):
    return F.one_hot(labels, classes).movedim(-1, 1).double()


def generalised_dice(p, g, absent):
    """Of each sample. Weights are 1 / v², those of classes without a voxel the greatest there is, or 0."""
    volumes = g.flatten(2).sum(2)
    weights = torch.where(volumes > 0, 1 / volumes.clamp(min=1e-300) ** 2, 0)
    weights = weights / weights.amax(1, keepdim=True).clamp(min=1e-300)
    if absent == "max":
        weights = torch.where(volumes > 0, weights, 1.0)
    weights = weights.detach()
    above = (weights * (p * g).flatten(2).sum(2)).sum(1)
    below = (weights * (p + g).flatten(2).sum(2)).sum(1)
    return 1 - (2 * above + EPSILON) / (below + EPSILON)


def attention_of_samples(p, g, beta):
    p, g = p.detach()[:, 1:].flatten(2), g[:, 1:].flatten(2)
    dice = 2 * (p * g).sum(2) / (p.sum(2) + g.sum(2))
    present = g.sum(2) > 0
    assert bool(present.any(1).all())
    mean = (dice * present).sum(1) / present.sum(1)
    return (1 - mean) ** beta


def segmentation(logits, heads, labels, sample_attention=0.0, weights_of_heads=()):
    classes = logits.shape[1]
    p, g = logits.softmax(1), one_hot(labels, classes)
    each = generalised_dice(p, g, "max")
    if sample_attention:
        each = each * attention_of_samples(p, g, sample_attention)
    loss = each.mean()
    for weight, head in zip(weights_of_heads, heads):
        loss = loss + weight * generalised_dice(head.softmax(1), g, "max").mean()
    return loss


def project(prefix, named):
    """A number for each tensor that every one of its numbers takes part in."""
    return {
        name: (tensor * (uniform(f"{prefix}.{name}", *tensor.shape) - 0.5)).sum().item() for name, tensor in named
    }


def gradients(net):
    return project("gradient", ((name, tensor.grad) for name, tensor in net.named() if tensor.grad is not None))


def classes_of(name, *shape):
    return (uniform(name, *shape) * 3).floor().long()


SIZE = (5, 8, 9)


def network(name, net, **loss):
    net.weigh()
    x = uniform("input", 2, 1, *SIZE) * 4 - 2
    net.eval()
    with torch.no_grad():
        OUT[f"{name}.infer"] = net(x)[0]
    net.train()
    logits, heads = net(x)
    value = segmentation(logits, heads, classes_of("labels", 2, *SIZE), **loss)
    value.backward()
    buffers = ((key, tensor) for key, tensor in net.named() if not tensor.requires_grad)
    HEADER[name] = {
        "loss": value.item(),
        "train": project("train", [("logits", logits)]),
        "gradients": gradients(net),
        "buffers": project("buffer", buffers),
        "parameters": sum(tensor.numel() for tensor in net.parameters()),
    }


def real_or_not(logits, real):
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def critic(name, net, size):
    net.weigh()
    truth = one_hot(classes_of("truth", 2, *size), 3)
    predicted = (uniform("predicted", 2, 3, *size) * 6).softmax(1).requires_grad_()
    logits = net(predicted)
    # What a segmentation learns from it.
    adversarial = real_or_not(logits, True)
    moved = torch.autograd.grad(adversarial, predicted, retain_graph=True)[0]
    real, fake = real_or_not(net(truth), True), real_or_not(net(predicted.detach()), False)
    (real + fake).backward()
    OUT[f"{name}.logits"] = logits.detach()
    HEADER[name] = {
        "adversarial": adversarial.item(),
        "real": real.item(),
        "predicted": fake.item(),
        "moved": project("moved", [("predicted", moved)]),
        "gradients": gradients(net),
        "parameters": sum(tensor.numel() for tensor in net.parameters()),
    }


def step():
    """What one step of ASDNet comes to: two samples with outlines, two without, one forward pass of all."""
    net, judge = Vnet([2, 3, 4], [1, 2, 2], 3, "group", 3, "point"), Fcn(3, 2)
    net.double().weigh().train()
    judge.double().weigh()
    size = (8, 8, 8)
    x = torch.cat([uniform("drawn", 2, 1, *size), uniform("undrawn", 2, 1, *size)]) * 4 - 2
    labels = classes_of("drawn.labels", 2, *size)
    logits, _ = net(x)
    p = logits.softmax(1)
    said = judge(p)
    outlines = segmentation(logits[:2], [], labels, sample_attention=2.0)
    adversarial = real_or_not(said, True)
    sure = said[2:].detach().sigmoid().flatten()
    assert (sure - GAMMA).abs().min().item() > 1e-4
    taken = (said[2:].detach().sigmoid() > GAMMA).double()
    pseudo = one_hot(p[2:].detach().argmax(1), 3)
    semi = generalised_dice(p[2:] * taken, pseudo * taken, "skip").mean()
    entropy = -(p[2:].log() * pseudo * taken).sum() / taken.sum()
    semi = semi + 0.5 * entropy
    whole = outlines + 0.03 * adversarial + 0.3 * semi
    names, tensors = zip(*((name, tensor) for name, tensor in net.named() if tensor.requires_grad))
    moved = torch.autograd.grad(whole, tensors)
    real = real_or_not(judge(one_hot(labels, 3)), True)
    fake = real_or_not(judge(p[:2].detach()), False)
    (real + fake).backward()
    share = taken.mean().item()
    assert 0.05 < share < 0.95, share
    HEADER["step"] = {
        "losses": {
            "segmentation": outlines.item(),
            "adversarial": adversarial.item(),
            "semi": semi.item(),
            "semi.share": share,
            "critic.real": real.item(),
            "critic.predicted": fake.item(),
            "loss": whole.item(),
            "critic": (real + fake).item(),
        },
        "network": project("gradient", zip(names, moved)),
        "critic": gradients(judge),
    }


torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
network("vnet", Vnet([2, 3, 4, 5, 6], [1, 2, 3, 3, 3], 5, "none", 3, "level"))
network("svnet", Vnet([2, 3, 4, 5], [1, 2, 3, 3], 3, "batch", 3, "point"), sample_attention=2.0)
network("svnet_group", Vnet([2, 4, 6], [1, 2, 2], 3, "group", 3, "point"))
network("residual", Residual([2, 3, 4, 5], "batch", 3, 2), weights_of_heads=[0.4, 0.2])
critic("fcn", Fcn(3, 2), SIZE)
critic("cnn", Cnn(3, 2, SIZE), SIZE)
step()
save_file({key: value.contiguous() for key, value in OUT.items()}, "asdnet.safetensors", {"golden": json.dumps(HEADER)})
