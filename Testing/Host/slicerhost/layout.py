# SPDX-License-Identifier: Apache-2.0
"""``slicer.app.layoutManager()``: the views of the layout, with their MRML logics.

A view draws only when a picture is asked of it; until then no OpenGL is needed.
"""

from __future__ import annotations

import contextlib

from .names import DesktopObject

SLICE_VIEW_NAMES = ("Red", "Green", "Yellow")
_AXES = ("Right", "Left", "Posterior", "Anterior", "Inferior", "Superior")


class qMRMLSliceView(DesktopObject):  # noqa: N801  (the desktop's name)
    desktop_class = "qMRMLSliceView"

    def __init__(self, widget):
        super().__init__()
        self._widget = widget

    def mrmlSliceNode(self):
        return self._widget.mrmlSliceNode()

    def renderWindow(self):
        return self._widget._drawing().render_window

    def forceRender(self):
        self.renderWindow().Render()

    def scheduleRender(self):
        """Nothing to do: a picture always shows the scene as it is then."""


class qMRMLSliceControllerWidget(DesktopObject):  # noqa: N801  (the desktop's name)
    desktop_class = "qMRMLSliceControllerWidget"

    def __init__(self, widget):
        super().__init__()
        self._widget = widget

    def fitSliceToBackground(self):
        self._widget.fitSliceToBackground()

    def setSliceOffsetValue(self, offset):
        self._widget.sliceLogic().SetSliceOffset(offset)

    def setForegroundOpacity(self, opacity):
        self._widget.mrmlSliceCompositeNode().SetForegroundOpacity(opacity)

    def setSliceVisible(self, visible):
        self._widget.mrmlSliceNode().SetSliceVisible(int(visible))

    def sliceLogic(self):
        return self._widget.sliceLogic()


class qMRMLSliceWidget(DesktopObject):  # noqa: N801  (the desktop's name)
    """A slice view with its logic."""

    desktop_class = "qMRMLSliceWidget"

    def __init__(self, name: str, core, open_all):
        import slicer

        super().__init__()
        self._core = core
        self._open_all = open_all
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(core.application_logic)
        core.application_logic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(core.scene)
        self._logic.SetSliceNode(core.scene.GetSingletonNode(name, "vtkMRMLSliceNode"))
        self._view = qMRMLSliceView(self)
        self._controller = qMRMLSliceControllerWidget(self)
        self._drawn = None

    def sliceLogic(self):
        return self._logic

    def logic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def mrmlScene(self):
        return self._core.scene

    def sliceView(self):
        return self._view

    def sliceController(self):
        return self._controller

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()
        self._logic.SnapSliceOffsetToIJK()

    def setSliceOrientation(self, orientation):
        self.mrmlSliceNode().SetOrientation(orientation)

    def _open(self):
        from .drawing import SliceDrawing

        self._drawn = SliceDrawing(self._core, self._logic)

    def _drawing(self):
        if self._drawn is None:
            self._open_all()
        return self._drawn

    def _close(self):
        if self._drawn is not None:
            self._drawn.close()
            self._drawn = None
        self._logic.SetMRMLScene(None)
        self._logic.SetMRMLApplicationLogic(None)


class qMRMLThreeDView(DesktopObject):  # noqa: N801  (the desktop's name)
    desktop_class = "qMRMLThreeDView"

    def __init__(self, widget):
        super().__init__()
        self._widget = widget

    def mrmlViewNode(self):
        return self._widget.mrmlViewNode()

    def cameraNode(self):
        cameras = self._widget._core.module_logics["Cameras"]
        return cameras.GetViewActiveCameraNode(self.mrmlViewNode())

    def renderWindow(self):
        return self._widget._drawing().render_window

    def forceRender(self):
        self.renderWindow().Render()

    def scheduleRender(self):
        """Nothing to do: a picture always shows the scene as it is then."""

    def resetFocalPoint(self):
        self._widget._drawing().reset_focal_point()

    def resetCamera(self):
        self._widget._drawing().reset_camera()

    def rotateToViewAxis(self, axisId):
        self._widget._drawing().look_from(_AXES[axisId])


