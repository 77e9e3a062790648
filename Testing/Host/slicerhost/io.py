# SPDX-License-Identifier: Apache-2.0
"""Reading and writing files into and from the scene: ``slicer.app.ioManager()``.

Each reader is the call of the MRML logic or storage node which the desktop's reader makes.
"""

from __future__ import annotations

import os
from pathlib import Path

from .names import DesktopObject

# First match wins; longer endings come first, so that .seg.nrrd is a segmentation.
_FILE_TYPES = {
    ".seg.nrrd": "SegmentationFile",
    ".seg.nhdr": "SegmentationFile",
    ".seg.vtm": "SegmentationFile",
    ".mrk.json": "MarkupsFile",
    ".fcsv": "MarkupsFile",
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".ctbl": "ColorTableFile",
    ".txt": "TextFile",
    ".json": "TextFile",
    ".xml": "TextFile",
    ".tfm": "TransformFile",
    ".h5": "TransformFile",
    ".vtk": "ModelFile",
    ".vtp": "ModelFile",
    ".stl": "ModelFile",
    ".obj": "ModelFile",
    ".ply": "ModelFile",
    ".nrrd": "VolumeFile",
    ".nhdr": "VolumeFile",
    ".nii": "VolumeFile",
    ".nii.gz": "VolumeFile",
    ".mha": "VolumeFile",
    ".mhd": "VolumeFile",
    ".dcm": "VolumeFile",
    ".png": "VolumeFile",
    ".tif": "VolumeFile",
    ".jpg": "VolumeFile",
}
_WRITER_TYPES = {
    "vtkMRMLSegmentationNode": "SegmentationFile",
    "vtkMRMLVolumeNode": "VolumeFile",
    "vtkMRMLTableNode": "TableFile",
    "vtkMRMLTextNode": "TextFile",
    "vtkMRMLMarkupsNode": "MarkupsFile",
    "vtkMRMLTransformNode": "TransformFile",
    "vtkMRMLColorNode": "ColorTableFile",
    "vtkMRMLModelNode": "ModelFile",
}
_NO_FILE_TYPE = "NoFile"

# vtkSlicerVolumesLogic::LoadingOptions
_VOLUME_OPTIONS = {
    "labelmap": 0x1,
    "center": 0x2,
    "singleFile": 0x4,
    "autoWindowLevel": 0x8,
    "discardOrientation": 0x10,
}


