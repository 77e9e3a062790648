# SPDX-License-Identifier: Apache-2.0
"""What the widgets and the logics of all modules have in common.

A module's own class adds what is special about it: its inputs, its result, its buttons.
"""

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from . import dependencies, jobs, panel, samples, settings


class ReadingRoomLogic(ScriptedLoadableModuleLogic):
    """Runs the commands of a library; the result goes into the scene.

    A subclass has ``resultOf(parameterNode)``, ``export(result, folder)`` and ``process(...)``.
    """

    library = ""
    """Importable name of the module's library, such as ``"MuscleSegLib"``."""

    parameterNodeClass = None
    """The module's parameter node, with a ``device``."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = jobs.JobRunner(self.library)

    def getParameterNode(self):
        node = super().getParameterNode()
        isNew = not node.GetParameterNames()
        parameterNode = self.parameterNodeClass(node)
        if isNew:
            parameterNode.device = settings.device()
        return parameterNode

    @property
    def running(self) -> bool:
        """Whether a computation is under way."""
        return self._runner.running

    def cancel(self) -> None:
        """End the computation; nothing of it stays."""
        self._runner.cancel()

    def shutdown(self) -> None:
        """End the computation and the process that is kept for the next one."""
        self._runner.shutdown()


class ReadingRoomWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: inputs, model, Apply, result.

    A subclass calls `setUpPanel` in its ``setup`` and has, of its own:

    - ``chooseInputs(parameterNode)``: inputs that suggest themselves, where there are none yet.
    - ``showParameters(parameterNode)``: what the .ui file alone does not show, such as the models.
    - ``reasonNotToApply()``: what is missing, in a sentence; empty when nothing is.
    - ``startComputation(parameterNode, **callbacks)``: calls the logic's ``process``.
    - ``keepResult(parameterNode, result)``: lets the parameter node refer to the result.
    - ``showResult()``: the result that the scene holds, or none.
    - ``onSampleButton``, ``onResultClicked(row, column)``: what is clicked.
    - ``onShow3D(show)``, ``onVolumeRendering(show)``, ``onOverlay(show)``: what the shared buttons
      do; a button without its method is hidden.
    """

    applyToolTip = ""
    """What Apply will do."""

    resultHeaders = ()
    """Pairs of column title and explanation, of the result table."""

    def needsDeepLearning(self) -> bool:
        """Whether Apply will run a model, so that PyTorch has to be installed."""
        return True

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self.ui = None
        self.sampleLoader = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._shownResult = ()

    def setUpPanel(self, logic, registryPath: str) -> None:
        """Load the module's .ui file, complete it with what all panels share, and connect that.

        :param registryPath: the module's ``models.json``.
        """
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(uiWidget)
        self.panel = panel.ReadingRoomPanel(uiWidget, registryPath, self.onModelChanged)
        self.ui = self.panel.ui
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = logic
        self.sampleLoader = samples.SampleLoader()

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)

        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancelButton)
        self.ui.sampleButton.connect("clicked(bool)", self.onSampleButton)
        self.ui.resultTable.connect("cellClicked(int,int)", self.onResultClicked)
        for button, slot in ((self.ui.show3DButton, "onShow3D"),
                             (self.ui.volumeRenderingButton, "onVolumeRendering"),
                             (self.ui.overlayButton, "onOverlay")):
            if hasattr(self, slot):
                button.connect("toggled(bool)", getattr(self, slot))
            else:
                button.hide()
        self.ui.exportButton.connect("clicked(bool)", self.onExportButton)

    def cleanup(self) -> None:
        """Called when the application closes or the module is reloaded."""
        self.sampleLoader.cancel()
        self.logic.shutdown()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens a different module; a computation goes on."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before the scene is closed."""
        self.sampleLoader.cancel()
        self.logic.cancel()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """Called just after the scene is closed."""
        self.panel.showMessage("")
        self.panel.showResult(self.resultHeaders, None)
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event) -> None:
        """Called when a scene was loaded: it may hold a result."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    # Parameter node

    def initializeParameterNode(self) -> None:
        """Ensure that the parameter node exists and is observed."""
        self.setParameterNode(self.logic.getParameterNode())
        self.chooseInputs(self._parameterNode)

    def setParameterNode(self, parameterNode) -> None:
        """Show and observe a parameter node, or none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent,
                                self.onParameterNodeModified)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            # The node, not its wrapper: the mixin keeps what was ever observed, and there is a
            # new wrapper each time the module is entered.
            self.addObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent,
                             self.onParameterNodeModified)
            self._shownResult = ()
            self.onParameterNodeModified()

    def onParameterNodeModified(self, caller=None, event=None) -> None:
        if not self._parameterNode:
            return
        result = self.logic.resultOf(self._parameterNode)
        if result != self._shownResult:
            self._shownResult = result
            self.showResult()
        self.showParameters(self._parameterNode)
        self._checkCanApply()

    def onModelChanged(self) -> None:
        if self._parameterNode:
            self._parameterNode.model = self.panel.modelName

    def _checkCanApply(self, caller=None, event=None) -> None:
        reason = _("The computation is running.") if self.logic.running else (
            self.reasonNotToApply())
        self.panel.setCanApply(reason, self.applyToolTip)

    # Apply and Cancel

    def onApplyButton(self) -> None:
        """Called when the user presses Apply."""
        self.panel.showMessage("")
        with slicer.util.tryWithErrorDisplay(_("The computation could not be started.")):
            dependencies.ensureDependencies(self.moduleName, self.needsDeepLearning())
            self.startComputation(
                self._parameterNode, onProgress=self.panel.showProgress,
                onFinished=self.onFinished, onFailed=self.onFailed)
            self.panel.setRunning(True)
            self._checkCanApply()

    def onCancelButton(self) -> None:
        """Called when the user presses Cancel."""
        self.logic.cancel()

    def onFinished(self, result) -> None:
        """Called when there is a result."""
        self.panel.setRunning(False)
        self.panel.showMessage("")
        parameterNode = self.logic.getParameterNode()
        with slicer.util.NodeModify(parameterNode.parameterNode):
            self.keepResult(parameterNode, result)
        self._checkCanApply()
        if self._parameterNode:
            self.showResult()

    def onFailed(self, code, sentence, log) -> None:
        """Called when there is none."""
        self.panel.setRunning(False)
        if code == "CANCELLED":
            self.panel.showMessage(sentence)
        else:
            self.panel.showMessage(sentence, log or sentence, isError=True)
        self._checkCanApply()

    # Samples

    def loadSamples(self, sentence: str, samplesByParameter: dict) -> None:
        """Load samples one after the other, each into a parameter.

        :param sentence: what the user reads meanwhile.
        :param samplesByParameter: `samples.Sample` by the name of a parameter.
        """
        self.ui.sampleButton.enabled = False
        self.panel.showMessage(sentence)
        self._loadNextSample(list(samplesByParameter.items()))

    def _loadNextSample(self, waiting) -> None:
        if not waiting:
            self.ui.sampleButton.enabled = True
            self.panel.showMessage("")
            return
        (parameter, sample), *others = waiting

        def loaded(volumeNode):
            setattr(self.logic.getParameterNode(), parameter, volumeNode)
            self._loadNextSample(others)

        self.sampleLoader.load(sample, loaded, self.onSampleFailed)

    def onSampleFailed(self, code, sentence, log) -> None:
        self.ui.sampleButton.enabled = True
        self.panel.showMessage(sentence, log, isError=code != "CANCELLED")

    # Result

    def showStateOfViews(self, *buttonsAndStates) -> None:
        """Let checkable buttons show what the views show, without pressing them."""
        for button, shown in buttonsAndStates:
            blocked = button.blockSignals(True)
            button.checked = shown
            button.blockSignals(blocked)

    def onExportButton(self) -> None:
        """Called when the user wants the result as files."""
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder for the result"))
        if not folder:
            return
        with slicer.util.tryWithErrorDisplay(_("The result cannot be written."), waitCursor=True):
            with self.panel.busy(_("Writing the files...")):
                target = self.logic.export(self.logic.resultOf(self._parameterNode), folder)
            self.panel.showMessage(_("Written to {folder}").format(folder=target))
