# SPDX-License-Identifier: Apache-2.0
"""CTK's widgets that panels use, as PySide6 classes that look as they do on the desktop."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from . import ctknumbers, signals
from .natives import StoredProperty, fill_width, row_layout, split_arguments

EXPANDING = QtWidgets.QSizePolicy.Policy.Expanding
FIXED = QtWidgets.QSizePolicy.Policy.Fixed
PREFERRED = QtWidgets.QSizePolicy.Policy.Preferred


class CollapsibleButton(QtWidgets.QAbstractButton):
    """ctkCollapsibleButton: a heading that shows or hides what is laid out under it."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments):
        values, parent = split_arguments(arguments)
        super().__init__(parent)
        self._hidden: list[QtWidgets.QWidget] = []
        self.setText(values[0] if values else "")
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(PREFERRED, PREFERRED)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(self._toggled)

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 8

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def _toggled(self, expanded: bool) -> None:
        if expanded:
            self.setMaximumHeight(16777215)  # Qt's "no limit"
            for child in self._hidden:
                child.removeEventFilter(self)
                child.show()
            self._hidden = []
        else:
            self.setMaximumHeight(self._header_height() + self.collapsedHeight)
            self._hide_children()
        self.updateGeometry()
        self.update()
        self.contentsCollapsed.emit(not expanded)

    def _hide_children(self) -> None:
        """Hide what shows; it comes back when the section opens, unless it was hidden by then."""
        children = self.findChildren(
            QtWidgets.QWidget, options=QtCore.Qt.FindChildOption.FindDirectChildrenOnly
        )
        for child in children:
            if not child.isHidden() and not child.isWindow():
                child.hide()
                child.installEventFilter(self)
                self._hidden.append(child)

    def eventFilter(self, child, event):
        if event.type() == QtCore.QEvent.Type.HideToParent and child in self._hidden:
            child.removeEventFilter(self)
            self._hidden.remove(child)
        return False

    def event(self, event):
        arrivals = (QtCore.QEvent.Type.LayoutRequest, QtCore.QEvent.Type.Show)
        if event.type() in arrivals and not self.isChecked():
            self._hide_children()
        return super().event(event)

    def _header_size(self) -> QtCore.QSize:
        text = self.fontMetrics().horizontalAdvance(self.text())
        return QtCore.QSize(text + 2 * self._header_height(), self._header_height())

    def sizeHint(self):
        if self.collapsed or self.layout() is None:
            return self._header_size()
        return self._header_size().expandedTo(self.layout().totalSizeHint())

    def minimumSizeHint(self):
        if self.collapsed or self.layout() is None:
            return self._header_size()
        return self._header_size().expandedTo(self.layout().totalMinimumSize())

    def hitButton(self, position):
        return self.rect().contains(position) and position.y() < self._header_height()

    def paintEvent(self, event):
        painter = QtWidgets.QStylePainter(self)
        header = QtCore.QRect(0, 0, self.width(), self._header_height())
        self._draw_header(painter, header)
        text_area = header.adjusted(header.height(), 0, -4, 0)
        painter.drawItemText(
            text_area,
            QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
            | QtCore.Qt.TextFlag.TextShowMnemonic,  # so that && shows as one ampersand
            self.palette(),
            self.isEnabled(),
            self.text(),
            QtGui.QPalette.ColorRole.ButtonText,
        )
        painter.end()

    def _draw_header(self, painter: QtWidgets.QStylePainter, header: QtCore.QRect) -> None:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = header
        if self.flat:
            painter.setPen(self.palette().color(QtGui.QPalette.ColorRole.Mid))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        else:
            painter.fillRect(header.adjusted(1, 1, -1, -1), QtGui.QColor(247, 247, 247))
            painter.setPen(QtGui.QColor(180, 180, 180))
            painter.drawRect(header.adjusted(0, 0, -1, -1))
        size = 9
        left = top = (header.height() - size) // 2
        option.rect = QtCore.QRect(left, top, size, size)
        element = QtWidgets.QStyle.PrimitiveElement
        arrow = (
            element.PE_IndicatorArrowDown if self.isChecked() else (element.PE_IndicatorArrowRight)
        )
        painter.drawPrimitive(arrow, option)

    collapsed = Property(
        bool, lambda self: not self.isChecked(), lambda self, on: self._set_collapsed(on)
    )
    collapsedHeight = StoredProperty(int, 10)
    flat = StoredProperty(bool, False, lambda self, _value: self.update())
    contentsFrameShape = StoredProperty(int, 0)
    contentsFrameShadow = StoredProperty(int, 16)
    contentsLineWidth = StoredProperty(int, 1)
    contentsMidLineWidth = StoredProperty(int, 0)
    buttonTextAlignment = StoredProperty(int, 0x81)
    indicatorAlignment = StoredProperty(int, 0x81)


