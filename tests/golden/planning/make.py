"""Golden plans: what nnU-Net's own planner chooses for fingerprints of our making.

Run in this folder, with nnunetv2 2.8.1 and torch 2.11.0: python make.py
"""

import json
import os
import random
import tempfile
from pathlib import Path

ROOT = Path(tempfile.mkdtemp())
for name in ("raw", "preprocessed", "results"):
    (ROOT / name).mkdir()
    os.environ[f"nnUNet_{name}"] = str(ROOT / name)

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner  # noqa: E402


class Planner(ExperimentPlanner):
    """The planner without files: the reader says nothing of the plan."""

    def determine_reader_writer(self):
        return ExperimentPlanner


def plan(number, spacings, shapes, channels, classes, gigabytes):
    name = f"Dataset{number:03d}_Golden"
    raw, preprocessed = ROOT / "raw" / name, ROOT / "preprocessed" / name
    for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed):
        folder.mkdir(parents=True)
    labels = {"background": 0, **{f"l{i}": i for i in range(1, classes)}}
    dataset = {
        "channel_names": {str(i): "MRI" for i in range(channels)},
        "labels": labels,
        "numTraining": len(spacings),
        "file_ending": ".nii.gz",
    }
    fingerprint = {
        "spacings": spacings,
        "shapes_after_crop": shapes,
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {},
    }
    (raw / "dataset.json").write_text(json.dumps(dataset))
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    plans = Planner(number, gpu_memory_target_in_gb=gigabytes).plan_experiment()
    configurations = {}
    for key in ("2d", "3d_fullres"):
        if key not in plans["configurations"]:
            continue
        found = plans["configurations"][key]
        kwargs = found["architecture"]["arch_kwargs"]
        configurations[key] = {
            "batch_size": int(found["batch_size"]),
            "patch_size": [int(n) for n in found["patch_size"]],
            "spacing": [float(n) for n in found["spacing"]],
            "median": [float(n) for n in found["median_image_size_in_voxels"]],
            "features": [int(n) for n in kwargs["features_per_stage"]],
            "kernels": [[int(n) for n in kernel] for kernel in kwargs["kernel_sizes"]],
            "strides": [[int(n) for n in stride] for stride in kwargs["strides"]],
        }
    return {
        "spacings": spacings,
        "shapes": shapes,
        "channels": channels,
        "classes": classes,
        "gigabytes": gigabytes,
        "transpose": [int(n) for n in plans["transpose_forward"]],
        "configurations": configurations,
    }


def around(draw, spacing, shape, cases, spread):
    """Cases whose spacings and shapes lie around these."""
    spacings, shapes = [], []
    for _ in range(cases):
        spacings.append([round(length * draw.uniform(1 - spread, 1 + spread), 4) for length in spacing])
        shapes.append([max(1, round(length * draw.uniform(1 - spread, 1 + spread))) for length in shape])
    return spacings, shapes


def fingerprints():
    draw = random.Random(19)
    known = [  # spacing, shape, cases, channels, classes, gigabytes
        ([1.0, 1.0, 1.0], [36, 50, 35], 40, 1, 3, 8),  # hippocampus
        ([1.0, 0.77, 0.77], [432, 512, 512], 25, 1, 3, 8),  # liver CT
        ([3.6, 0.61, 0.61], [20, 320, 319], 32, 2, 3, 8),  # prostate, two channels
        ([10.0, 1.56, 1.56], [9, 237, 208], 30, 1, 4, 8),  # heart, short axis
        ([1.0, 1.0, 1.0], [140, 171, 137], 30, 4, 4, 8),  # brain tumours, four channels
        ([1.5, 0.41, 0.41], [80, 384, 384], 20, 1, 2, 8),  # vestibular schwannoma
        ([0.98, 0.98, 3.27], [120, 130, 40], 20, 1, 2, 8),  # the coarse axis last
        ([1.0, 5.0, 1.0], [200, 24, 180], 12, 1, 5, 8),  # the coarse axis in the middle
        ([999.0, 0.5, 0.5], [1, 640, 512], 50, 1, 2, 8),  # slices
        ([2.0, 2.0, 2.0], [4, 5, 6], 5, 1, 2, 8),  # smaller than any pooling
    ]
    for spacing, shape, cases, channels, classes, gigabytes in known:
        for memory in (1, gigabytes, 24):
            # Of slices the distance means nothing, and has to be one.
            spread = 0.0 if spacing[0] == 999.0 else 0.12
            spacings, shapes = around(draw, spacing, shape, cases, spread)
            if shape[0] == 1:
                shapes = [[1, *rest] for _, *rest in shapes]
            yield spacings, shapes, channels, classes, memory
    for _ in range(30):
        spacing = [draw.choice([0.4, 0.7, 1.0, 1.5, 3.0, 5.0]) for _ in range(3)]
        shape = [draw.randrange(12, 320) for _ in range(3)]
        spacings, shapes = around(draw, spacing, shape, draw.randrange(1, 9), draw.choice([0.0, 0.1, 0.4]))
        yield spacings, shapes, draw.randrange(1, 4), draw.randrange(2, 7), draw.choice([0.5, 1, 2, 4, 8, 16])


made = [plan(number + 1, *fingerprint) for number, fingerprint in enumerate(fingerprints())]
text = ",\n".join(json.dumps(one, separators=(",", ":")) for one in made)
Path("plans.json").write_text(f"[\n{text}\n]\n")
