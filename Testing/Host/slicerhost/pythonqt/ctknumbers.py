# SPDX-License-Identifier: Apache-2.0
"""CTK's widgets for numbers and ranges, as PySide6 classes."""

from __future__ import annotations

import enum

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from .natives import StoredProperty, fill_width, forwarded, quiet, row_layout, split_arguments

HORIZONTAL = QtCore.Qt.Orientation.Horizontal
POSITIONS = 10_000  # steps of the integer slider underneath a double slider


class DoubleSpinBox(QtWidgets.QWidget):
    """ctkDoubleSpinBox: a spin box for floating-point numbers."""

    class SetMode(enum.IntEnum):
        SetIfDifferent = 0
        SetAlways = 1

    class DecimalsOption(enum.IntFlag):
        FixedDecimals = 0x0
        DecimalsByShortcuts = 0x1
        DecimalsByKey = 0x2
        DecimalsByValue = 0x4
        DecimalsAsMax = 0x8
        DecimalsAsMin = 0x10
        ReplaceDecimals = 0x20
        InsertDecimals = 0x40
        DecimalPointAlwaysVisible = 0x80

    class SizeHintPolicy(enum.IntEnum):
        SizeHintByMinMax = 0
        SizeHintByValue = 1

    valueChanged = Signal((float,), (str,))
    editingFinished = Signal()
    decimalsChanged = Signal(int)

    def __init__(self, *arguments):
        super().__init__(split_arguments(arguments)[1])
        self.box = QtWidgets.QDoubleSpinBox(self)
        row_layout(self, self.box)
        fixed = QtWidgets.QSizePolicy.Policy.Fixed
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, fixed)
        self.box.valueChanged.connect(self._announce)
        self.box.editingFinished.connect(self.editingFinished)

    def _announce(self, value: float) -> None:
        self.valueChanged[float].emit(value)
        self.valueChanged[str].emit(self.box.text())

    value = forwarded("box", "value", float)
    minimum = forwarded("box", "minimum", float)
    maximum = forwarded("box", "maximum", float)
    singleStep = forwarded("box", "singleStep", float)
    decimals = forwarded("box", "decimals", int)
    prefix = forwarded("box", "prefix", str)
    suffix = forwarded("box", "suffix", str)
    cleanText = forwarded("box", "cleanText", str)
    alignment = forwarded("box", "alignment", int)
    readOnly = forwarded("box", "readOnly", bool)
    frame = forwarded("box", "frame", bool)
    invertedControls = StoredProperty(bool, False)
    decimalsOption = StoredProperty(int, 0)
    sizeHintPolicy = StoredProperty(int, 0)

    @Slot(float)
    def setValue(self, value):
        self.box.setValue(value)

    setValueIfDifferent = setValue

    @Slot(int)
    def setDecimals(self, decimals):
        self.box.setDecimals(decimals)
        self.decimalsChanged.emit(decimals)

    @Slot(bool)
    def setReadOnly(self, read_only):
        self.box.setReadOnly(read_only)

    @Slot()
    def stepUp(self):
        self.box.stepUp()

    @Slot()
    def stepDown(self):
        self.box.stepDown()