class qMRMLThreeDWidget(DesktopObject):  # noqa: N801  (the desktop's name)
    """A 3D view with its logic."""

    desktop_class = "qMRMLThreeDWidget"

    def __init__(self, name: str, core, open_all):
        import slicer

        super().__init__()
        self._core = core
        self._open_all = open_all
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(core.application_logic)
        core.application_logic.GetViewLogics().AddItem(self._logic)
        # By this name the logic finds the node which the layout has made.
        self._logic.SetName(name)
        self._logic.SetMRMLScene(core.scene)
        self._view = qMRMLThreeDView(self)
        self._drawn = None

    def viewLogic(self):
        return self._logic

    def logic(self):
        return self._logic

    def mrmlViewNode(self):
        return self._logic.GetViewNode()

    def mrmlScene(self):
        return self._core.scene

    def threeDView(self):
        return self._view

    def _open(self):
        from .drawing import ThreeDDrawing

        self._drawn = ThreeDDrawing(self._core, self._logic)

    def _drawing(self):
        if self._drawn is None:
            self._open_all()
        return self._drawn

    def _close(self):
        if self._drawn is not None:
            self._drawn.close()
            self._drawn = None
        self._logic.SetMRMLScene(None)
        self._logic.SetMRMLApplicationLogic(None)


class qSlicerLayoutManager(DesktopObject):  # noqa: N801  (the desktop's name)
    """Views of the layout by name."""

    desktop_class = "qSlicerLayoutManager"
    signals = {"layoutChanged": "layoutChanged(int)"}

    def __init__(self, core):
        import slicer

        super().__init__()
        self._core = core
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLApplicationLogic(core.application_logic)
        self._layout_logic.SetMRMLScene(core.scene)
        # The layout makes the view nodes, with their orientations, labels and colours.
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._slices = {
            name: qMRMLSliceWidget(name, core, self._open_views) for name in SLICE_VIEW_NAMES
        }
        self._three_d = [qMRMLThreeDWidget("1", core, self._open_views)]

    def layoutLogic(self):
        return self._layout_logic

    def mrmlScene(self):
        return self._core.scene

    @property
    def layout(self):
        return self._layout_logic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, layout):
        self._layout_logic.GetLayoutNode().SetViewArrangement(layout)
        self.layoutChanged.emit(layout)

    def sliceViewNames(self):
        return SLICE_VIEW_NAMES

    def sliceWidget(self, name):
        return self._slices.get(name)

    @property
    def threeDViewCount(self):
        return len(self._three_d)

    def threeDWidget(self, index):
        return self._three_d[index] if 0 <= index < len(self._three_d) else None

    @property
    def tableViewCount(self):
        return 0

    @property
    def plotViewCount(self):
        return 0

    def mrmlSliceLogics(self):
        return self._core.application_logic.GetSliceLogics()

    def mrmlViewLogics(self):
        return self._core.application_logic.GetViewLogics()

    def activeMRMLThreeDViewNode(self):
        return self._three_d[0].mrmlViewNode()

    def resetSliceViews(self):
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self):
        for widget in self._three_d:
            widget.threeDView().resetFocalPoint()

    def pauseRender(self):
        import slicer

        return slicer.app.pauseRender()

    def resumeRender(self):
        import slicer

        return slicer.app.resumeRender()

    def _open_views(self):
        """Opens all views at once, as the desktop does when it starts."""
        for widget in (*self._slices.values(), *self._three_d):
            widget._open()
        self._announce_legends()

    @contextlib.contextmanager
    def _views_away(self):
        """No view looks at the scene in here; then all see it as it is.

        While a scene is imported its subject hierarchy holds items that are not in the tree yet.
        A displayable manager that asks about the visibility of such an item never gets an answer
        (vtkMRMLFolderDisplayNode climbs from parent to parent without end).
        """
        drawings = [widget._drawn for widget in (*self._slices.values(), *self._three_d)
                    if widget._drawn is not None]
        for drawing in drawings:
            drawing.detach()
        try:
            yield
        finally:
            for drawing in drawings:
                drawing.attach()
            self._announce_legends()

    def _announce_legends(self):
        """Colour legends are drawn only where a view sees them added."""
        scene = self._core.scene
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode")):
            legend = scene.GetNthNodeByClass(index, "vtkMRMLColorLegendDisplayNode")
            scene.InvokeEvent(scene.NodeAddedEvent, legend)

    def _close(self):
        for widget in (*self._slices.values(), *self._three_d):
            widget._close()
        self._core.application_logic.GetSliceLogics().RemoveAllItems()
        self._core.application_logic.GetViewLogics().RemoveAllItems()
        self._layout_logic.SetMRMLScene(None)
        self._layout_logic.SetMRMLApplicationLogic(None)
