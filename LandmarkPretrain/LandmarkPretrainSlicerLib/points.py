# SPDX-License-Identifier: Apache-2.0
"""Named points between the scene and files, in the coordinates of a volume's own file."""

import json

import slicer

from ReadingRoomSlicerLib import views

UNSURE_COLOR, SURE_COLOR = (1.0, 0.65, 0.0), (0.2, 0.8, 0.4)
GLYPH_SIZE, TEXT_SIZE = 2.0, 2.5


def placed(markupsNode) -> list:
    """Numbers of the points that have a position: not the one that follows the mouse."""
    return [number for number in range(markupsNode.GetNumberOfControlPoints())
            if markupsNode.GetNthControlPointPositionStatus(number)
            == markupsNode.PositionDefined]


def namesOf(markupsNode) -> list:
    """Labels of the points that have a position."""
    return [markupsNode.GetNthControlPointLabel(number) for number in placed(markupsNode)]


def pointsIn(markupsNode, volumeNode) -> list:
    """The points as they lie in a volume: RAS, mm, without the transform above the volume."""
    found = []
    for number in placed(markupsNode):
        world, local = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        markupsNode.GetNthControlPointPositionWorld(number, world)
        volumeNode.TransformPointFromWorld(world, local)
        found.append(local)
    return found


def write(markupsNode, volumeNode, path: str) -> None:
    """Write the points as they lie in a volume, as Slicer's markups."""
    points = [{"label": label, "position": point, "positionStatus": "defined",
               "description": markupsNode.GetNthControlPointDescription(number)}
              for number, label, point in zip(placed(markupsNode), namesOf(markupsNode),
                                              pointsIn(markupsNode, volumeNode), strict=True)]
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"markups": [{"type": "Fiducial", "coordinateSystem": "RAS",
                                "controlPoints": points}]}, file)


def read(markupsNode, path: str, volumeNode) -> None:
    """Make the points those of a file that belongs to a volume, without a link to the file.

    :raises RuntimeError: when it cannot be read.
    """
    storageNode = slicer.vtkMRMLMarkupsJsonStorageNode()
    storageNode.SetFileName(path)
    markupsNode.RemoveAllControlPoints()
    if not storageNode.ReadData(markupsNode):
        raise RuntimeError(f"The landmarks of {volumeNode.GetName()} could not be read.")
    markupsNode.CreateDefaultDisplayNodes()
    show(markupsNode)
    for number in range(markupsNode.GetNumberOfControlPoints()):
        markupsNode.SetNthControlPointAssociatedNodeID(number, volumeNode.GetID())


def show(markupsNode) -> None:
    """Points that are sure (selected) in one colour, the others in another, with small names."""
    displayNode = markupsNode.GetDisplayNode()
    displayNode.SetSelectedColor(*SURE_COLOR)
    displayNode.SetColor(*UNSURE_COLOR)
    displayNode.SetGlyphScale(GLYPH_SIZE)
    displayNode.SetTextScale(TEXT_SIZE)


def jumpTo(markupsNode, name: str) -> bool:
    """Show a point in all slice views, where it is now; whether it is there."""
    for number in placed(markupsNode):
        if markupsNode.GetNthControlPointLabel(number) == name:
            point = [0.0, 0.0, 0.0]
            markupsNode.GetNthControlPointPositionWorld(number, point)
            views.jumpTo(point)
            return True
    return False
