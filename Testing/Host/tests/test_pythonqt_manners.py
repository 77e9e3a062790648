# SPDX-License-Identifier: Apache-2.0
"""How objects, signals, subclasses and values behave where the recording asks no question.

The reference is PythonQt's own source: order of look-up, messages, what a slot receives.
"""

import gc
import sys
import weakref

import pytest

from slicerhost import pythonqt

pythonqt.install()

import ctk  # noqa: E402
import qt  # noqa: E402


@pytest.fixture
def widget():
    return qt.QWidget()


def test_install_twice_keeps_the_modules():
    before = sys.modules["qt"]
    pythonqt.install()
    assert sys.modules["qt"] is before
    assert qt.QApplication.instance() is not None


# Attributes


def test_property_does_not_exist_on_the_class():
    with pytest.raises(AttributeError, match="has no attribute 'text'"):
        qt.QPushButton.text  # noqa: B018


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("click", "Slot 'click' can not be overwritten on QPushButton object"),
        ("clicked", "Signal 'clicked' can not be overwritten on QPushButton object"),
        ("RenderFlag", "Enum 'RenderFlag' can not be overwritten on QPushButton object"),
        ("DrawChildren", "EnumValue 'DrawChildren' can not be overwritten on QPushButton object"),
        ("width", "Property 'width' of QPushButton object is not writable"),
        ("nosuch", "'nosuch' does not exist on QPushButton and creating new attributes"),
    ],
)
def test_what_cannot_be_set_says_why(name, message):
    with pytest.raises(AttributeError) as raised:
        setattr(qt.QPushButton("a"), name, 1)
    assert message in str(raised.value)


def test_property_of_the_wrong_type_is_refused():
    with pytest.raises(AttributeError, match="of type 'bool' does not accept .* str"):
        qt.QPushButton("a").enabled = "yes"


def test_text_property_takes_the_text_of_anything():
    label = qt.QLabel()
    label.text = 5
    assert label.text == "5"


def test_name_of_a_newer_qt_is_unknown(widget):
    # accessibleIdentifier came with Qt 6: PySide6 has it, the desktop does not.
    with pytest.raises(AttributeError, match="QWidget has no attribute"):
        widget.accessibleIdentifier  # noqa: B018
    with pytest.raises(AttributeError, match="creating new attributes"):
        widget.accessibleIdentifier = "a"


def test_name_that_qt6_dropped_says_that_the_host_is_the_reason():
    with pytest.raises(AttributeError, match="exists on the desktop, but this host"):
        qt.QVBoxLayout().setMargin(3)


def test_dynamic_property_becomes_an_attribute(widget):
    widget.setProperty("SlicerParameterName", "threshold")
    assert widget.SlicerParameterName == "threshold"
    widget.SlicerParameterName = "other"
    assert widget.property("SlicerParameterName") == "other"


def test_child_is_found_by_its_object_name(widget):
    child = qt.QPushButton(widget)
    child.objectName = "applyButton"
    assert widget.applyButton is child


def test_other_spellings_that_pythonqt_takes(widget):
    getattr(widget, "raise")()
    widget.raise_()
    dialog = qt.QDialog()
    qt.QTimer.singleShot(0, dialog.accept)
    assert dialog.exec_() == qt.QDialog.Accepted
    widget.name = "panel"
    assert (widget.objectName, widget.name) == ("panel", "panel")
    with pytest.raises(AttributeError, match="no attribute named 'text_'"):
        qt.QLabel().text_  # noqa: B018


def test_keyword_arguments_are_refused(widget):
    with pytest.raises(ValueError, match="does not support kwargs"):
        widget.resize(w=3, h=4)
    with pytest.raises(ValueError, match="keyword arguments"):
        qt.QPushButton(text="a")


@pytest.mark.parametrize("arguments", [(), (1, 2), ([],)])
def test_wrong_arguments_raise_value_error(arguments):
    with pytest.raises(ValueError, match=r"Called QPushButton\.setText with wrong arguments"):
        qt.QPushButton("a").setText(*arguments)


def test_abstract_class_has_no_constructor():
    with pytest.raises(ValueError, match="No constructors available for QAbstractItemView"):
        qt.QAbstractItemView()


# Enums and flags


def test_enums_are_unscoped_integers():
    assert qt.QMessageBox.Yes | qt.QMessageBox.No == 0x14000
    assert type(qt.QMessageBox.Yes).__name__ == "StandardButton"
    with pytest.raises(AttributeError):
        qt.QSizePolicy.Policy.Expanding  # noqa: B018


