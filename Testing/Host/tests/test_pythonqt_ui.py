# SPDX-License-Identifier: Apache-2.0
"""Loading .ui files, CTK's widgets as they behave, and what a panel looks like."""

from pathlib import Path

import pytest
from PySide6 import QtCore, QtWidgets

from slicerhost import pythonqt

pythonqt.install()

import ctk  # noqa: E402
import qt  # noqa: E402

PANEL = Path(__file__).parent / "data" / "panel.ui"


@pytest.fixture
def panel():
    return pythonqt.load_ui(PANEL)


def child(panel, name):
    return panel.findChild(qt.QWidget, name)


# Loading


def test_classes_and_properties_come_from_the_file(panel):
    slider = child(panel, "samplesSlider")
    assert isinstance(slider, ctk.ctkSliderWidget)
    assert (slider.minimum, slider.maximum, slider.value, slider.decimals) == (2.0, 50.0, 10.0, 0)
    assert slider.property("SlicerParameterName") == "samples"
    assert child(panel, "windowRange").minimumValue == -200.0
    assert child(panel, "sourceSelector").currentText == "CTPelvis"
    assert not child(panel, "applyButton").enabled


def test_tool_tips_of_the_file_wrap_as_those_set_by_code(panel):
    assert child(panel, "sourceSelector").toolTip == "<p>The CT to be read.</p>"


def test_connections_of_the_file_are_made(panel):
    child(panel, "sidesCheckBox").checked = True
    assert child(panel, "applyButton").enabled
    child(panel, "samplesSlider").value = 12
    assert child(panel, "windowRange").maximumValue == 12.0


def altered(tmp_path, old, new):
    text = PANEL.read_text("utf-8")
    assert old in text
    path = tmp_path / "panel.ui"
    path.write_text(text.replace(old, new), "utf-8")
    return path


def test_unknown_class_in_the_file_is_refused(tmp_path):
    path = altered(tmp_path, 'class="ctkRangeWidget"', 'class="ctkNoSuchWidget"')
    with pytest.raises(AttributeError, match="ctkNoSuchWidget"):
        pythonqt.load_ui(path)


def test_property_that_the_class_lacks_is_refused(tmp_path):
    path = altered(tmp_path, 'name="collapsed"', 'name="folded"')
    with pytest.raises(ValueError, match="has no property 'folded'"):
        pythonqt.load_ui(path)


def test_enum_values_of_the_file_are_understood(panel):
    edit = child(panel, "folderEdit")
    assert edit.filters == edit.Dirs | edit.Writable
    assert child(panel, "samplesSlider").spinBoxAlignment == qt.Qt.AlignRight | qt.Qt.AlignVCenter
    assert child(panel, "resultsTable").selectionMode == qt.QAbstractItemView.SingleSelection


def test_unknown_enum_value_is_refused(tmp_path):
    path = altered(tmp_path, "ctkPathLineEdit::Writable", "ctkPathLineEdit::Writeable")
    with pytest.raises(ValueError, match="ctkPathLineEdit::Writeable"):
        pythonqt.load_ui(path)


