# SPDX-License-Identifier: Apache-2.0
"""Off-screen render windows in which Slicer's own displayable managers draw the scene."""

from __future__ import annotations

import numpy as np

from .libraries import require_pictures

_SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)
_THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
_SMALL = 32
_SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swrast", "SWR")


class _Drawing:
    """One off-screen window with one group of displayable managers."""

    def __init__(self, core, factory, manager_names):
        require_pictures()
        import slicer
        from vtkmodules.vtkRenderingCore import (
            vtkRenderer,
            vtkRenderWindow,
            vtkRenderWindowInteractor,
        )

        self._core = core
        self.renderer = vtkRenderer()
        self.render_window = vtkRenderWindow()
        self.render_window.SetOffScreenRendering(1)
        # Depth peeling, which transparent surfaces need, works without multisampling only.
        self.render_window.SetMultiSamples(0)
        self.render_window.SetAlphaBitPlanes(1)
        self.render_window.AddRenderer(self.renderer)
        # Markups and colour legends ask the interactor for the window's size.
        self._interactor = vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.render_window)
        self._interactor.Initialize()
        for name in manager_names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.SetRenderer(self.renderer)
        self._managers.Initialize(factory, self.renderer)

    def resize(self, width: int, height: int) -> None:
        """Size of the picture in pixels."""
        self.render_window.SetSize(int(width), int(height))
        self._interactor.SetSize(int(width), int(height))

    def pixels(self) -> np.ndarray:
        """The picture as it is drawn now: uint8, height x width x 3, first row on top."""
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkRenderingCore import vtkWindowToImageFilter

        self.render_window.Render()
        grabber = vtkWindowToImageFilter()
        grabber.SetInput(self.render_window)
        grabber.SetInputBufferTypeToRGB()
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        columns, rows, _ = image.GetDimensions()
        values = vtk_to_numpy(image.GetPointData().GetScalars())
        return values.reshape(rows, columns, 3)[::-1].copy()

    def attach(self) -> None:
        """Lets the managers follow the scene, from what it holds now."""
        from vtkmodules.vtkCommonCore import vtkObject

        # The markups manager says of its own observers that it has them already.
        shown = vtkObject.GetGlobalWarningDisplay()
        vtkObject.SetGlobalWarningDisplay(0)
        try:
            self._managers.SetMRMLDisplayableNode(self._view_node())
        finally:
            vtkObject.SetGlobalWarningDisplay(shown)

    def detach(self) -> None:
        """Lets the managers forget the scene."""
        self._managers.SetMRMLDisplayableNode(None)

    def close(self) -> None:
        """Frees the window; managers first, as they hold what it draws."""
        self.detach()
        self._managers = None
        self._interactor.SetRenderWindow(None)
        self.render_window.RemoveRenderer(self.renderer)
        self.render_window.Finalize()


class SliceDrawing(_Drawing):
    """A slice view: the slice logic's blended image, and what the managers lay over it."""

    def __init__(self, core, logic):
        import slicer
        from vtkmodules.vtkRenderingCore import vtkActor2D, vtkImageMapper, vtkRenderer

        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        super().__init__(core, factory, _SLICE_MANAGERS)
        self._logic = logic
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self._overlay = vtkRenderer()
        self._overlay.SetLayer(1)
        self.render_window.SetNumberOfLayers(2)
        self.render_window.AddRenderer(self._overlay)
        # The logic's image is in display values already.
        self._mapper = vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        # Before the managers add what they draw: what is added first lies below.
        self._image.VisibilityOff()
        self.renderer.AddViewProp(self._image)
        self.attach()

    def _view_node(self):
        return self._logic.GetSliceNode()

    def resize(self, width, height):
        super().resize(width, height)
        self._logic.ResizeSliceNode(int(width), int(height))

    def pixels(self):
        self._logic.UpdatePipeline()
        connection = self._logic.GetImageDataConnection()
        if connection is not None:
            self._mapper.SetInputConnection(connection)
        self._image.SetVisibility(connection is not None)
        return super().pixels()


class ThreeDDrawing(_Drawing):
    """A 3D view."""

    def __init__(self, core, logic):
        import slicer

        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        super().__init__(core, factory, _THREE_D_MANAGERS)
        self.renderer.SetUseDepthPeeling(True)
        self.renderer.SetUseDepthPeelingForVolumes(True)
        self.renderer.UseFXAAOn()
        self._logic = logic
        self.attach()

    def _view_node(self):
        return self._logic.GetViewNode()

    def _camera(self):
        name = "vtkMRMLCameraDisplayableManager"
        return self._managers.GetDisplayableManagerByClassName(name).GetCameraNode()

    def look_from(self, direction: str) -> None:
        """Turns the camera to "Anterior", "Left", ... of the patient."""
        camera = self._camera()
        camera.RotateTo(getattr(type(camera), direction))

    def reset_focal_point(self) -> None:
        """Looks at the middle of what is visible."""
        bounds = self._visible_bounds()
        if bounds is None:
            return
        middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
        camera = self._camera()
        shift = np.subtract(middle, camera.GetFocalPoint())
        camera.SetPosition(*np.add(camera.GetPosition(), shift))
        camera.SetFocalPoint(*middle)

    def reset_camera(self) -> None:
        """Brings all that is visible into the picture, filling it."""
        bounds = self._visible_bounds()
        if bounds is not None:
            self.renderer.ResetCameraScreenSpace(bounds)
            self.renderer.ResetCameraClippingRange()

    def _visible_bounds(self):
        """Bounds of the visible things, without the box and the letters around them."""
        view = self._logic.GetViewNode()
        shown = view.GetBoxVisible(), view.GetAxisLabelsVisible()
        size = self.render_window.GetSize()
        view.SetBoxVisible(0)
        view.SetAxisLabelsVisible(0)
        # The managers bring their actors up to date when something is drawn; a small picture does.
        self.resize(_SMALL, max(1, _SMALL * size[1] // max(1, size[0])))
        self.render_window.Render()
        bounds = [0.0] * 6
        self.renderer.ComputeVisiblePropBounds(bounds)
        self.resize(*size)
        view.SetBoxVisible(shown[0])
        view.SetAxisLabelsVisible(shown[1])
        return bounds if bounds[0] <= bounds[1] else None

    def pixels(self):
        if not self._is_software():
            return super().pixels()
        view = self._logic.GetViewNode()
        quality = view.GetVolumeRenderingQuality()
        smoothing = view.GetVolumeRenderingSurfaceSmoothing()
        view.SetVolumeRenderingQuality(view.Adaptive)
        view.SetVolumeRenderingSurfaceSmoothing(1)
        try:
            return super().pixels()
        finally:
            view.SetVolumeRenderingQuality(quality)
            view.SetVolumeRenderingSurfaceSmoothing(smoothing)

    def _is_software(self) -> bool:
        """Whether the processor does the graphics card's work, which makes ray casting slow."""
        text = self.render_window.ReportCapabilities()
        return any(name in text for name in _SOFTWARE_RENDERERS)
