# SPDX-License-Identifier: Apache-2.0
"""What a physician reads of an answer: sentences, bars, the images that the network saw."""

import html

import qt
from slicer.i18n import tr as _

from ReadingRoomSlicerLib.panel import ResultRow

UNCERTAIN = "uncertain"
UNCERTAIN_COLOR, CERTAIN_COLOR = (95, 95, 105), (0, 84, 120)
PICTURE_WIDTH = 440  # pixels
HEADERS = (
    (_("Kind"), _("Kinds of tumour that the model knows; any other one is forced into these.")),
    (_("Probability"), _("Calibrated on patients that the model was not trained on.")),
    (_("From"), _("Low end of its interval.")),
    (_("To"), _("High end of its interval.")),
    (_("Excluded"), _("At the share of errors that is allowed, under Advanced.")),
)
NAMES = {"t1": _("T1"), "t2": _("T2"), "t1c": _("T1 with contrast agent")}


def headline(manifest) -> str:
    """The answer in a line."""
    left = manifest["prediction_set"]
    if manifest["decision"] != UNCERTAIN:
        return manifest["decision"].capitalize()
    if not left:
        return _("Uncertain: none of the known kinds")
    return _("Uncertain: {kinds}").format(kinds=_(" or ").join(left))


def subtitle(manifest) -> str:
    """What stands below the answer."""
    if manifest["decision"] == UNCERTAIN:
        return _("The program does not decide. Read why below.")
    low, high = manifest["intervals"][manifest["decision"]]
    return _("{probability} ({low} to {high}), the other kinds are excluded").format(
        probability=f"{manifest['probabilities'][manifest['decision']]:.0%}", low=f"{low:.0%}",
        high=f"{high:.0%}")


def doubts(manifest) -> list:
    """All that argues against the answer, each sentence once."""
    learned = [_("The model learned from simulated images only: what it says of a real patient is"
                 " not known to be right.")] if manifest["model"]["simulated"] else []
    return list(dict.fromkeys([*learned, *manifest["doubts"], *manifest.get("warnings", [])]))


def likeness(manifest) -> str:
    """How usual the tumour is to the model, and which patients it learned from are most like it."""
    share = manifest["unlike_what_was_learned"]["p"]
    nearest = ", ".join(f"{one['kind']} ({one['name']})" for one in manifest["nearest"])
    return _("Of tumours that the model knows, {share} are as unusual as this one. Most like it: "
             "{nearest}.").format(share=f"{share:.0%}", nearest=nearest)


def rows(manifest) -> list:
    """The kinds as lines of the result table, the most probable first."""
    found = manifest["probabilities"]
    return [ResultRow(
        kind,
        [kind, f"{found[kind]:7.1%}", *(f"{end:7.1%}" for end in manifest["intervals"][kind]),
         _("no") if kind in manifest["prediction_set"] else _("yes")],
        dimmed=kind not in manifest["prediction_set"])
        for kind in sorted(found, key=found.get, reverse=True)]


def columns(manifest) -> dict:
    """The kinds as columns of a table node."""
    kinds = list(manifest["probabilities"])
    return {
        "Kind": kinds,
        "Probability": [float(manifest["probabilities"][kind]) for kind in kinds],
        "Low": [float(manifest["intervals"][kind][0]) for kind in kinds],
        "High": [float(manifest["intervals"][kind][1]) for kind in kinds],
        "Excluded": ["no" if kind in manifest["prediction_set"] else "yes" for kind in kinds],
    }


class AnswerView:
    """Shows an answer in the widgets of the panel.

    :param ui: the panel's widgets; the table of kinds is left to the panel.
    """

    def __init__(self, ui) -> None:
        self.ui = ui
        ui.pseudoRgbLabel.toolTip = _(
            "What the network gets, slice by slice: T1 is red, T2 green, T1 with contrast agent "
            "blue.")
        for label in (ui.doubtsLabel, ui.cautionsLabel, ui.likenessLabel):
            label.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)

    def show(self, manifest, picture: str) -> None:
        """Show an answer.

        :param manifest: content of ``result.json``.
        :param picture: path of the pseudo-RGB images; empty where there are none.
        """
        ui = self.ui
        color = UNCERTAIN_COLOR if manifest["decision"] == UNCERTAIN else CERTAIN_COLOR
        ui.decisionLabel.text = (
            f'<div style="font-size: 16pt; font-weight: bold">{html.escape(headline(manifest))}'
            f"</div><div>{html.escape(subtitle(manifest))}</div>")
        ui.decisionLabel.setStyleSheet(
            f"padding: 8px; color: white; background-color: rgb{color};")
        _showSentences(ui.doubtsLabel, doubts(manifest), "color: #8a4b00;")
        _showSentences(ui.cautionsLabel, manifest["cautions"], "")
        ui.likenessLabel.text = likeness(manifest)
        self._showPicture(picture)

    def _showPicture(self, path: str) -> None:
        pixmap = qt.QPixmap(path) if path else qt.QPixmap()
        self.ui.pseudoRgbLabel.visible = not pixmap.isNull()
        if not pixmap.isNull():
            self.ui.pseudoRgbLabel.setPixmap(
                pixmap.scaledToWidth(min(PICTURE_WIDTH, pixmap.width()),
                                     qt.Qt.SmoothTransformation))


def _showSentences(label, sentences, style: str) -> None:
    label.text = "<br>".join(html.escape(sentence) for sentence in sentences)
    label.visible = bool(sentences)
    label.setStyleSheet(style)
