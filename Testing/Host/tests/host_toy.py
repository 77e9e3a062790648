# SPDX-License-Identifier: Apache-2.0
"""A small scripted module, written as the desktop's template has it, for the tests of the host."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''
import enum
from typing import Annotated

import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


class HostToy(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Host Toy")
        parent.categories = ["Segmentation"]
        parent.dependencies = [DEPENDENCIES]
        parent.contributors = ["ReadingRoom"]
        parent.helpText = _("A toy.")
        parent.acknowledgementText = ""


@parameterNodeWrapper
class HostToyParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    samples: Annotated[int, WithinRange(1, 50)] = 10
    device: Annotated[str, Choice(["auto", "cpu"])] = "auto"
    sides: bool = True


class HostToyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.events = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/HostToy.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = HostToyLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.parameters = self.logic.getParameterNode()
        self.guiTag = self.parameters.connectGui(self.ui)

    def cleanup(self):
        self.removeObservers()
        self.parameters.disconnectGui(self.guiTag)
        self.events.append("cleanup")

    def enter(self):
        self.events.append("enter")

    def onSceneClose(self, caller, event):
        self.events.append("close")

    def onApply(self, checked):
        self.events.append("apply")


class HostToyLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return HostToyParameterNode(super().getParameterNode())


class HostToyTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.setUp()
        self.delayDisplay("testing", 10)
        self.assertEqual(ANSWER, 42)
'''

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>HostToy</class>
 <widget class="qMRMLWidget" name="HostToy">
  <layout class="QFormLayout" name="formLayout">
   <item row="0" column="0">
    <widget class="QLabel" name="inputLabel">
     <property name="text"><string>CT:</string></property>
    </widget>
   </item>
   <item row="0" column="1">
    <widget class="qMRMLNodeComboBox" name="inputSelector">
     <property name="nodeTypes">
      <stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist>
     </property>
     <property name="addEnabled"><bool>false</bool></property>
     <property name="removeEnabled"><bool>false</bool></property>
     <property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property>
    </widget>
   </item>
   <item row="1" column="1">
    <widget class="QSpinBox" name="samplesBox">
     <property name="SlicerParameterName" stdset="0"><string>samples</string></property>
    </widget>
   </item>
   <item row="2" column="1">
    <widget class="QComboBox" name="deviceBox">
     <property name="SlicerParameterName" stdset="0"><string>device</string></property>
    </widget>
   </item>
   <item row="3" column="1">
    <widget class="QCheckBox" name="sidesBox">
     <property name="SlicerParameterName" stdset="0"><string>sides</string></property>
    </widget>
   </item>
   <item row="4" column="1">
    <widget class="QPushButton" name="applyButton">
     <property name="text"><string>Apply</string></property>
    </widget>
   </item>
  </layout>
 </widget>
 <customwidgets>
  <customwidget>
   <class>qMRMLNodeComboBox</class><extends>QWidget</extends><header>qMRMLNodeComboBox.h</header>
  </customwidget>
  <customwidget>
   <class>qMRMLWidget</class><extends>QWidget</extends><header>qMRMLWidget.h</header>
   <container>1</container>
  </customwidget>
 </customwidgets>
 <resources/>
 <connections>
  <connection>
   <sender>HostToy</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>inputSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
  </connection>
 </connections>
</ui>
"""


def write_toy(folder: Path, answer: int = 42, dependencies: str = "") -> Path:
    """Writes the module into a folder of its own; returns its file."""
    module = folder / "HostToy"
    (module / "Resources" / "UI").mkdir(parents=True, exist_ok=True)
    (module / "Resources" / "UI" / "HostToy.ui").write_text(UI, encoding="utf-8")
    source = SOURCE.replace("ANSWER", str(answer)).replace("DEPENDENCIES", dependencies)
    file = module / "HostToy.py"
    file.write_text(source, encoding="utf-8")
    return file