class CollapsibleGroupBox(QtWidgets.QGroupBox):
    """ctkCollapsibleGroupBox: a group box whose check mark folds it."""

    def __init__(self, *arguments):
        values, parent = split_arguments(arguments)
        super().__init__(*values, parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._toggled)

    def _toggled(self, expanded: bool) -> None:
        folded = self.fontMetrics().height() + 8
        self.setMaximumHeight(16777215 if expanded else folded)
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(expanded)

    collapsed = Property(
        bool, lambda self: not self.isChecked(), lambda self, on: self.setChecked(not on)
    )
    collapsedHeight = StoredProperty(int, 14)


class PushButton(QtWidgets.QPushButton):
    """ctkPushButton: a push button that can shorten its text."""

    buttonTextAlignment = StoredProperty(int, 0x84)
    iconAlignment = StoredProperty(int, 0x81)
    elideMode = StoredProperty(int, QtCore.Qt.TextElideMode.ElideNone.value)

    def minimumSizeHint(self):
        hint = super().minimumSizeHint()
        if self.elideMode != QtCore.Qt.TextElideMode.ElideNone.value:
            hint.setWidth(min(hint.width(), self.fontMetrics().averageCharWidth() * 12))
        return hint

    def initStyleOption(self, option):
        super().initStyleOption(option)
        mode = QtCore.Qt.TextElideMode(self.elideMode)
        if mode != QtCore.Qt.TextElideMode.ElideNone:
            room = self.width() - 12 - (self.iconSize().width() + 4 if option.icon else 0)
            option.text = self.fontMetrics().elidedText(option.text, mode, room)

    def paintEvent(self, event):
        option = QtWidgets.QStyleOptionButton()
        self.initStyleOption(option)
        painter = QtWidgets.QStylePainter(self)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option)
        painter.end()


class MenuButton(QtWidgets.QPushButton):
    """ctkMenuButton: a push button with a menu beside it."""


class ColorPickerButton(QtWidgets.QPushButton):
    """ctkColorPickerButton: shows a colour, and asks for another when pressed."""

    class ColorDialogOption(enum.IntFlag):
        ShowAlphaChannel = 0x1
        NoButtons = 0x2
        DontUseNativeDialog = 0x4
        UseCTKColorDialog = 0xC

    colorChanged = Signal(QtGui.QColor)
    colorNameChanged = Signal(str)

    def __init__(self, *arguments):
        values, parent = split_arguments(arguments)
        super().__init__(parent)
        self._color = QtGui.QColor()
        self._color_name = ""
        self.setText(next((value for value in values if isinstance(value, str)), ""))
        self.clicked.connect(self.changeColor)
        self.setColor(next((v for v in values if isinstance(v, QtGui.QColor)), QtGui.QColor()))

    @Slot()
    def changeColor(self):
        chosen = QtWidgets.QColorDialog.getColor(self._color, self)
        if chosen.isValid():
            self.setColor(chosen)

    @Slot(QtGui.QColor)
    def setColor(self, color):
        changed = color != self._color
        self._color = QtGui.QColor(color)
        self._show()
        if changed:
            self.colorChanged.emit(self._color)

    def _set_color_name(self, name: str) -> None:
        changed, self._color_name = name != self._color_name, name
        self._show()
        if changed:
            self.colorNameChanged.emit(name)

    @Slot(bool)
    def setDisplayColorName(self, shown):
        self.setProperty("displayColorName", shown)

    def _show(self, *_unused) -> None:
        pixmap = QtGui.QPixmap(16, 16)
        pixmap.fill(self._color if self._color.isValid() else QtCore.Qt.GlobalColor.transparent)
        self.setIcon(QtGui.QIcon(pixmap))
        if self.displayColorName:
            self.setText(self._color_name or self._color.name())

    color = Property(
        QtGui.QColor, lambda self: self._color, lambda self, color: self.setColor(color)
    )
    colorName = Property(
        str, lambda self: self._color_name, lambda self, name: self._set_color_name(name)
    )
    displayColorName = StoredProperty(bool, True, _show)
    dialogOptions = StoredProperty(int, 0)