class qSlicerIOManager(DesktopObject):  # noqa: N801  (the desktop's name)
    """Readers and writers by file type."""

    desktop_class = "qSlicerIOManager"
    signals = {
        "newFileLoaded": "newFileLoaded(qSlicerIO::IOProperties)",
        "fileSaved": "fileSaved(qSlicerIO::IOProperties)",
    }

    def __init__(self, core):
        super().__init__()
        self._core = core
        self._readers = {
            "VolumeFile": self._load_volume,
            "SegmentationFile": self._load_segmentation,
            "ModelFile": self._load_model,
            "TableFile": self._load_table,
            "TextFile": self._load_text,
            "MarkupsFile": self._load_markups,
            "TransformFile": self._load_transform,
            "ColorTableFile": self._load_color_table,
            "SceneFile": self._load_scene,
        }

    def registeredFileReaderCount(self, fileType):
        return int(fileType in self._readers)

    def fileType(self, fileName):
        name = os.path.basename(str(fileName)).lower()
        for ending, file_type in _FILE_TYPES.items():
            if name.endswith(ending):
                return file_type
        # DICOM files and their folders have no ending to know them by.
        return "VolumeFile"

    def fileWriterFileType(self, node, preferredFormat=""):
        for class_name, file_type in _WRITER_TYPES.items():
            if node.IsA(class_name):
                return file_type
        return _NO_FILE_TYPE

    def fileWriterExtensions(self, node):
        storage = node.GetStorageNode()
        if storage is None:
            # Asked in a scene of its own, so that the node gets no storage by being asked.
            scene, copy = _copy_in_own_scene(node)
            copy.AddDefaultStorageNode()
            storage = copy.GetStorageNode()
        return tuple(_string_list(storage.GetSupportedWriteFileTypes())) if storage else ()

    def extractKnownExtension(self, fileName, node):
        from slicer import vtkDataFileFormatHelper

        name = str(fileName).lower()
        known = {
            vtkDataFileFormatHelper.GetFileExtensionFromFormatString(text)
            for text in self.fileWriterExtensions(node)
        }
        fitting = [extension for extension in known if extension and name.endswith(extension)]
        return max(fitting, key=len, default="." + name.rsplit(".", 1)[-1])

    # reading

    def loadNodes(self, fileType, parameters, loadedNodes=None, userMessages=None):
        """Reads a file into the scene; True if that worked."""
        from slicer import vtkMRMLMessageCollection

        messages = vtkMRMLMessageCollection() if userMessages is None else userMessages
        reader = self._readers.get(fileType)
        if reader is None:
            messages.AddMessage(_ERROR_EVENT, f"No reader for {fileType!r}")
            return False
        file_name = str(parameters["fileName"])
        if not os.path.exists(file_name):
            messages.AddMessage(_ERROR_EVENT, f"File not found: {file_name}")
            return False
        nodes = reader(file_name, dict(parameters), messages)
        if loadedNodes is not None:
            for node in nodes or ():
                loadedNodes.AddItem(node)
        if nodes is None:
            return False
        self.newFileLoaded.emit(dict(parameters))
        return True

    def _load_volume(self, file_name, parameters, messages):
        from vtk import vtkStringArray

        name = parameters.get("name") or Path(file_name).name.split(".")[0]
        options = sum(bit for key, bit in _VOLUME_OPTIONS.items() if parameters.get(key))
        files = None
        if parameters.get("fileNames"):
            files = vtkStringArray()
            for entry in parameters["fileNames"]:
                files.InsertNextValue(str(entry))
        logic = self._core.module_logics["Volumes"]
        volume = logic.AddArchetypeVolume(file_name, name, options, files)
        if volume is None:
            return None
        if parameters.get("colorNodeID") and volume.GetDisplayNode():
            volume.GetDisplayNode().SetAndObserveColorNodeID(parameters["colorNodeID"])
        if parameters.get("show", True):
            self._show_in_slice_views(volume)
        return [volume]

    def _show_in_slice_views(self, volume) -> None:
        application_logic = self._core.application_logic
        selection = application_logic.GetSelectionNode()
        if volume.IsA("vtkMRMLLabelMapVolumeNode"):
            selection.SetActiveLabelVolumeID(volume.GetID())
        else:
            selection.SetActiveVolumeID(volume.GetID())
        application_logic.PropagateVolumeSelection()

    def _load_segmentation(self, file_name, parameters, messages):
        colors = self._core.scene.GetNodeByID(parameters.get("colorNodeID") or "")
        segmentation = self._core.module_logics["Segmentations"].LoadSegmentationFromFile(
            file_name,
            bool(parameters.get("autoOpacities", True)),
            parameters.get("name"),
            colors,
            messages,
        )
        return [segmentation] if segmentation else None

    def _load_model(self, file_name, parameters, messages):
        from slicer import vtkMRMLStorageNode

        model = self._core.module_logics["Models"].AddModel(
            file_name,
            parameters.get("coordinateSystem", vtkMRMLStorageNode.CoordinateSystemLPS),
            messages,
        )
        return [model] if model else None

    def _load_table(self, file_name, parameters, messages):
        name = parameters.get("name") or Path(file_name).stem
        table = self._core.module_logics["Tables"].AddTable(file_name, name, True, "", messages)
        return [table] if table else None

    def _load_text(self, file_name, parameters, messages):
        scene = self._core.scene
        storage = scene.AddNewNodeByClass("vtkMRMLTextStorageNode")
        storage.SetFileName(file_name)
        name = parameters.get("name") or Path(file_name).stem
        text = scene.AddNewNodeByClass("vtkMRMLTextNode", scene.GenerateUniqueName(name))
        text.SetAndObserveStorageNodeID(storage.GetID())
        if storage.ReadData(text):
            return [text]
        scene.RemoveNode(text)
        scene.RemoveNode(storage)
        return None

    def _load_markups(self, file_name, parameters, messages):
        node_ids = self._core.module_logics["Markups"].LoadMarkups(
            file_name, parameters.get("name"), messages
        )
        if not node_ids:
            return None
        return [self._core.scene.GetNodeByID(node_id) for node_id in node_ids.split(",")]

    def _load_transform(self, file_name, parameters, messages):
        scene = self._core.scene
        transform = self._core.module_logics["Transforms"].AddTransform(file_name, scene, messages)
        return [transform] if transform else None

    def _load_color_table(self, file_name, parameters, messages):
        colors = self._core.module_logics["Colors"].LoadColorFile(
            file_name, parameters.get("name") or Path(file_name).stem, messages
        )
        return [colors] if colors else None

    def _load_scene(self, file_name, parameters, messages):
        import slicer

        scene = self._core.scene
        clear = bool(parameters.get("clear", False))
        with slicer.app.layoutManager()._views_away():
            if file_name.lower().endswith(".mrb"):
                loaded = scene.ReadFromMRB(file_name, clear, messages)
            else:
                scene.SetURL(file_name)
                scene.SetRootDirectory(os.path.dirname(os.path.abspath(file_name)))
                loaded = scene.Connect(messages) if clear else scene.Import(messages)
        return [] if loaded else None

    # writing

    def saveNodes(self, fileType, parameters, userMessages=None):
        """Writes a node, or the whole scene, to a file; True if that worked."""
        from slicer import vtkMRMLMessageCollection

        messages = vtkMRMLMessageCollection() if userMessages is None else userMessages
        file_name = str(parameters["fileName"])
        if fileType == "SceneFile":
            saved = self._save_scene(file_name, parameters, messages)
        else:
            node = self._core.scene.GetNodeByID(parameters["nodeID"])
            saved = self._save_node(node, file_name, parameters, messages)
        if saved:
            self.fileSaved.emit(dict(parameters))
        return saved

    def saveScene(self, fileName, screenShot=None, userMessages=None):
        return self.saveNodes("SceneFile", {"fileName": fileName}, userMessages)

    def exportNodes(self, nodeIDs, fileNames, parameters, hardenTransform, userMessages=None):
        """Writes copies of nodes, so that their own storage stays as it is."""
        from slicer import vtkMRMLMessageCollection

        messages = vtkMRMLMessageCollection() if userMessages is None else userMessages
        results = [
            self._export_node(node_id, str(file_name), parameters, hardenTransform, messages)
            for node_id, file_name in zip(nodeIDs, fileNames, strict=True)
        ]
        return all(results)

    def _export_node(self, node_id, file_name, parameters, harden, messages):
        node = self._core.scene.GetNodeByID(node_id)
        scene, copy = _copy_in_own_scene(node)
        if harden and node.IsA("vtkMRMLTransformableNode") and node.GetParentTransformNode():
            copy.ApplyTransform(node.GetParentTransformNode().GetTransformToWorld())
        return self._save_node(copy, file_name, parameters, messages)

    def _save_node(self, node, file_name, parameters, messages) -> bool:
        storage = self._storage(node, file_name)
        if storage is None:
            messages.AddMessage(_ERROR_EVENT, f"{node.GetClassName()} cannot be saved")
            return False
        storage.SetFileName(file_name)
        storage.SetURI(None)
        if "useCompression" in parameters:
            storage.SetUseCompression(int(parameters["useCompression"]))
        saved = bool(storage.WriteData(node))
        messages.AddMessages(storage.GetUserMessages())
        return saved

    def _storage(self, node, file_name):
        if not node.IsA("vtkMRMLStorableNode"):
            return None
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(file_name)
        if node.GetStorageNode() is None and node.IsA("vtkMRMLTextNode"):
            # Slicer keeps short texts in the scene unless a file is asked for.
            storage = self._core.scene.AddNewNodeByClass("vtkMRMLTextStorageNode")
            node.SetAndObserveStorageNodeID(storage.GetID())
        return node.GetStorageNode()

    def _save_scene(self, file_name, parameters, messages) -> bool:
        scene = self._core.scene
        path = os.path.abspath(file_name)
        if path.lower().endswith(".mrb"):
            return bool(scene.WriteToMRB(path, parameters.get("screenShot"), messages))
        if path.lower().endswith(".mrml"):
            scene.SetURL(path)
            scene.SetRootDirectory(os.path.dirname(path))
            return bool(scene.Commit(path, messages))
        os.makedirs(path, exist_ok=True)
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None, messages))


# vtkCommand::ErrorEvent
_ERROR_EVENT = 39


def _copy_in_own_scene(node):
    """(a new scene, which must live as long as the copy; the node's copy in it)."""
    from slicer import vtkMRMLScene

    scene = vtkMRMLScene()
    scene.SetDataIOManager(node.GetScene().GetDataIOManager())
    copy = scene.AddNewNodeByClass(node.GetClassName(), node.GetName())
    copy.CopyContent(node)
    return scene, copy


def _string_list(array) -> list[str]:
    return [array.GetValue(index) for index in range(array.GetNumberOfValues())]
