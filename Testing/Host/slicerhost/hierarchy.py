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


# The hierarchy is put right before anybody else looks at it.
_EARLY = 10.0


class HierarchyFiller:
    """Adds and removes items as nodes come and go."""

    def __init__(self, scene):
        self._scene = scene
        self._tags = [
            scene.AddObserver(scene.NodeAddedEvent, self._on_node_added, _EARLY),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._on_node_removed),
            scene.AddObserver(scene.EndImportEvent, self._add_all, _EARLY),
            scene.AddObserver(scene.EndBatchProcessEvent, self._add_all, _EARLY),
            scene.AddObserver(scene.EndCloseEvent, self._resolve, _EARLY),
        ]

    def close(self) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene = None

    def _resolve(self, *_):
        """The one hierarchy of the scene: made if there is none, merged if there are several."""
        import slicer

        return slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self._scene)

    def _hierarchy(self):
        import slicer

        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _on_node_added(self, scene, event, node):
        if node.IsA("vtkMRMLSubjectHierarchyNode"):
            self._resolve()
        elif not scene.IsImporting():
            # An imported scene brings its own hierarchy.
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

    def _add_all(self, scene, event):
        if scene.IsImporting() or scene.IsClosing():
            return
        self._resolve()
        self._remove_orphans()
        for index in range(scene.GetNumberOfNodes()):
            self._add(scene.GetNthNode(index))

    def _remove_orphans(self) -> None:
        """Removes items of nodes that went without saying so; folders and branches stay."""
        import slicer

        constants = slicer.vtkMRMLSubjectHierarchyConstants
        branch = constants.GetSubjectHierarchyVirtualBranchAttributeName()
        hierarchy = self._hierarchy()
        items = []
        hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
        for item in items:
            is_folder = bool(hierarchy.GetItemLevel(item))
            if is_folder or hierarchy.HasItemAttribute(item, branch):
                continue
            if hierarchy.GetItemDataNode(item) is None:
                hierarchy.RemoveItem(item, False, False)

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