class CheckBox(QtWidgets.QCheckBox):
    """ctkCheckBox: a check box with an icon of its own."""

    indicatorIcon = StoredProperty(QtGui.QIcon, QtGui.QIcon(), lambda self, i: self.setIcon(i))
    indicatorIconSize = StoredProperty(QtCore.QSize, QtCore.QSize(0, 0))


class ComboBox(QtWidgets.QComboBox):
    """ctkComboBox: a combo box with a text for "nothing chosen"."""

    class ScrollEffect(enum.IntEnum):
        NeverScroll = 0
        AlwaysScroll = 1
        ScrollWithFocus = 2
        ScrollWithNoVScrollBar = 3

    defaultText = StoredProperty(str, "", lambda self, text: self.setPlaceholderText(text))
    defaultIcon = StoredProperty(QtGui.QIcon, QtGui.QIcon())
    forceDefault = StoredProperty(bool, False)
    elideMode = StoredProperty(int, QtCore.Qt.TextElideMode.ElideNone.value)
    scrollWheelEffect = StoredProperty(int, 1)

    @Slot(str)
    def setCurrentUserDataAsString(self, data):
        texts = [str(self.itemData(index)) for index in range(self.count())]
        self.setCurrentIndex(texts.index(data) if data in texts else -1)

    def _user_data(self) -> str:
        data = self.itemData(self.currentIndex())
        return "" if data is None else str(data)

    currentUserDataAsString = Property(str, _user_data, setCurrentUserDataAsString)


