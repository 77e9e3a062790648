# SPDX-License-Identifier: Apache-2.0
"""The nodes of a comparison of two CTs, and how they come into the scene."""

import os
from dataclasses import dataclass

import slicer
from slicer import (
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
    vtkMRMLTransformNode,
)
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import colors, results, segmentations, tables, transforms, views, volumes
from TemporalSubtractionLib.candidate_table import columns_of, read_rows

from .candidate_view import colorOf

SHOWN_CHANGE, SHOWN_OPACITY = 3.0, 0.7  # until the user moves the sliders
BONE_COLOR = (241, 214, 145)
BONE_OPACITY = 0.25


@dataclass
class TemporalSubtractionResult:
    """The nodes of one result.

    currentVolume - the later CT.
    changeVolume - change in standard deviations of stable bone (z), 0 where nothing is compared.
    expectedVolume, errorVolume - what the CT was expected to be, and how far off that may be, HU.
    qualityVolume - how well the CTs agree around each voxel of bone, 0.01 to 1; 0 elsewhere.
    alignedVolume - the prior CT, aligned.
    transform - moves the prior CT onto the current one.
    candidates - table of what changed, with what the physician decided.
    segmentation, bone - the candidates, and the bone that was looked at.
    report - what was run, how long it took (the content of result.json).
    """

    # The parts that the parameter node refers to.
    NODES = ("changeVolume", "expectedVolume", "errorVolume", "qualityVolume", "alignedVolume",
             "transform", "candidates", "segmentation", "bone", "report")

    currentVolume: vtkMRMLScalarVolumeNode
    changeVolume: vtkMRMLScalarVolumeNode
    expectedVolume: vtkMRMLScalarVolumeNode
    errorVolume: vtkMRMLScalarVolumeNode
    qualityVolume: vtkMRMLScalarVolumeNode
    alignedVolume: vtkMRMLScalarVolumeNode
    transform: vtkMRMLTransformNode
    candidates: vtkMRMLTableNode
    segmentation: vtkMRMLSegmentationNode
    bone: vtkMRMLSegmentationNode
    report: vtkMRMLTextNode

    @property
    def manifest(self) -> dict:
        return results.manifestOf(self.report)

    @property
    def maps(self) -> dict:
        """The volumes by their role among the files of a result."""
        return {"z": self.changeVolume, "expected": self.expectedVolume, "error": self.errorVolume,
                "quality": self.qualityVolume, "prior_aligned": self.alignedVolume}


def loadResult(manifest, currentVolume, previous) -> TemporalSubtractionResult:
    """
    Put a result folder into the scene, where the current CT is.

    :param manifest: content of result.json, with the folder.
    :param previous: an earlier result whose nodes are filled again, if it is of the same CT; or
      None.
    :raises RuntimeError: the CT is no longer in the scene.
    """
    if currentVolume.GetScene() is not slicer.mrmlScene:
        raise RuntimeError(_("the CT is no longer in the scene"))
    if previous and previous.currentVolume != currentVolume:
        previous = None
    result = _resultNodes(currentVolume, previous)
    files = {role: os.path.join(manifest["folder"], name)
             for role, name in manifest["files"].items()}
    for role, volumeNode in result.maps.items():
        volumes.readVolume(volumeNode, files[role])
        volumeNode.CreateDefaultDisplayNodes()
    transforms.readTransform(result.transform, files["transform"])
    candidates = read_rows(files["candidates"])
    tables.setColumns(result.candidates, columns_of(candidates))
    segmentations.readLabels(result.segmentation, files["candidate_labels"], {
        candidate.number: (candidate.key, candidate.name, colorOf(candidate))
        for candidate in candidates}, currentVolume)
    result.segmentation.GetDisplayNode().SetVisibility2DFill(False)  # the map fills them
    segmentations.readLabels(
        result.bone, files["bone"], {1: ("bone", _("Bone"), BONE_COLOR)}, currentVolume)
    result.bone.GetDisplayNode().SetVisibility2D(False)
    result.bone.GetDisplayNode().SetOpacity3D(BONE_OPACITY)
    results.keepManifest(result.report, manifest)
    for name in TemporalSubtractionResult.NODES:
        volumes.placeWith(getattr(result, name), currentVolume)
    views.showBackground(currentVolume)
    views.showOverlay(result.changeVolume, True)
    views.linkSlices()
    showChange(result.changeVolume, SHOWN_CHANGE, SHOWN_OPACITY)
    return result


def _resultNodes(currentVolume, previous) -> TemporalSubtractionResult:
    """The nodes to fill: those of the previous result where they still have their names."""
    parts = {
        "changeVolume": ("vtkMRMLScalarVolumeNode", _("{name} change")),
        "expectedVolume": ("vtkMRMLScalarVolumeNode", _("{name} expected")),
        "errorVolume": ("vtkMRMLScalarVolumeNode", _("{name} expected error")),
        "qualityVolume": ("vtkMRMLScalarVolumeNode", _("{name} alignment quality")),
        "alignedVolume": ("vtkMRMLScalarVolumeNode", _("{name} prior aligned")),
        "transform": ("vtkMRMLTransformNode", _("{name} from prior")),
        "candidates": ("vtkMRMLTableNode", _("{name} candidates")),
        "segmentation": ("vtkMRMLSegmentationNode", _("{name} changed bone")),
        "bone": ("vtkMRMLSegmentationNode", _("{name} bone")),
        "report": ("vtkMRMLTextNode", _("{name} comparison")),
    }
    return TemporalSubtractionResult(currentVolume, **{
        part: results.nodeFor(className, text.format(name=currentVolume.GetName()),
                              previous and getattr(previous, part))
        for part, (className, text) in parts.items()})


def showChange(changeVolume, threshold: float, opacity: float) -> None:
    """Draw the changes from a threshold on, wherever they are shown."""
    volumes.showAsChange(changeVolume, threshold)
    if views.isOverlay(changeVolume):
        views.showOverlay(changeVolume, True, opacity)
    views.setVolumeRendering(changeVolume, colors.changeRendering(threshold))
