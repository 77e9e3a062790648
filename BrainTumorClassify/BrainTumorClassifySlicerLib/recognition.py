# SPDX-License-Identifier: Apache-2.0
"""Which volumes of the scene are T1, T2 and contrast-enhanced T1."""

import slicer

from ReadingRoomSlicerLib import dicom, volumes


def volumesOfScene() -> list:
    """The volumes that may be a sequence."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if node.GetImageData() and not node.IsA("vtkMRMLLabelMapVolumeNode")
            and volumes.modality(node) in ("", "MR")]


def recognise(volumeNodes) -> tuple:
    """Choose a volume for each sequence: by the DICOM header, or by its name where it has none.

    :return: two dictionaries by sequence ("t1", "t2", "t1c"): the volume node, or None where none
      was recognised; and a sentence that says why.
    """
    from BrainTumorClassifyLib.sequences import assign

    nodes = {}
    for node in volumeNodes:
        series = _seriesOf(node)
        nodes[series.path] = node, series
    choices = assign(series for _node, series in nodes.values())
    chosen = {sequence: nodes[choice.series.path][0] if choice.series else None
              for sequence, choice in choices.items()}
    return chosen, {sequence: choice.reason for sequence, choice in choices.items()}


def _seriesOf(volumeNode):
    """A volume as the library knows a series; its ``path`` is only its key."""
    from dataclasses import replace
    from pathlib import Path

    from BrainTumorClassifyLib.sequences import series_of

    path = dicom.fileOf(volumeNode)
    header = _headerOf(path) if path else {
        "Modality": "MR", "SeriesDescription": volumeNode.GetName()}
    series = series_of([(Path(volumeNode.GetID()), header)])
    return replace(series, slices=min(volumeNode.GetImageData().GetDimensions()))


def _headerOf(path: str):
    import pydicom

    from BrainTumorClassifyLib.sequences import TAGS

    return pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