class CheckableComboBox(QtWidgets.QComboBox):
    """ctkCheckableComboBox: each item has a check mark."""

    checkedIndexesChanged = Signal()

    CHECK_ROLE = QtCore.Qt.ItemDataRole.CheckStateRole
    CHECKED = QtCore.Qt.CheckState.Checked

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.model().dataChanged.connect(self._data_changed)
        self.model().rowsInserted.connect(self._rows_inserted)

    def _rows_inserted(self, _parent, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setCheckable(True)
            item.setData(QtCore.Qt.CheckState.Unchecked, self.CHECK_ROLE)

    def _data_changed(self, _first, _last, roles) -> None:
        if self.CHECK_ROLE in roles:
            self.checkedIndexesChanged.emit()

    def checkableModel(self):
        return self.model()

    def checkedIndexes(self):
        indexes = [self.model().index(row, 0) for row in range(self.count())]
        return [index for index in indexes if self.checkState(index) == self.CHECKED]

    def checkState(self, index):
        return QtCore.Qt.CheckState(index.data(self.CHECK_ROLE))

    def setCheckState(self, index, state):
        self.model().setData(index, QtCore.Qt.CheckState(state), self.CHECK_ROLE)

    def allChecked(self):
        return len(self.checkedIndexes()) == self.count()

    def noneChecked(self):
        return not self.checkedIndexes()


class PathLineEdit(QtWidgets.QWidget):
    """ctkPathLineEdit: a path to type or to browse for, with the last few to choose from."""

    class Filters(enum.IntFlag):
        Dirs = 0x001
        Files = 0x002
        Drives = 0x004
        NoSymLinks = 0x008
        AllEntries = 0x007
        TypeMask = 0x00F
        Readable = 0x010
        Writable = 0x020
        Executable = 0x040
        PermissionMask = 0x070
        Modified = 0x080
        Hidden = 0x100
        System = 0x200
        AccessMask = 0x3F0
        AllDirs = 0x400
        CaseSensitive = 0x800
        NoDot = 0x2000
        NoDotDot = 0x4000
        NoDotAndDotDot = 0x6000
        NoFilter = -1

    class Option(enum.IntFlag):
        ShowDirsOnly = 0x1
        DontResolveSymlinks = 0x2
        DontConfirmOverwrite = 0x4
        DontUseNativeDialog = 0x8
        ReadOnly = 0x10
        HideNameFilterDetails = 0x20
        DontUseSheet = 0x40

    class SizeAdjustPolicy(enum.IntEnum):
        AdjustToContents = 0
        AdjustToContentsOnFirstShow = 1
        AdjustToMinimumContentsLength = 2

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    HISTORY = 5

    def __init__(self, *arguments):
        super().__init__(split_arguments(arguments)[1])
        self._path = ""
        self._valid = False
        self.box = QtWidgets.QComboBox(self)
        self.box.setEditable(True)
        self.box.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self.box.setSizePolicy(EXPANDING, FIXED)
        self.box.setMinimumContentsLength(1)
        self.button = QtWidgets.QToolButton(self)
        self.button.setText("...")
        self.button.setSizePolicy(FIXED, QtWidgets.QSizePolicy.Policy.Ignored)
        row_layout(self, self.box, self.button).setSpacing(0)
        fill_width(self)
        self.box.editTextChanged.connect(self._text_changed)
        self.button.clicked.connect(self.browse)

    def _text_changed(self, text: str) -> None:
        valid = bool(text) and QtCore.QFileInfo.exists(text)
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)
        if text != self._path:
            self._path = text
            self.currentPathChanged.emit(text)

    @Slot(str)
    def setCurrentPath(self, path):
        self.box.setEditText(QtCore.QDir.fromNativeSeparators(path))

    @Slot()
    def browse(self):
        dialog = QtWidgets.QFileDialog
        if not self.filters & self.Filters.Files:
            path = dialog.getExistingDirectory(self, "Select a directory...", self._path)
        elif self.filters & self.Filters.Writable:
            path = dialog.getSaveFileName(
                self, "Save file...", self._path, ";;".join(self.nameFilters)
            )[0]
        else:
            path = dialog.getOpenFileName(
                self, "Open a file...", self._path, ";;".join(self.nameFilters)
            )[0]
        if path:
            self.setCurrentPath(path)
            self.addCurrentPathToHistory()

    @Slot()
    def addCurrentPathToHistory(self):
        paths = [self.box.itemText(row) for row in range(self.box.count())]
        if self._path:
            paths = [self._path, *(path for path in paths if path != self._path)][: self.HISTORY]
        if self.settingKey:
            QtCore.QSettings().setValue(f"ctkPathLineEdit/{self.settingKey}", paths)
        self._show_history(paths)

    @Slot()
    def retrieveHistory(self):
        paths = QtCore.QSettings().value(f"ctkPathLineEdit/{self.settingKey}", []) or []
        self._show_history([paths] if isinstance(paths, str) else list(paths))
        if paths:
            self.setCurrentPath(self.box.itemText(0))

    def _show_history(self, paths: list[str]) -> None:
        text = self._path
        blocker = QtCore.QSignalBlocker(self.box)
        self.box.clear()
        self.box.addItems(paths)
        self.box.setEditText(text)
        blocker.unblock()

    def comboBox(self):
        return self.box

    currentPath = Property(
        str, lambda self: self._path, lambda self, path: self.setCurrentPath(path)
    )
    filters = StoredProperty(int, 24663)
    nameFilters = StoredProperty("QStringList", [])
    options = StoredProperty(int, 0)
    label = StoredProperty(str, "")
    settingKey = StoredProperty(str, "", lambda self, _key: self.retrieveHistory())
    minimumContentsLength = StoredProperty(int, 0)
    sizeAdjustPolicy = StoredProperty(int, 2)
    showBrowseButton = Property(
        bool,
        lambda self: self.button.isVisibleTo(self),
        lambda self, shown: self.button.setVisible(shown),
    )
    showHistoryButton = StoredProperty(bool, True)


