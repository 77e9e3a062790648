# SPDX-License-Identifier: Apache-2.0
"""The section "3 Transfer": lesions learned on top of landmarks, and of what else."""

import os

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from ReadingRoomSlicerLib.training_panel import TrainingPanel, chosen, menu, offer

from . import comparison_nodes
from .section_parts import purpose, rememberApart

CHOSEN_AT_FIRST = ("landmarks", "imagenet", "random")
OWN = "file"
RESULTS = "transfer"


class TransferPanel(TrainingPanel):
    """Which lesions, which beginnings are compared, where lesions are looked for.

    :param owner: as for `TrainingPanel`.
    """

    command = "transfer"
    startToolTip = _("Compare the beginnings on the lesions of the list. Takes long.")
    further = ("matplotlib>=3.9", "scikit-learn>=1.6")

    def __init__(self, library: str, title: str, owner) -> None:
        super().__init__(library, title, owner)
        ui = self.ui
        ui.trainingCollapsibleButton.text = _("3 Transfer")
        ui.trainingOptionsLayout.insertRow(0, purpose(_(
            "How well are lesions told from normal places when a network has learned landmarks"
            " first, or something else, or nothing?")))
        ui.trainingDataLabel.text = _("List of lesions:")
        ui.trainingDataPathLineEdit.toolTip = _(
            "File that names the images, their lesions (points or masks; an empty file of points"
            " where there is none) and patients: a MONAI datalist (.json).")
        ui.trainingNameLineEdit.toolTip = _("Name of the folder that the result goes into.")
        for part in (ui.trainingStepsSpinBox, ui.trainingStepsLabel):
            part.visible = False
        self._addArms()
        self._addRegion()
        ui.showCurvesButton.text = _("Show chart")
        ui.showCurvesButton.toolTip = _("Show the chosen chart in Slicer's plot view.")
        self.chartComboBox = menu((), _("Which chart or picture."))
        self.chartComboBox.connect("currentIndexChanged(int)", self._onChosen)
        self.reportButton = qt.QPushButton(_("Report"))
        self.reportButton.toolTip = _("Open the report with all numbers in the browser.")
        self.reportButton.connect("clicked(bool)", self.onReportButton)
        ui.trainingCurvesWidget.layout().insertWidget(0, self.chartComboBox)
        ui.trainingCurvesWidget.layout().addWidget(self.reportButton)
        self.charts = {}
        self._pictures = {}
        self._report = ""
        # these look at all of the above
        self.showModels()
        self._onArmsChanged()
        self._onRegionChanged()
        ui.trainingNameLineEdit.text = RESULTS
        rememberApart(ui.trainingDataPathLineEdit, "LandmarkPretrainLesions")

    def _addArms(self) -> None:
        self.modelComboBox = menu((), _("The model that learned landmarks."))
        self.addOption(_("Model:"), self.modelComboBox)
        widget = qt.QWidget()
        layout = qt.QGridLayout(widget)
        layout.setContentsMargins(0, 0, 0, 0)
        self.armCheckBoxes = {}
        for number, (name, title) in enumerate(comparison_nodes.ARMS.items()):
            checkBox = qt.QCheckBox(title)
            checkBox.checked = name in CHOSEN_AT_FIRST
            checkBox.connect("toggled(bool)", self._onArmsChanged)
            checkBox.toolTip = comparison_nodes.MEANING[name]
            layout.addWidget(checkBox, number // 2, number % 2)
            self.armCheckBoxes[name] = checkBox
        self.addOption(_("Compare:"), widget)
        self.cifarPathLineEdit = _pathLineEdit(_(
            "The archive of CIFAR-10 (cifar-10-binary.tar.gz), which is not shipped."))
        self.cifarPathLineEdit.connect("currentPathChanged(QString)", self.checkCanStart)
        self.addOption(_("CIFAR-10:"), self.cifarPathLineEdit)

    def _addRegion(self) -> None:
        self.regionComboBox = menu(
            (("vessels", _("vessels (MRA)")), ("lung", _("lung")), ("brain", _("brain")),
             ("bone", _("bone")), (OWN, _("a mask of your own"))),
            _("Where lesions are looked for."))
        self.regionComboBox.connect("currentIndexChanged(int)", self._onRegionChanged)
        self.addOption(_("Region:"), self.regionComboBox)
        self.regionPathLineEdit = _pathLineEdit(_("Mask of the region (NRRD or NIfTI)."))
        self.regionPathLineEdit.connect("currentPathChanged(QString)", self.checkCanStart)
        self.addOption(_("Mask:"), self.regionPathLineEdit)
        self.classifierComboBox = menu(
            (("adaboost", _("AdaBoost of weak learners (published)")),
             ("probe", _("linear probe")), ("finetune", _("fine-tuning of all weights"))),
            _("What is fitted on the features of the networks."))
        self.addOption(_("Classifier:"), self.classifierComboBox)
        self.patchSpinBox = qt.QDoubleSpinBox()
        self.patchSpinBox.setRange(0.0, 500.0)
        self.patchSpinBox.decimals = 1
        self.patchSpinBox.suffix = _(" mm")
        self.patchSpinBox.specialValueText = _("as usual for the region")
        self.patchSpinBox.toolTip = _("Side of the patches around lesions and normal places.")
        self.addOption(_("Patch:"), self.patchSpinBox)

    def showModels(self) -> None:
        """Offer the models that there are."""
        offer(self.modelComboBox, self._owner.modelNames())
        self.checkCanStart()

    def arms(self) -> list:
        """Names of the beginnings that are chosen, landmarks first."""
        return [name for name, checkBox in self.armCheckBoxes.items() if checkBox.checked]

    def _onArmsChanged(self, checked=None) -> None:
        self._showRow(self.cifarPathLineEdit, "cifar" in self.arms())
        self.checkCanStart()

    def _onRegionChanged(self, index=None) -> None:
        self._showRow(self.regionPathLineEdit, chosen(self.regionComboBox) == OWN)
        self.checkCanStart()

    def _showRow(self, part, shown: bool) -> None:
        part.visible = shown
        self.ui.trainingOptionsLayout.labelForField(part).visible = shown

    def options(self) -> dict:
        region = chosen(self.regionComboBox)
        return {
            "data": None, "steps": None, "lesions": self.ui.trainingDataPathLineEdit.currentPath,
            "arms": self.arms(), "model": chosen(self.modelComboBox),
            "cifar": self.cifarPathLineEdit.currentPath if "cifar" in self.arms() else None,
            "region": self.regionPathLineEdit.currentPath if region == OWN else region,
            "classifier": chosen(self.classifierComboBox),
            "patch-mm": self.patchSpinBox.value or None}

    def reasonForOptions(self) -> str:
        if not chosen(self.modelComboBox):
            return _("No model that learned landmarks is installed: pretrain one first.")
        if not self.arms():
            return _("Choose at least one beginning.")
        if "cifar" in self.arms() and not os.path.isfile(self.cifarPathLineEdit.currentPath):
            return _("Choose the archive of CIFAR-10, or leave it out.")
        if (chosen(self.regionComboBox) == OWN
                and not os.path.isfile(self.regionPathLineEdit.currentPath)):
            return _("Choose the mask of the region.")
        return ""

    def _markIn(self, work: str) -> str:
        """The folder of a work that was begun."""
        return work

    # What came of it

    def showFinished(self, manifest) -> None:
        """Put tables and charts into the scene, and say the most important numbers."""
        name = os.path.basename(manifest["folder"])
        self._report = comparison_nodes.fileNamed(manifest, "report.html")
        self.charts, self._pictures = {}, {}
        for file, (title, *_axes) in comparison_nodes.CURVES.items():
            if path := comparison_nodes.fileNamed(manifest, file):
                self.charts[title] = comparison_nodes.showCurves(path, name)
                self._pictures[title] = comparison_nodes.fileNamed(
                    manifest, file.replace(".csv", ".png"))
        if gallery := comparison_nodes.fileNamed(manifest, "gallery.png"):
            self._pictures[_("Patches: right, wrong, unsure")] = gallery
        if comparisons := comparison_nodes.fileNamed(manifest, "comparisons.csv"):
            comparison_nodes.showTable(comparisons, name, _("comparisons"))
        self._offer()
        self.showMessage("\n".join([f"{sentence[:1].upper()}{sentence[1:]}" for sentence in
                                    (*manifest["finding"], *manifest["warnings"])]))

    def _offer(self) -> None:
        comboBox = self.chartComboBox
        blocked = comboBox.blockSignals(True)
        comboBox.clear()
        for title in self._pictures:
            comboBox.addItem(title, title)
        comboBox.blockSignals(blocked)
        self.ui.trainingCurvesWidget.visible = bool(self._pictures)
        self.reportButton.enabled = bool(self._report)
        self._onChosen()

    def _onChosen(self, index=None) -> None:
        title = chosen(self.chartComboBox)
        if path := self._pictures.get(title):
            self.showPicture(path)
        self.ui.showCurvesButton.enabled = title in self.charts

    def onShowCurvesButton(self, checked=False) -> None:
        """Show the chosen chart in Slicer's plot view."""
        chart = self.charts.get(chosen(self.chartComboBox))
        if chart and chart.GetScene():
            slicer.modules.plots.logic().ShowChartInLayout(chart)
        else:
            self.showMessage(_("The chart was removed from the scene: read the report."))

    def onReportButton(self, checked=False) -> None:
        """Open the report in the browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._report))


def _pathLineEdit(toolTip: str):
    lineEdit = ctk.ctkPathLineEdit()
    lineEdit.filters = ctk.ctkPathLineEdit.Files
    lineEdit.toolTip = toolTip
    return lineEdit
