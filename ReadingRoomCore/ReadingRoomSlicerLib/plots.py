# SPDX-License-Identifier: Apache-2.0
"""Learning curves in the scene: a table, a plot series for each curve, a chart."""

import slicer
from slicer.i18n import tr as _

from ReadingRoomLib.learning_curves import COLORS, VALIDATION

from . import results, tables

STEP = "step"


class CurvePlot:
    """The chart of a training, in Slicer's plot view while it goes on.

    :param name: of the chart.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.table = None
        self.chart = None
        self._givenName = ""
        self._series = {}
        self._columns = {}

    def forget(self) -> None:
        """Another training begins; a chart that was renamed is kept, and a new one made."""
        self._columns = {}
        if self.chart and self.chart.GetName() != self._givenName:
            self.table = self.chart = None
            self._series = {}

    def update(self, columns: dict) -> None:
        """Show other curves. Nodes that the user removed come back when the chart is shown again.

        :param columns: from `ReadingRoomLib.learning_curves.table_of`.
        """
        isFirst = not self._columns
        self._columns = columns
        if isFirst or self.isInScene:
            self._fill()

    def show(self) -> None:
        """Show the chart in Slicer's plot view; the layout changes to one that has it."""
        self._fill()
        slicer.modules.plots.logic().ShowChartInLayout(self.chart)

    @property
    def isInScene(self) -> bool:
        """Whether the chart is still there."""
        return bool(self.chart and self.chart.GetScene() and self.table.GetScene())

    def _fill(self) -> None:
        self.table = _nodeFor("vtkMRMLTableNode", self.table,
                              _("{name}, table").format(name=self.name))
        if not (self.chart and self.chart.GetScene()):
            self.chart = _nodeFor("vtkMRMLPlotChartNode", None, self.name)
            self._givenName = self.chart.GetName()  # with a number, where the name is taken
        tables.setColumns(self.table, self._columns)
        modified = self.chart.StartModify()
        self.chart.SetTitle(self.name)
        self.chart.SetXAxisTitle(_("Step"))
        self.chart.SetYAxisTitle(_("Accuracy (solid), loss (dashed)"))
        shown = [self.chart.GetNthPlotSeriesNodeID(index)
                 for index in range(self.chart.GetNumberOfPlotSeriesNodes())]
        wanted = [self._seriesOf(column).GetID() for column in self._columns if column != STEP]
        if shown != wanted:  # validation comes later, and stands beside its training
            self.chart.RemoveAllPlotSeriesNodeIDs()
            for seriesId in wanted:
                self.chart.AddAndObservePlotSeriesNodeID(seriesId)
        self.chart.EndModify(modified)

    def _seriesOf(self, column: str):
        """The node of a curve, which is told by its colour and style."""
        prefix = VALIDATION if column.startswith(VALIDATION) else ""
        quantity = column.removeprefix(prefix)
        title = _("{quantity}, validation") if prefix else _("{quantity}, training")
        series = _nodeFor("vtkMRMLPlotSeriesNode", self._series.get(column),
                          title.format(quantity=quantity))
        self._series[column] = series
        series.SetAndObserveTableNodeID(self.table.GetID())
        series.SetXColumnName(STEP)
        series.SetYColumnName(column)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleNone)
        series.SetLineStyle(series.LineStyleDash if quantity == "loss" else series.LineStyleSolid)
        series.SetColor(*(value / 255 for value in COLORS[prefix]))
        return series


def _nodeFor(className: str, previous, name: str):
    """A node that is in the scene still, or another one."""
    return previous if previous and previous.GetScene() else results.nodeFor(className, name)
