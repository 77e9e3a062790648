# SPDX-License-Identifier: Apache-2.0
"""The section "Train" of the panel: what is special about head CTs."""

from slicer.i18n import tr as _

from ReadingRoomSlicerLib.training_panel import TrainingPanel, chosen, menu

MODERN, SEED = "modern", "seed"
PATIENT, IMAGE = "patient", "image"
COMPARE = "compare"


class HeadTrainingPanel(TrainingPanel):
    """Recipe and split; whether the published network is trained with both splits.

    :param recipes: pairs of value and label, for the menu.
    """

    def __init__(self, library: str, title: str, owner, recipes) -> None:
        super().__init__(library, title, owner)
        self.ui.trainingDataPathLineEdit.toolTip = _(
            "File that names the head CTs, their tags (green, yellow, red, black) and patients: a"
            " MONAI datalist (.json).")
        self.recipeComboBox = menu(recipes, _(
            "What is trained: how ours judges a whole head, or the published network for single"
            " slices."))
        self.splitComboBox = menu((
            (PATIENT, _("by patient")),
            (IMAGE, _("by image, as published (leaks)")),
            (COMPARE, _("by patient, and by image to compare (twice as long)")),
        ), _("By image, other images of the same patients are learned from, so the accuracy of"
             " single images is too high."))
        self.addOption(_("Recipe:"), self.recipeComboBox)
        self.addOption(_("Split:"), self.splitComboBox)
        self.recipeComboBox.connect("currentIndexChanged(int)", self._onRecipeChanged)
        self._onRecipeChanged()

    @property
    def recipe(self) -> str:
        """What is trained: "modern" or "seed"."""
        return chosen(self.recipeComboBox)

    def _onRecipeChanged(self, index=None) -> None:
        # whole heads are only split by patient
        isPublished = self.recipe == SEED
        self.splitComboBox.visible = isPublished
        self.ui.trainingOptionsLayout.labelForField(self.splitComboBox).visible = isPublished

    def options(self) -> dict:
        if self.recipe != SEED:
            return {"recipe": self.recipe}
        split = chosen(self.splitComboBox)
        return {"recipe": self.recipe, "split": IMAGE if split == IMAGE else PATIENT,
                "compare-splits": True if split == COMPARE else None}

    def summaryOf(self, manifest) -> str:
        measured = manifest["measured"]
        lines = [_("In {count} heads that it was not trained on, with 95 % intervals: four tags"
                   " right {four}; urgent or not {binary}.").format(
            count=measured["heads"], four=measured["four_class_accuracy"],
            binary=measured["binary_accuracy"])]
        for split, images in (manifest["single_images"] or {}).items():
            if images:
                name = _("by image") if split == IMAGE else _("by patient")
                lines.append(_("Single images, split {name}: four tags right {four}.").format(
                    name=name, four=next(iter(images.values()))))
        if manifest["model"]["recipe"] == SEED:
            lines.append(_("To see it in the list of models, choose its recipe under Advanced."))
        return "\n".join(lines)
