# SPDX-License-Identifier: Apache-2.0
"""MRML widgets of the desktop on PySide6: the natives behind ``slicer.qMRML...``.

They show and edit nodes of the real scene. Properties, methods and signals have the names and
meanings of the desktop's C++ widgets.
"""

from __future__ import annotations

from PySide6.QtCore import Property, QItemSelection, Qt, Signal, Slot
from PySide6.QtGui import QColor, QIcon, QPixmap, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QSizePolicy,
    QTableView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from .observation import Observations


def stored(type_, name, default, notify=""):
    """A Qt property kept in an attribute; ``notify`` names a method to call when it changes."""

    def read(self):
        return getattr(self, f"_{name}", default)

    def write(self, value):
        if value != read(self):
            setattr(self, f"_{name}", value)
            if notify:
                getattr(self, notify)()

    return Property(type_, read, write)


class MRMLWidget(QWidget):
    """qMRMLWidget: a widget that knows the scene."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    @Slot(object)
    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene


class SlicerWidget(MRMLWidget):
    """qSlicerWidget: on the desktop a twin of qMRMLWidget."""


class NodeComboBox(QWidget):
    """qMRMLNodeComboBox: chooses a node of some types in the scene."""

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QComboBox(self)
        self._combo.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Expanding)
        self._combo.setMinimumContentsLength(6)
        layout.addWidget(self._combo)
        self.setSizePolicy(QSizePolicy.Preferred, QSizePolicy.Fixed)
        self._scene = None
        self._current_id = ""
        self._requested_id = ""
        self._attributes = []
        self._labels = {}
        self._observations = Observations(self)
        self._name_observations = Observations(self)
        self._combo.activated.connect(self._onActivated)
        self._combo.currentIndexChanged.connect(self._onIndexChanged)
        self._updating = False
        self.setEnabled(False)
        self._refresh()

    nodeTypes = stored("QStringList", "nodeTypes", (), "_refresh")
    hideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", (), "_refresh")
    showHidden = stored(bool, "showHidden", False, "_refresh")
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, "_refresh")
    noneEnabled = stored(bool, "noneEnabled", False, "_refresh")
    noneDisplay = stored(str, "noneDisplay", "None", "_refresh")
    addEnabled = stored(bool, "addEnabled", True, "_refresh")
    removeEnabled = stored(bool, "removeEnabled", True, "_refresh")
    editEnabled = stored(bool, "editEnabled", False, "_refresh")
    renameEnabled = stored(bool, "renameEnabled", False, "_refresh")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    baseName = stored(str, "baseName", "")
    interactionNodeSingletonTag = stored(str, "interactionNodeSingletonTag", "")

    # scene

    @Slot(object)
    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._observations.release()
        self._scene = scene
        wanted = self._requested_id or self._current_id
        self._requested_id = ""
        if scene is not None:
            for event in (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndBatchProcessEvent,
                scene.EndCloseEvent,
            ):
                self._observations.add(scene, event, self._refresh)
        self._refresh()
        self.setCurrentNodeID(wanted)
        self.setEnabled(scene is not None)

    def mrmlScene(self):
        return self._scene

    def addAttribute(self, nodeType, attributeName, attributeValue=None):
        """Shows nodes of that type only if they have the attribute (with that value)."""
        self._attributes.append((nodeType, attributeName, attributeValue))
        self._refresh()

    def removeAttribute(self, nodeType, attributeName):
        self._attributes = [
            entry for entry in self._attributes if entry[:2] != (nodeType, attributeName)
        ]
        self._refresh()

    def setNodeTypeLabel(self, label, nodeType):
        self._labels[nodeType] = label
        self._refresh()

    def nodeTypeLabel(self, nodeType):
        if nodeType in self._labels:
            return self._labels[nodeType]
        node = self._scene.CreateNodeByClass(nodeType) if self._scene and nodeType else None
        if node is None:
            return "node"
        node.UnRegister(None)
        return node.GetTypeDisplayName()

    def _accepts(self, node) -> bool:
        kind = node.IsA if self.showChildNodeTypes else node.GetClassName().__eq__
        if not any(kind(type_) for type_ in self.nodeTypes):
            return False
        if any(node.IsA(type_) for type_ in self.hideChildNodeTypes):
            return False
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        return all(
            _has_attribute(node, name, value)
            for type_, name, value in self._attributes
            if node.IsA(type_)
        )

    def _nodes(self):
        if self._scene is None or self._scene.IsBatchProcessing():
            return []
        nodes = (self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if self._accepts(node)]

    def _refresh(self):
        """Lists the nodes anew; what the user sees as current stays current if it can."""
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        row_before = self._combo.currentIndex()
        was_empty = self._combo.count() == 0
        self._updating = True
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        nodes = self._nodes()
        for node in nodes:
            self._combo.addItem(node.GetName() or "", node.GetID())
        self._add_actions()
        self._combo.setPlaceholderText(
            f"Select a {self.nodeTypeLabel(self.nodeTypes[0] if self.nodeTypes else '')}"
        )
        self._updating = False
        self._observe_names(nodes)
        self._select(self._row_to_show(nodes, row_before, was_empty))

    def _row_to_show(self, nodes, row_before, was_empty) -> int:
        row = self._combo.findData(self._current_id) if self._current_id else -1
        if row >= 0:
            return row
        none_row = 0 if self.noneEnabled else -1
        if not nodes:
            return none_row
        if self._current_id:
            # The current node is gone: Qt shows what moved up to its row.
            row = min(row_before, self._combo.count() - 1)
            is_node = row >= 0 and bool(self._node_id(row))
            is_none = self.noneEnabled and row == 0
            return row if is_node or is_none else self._combo.findData(nodes[-1].GetID())
        # Qt selects the first row ever put into an empty list.
        return 0 if was_empty and self._combo.count() == len(nodes) else none_row

    def _add_actions(self):
        if self._scene is None:
            return
        one_type = self.nodeTypes[0] if len(self.nodeTypes) == 1 else ""
        label = self.nodeTypeLabel(one_type)
        entries = []
        if self.renameEnabled:
            entries.append((f"Rename current {label}", None))
        if self.editEnabled:
            entries.append((f"Edit current {label}", None))
        if self.addEnabled:
            entries += [
                (f"Create new {self.nodeTypeLabel(type_)}", ("create", type_))
                for type_ in self.nodeTypes
            ]
        if self.removeEnabled:
            entries.append((f"Delete current {label}", ("delete", "")))
        if entries:
            self._combo.insertSeparator(self._combo.count())
        for text, action in entries:
            self._combo.addItem(text, action)

    def _observe_names(self, nodes):
        self._name_observations.release()
        for node in nodes:
            self._name_observations.add(node, "ModifiedEvent", self._update_names)

    def _update_names(self):
        for row in range(self._combo.count()):
            node = self._node(row)
            if node is not None and self._combo.itemText(row) != node.GetName():
                self._combo.setItemText(row, node.GetName())

    # current node

    def _node_id(self, row) -> str:
        data = self._combo.itemData(row)
        return data if isinstance(data, str) else ""

    def _node(self, row):
        node_id = self._node_id(row)
        return self._scene.GetNodeByID(node_id) if self._scene and node_id else None

    def _select(self, row):
        self._updating = True
        self._combo.setCurrentIndex(row)
        self._updating = False
        self._announce()

    def _announce(self):
        node_id = self._node_id(self._combo.currentIndex())
        if node_id == self._current_id:
            return
        self._current_id = node_id
        node = self.currentNode()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(node_id)

    def _onIndexChanged(self, row):
        if not self._updating and not isinstance(self._combo.itemData(row), (tuple, list)):
            self._announce()

    def _onActivated(self, row):
        action = self._combo.itemData(row)
        if isinstance(action, (tuple, list)):
            self._select(self._combo.findData(self._current_id))
            if action[0] == "create":
                self.addNode(action[1])
            else:
                self.removeCurrentNode()
        else:
            self.nodeActivated.emit(self._node(row))

    def currentNode(self):
        return self._node(self._combo.currentIndex())

    def _currentNodeID(self):
        return self._current_id

    @Slot(object)
    def setCurrentNode(self, node):
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node else "")

    @Slot(str)
    def setCurrentNodeID(self, nodeID):
        nodeID = nodeID or ""
        if self._scene is None:
            self._requested_id = nodeID
            return
        row = self._combo.findData(nodeID) if nodeID else -1
        self._select(row if row >= 0 else (0 if self.noneEnabled else -1))

    currentNodeID = Property(str, _currentNodeID, setCurrentNodeID, notify=currentNodeIDChanged)
    currentNodeId = Property(str, _currentNodeID, setCurrentNodeID)

    @Slot(int)
    def setCurrentNodeIndex(self, index):
        node = self.nodeFromIndex(index)
        self.setCurrentNode(node)

    def nodeFromIndex(self, index):
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def nodeCount(self):
        return len(self._nodes())

    def addNode(self, nodeType=None):
        """Makes a node of the first type, or the given one, in the scene."""
        if not self.nodeTypes or self._scene is None:
            return None
        nodeType = nodeType or self.nodeTypes[0]
        if nodeType not in self.nodeTypes:
            return None
        node = self._scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        base = self.baseName or node.GetNodeTagName()
        node.SetName(self._scene.GenerateUniqueName(base))
        for type_, name, value in self._attributes:
            if node.IsA(type_) and value is not None:
                node.SetAttribute(name, str(value))
        node = self._scene.AddNode(node)
        self.nodeAdded.emit(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    @Slot()
    def removeCurrentNode(self):
        node = self.currentNode()
        if node is not None:
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)


def _has_attribute(node, name, value) -> bool:
    present = node.GetAttribute(name)
    return present is not None and (value is None or present == str(value))


class TableModel(QStandardItemModel):
    """qMRMLTableModel: the cells of a table node."""

    def showTable(self, node):
        self.clear()
        table = node.GetTable() if node else None
        if table is None or table.GetNumberOfColumns() == 0:
            return
        first = int(node.GetUseFirstColumnAsRowHeader())
        columns = range(first, table.GetNumberOfColumns())
        self.setRowCount(table.GetNumberOfRows())
        self.setColumnCount(len(columns))
        self.setHorizontalHeaderLabels([_column_title(node, table, c) for c in columns])
        for row in range(table.GetNumberOfRows()):
            if first:
                title = QStandardItem(table.GetValue(row, 0).ToString())
                self.setVerticalHeaderItem(row, title)
            for column in columns:
                self.setItem(row, column - first, self._cell(node, table, row, column))

    @staticmethod
    def _cell(node, table, row, column):
        value = table.GetValue(row, column)
        if table.GetColumn(column).IsA("vtkBitArray"):
            item = QStandardItem()
            item.setCheckable(True)
            item.setCheckState(Qt.Checked if value.ToInt() else Qt.Unchecked)
        else:
            item = QStandardItem(value.ToString())
        item.setEditable(not node.GetLocked())
        return item


def _column_title(node, table, column) -> str:
    name = table.GetColumnName(column) or ""
    title = (node.GetColumnTitle(name) or name) if node.GetUseColumnTitleAsColumnHeader() else name
    unit = node.GetColumnUnitLabel(name)
    return f"{title} [{unit}]" if unit else title


class TableView(QTableView):
    """qMRMLTableView: shows a table node."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self._node = None
        self._observations = Observations(self)
        self._model = TableModel(self)
        self.setModel(self._model)
        self.horizontalHeader().setStretchLastSection(False)

    transposed = stored(bool, "transposed", False)
    firstRowLocked = stored(bool, "firstRowLocked", False)
    firstColumnLocked = stored(bool, "firstColumnLocked", False)

    @Slot(object)
    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene

    @Slot(object)
    def setMRMLTableNode(self, node):
        self._observations.release()
        self._node = node
        if node is not None:
            self._observations.add(node, "ModifiedEvent", self._update)
        self._update()

    def mrmlTableNode(self):
        return self._node

    def tableModel(self):
        return self._model

    def _update(self):
        self._model.showTable(self._node)
        self.resizeColumnsToContents()


