"""Golden files for the operators, from the projects whose conventions they follow.

Run in this folder: python make.py
Needs numpy, scipy, torch, monai, torchio 0.19.9, scikit-image, pillow and nnunetv2 2.8.1 with batchgenerators
0.25.5.
"""

import sys

import numpy as np
import torch
import torchio
from monai.data import MetaTensor
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from monai.transforms import NormalizeIntensity, ScaleIntensityRange, Spacing
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape
from PIL import Image
from scipy import ndimage
from skimage.transform import resize

sys.path.append("..")
from tensors import save  # noqa: E402

rng = np.random.default_rng(20)


def oblique(spacing):
    """Columns are the steps along D, H and W; the last is the origin."""
    a, b = np.cos(0.3), np.sin(0.3)
    c, d = np.cos(-0.2), np.sin(-0.2)
    rotation = np.array([[a, -b, 0], [b, a, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -d], [0, d, c]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = [-12.5, 30.25, 7.0]
    return affine


def resampling():
    old, new = np.array([2.5, 0.97, 1.1]), np.array([1.3, 1.2, 0.7])
    scan = rng.normal(size=(7, 11, 13)).astype(np.float32)
    labels = rng.integers(0, 4, size=scan.shape).astype(np.uint16)
    affine = oblique(old)
    out = {"scan": scan, "labels": labels, "affine": affine, "spacing": new}

    for mode, name, data in [("bilinear", "scan", scan), ("nearest", "labels", labels)]:
        tensor = MetaTensor(torch.tensor(data.astype(np.float64))[None], affine=torch.tensor(affine))
        found = Spacing(tuple(new), mode=mode, padding_mode="border", dtype=np.float64)(tensor)
        out[f"monai.{name}"] = found[0].numpy().astype(data.dtype)
    out["monai.affine"] = found.affine.numpy()

    subject = torchio.Subject(
        scan=torchio.ScalarImage(tensor=torch.tensor(scan)[None], affine=affine),
        labels=torchio.LabelMap(tensor=torch.tensor(labels.astype(np.int32))[None], affine=affine),
    )
    found = torchio.Resample(tuple(new))(subject)
    out["torchio.scan"] = found.scan.numpy()[0]
    out["torchio.labels"] = found.labels.numpy()[0].astype(np.uint16)
    out["torchio.affine"] = found.scan.affine

    # nnU-Net's steps: scikit-image in the volume, or in each plane and then the nearest slice.
    edge = {"order": 1, "mode": "edge", "anti_aliasing": False}
    shape = [int(round(i / j * k)) for i, j, k in zip(old, new, scan.shape)]
    out["nnunet.scan"] = resize(scan.astype(float), shape, **edge).astype(np.float32)
    coarse = np.array([3.0, 0.9, 0.9])
    shape = [int(round(i / j * k)) for i, j, k in zip(coarse, new, scan.shape)]
    planes = np.stack([resize(plane.astype(float), shape[1:], **edge) for plane in scan])
    places = len(planes) / shape[0] * (np.arange(shape[0]) + 0.5) - 0.5
    found = ndimage.map_coordinates(
        planes, np.meshgrid(places, *map(np.arange, shape[1:]), indexing="ij"), order=0, mode="nearest"
    )
    out["nnunet.separate.spacing"] = coarse
    out["nnunet.separate.scan"] = found.astype(np.float32)
    save("resample.safetensors", out)


def intensities():
    scan = (rng.normal(size=(3, 5, 7)) * 400 - 200).astype(np.float32)
    scan[rng.random(scan.shape) < 0.3] = 0
    tensor = torch.tensor(scan, dtype=torch.float64)[None]
    window = ScaleIntensityRange(-160, 240, 0.0, 1.0, clip=True, dtype=np.float64)
    save(
        "intensities.safetensors",
        {
            "scan": scan,
            "zscore": NormalizeIntensity(dtype=np.float64)(tensor)[0].numpy().astype(np.float32),
            "zscore.nonzero": NormalizeIntensity(nonzero=True, dtype=np.float64)(tensor)[0].numpy().astype(np.float32),
            "window": window(tensor)[0].numpy().astype(np.float32),
        },
    )


def blobs(size, threshold):
    return (ndimage.gaussian_filter(rng.normal(size=size), 1.2) > threshold).astype(np.uint16)


def surface(mask):
    return mask ^ ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1), border_value=0)