def test_integers_do_for_enums_in_calls_and_properties():
    label = qt.QLabel()
    label.setAlignment(qt.Qt.AlignLeft | qt.Qt.AlignTop)
    assert (label.alignment, type(label.alignment)) == (33, int)
    label.alignment = qt.Qt.AlignCenter
    assert label.alignment == 132
    label.setSizePolicy(qt.QSizePolicy.Expanding, 0)
    assert label.sizePolicy.horizontalPolicy() == qt.QSizePolicy.Expanding
    item = qt.QTableWidgetItem("a")
    item.setFlags(item.flags() & ~qt.Qt.ItemIsEditable)
    assert not item.flags() & qt.Qt.ItemIsEditable
    item.setData(qt.Qt.UserRole, {"key": 1})
    assert item.data(qt.Qt.UserRole) == {"key": 1}


# Signals


def test_slot_receives_as_many_arguments_as_it_takes():
    spin, received = qt.QSpinBox(), []
    spin.valueChanged.connect(lambda: received.append("none"))
    spin.valueChanged.connect(lambda value: received.append(value))
    # A default value counts as an argument for PythonQt: the signal fills it.
    spin.valueChanged.connect(lambda value, extra="kept": received.append((value, extra)))
    spin.value = 3
    assert received == ["none", 3, (3, "kept")]


def test_slot_of_an_object_gets_every_argument(monkeypatch, widget):
    shown, button = [], qt.QPushButton("a")
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, trace: shown.append(value))
    button.clicked.connect(widget.close)
    button.connect("clicked()", widget.show)
    button.click()
    assert "Called QWidget.close with wrong arguments: (" in str(shown[0])
    assert widget.visible


def test_bound_method_is_kept_alive_and_called():
    class Listener:
        heard = 0

        def hear(self, value):
            type(self).heard = value

    spin = qt.QSpinBox()
    spin.valueChanged.connect(Listener().hear)
    gc.collect()
    spin.value = 4
    assert Listener.heard == 4


def test_disconnect_one_and_all():
    spin, received = qt.QSpinBox(), []
    for _ in range(2):
        spin.connect("valueChanged(int)", received.append)
    assert spin.disconnect("valueChanged(int)", received.append) is True
    spin.value = 1
    assert received == [1]
    assert spin.valueChanged.disconnect() is True
    spin.value = 2
    assert received == [1]
    assert spin.valueChanged.disconnect(received.append) is False


def test_connect_to_a_slot_of_another_object(widget):
    check = qt.QCheckBox()
    assert check.connect("toggled(bool)", widget, "setDisabled(bool)") is True
    check.checked = True
    assert not widget.enabled
    assert check.connect("toggled(bool)", widget, "noSuchSlot()") is False


def test_unknown_signal_is_reported(capsys):
    assert qt.QCheckBox().connect("toggle(bool)", print) is False
    assert "signal 'toggle(bool)' does not exist on QCheckBox" in capsys.readouterr().err


@pytest.mark.parametrize(
    "signature", ["currentIndexChanged(QString)", "currentTextChanged(QString)"]
)
def test_qt5_spelling_of_a_signal_still_works(signature):
    combo, received = qt.QComboBox(), []
    combo.addItems(["a", "b"])
    assert combo.connect(signature, received.append) is True
    combo.setCurrentIndex(1)
    assert received == ["b"]


def test_first_overload_of_finished_carries_the_exit_code_alone():
    process, received = qt.QProcess(), []
    process.finished.connect(lambda *args: received.append(args))
    process.start(sys.executable, ["-c", "raise SystemExit(3)"])
    assert process.waitForFinished(10000)
    assert received == [(3,)]


def test_error_in_a_slot_is_shown_and_does_not_stop_the_others(monkeypatch):
    shown, spin, received = [], qt.QSpinBox(), []
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, trace: shown.append(value))
    spin.valueChanged.connect(lambda value: 1 / 0)
    spin.valueChanged.connect(received.append)
    spin.value = 1
    assert [type(error) for error in shown] == [ZeroDivisionError]
    assert received == [1]


def test_signal_of_a_python_class():
    class Worker(qt.QObject):
        done = qt.Signal(int)
        failed = qt.Signal(str, int)

    worker, received = Worker(), []
    assert worker.done.connect(received.append) is True
    assert worker.connect("failed(QString,int)", lambda *args: received.append(args)) is True
    worker.done.emit(7)
    worker.failed.emit("disk", 2)
    assert received == [7, ("disk", 2)]


def test_single_shot_timer_fires():
    received = []
    qt.QTimer.singleShot(0, lambda: received.append("fired"))
    for _ in range(50):
        qt.QApplication.processEvents()
        if received:
            break
    assert received == ["fired"]


# Objects and their lives


def test_wrapper_is_the_same_for_the_same_object(widget):
    layout = qt.QVBoxLayout(widget)
    button = qt.QPushButton("a")
    layout.addWidget(button)
    assert layout.itemAt(0).widget() is button
    assert widget.layout() is layout
    assert button.parent() == widget


