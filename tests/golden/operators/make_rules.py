"""Golden target spacings of archives, from nnU-Net's own planner and from numpy.

Run in this folder: python make_rules.py
Needs numpy 2.4.6 and nnunetv2 2.8.1.
"""

import sys

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

sys.path.append("..")
from tensors import save  # noqa: E402

rng = np.random.default_rng(47)


def planned(spacings, sizes):
    planner = ExperimentPlanner.__new__(ExperimentPlanner)
    planner.overwrite_target_spacing = None
    planner.anisotropy_threshold = 3
    planner.dataset_fingerprint = {"spacings": list(spacings), "shapes_after_crop": list(sizes)}
    return planner.determine_fullres_target_spacing()


def archive():
    """Spacings and sizes of a few scans; one axis is mostly coarser and shorter."""
    count, coarse = rng.integers(1, 13), rng.integers(0, 3)
    spacings = rng.uniform(0.4, 1.2, (count, 3))
    spacings[:, coarse] *= rng.uniform(1, 12)
    # Sometimes a tenth of the scans is much finer along it: the 10th percentile may pass the other axes.
    spacings[rng.random(count) < 0.2, coarse] *= 0.05
    if rng.random() < 0.2:
        spacings[:] = np.round(spacings, 0) + 1
    sizes = rng.integers(60, 300, (count, 3))
    sizes[:, coarse] = sizes[:, coarse] // rng.integers(1, 8)
    return spacings, sizes.astype(np.float64)


archives = [archive() for _ in range(300)]
found = np.array([planned(*each) for each in archives])
medians = np.array([np.percentile(spacings, 50, 0) for spacings, _ in archives])
special = (found != medians).any(1)
raised = np.isclose(found, np.sort(found, 1)[:, 1:2] + 1e-5, rtol=0, atol=1e-9).any(1) & special
print(f"{special.sum()} of {len(archives)} are not the median, {raised.sum()} are held above the other axes")
assert special.sum() > 40 and raised.sum() > 5
save(
    "rules.safetensors",
    {
        "counts": np.array([len(spacings) for spacings, _ in archives], dtype=np.uint16),
        "spacings": np.concatenate([spacings for spacings, _ in archives]),
        "sizes": np.concatenate([sizes for _, sizes in archives]),
        "nnunet": found,
        "median": medians,
        "percentile_10": np.array([np.percentile(spacings, 10, 0) for spacings, _ in archives]),
    },
)
