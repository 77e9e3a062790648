# SPDX-License-Identifier: Apache-2.0
"""The section of a training of several networks, which ends with several pictures."""

import glob
import os

import qt
from slicer.i18n import tr as _

from ReadingRoomLib.learning_curves import HISTORY

from .training_panel import TrainingPanel, chosen, menu


class PartedTrainingPanel(TrainingPanel):
    """Shows the curves of the network that is trained now, and afterwards a menu of pictures."""

    def __init__(self, library: str, title: str, owner) -> None:
        super().__init__(library, title, owner)
        self.pictureComboBox = menu((), _("What to look at."))
        self.pictureComboBox.connect("currentIndexChanged(int)", self._onPictureChosen)
        self.openButton = qt.QPushButton(_("Open picture"))
        self.openButton.toolTip = _("Open the picture as large as it is, in the program for such.")
        self.openButton.connect("clicked(bool)", self.onOpenButton)
        layout = self.ui.trainingCurvesWidget.layout()
        layout.insertWidget(0, self.pictureComboBox)
        layout.addWidget(self.openButton)
        self.offerPictures({})

    @staticmethod
    def _historyIn(work: str) -> str:
        """The curves of the training that goes on, one of several."""
        found = glob.glob(os.path.join(glob.escape(work), "training", "*", HISTORY))
        return max(found, key=os.path.getmtime, default=os.path.join(work, HISTORY))

    def onStartButton(self, checked=False) -> None:
        """Start, or go on."""
        self.offerPictures({})
        super().onStartButton(checked)

    def offerPictures(self, pictures: dict) -> None:
        """Offer pictures by title, those that are there, and show the first.

        :param pictures: their paths; empty where there is none.
        """
        pictures = {title: path for title, path in pictures.items() if path}
        comboBox = self.pictureComboBox
        blocked = comboBox.blockSignals(True)
        comboBox.clear()
        for title, path in pictures.items():
            comboBox.addItem(title, path)
        comboBox.blockSignals(blocked)
        for part in (comboBox, self.openButton):
            part.visible = bool(pictures)
        if pictures:
            self.showPicture(chosen(comboBox))

    def _onPictureChosen(self, index) -> None:
        if index >= 0:
            self.showPicture(chosen(self.pictureComboBox))

    def onOpenButton(self, checked=False) -> None:
        """Open the picture that is shown."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(chosen(self.pictureComboBox)))
