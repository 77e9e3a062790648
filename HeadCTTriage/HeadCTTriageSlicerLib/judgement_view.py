# SPDX-License-Identifier: Apache-2.0
"""What a physician reads of a judgement: sentences, colours, the contact sheet."""

import html

import qt
from slicer.i18n import tr as _

from HeadCTTriageLib.colors import COLORS, TAG_COLORS
from HeadCTTriageLib.decisions import ENLARGED_VENTRICLES, UNCERTAIN
from HeadCTTriageLib.worklist import TAGS
from ReadingRoomSlicerLib.panel import ResultRow

UNCERTAIN_COLOR = (95, 95, 105)
"""Where the program is not sure, the colour of a tag would say more than it knows."""
SMALL_SHIFT_MM = 2.0  # less is not told from none
PICTURE_WIDTH = 440  # pixels

REGION_HEADERS = (
    (_("Looks like"), _("Click a place to see it in the views.")),
    (_("mL"), _("About how large it is, in millilitres.")),
    (_("Confidence"), _("The surest voxel in it, 0 to 1.")),
    (_("Slice"), _("Of the contact sheet that shows most of it.")),
)


def tagWord(tag: str) -> str:
    """A tag as the user reads it."""
    return {"red": _("red"), "black": _("black"), "yellow": _("yellow"), "green": _("green")}[tag]


def tagMeaning(tag: str) -> str:
    """What a tag asks for, in the words of the published classes."""
    return {
        "red": _("urgent care by a specialist"),
        "black": _("care is thought not to improve the outcome"),
        "yellow": _("care by a specialist, not urgent"),
        "green": _("no care by a specialist"),
    }[tag]


def colorOf(tag: str, decision: str) -> tuple:
    """Background of a decision; red, green, blue, 0 to 255."""
    return UNCERTAIN_COLOR if decision == UNCERTAIN else TAG_COLORS[tag]


def textColorOn(color) -> tuple:
    """Black or white, whichever can be read on a colour."""
    red, green, blue = color
    return (0, 0, 0) if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else (255, 255, 255)


def tagsInWords(tags) -> str:
    """Such as "red or black"."""
    return _(" or ").join(tagWord(tag) for tag in TAGS if tag in tags)


def probabilitySentence(manifest) -> str:
    low, high = manifest["interval"]
    return _("Urgent with a probability of {probability} ({low} to {high}).").format(
        probability=f"{manifest['urgent_probability']:.0%}", low=f"{low:.0%}", high=f"{high:.0%}")


def shiftSentence(manifest) -> str:
    """How far the midline is shifted; empty where the model does not measure it."""
    shift = manifest["reasons"]["midline_shift_mm"]
    if shift is None:
        return ""
    if abs(shift) < SMALL_SHIFT_MM:
        return _("No shift of the midline above {limit} mm was seen.").format(
            limit=f"{SMALL_SHIFT_MM:.0f}")
    return _("Midline shift of about {mm} mm to the {side}.").format(
        mm=f"{abs(shift):.0f}", side=_("left") if shift > 0 else _("right"))


def ventriclesSentence(manifest) -> str:
    """How wide the ventricles are; empty where that was not judged, as in older results."""
    if "ventricle_index" not in manifest["reasons"]:
        return ""
    index = manifest["reasons"]["ventricle_index"]
    if index is None:
        return _("The width of the ventricles (Evans' index) cannot be measured.")
    return _("Evans' index of the ventricles {index}; above {limit} they count as enlarged."
             ).format(index=f"{index:.2f}", limit=ENLARGED_VENTRICLES)


def reviewSentence(review) -> str:
    """What the physician decided; empty when nothing yet."""
    if not review:
        return ""
    if review["event"] == "confirmed":
        return _("Confirmed as {tag} by {who}.").format(
            tag=tagWord(review["tag"]), who=review["who"])
    return _("Overruled by {who}: {tag}. {reason}").format(
        tag=tagWord(review["tag"]), who=review["who"], reason=review["reason"])


def regionName(region) -> str:
    return f"{region['name']} {region['volume_ml']:.1f} mL"


def regionRows(manifest) -> list:
    """The places that look like a finding as lines of the result table."""
    return [ResultRow(
        str(index),
        [region["name"], f"{region['volume_ml']:7.1f}", f"{region['confidence']:.2f}",
         f"{region['best_slice']:3d}"],
        color=COLORS[region["kind"]],
        toolTip=_("Slices {first} to {last} of the contact sheet. Click to see it.").format(
            first=region["first_slice"], last=region["last_slice"]))
        for index, region in enumerate(manifest["reasons"]["regions"])]


def regionsSentence(manifest) -> str:
    """What stands above the table of regions."""
    count = len(manifest["reasons"]["regions"])
    if manifest["reasons"]["midline_shift_mm"] is None:
        return _("This model judges without saying where.")
    return _("Nothing looks like a finding by itself.") if not count else ""


def itemsAndValues(manifest) -> list:
    """The judgement as pairs of texts, for a table node."""
    review = manifest.get("review")
    pairs = [
        (_("Decision"), manifest["decision"]),
        (_("Tag"), tagWord(manifest["triage"])),
        (_("Probability of being urgent"), f"{manifest['urgent_probability']:.3f}"),
        (_("Its interval"), "{:.3f} - {:.3f}".format(*manifest["interval"])),
        *((_("Probability of {tag}").format(tag=tagWord(tag)),
           f"{manifest['tag_probabilities'][tag]:.3f}") for tag in TAGS),
        (_("Tags not excluded"), tagsInWords(manifest["possible_tags"])),
        (_("Promise"), manifest["promise"]),
        *((_("Doubt"), doubt) for doubt in manifest["doubts"]),
        (_("Midline"), shiftSentence(manifest)),
        (_("Ventricles"), ventriclesSentence(manifest)),
        *((_("Looks like"), f"{regionName(region)}, {region['confidence']:.2f}")
          for region in manifest["reasons"]["regions"]),
        (_("Physician"), reviewSentence(review)),
        (_("Result"), manifest["result"]),
        (_("Note"), manifest["disclaimer"]),
    ]
    return [(item, value) for item, value in pairs if value]


