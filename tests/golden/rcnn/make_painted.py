"""Golden files for masks that hold something, from torchvision in double precision: from the image to its pixels.

Run in this folder, with torch 2.11.0, torchvision 0.26.0 and safetensors: python make_painted.py
The network is that of make_more.py, but for what its last layer says of masks: that is so small there that no pixel is of
any thing. Forty times as much, and 1, is on either side of nothing.
"""

import torch
from make import in_double, uniform, weigh
from make_more import detector
from safetensors.torch import save_file
from torchvision.models.detection.roi_heads import paste_masks_in_image

TIMES, MORE = 40, 1
# Boxes of an image whose masks are kept to the pixel: those with most of them.
KEPT = 2


def main():
    net = detector(6)
    weigh(net)
    last = net.roi_heads.mask_predictor.mask_fcn_logits
    with torch.no_grad():
        last.weight.mul_(TIMES)
        last.bias.mul_(TIMES).add_(MORE)
    net.eval()
    with torch.no_grad():
        found, _ = net(uniform("images", 3, 3, 64, 96)[:2])
    out, weights = {}, uniform("pasted", 64, 96)
    for place, one in enumerate(found):
        pasted = paste_masks_in_image(one["masks"], one["boxes"], (64, 96))[:, 0]
        # No pixel stands so near to a half that another order of sums would decide of it.
        assert (pasted - 0.5).abs().min() > 1e-9
        bits = pasted > 0.5
        count = bits.sum((1, 2))
        # By these sums two sets of pixels are told apart.
        out[f"count.{place}"], out[f"sum.{place}"] = count.double(), (bits * weights).sum((1, 2))
        most = count.argsort(descending=True, stable=True)[:KEPT]
        out[f"most.{place}"], out[f"bits.{place}"] = most.double(), bits[most].to(torch.uint8)
        print(place, "boxes", len(count), "with pixels", int((count > 0).sum()), "most", count[most].tolist())
    save_file({key: value.contiguous() for key, value in out.items()}, "painted.safetensors", {"golden": "{}"})


if __name__ == "__main__":
    torch.set_num_threads(1)
    in_double()
    main()
