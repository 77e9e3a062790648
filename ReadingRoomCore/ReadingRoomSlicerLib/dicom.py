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
