# SPDX-License-Identifier: Apache-2.0
"""A comparison that is in the scene, written as the files that the command line writes."""

import json
import os

from ReadingRoomSlicerLib import results, segmentations, transforms, volumes
from TemporalSubtractionLib.candidate_table import ACCEPTED, write_rows

from .candidate_view import candidatesOf
from .comparison_result import TemporalSubtractionResult
from .report_page import reportPage


def writeResult(result: TemporalSubtractionResult, folder: str, threshold: float) -> str:
    """
    Write a result as the files that the command line writes, with what the user decided, and
    a report of the accepted candidates.

    :param folder: a new folder, named after the segmentation, is made in it.
    :param threshold: size of the smallest change that the pictures draw, z.
    :return: path of the new folder.
    """
    target = results.makeFolder(result.segmentation, folder)

    def path(name):
        return os.path.join(target, name)

    for role, volumeNode in result.maps.items():
        if volumeNode:
            volumes.writeVolume(volumeNode, path(f"{role}.nrrd"))
    if result.transform:
        transforms.writeTransform(result.transform, path("transform.h5"))
    candidates = candidatesOf(result.candidates)
    write_rows(candidates, path("candidates.csv"))
    if result.currentVolume:
        segmentations.writeLabels(
            result.segmentation, {c.key: c.number for c in candidates}, result.currentVolume,
            path("candidates.nrrd"))
        if result.bone:
            segmentations.writeLabels(
                result.bone, {"bone": 1}, result.currentVolume, path("bone.nrrd"))
    accepted = [candidate for candidate in candidates if candidate.status == ACCEPTED]
    if accepted:
        segmentations.writeSegmentation(
            result.segmentation, path("segmentation.seg.nrrd"), [c.key for c in accepted])
    results.writeManifest(result.report, path("result.json"))
    with open(path("report.html"), "w", encoding="utf-8") as file:
        file.write(reportPage(result, candidates, accepted, threshold))
    return target


def writeForFindings(result: TemporalSubtractionResult, folder: str) -> None:
    """Write what the command ``findings`` needs into a folder that is there."""
    files = {"candidates": "candidates.csv", "candidate_labels": "candidates.nrrd",
             "expected": "expected.nrrd"}
    paths = {role: os.path.join(folder, name) for role, name in files.items()}
    candidates = candidatesOf(result.candidates)
    write_rows(candidates, paths["candidates"])
    segmentations.writeLabels(
        result.segmentation, {c.key: c.number for c in candidates}, result.currentVolume,
        paths["candidate_labels"])
    volumes.writeVolume(result.expectedVolume, paths["expected"])
    with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
        json.dump(result.manifest | {"files": files}, file)
