# SPDX-License-Identifier: Apache-2.0
"""The section "Evaluate": how right segmentations are, and how well doubt says so."""

import os

import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomLib.estimates import Estimate
from ReadingRoomSlicerLib import tables
from ReadingRoomSlicerLib.training_panel import asArguments, chosen, menu, offer

from . import score_nodes
from .command_section import CommandSection, fileOf, reasonForFolder
from .section_parts import TableRow, fileLineEdit, folderLineEdit, pushButton, showRows, table

MODEL, ATLASES, PREDICTIONS, CONFIDENCE = "model", "multi-atlas", "predictions", "confidence"
FURTHER = {ATLASES: ("itk-elastix>=0.23",), CONFIDENCE: ("mapie>=1.0", "scikit-learn>=1.6")}
PREDICTED = "predicted Dice"  # among the scores that confidence is measured by
HEADERS = (
    (_("Structure"), _("Sides together, as published.")),
    (_("Dice"), _("Overlap, 0 to 1: mean over patients, with 95 % interval.")),
    (_("ASD mm"), _("Average distance of the surfaces: mean over patients, with 95 % interval.")),
)


class EvaluateSection(CommandSection):
    """What is measured on which list; table, chart, picture.

    :param owner: as for `CommandSection`; it has ``modelNames()``, too.
    """

    def __init__(self, library: str, owner) -> None:
        super().__init__(library, owner, _("Evaluate"), _(
            "How close are segmentations to those of a list, and does the confidence tell which of"
            " them to check?"), _("Start"))
        self._report = ""
        self.chart = None
        self.dataLineEdit = fileLineEdit(_(
            "File that names the images, their segmentations and patients: a MONAI datalist"
            " (.json), such as the one that the section List of images writes."), "MuscleSegList")
        self.addRow(_("List of images:"), self.dataLineEdit, "currentPathChanged(QString)")
        self.methodComboBox = menu(
            ((MODEL, _("a model")), (ATLASES, _("multi-atlas, to compare with")),
             (PREDICTIONS, _("segmentations of a folder")),
             (CONFIDENCE, _("the confidence of a model"))), _("What is measured."))
        self.addRow(_("Measure:"), self.methodComboBox)
        self.methodComboBox.connect("currentIndexChanged(int)", self._onMethodChanged)
        self.modelComboBox = menu((), _("The model that is measured."))
        self.addRow(_("Model:"), self.modelComboBox)
        self.atlasesLineEdit = fileLineEdit(_(
            "List of images with segmentations that are laid over each image. Leave it empty for"
            " the list above; an atlas of the same patient is never used."),
            "MuscleSegAtlases")
        self.addRow(_("Atlases:"), self.atlasesLineEdit, "currentPathChanged(QString)")
        self.predictionsLineEdit = folderLineEdit(_(
            "Folder of segmentations that were made by anything, each called as its image."),
            "MuscleSegPredictions")
        self.addRow(_("Predictions:"), self.predictionsLineEdit, "currentPathChanged(QString)")
        self.samplesSpinBox = qt.QSpinBox()
        self.samplesSpinBox.setRange(1, 100)
        self.samplesSpinBox.value = 10
        self.samplesSpinBox.toolTip = _("How often the network looks at each image.")
        self.addRow(_("Samples:"), self.samplesSpinBox, "valueChanged(int)")
        self.folderLineEdit = folderLineEdit(
            _("Where the result goes, into a folder of its own."), "MuscleSegEvaluations")
        self.addRow(_("Folder:"), self.folderLineEdit, "currentPathChanged(QString)")
        self.nameLineEdit = qt.QLineEdit("scores")
        self.nameLineEdit.toolTip = _("Name of the new folder.")
        self.addRow(_("Name:"), self.nameLineEdit, "textChanged(QString)")
        self.table = table(HEADERS)
        self.resultLayout.insertWidget(0, self.table)
        self.chartButton = pushButton(
            _("Show chart"), _("Show the Dice of each structure in Slicer's plot view."),
            self.onChartButton)
        self.reportButton = pushButton(
            _("Report"), _("Open the report with all numbers in the browser."),
            self.onReportButton)
        self.folderButton = pushButton(
            _("Open folder"), _("Open the folder of the result."), self.onFolderButton)
        for button in (self.chartButton, self.reportButton, self.folderButton):
            self.buttonsLayout.addWidget(button)
        self._folder = ""
        self.showModels()
        self._onMethodChanged()

    # What the module's widget calls

    def chooseList(self, path: str) -> None:
        """Measure on this list next."""
        self.dataLineEdit.currentPath = path

    def showModels(self) -> None:
        """Offer the models that there are."""
        offer(self.modelComboBox, self._owner.modelNames())
        self.check()

    @property
    def further(self) -> tuple:
        return ("matplotlib>=3.9", *FURTHER.get(self.method, ()))

    @property
    def deepLearning(self) -> bool:
        return self._usesModel

    @property
    def method(self) -> str:
        """What is measured."""
        return chosen(self.methodComboBox)

    @property
    def _usesModel(self) -> bool:
        return self.method in (MODEL, CONFIDENCE)

    def _onMethodChanged(self, index=None) -> None:
        self.showRow(self.modelComboBox, self._usesModel)
        self.showRow(self.samplesSpinBox, self._usesModel)
        self.showRow(self.atlasesLineEdit, self.method == ATLASES)
        self.showRow(self.predictionsLineEdit, self.method == PREDICTIONS)
        self.check()

    # Start

    def reasonNotToStart(self) -> str:
        if not os.path.isfile(self.dataLineEdit.currentPath):
            return _("Choose the file that lists the images first.")
        if self._usesModel and not chosen(self.modelComboBox):
            return _("No model is installed.")
        if self.method == CONFIDENCE and self.samplesSpinBox.value < 2:
            return _("Confidence needs at least two samples.")
        atlases = self.atlasesLineEdit.currentPath
        if self.method == ATLASES and atlases and not os.path.isfile(atlases):
            return _("The list of the atlases cannot be found.")
        if self.method == PREDICTIONS and not os.path.isdir(self.predictionsLineEdit.currentPath):
            return _("Choose the folder of the segmentations.")
        return reasonForFolder(self.folderLineEdit.currentPath, self.nameLineEdit.text.strip())

    def startToolTip(self) -> str:
        if self.method == CONFIDENCE:
            return _("Segment every image and see how well its confidence tells how right it is.")
        return _("Compare the segmentation of every image with that of the list.")

    def start(self) -> None:
        for pathLineEdit in (self.dataLineEdit, self.folderLineEdit):
            pathLineEdit.addCurrentPathToHistory()
        command = CONFIDENCE if self.method == CONFIDENCE else "evaluate"
        options = {
            "output": os.path.join(self.folderLineEdit.currentPath,
                                   self.nameLineEdit.text.strip()),
            "method": self.method if self.method in (ATLASES, PREDICTIONS) else None,
            **self._owner.computeOptions()}
        if self._usesModel:
            options |= {"model": chosen(self.modelComboBox), "samples": self.samplesSpinBox.value}
        elif self.method == ATLASES:
            options["atlases"] = self.atlasesLineEdit.currentPath or None
        else:
            options["predictions"] = self.predictionsLineEdit.currentPath
        self.run([command, self.dataLineEdit.currentPath, *asArguments(options)],
                 self.showFinished)

    # What came of it

    def showFinished(self, manifest) -> None:
        """Put tables and chart into the scene, and say the most important numbers."""
        self._folder, self._report = manifest["folder"], fileOf(manifest, "report")
        name = os.path.basename(manifest["folder"])
        scores = fileOf(manifest, "scores")
        self.chart = None
        estimates = score_nodes.estimatesOf(manifest)
        if estimates and scores:
            _summary, _scores, self.chart = score_nodes.show(
                manifest, tables.readRows(scores), name)
        self.table.visible = bool(estimates)
        showRows(self.table, [TableRow([structure, str(own["dice"]), str(own["asd_mm"])])
                              for structure, own in estimates.items()])
        self.showPicture(fileOf(manifest, "heat_map") or fileOf(manifest, "scatter"))
        self.chartButton.visible = self.chart is not None
        self.reportButton.visible = bool(self._report)
        self.resultWidget.visible = True
        self.showMessage("\n".join([*summaryLines(manifest), *manifest["warnings"]]))

    def onChartButton(self, checked=False) -> None:
        """Show the chart in Slicer's plot view."""
        if self.chart and self.chart.GetScene():
            slicer.modules.plots.logic().ShowChartInLayout(self.chart)
        else:
            self.showMessage(_("The chart was removed from the scene: see the folder."))

    def onReportButton(self, checked=False) -> None:
        """Open the report in the browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._report))

    def onFolderButton(self, checked=False) -> None:
        """Open the folder of the result."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._folder))