class DoubleSlider(QtWidgets.QWidget):
    """ctkDoubleSlider: a slider over floating-point numbers.

    The number is kept as it was set; the position of the handle only shows it.
    """

    valueChanged = Signal(float)
    sliderMoved = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)

    def __init__(self, *arguments):
        values, parent = split_arguments(arguments)
        super().__init__(parent)
        self._minimum, self._maximum, self._value = 0.0, 99.99, 0.0
        self.slider = QtWidgets.QSlider(QtCore.Qt.Orientation(*values) if values else HORIZONTAL)
        self.slider.setRange(0, POSITIONS)
        row_layout(self, self.slider)
        fill_width(self)
        self.slider.valueChanged.connect(self._handle_moved)
        self.slider.sliderPressed.connect(self.sliderPressed)
        self.slider.sliderReleased.connect(self._handle_released)

    def _position_value(self) -> float:
        span = self._maximum - self._minimum
        value = self._minimum + span * self.slider.sliderPosition() / POSITIONS
        step = self.singleStep or 1.0
        value = self._minimum + round((value - self._minimum) / step) * step
        return min(max(value, self._minimum), self._maximum)

    def _handle_moved(self) -> None:
        value = self._position_value()
        if self.slider.isSliderDown():
            self.sliderMoved.emit(value)
        if self.tracking or not self.slider.isSliderDown():
            self._take(value)

    def _handle_released(self) -> None:
        self._take(self._position_value())
        self.sliderReleased.emit()

    def _take(self, value: float) -> None:
        if value != self._value:
            self._value = value
            self.valueChanged.emit(value)

    def _show(self) -> None:
        span = self._maximum - self._minimum
        share = (self._value - self._minimum) / span if span > 0 else 0.0
        with quiet(self.slider):
            self.slider.setValue(round(share * POSITIONS))

    def _set_limits(self, minimum: float, maximum: float) -> None:
        if (minimum, maximum) != (self._minimum, self._maximum):
            self._minimum, self._maximum = minimum, max(minimum, maximum)
            self.rangeChanged.emit(self._minimum, self._maximum)
            self.setValue(self._value)

    @Slot(float)
    def setValue(self, value):
        self._take(min(max(float(value), self._minimum), self._maximum))
        self._show()

    def setRange(self, minimum, maximum):
        self._set_limits(minimum, maximum)

    value = Property(float, lambda self: self._value, lambda self, value: self.setValue(value))
    minimum = Property(
        float,
        lambda self: self._minimum,
        lambda self, value: self._set_limits(value, max(value, self._maximum)),
    )
    maximum = Property(
        float,
        lambda self: self._maximum,
        lambda self, value: self._set_limits(min(value, self._minimum), value),
    )
    sliderPosition = Property(float, lambda self: self._value, setValue)
    singleStep = StoredProperty(float, 1.0)
    pageStep = StoredProperty(float, 10.0)
    tickInterval = StoredProperty(float, 0.0)
    tickPosition = forwarded("slider", "tickPosition", int)
    orientation = forwarded("slider", "orientation", int)
    invertedAppearance = forwarded("slider", "invertedAppearance", bool)
    invertedControls = forwarded("slider", "invertedControls", bool)
    tracking = StoredProperty(bool, True)
    handleToolTip = StoredProperty(str, "")

    @Slot(QtCore.Qt.Orientation)
    def setOrientation(self, orientation):
        self.slider.setOrientation(orientation)


class SliderWidget(QtWidgets.QWidget):
    """ctkSliderWidget: a slider with a spin box, both for the same floating-point number."""

    class SynchronizeSiblings(enum.IntFlag):
        NoSynchronize = 0
        SynchronizeWidth = 1
        SynchronizeDecimals = 2

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)

    def __init__(self, *arguments):
        super().__init__(split_arguments(arguments)[1])
        self.slider = DoubleSlider(HORIZONTAL, self)
        self.box = QtWidgets.QDoubleSpinBox(self)
        self.box.setMaximum(99.99)
        row_layout(self, self.slider, self.box)
        fill_width(self)
        self.slider.valueChanged.connect(self.box.setValue)
        self.slider.sliderMoved.connect(self._moved)
        self.box.valueChanged.connect(self._typed)

    def _moved(self, value: float) -> None:
        if not self.tracking:
            with quiet(self.box):
                self.box.setValue(value)
            self.valueIsChanging.emit(value)

    def _typed(self, value: float) -> None:
        with quiet(self.slider):
            self.slider.setValue(value)
        self.valueChanged.emit(value)

    def _set_limit(self, name: str, value: float) -> None:
        """The range may change the value; the widget tells of it once."""
        with quiet(self.slider):
            self.slider.setProperty(name, value)
            self.box.setProperty(name, value)

    def _set_step(self, step: float) -> None:
        self.slider.setProperty("singleStep", step)
        self.box.setSingleStep(step)

    @Slot(float)
    def setValue(self, value):
        self.box.setValue(value)

    @Slot(int)
    def setDecimals(self, decimals):
        self.box.setDecimals(decimals)
        self.decimalsChanged.emit(decimals)

    @Slot(bool)
    def setSpinBoxVisible(self, visible):
        self.box.setVisible(visible)

    @Slot()
    def reset(self):
        self.setValue(0.0)

    value = forwarded("box", "value", float)
    minimum = Property(
        float,
        lambda self: self.box.minimum(),
        lambda self, value: self._set_limit("minimum", value),
    )
    maximum = Property(
        float,
        lambda self: self.box.maximum(),
        lambda self, value: self._set_limit("maximum", value),
    )
    singleStep = Property(
        float, lambda self: self.box.singleStep(), lambda self, step: self._set_step(step)
    )
    decimals = Property(
        int, lambda self: self.box.decimals(), lambda self, value: self.setDecimals(value)
    )
    pageStep = forwarded("slider", "pageStep", float)
    tickInterval = forwarded("slider", "tickInterval", float)
    tickPosition = forwarded("slider", "tickPosition", int)
    tracking = forwarded("slider", "tracking", bool)
    invertedAppearance = forwarded("slider", "invertedAppearance", bool)
    invertedControls = forwarded("slider", "invertedControls", bool)
    prefix = forwarded("box", "prefix", str)
    suffix = forwarded("box", "suffix", str)
    spinBoxAlignment = forwarded("box", "alignment", int)
    spinBoxVisible = Property(
        bool, lambda self: self.box.isVisibleTo(self), lambda self, on: self.setSpinBoxVisible(on)
    )
    popupSlider = StoredProperty(bool, False)