def test_connection_that_cannot_be_made_is_refused(tmp_path):
    path = altered(tmp_path, "<signal>toggled(bool)</signal>", "<signal>toggle(bool)</signal>")
    with pytest.raises(ValueError, match=r"sidesCheckBox\.toggle\(bool\)"):
        pythonqt.load_ui(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        pythonqt.load_ui(tmp_path / "none.ui")


class SceneWidget(QtWidgets.QWidget):
    """Stands for a MRML widget: passes any Python object on."""

    mrmlSceneChanged = QtCore.Signal(object)
    scene = None

    def setMRMLScene(self, scene):
        self.scene = scene
        self.mrmlSceneChanged.emit(scene)


SCENE_UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><widget class="qMRMLWidget" name="top"><layout class="QVBoxLayout" name="l">
<item><widget class="qMRMLWidget" name="inner"/></item></layout></widget>
<customwidgets><customwidget><class>qMRMLWidget</class><extends>QWidget</extends>
<container>1</container></customwidget></customwidgets>
<connections><connection><sender>top</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>inner</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>
"""


def test_registered_class_passes_vtk_objects_along(tmp_path, monkeypatch):
    from slicerhost.pythonqt import ui, wrapper

    monkeypatch.setattr(wrapper, "_class_of_native", dict(wrapper._class_of_native))
    monkeypatch.setattr(ui, "uic_class_registry", dict(ui.uic_class_registry))
    cls = pythonqt.register_widget_class("qMRMLWidget", SceneWidget)
    path = tmp_path / "scene.ui"
    path.write_text(SCENE_UI, "utf-8")
    top, scene, heard = pythonqt.load_ui(path), object(), []
    assert isinstance(top, cls) and top.className() == "qMRMLWidget"
    assert top.connect("mrmlSceneChanged(vtkMRMLScene*)", heard.append) is True
    top.setMRMLScene(scene)
    assert pythonqt.unwrap(top.findChild(cls, "inner")).scene is scene
    assert heard == [scene]


def test_qt_loader_reads_the_same_classes():
    device = qt.QFile(str(PANEL))
    device.open(qt.QFile.ReadOnly)
    assert isinstance(child(qt.QUiLoader().load(device), "folderEdit"), ctk.ctkPathLineEdit)


# CTK's widgets


def test_collapsed_section_hides_its_content_and_is_as_low_as_its_heading(panel):
    panel.show()
    qt.QApplication.processEvents()
    section, box = child(panel, "advancedCollapsibleButton"), child(panel, "sidesCheckBox")
    low = section.height
    assert not box.visible
    section.collapsed = False
    qt.QApplication.processEvents()
    assert box.visible and section.height > low
    section.click()
    qt.QApplication.processEvents()
    assert section.collapsed and section.height == low


def test_what_was_hidden_while_collapsed_stays_hidden():
    section, heard = ctk.ctkCollapsibleButton(), []
    layout = qt.QVBoxLayout(section)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    layout.addWidget(shown)
    layout.addWidget(hidden)
    hidden.setVisible(False)
    section.connect("contentsCollapsed(bool)", heard.append)
    section.show()
    section.collapsed = True
    section.collapsed = False
    assert shown.visible and not hidden.visible
    assert heard == [True, False]


def test_slider_widget_signals_and_limits():
    slider, heard = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", heard.append)
    slider.maximum = 10
    slider.value = 7
    slider.value = 99
    assert heard == [7.0, 10.0]
    slider.maximum = 5
    assert (slider.value, heard[-1]) == (5.0, 5.0)
    slider.suffix = " mm"
    assert slider.suffix == " mm"


def test_value_between_two_steps_is_kept():
    slider = ctk.ctkSliderWidget()
    slider.singleStep = 5
    slider.value = 7.25
    assert slider.value == 7.25


def test_range_widget_keeps_low_below_high():
    bounds, heard = ctk.ctkRangeWidget(), []
    bounds.setRange(0, 100)
    bounds.connect("valuesChanged(double,double)", lambda low, high: heard.append((low, high)))
    bounds.setValues(20, 60)
    bounds.minimumValue = 80
    assert (bounds.minimumValue, bounds.maximumValue) == (60.0, 60.0)
    assert heard == [(20.0, 60.0), (60.0, 60.0)]


def test_range_slider_is_dragged_with_the_mouse():
    slider = pythonqt.unwrap(ctk.ctkDoubleRangeSlider())
    slider.resize(212, 22)
    from PySide6.QtTest import QTest

    QTest.mousePress(slider, QtCore.Qt.MouseButton.LeftButton, pos=QtCore.QPoint(6, 11))
    QTest.mouseMove(slider, QtCore.QPoint(106, 11))
    QTest.mouseRelease(slider, QtCore.Qt.MouseButton.LeftButton, pos=QtCore.QPoint(106, 11))
    assert slider.minimumValue == pytest.approx(49.5, abs=0.5)
    assert slider.maximumValue == 99.0


def test_path_line_edit_tells_of_paths_and_whether_they_exist(tmp_path):
    edit, paths, valid = ctk.ctkPathLineEdit(), [], []
    edit.connect("currentPathChanged(QString)", paths.append)
    edit.connect("validInputChanged(bool)", valid.append)
    edit.currentPath = str(tmp_path)
    edit.currentPath = str(tmp_path / "none")
    assert paths == [str(tmp_path), str(tmp_path / "none")]
    assert valid == [True, False]


def test_directory_button(tmp_path):
    button, heard = ctk.ctkDirectoryButton(), []
    button.directoryChanged.connect(heard.append)
    button.directory = str(tmp_path)
    button.directory = str(tmp_path)
    assert (button.directory, heard) == (str(tmp_path), [str(tmp_path)])


def test_checkable_combo_box():
    combo, heard = ctk.ctkCheckableComboBox(), []
    combo.checkedIndexesChanged.connect(lambda: heard.append(len(combo.checkedIndexes())))
    combo.addItem("a")
    combo.addItem("b")
    combo.setCheckState(combo.model().index(1, 0), qt.Qt.Checked)
    assert [index.row() for index in combo.checkedIndexes()] == [1]
    assert heard[-1] == 1 and not combo.allChecked() and not combo.noneChecked()


def test_colour_button_and_combo_box_user_data():
    button, heard = ctk.ctkColorPickerButton(), []
    button.colorChanged.connect(lambda colour: heard.append(colour.name()))
    button.color = qt.QColor(255, 0, 0)
    assert (button.text, heard) == ("#ff0000", ["#ff0000"])
    combo = ctk.ctkComboBox()
    combo.addItem("Modern", "modern")
    combo.addItem("Published", "seed")
    combo.currentUserDataAsString = "seed"
    assert combo.currentText == "Published"


def test_settings_panel_restores_and_stores(tmp_path):
    settings = qt.QSettings(str(tmp_path / "settings.ini"), qt.QSettings.IniFormat)
    settings.setValue("ReadingRoom/Warm", True)
    page, heard = ctk.ctkSettingsPanel(), []
    warm, folder = qt.QCheckBox(), ctk.ctkPathLineEdit()
    page.settings = settings
    page.settingChanged.connect(lambda key, value: heard.append((key, value)))
    page.registerProperty("ReadingRoom/Warm", warm, "checked", qt.SIGNAL("toggled(bool)"))
    page.registerProperty(
        "ReadingRoom/Cache", folder, "currentPath", "currentPathChanged(QString)", "Cache",
        ctk.ctkSettingsPanel.OptionRequireRestart,
    )  # fmt: skip
    assert warm.checked
    folder.currentPath = str(tmp_path)
    assert settings.value("ReadingRoom/Cache") == str(tmp_path)
    assert heard == [("ReadingRoom/Cache", str(tmp_path))]


# The picture


def test_panel_is_drawn_light_with_headings_and_triangles(panel, tmp_path):
    panel.setFixedWidth(500)
    panel.show()
    qt.QApplication.processEvents()
    path = tmp_path / "panel.png"
    assert panel.grab().save(str(path))
    image = qt.QImage(str(path))
    assert image.width() == 500
    section = child(panel, "inputsCollapsibleButton")
    corner = section.pos
    background = qt.QColor(image.pixel(2, 2))
    heading = qt.QColor(image.pixel(corner.x() + 200, corner.y() + 4))
    assert background.lightness() > 220 and heading.lightness() > background.lightness()
    # The triangle is dark, and stands left of the heading's text.
    area = range(corner.x() + 4, corner.x() + 18), range(corner.y() + 4, corner.y() + 18)
    shades = [qt.QColor(image.pixel(x, y)).lightness() for x in area[0] for y in area[1]]
    assert min(shades) < 120
