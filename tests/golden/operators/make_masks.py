"""Golden masks of the operators that mend masks, from SciPy and scikit-image.

Run in this folder: python make_masks.py
Needs numpy 2.4.6, scipy 1.17.1 and scikit-image 0.26.0, which must agree.
"""

import sys

import numpy as np
from scipy import ndimage
from skimage.morphology import remove_small_objects

sys.path.append("..")
from tensors import save  # noqa: E402

SIZE, SPACING, RADIUS = (9, 18, 66), (2.5, 0.9, 0.7), 2.6
rng = np.random.default_rng(31)


def structure(neighbours, dims=3):
    found = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[neighbours])
    if dims == 2:
        found[[0, 2]] = False
    return found


def ball():
    reach = [int(RADIUS / mm) for mm in SPACING]
    at = np.meshgrid(*(np.arange(-n, n + 1) * mm for n, mm in zip(reach, SPACING)), indexing="ij")
    return sum(mm**2 for mm in at) <= RADIUS**2


def on_padded(work, mask, element):
    """Room for the ball on all sides, so that the border is no obstacle."""
    pad = max(element.shape)
    found = work(np.pad(mask, pad), element)
    return found[tuple(slice(pad, -pad) for _ in range(3))]


def small(mask, neighbours, least):
    parts, count = ndimage.label(mask, structure(neighbours))
    voxels = ndimage.sum_labels(mask, parts, np.arange(count + 1))
    kept = (voxels >= least)[parts] & mask
    other = remove_small_objects(mask, max_size=least - 1, connectivity={6: 1, 18: 2, 26: 3}[neighbours])
    assert np.array_equal(kept, other)
    return kept


def each(labels, work):
    """Work on each label by itself; what a label takes, it takes of the background."""
    out = np.zeros_like(labels)
    for label in (1, 2):
        found = work(labels == label)
        out[found & ((labels == label) | (labels == 0)) & (out == 0)] = label
    return out


smooth = ndimage.gaussian_filter(rng.normal(size=SIZE), 1.1)
one = (smooth > -0.14).astype(np.uint16)
# Two labels that touch, in halves of the volume that are not straight.
two = (smooth > 0.03) * (1 + (ndimage.gaussian_filter(rng.normal(size=SIZE), 4) > 0)).astype(np.uint16)

out = {"one": one, "two": two, "spacing": np.array(SPACING), "radius": np.array([RADIUS])}
for neighbours in (6, 18, 26):
    out[f"remove_small.{neighbours}"] = each(two, lambda mask: small(mask, neighbours, 12))
    for dims in (2, 3):
        found = ndimage.binary_fill_holes(one, structure(neighbours, dims))
        if dims == 2:
            planes = [ndimage.binary_fill_holes(plane, structure(neighbours)[1]) for plane in one]
            found = np.stack(planes)
        out[f"fill_holes.{dims}.{neighbours}"] = found.astype(np.uint16)
out["closing"] = each(two, lambda mask: on_padded(ndimage.binary_closing, mask, ball()))
out["opening"] = each(two, lambda mask: on_padded(ndimage.binary_opening, mask, ball()))
for name, found in out.items():
    if name.split(".")[0] in ("remove_small", "fill_holes", "closing", "opening"):
        assert not np.array_equal(found, one if name.startswith("fill_holes") else two), name
save("masks.safetensors", out)
