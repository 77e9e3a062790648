# SPDX-License-Identifier: Apache-2.0
"""What a clinician reads of the landmarks that were found."""

import statistics

from slicer.i18n import tr as _

from ReadingRoomSlicerLib.panel import ResultRow

LANDMARK = (_("Landmark"), _("Click to see it."))
POSITION = (_("R, A, S"), _(
    "Where it was found in the image, mm: to the right, to the front, upwards."))
CONFIDENCE = (_("Sure"), _("How probable it is that the landmark lies where it was found."))
ERROR = (_("Error"), _("Distance to the given landmark of the same name, mm."))
STATE = (_("Check"), _("Landmarks that are not sure, in orange; they can be moved."))
HEADERS = (LANDMARK, POSITION, CONFIDENCE, STATE)
HEADERS_WITH_ERROR = (LANDMARK, POSITION, CONFIDENCE, ERROR, STATE)


def isCompared(manifest) -> bool:
    """Whether some landmarks were given to compare with."""
    return any(found.get("error_mm") is not None for found in manifest["landmarks"])


def headers(manifest) -> tuple:
    """Titles of the columns and what they mean."""
    return HEADERS_WITH_ERROR if isCompared(manifest) else HEADERS


def rows(manifest) -> list:
    """A line for each landmark, those to be checked first."""
    found = sorted(manifest["landmarks"], key=lambda one: one["sure"])
    return [ResultRow(one["name"], _values(one, isCompared(manifest)), not one["sure"],
                      toolTip=_("Click to see it.") if one["sure"] else _(
                          "Not sure: click to see it, and move it where it belongs."))
            for one in found]


def _values(one, compared: bool) -> list:
    left, posterior, superior = one["position_lps_mm"]
    values = [one["name"], f"{-left:.0f}, {-posterior:.0f}, {superior:.0f}",
              f"{one['confidence']:5.0%}"]
    if compared:
        error = one.get("error_mm")
        values.append("" if error is None else f"{error:6.1f}")
    return [*values, "" if one["sure"] else _("check")]


def summary(manifest) -> str:
    """What to know of all landmarks together."""
    found = manifest["landmarks"]
    unsure = sum(not one["sure"] for one in found)
    sentences = [_("{count} landmarks were found.").format(count=len(found))]
    if unsure:
        sentences.append(_("{count} of them are not sure: check them.").format(count=unsure))
    if missing := manifest.get("not_found"):
        sentences.append(_("Not found: {names}.").format(names=", ".join(sorted(missing))))
    errors = [one["error_mm"] for one in found if one.get("error_mm") is not None]
    if errors:
        sentences.append(_(
            "Distance to the {count} given ones: mean {mean} mm, median {median} mm.").format(
                count=len(errors), mean=f"{statistics.fmean(errors):.1f}",
                median=f"{statistics.median(errors):.1f}"))
    return " ".join(sentences)


def doubts(manifest) -> list:
    """All that argues against the result, each sentence once."""
    learned = [_("The model learned from simulated images only: what it finds in a real patient is"
                 " not known to be right.")] if manifest["model"]["simulated"] else []
    said = [sentence for sentence in manifest.get("warnings", []) if "not sure" not in sentence]
    return list(dict.fromkeys([*learned, *said]))


def columns(manifest) -> dict:
    """The landmarks as columns of a table node."""
    found = manifest["landmarks"]
    result = {"Landmark": [one["name"] for one in found]}
    for axis, index, sign in (("R", 0, -1.0), ("A", 1, -1.0), ("S", 2, 1.0)):
        result[axis] = [sign * float(one["position_lps_mm"][index]) for one in found]
    result["Confidence"] = [float(one["confidence"]) for one in found]
    result["Sure"] = ["yes" if one["sure"] else "no" for one in found]
    if isCompared(manifest):
        result["Error mm"] = ["" if one.get("error_mm") is None else f"{one['error_mm']:.2f}"
                              for one in found]
    return result
