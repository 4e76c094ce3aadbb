"""Golden files for the detectors, from torchvision in double precision.

Run in this folder, with torch 2.11.0, torchvision 0.26.0 and safetensors: python make.py
Numbers that go in are made by the same arithmetic here and in the tests, so that the file holds what comes out alone.
"""

import json

import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.detection import faster_rcnn, mask_rcnn, roi_heads, rpn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign, batched_nms, nms, roi_align
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.misc import FrozenBatchNorm2d

MASK = (1 << 64) - 1
OUT = {}
HEADER = {}


def mixed(value):
    z = (value + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def named(name):
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
    start = named(name)
    values = [(mixed((start + i) & MASK) >> 11) / (1 << 53) for i in range(count)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


def boxes(name, count, side):
    """Boxes with sides of 2 and more, some of them off the image."""
    corner = uniform(f"{name}.corner", count, 2) * side * 1.2 - side * 0.1
    size = uniform(f"{name}.size", count, 2) * side * 0.6 + 2
    return torch.cat([corner, corner + size], 1)


def weigh(module):
    """Weights that follow from their names."""
    with torch.no_grad():
        for key, tensor in list(module.named_parameters()) + list(module.named_buffers()):
            numbers = uniform(key, *tensor.shape)
            if ".bn" in key or "downsample.1" in key:
                if key.endswith("running_var"):
                    numbers = numbers + 0.5
                elif key.endswith("weight"):
                    numbers = numbers * 0.5 + 0.5
                else:
                    numbers = numbers * 0.2 - 0.1
            elif tensor.dim() > 1:
                fan = tensor[0].numel()
                numbers = (numbers * 2 - 1) * (3 / fan) ** 0.5
            else:
                numbers = numbers * 0.2 - 0.1
            tensor.copy_(numbers)


class Narrow(ResNet):
    """torchvision's network with another number of channels."""

    def __init__(self, block, layers, width, channels):
        nn.Module.__init__(self)
        self._norm_layer = FrozenBatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = width, 1, 1, 64
        self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = FrozenBatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for stage, count in enumerate(layers):
            layer = self._make_layer(block, width << stage, count, stride=1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", layer)
        self.out = [(width << stage) * block.expansion for stage in range(4)]

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        features = {}
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
            features[str(stage)] = x
        return features


class Backbone(nn.Module):
    def __init__(self, block, layers, width, channels, pyramid):
        super().__init__()
        self.body = Narrow(block, layers, width, channels)
        self.fpn = FeaturePyramidNetwork(self.body.out, pyramid, LastLevelMaxPool())
        self.out_channels = pyramid

    def forward(self, x):
        return self.fpn(self.body(x))


class Detector(nn.Module):
    def __init__(self, backbone, classes, hidden, sizes, samples):
        super().__init__()
        self.backbone = backbone
        width = backbone.out_channels
        anchors = AnchorGenerator(tuple((size,) for size in sizes), ((0.5, 1.0, 2.0),) * len(sizes))
        self.rpn = rpn.RegionProposalNetwork(
            anchors,
            rpn.RPNHead(width, 3),
            0.7,
            0.3,
            samples,
            0.5,
            dict(training=2000, testing=1000),
            dict(training=2000, testing=1000),
            0.7,
        )
        pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
        head = faster_rcnn.TwoMLPHead(width * 49, hidden)
        predictor = faster_rcnn.FastRCNNPredictor(hidden, classes)
        self.roi_heads = roi_heads.RoIHeads(
            pool, head, predictor, 0.5, 0.5, samples, 0.25, None, 0.05, 0.5, 100
        )

    def forward(self, images, targets=None):
        listed = ImageList(images, [tuple(images.shape[2:])] * len(images))
        features = self.backbone(images)
        proposals, first = self.rpn(listed, features, targets)
        found, second = self.roi_heads(features, proposals, listed.image_sizes, targets)
        return found, {**first, **second}


def geometry():
    generator = AnchorGenerator(((16,), (40,)), ((0.5, 1.0, 2.0),) * 2)
    levels = [torch.zeros(1, 1, 16, 24), torch.zeros(1, 1, 8, 12)]
    OUT["anchors"] = generator(ImageList(torch.zeros(1, 3, 64, 96), [(64, 96)]), levels)[0]

    truth, others = boxes("truth", 6, 80), boxes("others", 250, 80)
    from torchvision.ops import box_iou

    overlaps = box_iou(truth, others)
    OUT["match.rpn"] = Matcher(0.7, 0.3, allow_low_quality_matches=True)(overlaps).double()
    OUT["match.loose"] = Matcher(0.4, 0.2, allow_low_quality_matches=True)(overlaps).double()
    OUT["match.head"] = Matcher(0.5, 0.5, allow_low_quality_matches=False)(overlaps).double()
    for name, weights in [("rpn", (1.0,) * 4), ("head", (10.0, 10.0, 5.0, 5.0))]:
        coder = BoxCoder(weights)
        OUT[f"encode.{name}"] = coder.encode_single(others[:6], truth)
        codes = uniform("codes", 6, 4) * 12 - 4
        OUT[f"decode.{name}"] = coder.decode_single(codes, others[:6])
    # Few different scores, so that there are ties.
    scores = (uniform("scores", 250) * 40).floor() / 40
    groups = (uniform("groups", 250) * 3).floor().long()
    for most in (0.3, 0.7):
        OUT[f"nms.{most}"] = nms(others, scores, most).double()
    spread = uniform("spread", 250)
    OUT["nms.groups"] = batched_nms(others, spread, groups, 0.5).double()


def align():
    features = (uniform("map", 1, 2, 9, 7) - 0.5).requires_grad_(True)
    regions = torch.cat([boxes("regions", 12, 40), torch.tensor([[3.0, 5, 3.1, 5.1], [-60, -60, -50, -50.0]])])
    out = roi_align(features, [regions], 7, 0.25, 2, False)
    (out * (uniform("weights", *out.shape) - 0.5)).sum().backward()
    OUT["align.out"] = out.detach()
    OUT["align.gradient"] = features.grad


def backbone():
    for name, block, layers, width in [
        ("resnet18", BasicBlock, [2, 2, 2, 2], 4),
        ("resnet50", Bottleneck, [3, 4, 6, 3], 2),
    ]:
        net = Backbone(block, layers, width, 3, 4).double()
        holder = nn.Module()
        holder.backbone = net
        weigh(holder)
        with torch.no_grad():
            levels = net(uniform("image", 1, 3, 64, 96))
        for place, level in enumerate(list(levels.values())[:4]):
            OUT[f"{name}.P{place + 2}"] = level


def in_double():
    """torchvision's labels are in single precision, in which PyTorch's loss would then be computed."""
    original = rpn.F.binary_cross_entropy_with_logits
    rpn.F.binary_cross_entropy_with_logits = lambda x, labels: original(x, labels.to(x.dtype))


TRUTH = [
    {"boxes": [[10.0, 12, 30, 40], [50, 8, 90, 30], [60, 40, 70, 55]], "labels": [1, 2, 1]},
    {"boxes": [[0.0, 0, 25, 60]], "labels": [2]},
    {"boxes": [], "labels": []},
]


def step():
    net = Detector(Backbone(BasicBlock, [2, 2, 2, 2], 4, 3, 8), 3, 16, [8, 16, 32, 64, 128], 10**6).double()
    weigh(net)
    images = uniform("images", 3, 3, 64, 96)
    targets = [
        {
            "boxes": torch.tensor(one["boxes"], dtype=torch.float64).reshape(-1, 4),
            "labels": torch.tensor(one["labels"], dtype=torch.int64),
        }
        for one in TRUTH
    ]
    net.train()
    _, losses = net(images, targets)
    HEADER["losses"] = {name: value.item() for name, value in losses.items()}
    sum(losses.values()).backward()
    # A number for each tensor that every number of its gradient takes part in.
    HEADER["gradients"] = {
        name: (tensor.grad * (uniform(f"gradient.{name}", *tensor.shape) - 0.5)).sum().item()
        for name, tensor in net.named_parameters()
    }
    net.eval()
    with torch.no_grad():
        found, _ = net(images[:2])
    for place, one in enumerate(found):
        OUT[f"found.{place}"] = torch.cat(
            [one["boxes"], one["scores"][:, None], one["labels"][:, None].double()], 1
        )


def counts():
    def count(net):
        return sum(parameter.numel() for parameter in net.parameters())

    faster = faster_rcnn.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    mask = mask_rcnn.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    HEADER["parameters"] = {"faster": count(faster), "mask": count(mask)}
    HEADER["names"] = sorted(name for name in mask.state_dict() if "num_batches" not in name)


if __name__ == "__main__":
    torch.set_num_threads(1)
    in_double()
    geometry()
    align()
    backbone()
    step()
    counts()
    save_file({key: value.contiguous() for key, value in OUT.items()}, "rcnn.safetensors", {"golden": json.dumps(HEADER)})