class DirectoryButton(QtWidgets.QWidget):
    """ctkDirectoryButton: shows a folder, and asks for another when pressed."""

    Option = PathLineEdit.Option

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, *arguments):
        values, parent = split_arguments(arguments)
        super().__init__(parent)
        given = next((value for value in values if isinstance(value, str)), ".")
        self._folder = QtCore.QDir(given).path()
        self.button = PushButton(self)
        self.button.setProperty("elideMode", QtCore.Qt.TextElideMode.ElideMiddle.value)
        self.button.setIcon(self.style().standardIcon(QtWidgets.QStyle.StandardPixmap.SP_DirIcon))
        self.button.setSizePolicy(EXPANDING, FIXED)
        self.button.clicked.connect(self.browse)
        row_layout(self, self.button)
        fill_width(self)
        self._show()

    def _show(self, *_unused) -> None:
        self.button.setText(self.text or QtCore.QDir(self._folder).absolutePath())

    def _set_directory(self, folder: str) -> None:
        path = QtCore.QDir(folder).absolutePath()
        changed = QtCore.QDir(path) != QtCore.QDir(self._folder)
        if changed:
            self._folder = path
            self._show()
        self.directorySelected.emit(path)
        if changed:
            self.directoryChanged.emit(path)

    @Slot()
    def browse(self):
        folder = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self._folder)
        if folder:
            self._set_directory(folder)

    directory = Property(
        str, lambda self: self._folder, lambda self, folder: self._set_directory(folder)
    )
    text = StoredProperty(str, "", _show)
    caption = StoredProperty(str, "")
    icon = Property(
        QtGui.QIcon, lambda self: self.button.icon(), lambda self, icon: self.button.setIcon(icon)
    )
    options = StoredProperty(int, PathLineEdit.Option.ShowDirsOnly.value)
    acceptMode = StoredProperty(int, 0)
    elideMode = StoredProperty(int, QtCore.Qt.TextElideMode.ElideMiddle.value)


class ExpandableWidget(QtWidgets.QFrame):
    """ctkExpandableWidget: a frame whose corner can be dragged to give it more room."""

    def __init__(self, *arguments):
        super().__init__(split_arguments(arguments)[1])
        self.grip = QtWidgets.QSizeGrip(self)

    def resizeEvent(self, event):
        hint = self.grip.sizeHint()
        self.grip.move(self.width() - hint.width(), self.height() - hint.height())
        super().resizeEvent(event)

    orientations = StoredProperty(int, 3)
    sizeGripInside = StoredProperty(bool, True)
    sizeGripMargins = StoredProperty(QtCore.QSize, QtCore.QSize(0, 0))


