# SPDX-License-Identifier: Apache-2.0
"""What was measured of a segmentation, in the scene: a table and a chart, found by references."""

import math

import slicer
from slicer.i18n import tr as _

from MuscleSegLib.measurement_table import LABELS
from ReadingRoomSlicerLib import results, tables, volumes

MEASURED, CHART = "MuscleSeg.measured", "MuscleSeg.chart"  # roles of node references
STRUCTURE, SIDE, REMARK = "Structure", "Side", "Remark"
VOLUME, DENSITY, FAT, ASYMMETRY = "Volume (mL)", "Mean HU", "Fat", "Volume asymmetry (%)"
NUMBERS = {
    "volume_ml": VOLUME, "mean_hu": DENSITY, "sd_hu": "SD HU", "fat_fraction": FAT,
    "fat_fraction_inside": "Fat inside", "low_attenuation_fraction": "Low attenuation",
    "low_attenuation_fraction_inside": "Low attenuation inside",
    "max_area_cm2": "Largest area (cm2)", "max_area_s_mm": "Area at S (mm)",
    "centroid_l_mm": "Centre L (mm)", "centroid_p_mm": "Centre P (mm)",
    "centroid_s_mm": "Centre S (mm)", "volume_asymmetry_percent": ASYMMETRY,
    "hu_asymmetry_percent": "HU asymmetry (%)", "hu_difference": "HU left minus right",
}
"""Titles of the columns of numbers by their names in ``muscles.csv``."""

COLORS = {"left": (0.0, 0.45, 0.70), "right": (0.84, 0.37, 0.0)}


def columnsOf(rows) -> dict:
    """Lines of ``muscles.csv`` as columns of a table; what does not apply is NaN."""
    return {
        STRUCTURE: [LABELS[row["structure"], ""].structure.display_name for row in rows],
        SIDE: [row["side"] for row in rows],
        **{title: [float(row[name] or "nan") for row in rows] for name, title in NUMBERS.items()},
        "Cut off": [row["cut_off"] for row in rows],
        REMARK: [row["remark"] for row in rows],
    }


def measuredOf(segmentationNode):
    """The table that was measured of a segmentation; None where there is none any more."""
    return segmentationNode.GetNodeReference(MEASURED) if segmentationNode else None


def chartOf(tableNode):
    """The chart of a table; None where there is none any more."""
    return tableNode.GetNodeReference(CHART) if tableNode else None


def show(rows, segmentationNode, volumeNode):
    """Put what was measured into the scene, beside the CT; return the table node.

    :param rows: of ``muscles.csv``, each a dictionary of texts.
    """
    name = _("{name} measured").format(name=segmentationNode.GetName())
    previous = measuredOf(segmentationNode)
    tableNode = results.nodeFor("vtkMRMLTableNode", name, previous)
    tables.setColumns(tableNode, columnsOf(rows))
    segmentationNode.SetNodeReferenceID(MEASURED, tableNode.GetID())
    chart = _chart(tableNode, _("{name}, volumes").format(name=name))
    tableNode.SetNodeReferenceID(CHART, chart.GetID())
    for node in (tableNode, chart):
        volumes.placeWith(node, volumeNode)
    return tableNode


def pairs(tableNode) -> dict:
    """The lines of a table by structure: dictionaries by column, by side."""
    columns = tables.columns(tableNode)
    found = {}
    for index, structure in enumerate(columns[STRUCTURE]):
        found.setdefault(structure, {})[columns[SIDE][index]] = {
            name: values[index] for name, values in columns.items()}
    return found


def largestAsymmetry(tableNode) -> tuple:
    """The structure whose sides differ most in volume, and by how many per cent.

    :return: an empty text and NaN where no sides can be compared.
    """
    found = [(line[ASYMMETRY], structure) for structure, sides in pairs(tableNode).items()
             for line in sides.values() if not math.isnan(line[ASYMMETRY])]
    value, structure = max(found, default=(math.nan, ""))
    return structure, value


def _chart(tableNode, name: str):
    """Volumes of the structures of which both sides are there, left beside right, as bars."""
    previous = chartOf(tableNode)
    chart = results.nodeFor("vtkMRMLPlotChartNode", name, previous)
    both = {structure: sides for structure, sides in pairs(tableNode).items()
            if set(COLORS) <= set(sides)}
    points = _plotted(chart, name)
    tables.setColumns(points, {
        STRUCTURE: list(both),
        **{side: [sides[side][VOLUME] for sides in both.values()] for side in COLORS}})
    chart.SetTitle(_("Volume, left beside right"))
    chart.SetXAxisTitle(_("Structures, in the order of the table"))
    chart.SetYAxisTitle(VOLUME)
    shown = chart.GetNthPlotSeriesNode(0) if chart.GetNumberOfPlotSeriesNodes() else None
    if not shown or shown.GetTableNode() != points:
        chart.RemoveAllPlotSeriesNodeIDs()
        for side, color in COLORS.items():
            chart.AddAndObservePlotSeriesNodeID(_series(points, side, color).GetID())
    return chart


def _plotted(chart, name: str):
    """The table with what a chart shows: that of before, or a new one."""
    series = chart.GetNthPlotSeriesNode(0) if chart.GetNumberOfPlotSeriesNodes() else None
    return results.nodeFor("vtkMRMLTableNode", _("{name}, table").format(name=name),
                           series and series.GetTableNode())


def _series(points, side: str, color):
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", side)
    series.SetAndObserveTableNodeID(points.GetID())
    series.SetYColumnName(side)
    series.SetLabelColumnName(STRUCTURE)
    series.SetPlotType(series.PlotTypeBar)
    series.SetColor(*color)
    return series
