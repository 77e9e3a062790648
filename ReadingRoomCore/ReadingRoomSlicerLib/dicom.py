# SPDX-License-Identifier: Apache-2.0
"""Slicer's DICOM database."""

import os

import slicer
from slicer.i18n import tr as _


def hasDatabase() -> bool:
    """Whether there is a database that files can be added to."""
    # Slicer can be built without DICOM, and the database's folder is the user's choice.
    return hasattr(slicer, "dicomDatabase") and bool(slicer.dicomDatabase.isOpen)


def addToDatabase(folder: str) -> None:
    """Copy the DICOM files of a folder into the database.

    :raises RuntimeError: when it does not take them.
    """
    from DICOMLib import DICOMUtils

    if not DICOMUtils.importDicom(folder, slicer.dicomDatabase, True):
        raise RuntimeError(_("The files in {folder} could not be imported.").format(folder=folder))


def fileOf(volumeNode) -> str:
    """A file of the series that a volume was loaded from; empty when there is none."""
    uids = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
    if not uids or not hasDatabase():
        return ""
    path = slicer.dicomDatabase.fileForInstance(uids[0])
    return path if path and os.path.isfile(path) else ""


def seriesOf(volumeNode) -> str:
    """SeriesInstanceUID of the series that a volume was loaded from; empty when there is none."""
    path = fileOf(volumeNode)
    return slicer.dicomDatabase.seriesForFile(path) if path else ""


def ageOf(volumeNode):
    """Age in years of the patient whose series a volume was loaded from; None if not known."""
    from ReadingRoomLib.dicom_series import age_years

    path = fileOf(volumeNode)
    if not path:
        return None
    return age_years({name: slicer.dicomDatabase.fileValue(path, tag)
                      for name, tag in _AGE.items()})


def series() -> list:
    """All series of the database that has been opened, each a dictionary.

    ``uid`` and ``study`` are SeriesInstanceUID and StudyInstanceUID; ``label`` is what a user may
    know the series by; the others are of the header of one of its files. Nothing is loaded.
    """
    if not hasDatabase():
        return []
    database = slicer.dicomDatabase
    found = []
    for patient in database.patients():
        for study in database.studiesForPatient(patient):
            for uid in database.seriesForStudy(study):
                files = database.filesForSeries(uid)
                if files:
                    found.append(_described(study, uid, files))
    return found


def filesOf(uid: str) -> list:
    """The files of a series that are there."""
    if not hasDatabase():
        return []
    return [path for path in slicer.dicomDatabase.filesForSeries(uid) if os.path.isfile(path)]


def loadSeries(uid: str):
    """Load a series as Slicer's DICOM module does; returns its first volume.

    :raises RuntimeError: when there is none.
    """
    from DICOMLib import DICOMUtils

    for nodeId in DICOMUtils.loadSeriesByUID([uid]):
        node = slicer.mrmlScene.GetNodeByID(nodeId)
        if node and node.IsA("vtkMRMLScalarVolumeNode"):
            return node
    raise RuntimeError(_("The series could not be loaded: load it in the DICOM module."))


_HEADER = {"modality": "0008,0060", "body_part": "0018,0015", "description": "0008,103E",
           "study_description": "0008,1030", "image_type": "0008,0008"}
_AGE = {"PatientAge": "0010,1010", "PatientBirthDate": "0010,0030",
        "AcquisitionDate": "0008,0022", "SeriesDate": "0008,0021", "StudyDate": "0008,0020"}
_PATIENT_NAME, _STUDY_DATE = "0010,0010", "0008,0020"


def _described(study, uid, files) -> dict:
    def value(tag):
        return slicer.dicomDatabase.fileValue(files[0], tag).strip()

    header = {name: value(tag) for name, tag in _HEADER.items()}
    words = (value(_PATIENT_NAME).replace("^", " ").strip(), value(_STUDY_DATE),
             header["description"] or header["study_description"])
    return {"uid": uid, "study": study, "slices": len(files),
            "label": ", ".join(word for word in words if word) or uid, **header}
