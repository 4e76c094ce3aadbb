"""Golden figures of surfaces, from the projects whose conventions they follow.

Run in this folder: python make_surfaces.py
Needs numpy 2.4.6, scipy 1.17.1, torch 2.11.0, monai 1.5.1 and SimpleITK 2.5.7.

The figures are MONAI's; scipy's distance transform and SimpleITK's must agree. DeepMind's surface-distance 0.1 weighs
surfaces by their area, and can only be near: it is held to a fifth of a millimetre on the balls.
"""

import sys

import numpy as np
import SimpleITK as sitk
import surface_distance
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy import ndimage

sys.path.append("..")
from tensors import save  # noqa: E402

TOLERANCES = [0.5, 1.0, 2.0]
rng = np.random.default_rng(21)


def blobs(size, threshold):
    return ndimage.gaussian_filter(rng.normal(size=size), 1.2) > threshold


def ball(size, spacing, centre_mm, radius_mm):
    at = np.meshgrid(*(np.arange(n) * mm for n, mm in zip(size, spacing)), indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(at, centre_mm)) <= radius_mm**2


def voxel(size, place):
    mask = np.zeros(size, bool)
    mask[place] = True
    return mask


def pairs():
    """A name, a spacing in mm, the prediction and the reference."""
    size = (8, 14, 18)
    yield "blobs", (1.5, 0.4, 0.55), blobs(size, 0.08), blobs(size, 0.12)
    yield "sparse", (0.7, 2.5, 1.0), blobs(size, 0.3), blobs(size, 0.25)
    at = np.array([5.25, 5.0, 5.5])
    yield "balls", (1.5, 0.8, 0.6), ball(size, (1.5, 0.8, 0.6), at, 4), ball(size, (1.5, 0.8, 0.6), at + [0, 0.4, -0.8], 4)
    yield "one_voxel", (5.0, 0.5, 0.5), voxel(size, (7, 13, 17)), voxel(size, (0, 0, 0))
    yield "one_slice", (3.0, 0.6, 0.9), blobs((1, 20, 24), 0.1), blobs((1, 20, 24), 0.15)
    yield "full", (1.2, 1.0, 0.8), np.ones(size, bool), blobs(size, 0.2)


def figures(spacing, prediction, reference):
    pair = [torch.tensor(mask.astype(np.float32))[None, None] for mask in (prediction, reference)]
    options = {"include_background": True, "spacing": list(spacing)}
    mean = lambda a, b, symmetric: compute_average_surface_distance(a, b, symmetric=symmetric, **options).item()
    return {
        "assd": mean(*pair, True),
        "asd_pred_to_ref": mean(*pair, False),
        "asd_ref_to_pred": mean(*pair[::-1], False),
        "hd": compute_hausdorff_distance(*pair, **options).item(),
        "hd95": compute_hausdorff_distance(*pair, percentile=95, **options).item(),
    } | {
        f"nsd_{mm}": compute_surface_dice(*pair, class_thresholds=[mm], **options).item() for mm in TOLERANCES
    }


def surface(mask):
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1), border_value=0)


def of_scipy(edges, spacing):
    fields = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return fields[1][edges[0]], fields[0][edges[1]]


def of_simple_itk(edges, spacing):
    def field(edge):
        image = sitk.GetImageFromArray(edge.astype(np.uint8))
        image.SetSpacing(spacing[::-1])
        image = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
        # Within a surface that is thick the map is below 0.
        return np.maximum(sitk.GetArrayFromImage(image), 0)

    fields = [field(edge) for edge in edges]
    return fields[1][edges[0]], fields[0][edges[1]]


def agree(found, there, back):
    both = np.concatenate([there, back])
    expected = {
        "assd": both.mean(),
        "asd_pred_to_ref": there.mean(),
        "asd_ref_to_pred": back.mean(),
        "hd": both.max(),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
    } | {f"nsd_{mm}": np.mean(both <= mm * (1 + 1e-6)) for mm in TOLERANCES}
    for name, value in expected.items():
        assert abs(found[name] - value) < 1e-5, (name, found[name], value)
    return expected


out = {}
for name, spacing, prediction, reference in pairs():
    found = figures(spacing, prediction, reference)
    edges = [surface(prediction), surface(reference)]
    exact = agree(found, *of_scipy(edges, spacing))
    agree(found, *of_simple_itk(edges, spacing))
    if name == "balls":
        other = surface_distance.compute_surface_distances(reference, prediction, spacing)
        assert abs(np.mean(surface_distance.compute_average_surface_distance(other)) - exact["assd"]) < 0.2
    out |= {f"{name}.prediction": prediction.astype(np.uint16), f"{name}.reference": reference.astype(np.uint16)}
    out[f"{name}.spacing"] = np.array(spacing)
    # MONAI rounds to 32 bits: of the figures that agree, scipy's are the more exact.
    out |= {f"{name}.{figure}": np.array([value]) for figure, value in exact.items()}
save("surfaces.safetensors", out)
