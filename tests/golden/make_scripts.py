"""Golden files for TorchScript networks: small ones of MONAI and nnU-Net, and what their own inferers find with them.

Run in this folder: python make_scripts.py
Needs numpy 2.4.6, torch 2.11.0, monai 1.6.0, nnunetv2 2.8.1 with dynamic-network-architectures 0.4.4.

A voxel whose two best classes are nearly even has 255 for its class.
"""

import zipfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import SegResNet, UNet
from nnunetv2.inference import predict_from_raw_data as nnunet
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from tensors import save

FOLDER = Path("scripts")
WINDOW = (16, 16, 16)
CLASSES = 3
torch.manual_seed(29)


def networks():
    """Each with weights as it is made, and how it is saved."""
    unet = UNet(3, 1, CLASSES, (4, 6, 8), (2, 2), num_res_units=1, norm="batch")
    yield "monai_unet", torch.jit.script(unet.eval())
    resnet = SegResNet(3, 4, 1, CLASSES, norm=("GROUP", {"num_groups": 2}), blocks_down=(1, 1), blocks_up=(1,))
    yield "monai_seg_resnet", torch.jit.trace(resnet.eval(), torch.zeros(1, 1, *WINDOW))
    plain = PlainConvUNet(
        1, 3, (4, 6, 8), torch.nn.Conv3d, 3, ((1, 1, 1), (2, 2, 2), (1, 2, 2)), (1, 1, 1), CLASSES, (1, 1),
        conv_bias=True, norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=False,
    )  # fmt: skip
    yield "nnunet_plain_conv_unet", torch.jit.trace(plain.eval(), torch.zeros(1, 1, *WINDOW))


def by_monai(network, scan):
    inferer = SlidingWindowInferer(WINDOW, sw_batch_size=3, overlap=0.25, mode="gaussian")
    return inferer(scan[None, None], network)[0]


def by_nnunet(network, scan):
    predictor = nnunet.nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, perform_everything_on_device=False,
        device=torch.device("cpu"), allow_tqdm=False,
    )  # fmt: skip
    predictor.configuration_manager = SimpleNamespace(patch_size=WINDOW)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=CLASSES)
    predictor.allowed_mirroring_axes = None
    predictor.network = network
    single = lambda *given, **options: compute_gaussian(*given, **{**options, "dtype": torch.float32})  # noqa: E731
    with mock.patch.object(torch, "half", torch.float32), mock.patch.object(nnunet, "compute_gaussian", single):
        return predictor.predict_sliding_window_return_logits(scan[None])


def strip(path):
    """Leaves out where in which source files operations stand: most of a small file, and of this machine."""
    with zipfile.ZipFile(path) as file:
        kept = [(name, file.read(name)) for name in file.namelist() if not name.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as file:
        for name, content in kept:
            file.writestr(zipfile.ZipInfo(name), content)


def classes(logits):
    best = logits.topk(2, 0).values
    even = best[0] - best[1] < 1e-4 * logits.abs().max()
    return torch.where(even, 255, logits.argmax(0)).to(torch.uint8).numpy(), float(even.float().mean())


def main():
    FOLDER.mkdir(exist_ok=True)
    scan = torch.rand(20, 30, 26)
    tensors = {"scan": scan.numpy()}
    for name, network in networks():
        network.save(FOLDER / f"{name}.pt")
        strip(FOLDER / f"{name}.pt")
        network = torch.jit.load(FOLDER / f"{name}.pt")
        with torch.no_grad():
            for whose, logits in (("monai", by_monai(network, scan)), ("nnunet", by_nnunet(network, scan))):
                found, even = classes(logits)
                tensors[f"{name}.{whose}"] = found
                print(name, whose, [int((found == c).sum()) for c in range(CLASSES)], even)
    save(FOLDER / "classes.safetensors", tensors)


main()
