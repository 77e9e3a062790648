# SPDX-License-Identifier: Apache-2.0
"""Tables and charts of what was measured, in the scene."""

import os

import slicer
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import results, tables

ARMS = {"landmarks": _("landmarks"), "imagenet": _("ImageNet"), "random": _("random weights"),
        "cifar": _("CIFAR-10")}
MEANING = {
    "landmarks": _("The network of the model, which learned landmarks."),
    "imagenet": _("AlexNet, which learned photographs; fetched when it is needed first (64 MB)."),
    "random": _("Networks of the same build that learned nothing."),
    "cifar": _("A network of the same build that learned the small photographs of CIFAR-10."),
}
COLORS = {"landmarks": (0.0, 0.45, 0.70), "imagenet": (0.84, 0.37, 0.0),
          "random": (0.45, 0.45, 0.45), "cifar": (0.0, 0.62, 0.45)}
OTHER_COLOR = (0.8, 0.47, 0.65)

CURVES = {
    "auc_by_learners.csv": (_("AUC by weak learners"), "weak_learners", "auc",
                            _("Weak learners"), _("AUC")),
    "label_efficiency.csv": (_("AUC by training patients"), "training_patients", "auc",
                             _("Training patients with lesions or without"), _("AUC")),
    "froc.csv": (_("Sensitivity by false marks"), "false_marks_per_case", "sensitivity",
                 _("False marks per case"), _("Sensitivity")),
}
"""By file: title, column across, column upwards, and how the axes are called."""


def fileNamed(manifest, name: str) -> str:
    """Path of a file of a result by its name; empty where the result has none."""
    if name not in manifest.get("files", {}).values():
        return ""
    return os.path.join(manifest["folder"], name)


def _placed(node, name: str):
    """Put a node into the folder of its comparison, where the Data module shows it; return it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    scene = hierarchy.GetSceneItemID()
    folder = hierarchy.GetItemChildWithName(scene, name) or hierarchy.CreateFolderItem(scene, name)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)
    return node


def showTable(path: str, name: str, what: str):
    """Put a CSV file into the scene as a table node; columns of numbers are numbers."""
    rows = tables.readRows(path)
    node = _placed(results.nodeFor(
        "vtkMRMLTableNode", _("{name}, {what}").format(name=name, what=what)), name)
    tables.setColumns(node, {key: _numbers([row[key] for row in rows]) for key in rows[0]}
                      if rows else {})
    return node


def _numbers(texts: list) -> list:
    try:
        return [float(text) for text in texts]
    except ValueError:
        return texts


def showCurves(path: str, name: str):
    """Put a file with curves of several arms into the scene: a table, and a chart with intervals.

    :param path: of one of `CURVES`.
    :param name: of the comparison.
    :return: the chart node.
    """
    title, across, upwards, acrossTitle, upwardsTitle = CURVES[os.path.basename(path)]
    rows = [row for row in tables.readRows(path)
            if _isNumber(row[across]) and " - " not in row["arm"]]  # no differences between arms
    chart = _placed(results.nodeFor("vtkMRMLPlotChartNode", f"{name}, {title}"), name)
    chart.SetTitle(title)
    chart.SetXAxisTitle(acrossTitle)
    chart.SetYAxisTitle(upwardsTitle)
    chart.SetXAxisLogScale(across == "weak_learners")
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        table = _placed(results.nodeFor(
            "vtkMRMLTableNode", f"{name}, {title}, {ARMS.get(arm, arm)}"), name)
        tables.setColumns(table, {key: [float(row[key]) for row in own]
                                  for key in (across, upwards, "low", "high")})
        for column, style in ((upwards, "solid"), ("low", "dots"), ("high", "dots")):
            series = _placed(_series(table, across, column, arm, style), name)
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def _isNumber(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _series(table, across: str, column: str, arm: str, style: str):
    title = ARMS.get(arm, arm)
    ends = {"low": _("{arm}, low end of 95 %"), "high": _("{arm}, high end of 95 %")}
    # the legend shows the name, which several charts have
    series = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLPlotSeriesNode", ends.get(column, "{arm}").format(arm=title))
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(across)
    series.SetYColumnName(column)
    series.SetPlotType(series.PlotTypeScatter)
    series.SetMarkerStyle(series.MarkerStyleNone)
    series.SetLineStyle(series.LineStyleSolid if style == "solid" else series.LineStyleDot)
    series.SetLineWidth(2 if style == "solid" else 1)
    series.SetColor(*COLORS.get(arm, OTHER_COLOR))
    return series
