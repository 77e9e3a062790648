# SPDX-License-Identifier: Apache-2.0
"""Two images of a patient in turn: what changed catches the eye."""

import qt
from slicer.i18n import tr as _

from . import views, volumes


class Flicker:
    """Shows a prior and a current image in turn in all slice views, while a button is pressed.

    :param button: checkable; its text says which of the two is shown.
    :param images: called without arguments; returns the two, or None when they are not there.
    """

    MILLISECONDS = 500

    def __init__(self, button, images) -> None:
        self._button = button
        self._images = images
        self.timer = qt.QTimer()
        self.timer.setInterval(self.MILLISECONDS)
        self.timer.connect("timeout()", self.exchange)
        button.connect("toggled(bool)", self._onToggled)

    def stop(self) -> None:
        """Show the current image again and release the button."""
        self._button.checked = False

    def exchange(self) -> None:
        """Show the other one, with the same brightness; end when they are not there any more."""
        images = self._images()
        if not images:
            self.stop()
            return
        prior, current = images
        showPrior = not views.isBackground(prior)
        if showPrior:
            volumes.copyWindowLevel(prior, current)
        views.exchangeBackground(prior if showPrior else current)
        self._button.text = _("Flicker: prior") if showPrior else _("Flicker: current")

    def _onToggled(self, on) -> None:
        if on:
            self.timer.start()
            return
        self.timer.stop()
        self._button.text = _("Flicker")
        images = self._images()
        if images and views.isBackground(images[0]):
            views.exchangeBackground(images[1])
