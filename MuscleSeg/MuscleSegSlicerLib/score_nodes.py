# SPDX-License-Identifier: Apache-2.0
"""Scores of structures in the scene: two tables and a chart, in a folder of their own."""

import slicer
from slicer.i18n import tr as _

from MuscleSegLib.measurement_table import LABELS
from ReadingRoomLib.estimates import Estimate
from ReadingRoomSlicerLib import results, tables

STRUCTURE, PLACE = "Structure", "Place"
MEASURES = {"dice": _("Dice"), "asd_mm": _("ASD (mm)"), "nsd": _("NSD"), "hd95_mm": _("HD95 (mm)")}
"""Titles of the measures by their names in ``result.json``."""

LOW, HIGH = _("{measure}, low end of 95 %"), _("{measure}, high end of 95 %")


def estimatesOf(manifest) -> dict:
    """The estimates of ``result.json`` by structure as people call it, and by measure."""
    return {LABELS[name, ""].structure.display_name: {
        measure: Estimate.read(value) for measure, value in own.items()}
        for name, own in manifest.get("by_structure", {}).items()}


def show(manifest, rows, name: str) -> tuple:
    """Put the scores into the scene.

    :param manifest: of the command ``evaluate``.
    :param rows: of its ``scores.csv``, each a dictionary of texts.
    :param name: of the result.
    :return: table of structures, table of all scores, chart.
    """
    summary = _placed(results.nodeFor(
        "vtkMRMLTableNode", _("{name}, structures").format(name=name)), name)
    tables.setColumns(summary, _summaryColumns(estimatesOf(manifest)))
    scores = _placed(results.nodeFor(
        "vtkMRMLTableNode", _("{name}, scores").format(name=name)), name)
    tables.setColumns(scores, {key: _numbers([row[key] for row in rows]) for key in rows[0]}
                      if rows else {})
    return summary, scores, _chart(summary, name)


def _summaryColumns(estimates) -> dict:
    columns = {STRUCTURE: list(estimates), PLACE: list(range(1, len(estimates) + 1))}
    for measure, title in MEASURES.items():
        found = [own[measure] for own in estimates.values()]
        columns[title] = [float(one.value) for one in found]
        columns[LOW.format(measure=title)] = [float(one.low) for one in found]
        columns[HIGH.format(measure=title)] = [float(one.high) for one in found]
    return columns


def _chart(summary, name: str):
    """Dice of each structure with the ends of its interval."""
    dice = MEASURES["dice"]
    chart = _placed(results.nodeFor(
        "vtkMRMLPlotChartNode", _("{name}, Dice").format(name=name)), name)
    chart.SetTitle(_("Dice of each structure, mean over patients with 95 % interval"))
    chart.SetXAxisTitle(_("Structures, in the order of the table"))
    chart.SetYAxisTitle(dice)
    for column, marker in ((dice, "Circle"), (LOW.format(measure=dice), "Cross"),
                           (HIGH.format(measure=dice), "Cross")):
        series = _placed(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", column), name)
        series.SetAndObserveTableNodeID(summary.GetID())
        series.SetXColumnName(PLACE)
        series.SetYColumnName(column)
        series.SetLabelColumnName(STRUCTURE)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetLineStyle(series.LineStyleNone)
        series.SetMarkerStyle(getattr(series, f"MarkerStyle{marker}"))
        series.SetColor(0.0, 0.45, 0.70)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def _numbers(texts: list) -> list:
    """A column as numbers, nothing as NaN; as texts where it holds words."""
    try:
        return [float(text or "nan") for text in texts] if any(texts) else texts
    except ValueError:
        return texts


def _placed(node, name: str):
    """Put a node into the folder of its result, where the Data module shows it; return it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    scene = hierarchy.GetSceneItemID()
    folder = hierarchy.GetItemChildWithName(scene, name) or hierarchy.CreateFolderItem(scene, name)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)
    return node