def summaryLines(manifest) -> list:
    """What was found, in a sentence or some."""
    if "detection" in manifest:
        return _confidenceLines(manifest)
    found = manifest.get("measured", {}).get("all")
    if not found:
        return []
    return [_("{patients} patients, with 95 % intervals: Dice {dice}; average surface distance"
              " {distance} mm; {within} of {muscles} muscles at or under 1 mm.").format(
        patients=manifest["patients"], dice=found["dice"], distance=found["asd_mm"],
        within=manifest["muscles_within_1_mm"], muscles=manifest["muscles"])]


def _confidenceLines(manifest) -> list:
    auroc = Estimate.read(manifest["detection"][PREDICTED]["auroc"])
    coverage = Estimate.read(manifest["coverage"])
    own = manifest.get("own_promise")
    held = [_("What the model promises already holds for {coverage}.").format(
        coverage=Estimate.read(own["coverage"]).per_cent())] if own else []
    return [
        _("Structures with a Dice below {level} are found by the predicted Dice with an AUROC of"
          " {auroc} (95 % interval in brackets).").format(level=manifest["level"], auroc=auroc),
        _("The lower bound holds for {coverage} of the structures; promised {promised} %.").format(
            coverage=coverage.per_cent(), promised=round(100 * manifest["coverage_promised"])),
        *held,
        _("The calibration can be chosen above, under Advanced.")]
