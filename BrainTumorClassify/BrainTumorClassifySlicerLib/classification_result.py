# SPDX-License-Identifier: Apache-2.0
"""The nodes of a classification, and how they come into the scene."""

import base64
import os
from dataclasses import dataclass

import slicer
from slicer import (
    vtkMRMLMarkupsROINode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
)
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import results, tables, views, volumes

from . import answer_view, region_box

SEQUENCES = ("t1", "t2", "t1c")
SALIENCY_THRESHOLD = 0.3
PSEUDO_RGB_FILE, ANSWER_FILE = "pseudo_rgb.png", "answer.html"


@dataclass
class BrainTumorClassifyResult:
    """The nodes of one result.

    mainVolume - the sequence whose slices were judged: T1 with contrast agent.
    probabilities - table of the kinds: probability, interval, whether excluded.
    saliency - where the most probable kind is seen, 0 to 1, on the grid of the main volume.
    regionBox - the square and the slices that were judged.
    alignedT1, alignedT2 - the other sequences, aligned; None where one was not given.
    pseudoRgb - the images that the network got, PNG in base64.
    answerPage - the answer as a page (HTML).
    report - what was run, and all numbers (the content of result.json).
    """

    # The parts that the parameter node refers to.
    NODES = ("probabilities", "saliency", "regionBox", "alignedT1", "alignedT2", "pseudoRgb",
             "answerPage", "report")

    mainVolume: vtkMRMLScalarVolumeNode
    probabilities: vtkMRMLTableNode
    saliency: vtkMRMLScalarVolumeNode
    regionBox: vtkMRMLMarkupsROINode
    alignedT1: vtkMRMLScalarVolumeNode
    alignedT2: vtkMRMLScalarVolumeNode
    pseudoRgb: vtkMRMLTextNode
    answerPage: vtkMRMLTextNode
    report: vtkMRMLTextNode

    @property
    def manifest(self) -> dict:
        return results.manifestOf(self.report)

    @property
    def sequences(self) -> list:
        """The sequences that there are, on one grid: T1, T2, T1 with contrast agent."""
        return [node for node in (self.alignedT1, self.alignedT2, self.mainVolume) if node]


def loadResult(manifest, mainVolume, previous) -> BrainTumorClassifyResult:
    """
    Put a result folder into the scene, where the images are.

    :param manifest: content of result.json, with the folder.
    :param mainVolume: on whose grid the result lies.
    :param previous: an earlier result whose nodes are filled again, if it is of the same image; or
      None.
    :raises RuntimeError: the image is no longer in the scene.
    """
    if mainVolume.GetScene() is not slicer.mrmlScene:
        raise RuntimeError(_("the image is no longer in the scene"))
    if previous and previous.mainVolume != mainVolume:
        previous = None
    files = {role: os.path.join(manifest["folder"], name)
             for role, name in manifest["files"].items()}
    result = _resultNodes(mainVolume, previous, files)
    volumes.readVolume(result.saliency, files["saliency"])
    volumes.showAsUncertainty(result.saliency, SALIENCY_THRESHOLD, 1.0)
    for sequence, volumeNode in (("t1", result.alignedT1), ("t2", result.alignedT2)):
        if volumeNode:
            volumes.readVolume(volumeNode, files[sequence])
            volumeNode.CreateDefaultDisplayNodes()
    region_box.read(result.regionBox, files["region"])
    with open(files["pseudo_rgb"], "rb") as file:
        result.pseudoRgb.SetText(base64.b64encode(file.read()).decode("ascii"))
    with open(files["answer"], encoding="utf-8") as file:
        result.answerPage.SetText(file.read())
    tables.setColumns(result.probabilities, answer_view.columns(manifest))
    results.keepManifest(result.report, manifest)
    for name in BrainTumorClassifyResult.NODES:
        if getattr(result, name):
            volumes.placeWith(getattr(result, name), mainVolume)
    views.showBackground(mainVolume)
    views.showOverlay(result.saliency, True)
    views.linkSlices()
    jumpToMiddle(result)
    return result


def _resultNodes(mainVolume, previous, files) -> BrainTumorClassifyResult:
    """The nodes to fill: those of the previous result where they still have their names."""
    parts = {
        "probabilities": ("vtkMRMLTableNode", _("{name} kinds")),
        "saliency": ("vtkMRMLScalarVolumeNode", _("{name} saliency")),
        "regionBox": ("vtkMRMLMarkupsROINode", _("{name} judged region")),
        "alignedT1": ("vtkMRMLScalarVolumeNode", _("{name} aligned T1")),
        "alignedT2": ("vtkMRMLScalarVolumeNode", _("{name} aligned T2")),
        "pseudoRgb": ("vtkMRMLTextNode", _("{name} pseudo-RGB")),
        "answerPage": ("vtkMRMLTextNode", _("{name} answer")),
        "report": ("vtkMRMLTextNode", _("{name} classification")),
    }
    for part, sequence in (("alignedT1", "t1"), ("alignedT2", "t2")):
        if sequence not in files or isMain(sequence, files):
            del parts[part]
    nodes = dict.fromkeys(BrainTumorClassifyResult.NODES)
    for part, (className, text) in parts.items():
        nodes[part] = results.nodeFor(className, text.format(name=mainVolume.GetName()),
                                      previous and getattr(previous, part))
    return BrainTumorClassifyResult(mainVolume, **nodes)


def isMain(sequence: str, given) -> bool:
    """Whether this is the sequence on whose grid the result lies.

    :param given: what has the sequences that were given as keys.
    """
    return sequence == next(name for name in ("t1c", "t1", "t2") if name in given)


def jumpToMiddle(result) -> None:
    """Show the middle of the region."""
    centre = [0.0, 0.0, 0.0]
    result.regionBox.GetCenterWorld(centre)
    views.jumpTo(centre)


def pictureOf(result) -> str:
    """Path of a file with the pseudo-RGB images of a result; empty where it has none."""
    if not result.pseudoRgb or not result.pseudoRgb.GetText():
        return ""
    path = os.path.join(slicer.app.temporaryPath, f"BrainTumorClassify-{PSEUDO_RGB_FILE}")
    with open(path, "wb") as file:
        file.write(base64.b64decode(result.pseudoRgb.GetText()))
    return path


def pageOf(result) -> str:
    """Path of a file with the answer page of a result."""
    path = os.path.join(slicer.app.temporaryPath, f"BrainTumorClassify-{ANSWER_FILE}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(result.answerPage.GetText())
    return path


def export(result, folder: str) -> str:
    """Write a result as files, as the command line does; returns the new folder."""
    import shutil

    target = results.makeFolder(result.probabilities, folder)
    columns = tables.columns(result.probabilities)
    tables.writeRows([dict(zip(columns, row, strict=True))
                      for row in zip(*columns.values(), strict=True)],
                     os.path.join(target, "probabilities.csv"))
    volumes.writeVolume(result.saliency, os.path.join(target, "saliency.nrrd"))
    for sequence, node in (("t1", result.alignedT1), ("t2", result.alignedT2)):
        if node:
            volumes.writeVolume(node, os.path.join(target, f"{sequence}.nrrd"))
    if result.pseudoRgb and result.pseudoRgb.GetText():
        shutil.copyfile(pictureOf(result), os.path.join(target, PSEUDO_RGB_FILE))
    if result.answerPage:
        shutil.copyfile(pageOf(result), os.path.join(target, ANSWER_FILE))
    results.writeManifest(result.report, os.path.join(target, "result.json"))
    return target