class SegmentsTableView(QWidget):
    """qMRMLSegmentsTableView: the segments of a segmentation node."""

    mrmlSceneChanged = Signal(object)
    selectionChanged = Signal(QItemSelection, QItemSelection)

    _VISIBLE, _COLOR, _OPACITY, _NAME, _STATUS, _LAYER = range(6)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self._node = None
        self._hidden = ()
        self._observations = Observations(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._table = QTableWidget(0, 6, self)
        self._table.setHorizontalHeaderLabels(["", "", "Opacity", "Name", "", "Layer"])
        self._table.verticalHeader().hide()
        self._table.setSelectionBehavior(QAbstractItemView.SelectRows)
        self._table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeToContents)
        self._table.horizontalHeader().setSectionResizeMode(self._NAME, QHeaderView.Stretch)
        self._table.itemChanged.connect(self._onItemChanged)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)
        layout.addWidget(self._table)
        self._updating = False
        self._updateColumns()

    visibilityColumnVisible = stored(bool, "visibilityColumnVisible", True, "_updateColumns")
    colorColumnVisible = stored(bool, "colorColumnVisible", True, "_updateColumns")
    opacityColumnVisible = stored(bool, "opacityColumnVisible", True, "_updateColumns")
    statusColumnVisible = stored(bool, "statusColumnVisible", False, "_updateColumns")
    layerColumnVisible = stored(bool, "layerColumnVisible", False, "_updateColumns")
    headerVisible = stored(bool, "headerVisible", True, "_updateColumns")
    filterBarVisible = stored(bool, "filterBarVisible", False)
    readOnly = stored(bool, "readOnly", False, "_update")
    textFilter = stored(str, "textFilter", "", "_update")
    jumpToSelectedSegmentEnabled = stored(bool, "jumpToSelectedSegmentEnabled", False)

    def _updateColumns(self):
        shown = {
            self._VISIBLE: self.visibilityColumnVisible,
            self._COLOR: self.colorColumnVisible,
            self._OPACITY: self.opacityColumnVisible,
            self._STATUS: self.statusColumnVisible,
            self._LAYER: self.layerColumnVisible,
        }
        for column, visible in shown.items():
            self._table.setColumnHidden(column, not visible)
        self._table.horizontalHeader().setVisible(self.headerVisible)

    @Slot(object)
    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene

    @Slot(object)
    def setSegmentationNode(self, node):
        self._observations.release()
        self._node = node
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (
                segmentation.SegmentAdded,
                segmentation.SegmentRemoved,
                segmentation.SegmentModified,
                segmentation.SegmentsOrderModified,
            ):
                self._observations.add(segmentation, event, self._update)
            if node.GetDisplayNode():
                self._observations.add(node.GetDisplayNode(), "ModifiedEvent", self._update)
        self._update()

    def segmentationNode(self):
        return self._node

    def tableWidget(self):
        return self._table

    def _segment_ids(self):
        if self._node is None:
            return []
        segmentation = self._node.GetSegmentation()
        wanted = self.textFilter.lower()
        return [
            segment_id
            for segment_id in segmentation.GetSegmentIDs()
            if segment_id not in self._hidden
            and wanted in segmentation.GetSegment(segment_id).GetName().lower()
        ]

    def _update(self):
        selected = self.selectedSegmentIDs()
        self._updating = True
        ids = self._segment_ids()
        self._table.setRowCount(len(ids))
        for row, segment_id in enumerate(ids):
            self._fill(row, segment_id)
        self._updating = False
        self.setSelectedSegmentIDs([name for name in selected if name in ids])

    def _fill(self, row, segment_id):
        segment = self._node.GetSegmentation().GetSegment(segment_id)
        display = self._node.GetDisplayNode()
        visible = QTableWidgetItem()
        shown = bool(display is None or display.GetSegmentVisibility(segment_id))
        visible.setCheckState(Qt.Checked if shown else Qt.Unchecked)
        color = QTableWidgetItem()
        pixmap = QPixmap(16, 16)
        pixmap.fill(QColor.fromRgbF(*segment.GetColor()))
        color.setIcon(QIcon(pixmap))
        opacity = QTableWidgetItem(
            f"{display.GetSegmentOpacity3D(segment_id):.2f}" if display else ""
        )
        name = QTableWidgetItem(segment.GetName())
        name.setData(Qt.UserRole, segment_id)
        cells = (visible, color, opacity, name, QTableWidgetItem(), QTableWidgetItem())
        for column, item in enumerate(cells):
            editable = column == self._NAME and not self.readOnly
            flags = item.flags()
            item.setFlags(flags | Qt.ItemIsEditable if editable else flags & ~Qt.ItemIsEditable)
            self._table.setItem(row, column, item)

    def _onItemChanged(self, item):
        if self._updating:
            return
        segment_id = self.segmentIDForRow(item.row())
        if item.column() == self._VISIBLE and self._node.GetDisplayNode():
            shown = item.checkState() == Qt.Checked
            self._node.GetDisplayNode().SetSegmentVisibility(segment_id, shown)
        elif item.column() == self._NAME:
            self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())

    def _segmentCount(self):
        return self._table.rowCount()

    segmentCount = Property(int, _segmentCount)

    def segmentIDForRow(self, row):
        item = self._table.item(row, self._NAME)
        return item.data(Qt.UserRole) if item else ""

    def rowForSegmentID(self, segmentID):
        ids = self.displayedSegmentIDs()
        return ids.index(segmentID) if segmentID in ids else -1

    def displayedSegmentIDs(self):
        return [self.segmentIDForRow(row) for row in range(self._table.rowCount())]

    def selectedSegmentIDs(self):
        rows = sorted({index.row() for index in self._table.selectedIndexes()})
        return [self.segmentIDForRow(row) for row in rows]

    def setSelectedSegmentIDs(self, segmentIDs):
        model = self._table.model()
        selection = QItemSelection()
        last = self._table.columnCount() - 1
        for segment_id in segmentIDs:
            row = self.rowForSegmentID(segment_id)
            if row >= 0:
                selection.select(model.index(row, 0), model.index(row, last))
        selection_model = self._table.selectionModel()
        selection_model.select(selection, selection_model.SelectionFlag.ClearAndSelect)

    @Slot()
    def clearSelection(self):
        self._table.clearSelection()

    def hideSegments(self, segmentIDs):
        self._hidden = tuple(segmentIDs)
        self._update()

    def setSelectionMode(self, mode):
        self._table.setSelectionMode(QAbstractItemView.SelectionMode(int(mode)))

    @Slot()
    def showOnlySelectedSegments(self):
        selected = self.selectedSegmentIDs()
        display = self._node.GetDisplayNode() if self._node else None
        for segment_id in self.displayedSegmentIDs() if display and selected else ():
            display.SetSegmentVisibility(segment_id, segment_id in selected)

    @Slot()
    def jumpSlices(self):
        """Centres the slice views on the first selected segment."""
        import slicer

        selected = self.selectedSegmentIDs()
        if selected and self._node is not None:
            centre = self._node.GetSegmentCenterRAS(selected[0])
            if centre is not None:
                slicer.vtkMRMLSliceNode.JumpAllSlices(
                    self._node.GetScene(), *centre, slicer.vtkMRMLSliceNode.CenteredJumpSlice
                )