class DoubleRangeSlider(QtWidgets.QWidget):
    """ctkDoubleRangeSlider: one groove with two handles."""

    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    minimumPositionChanged = Signal(float)
    maximumPositionChanged = Signal(float)
    positionsChanged = Signal(float, float)
    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)
    sliderPressed = Signal()
    sliderReleased = Signal()

    HANDLE = 12  # pixels

    def __init__(self, *arguments):
        super().__init__(split_arguments(arguments)[1])
        self._limits = (0.0, 99.0)
        self._values = (0.0, 99.0)
        self._dragged: int | None = None
        fill_width(self)

    def sizeHint(self):
        return QtCore.QSize(84, 22)

    minimumSizeHint = sizeHint

    def _x(self, value: float) -> float:
        span = (self._limits[1] - self._limits[0]) or 1.0
        share = (value - self._limits[0]) / span
        return self.HANDLE / 2 + share * (self.width() - self.HANDLE)

    def _value_at(self, x: float) -> float:
        share = (x - self.HANDLE / 2) / max(1, self.width() - self.HANDLE)
        return self._limits[0] + min(max(share, 0.0), 1.0) * (self._limits[1] - self._limits[0])

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        palette, middle = self.palette(), self.height() / 2
        low, high = (self._x(value) for value in self._values)
        painter.setPen(palette.color(QtGui.QPalette.ColorRole.Dark))
        painter.setBrush(palette.color(QtGui.QPalette.ColorRole.Midlight))
        painter.drawRoundedRect(QtCore.QRectF(1, middle - 2.5, self.width() - 2, 5), 2, 2)
        painter.setBrush(palette.color(QtGui.QPalette.ColorRole.Highlight))
        painter.drawRect(QtCore.QRectF(low, middle - 2.5, max(0.0, high - low), 5))
        painter.setBrush(palette.color(QtGui.QPalette.ColorRole.Button))
        for x in (low, high):
            left = x - self.HANDLE / 2 + 0.5
            painter.drawRoundedRect(QtCore.QRectF(left, middle - 7.5, self.HANDLE - 1, 15), 2, 2)
        painter.end()

    def mousePressEvent(self, event):
        x = event.position().x()
        distances = [abs(x - self._x(value)) for value in self._values]
        self._dragged = distances.index(min(distances))
        self.sliderPressed.emit()

    def mouseMoveEvent(self, event):
        if self._dragged is not None:
            values = list(self._values)
            values[self._dragged] = self._value_at(event.position().x())
            self.setValues(*values)

    def mouseReleaseEvent(self, event):
        self._dragged = None
        self.sliderReleased.emit()

    @Slot(float, float)
    def setValues(self, low, high):
        low, high = (min(max(float(v), self._limits[0]), self._limits[1]) for v in (low, high))
        before, self._values = self._values, (min(low, high), max(low, high))
        self.update()
        if before[0] != self._values[0]:
            self.minimumValueChanged.emit(self._values[0])
            self.minimumPositionChanged.emit(self._values[0])
        if before[1] != self._values[1]:
            self.maximumValueChanged.emit(self._values[1])
            self.maximumPositionChanged.emit(self._values[1])
        if before != self._values:
            self.valuesChanged.emit(*self._values)
            self.positionsChanged.emit(*self._values)

    @Slot(float)
    def setMinimumValue(self, value):
        self.setValues(min(value, self._values[1]), self._values[1])

    @Slot(float)
    def setMaximumValue(self, value):
        self.setValues(self._values[0], max(value, self._values[0]))

    @Slot(float, float)
    def setRange(self, minimum, maximum):
        limits = (float(minimum), max(float(minimum), float(maximum)))
        if limits != self._limits:
            self._limits = limits
            self.rangeChanged.emit(*limits)
            self.setValues(*self._values)

    minimum = Property(
        float,
        lambda self: self._limits[0],
        lambda self, value: self.setRange(value, max(value, self._limits[1])),
    )
    maximum = Property(
        float,
        lambda self: self._limits[1],
        lambda self, value: self.setRange(min(value, self._limits[0]), value),
    )
    minimumValue = Property(
        float, lambda self: self._values[0], lambda self, value: self.setMinimumValue(value)
    )
    maximumValue = Property(
        float, lambda self: self._values[1], lambda self, value: self.setMaximumValue(value)
    )
    minimumPosition = Property(float, lambda self: self._values[0], setMinimumValue)
    maximumPosition = Property(float, lambda self: self._values[1], setMaximumValue)
    singleStep = StoredProperty(float, 1.0)
    tickInterval = StoredProperty(float, 0.0)
    tickPosition = StoredProperty(int, 0)
    orientation = StoredProperty(int, HORIZONTAL.value)
    tracking = StoredProperty(bool, True)
    symmetricMoves = StoredProperty(bool, False)


