# SPDX-License-Identifier: Apache-2.0
"""What the slice and 3D views show."""

import slicer


def showBackground(volumeNode) -> None:
    """Show an image in all slice views, unless they show it already."""
    if not _layers("GetBackgroundVolumeID", volumeNode):
        slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)


def showOverlay(volumeNode, show: bool) -> None:
    """Draw a map over the image in all slice views, or take it away."""
    if show:
        slicer.util.setSliceViewerLayers(foreground=volumeNode, foregroundOpacity=0.7)
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


def showVolumeRendering(volumeNode, show: bool, preset: str) -> None:
    """Show an image in the 3D views, at first with a preset such as ``CT-Muscle``, or hide it."""
    logic = slicer.modules.volumerendering.logic()
    displayNode = logic.GetFirstVolumeRenderingDisplayNode(volumeNode)
    isFirst = displayNode is None
    if isFirst:
        if not show:
            return
        displayNode = logic.CreateDefaultVolumeRenderingNodes(volumeNode)
        displayNode.GetVolumePropertyNode().Copy(logic.GetPresetByName(preset))
    displayNode.SetVisibility(show)
    if isFirst:
        slicer.util.resetThreeDViews()


def isVolumeRendered(volumeNode) -> bool:
    """Whether the 3D views show this image."""
    if not volumeNode:
        return False
    displayNode = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(
        volumeNode)
    return bool(displayNode and displayNode.GetVisibility())
