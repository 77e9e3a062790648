# SPDX-License-Identifier: Apache-2.0
"""The MRML side of the application: scene, application logic and module logics of slicer-core."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from .hierarchy import HierarchyFiller

# Its share folder holds the colour tables that Slicer reads from files: matplotlib's perceptually
# uniform maps (CC0), which Slicer has under the same names, and GenericColors for label maps, which
# has other colours than Slicer's own.
HOME_FOLDER = Path(__file__).resolve().parent

# Module name -> (title, logic class).
LOADABLE_MODULES = {
    "Annotations": ("Annotations", "vtkSlicerAnnotationModuleLogic"),
    "Cameras": ("Cameras", "vtkSlicerCamerasModuleLogic"),
    "Colors": ("Colors", "vtkSlicerColorLogic"),
    "CropVolume": ("Crop Volume", "vtkSlicerCropVolumeLogic"),
    "Data": ("Data", "vtkSlicerDataModuleLogic"),
    "Markups": ("Markups", "vtkSlicerMarkupsLogic"),
    "Models": ("Models", "vtkSlicerModelsLogic"),
    "Plots": ("Plots", "vtkSlicerPlotsLogic"),
    "Reformat": ("Reformat", "vtkSlicerReformatLogic"),
    "SceneViews": ("Scene Views", "vtkSlicerSceneViewsModuleLogic"),
    "Segmentations": ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    "Sequences": ("Sequences", "vtkSlicerSequencesLogic"),
    "SubjectHierarchy": ("Subject Hierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    "Tables": ("Tables", "vtkSlicerTablesLogic"),
    "Terminologies": ("Terminologies", "vtkSlicerTerminologiesModuleLogic"),
    "Texts": ("Texts", "vtkSlicerTextsLogic"),
    "Transforms": ("Transforms", "vtkSlicerTransformLogic"),
    "Units": ("Units", "vtkSlicerUnitsLogic"),
    "ViewControllers": ("View Controllers", "vtkSlicerViewControllersLogic"),
    "VolumeRendering": ("Volume Rendering", "vtkSlicerVolumeRenderingLogic"),
    "Volumes": ("Volumes", "vtkSlicerVolumesLogic"),
}
_SHARE_SUBFOLDERS = {"Terminologies": "terminologies"}


def resources_folder() -> Path:
    """Slicer's own presets and terminologies, which the trame-slicer package carries."""
    location = importlib.util.find_spec("trame_slicer").submodule_search_locations[0]
    return Path(location) / "resources"


class MRMLCore:
    """One scene with the logics that the desktop application keeps for it."""

    def __init__(self, temporary_path: Path):
        import slicer
        from vtk import vtkCollection

        self.scene = slicer.vtkMRMLScene()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self.application_logic.SetTemporaryPath(str(temporary_path))
        self.application_logic.SetHomeDirectory(str(HOME_FOLDER))
        self.application_logic.SetShareDirectory("share")
        self.application_logic.SetMRMLScene(self.scene)
        self.application_logic.SetSliceLogics(vtkCollection())
        self.application_logic.SetViewLogics(vtkCollection())
        for factory in _displayable_manager_factories():
            factory.SetMRMLApplicationLogic(self.application_logic)

        self.module_logics = {name: self._add_logic(name) for name in LOADABLE_MODULES}
        self._hierarchy_filler = HierarchyFiller(self.scene)
        self._set_up_colors()
        self._set_up_file_access(temporary_path)
        patient_right_is_screen_left = True
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(
            self.scene, patient_right_is_screen_left
        )
        self.module_logics["VolumeRendering"].ChangeVolumeRenderingMethod(
            "vtkMRMLGPURayCastVolumeRenderingDisplayNode"
        )

    def _add_logic(self, name: str):
        import slicer

        logic = getattr(slicer, LOADABLE_MODULES[name][1])()
        share = resources_folder() / _SHARE_SUBFOLDERS.get(name, "")
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(str(share))
        logic.SetMRMLApplicationLogic(self.application_logic)
        logic.SetMRMLScene(self.scene)
        self.application_logic.SetModuleLogic(name, logic)
        return logic

    def _set_up_colors(self) -> None:
        colors = self.module_logics["Colors"]
        self.application_logic.SetColorLogic(colors)
        colors.AddDefaultColorNodes()

    def _set_up_file_access(self, temporary_path: Path) -> None:
        """Without a data manager in the scene, storage nodes cannot open what is in a bundle."""
        import slicer

        cache = tempfile.mkdtemp(prefix="RemoteIO", dir=temporary_path)
        self._remote_io = slicer.vtkMRMLRemoteIOLogic()
        self._remote_io.SetMRMLScene(self.scene)
        self._remote_io.SetMRMLApplicationLogic(self.application_logic)
        self._remote_io.GetCacheManager().SetRemoteCacheDirectory(cache)
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetMRMLScene(self.scene)
        self._data_io.SetMRMLApplicationLogic(self.application_logic)
        self._data_io.SetAndObserveDataIOManager(self._remote_io.GetDataIOManager())
        self._remote_io.AddDataIOToScene()

    def close(self) -> None:
        """Takes scene and logics apart in the order in which they let go of each other."""
        self._hierarchy_filler.close()
        self.scene.Clear(True)
        for factory in _displayable_manager_factories():
            factory.SetMRMLApplicationLogic(None)
        for name in self.module_logics:
            self.application_logic.SetModuleLogic(name, None)
        # The logics let go of the scene when they are deleted.
        self.module_logics = {}
        self._data_io = self._remote_io = None
        self.application_logic.SetMRMLScene(None)
        self.scene = None


def _displayable_manager_factories():
    import slicer

    return (
        slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(),
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(),
    )
