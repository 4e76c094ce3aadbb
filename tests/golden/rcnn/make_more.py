"""Golden files for masks, deformable convolution and the heads without a pyramid, from torchvision in double precision.

Run in this folder, with torch 2.11.0, torchvision 0.26.0 and safetensors: python make_more.py
Numbers that go in are made by the same arithmetic as in make.py, so that the file holds what comes out alone.
"""

import json

import torch
from make import TRUTH, Backbone, Detector, in_double, uniform, weigh
from safetensors.torch import save_file
from torch import nn
from torchvision.models.detection import mask_rcnn
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import cfgs
from torchvision.ops import MultiScaleRoIAlign, deform_conv2d, ps_roi_align

OUT = {}
HEADER = {}

# Boxes of which masks are kept to the pixel.
PASTED = 3


def ellipse(box, height, width):
    """The pixels whose middles lie in the ellipse that fills a box."""
    x1, y1, x2, y2 = box
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - (y1 + y2) / 2) / ((y2 - y1) / 2)
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - (x1 + x2) / 2) / ((x2 - x1) / 2)
    return (y[:, None] ** 2 + x[None, :] ** 2 <= 1).to(torch.uint8)


def detector(channels):
    net = Detector(Backbone(BasicBlock, [2, 2, 2, 2], 4, 3, 8), 3, 16, [8, 16, 32, 64, 128], 10**6)
    heads = net.roi_heads
    heads.mask_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2)
    heads.mask_head = mask_rcnn.MaskRCNNHeads(8, (channels,) * 4, 1)
    heads.mask_predictor = mask_rcnn.MaskRCNNPredictor(channels, channels, 3)
    return net.double()


def masks():
    net = detector(6)
    weigh(net)
    images = uniform("images", 3, 3, 64, 96)
    targets = [
        {
            "boxes": torch.tensor(one["boxes"], dtype=torch.float64).reshape(-1, 4),
            "labels": torch.tensor(one["labels"], dtype=torch.int64),
            "masks": torch.stack([ellipse(box, 64, 96) for box in one["boxes"]])
            if one["boxes"]
            else torch.zeros(0, 64, 96, dtype=torch.uint8),
        }
        for one in TRUTH
    ]
    # Regions of a mask, some of them off the image.
    regions = torch.tensor([[8.0, 10, 33, 45], [-5, 3, 20.5, 41.25], [50, 5, 95, 33], [12, 14, 13, 14.5]])
    regions = regions.double()
    index = torch.zeros(len(regions), dtype=torch.int64)
    whole = targets[0]["masks"][:1].double()
    OUT["project"] = project_masks_on_boxes(whole, regions, index, 28)
    head = uniform("regions.of.masks", 2, 8, 14, 14)
    OUT["head"] = net.roi_heads.mask_predictor(net.roi_heads.mask_head(head)).detach()

    net.train()
    _, losses = net(images, targets)
    HEADER["losses"] = {name: value.item() for name, value in losses.items()}
    sum(losses.values()).backward()
    HEADER["gradients"] = {
        name: (tensor.grad * (uniform(f"gradient.{name}", *tensor.shape) - 0.5)).sum().item()
        for name, tensor in net.named_parameters()
    }
    net.eval()
    with torch.no_grad():
        found, _ = net(images[:2])
    for place, one in enumerate(found):
        rows = torch.cat([one["boxes"], one["scores"][:, None], one["labels"][:, None].double()], 1)
        OUT[f"found.{place}"] = rows
        pasted = paste_masks_in_image(one["masks"], one["boxes"], (64, 96))[:, 0]
        weights = uniform("pasted", 64, 96) - 0.5
        OUT[f"pasted.sum.{place}"] = (pasted * weights).sum((1, 2))
        OUT[f"pasted.bits.{place}"] = (pasted[:PASTED] > 0.5).to(torch.uint8)
    # What is pasted of given masks, boxes at and off the border among them.
    boxes = torch.tensor([[3.2, 4.7, 30.9, 50.1], [-8.5, -3, 12, 9.5], [70, 40, 110.5, 90], [5, 5, 5.2, 5.3]])
    boxes = boxes.double()
    pasted = paste_masks_in_image(uniform("to.paste", 4, 1, 28, 28), boxes, (64, 96))[:, 0]
    OUT["paste"] = (pasted > 0.5).to(torch.uint8)