def distances():
    spacing = np.array([1.5, 0.4, 0.55])
    prediction, reference = blobs((9, 17, 21), 0.08), blobs((9, 17, 21), 0.12)
    a, b = surface(prediction.astype(bool)), surface(reference.astype(bool))
    to_a = ndimage.distance_transform_edt(~a, sampling=spacing)
    to_b = ndimage.distance_transform_edt(~b, sampling=spacing)
    assd = (to_b[a].sum() + to_a[b].sum()) / (a.sum() + b.sum())
    hd95 = max(np.percentile(to_b[a], 95), np.percentile(to_a[b], 95))

    pair = [torch.tensor(mask.astype(np.float32))[None, None] for mask in (prediction, reference)]
    monai = {"include_background": True, "spacing": list(spacing)}
    assert abs(compute_average_surface_distance(*pair, symmetric=True, **monai).item() - assd) < 1e-4
    assert abs(compute_hausdorff_distance(*pair, percentile=95, **monai).item() - hd95) < 1e-4
    save(
        "distances.safetensors",
        {
            "prediction": prediction,
            "reference": reference,
            "spacing": spacing,
            "to_reference": to_b.astype(np.float32),
            "assd_mm": np.array([assd]),
            "hausdorff_95_mm": np.array([hd95]),
        },
    )


def components():
    labels = rng.integers(0, 7, size=(5, 9, 11))
    labels = np.where(labels < 4, 0, labels - 3).clip(0, 2).astype(np.uint16)
    out = {"labels": labels}
    for rank, neighbours in [(1, 6), (2, 18), (3, 26)]:
        kept = np.zeros_like(labels)
        for label in (1, 2):
            parts, count = ndimage.label(labels == label, ndimage.generate_binary_structure(3, rank))
            sizes = np.bincount(parts.ravel())[1:]
            # scipy numbers parts by their first voxel, and argmax takes the first of equals.
            kept[parts == np.argmax(sizes) + 1] = label
        out[str(neighbours)] = kept
    save("components.safetensors", out)


def at(voxels, axis_positions):
    """SciPy's cubic B-spline at positions along each axis."""
    places = np.meshgrid(*axis_positions, indexing="ij")
    return ndimage.map_coordinates(voxels.astype(float), places, order=3, mode="nearest")


def lanczos_weights(old, positions):
    table = np.zeros((len(positions), old))
    for row, position in zip(table, positions):
        places = int(np.floor(position)) + np.arange(-2, 4)
        x = position - places
        weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
        np.add.at(row, places.clip(0, old - 1), weights / weights.sum())
    return table


def extents(old, new):
    """Positions whose extents coincide: nnU-Net, scikit-image and Pillow."""
    return (np.arange(new) + 0.5) * old / new - 0.5


