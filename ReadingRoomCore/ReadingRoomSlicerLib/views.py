# SPDX-License-Identifier: Apache-2.0
"""What the slice and 3D views show."""

import slicer

from . import volumes


def showBackground(volumeNode) -> None:
    """Show an image in all slice views, unless they show it already."""
    if not _layers("GetBackgroundVolumeID", volumeNode):
        slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)


def isBackground(volumeNode) -> bool:
    """Whether a slice view shows this image."""
    return _layers("GetBackgroundVolumeID", volumeNode)


def exchangeBackground(volumeNode) -> None:
    """Show an image in all slice views in place of another, which stay where they are."""
    slicer.util.setSliceViewerLayers(background=volumeNode)


def linkSlices() -> None:
    """Let all slice views follow when the user moves or zooms one of them."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        node.SetLinkedControl(True)


def showSideBySide(volumeNodes) -> None:
    """Show several images of one grid in the slice views, the same slices of each.

    :param volumeNodes: at most three; the last one decides in which plane.
    """
    orientation = volumes.planeOfSlices(volumeNodes[-1])
    for view, volumeNode in zip(_ORIENTATIONS, volumeNodes, strict=False):
        _sliceNode(view).SetOrientation(orientation)
        _compositeNode(view).SetBackgroundVolumeID(volumeNode.GetID())
    slicer.util.resetSliceViews()


def showApart(volumeNode) -> None:
    """Show one image in all slice views, each in its own plane, as Slicer does by itself."""
    for view, orientation in _ORIENTATIONS.items():
        _sliceNode(view).SetOrientation(orientation)
    slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)


_ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


def _sliceNode(view: str):
    return slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{view}")


def _compositeNode(view: str):
    return slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{view}")


def showOverlay(volumeNode, show: bool, opacity: float = 0.7) -> None:
    """Draw a map over the image in all slice views, or take it away."""
    if show:
        slicer.util.setSliceViewerLayers(foreground=volumeNode, foregroundOpacity=opacity)
    elif isOverlay(volumeNode):
        slicer.util.setSliceViewerLayers(foreground=None)


def isOverlay(volumeNode) -> bool:
    """Whether a slice view draws this map over the image."""
    return _layers("GetForegroundVolumeID", volumeNode)


def _layers(getter, volumeNode) -> bool:
    if not volumeNode:
        return False
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return any(getattr(node, getter)() == volumeNode.GetID() for node in nodes)


def jumpTo(point) -> None:
    """Centre all slice views on a point, world coordinates in mm (RAS)."""
    sliceNode = slicer.vtkMRMLSliceNode
    sliceNode.JumpAllSlices(slicer.mrmlScene, *point, sliceNode.CenteredJumpSlice)


def showIn3D(segmentationNode, show: bool) -> None:
    """Show the surfaces of all segments, made when they are needed, or hide them."""
    if show:
        segmentationNode.CreateClosedSurfaceRepresentation()
    segmentationNode.GetDisplayNode().SetVisibility3D(show)
    if show:
        slicer.util.resetThreeDViews()


def isShownIn3D(segmentationNode) -> bool:
    """Whether there are surfaces, and they are shown."""
    displayNode = segmentationNode.GetDisplayNode()
    hasSurfaces = segmentationNode.GetSegmentation().ContainsRepresentation("Closed surface")
    return bool(hasSurfaces and displayNode and displayNode.GetVisibility3D())


def showVolumeRendering(volumeNode, show: bool, preset) -> None:
    """Show an image in the 3D views, or hide it.

    :param preset: how it looks at first: name of a preset such as ``CT-Muscle``, or a
      ``vtkMRMLVolumePropertyNode``.
    """
    logic = slicer.modules.volumerendering.logic()
    displayNode = logic.GetFirstVolumeRenderingDisplayNode(volumeNode)
    isFirst = displayNode is None
    if isFirst:
        if not show:
            return
        displayNode = logic.CreateDefaultVolumeRenderingNodes(volumeNode)
        displayNode.GetVolumePropertyNode().Copy(
            logic.GetPresetByName(preset) if isinstance(preset, str) else preset)
    displayNode.SetVisibility(show)
    if isFirst:
        slicer.util.resetThreeDViews()


def setVolumeRendering(volumeNode, preset) -> None:
    """Let an image that is shown in the 3D views look different; nothing when it never was.

    :param preset: ``vtkMRMLVolumePropertyNode``.
    """
    displayNode = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(
        volumeNode)
    if displayNode:
        displayNode.GetVolumePropertyNode().Copy(preset)


def isVolumeRendered(volumeNode) -> bool:
    """Whether the 3D views show this image."""
    if not volumeNode:
        return False
    displayNode = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(
        volumeNode)
    return bool(displayNode and displayNode.GetVisibility())
