"""Opens a synthetic archive in pydicom and SimpleITK, and compares it with what was meant.

usage: phantom_opens.py ARCHIVE EXPECTED.json
"""

import json
import sys

import numpy as np
import pydicom
import SimpleITK as sitk


def check_volume(archive, expected):
    """GDCM finds the series by its UID, orders it, and gives the size, the grid and the voxels."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(archive, expected["series"])
    assert list(names) == expected["slices"], "order of slices"
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    image = reader.Execute()
    assert list(image.GetSize()) == expected["size"][::-1], image.GetSize()
    steps = np.array(expected["steps"])[::-1]
    spacing = np.linalg.norm(steps, axis=1)
    np.testing.assert_allclose(image.GetSpacing(), spacing, atol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), expected["origin"], atol=1e-6)
    direction = np.array(image.GetDirection()).reshape(3, 3).T
    np.testing.assert_allclose(direction, steps / spacing[:, None], atol=1e-6)
    assert sitk.GetArrayFromImage(image).astype(float).sum() == expected["sum"], "voxels"


def check_headers(expected):
    """Every slice is an MR image of the series, with the tags that a scanner writes."""
    for path in expected["slices"]:
        slice_ = pydicom.dcmread(path)
        assert slice_.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert slice_.file_meta.MediaStorageSOPInstanceUID == slice_.SOPInstanceUID
        assert slice_.SOPClassUID == pydicom.uid.MRImageStorage
        assert slice_.SeriesInstanceUID == expected["series"]
        assert slice_.SliceThickness == 1.5 and list(slice_.PixelSpacing) == [0.4, 0.4]
        assert (slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit) == (16, 12, 11)
        assert slice_.pixel_array.shape == tuple(expected["size"][1:])
        for keyword in ("Manufacturer", "StudyDate", "PatientID", "EchoTime", "WindowWidth"):
            assert slice_.get(keyword), keyword
    return slice_


def check_outlines(expected, slice_):
    """The structure set refers to the series and to its slices, and shares study and frame."""
    outlines = pydicom.dcmread(expected["outlines"])
    assert outlines.SOPClassUID == pydicom.uid.RTStructureSetStorage
    assert outlines.StudyInstanceUID == slice_.StudyInstanceUID
    frame = outlines.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == slice_.FrameOfReferenceUID
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == expected["series"]
    assert len(series.ContourImageSequence) == len(expected["slices"])
    assert [roi.ROIName for roi in outlines.StructureSetROISequence] == expected["structures"]
    known = {image.ReferencedSOPInstanceUID for image in series.ContourImageSequence}
    for roi in outlines.ROIContourSequence:
        for contour in roi.ContourSequence:
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID in known
            assert len(contour.ContourData) == 3 * contour.NumberOfContourPoints


def main():
    archive, truth = sys.argv[1:]
    with open(truth, encoding="utf-8") as file:
        expected = json.load(file)
    for series in expected:
        check_volume(archive, series)
        check_outlines(series, check_headers(series))
    print(f"{len(expected)} series open in pydicom {pydicom.__version__} and SimpleITK")


if __name__ == "__main__":
    main()
