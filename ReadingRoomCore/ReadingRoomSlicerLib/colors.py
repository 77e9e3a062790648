# SPDX-License-Identifier: Apache-2.0
"""The colour tables of maps: made once per scene, saved and restored with it."""

import slicer
import vtk

UNCERTAINTY_TABLE = "Uncertainty"
CHANGE_TABLE = "Change"

# Bluish green and orange that colour-blind readers tell apart (Okabe and Ito), darker where the
# change is small.
DENSER, THINNER, MIXED = (0, 158, 115), (230, 129, 0), (117, 112, 179)
BRIGHT_DENSER, BRIGHT_THINNER = (150, 255, 190), (255, 214, 90)
LARGEST_CHANGE = 10.0
"""Changes (z) from it on have the last colour."""

_ENTRIES = 256


def uncertaintyColors():
    """The table of uncertainty, from 0 to 1."""
    existing = _existing(UNCERTAINTY_TABLE)
    if existing:
        return existing
    table = _newTable(UNCERTAINTY_TABLE)
    ramp = vtk.vtkColorTransferFunction()
    ramp.SetColorSpaceToLab()
    # Dark violet over magenta and orange to pale yellow: even in brightness, safe for colour-blind
    # readers, and none of the colours of bone or soft tissue in a grey image.
    for value, color in ((0.0, (0.28, 0.06, 0.47)), (0.35, (0.72, 0.21, 0.47)),
                         (0.7, (0.98, 0.55, 0.24)), (1.0, (0.98, 0.99, 0.65))):
        ramp.AddRGBPoint(value, *color)
    for index in range(_ENTRIES):
        value = index / (_ENTRIES - 1)
        table.SetColor(index, f"{value:.2f}", *ramp.GetColor(value), 1.0)
    return table


def changeColors(threshold: float):
    """The table of changes, green for denser and orange for thinner, transparent between.

    A display node's own threshold keeps one range; here two are kept, so the table is transparent.

    :param threshold: size of the smallest change that is drawn.
    """
    table = _existing(CHANGE_TABLE) or _newTable(CHANGE_TABLE)
    ramp = changeRamp(threshold)
    with slicer.util.NodeModify(table):
        for index in range(_ENTRIES):
            value = LARGEST_CHANGE * (2 * index + 1 - _ENTRIES) / _ENTRIES
            table.SetColor(index, f"{value:+.1f}", *ramp.GetColor(value),
                           float(abs(value) >= threshold))
    return table


def changeRamp(threshold: float):
    """The colours of changes as a function, from dark at the threshold to bright."""
    ramp = vtk.vtkColorTransferFunction()
    for value, color in ((-LARGEST_CHANGE, BRIGHT_THINNER), (-threshold, THINNER),
                         (threshold, DENSER), (LARGEST_CHANGE, BRIGHT_DENSER)):
        ramp.AddRGBPoint(value, *(part / 255 for part in color))
    return ramp


def changeRendering(threshold: float):
    """How volume rendering shows changes: a ``vtkMRMLVolumePropertyNode`` of no scene."""
    opacity = vtk.vtkPiecewiseFunction()
    edge = 0.5  # soft, as ray casting samples between voxels
    for value, part in ((-LARGEST_CHANGE, 0.8), (-threshold, 0.3), (edge - threshold, 0.0),
                        (threshold - edge, 0.0), (threshold, 0.3), (LARGEST_CHANGE, 0.8)):
        opacity.AddPoint(value, part)
    node = slicer.vtkMRMLVolumePropertyNode()
    node.SetColor(changeRamp(threshold))
    node.SetScalarOpacity(opacity)
    node.GetVolumeProperty().SetInterpolationTypeToLinear()
    node.GetVolumeProperty().ShadeOn()
    return node


def _existing(name: str):
    return slicer.mrmlScene.GetFirstNode(name, "vtkMRMLColorTableNode", False, True)


def _newTable(name: str):
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    table.SetTypeToUser()
    table.SetNumberOfColors(_ENTRIES)
    return table