class SegmentationShow3DButton(QPushButton):
    """qMRMLSegmentationShow3DButton: checked while closed surfaces are shown in 3D."""

    def __init__(self, parent=None):
        super().__init__("Show 3D", parent)
        self._node = None
        self.setCheckable(True)
        self.setEnabled(False)
        self.toggled.connect(self._onToggled)

    locked = stored(bool, "locked", False)

    @Slot(object)
    def setSegmentationNode(self, node):
        self._node = node
        self.setEnabled(node is not None)
        self.blockSignals(True)
        self.setChecked(bool(node and node.GetSegmentation().ContainsRepresentation(_SURFACE)))
        self.blockSignals(False)

    def segmentationNode(self):
        return self._node

    def _onToggled(self, shown):
        if self._node is None:
            return
        if shown:
            self._node.CreateClosedSurfaceRepresentation()
        else:
            self._node.RemoveClosedSurfaceRepresentation()


_SURFACE = "Closed surface"


class VolumeThresholdWidget(QWidget):
    """qMRMLVolumeThresholdWidget: lower and upper threshold of a volume's display."""

    thresholdValuesChanged = Signal(float, float)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._node = None
        self._lower, self._upper = QDoubleSpinBox(self), QDoubleSpinBox(self)
        for box in (self._lower, self._upper):
            box.setRange(-1e6, 1e6)
            layout.addWidget(box)
            box.valueChanged.connect(self._onValueChanged)

    def setMRMLVolumeNode(self, node):
        self._node = node
        display = node.GetDisplayNode() if node else None
        if display:
            self.setThreshold(display.GetLowerThreshold(), display.GetUpperThreshold())

    def mrmlVolumeNode(self):
        return self._node

    def setThreshold(self, lower, upper):
        self._lower.blockSignals(True)
        self._lower.setValue(lower)
        self._lower.blockSignals(False)
        self._upper.setValue(upper)
        self._onValueChanged()

    def setThresholdBounds(self, lower, upper):
        for box in (self._lower, self._upper):
            box.setRange(lower, upper)

    def _onValueChanged(self, *_):
        display = self._node.GetDisplayNode() if self._node else None
        if display:
            display.SetThreshold(self._lower.value(), self._upper.value())
        self.thresholdValuesChanged.emit(self._lower.value(), self._upper.value())

    lowerThreshold = Property(
        float, lambda self: self._lower.value(), lambda self, value: self._lower.setValue(value)
    )
    upperThreshold = Property(
        float, lambda self: self._upper.value(), lambda self, value: self._upper.setValue(value)
    )


