# SPDX-License-Identifier: Apache-2.0
import ctk
import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

#
# ReadingRoomCore
#


class ReadingRoomCore(ScriptedLoadableModule):
    """Hidden module: carries the libraries and the settings that all ReadingRoom modules share."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("ReadingRoom Core")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Utilities")]
        self.parent.dependencies = []
        self.parent.contributors = ["ReadingRoom contributors"]
        self.parent.helpText = _("Libraries and settings that the ReadingRoom modules share.")
        self.parent.acknowledgementText = _("Research software, not a medical device.")
        self.parent.hidden = True
        self.settingsPanel = None
        slicer.app.connect("startupCompleted()", self.addSettingsPanel)

    def addSettingsPanel(self):
        """Put our page into Edit / Application Settings."""
        if self.settingsPanel is None and slicer.util.mainWindow():
            self.settingsPanel = ReadingRoomSettingsPanel(self.resourcePath("UI"))
            slicer.app.settingsDialog().addPanel("ReadingRoom", self.settingsPanel)


class ReadingRoomSettingsPanel(ctk.ctkSettingsPanel):
    """Model folder, device and wheel folder, kept by the application."""

    def __init__(self, uiFolder):
        ctk.ctkSettingsPanel.__init__(self)
        from ReadingRoomSlicerLib import settings

        uiWidget = slicer.util.loadUI(f"{uiFolder}/ReadingRoomSettings.ui")
        layout = qt.QVBoxLayout(self)
        layout.addWidget(uiWidget)
        layout.addStretch(1)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        for device in settings.Device:
            self.ui.deviceComboBox.addItem(device.label(), device.value)
        self._keep(settings.MODEL_FOLDER, self.ui.modelFolderEdit, "currentPath",
                   "currentPathChanged(QString)")
        self._keep(settings.WHEEL_FOLDER, self.ui.wheelFolderEdit, "currentPath",
                   "currentPathChanged(QString)")
        self._keep(settings.DEVICE, self.ui.deviceComboBox, "currentUserDataAsString",
                   "currentIndexChanged(int)")

    def _keep(self, key, widget, widgetProperty, signal):
        self.registerProperty(key, widget, widgetProperty, str(qt.SIGNAL(signal)))


class ReadingRoomCoreWidget(ScriptedLoadableModuleWidget):
    """Shown only to developers: the module is hidden."""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        label = qt.QLabel(_("The settings are in Edit / Application Settings / ReadingRoom."))
        label.wordWrap = True
        self.layout.addWidget(label)
        self.layout.addStretch(1)


class ReadingRoomCoreLogic(ScriptedLoadableModuleLogic):
    """There is nothing to compute here."""


class ReadingRoomCoreTest(ScriptedLoadableModuleTest):
    """The libraries can be imported, and nothing heavy comes with them."""

    def runTest(self):
        self.setUp()
        self.test_librariesImport()

    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_librariesImport(self):
        import ReadingRoomLib
        from ReadingRoomSlicerLib import settings
        from ReadingRoomSlicerLib.resources import resourcePath

        self.assertTrue(ReadingRoomLib.__version__)
        self.assertIn(settings.device(), list(settings.Device))
        requirements = slicer.packaging.load_requirements(resourcePath("requirements.txt"))
        self.assertTrue(requirements)
        self.delayDisplay("Test passed")
