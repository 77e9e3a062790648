# SPDX-License-Identifier: Apache-2.0
"""The section "Train" of the panel: what is special about brain tumours."""

import qt
from slicer.i18n import tr as _

from ReadingRoomSlicerLib.training_panel import TrainingPanel, chosen, menu

KINDS = "glioblastoma, lymphoma, meningioma"


class TumorTrainingPanel(TrainingPanel):
    """Which kinds are told apart, and with what the network begins."""

    def __init__(self, library: str, title: str, owner) -> None:
        super().__init__(library, title, owner)
        self.ui.trainingDataPathLineEdit.toolTip = _(
            "File that names the images of the patients, their kinds of tumour and numbers: a MONAI"
            " datalist (.json), such as the one that 'braintumorclassify database' makes.")
        self.kindsLineEdit = qt.QLineEdit(KINDS)
        self.kindsLineEdit.toolTip = _("Kinds of tumour to tell apart, as the list names them.")
        self.kindsLineEdit.connect("textChanged(QString)", self.checkCanStart)
        self.addOption(_("Kinds:"), self.kindsLineEdit)
        self.startComboBox = menu(
            (("starter", _("the starter model")), ("random", _("random weights"))),
            _("With whose knowledge of images the network begins; what tells the kinds apart is"
              " always learned anew."))
        self.addOption(_("Begin with:"), self.startComboBox)

    def kinds(self) -> list:
        """Names of the kinds."""
        return [part.strip() for part in self.kindsLineEdit.text.split(",") if part.strip()]

    def options(self) -> dict:
        return {"class": self.kinds(), "start": chosen(self.startComboBox)}

    def reasonForOptions(self) -> str:
        kinds = self.kinds()
        if len(kinds) < 2 or len(set(kinds)) < len(kinds):
            return _("Name at least two kinds, each once, with commas between.")
        return ""

    def summaryOf(self, manifest) -> str:
        measured = manifest["measured"]
        return _("In {count} patients that it was not trained on, with 95 % intervals: right"
                 " {accuracy}, area under the ROC curve {auc}; true kind not excluded"
                 " {held}.").format(
            count=measured["patients"], accuracy=measured["accuracy"], auc=measured["macro_auc"],
            held=measured["true_kind_in_the_set"])