class JudgementView:
    """Shows a judgement in the widgets of the panel.

    :param ui: the panel's widgets; the table of regions is left to the panel.
    """

    def __init__(self, ui) -> None:
        self.ui = ui
        self._picture = None
        self._window = None
        ui.contactSheetButton.connect("clicked()", self.enlarge)
        for label in (ui.promiseLabel, ui.reviewLabel):
            label.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)

    def show(self, manifest, picture: str) -> None:
        """Show a judgement.

        :param manifest: content of ``result.json``; with ``review`` where a physician decided.
        :param picture: path of the contact sheet; empty where there is none.
        """
        ui, tag = self.ui, manifest["triage"]
        isUncertain = manifest["decision"] == UNCERTAIN
        self._showDecision(manifest["decision"], tag, isUncertain)
        ui.probabilityLabel.text = probabilitySentence(manifest)
        ui.tagsLabel.text = self._tags(manifest)
        ui.doubtsLabel.text = " ".join(manifest["doubts"])
        ui.doubtsLabel.visible = bool(manifest["doubts"])
        ui.doubtsLabel.setStyleSheet("color: #8a4b00;")
        ui.promiseLabel.text = " ".join([manifest["promise"], *manifest.get("warnings", [])])
        ui.shiftLabel.text = " ".join(filter(None, (
            shiftSentence(manifest), ventriclesSentence(manifest))))
        ui.shiftLabel.visible = bool(ui.shiftLabel.text)
        self._showPicture(picture)
        self.showReview(manifest)

    def showReview(self, manifest) -> None:
        """Show what the physician decided, and let him decide otherwise."""
        ui, tag = self.ui, manifest["triage"]
        ui.confirmButton.text = _("Confirm {tag}").format(tag=tagWord(tag))
        ui.confirmButton.toolTip = _("You have looked, and {tag} is right: {meaning}.").format(
            tag=tagWord(tag), meaning=tagMeaning(tag))
        ui.overruleButton.toolTip = _("You have looked, and another tag is right.")
        others = [other for other in TAGS if other != tag]
        ui.tagComboBox.clear()
        for other in others:
            ui.tagComboBox.addItem(tagWord(other), other)
        ui.tagComboBox.currentIndex = -1  # nothing is said for the physician
        ui.reasonLineEdit.text = ""
        self.showReviewSentence(reviewSentence(manifest.get("review")))

    def showReviewSentence(self, sentence: str, isError: bool = False) -> None:
        self.ui.reviewLabel.text = sentence
        self.ui.reviewLabel.visible = bool(sentence)
        self.ui.reviewLabel.setStyleSheet(
            "color: #b00020;" if isError else "font-weight: bold;")

    def enlarge(self) -> None:
        """Show the contact sheet in a window of its own."""
        label = qt.QLabel()
        label.setPixmap(self._picture)
        self._window = qt.QScrollArea()
        self._window.setWidget(label)
        self._window.setWindowTitle(_("Contact sheet"))
        self._window.resize(self._picture.width() + 30, min(self._picture.height() + 30, 1000))
        self._window.show()

    def close(self) -> None:
        """Close the window of the contact sheet."""
        if self._window:
            self._window.close()
            self._window = None

    def _showDecision(self, decision: str, tag: str, isUncertain: bool) -> None:
        color = colorOf(tag, decision)
        second = (_("most like {tag}").format(tag=tagWord(tag)) if isUncertain
                  else f"{tagWord(tag)}: {tagMeaning(tag)}")
        label = self.ui.decisionLabel
        label.text = (f'<div style="font-size: 20pt; font-weight: bold">'
                      f'{html.escape(decision.upper())}</div><div>{html.escape(second)}</div>')
        label.setStyleSheet(
            f"padding: 8px; color: {_css(textColorOn(color))}; background-color: {_css(color)};"
            f" border-left: 14px solid {_css(TAG_COLORS[tag])};")

    def _tags(self, manifest) -> str:
        shown = " &nbsp; ".join(
            f'<span style="color: {_css(TAG_COLORS[tag])}">\u25a0</span> {tagWord(tag)}'
            f" {manifest['tag_probabilities'][tag]:.0%}" for tag in TAGS)
        possible = _("Not excluded: {tags}.").format(tags=tagsInWords(manifest["possible_tags"]))
        return f"{shown}<br>{possible}" if manifest["possible_tags"] else shown

    def _showPicture(self, path: str) -> None:
        self.close()
        self._picture = qt.QPixmap(path) if path else qt.QPixmap()
        button = self.ui.contactSheetButton
        button.visible = not self._picture.isNull()
        if self._picture.isNull():
            return
        small = self._picture.scaledToWidth(PICTURE_WIDTH, qt.Qt.SmoothTransformation)
        button.setIcon(qt.QIcon(small))
        button.iconSize = qt.QSize(small.width(), small.height())


def _css(color) -> str:
    return "rgb({}, {}, {})".format(*color)
