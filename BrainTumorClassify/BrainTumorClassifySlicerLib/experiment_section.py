# SPDX-License-Identifier: Apache-2.0
"""The section "Experiment": the published comparison of networks on images of one's own."""

import os

import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomSlicerLib import results, tables
from ReadingRoomSlicerLib.training_panel import TrainingPanel, chosen, menu

NETWORKS = {"alexnet": _("AlexNet"), "googlenet": _("GoogLeNet"), "resnet50": _("ResNet50"),
            "modern": _("Ours")}
CLAIM = "experiment.txt"
PATIENT, IMAGE, BOTH = "patient", "image", "both"
COLORS = {PATIENT: (0.0, 0.45, 0.70), IMAGE: (0.84, 0.37, 0.0)}  # as in the report
SIDE_STEP = {PATIENT: 0.15, IMAGE: -0.15}
SPREAD = 0.1  # of the repetitions, so that equal accuracies do not hide each other


class ExperimentPanel(TrainingPanel):
    """Which networks, how patients are split, how often; the table and the chart of what came.

    :param owner: as for `TrainingPanel`.
    """

    command = "experiment"
    startToolTip = _("Train and test all networks on the images of the list. Takes hours.")
    further = ("matplotlib>=3.9", "torchvision>=0.21")

    def __init__(self, library: str, title: str, owner) -> None:
        super().__init__(library, title, owner)
        ui = self.ui
        ui.trainingCollapsibleButton.text = _("Experiment")
        ui.trainingDataPathLineEdit.toolTip = _(
            "File that names the slices of tumours, their kinds and patients: a MONAI datalist"
            " (.json), such as the one that 'braintumorclassify database' makes.")
        ui.trainingStepsSpinBox.toolTip = _(
            "How long each network is trained; as usual: ten passes through the images.")
        ui.trainingNameLineEdit.text = "experiment"
        ui.trainingNameLineEdit.toolTip = _("Name of the folder that the result goes into.")
        ui.cancelTrainingButton.toolTip = _("Stop. Start goes on where it was.")
        self._addNetworks()
        self.splitComboBox = menu((
            (PATIENT, _("by patient")), (BOTH, _("by patient, and by image to compare")),
            (IMAGE, _("by image, as published (leaks)"))),
            _("By image, other images of the same patients are learned from, so the accuracy is"
              " too high for new patients."))
        self.addOption(_("Split:"), self.splitComboBox)
        self.repeatsSpinBox = qt.QSpinBox()
        self.repeatsSpinBox.setRange(2, 1000)
        self.repeatsSpinBox.value = 10
        self.repeatsSpinBox.toolTip = _("How often patients are split anew, 7:3.")
        self.addOption(_("Repetitions:"), self.repeatsSpinBox)
        self.startComboBox = menu(
            (("imagenet", _("weights of ImageNet (downloaded once)")),
             ("random", _("random weights"))),
            _("With what the published networks begin."))
        self.addOption(_("Begin with:"), self.startComboBox)
        ui.showCurvesButton.text = _("Show chart")
        ui.showCurvesButton.toolTip = _("Show the accuracies in Slicer's plot view.")
        self.reportButton = qt.QPushButton(_("Report"))
        self.reportButton.toolTip = _("Open the report with all numbers in the browser.")
        self.reportButton.connect("clicked(bool)", self.onReportButton)
        ui.trainingCurvesWidget.layout().addWidget(self.reportButton)
        self.chart = None
        self._report = ""

    def _addNetworks(self) -> None:
        widget = qt.QWidget()
        layout = qt.QHBoxLayout(widget)
        layout.setContentsMargins(0, 0, 0, 0)
        self.networkCheckBoxes = {}
        for name, title in NETWORKS.items():
            checkBox = qt.QCheckBox(title)
            checkBox.checked = True
            checkBox.connect("toggled(bool)", self.checkCanStart)
            layout.addWidget(checkBox)
            self.networkCheckBoxes[name] = checkBox
        self.addOption(_("Networks:"), widget)

    def _markIn(self, work: str) -> str:
        return os.path.join(work, CLAIM)

    def networks(self) -> list:
        """Names of the networks that are chosen."""
        return [name for name, checkBox in self.networkCheckBoxes.items() if checkBox.checked]

    def options(self) -> dict:
        return {"models": self.networks(), "split": chosen(self.splitComboBox),
                "repeats": self.repeatsSpinBox.value, "start": chosen(self.startComboBox)}

    def reasonForOptions(self) -> str:
        return "" if self.networks() else _("Choose at least one network.")

    # What came of it

    def showFinished(self, manifest) -> None:
        """Put table and chart into the scene, and say the most important numbers."""
        files = {role: os.path.join(manifest["folder"], name)
                 for role, name in manifest["files"].items()}
        self._report = files["report"]
        self.chart = showAccuracies(
            tables.readRows(files["accuracy"]), manifest["summary"],
            os.path.basename(manifest["folder"]))
        self.showPicture(files["box_plot"])
        self.showMessage("\n".join([*summaryLines(manifest["summary"]), *manifest["warnings"]]))

    def onShowCurvesButton(self, checked=False) -> None:
        """Show the accuracies in Slicer's plot view."""
        if self.chart and self.chart.GetScene():
            slicer.modules.plots.logic().ShowChartInLayout(self.chart)
        else:
            self.showMessage(_("The chart was removed from the scene: read the report."))

    def onReportButton(self, checked=False) -> None:
        """Open the report in the browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._report))


def summaryLines(summary) -> list:
    """Accuracy of patients with its interval, a line for each split and network."""
    lines = []
    for split, models in summary.items():
        word = _("by patient") if split == PATIENT else _("by image, leaking")
        sentence = _("{network}, split {split}: {value} ({low} to {high}) of patients right.")
        lines += [sentence.format(
            network=NETWORKS.get(model, model), split=word,
            **{end: f"{levels['patients'][end]:.0%}" for end in ("value", "low", "high")})
            for model, levels in models.items()]
    return lines


def showAccuracies(rows, summary, name: str):
    """Put the accuracies into the scene: two tables, and a chart of all repetitions.

    :param rows: of ``accuracy.csv``, each a dictionary of texts.
    :param summary: of ``result.json``.
    :param name: of the experiment.
    :return: the chart node.
    """
    models = list(next(iter(summary.values())))
    summaryTable = results.nodeFor("vtkMRMLTableNode", _("{name}, summary").format(name=name))
    found = [(split, model, level, levels[level]) for split, of_split in summary.items()
             for model, levels in of_split.items() for level in levels]
    tables.setColumns(summaryTable, {
        "Split": [split for split, _model, _level, _one in found],
        "Network": [NETWORKS.get(model, model) for _split, model, _level, _one in found],
        "Of": [level for _split, _model, level, _one in found],
        **{title: [float(one[key]) for _split, _model, _level, one in found]
           for title, key in (("Median", "median"), ("Accuracy", "value"), ("Low", "low"),
                              ("High", "high"), ("Patients", "n"))}})
    chart = results.nodeFor("vtkMRMLPlotChartNode", name)
    chart.SetTitle(_("Accuracy of patients, each repetition"))
    chart.SetXAxisTitle("   ".join(
        f"{number} {NETWORKS.get(model, model)}" for number, model in enumerate(models, 1)))
    chart.SetYAxisTitle(_("Accuracy"))
    for split in summary:
        chart.AddAndObservePlotSeriesNodeID(
            _series([row for row in rows
                     if row["split"] == split and row["level"] == "patients"],
                    split, models, name).GetID())
    return chart


def _series(rows, split: str, models, name: str):
    """The accuracies of one kind of split as points, with their table."""
    word = _("by patient") if split == PATIENT else _("by image (leaks)")
    table = results.nodeFor("vtkMRMLTableNode", _("{name}, {split}").format(name=name, split=word))
    repetitions = [int(row["repetition"]) for row in rows]
    middle = (max(repetitions) + 1) / 2
    tables.setColumns(table, {
        "Place": [models.index(row["model"]) + 1 + SIDE_STEP[split]
                  + SPREAD * (repetition - middle) / middle
                  for row, repetition in zip(rows, repetitions, strict=True)],
        "Accuracy": [float(row["accuracy"]) for row in rows],
        "Network": [NETWORKS.get(row["model"], row["model"]) for row in rows],
        "Repetition": repetitions,
    })
    series = results.nodeFor("vtkMRMLPlotSeriesNode", word)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("Place")
    series.SetYColumnName("Accuracy")
    series.SetPlotType(series.PlotTypeScatter)
    series.SetLineStyle(series.LineStyleNone)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetColor(*COLORS[split])
    return series