def test_python_lets_go_and_the_object_is_destroyed():
    parent = qt.QWidget()
    child = qt.QPushButton("a", parent)
    del parent
    gc.collect()
    with pytest.raises(ValueError, match="Trying to read property 'text' from a destroyed"):
        child.text  # noqa: B018
    with pytest.raises(ValueError, match="Trying to call 'click' on a destroyed"):
        child.click()
    with pytest.raises(AttributeError, match="Trying to set property 'text' on a destroyed"):
        child.text = "b"
    assert not child


def test_subclass_with_a_parent_lives_as_long_as_its_parent(widget):
    class Remembering(qt.QLabel):
        def __init__(self, parent):
            qt.QLabel.__init__(self, parent)
            self.memory = "kept"

    Remembering(widget)
    gc.collect()
    assert widget.findChild(qt.QLabel, "").memory == "kept"


def test_subclass_without_a_parent_is_collected():
    class Plain(qt.QObject):
        pass

    reference = weakref.ref(Plain())
    gc.collect()
    assert reference() is None


def test_virtual_methods_reach_the_subclass():
    class Sized(qt.QWidget):
        def __init__(self, parent=None):
            super().__init__(parent)
            self.sizes = []

        def resizeEvent(self, event):
            self.sizes.append((event.size().width(), event.size().height()))
            qt.QWidget.resizeEvent(self, event)

        def sizeHint(self):
            return qt.QSize(123, 45)

    sized = Sized()
    sized.show()
    assert sized.sizes[-1] == (123, 45)
    sized.resize(200, 100)
    assert sized.sizes[-1] == (200, 100)
    with pytest.raises(AttributeError):
        super(Sized, sized).resizeEvent(None)


def test_event_filter_in_python(widget):
    class Filter(qt.QObject):
        seen = False

        def eventFilter(self, watched, event):
            if event.type() == qt.QEvent.EnabledChange:
                type(self).seen = watched is widget
            return False

    watcher = Filter()
    widget.installEventFilter(watcher)
    widget.enabled = False
    assert Filter.seen


def test_model_in_python():
    class Squares(qt.QAbstractTableModel):
        def rowCount(self, parent=None):
            return 3

        def columnCount(self, parent=None):
            return 1

        def data(self, index, role):
            return str(index.row() ** 2) if role == qt.Qt.DisplayRole else None

    model, view = Squares(), qt.QTableView()
    view.setModel(model)
    assert model.index(2, 0).data() == "4"
    assert view.model() is model


def test_find_children_by_class_by_name_and_by_class_name(widget):
    layout = qt.QVBoxLayout(widget)
    for name in ("first", "second"):
        button = qt.QPushButton(name)
        button.objectName = name
        layout.addWidget(button)
    assert [found.text for found in widget.findChildren(qt.QPushButton)] == ["first", "second"]
    assert widget.findChild("QPushButton", "second").text == "second"
    assert len(widget.findChildren("QAbstractButton")) == 2
    assert widget.findChild(qt.QLabel) is None


def test_class_name_and_inheritance():
    slider = ctk.ctkSliderWidget()
    assert slider.className() == "ctkSliderWidget"
    assert slider.inherits("QWidget") and not slider.inherits("QSlider")
    assert isinstance(slider, qt.QWidget)


# Values and containers


def test_values_compare_and_print():
    assert qt.QSize(1, 2) + qt.QSize(3, 4) == qt.QSize(4, 6)
    assert str(qt.QRect(1, 2, 3, 4)) == "1, 2, 3, 4"
    assert repr(qt.QSize(1, 2)).startswith("QSize (1, 2, at: 0x")
    assert qt.QColor("red").name() == "#ff0000"
    assert qt.QColor(255, 0, 0) == qt.QColor("red")


def test_lists_come_back_as_tuples():
    box = qt.QListWidget()
    box.addItems(["a", "b"])
    box.item(0).setSelected(True)
    assert [item.text() for item in box.selectedItems()] == ["a"]
    assert isinstance(box.selectedItems(), tuple)
    edit = ctk.ctkPathLineEdit()
    edit.nameFilters = ["NRRD (*.nrrd)"]
    assert edit.nameFilters == ("NRRD (*.nrrd)",)


def test_file_dialogs_answer_with_the_path_alone():
    qt.QTimer.singleShot(0, lambda: qt.QApplication.activeModalWidget().reject())
    options = qt.QFileDialog.DontUseNativeDialog
    assert qt.QFileDialog.getOpenFileName(None, "Open", "", "*.nrrd", "", options) == ""


def test_settings_keep_types_in_a_file(tmp_path):
    path = str(tmp_path / "settings.ini")
    settings = qt.QSettings(path, qt.QSettings.IniFormat)
    settings.setValue("ReadingRoom/Device", "cpu")
    settings.setValue("ReadingRoom/Recent", ["a", "b"])
    settings.sync()
    again = qt.QSettings(path, qt.QSettings.IniFormat)
    assert again.value("ReadingRoom/Device") == "cpu"
    assert again.value("ReadingRoom/Recent") == ("a", "b")
    assert again.contains("ReadingRoom/Device") and not again.contains("ReadingRoom/None")
