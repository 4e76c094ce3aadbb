"""Writes peer.json: how well SimpleITK brings the pairs of src/voxels/register/tests.rs together.

    pip install SimpleITK numpy
    python tests/golden/register/make.py

Both scans of a pair are the formula below on two grids, the second one in places that an affine map, and in the second
pair waves, lead to. Distances are from where SimpleITK brings an organ's voxel to where the formula has it, in mm; Dice is
that of labels brought over by the nearest voxel. No bytes of SimpleITK's are compared, only how well it does.
"""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

# Centre and radii in mm along [D, H, W], what it adds.
ORGANS = [
    ((0, 0, 0), (52, 62, 66), 0.4),
    ((12, -15, 0), (18, 20, 24), 0.45),
    ((-22, -8, 3), (12, 15, 17), 0.25),
    ((-12, 28, -6), (30, 12, 14), -0.2),
]
# Size, spacing and the first voxel along [D, H, W].
FIXED = ((24, 48, 48), (5.0, 3.0, 3.0), (-57.5, -70.5, -70.5))
MOVING = ((28, 46, 52), (4.6, 3.3, 2.9), (-60.0, -75.0, -71.0))
TURN, SCALE, SHEAR, SHIFT = np.deg2rad(6.0), (1.05, 0.95, 1.08), 0.04, (6.0, -9.0, 7.0)


def matrix():
    """From places of the moving scan to those of the formula."""
    c, s = np.cos(TURN), np.sin(TURN)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return turn @ np.array([[1, 0, SHEAR], [0, 1, 0], [0, 0, 1]]) @ np.diag(SCALE)


def waves(place, height):
    d, h, w = place
    turn = 2 * np.pi
    return height * np.stack([np.sin(turn * h / 90), np.sin(turn * d / 80 + 1), np.cos(turn * w / 100)])


def places(grid):
    size, spacing, first = grid
    axes = [first[axis] + spacing[axis] * np.arange(size[axis]) for axis in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def shares(place, centre, radii):
    return np.sqrt(sum(((place[axis] - centre[axis]) / radii[axis]) ** 2 for axis in range(3)))


def values(place):
    total = 0.03 * np.sin(place[0] / 8) * np.sin(place[1] / 11) * np.sin(place[2] / 9)
    for centre, radii, adds in ORGANS:
        total = total + adds / (1 + np.exp((shares(place, centre, radii) - 1) * np.mean(radii) / 2.5))
    return total.astype(np.float32)


def labels(place):
    found = np.zeros(place.shape[1:], np.uint8)
    for label, (centre, radii, _) in enumerate(ORGANS):
        if label:
            found[shares(place, centre, radii) < 1] = label
    return found


def image(voxels, grid):
    made = sitk.GetImageFromArray(voxels)
    made.SetSpacing(grid[1][::-1])
    made.SetOrigin(grid[2][::-1])
    return made


def affine(fixed, moving):
    begin = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.GEOMETRY)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 300, 0.5, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([2, 0])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetInitialTransform(begin, True)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetNumberOfThreads(1)
    method.Execute(fixed, moving)
    return begin


def dice(a, b):
    return [2 * np.sum((a == label) & (b == label)) / (np.sum(a == label) + np.sum(b == label)) for label in (1, 2, 3)]


def pair(height):
    turned, place = matrix(), places(MOVING)
    leads = np.einsum("ij,j...->i...", turned, place) + np.array(SHIFT)[:, None, None, None] + waves(place, height)
    fixed, moving = image(values(places(FIXED)), FIXED), image(values(leads), MOVING)
    truth, drawn = labels(places(FIXED)), image(labels(leads), MOVING)
    found = affine(fixed, moving)
    inverse = np.linalg.inv(turned)
    away = []
    for index in np.argwhere(truth > 0)[::7]:
        at = np.array(FIXED[2]) + index * np.array(FIXED[1])
        there = np.array(found.TransformPoint(at[::-1].tolist()))[::-1]
        away.append(np.linalg.norm(inverse @ (at - SHIFT) - there))
    carried = sitk.GetArrayFromImage(sitk.Resample(drawn, fixed, found, sitk.sitkNearestNeighbor, 0))
    begin = sitk.GetArrayFromImage(sitk.Resample(drawn, fixed, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    moved = sitk.Resample(moving, fixed, found, sitk.sitkLinear, 0.0)
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(90)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(1.5)
    demons.SetSmoothUpdateField(True)
    demons.SetUpdateFieldStandardDeviations(1.0)
    demons.SetNumberOfThreads(1)
    field = demons.Execute(fixed, moved)
    both = sitk.CompositeTransform(3)
    both.AddTransform(found)
    both.AddTransform(sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64)))
    deformed = sitk.GetArrayFromImage(sitk.Resample(drawn, fixed, both, sitk.sitkNearestNeighbor, 0))
    return {
        "height_mm": height,
        "mean_distance_mm": round(float(np.mean(away)), 4),
        "dice_before": [round(float(d), 4) for d in dice(truth, begin)],
        "dice_affine": [round(float(d), 4) for d in dice(truth, carried)],
        "dice_demons": [round(float(d), 4) for d in dice(truth, deformed)],
    }


if __name__ == "__main__":
    found = {"SimpleITK": sitk.Version_VersionString(), "pairs": [pair(0.0), pair(6.0)]}
    Path(__file__).with_name("peer.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))
