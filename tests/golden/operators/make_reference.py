"""Golden files of scans and labels on the grid of another scan, from SimpleITK.

Run in this folder: python make_reference.py
Needs numpy 2.4.6 and SimpleITK 2.5.7.
"""

import sys

import numpy as np
import SimpleITK as sitk

sys.path.append("..")
from tensors import save  # noqa: E402

rng = np.random.default_rng(83)


def turn(first, second, angle):
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def rotation(a, b, c):
    return turn(0, 1, a) @ turn(1, 2, b) @ turn(0, 2, c)


def image(voxels, spacing, origin, direction):
    """`spacing` and the columns of `direction` along [D, H, W]; SimpleITK's are along [W, H, D]."""
    made = sitk.GetImageFromArray(voxels)
    made.SetSpacing(spacing[::-1])
    made.SetOrigin(origin)
    made.SetDirection(direction[:, ::-1].ravel())
    return made


def affine(spacing, origin, direction):
    matrix = np.eye(4)
    matrix[:3, :3] = direction * spacing
    matrix[:3, 3] = origin
    return matrix


# Columns are D, H and W: slices to the head, rows to the back, columns to the left.
upright = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
scan = rng.normal(size=(9, 14, 15)).astype(np.float32)
labels = rng.integers(0, 4, size=scan.shape).astype(np.uint16)
grid = ([2.5, 0.97, 1.1], [-12.5, 30.25, 7.0], rotation(0.3, -0.2, 0.1) @ upright)
out = {"scan": scan, "labels": labels, "affine": affine(*grid)}
for name, size, other in [
    ("oblique", (11, 12, 13), ([1.7, 1.3, 0.9], [-15.1, 29.3, 4.2], rotation(-0.25, 0.35, 0.6) @ upright)),
    ("parallel", (12, 10, 17), ([1.9, 1.6, 0.7], [-13.4, 29.1, 5.9], rotation(0.3, -0.2, 0.1) @ upright)),
    ("sagittal", (10, 12, 14), ([1.4, 1.2, 1.6], [-14.3, 28.2, 24.1], np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]))),
]:
    reference = image(np.zeros(size, np.float32), *other)
    for kind, voxels, how in [
        ("linear", scan, sitk.sitkLinear),
        ("nearest", scan, sitk.sitkNearestNeighbor),
        ("labels", labels, sitk.sitkNearestNeighbor),
    ]:
        fill = 0.0 if kind == "labels" else -3.0
        found = sitk.Resample(image(voxels, *grid), reference, sitk.Transform(), how, fill)
        out[f"{name}.{kind}"] = sitk.GetArrayFromImage(found).astype(voxels.dtype)
    inside = (out[f"{name}.linear"] != -3.0).mean()
    print(name, f"{inside:.2f} inside")
    out[f"{name}.affine"] = affine(*other)
save("reference.safetensors", out)