# Desktop class -> native of this file.
NATIVES = {
    "qMRMLWidget": MRMLWidget,
    "qSlicerWidget": SlicerWidget,
    "qMRMLNodeComboBox": NodeComboBox,
    "qMRMLTableView": TableView,
    "qMRMLSegmentsTableView": SegmentsTableView,
    "qMRMLSegmentationShow3DButton": SegmentationShow3DButton,
    "qMRMLVolumeThresholdWidget": VolumeThresholdWidget,
}
# Desktop class -> ctk class that it extends by the scene and units.
UNIT_WIDGETS = {
    "qMRMLSliderWidget": "ctkSliderWidget",
    "qMRMLSpinBox": "ctkDoubleSpinBox",
    "qMRMLRangeWidget": "ctkRangeWidget",
    "qMRMLCollapsibleButton": "ctkCollapsibleButton",
}


def unit_widget(ctk_native: type) -> type:
    """A ctk widget that also knows the scene."""

    class UnitWidget(ctk_native):
        quantity = stored(str, "quantity", "")

        @Slot(object)
        def setMRMLScene(self, scene):
            self._scene = scene

        def mrmlScene(self):
            return getattr(self, "_scene", None)

    return UnitWidget


def register() -> dict[str, type]:
    """Makes the widgets known to .ui files; desktop class name -> wrapper class."""
    from . import pythonqt

    natives = dict(NATIVES)
    for name, base in UNIT_WIDGETS.items():
        if base not in pythonqt.uic_class_registry:
            continue
        natives[name] = unit_widget(pythonqt.uic_class_registry[base])
    return {
        name: pythonqt.register_widget_class(name, native) for name, native in natives.items()
    }
