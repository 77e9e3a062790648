# SPDX-License-Identifier: Apache-2.0
"""The section "Train" of the panel: what is special about muscles."""

import os

import qt
from slicer.i18n import tr as _

from ReadingRoomSlicerLib.parted_training import PartedTrainingPanel
from ReadingRoomSlicerLib.training_panel import chosen, menu

from .command_section import fileOf
from .section_parts import purpose

NONE = "none"
CT, RANDOM = "ct", "random"
UNKNOWN, BACKGROUND = "unknown", "background"
CURVES = "curves "  # roles of files begin so


class MuscleTrainingPanel(PartedTrainingPanel):
    """Recipe, with what the network begins, how it is measured, which intensities it sees.

    :param owner: as for `TrainingPanel`; it has ``modelNames(recipe)``, too: names of the
      models of a recipe.
    :param recipes: pairs of value and label, for the menu.
    """

    further = ("matplotlib>=3.9",)

    def __init__(self, library: str, title: str, owner, recipes) -> None:
        super().__init__(library, title, owner)
        ui = self.ui
        ui.trainingOptionsLayout.insertRow(0, purpose(_(
            "Train a model on images whose segmentation is known; it can then be chosen as model"
            " above.")))
        ui.trainingDataPathLineEdit.toolTip = _(
            "File that names the images, their segmentations and patients: a MONAI datalist"
            " (.json), such as the one that the section List of images writes.")
        ui.trainingDataPathLineEdit.settingKey = "MuscleSegList"
        ui.trainingDataPathLineEdit.currentPath = ""  # offered, but chosen by the user alone
        self.recipeComboBox = menu(recipes, _("How the network is built and what it sees."))
        self.addOption(_("Recipe:"), self.recipeComboBox)
        self.startComboBox = menu((), _(
            "With what the network begins: what a model of the same recipe has learned, or"
            " nothing."))
        self.addOption(_("Begin with:"), self.startComboBox)
        self.foldsSpinBox = qt.QSpinBox()
        self.foldsSpinBox.setRange(0, 20)
        self.foldsSpinBox.value = 4
        self.foldsSpinBox.specialValueText = _("none")
        self.foldsSpinBox.toolTip = _(
            "Cross-validation by patient: so many networks are trained beside the final one, each"
            " without some of the patients, and measured on these. Takes so many times as long."
            " Without it only the validation part of the list is measured, if it has one.")
        self.foldsSpinBox.connect("valueChanged(int)", self.checkCanStart)
        self.addOption(_("Folds:"), self.foldsSpinBox)
        self.intensitiesComboBox = menu(
            ((CT, _("as in the CTs of the list")),
             (RANDOM, _("at random, to segment MRI, too (for research)"))),
            _("At random: the network learns shapes and not densities, from the same CTs."))
        self.addOption(_("Intensities:"), self.intensitiesComboBox)
        self.unnamedComboBox = menu(
            ((UNKNOWN, _("not known")), (BACKGROUND, _("background"))),
            _("What lies beside the labels where a segmentation names only some of the"
              " structures. Not known: nothing is learned from it."))
        self.addOption(_("Unlabelled:"), self.unnamedComboBox)
        self.recipeComboBox.connect("currentIndexChanged(int)", self.showModels)
        self.showModels()

    def chooseList(self, path: str) -> None:
        """Learn from this list next."""
        self.ui.trainingDataPathLineEdit.currentPath = path

    def showModels(self, index=None) -> None:
        """Offer the models that there are to begin with."""
        before = chosen(self.startComboBox)
        names = self._owner.modelNames(chosen(self.recipeComboBox))
        self.startComboBox.clear()
        for name in names:
            self.startComboBox.addItem(name, name)
        self.startComboBox.addItem(_("nothing"), NONE)
        if before in (*names, NONE):
            self.startComboBox.currentIndex = (*names, NONE).index(before)

    def options(self) -> dict:
        return {"recipe": chosen(self.recipeComboBox), "start": chosen(self.startComboBox),
                "folds": self.foldsSpinBox.value,
                "intensities": chosen(self.intensitiesComboBox),
                "unnamed": chosen(self.unnamedComboBox)}

    def reasonForOptions(self) -> str:
        if self.foldsSpinBox.value == 1:
            return _("Choose at least two folds, or none.")
        return ""

    def _markIn(self, work: str) -> str:
        """The folder of a work that was begun."""
        return os.path.join(work, "training")

    # What came of it

    def showFinished(self, manifest) -> None:
        """Say what came of it, and let the model be chosen."""
        super().showFinished(manifest)
        pictures = {_("Scores: patients and structures"): fileOf(manifest, "heat_map")}
        pictures |= {_("Curves: {part}").format(part=role.removeprefix(CURVES)):
                     fileOf(manifest, role)
                     for role in manifest["files"] if role.startswith(CURVES)}
        self.offerPictures(pictures)

    def summaryOf(self, manifest) -> str:
        found = manifest.get("measured", {}).get("all")
        if not found:
            return _("Nothing was measured: choose folds, or give the list a validation part.")
        return _("In patients that it was not trained on, with 95 % intervals: Dice {dice},"
                 " average surface distance {distance} mm.").format(
            dice=found["dice"], distance=found["asd_mm"])
