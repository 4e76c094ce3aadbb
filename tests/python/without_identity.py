"""Reads DICOM objects that were written without identity.

usage: without_identity.py FOLDER…
"""

import os
import sys

import pydicom

for folder in sys.argv[1:]:
    for name in os.listdir(folder):
        if name.startswith("."):
            continue
        data = pydicom.dcmread(os.path.join(folder, name))
        assert data.PatientIdentityRemoved == "YES"
        assert data.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert data.DeidentificationMethodCodeSequence[0].CodingSchemeDesignator == "DCM"
        assert "BurnedInAnnotation" not in data
        # Type 2 of the patient and study modules: there, and empty.
        for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"):
            assert keyword in data and not data.get(keyword), keyword
        for keyword in ("PatientAge", "StudyDescription", "SeriesDescription", "SeriesDate", "SeriesTime"):
            assert keyword not in data, keyword
        assert str(data.PatientID) == str(data.PatientName) and len(data.PatientID) == 16
        assert data.file_meta.MediaStorageSOPInstanceUID == data.SOPInstanceUID
        for element in data.iterall():
            if element.VR == "UI" and not str(element.value).startswith("1.2.840.10008."):
                assert str(element.value).startswith("2.25."), element
            assert element.VR != "PN" or element.keyword == "PatientName" or not element.value, element
