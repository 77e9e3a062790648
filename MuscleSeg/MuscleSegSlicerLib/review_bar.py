# SPDX-License-Identifier: Apache-2.0
"""A small window beside the Segment Editor: which slice it is, and what to do when it is done."""

import qt
import slicer
from slicer.i18n import tr as _

from .section_parts import pushButton


class ReviewBar:
    """Stays above Slicer's windows while slices are reviewed.

    :param section: has ``onDoneButton``, ``onNextButton`` and ``onBackButton``.
    """

    def __init__(self, section) -> None:
        self.widget = qt.QWidget(slicer.util.mainWindow())
        self.widget.setWindowFlags(qt.Qt.Tool)
        self.widget.setWindowTitle(_("MuscleSeg: review"))
        layout = qt.QVBoxLayout(self.widget)
        self.label = qt.QLabel()
        layout.addWidget(self.label)
        self.wholeCheckBox = qt.QCheckBox(_("All of this slice is right now"))
        self.wholeCheckBox.toolTip = _(
            "Otherwise only the pixels within the yellow outlines are learned from.")
        layout.addWidget(self.wholeCheckBox)
        buttons = qt.QHBoxLayout()
        layout.addLayout(buttons)
        self.doneButton = pushButton(
            _("Done with this slice"), _("Save the correction and open the next slice."),
            section.onDoneButton)
        self.skipButton = pushButton(
            _("Skip"), _("Open the next slice; this one stays in the queue."),
            section.onNextButton)
        self.backButton = pushButton(
            _("Back"), _("Go back to MuscleSeg."), section.onBackButton)
        for button in (self.doneButton, self.skipButton, self.backButton):
            buttons.addWidget(button)

    def show(self, sentence: str) -> None:
        """Show which slice it is."""
        self.label.text = sentence
        self.wholeCheckBox.checked = False
        self.widget.show()
        self.widget.raise_()

    def hide(self) -> None:
        """There is nothing to review."""
        self.widget.hide()

    def close(self) -> None:
        """The panel goes."""
        self.widget.hide()
        self.widget.deleteLater()