class RangeWidget(QtWidgets.QWidget):
    """ctkRangeWidget: a range slider between two spin boxes."""

    minimumValueChanged = Signal(float)
    minimumValueIsChanging = Signal(float)
    maximumValueChanged = Signal(float)
    maximumValueIsChanging = Signal(float)
    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)

    def __init__(self, *arguments):
        super().__init__(split_arguments(arguments)[1])
        self.low = QtWidgets.QDoubleSpinBox(self)
        self.high = QtWidgets.QDoubleSpinBox(self)
        self.slider = DoubleRangeSlider(self)
        for box in (self.low, self.high):
            box.setRange(*self.slider._limits)
        self.high.setValue(self.slider._values[1])
        row_layout(self, self.low, self.slider, self.high)
        fill_width(self)
        self.low.valueChanged.connect(self.slider.setMinimumValue)
        self.high.valueChanged.connect(self.slider.setMaximumValue)
        self.slider.minimumValueChanged.connect(self.minimumValueChanged)
        self.slider.maximumValueChanged.connect(self.maximumValueChanged)
        self.slider.valuesChanged.connect(self._values_changed)
        self.slider.rangeChanged.connect(self.rangeChanged)

    def _values_changed(self, low: float, high: float) -> None:
        with quiet(self.low, self.high):
            self.low.setValue(low)
            self.high.setValue(high)
        self.valuesChanged.emit(low, high)

    def _each_box(self, name: str, value) -> None:
        for box in (self.low, self.high):
            box.setProperty(name, value)

    def _set_step(self, step: float) -> None:
        self.slider.setProperty("singleStep", step)
        self._each_box("singleStep", step)

    @Slot(float, float)
    def setRange(self, minimum, maximum):
        with quiet(self.low, self.high):
            for box in (self.low, self.high):
                box.setRange(minimum, maximum)
        self.slider.setRange(minimum, maximum)

    @Slot(float, float)
    def setValues(self, low, high):
        self.slider.setValues(low, high)

    @Slot(float)
    def setMinimumValue(self, value):
        self.slider.setMinimumValue(value)

    @Slot(float)
    def setMaximumValue(self, value):
        self.slider.setMaximumValue(value)

    @Slot(int)
    def setDecimals(self, decimals):
        self._each_box("decimals", decimals)

    @Slot()
    def reset(self):
        self.setValues(*self.slider._limits)

    minimum = Property(
        float,
        lambda self: self.slider.minimum,
        lambda self, value: self.setRange(value, max(value, self.slider.maximum)),
    )
    maximum = Property(
        float,
        lambda self: self.slider.maximum,
        lambda self, value: self.setRange(min(value, self.slider.minimum), value),
    )
    minimumValue = forwarded("slider", "minimumValue", float)
    maximumValue = forwarded("slider", "maximumValue", float)
    tracking = forwarded("slider", "tracking", bool)
    symmetricMoves = forwarded("slider", "symmetricMoves", bool)
    tickInterval = forwarded("slider", "tickInterval", float)
    singleStep = Property(
        float, lambda self: self.low.singleStep(), lambda self, step: self._set_step(step)
    )
    decimals = Property(
        int, lambda self: self.low.decimals(), lambda self, value: self.setDecimals(value)
    )
    prefix = Property(
        str, lambda self: self.low.prefix(), lambda self, text: self._each_box("prefix", text)
    )
    suffix = Property(
        str, lambda self: self.low.suffix(), lambda self, text: self._each_box("suffix", text)
    )
    autoSpinBoxWidth = StoredProperty(bool, True)
    spinBoxAlignment = StoredProperty(int, 0x80)
    spinBoxTextAlignment = StoredProperty(int, 0x1)
    customSpinBoxesLimitsMin = StoredProperty(float, 0.0)
    customSpinBoxesLimitsMax = StoredProperty(float, 0.0)


