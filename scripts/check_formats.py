#!/usr/bin/env python3
"""Opens volumes that tomoflow wrote with nibabel, SimpleITK, pydicom and highdicom, and compares them.

FOLDER holds the files and `truth.json`: for each file its format, whether it is a scan or a label map,
its size [D, H, W], the affine from (column, row, slice) to LPS mm, and a file of its voxels. Prints a line
for each comparison, and ends with 1 when one differs.
"""

import argparse
import json
import sys
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk

TOLERANCE_MM = 1e-3
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Truth:
    """The expected content of one file, as `truth.json` describes it."""

    def __init__(self, folder, entry):
        self.path = folder / entry["file"]
        self.format = entry["format"]
        self.right_angles = entry["right_angles"]
        self.affine = np.array(entry["affine_lps"])
        self.segments = {int(label): name for label, name in entry.get("segments", {}).items()}
        voxels = np.fromfile(folder / entry["voxels"], dtype=entry["dtype"])
        self.voxels = voxels.reshape(entry["size"])


def corners(affine, size):
    """Returns the outer corners of a grid in patient space, so that affines are compared in mm."""
    ends = np.array(np.meshgrid(*[[0, n] for n in reversed(size)], [1], indexing="ij")).reshape(4, -1)
    return affine @ ends


def compare(truth, voxels, affine):
    """Describes in words how a volume differs from its truth; returns nothing when it does not."""
    if voxels.shape != truth.voxels.shape:
        return f"size {voxels.shape}, expected {truth.voxels.shape}"
    if not np.array_equal(voxels, truth.voxels):
        return f"{np.count_nonzero(voxels != truth.voxels)} voxels differ"
    away = np.abs(corners(affine, voxels.shape) - corners(truth.affine, voxels.shape)).max()
    return None if away <= TOLERANCE_MM else f"corners {away} mm apart"


def with_nibabel(truth):
    image = nibabel.load(truth.path)
    voxels = np.asanyarray(image.dataobj).transpose(2, 1, 0)
    yield "nibabel", compare(truth, voxels, RAS @ image.get_sform())
    qform, code = image.get_qform(coded=True)
    if truth.right_angles:
        yield "nibabel, qform", compare(truth, voxels, RAS @ qform)
    else:
        # A qform cannot say a shear: it is the nearest grid of right angles, through the same middle.
        middle = (np.array(voxels.shape[::-1]) - 1) / 2
        away = np.abs(nibabel.affines.apply_affine(qform - image.get_sform(), middle)).max()
        angles = qform[:3, :3] / np.linalg.norm(qform[:3, :3], axis=0)
        square = np.abs(angles.T @ angles - np.eye(3)).max()
        sound = code > 0 and away < TOLERANCE_MM and square < 1e-5
        yield "nibabel, qform beside a shear", None if sound else f"code {code}, {away} mm away, {square}"


def with_simpleitk(truth):
    image = sitk.ReadImage(str(truth.path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    yield "SimpleITK", compare(truth, sitk.GetArrayFromImage(image), affine)
    if truth.path.name.endswith(".seg.nrrd"):
        keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
        found = {}
        for index in range(len(truth.segments)):
            found[int(keys[f"Segment{index}_LabelValue"])] = keys[f"Segment{index}_Name"]
        yield "SimpleITK, names", None if found == truth.segments else f"names {found}"


def slice_of(truth, position):
    """Returns the index of the slice whose first voxel lies at a position in patient space."""
    index = np.linalg.inv(truth.affine) @ [*position, 1.0]
    if np.abs(index[:3] - [0, 0, round(index[2])]).max() > 1e-3:
        raise ValueError(f"position {position} is voxel {index[:3]}")
    return round(index[2])


def with_pydicom(truth):
    """Compares a DICOM SEG frame by frame, which works for tilted grids as well."""
    dataset = pydicom.dcmread(truth.path)
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    labels = {item.SegmentNumber: item.SegmentLabel for item in dataset.SegmentSequence}
    values = {name: value for value, name in truth.segments.items()}
    found = np.zeros_like(truth.voxels)
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence):
        place = slice_of(truth, groups.PlanePositionSequence[0].ImagePositionPatient)
        if dataset.SegmentationType == "LABELMAP":
            found[place] = frame
        else:
            number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            found[place][frame == 1] = values[labels[number]]
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        if not source.endswith(f".{place}"):
            yield "pydicom, sources", f"slice {place} comes from {source}"
    yield "pydicom", compare(truth, found, truth.affine)


def with_highdicom(truth):
    """Compares the volume that highdicom builds from a DICOM SEG, slice by slice on our grid."""
    segmentation = highdicom.seg.segread(truth.path)
    describe = segmentation.get_segment_description
    names = {number: describe(number).segment_label for number in segmentation.segment_numbers}
    same = set(names.values()) == set(truth.segments.values())
    yield "highdicom, names", None if same else f"segments {names}"
    # It builds no volume of a tilted stack.
    if not same or not truth.right_angles:
        return
    values = {name: value for value, name in truth.segments.items()}
    volume = segmentation.get_volume(combine_segments=False, allow_missing_positions=True)
    found = np.zeros_like(truth.voxels)
    for place, plane in enumerate(volume.array):
        first = volume.affine @ [place, 0, 0, 1]
        for channel, number in enumerate(segmentation.segment_numbers):
            found[slice_of(truth, first[:3])][plane[..., channel] == 1] = values[names[number]]
    affine = np.array(truth.affine)
    affine[:3, 0], affine[:3, 1] = volume.affine[:3, 2], volume.affine[:3, 1]
    yield "highdicom", compare(truth, found, affine)


def checks(truth):
    try:
        yield from comparisons(truth)
    except (RuntimeError, ValueError) as error:
        yield "reading", str(error)


def comparisons(truth):
    if truth.format == "seg":
        yield from with_pydicom(truth)
        yield from with_highdicom(truth)
        return
    if truth.format == "nifti":
        yield from with_nibabel(truth)
    # ITK has no sheared images.
    if truth.right_angles:
        yield from with_simpleitk(truth)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with truth.json")
    folder = parser.parse_args().folder
    wrong = 0
    for entry in json.loads((folder / "truth.json").read_text())["files"]:
        truth = Truth(folder, entry)
        for reader, difference in checks(truth):
            print(f"{truth.path.name}: {reader}: {difference or 'the same'}")
            wrong += difference is not None
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