class FittedTextBrowser(QtWidgets.QTextBrowser):
    """ctkFittedTextBrowser: as high as its text; a collapsible text shows its first line."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._teaser, self._full = "", ""
        self.setVerticalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(EXPANDING, QtWidgets.QSizePolicy.Policy.Minimum)
        self.setOpenLinks(False)
        self.textChanged.connect(self.updateGeometry)
        self.anchorClicked.connect(self._anchor_clicked)

    def _anchor_clicked(self, url: QtCore.QUrl) -> None:
        if url.path() == "_details":
            self.collapsed = not self.collapsed
        else:
            QtGui.QDesktopServices.openUrl(url)

    def sizeHint(self):
        document = self.document().clone()
        document.setTextWidth(max(self.viewport().width(), 100))
        frame = 2 * self.frameWidth()
        return QtCore.QSize(200, int(document.size().height()) + frame)

    def minimumSizeHint(self):
        return QtCore.QSize(50, self.sizeHint().height())

    def resizeEvent(self, event):
        super().resizeEvent(event)
        if event.oldSize().width() != event.size().width():
            self.updateGeometry()

    @Slot(str)
    def setCollapsibleText(self, text):
        self._full = text if QtGui.Qt.mightBeRichText(text) else QtGui.Qt.convertFromPlainText(text)
        self._show()

    setCollapsibleHtml = setCollapsibleText
    setCollapsiblePlainText = setCollapsibleText

    def collapsibleText(self):
        return self._full

    def _show(self, *_unused) -> None:
        if not self._full:
            return
        plain = QtGui.QTextDocumentFragment.fromHtml(self._full).toPlainText()
        first, _, rest = plain.partition("\n")
        if self.collapsed and rest:
            self.setHtml(f'{first} <a href="_details">{self.showDetailsText}</a>')
        else:
            link = f' <a href="_details">{self.hideDetailsText}</a>' if rest else ""
            self.setHtml(self._full + link)

    collapsed = StoredProperty(bool, True, _show)
    showDetailsText = StoredProperty(str, "Show details.", _show)
    hideDetailsText = StoredProperty(str, "Hide details.", _show)
    disableMouseScroll = StoredProperty(bool, False)


class SearchBox(QtWidgets.QLineEdit):
    """ctkSearchBox: a line to search with."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.setPlaceholderText("Search...")
        self.setClearButtonEnabled(True)

    showSearchIcon = StoredProperty(bool, False)
    searchIcon = StoredProperty(QtGui.QIcon, QtGui.QIcon())
    clearIcon = StoredProperty(QtGui.QIcon, QtGui.QIcon())


