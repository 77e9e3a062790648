# SPDX-License-Identifier: Apache-2.0
"""What a clinician reads of the landmarks that were found.

How sure a model is was calibrated on images like those that it learned from. Where these were
simulated, a number of per cent would promise what nobody has measured, so there are words only; the
numbers are in the table node and in the files.
"""

import re
import statistics

from slicer.i18n import tr as _

from ReadingRoomSlicerLib.panel import ResultRow

LANDMARK = (_("Landmark"), _("Click to see it."))
POSITION = (_("R, A, S"), _(
    "Where it was found in the image, mm: to the right, to the front, upwards."))
CHANCE = (_("Chance"), _("How probable it is that the landmark lies where it was found."))
ERROR = (_("Error"), _("Distance to the given landmark of the same name, mm."))
SURE = _("Sure")
HEADERS = (LANDMARK, POSITION, (SURE, ""))
ALMOST_ONE = 0.99


def isCompared(manifest) -> bool:
    """Whether some landmarks were given to compare with."""
    return any(found.get("error_mm") is not None for found in manifest["landmarks"])


def headers(manifest) -> tuple:
    """Titles of the columns and what they mean."""
    return (LANDMARK, POSITION, *([] if manifest["model"]["simulated"] else [CHANCE]),
            *([ERROR] if isCompared(manifest) else []), (SURE, calibration(manifest)))


def calibration(manifest) -> str:
    """What "sure" means, and for which images that is known."""
    return _("Sure: probably within {mm} mm of where it belongs. Calibrated on images like those"
             " that the model learned from: {images}.").format(
                 mm=f"{manifest['right_mm']:g}", images=manifest["model"]["trained_on"])


def rows(manifest) -> list:
    """A line for each landmark: those to be checked first, those that were not found last."""
    found = sorted(manifest["landmarks"], key=lambda one: one["sure"])
    empty = [""] * (len(headers(manifest)) - 2)
    return [
        *(ResultRow(one["name"], _values(manifest, one), not one["sure"],
                    toolTip=_("{name}: click to see it.").format(name=one["name"]))
          for one in found),
        *(ResultRow(name, [name, *empty, _("not found")], dimmed=True,
                    toolTip=whyNotFound(name, reason))
          for name, reason in sorted(manifest.get("not_found", {}).items()))]


def whyNotFound(name: str, reason: str) -> str:
    """A sentence about a landmark that was not found."""
    return _("{name} was not found: {reason}.").format(name=name, reason=reason)


def _values(manifest, one) -> list:
    left, posterior, superior = one["position_lps_mm"]
    values = [one["name"], f"{-left:.0f}, {-posterior:.0f}, {superior:.0f}"]
    if not manifest["model"]["simulated"]:
        chance = one["confidence"]
        values.append("> 99 %" if chance > ALMOST_ONE else f"{100 * chance:4.0f} %")
    if isCompared(manifest):
        error = one.get("error_mm")
        values.append("" if error is None else f"{error:6.1f}")
    return [*values, _("yes") if one["sure"] else _("no: check")]


def summary(manifest) -> str:
    """What to know of all landmarks together."""
    found = manifest["landmarks"]
    unsure = sum(not one["sure"] for one in found)
    sentences = [_("{count} landmarks were found.").format(count=len(found))]
    if unsure:
        sentences.append(_("{count} of them are not sure: check them first.").format(count=unsure))
    if missing := manifest.get("not_found"):
        sentences.append(_("{count} were not found: click one at the end of the table to read"
                           " why.").format(count=len(missing)))
    errors = [one["error_mm"] for one in found if one.get("error_mm") is not None]
    if errors:
        sentences.append(_(
            "Distance to the {count} given ones: mean {mean} mm, median {median} mm.").format(
                count=len(errors), mean=f"{statistics.fmean(errors):.1f}",
                median=f"{statistics.median(errors):.1f}"))
    return " ".join(sentences)


def doubts(manifest) -> list:
    """All that argues against the result, each sentence once."""
    model = manifest["model"]
    learned = [_("How sure the model is was calibrated on {images}. In a real patient it can be"
                 " sure and wrong: check every landmark.").format(
                     images=re.split("[,;]", model["trained_on"])[0])] if model["simulated"] else []
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
