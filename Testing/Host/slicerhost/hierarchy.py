# SPDX-License-Identifier: Apache-2.0
"""Gives every data node its place in the subject hierarchy, as the desktop's plugins do."""

from __future__ import annotations

from vtkmodules.vtkCommonCore import VTK_OBJECT

# Plugin that owns a node -> node classes; the first that fits.
_OWNERS = {
    "LabelMaps": ("vtkMRMLLabelMapVolumeNode",),
    "Volumes": ("vtkMRMLVolumeNode",),
    "Segmentations": ("vtkMRMLSegmentationNode",),
    "Models": ("vtkMRMLModelNode",),
    "Markups": ("vtkMRMLMarkupsNode",),
    "Tables": ("vtkMRMLTableNode",),
    "Plots": ("vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode"),
    "Texts": ("vtkMRMLTextNode",),
    "Transforms": ("vtkMRMLTransformNode",),
}


class HierarchyFiller:
    """Adds and removes items as nodes come and go."""

    def __init__(self, scene):
        self._scene = scene
        self._tags = [
            scene.AddObserver(scene.NodeAddedEvent, self._on_node_added),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._on_node_removed),
            scene.AddObserver(scene.EndImportEvent, self._on_import_ended),
        ]

    def close(self) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene = None

    def _hierarchy(self):
        import slicer

        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _on_node_added(self, scene, event, node):
        # An imported scene brings its own hierarchy.
        if not scene.IsImporting():
            self._add(node)

    _on_node_added.CallDataType = VTK_OBJECT

    def _on_node_removed(self, scene, event, node):
        if scene.IsClosing() or _owner(node) is None:
            return
        hierarchy = self._hierarchy()
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)

    _on_node_removed.CallDataType = VTK_OBJECT

    def _on_import_ended(self, scene, event):
        import slicer

        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
        for index in range(scene.GetNumberOfNodes()):
            self._add(scene.GetNthNode(index))

    def _add(self, node) -> None:
        owner = _owner(node)
        if owner is None or node.GetHideFromEditors():
            return
        hierarchy = self._hierarchy()
        if not hierarchy.GetItemByDataNode(node):
            item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
            hierarchy.SetItemOwnerPluginName(item, owner)


def _owner(node) -> str | None:
    for owner, class_names in _OWNERS.items():
        if any(node.IsA(class_name) for class_name in class_names):
            return owner
    return None
