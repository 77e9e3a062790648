# SPDX-License-Identifier: Apache-2.0
"""The section "2 Pretrain": a network learns landmarks, or the search for how it should."""

import os

import qt
from slicer.i18n import tr as _

from ReadingRoomSlicerLib.parted_training import PartedTrainingPanel
from ReadingRoomSlicerLib.training_panel import chosen, menu

from . import comparison_nodes
from .section_parts import purpose, rememberApart

PRETRAIN, SEARCH = "pretrain", "search"
RANDOM = "random"
CURVES = "-curves.png"
FEWEST = 3  # landmarks, and steps of a search
SEED, MODERN = "seed", "modern"
MEASURED = {
    "top_1": _("patches named right"), "top_5": _("right name among the first five"),
    "mre_mm": _("mean radial error (mm)"),
}


class PretrainingPanel(PartedTrainingPanel):
    """What is trained, on which landmarks; curves, what is confused, and the patches.

    :param owner: as for `TrainingPanel`.
    """

    def __init__(self, library: str, title: str, owner) -> None:
        self.workComboBox = menu(
            ((PRETRAIN, _("train a model")), (SEARCH, _("look for the best patch size and depth"))),
            _("The search trains many small networks for a short time each, and writes a table of"
              " them; it goes on where it was."))
        super().__init__(library, title, owner)
        ui = self.ui
        ui.trainingCollapsibleButton.text = _("2 Pretrain")
        ui.trainingOptionsLayout.insertRow(0, purpose(_(
            "Teach a network the landmarks of a list. It can then be chosen as model above.")))
        ui.trainingDataPathLineEdit.toolTip = _(
            "File that names the images, their landmarks and patients: a MONAI datalist (.json),"
            " such as the one that the section above writes.")
        self.addOption(_("Do:"), self.workComboBox)
        self._addModelOptions()
        self.trialsSpinBox = _spinBox(1, 10_000, 20, "")
        self.trialsSpinBox.toolTip = _("How many networks are tried, those of before included.")
        self.addOption(_("Trials:"), self.trialsSpinBox)
        self.modalityComboBox = menu((("CT", _("CT")), ("MR", _("MRI")), ("other", _("other"))),
                                     _("What the images are."))
        self.addOption(_("Images:"), self.modalityComboBox)
        for comboBox in (self.workComboBox, self.recipeComboBox):
            comboBox.connect("currentIndexChanged(int)", self._onWorkChanged)
        self.recipeComboBox.connect("currentIndexChanged(int)", self.showModels)
        for spinBox in (self.landmarksSpinBox, ui.trainingStepsSpinBox):
            spinBox.connect("valueChanged(int)", self.checkCanStart)
        self.showModels()
        self._onWorkChanged()
        rememberApart(ui.trainingDataPathLineEdit, "LandmarkPretrainCases")

    def _addModelOptions(self) -> None:
        self.recipeComboBox = menu(
            ((MODERN, _("modern: heat maps in 3D, coarse to fine")),
             (SEED, _("published: small VGG on three planes"))),
            _("How the network is built and what it learns."))
        self.addOption(_("Recipe:"), self.recipeComboBox)
        self.startComboBox = menu((), _(
            "With whose network of this recipe it begins. Its landmarks are learned anew."))
        self.addOption(_("Begin with:"), self.startComboBox)
        self.landmarksSpinBox = _spinBox(0, 10_000, 0, _("all"))
        self.landmarksSpinBox.toolTip = _("How many landmarks, those that most cases have.")
        self.addOption(_("Landmarks:"), self.landmarksSpinBox)
        self.patchSpinBox = qt.QDoubleSpinBox()
        self.patchSpinBox.setRange(0.0, 500.0)
        self.patchSpinBox.decimals = 1
        self.patchSpinBox.suffix = _(" mm")
        self.patchSpinBox.specialValueText = _("as usual")
        self.patchSpinBox.toolTip = _("Side of the patches around the landmarks.")
        self.addOption(_("Patch:"), self.patchSpinBox)
        self.depthSpinBox = _spinBox(2, 4, 3, "")
        self.depthSpinBox.toolTip = _("Blocks of the published network.")
        self.addOption(_("Depth:"), self.depthSpinBox)

    @property
    def command(self) -> str:
        return chosen(self.workComboBox)

    @property
    def further(self) -> tuple:
        return ("optuna>=4.0",) if self.command == SEARCH else ()

    @property
    def startToolTip(self) -> str:
        return _("Try networks on the landmarks of the list.") if self.command == SEARCH else _(
            "Train a network to name and find the landmarks of the list.")

    def chooseList(self, path: str) -> None:
        """Learn from this list next."""
        self.ui.trainingDataPathLineEdit.currentPath = path

    def _onWorkChanged(self, index=None) -> None:
        searches = self.command == SEARCH
        self.ui.trainingNameLineEdit.toolTip = _(
            "Name of the folder that the result goes into.") if searches else _(
            "What the model will be called in the list of models, and its folder.")
        form = self.ui.trainingOptionsLayout
        for part, shown in (
            (self.recipeComboBox, not searches), (self.startComboBox, not searches),
            (self.patchSpinBox, not searches),
            (self.depthSpinBox, not searches and chosen(self.recipeComboBox) == SEED),
            (self.trialsSpinBox, searches),
        ):
            part.visible = shown
            form.labelForField(part).visible = shown
        self.checkCanStart()

    def showModels(self, index=None) -> None:
        """Offer the models of the recipe that there are to begin with."""
        names = self._owner.modelNames(chosen(self.recipeComboBox))
        before = chosen(self.startComboBox)
        self.startComboBox.clear()
        for value, label in ((RANDOM, _("random weights")), *zip(names, names, strict=True)):
            self.startComboBox.addItem(label, value)
        self.startComboBox.currentIndex = 1 + names.index(before) if before in names else 0

    def options(self) -> dict:
        common = {"modality": chosen(self.modalityComboBox),
                  "landmarks": self.landmarksSpinBox.value or None}
        if self.command == SEARCH:
            return common | {"steps": self.ui.trainingStepsSpinBox.value or None,
                             "trials": self.trialsSpinBox.value}
        recipe = chosen(self.recipeComboBox)
        return common | {
            "recipe": recipe, "name": self.ui.trainingNameLineEdit.text.strip(),
            "start": chosen(self.startComboBox),
            "patch-mm": self.patchSpinBox.value or None,
            "depth": self.depthSpinBox.value if recipe == SEED else None}

    def reasonForOptions(self) -> str:
        if (self.command == PRETRAIN
                and self.ui.trainingNameLineEdit.text.strip() in self._owner.modelNames()):
            return _("There is a model of this name already: choose another name.")
        if 0 < self.landmarksSpinBox.value < FEWEST:
            return _("Learn at least three landmarks.")
        if self.command == SEARCH and 0 < self.ui.trainingStepsSpinBox.value < FEWEST:
            return _("Train for at least three steps.")
        return ""

    def _markIn(self, work: str) -> str:
        """The folder of a work that was begun."""
        return work

    # What came of it

    def showFinished(self, manifest) -> None:
        """Say what came of it; of a training, let the model be chosen."""
        pictures = {title: comparison_nodes.fileNamed(manifest, name) for title, name in (
            (_("What is confused"), "confusion.png"),
            (_("Patches: right, wrong, unsure"), "gallery.png"),
            (_("The search"), "search.png"))}
        pictures |= {_("Curves: {part}").format(part=name.removesuffix(CURVES)):
                     comparison_nodes.fileNamed(manifest, name)
                     for name in manifest["files"].values() if name.endswith(CURVES)}
        self.offerPictures(pictures)
        if trials := comparison_nodes.fileNamed(manifest, "trials.csv"):
            comparison_nodes.showTable(trials, os.path.basename(manifest["folder"]), _("trials"))
        if manifest.get("model"):
            self._owner.onTrained(manifest)
        self.showMessage("\n".join(filter(None, [
            self.summaryOf(manifest), *manifest["warnings"], _kept(manifest)])))

    def summaryOf(self, manifest) -> str:
        measured = manifest.get("measured") or {}
        said = [f"{title} {measured[key]}" for key, title in MEASURED.items() if key in measured]
        if best := manifest.get("best"):
            return _("Best of the trials, whose table is in the scene: {best}.").format(
                best=", ".join(f"{name} {value:.3g}" if isinstance(value, float)
                               else f"{name} {value}" for name, value in best.items()))
        if not said:
            return ""
        return _("In cases that it was not trained on (in brackets 95 % intervals): {measured}."
                 ).format(measured="; ".join(said))


def _kept(manifest) -> str:
    name = manifest.get("kept_as")
    return _("{name} can now be chosen as model above; its recipe is under Advanced.").format(
        name=name) if name else ""


def _spinBox(lowest: int, highest: int, value: int, special: str):
    spinBox = qt.QSpinBox()
    spinBox.setRange(lowest, highest)
    spinBox.value = value
    spinBox.specialValueText = special
    return spinBox
