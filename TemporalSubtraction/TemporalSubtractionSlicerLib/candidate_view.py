# SPDX-License-Identifier: Apache-2.0
"""Candidates as the panel shows them, and what the physician decided on each."""

from slicer.i18n import tr as _

from ReadingRoomSlicerLib import colors, panel, tables
from TemporalSubtractionLib.candidate_table import (
    ACCEPTED,
    DENSER,
    MIXED,
    REJECTED,
    THINNER,
    TITLES,
    CandidateRow,
    rows_of,
)

RESULT_HEADERS = (
    (_("Candidate"), _("Click a candidate to see it in the views.")),
    (_("mL"), _("Volume in millilitres.")),
    (_("mm"), _("Diameter of a ball of this volume.")),
    (_("z"), _("Mean change, in standard deviations of what stable bone shows.")),
    (_("Peak"), _("Largest change, in standard deviations of what stable bone shows.")),
    (_("HU"), _("Mean change in Hounsfield units.")),
    (_("Status"), _("What you decided.")),
)


def candidatesOf(tableNode) -> list:
    """The candidates that a table node holds, the most suspicious first."""
    return rows_of(tables.columns(tableNode))


def candidateOf(tableNode, key: str) -> CandidateRow:
    """The candidate with a key."""
    return next(candidate for candidate in candidatesOf(tableNode) if candidate.key == key)


def decide(tableNode, key: str, status: str) -> None:
    """Note in the table what the physician decided on a candidate."""
    row = [candidate.key for candidate in candidatesOf(tableNode)].index(key)
    tableNode.SetCellText(row, list(TITLES).index("status"), status)


def colorOf(candidate) -> tuple:
    return {DENSER: colors.DENSER, THINNER: colors.THINNER, MIXED: colors.MIXED}[candidate.kind]


def resultRow(candidate) -> panel.ResultRow:
    """A candidate as a line of the result table; padded, so that sorting by text sorts by size."""
    shownKind = {DENSER: _("denser"), THINNER: _("thinner"), MIXED: _("mixed")}[candidate.kind]
    shownStatus = {ACCEPTED: _("accepted"), REJECTED: _("rejected")}
    values = [
        f"{candidate.number:3d} {shownKind}" + (f", {candidate.bone}" if candidate.bone else ""),
        f"{candidate.volume_ml:7.2f}",
        f"{candidate.diameter_mm:5.1f}",
        f"{candidate.mean_z:+6.1f}",
        f"{candidate.peak_z:+6.1f}",
        f"{candidate.hu_change:+5.0f}",
        shownStatus.get(candidate.status, ""),
    ]
    toolTip = _("Suspicion {score}. Click to see it.").format(score=f"{candidate.score:.1f}")
    return panel.ResultRow(candidate.key, values, color=colorOf(candidate), toolTip=toolTip,
                           dimmed=candidate.status == REJECTED)


def summaryOf(candidates, manifest) -> list:
    """What to know about the result as a whole, in sentences."""
    denser, thinner, mixed = (sum(candidate.kind == kind for candidate in candidates)
                              for kind in (DENSER, THINNER, MIXED))
    counted = (_("{count} candidates: {denser} denser, {thinner} thinner, {mixed} mixed.") if mixed
               else _("{count} candidates: {denser} denser, {thinner} thinner."))
    sentences = [counted.format(
        count=len(candidates), denser=denser, thinner=thinner, mixed=mixed)
        if candidates else _("No change was found in the bone that could be compared.")]
    if "aligned_share" in manifest:
        sentences.append(_("{share} % of the bone could be compared.").format(
            share=round(100 * manifest["aligned_share"])))
    return sentences + list(manifest.get("warnings", []))