def position_sensitive():
    small = [((16 * c + 4 * y + x) * 5 % 17) / 17 for c in range(4) for y in range(4) for x in range(4)]
    small = torch.tensor(small, dtype=torch.float64).reshape(1, 4, 4, 4)
    OUT["position.small"] = ps_roi_align(small, [torch.tensor([[4.0, 2, 28, 30]]).double()], 2, 1 / 8, 2)
    features = (uniform("map.of.positions", 1, 3 * 9, 9, 7) - 0.5).requires_grad_(True)
    regions = torch.tensor([[3.0, 5, 21, 30], [-6, -4, 10, 12], [10, 12, 10.5, 12.25], [30, 20, 80, 90]]).double()
    out = ps_roi_align(features, [regions], 3, 0.25, 2)
    (out * (uniform("weights.of.positions", *out.shape) - 0.5)).sum().backward()
    OUT["position.out"] = out.detach()
    OUT["position.gradient"] = features.grad


def deformable():
    for name, stride in [("deformable.1", 1), ("deformable.2", 2)]:
        x = (uniform(f"{name}.x", 2, 3, 9, 7) - 0.5).requires_grad_(True)
        weight = (uniform(f"{name}.weight", 4, 3, 3, 3) - 0.5).requires_grad_(True)
        rows, columns = (9 - 1) // stride + 1, (7 - 1) // stride + 1
        # Whole numbers and off the map among them.
        offset = ((uniform(f"{name}.offset", 2, 18, rows, columns) * 24).round() / 4 - 3).requires_grad_(True)
        out = deform_conv2d(x, offset, weight, stride=stride, padding=1)
        (out * (uniform(f"{name}.weights", *out.shape) - 0.5)).sum().backward()
        OUT[f"{name}.out"] = out.detach()
        for part, tensor in [("x", x), ("weight", weight)]:
            OUT[f"{name}.gradient.{part}"] = tensor.grad
    # Away from whole numbers, where a gradient is one.
    x = (uniform("smooth.x", 1, 2, 6, 6) - 0.5).requires_grad_(True)
    weight = (uniform("smooth.weight", 3, 2, 3, 3) - 0.5).requires_grad_(True)
    offset = (uniform("smooth.offset", 1, 18, 6, 6) * 3 - 1.5).requires_grad_(True)
    out = deform_conv2d(x, offset, weight, padding=1)
    (out * (uniform("smooth.weights", *out.shape) - 0.5)).sum().backward()
    OUT["smooth.out"] = out.detach()
    for part, tensor in [("x", x), ("weight", weight), ("offset", offset)]:
        OUT[f"smooth.gradient.{part}"] = tensor.grad


class Vgg(nn.Module):
    """torchvision's sixteen layers at a fraction of their width, without the last two pools."""

    def __init__(self, width, channels):
        super().__init__()
        layers, before, pools = [], channels, 0
        for entry in cfgs["D"]:
            if entry == "M":
                pools += 1
                # Its place stays, so that names do.
                layers.append(nn.MaxPool2d(2, 2) if pools <= 3 else nn.Identity())
                continue
            layers += [nn.Conv2d(before, entry * width // 64, 3, padding=1), nn.ReLU()]
            before = entry * width // 64
        self.features = nn.Sequential(*layers)

    def forward(self, x):
        return self.features(x)


def vgg():
    holder = nn.Module()
    holder.backbone = nn.Module()
    holder.backbone.body = Vgg(4, 3)
    holder = holder.double()
    weigh(holder)
    with torch.no_grad():
        OUT["vgg"] = holder.backbone.body(uniform("image", 1, 3, 64, 96))
    whole = Vgg(64, 3)
    HEADER["vgg"] = sum(parameter.numel() for parameter in whole.parameters())


if __name__ == "__main__":
    torch.set_num_threads(1)
    in_double()
    masks()
    position_sensitive()
    deformable()
    vgg()
    OUT = {key: value.contiguous() for key, value in OUT.items()}
    save_file(OUT, "more.safetensors", {"golden": json.dumps(HEADER)})