def splines():
    """Cubic and Lanczos by each convention, and the Gaussian before shrinking."""
    rng = np.random.default_rng(21)
    scan = rng.normal(size=(6, 13, 19)).astype(np.float32) * 100
    out = {"scan": scan}
    for name, old, new in [("finer", [2.5, 0.9, 0.8], [1.1, 0.4, 0.33]), ("coarser", [1.0, 0.7, 0.8], [1.7, 1.6, 2.1])]:
        old, new = np.array(old), np.array(new)
        affine = np.diag([*old, 1.0])
        out[f"{name}.old"], out[f"{name}.new"] = old, new
        tensor = MetaTensor(torch.tensor(scan.astype(np.float64))[None], affine=torch.tensor(affine))
        found = Spacing(tuple(new), mode=3, padding_mode="nearest", dtype=np.float64)(tensor)[0].numpy()
        out[f"{name}.monai"] = found.astype(np.float32)
        size = np.ceil(scan.shape * old / new - 1e-6).astype(int)
        positions = [(np.arange(n) + 0.5) * step - 0.5 for n, step in zip(size, new / old)]
        out[f"{name}.torchio"] = at(scan, positions).astype(np.float32)
        lanczos = scan.astype(float)
        for axis, (n, places) in enumerate(zip(scan.shape, positions)):
            table = lanczos_weights(n, places)
            lanczos = np.moveaxis(np.tensordot(table, lanczos, (1, axis)), 0, axis)
        out[f"{name}.lanczos"] = lanczos.astype(np.float32)
    size = compute_new_shape(scan.shape, old, new)
    for order, name in [(1, "linear"), (3, "cubic")]:
        found = resize(scan.astype(float), size, order=order, mode="edge", anti_aliasing=True)
        out[f"antialias.{name}"] = found.astype(np.float32)

    # Lobes and scaling are Pillow's: it cuts the kernel at the borders, so only what lies within is compared.
    line = rng.normal(size=40).astype(np.float32)
    pillow = np.array(Image.fromarray(line[None]).resize((90, 1), Image.Resampling.LANCZOS))[0]
    within = slice(8, -8)
    assert np.abs(lanczos_weights(40, extents(40, 90)) @ line - pillow)[within].max() < 1e-5

    for n in (1, 2, 3):
        out[f"short.{n}"] = scan[:1, :1, :n]
        out[f"short.{n}.cubic"] = at(scan[:1, :1, :n], [[0], [0], extents(n, 4 * n)]).astype(np.float32)
    save("splines.safetensors", out)


def nnunet():
    """nnU-Net's own resampling of data and labels, with its default orders."""
    rng = np.random.default_rng(22)
    # Nearly all of one value, so that splines overshoot and the clipping shows.
    scan = (rng.random((7, 17, 23)) < 0.2).astype(np.float32) * 500 - 100
    smooth = ndimage.gaussian_filter(rng.normal(size=scan.shape), 1.5)
    labels = np.digitize(smooth, np.quantile(smooth, [0.5, 0.7, 0.9])).astype(np.uint16)
    labels[labels == 3] = 65535
    out = {"scan": scan, "labels": labels}
    cases = {
        "volume": ([2.0, 1.0, 0.9], [1.2, 0.7, 1.3]),
        "slices": ([5.0, 1.0, 0.9], [2.2, 0.7, 1.3]),
        "slices_after": ([2.0, 1.0, 0.9], [5.0, 0.6, 1.3]),
        "rows": ([1.0, 5.0, 0.9], [0.7, 3.1, 1.3]),
        "columns": ([1.0, 0.9, 5.0], [0.7, 1.4, 2.3]),
        "tied": ([0.5, 2.0, 2.0], [0.6, 1.37, 1.29]),
    }
    for name, (old, new) in cases.items():
        size = compute_new_shape(scan.shape, old, new)
        data = resample_data_or_seg_to_shape(scan[None], size, old, new, order=3, order_z=0, force_separate_z=None)
        seg = labels.astype(np.int32)[None]
        seg = resample_data_or_seg_to_shape(seg, size, old, new, is_seg=True, order=1, order_z=0, force_separate_z=None)
        out[f"{name}.old"], out[f"{name}.new"] = np.array(old), np.array(new)
        out[f"{name}.scan"] = data[0].astype(np.float32)
        out[f"{name}.labels"] = seg[0].astype(np.uint16)
    save("nnunet.safetensors", out)


if __name__ == "__main__":
    resampling()
    intensities()
    distances()
    components()
    splines()
    nnunet()
