"""Golden files for sliding windows, from MONAI and nnU-Net.

Run in this folder: python make_windows.py
Needs numpy 2.4.6, scipy 1.17.1, torch 2.11.0, monai 1.6.1 and nnunetv2 2.8.1.

nnU-Net blends in half precision; here its own code runs in 32 bits, so that the figures can be held closely.
"""

from itertools import product
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import sliding_window_inference
from monai.inferers.utils import _get_scan_interval
from nnunetv2.inference import predict_from_raw_data as nnunet
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from tensors import save

FOLDER = Path("windows")
WINDOW = (4, 6, 5)
CLASSES = 3
rng = np.random.default_rng(23)
torch.manual_seed(23)


def placement():
    """Starts along an axis, for lengths, windows and overlaps."""
    cases = [(110, 64, 0.5), (110, 64, 0.25), (64, 64, 0.5), (65, 64, 0.5), (128, 64, 0.9), (200, 96, 0.75), (37, 5, 0.3)]
    cases += [(int(rng.integers(w, 300)), int(w), float(rng.choice([0, 0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9])))
              for w in rng.integers(10, 100, 40)]
    tensors = {"cases": np.array(cases)}
    for index, (length, window, overlap) in enumerate(cases):
        interval = _get_scan_interval((length,), (window,), 1, (overlap,))
        slices = dense_patch_slices((length,), (window,), interval)
        tensors[f"monai.{index}"] = np.array([found[0].start for found in slices], np.uint16)
        # What a person would write as the step: 0.1 for an overlap of 0.9.
        steps = compute_steps_for_sliding_window((length,), (window,), round(1 - overlap, 12))
        tensors[f"nnunet.{index}"] = np.array(steps[0], np.uint16)
    return tensors


def weights():
    tensors = {}
    for index, window in enumerate([(8, 8, 8), (5, 7, 9), (1, 4, 16), (2, 3, 1), (16, 8, 12)]):
        tensors[f"monai.{index}"] = compute_importance_map(window, mode="gaussian", sigma_scale=0.125).numpy()
        tensors[f"nnunet.{index}"] = compute_gaussian(window, dtype=torch.float32, device=torch.device("cpu")).numpy()
    return tensors


class Ramp(torch.nn.Module):
    """Logits that depend on where in its window a voxel lies."""

    def __init__(self):
        super().__init__()
        self.ramp = torch.nn.Parameter(torch.randn(1, CLASSES, *WINDOW), requires_grad=False)

    def forward(self, x):
        return x * self.ramp


class Two(torch.nn.Module):
    """Whether a voxel is bright, of at most two windows: more take more memory than any machine has."""

    def forward(self, x):
        if x.shape[0] > 2:
            x = torch.empty([1 << 60], dtype=torch.uint8)
        return torch.cat([0.5 - x, x - 0.5], 1)


def by_monai(network, scan, overlap, mode):
    found = sliding_window_inference(
        torch.from_numpy(scan)[None, None], WINDOW, 3, network, overlap=overlap, mode=mode, sigma_scale=0.125
    )
    return found[0].numpy()


def by_nnunet(networks, scan, overlap, mode, axes=None):
    predictor = nnunet.nnUNetPredictor(
        tile_step_size=1 - overlap, use_gaussian=mode == "gaussian", use_mirroring=axes is not None,
        perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False,
    )
    predictor.configuration_manager = SimpleNamespace(patch_size=WINDOW)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=CLASSES)
    predictor.allowed_mirroring_axes = axes
    predictor.network = Ramp()
    predictor.list_of_parameters = [network.state_dict() for network in networks]
    single = lambda *given, **options: compute_gaussian(*given, **{**options, "dtype": torch.float32})  # noqa: E731
    with mock.patch.object(torch, "half", torch.float32), mock.patch.object(nnunet, "compute_gaussian", single):
        return predictor.predict_logits_from_preprocessed_data(torch.from_numpy(scan)[None]).numpy()


def decided(logits):
    """The classes; none may hang on the last bits."""
    ordered = np.sort(logits, axis=0)
    assert (ordered[-1] - ordered[-2]).min() > 1e-5
    return logits.argmax(0).astype(np.uint16)


def blends(networks):
    tensors = {"ramp": networks[0].ramp.numpy()}
    for index, size in enumerate([(10, 14, 9), (3, 9, 4), (1, 1, 1), (9, 5, 12)]):
        scan = rng.uniform(0.5, 2, size).astype(np.float32)
        tensors[f"scan.{index}"] = scan
        for overlap, mode in product((0.25, 0.5), ("gaussian", "constant")):
            name = f"{index}.{overlap}.{mode}"
            tensors[f"monai.{name}"] = by_monai(networks[0], scan, overlap, mode)
            tensors[f"nnunet.{name}"] = by_nnunet(networks[:1], scan, overlap, mode)
            decided(tensors[f"monai.{name}"]), decided(tensors[f"nnunet.{name}"])
        tensors[f"mirrored.{index}"] = decided(by_nnunet(networks[:1], scan, 0.5, "gaussian", (0, 2)))
        tensors[f"folds.{index}"] = decided(by_nnunet(networks, scan, 0.5, "gaussian", (0, 1, 2)))
    return tensors


def main():
    FOLDER.mkdir(exist_ok=True)
    save(FOLDER / "placement.safetensors", placement())
    save(FOLDER / "weights.safetensors", weights())
    networks = [Ramp() for _ in range(3)]
    for index, network in enumerate(networks):
        torch.jit.script(network).save(FOLDER / f"ramp{index}.pt")
    torch.jit.script(Two()).save(FOLDER / "two.pt")
    save(FOLDER / "blends.safetensors", blends(networks))


main()
