"""Golden intensities, from the projects whose conventions they follow.

Run in this folder: python make_intensities.py
Needs numpy 2.4.6, torch 2.11.0, monai 1.5.1 and torchio 0.19.9.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torchio
from monai.transforms import ScaleIntensityRangePercentiles

sys.path.append("..")
from tensors import save  # noqa: E402

rng = np.random.default_rng(23)


def head(brightness):
    """Air around tissues of a few intensities, in a scanner's own scale."""
    size = (5, 12, 14)
    tissue = rng.choice([150, 420, 700], p=[0.2, 0.5, 0.3], size=size) + rng.normal(0, 40, size)
    tissue[rng.random(size) < 0.01] *= 5
    tissue = (tissue * brightness).clip(1).round()
    tissue[:, :3] = 0
    return tissue.astype(np.float32)


def percentiles(scan):
    tensor = torch.tensor(scan, dtype=torch.float64)[None]

    def scaled(*arguments, clip):
        scale = ScaleIntensityRangePercentiles(*arguments, clip=clip, dtype=np.float64)
        return scale(tensor)[0].numpy().astype(np.float32)

    # What MONAI is not asked for: percentiles of the foreground alone.
    low, high = np.percentile(scan[scan > 100].astype(float), [2, 98])
    return {
        "percentiles": scaled(0.5, 99.5, 0.0, 1.0, clip=True),
        "percentiles.free": scaled(10, 90, -1.0, 1.0, clip=False),
        # Both are 0: MONAI moves without scaling.
        "percentiles.equal": scaled(0, 10, 0.25, 1e5, clip=True),
        "percentiles.above": ((scan - low) / (high - low)).clip(0, 1).astype(np.float32),
    }


def landmarks():
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{place}.nii" for place in range(4)]
        for path, brightness in zip(paths, [0.7, 1.0, 1.6, 2.1]):
            torchio.ScalarImage(tensor=torch.tensor(head(brightness))[None]).save(path)
        return torchio.HistogramStandardization.train(paths, masking_function=lambda tensor: (tensor > 0).numpy())


def histogram_match(scan):
    trained = landmarks()

    def matched(masking, values=scan):
        subject = torchio.Subject(scan=torchio.ScalarImage(tensor=torch.tensor(values)[None]))
        transform = torchio.HistogramStandardization({"scan": trained}, masking_method=masking)
        return transform(subject).scan.numpy()[0].astype(np.float32)

    return {
        "landmarks": trained.astype(np.float64),
        "histogram_match": matched(None),
        "histogram_match.above": matched(lambda tensor: tensor > 0),
        "histogram_match.constant": matched(None, np.full_like(scan, 37)),
    }


if __name__ == "__main__":
    scan = head(1.3)
    save("standardised.safetensors", {"scan": scan, **percentiles(scan), **histogram_match(scan)})