class ExpandButton(QtWidgets.QToolButton):
    """ctkExpandButton: an arrow that turns when pressed."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.setCheckable(True)
        self.setArrowType(QtCore.Qt.ArrowType.RightArrow)

    mirrorOnExpand = StoredProperty(bool, False)
    orientation = StoredProperty(int, QtCore.Qt.Orientation.Horizontal.value)


class DynamicSpacer(QtWidgets.QWidget):
    """ctkDynamicSpacer: a spacer that can be switched between two size policies."""

    active = StoredProperty(bool, False, lambda self, _on: self._apply())
    activeSizePolicy = StoredProperty(
        QtWidgets.QSizePolicy,
        QtWidgets.QSizePolicy(PREFERRED, PREFERRED),
        lambda self, _policy: self._apply(),
    )
    inactiveSizePolicy = StoredProperty(
        QtWidgets.QSizePolicy,
        QtWidgets.QSizePolicy(PREFERRED, PREFERRED),
        lambda self, _policy: self._apply(),
    )

    def _apply(self) -> None:
        self.setSizePolicy(self.activeSizePolicy if self.active else self.inactiveSizePolicy)

    @Slot(bool)
    def setActive(self, active):
        self.setProperty("active", active)

    @Slot(bool)
    def setInactive(self, inactive):
        self.setProperty("active", not inactive)


class MessageBox(QtWidgets.QMessageBox):
    """ctkMessageBox: a message box that can be told not to come again."""

    dontShowAgain = StoredProperty(bool, False)
    dontShowAgainVisible = StoredProperty(bool, False)
    dontShowAgainSettingsKey = StoredProperty(str, "")

    @Slot(bool)
    def setDontShowAgain(self, value):
        self.setProperty("dontShowAgain", value)


@dataclass
class _Registered:
    """A property of an object that is kept in the settings."""

    target: QtCore.QObject
    name: str
    settings: QtCore.QSettings | None
    previous: Any
    default: Any

    @property
    def value(self) -> Any:
        return self.target.property(self.name)


class SettingsPanel(QtWidgets.QWidget):
    """ctkSettingsPanel: a page of the application's settings, tied to the properties on it."""

    class SettingOption(enum.IntFlag):
        OptionNone = 0
        OptionRequireRestart = 1
        OptionAll_Mask = 1

    settingChanged = Signal(str, "QVariant")

    def __init__(self, *arguments):
        super().__init__(split_arguments(arguments)[1])
        self._settings: QtCore.QSettings | None = None
        self._registered: dict[str, _Registered] = {}

    def registerProperty(self, key, target, name, signal, label="", options=0, settings=None):
        """Tie a property to a key: settings that exist are taken over, changes are stored."""
        current = target.property(name)
        self._registered[key] = _Registered(target, name, settings, current, current)
        self._restore(key)
        if not signals.connect(target, str(signal), lambda: self._store(key)):
            raise ValueError(f"{signal} is not a signal of {type(target).__name__}")

    def _store_of(self, key: str) -> QtCore.QSettings | None:
        return self._registered[key].settings or self._settings

    def _restore(self, key: str) -> None:
        store, entry = self._store_of(key), self._registered[key]
        if store is not None and store.contains(key):
            # A file keeps text only: the type is that of the default.
            value = (
                store.value(key, type=type(entry.default))
                if isinstance(entry.default, (bool, int, float, str))
                else store.value(key)
            )
            entry.target.setProperty(entry.name, value)
            entry.previous = value

    def _store(self, key: str) -> None:
        store, entry = self._store_of(key), self._registered[key]
        if store is not None and store.value(key) != entry.value:
            store.setValue(key, entry.value)
            self.settingChanged.emit(key, entry.value)

    @Slot()
    def applySettings(self):
        for key, entry in self._registered.items():
            if entry.previous != entry.value:
                entry.previous = entry.value
                self.settingChanged.emit(key, entry.value)

    @Slot()
    def resetSettings(self):
        for entry in self._registered.values():
            entry.target.setProperty(entry.name, entry.previous)

    @Slot()
    def restoreDefaultSettings(self):
        for entry in self._registered.values():
            entry.target.setProperty(entry.name, entry.default)

    @Slot()
    def reloadSettings(self):
        for key in self._registered:
            self._restore(key)

    def _set_settings(self, settings: QtCore.QSettings) -> None:
        self._settings = settings
        self.reloadSettings()

    settings = Property(
        QtCore.QObject,
        lambda self: self._settings,
        lambda self, settings: self._set_settings(settings),
    )


NATIVES: dict[str, type] = {
    "ctkCheckBox": CheckBox,
    "ctkCheckableComboBox": CheckableComboBox,
    "ctkCollapsibleButton": CollapsibleButton,
    "ctkCollapsibleGroupBox": CollapsibleGroupBox,
    "ctkColorPickerButton": ColorPickerButton,
    "ctkComboBox": ComboBox,
    "ctkCoordinatesWidget": ctknumbers.CoordinatesWidget,
    "ctkDirectoryButton": DirectoryButton,
    "ctkDoubleRangeSlider": ctknumbers.DoubleRangeSlider,
    "ctkDoubleSlider": ctknumbers.DoubleSlider,
    "ctkDoubleSpinBox": ctknumbers.DoubleSpinBox,
    "ctkDynamicSpacer": DynamicSpacer,
    "ctkExpandButton": ExpandButton,
    "ctkExpandableWidget": ExpandableWidget,
    "ctkFittedTextBrowser": FittedTextBrowser,
    "ctkMenuButton": MenuButton,
    "ctkMessageBox": MessageBox,
    "ctkPathLineEdit": PathLineEdit,
    "ctkPushButton": PushButton,
    "ctkRangeWidget": ctknumbers.RangeWidget,
    "ctkSearchBox": SearchBox,
    "ctkSettingsPanel": SettingsPanel,
    "ctkSliderWidget": ctknumbers.SliderWidget,
}