class CoordinatesWidget(QtWidgets.QWidget):
    """ctkCoordinatesWidget: one spin box per coordinate; ``coordinates`` is "x,y,z"."""

    coordinatesChanged = Signal(float, float, float, float)

    def __init__(self, *arguments):
        super().__init__(split_arguments(arguments)[1])
        self.boxes: list[QtWidgets.QDoubleSpinBox] = []
        row_layout(self)
        self._set_dimension(3)

    def _set_dimension(self, dimension: int) -> None:
        while len(self.boxes) > dimension:
            self.boxes.pop().deleteLater()
        while len(self.boxes) < dimension:
            box = QtWidgets.QDoubleSpinBox(self)
            box.setRange(-100000.0, 100000.0)
            box.valueChanged.connect(self._announce)
            self.layout().addWidget(box)
            self.boxes.append(box)

    def _announce(self) -> None:
        values = [box.value() for box in self.boxes][:4]
        self.coordinatesChanged.emit(*values, *[0.0] * (4 - len(values)))

    def _each_box(self, name: str, value) -> None:
        for box in self.boxes:
            box.setProperty(name, value)

    def _set_text(self, text: str) -> None:
        self.setCoordinates(*[float(part) for part in text.split(",")])

    def setCoordinates(self, *values):
        with quiet(*self.boxes):
            for box, value in zip(self.boxes, values, strict=False):
                box.setValue(value)
        self._announce()

    @Slot(int)
    def setDecimals(self, decimals):
        self._each_box("decimals", decimals)

    coordinates = Property(
        str,
        lambda self: ",".join(f"{box.value():g}" for box in self.boxes),
        lambda self, text: self._set_text(text),
    )
    dimension = Property(
        int, lambda self: len(self.boxes), lambda self, count: self._set_dimension(count)
    )
    decimals = Property(
        int, lambda self: self.boxes[0].decimals(), lambda self, value: self.setDecimals(value)
    )
    minimum = Property(
        float,
        lambda self: self.boxes[0].minimum(),
        lambda self, value: self._each_box("minimum", value),
    )
    maximum = Property(
        float,
        lambda self: self.boxes[0].maximum(),
        lambda self, value: self._each_box("maximum", value),
    )
    singleStep = Property(
        float,
        lambda self: self.boxes[0].singleStep(),
        lambda self, value: self._each_box("singleStep", value),
    )
    readOnly = Property(
        bool,
        lambda self: self.boxes[0].isReadOnly(),
        lambda self, value: self._each_box("readOnly", value),
    )
