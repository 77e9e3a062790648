# SPDX-License-Identifier: Apache-2.0
"""How the panel shows what was measured of each structure, and which of them to check."""

from slicer.i18n import tr as _

from ReadingRoomSlicerLib import panel, tables

AT_LEAST = "At least"
UNCERTAINTY = "Uncertainty"
PREDICTED = "Predicted Dice"

_STRUCTURE = (_("Structure"), _("Click a structure to see it in the views."))
_VOLUME = (_("mL"), _("Volume in millilitres."))
_DENSITY = (_("HU"), _("Mean density in Hounsfield units."))
_AT_LEAST = (_("At least"), _(
    "Overlap (Dice) with the right outline: it is at least so high in most structures (as a rule"
    " 9 of 10) of images like those that the model was calibrated with."))
_UNCERTAINTY = (_("Uncertainty"),
                _("0: the model is sure. 1: it is torn between two structures."))
_CHECK = (_("Check"), _("Why you should look at this structure before using it."))

HEADERS = (_STRUCTURE, _VOLUME, _DENSITY, _UNCERTAINTY, _CHECK)
"""Pairs of title and explanation, of a result without a prediction of how right it is."""


def headersOf(columns) -> tuple:
    """The columns to show: what the Dice is at least, or the uncertainty where nobody knows.

    Not both, or the names of the structures are cut off.
    """
    if _isPredicted(columns):
        return (_STRUCTURE, _VOLUME, _DENSITY, _AT_LEAST, _CHECK)
    return HEADERS


def rowsOf(columns, segmentationNode) -> list:
    """The measurements as lines of the result table, in anatomical order."""
    rows = []
    segmentation = segmentationNode.GetSegmentation()
    for index, segmentId in enumerate(columns["Segment"]):
        segment = segmentation.GetSegment(segmentId)
        color = [round(255 * part) for part in segment.GetColor()] if segment else None
        reason = columns["Check"][index]
        values = [
            columns["Structure"][index],
            f"{columns['Volume (mL)'][index]:7.1f}",  # padded, so that sorting by text is right
            round(columns["Mean HU"][index]),
            _number(columns[AT_LEAST if _isPredicted(columns) else UNCERTAINTY][index]),
            _("check") if reason else "",
        ]
        rows.append(panel.ResultRow(segmentId, values, bool(reason), color,
                                    _toolTip(columns, index)))
    return rows


def _isPredicted(columns) -> bool:
    return any(_number(value) for value in columns.get(AT_LEAST, ()))


def _number(value) -> str:
    """A number of a table, which may be NaN or no number; then nothing."""
    try:
        number = float(value)
    except ValueError:
        return ""
    return f"{number:.2f}" if number == number else ""


def _toolTip(columns, index: int) -> str:
    lines = []
    if reason := columns["Check"][index]:
        lines.append(_("Check: {reason}").format(reason=reason))
    expected = _number(columns[PREDICTED][index]) if PREDICTED in columns else ""
    if expected:
        lines.append(_(
            "Expected overlap (Dice) {expected}, at least {least}; uncertainty {doubt}.").format(
            expected=expected, least=_number(columns[AT_LEAST][index]),
            doubt=_number(columns[UNCERTAINTY][index])))
    return "\n".join(lines) or _("Click to see it.")


def summaryOf(rows, manifest) -> str:
    """One or more sentences above the table."""
    checks = sum(row.check for row in rows)
    sentences = [_("{count} structures were found.").format(count=len(rows))]
    if checks:
        sentences.append(_("{count} of them should be checked.").format(count=checks))
    if manifest.get("calibration", {}).get("simulated"):
        sentences.append(_("What they are at least was learned from simulated patients; nobody has"
                           " measured it in real ones."))
    return " ".join(sentences + list(manifest.get("warnings", [])))


# Only what to check


def toCheck(measurements) -> set:
    """Identifiers of the segments that should be checked."""
    columns = tables.columns(measurements)
    return {segmentId for segmentId, reason in zip(columns["Segment"], columns["Check"],
                                                   strict=True) if reason}


def showOnly(segmentationNode, segmentIds) -> None:
    """Show some segments in all views and hide the others.

    :param segmentIds: None for all.
    """
    displayNode = segmentationNode.GetDisplayNode()
    for segmentId in segmentationNode.GetSegmentation().GetSegmentIDs():
        displayNode.SetSegmentVisibility(
            segmentId, segmentIds is None or segmentId in segmentIds)


def isShownOnly(segmentationNode, segmentIds) -> bool:
    """Whether these segments are shown and no others, which there are."""
    displayNode = segmentationNode.GetDisplayNode()
    there = segmentationNode.GetSegmentation().GetSegmentIDs()
    shown = {segmentId for segmentId in there if displayNode.GetSegmentVisibility(segmentId)}
    return shown == set(there) & set(segmentIds) and len(shown) < len(there)
