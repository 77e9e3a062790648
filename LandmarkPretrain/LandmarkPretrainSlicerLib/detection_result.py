# SPDX-License-Identifier: Apache-2.0
"""The nodes of a detection, and how they come into the scene."""

import os
from dataclasses import dataclass

import slicer
from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
)
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import results, tables, views, volumes

from . import detection_view, points

MOVED_MM = 0.05  # more than what rounding does


@dataclass
class LandmarkPretrainResult:
    """The nodes of one result.

    inputVolume - in which the landmarks lie.
    landmarks - a point for each; those that are not sure are not selected. What may be wrong is
      not locked: those that are not sure, or all where the model learned from simulated images.
    landmarkTable - position, confidence, and error where landmarks were given.
    report - what was run (the content of result.json).
    """

    # The parts that the parameter node refers to.
    NODES = ("landmarks", "landmarkTable", "report")

    inputVolume: vtkMRMLScalarVolumeNode
    landmarks: vtkMRMLMarkupsFiducialNode
    landmarkTable: vtkMRMLTableNode
    report: vtkMRMLTextNode

    @property
    def manifest(self) -> dict:
        return results.manifestOf(self.report)


def loadResult(manifest, volumeNode, previous) -> LandmarkPretrainResult:
    """
    Put a result folder into the scene, where the image is.

    :param manifest: content of result.json, with the folder.
    :param volumeNode: in which the landmarks lie.
    :param previous: an earlier result whose nodes are filled again, if it is of the same image; or
      None.
    :raises RuntimeError: the image is no longer in the scene, or the landmarks cannot be read.
    """
    if volumeNode.GetScene() is not slicer.mrmlScene:
        raise RuntimeError(_("the image is no longer in the scene"))
    if previous and previous.inputVolume != volumeNode:
        previous = None
    name = volumeNode.GetName()
    if previous and isCorrected(previous):
        previous.landmarks.SetName(slicer.mrmlScene.GenerateUniqueName(
            _("{name} landmarks, corrected").format(name=name)))
    nodes = {part: results.nodeFor(className, text.format(name=name),
                                   previous and getattr(previous, part))
             for part, (className, text) in {
                 "landmarks": ("vtkMRMLMarkupsFiducialNode", _("{name} landmarks")),
                 "landmarkTable": ("vtkMRMLTableNode", _("{name} landmark table")),
                 "report": ("vtkMRMLTextNode", _("{name} detection")),
             }.items()}
    result = LandmarkPretrainResult(volumeNode, **nodes)
    points.read(result.landmarks,
                os.path.join(manifest["folder"], manifest["files"]["landmarks"]), volumeNode)
    if manifest["model"]["simulated"]:
        for number in range(result.landmarks.GetNumberOfControlPoints()):
            result.landmarks.SetNthControlPointLocked(number, False)
    tables.setColumns(result.landmarkTable, detection_view.columns(manifest))
    results.keepManifest(result.report, manifest)
    for node in nodes.values():
        volumes.placeWith(node, volumeNode)
    views.showBackground(volumeNode)
    return result


def isCorrected(result) -> bool:
    """Whether points were moved, renamed, added or removed since they were found."""
    found = result.manifest.get("landmarks", [])
    places = points.pointsIn(result.landmarks, result.inputVolume)
    return points.namesOf(result.landmarks) != [one["name"] for one in found] or any(
        abs(sign * new - old) > MOVED_MM
        for one, place in zip(found, places, strict=True)
        for sign, new, old in zip((-1, -1, 1), place, one["position_lps_mm"], strict=True))


def export(result, folder: str) -> str:
    """Write a result as files, with the points where they are now; returns the new folder."""
    target = results.makeFolder(result.landmarks, folder)
    points.write(result.landmarks, result.inputVolume,
                 os.path.join(target, "landmarks.mrk.json"))
    columns = tables.columns(result.landmarkTable)
    tables.writeRows([dict(zip(columns, row, strict=True))
                      for row in zip(*columns.values(), strict=True)],
                     os.path.join(target, "landmarks.csv"))
    results.writeManifest(result.report, os.path.join(target, "result.json"))
    return target
