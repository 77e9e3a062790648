# SPDX-License-Identifier: Apache-2.0
"""The answer as one page: images with the region, probabilities, reasons and doubts."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np
from scipy import ndimage

from ReadingRoomLib.pages import page, picture, table
from ReadingRoomLib.results import whole_file

from .classification import UNCERTAIN, UNLIKE, Classification
from .pseudo_rgb import picture_of, pseudo_rgb
from .regions import Region, plane_of, slices_in_order
from .sequences import NAMES, SEQUENCES
from .study import Study

ANSWER, PSEUDO_RGB = "answer.html", "pseudo_rgb.png"
SLICE = "slice.png"
WHOLE_MM, PIXELS = 240.0, 360  # of the pictures of whole slices
SQUARE, HEAT = (255, 196, 0), (255, 90, 0)
COLORS = ("#4c72b0", "#55a868", "#c44e52", "#8172b3", "#937860", "#8c8c8c")


def write_page(folder: Path, study: Study, region: Region, found: Classification,
               slices: np.ndarray, simulated: bool) -> None:
    """Write page and pictures.

    Args:
        folder: gets :data:`ANSWER` and :data:`PSEUDO_RGB`.
        study, region, slices: what was looked at.
        found: the answer.
        simulated: whether the model learned from simulated images, which the page then says.
    """
    from PIL import Image

    Image.fromarray(picture_of(slices)).save(folder / PSEUDO_RGB)
    Image.fromarray(slice_picture(study, region, found)).save(folder / SLICE)
    with whole_file(folder / ANSWER) as unfinished:
        unfinished.write_text(_page(folder, study, region, found, simulated), "utf-8")
    (folder / SLICE).unlink()  # it is inside the page


def headline(found: Classification) -> str:
    """What is said, in a line."""
    if found.decision == UNCERTAIN:
        left = " or ".join(found.prediction_set) or "none of the known kinds"
        return f"Uncertain: {left}"
    best = found.kinds.index(found.decision)
    low, high = found.intervals[best]
    return (f"{found.decision.capitalize()} with {found.probabilities[best]:.0%} ({low:.0%} to "
            f"{high:.0%}); the other kinds are excluded")


def _page(folder: Path, study: Study, region: Region, found: Classification,
          simulated: bool) -> str:
    learned = ('<p class="note">The model learned from simulated images only. What it says of a '
               "real patient is not known to be right.</p>") if simulated else ""
    lacking = [NAMES[name] for name in study.missing]
    return page("Brain tumour", [
        f"<h1>{escape(headline(found))}</h1>", learned,
        *(f'<p class="note">{escape(doubt)}</p>' for doubt in found.doubts),
        *(f"<p>{escape(caution)}</p>" for caution in found.cautions),
        "<h2>How probable each kind is</h2>",
        probabilities_picture(found),
        f"<p>Not excluded: {escape(', '.join(found.prediction_set) or 'none')}. Bars are "
        "probabilities, lines their intervals; kinds that are excluded are pale.</p>",
        "<h2>Where was looked</h2>",
        f"<p>The slice that counted most. The square is the region, {region.side_mm:.0f} mm wide, "
        f"the same on all sequences; orange in the last picture is what spoke for "
        f"{escape(found.kinds[int(found.probabilities.argmax())])}.</p>",
        picture(folder / SLICE, "The slice that counted most in the sequences"),
        f"<p>{escape(' and '.join(lacking))} is missing and black.</p>" if lacking else "",
        "<p>What the network saw: red is T1, green T2, blue contrast-enhanced T1.</p>",
        picture(folder / PSEUDO_RGB, "The region in all slices as colours"),
        "<h2>What it is like</h2>",
        f"<p>{_likeness(found)}</p>",
        table(("Learned from", "Kind", "Distance"),
              [(one.name, one.kind, f"{one.distance:.2f}") for one in found.nearest]),
    ])


def _likeness(found: Classification) -> str:
    """How far the patient is from what was learned."""
    text = (f"{found.unlike:.0%} of the patients that the model was calibrated on were as far from "
            "those that it learned from, or further")
    if found.unlike < UNLIKE:
        return f"{text}: it has hardly seen anything like this."
    return f"{text}. The nearest of those:"


def slice_picture(study: Study, region: Region, found: Classification) -> np.ndarray:
    """The slice that counted most in all sequences and where it counted, (h, w, 3), uint8."""
    best = int(found.attention.argmax())
    number = slices_in_order(study.reference, region)[best]
    panels = whole_slice(study, region, number)
    shown = "t1c" if "t1c" in study.images else next(iter(study.images))
    square = pseudo_rgb(study, Region(region.centre_mm, region.side_mm, (number,)),
                        PIXELS)[0, SEQUENCES.index(shown)]
    panels.append(_heated(square, _resized(found.saliency[best], PIXELS)))
    return np.concatenate(panels, axis=1)


def whole_slice(study: Study, region: Region, number: int) -> list[np.ndarray]:
    """A slice in all sequences with the square of a region, each (h, w, 3), uint8."""
    plane = plane_of(study.reference)
    middle = np.array(study.reference.TransformContinuousIndexToPhysicalPoint(
        [(size - 1) / 2 for size in study.reference.GetSize()]))
    whole = pseudo_rgb(study, Region(tuple(middle), WHOLE_MM, (number,)), PIXELS)[0]
    panels = [_grey(channel) for channel in whole]
    centre = np.array(region.centre_mm) - middle
    scale = PIXELS / WHOLE_MM
    row, column = ((centre @ way) * scale + PIXELS / 2 for way in (plane.down, plane.across))
    half = region.side_mm * scale / 2
    box = [int(round(end)) for end in (row - half, row + half, column - half, column + half)]
    for panel in panels:
        _frame(panel, box)
    return panels


def _resized(square: np.ndarray, pixels: int) -> np.ndarray:
    places = (np.arange(pixels) + 0.5) * square.shape[0] / pixels - 0.5
    return ndimage.map_coordinates(square, np.meshgrid(places, places, indexing="ij"), order=1,
                                   mode="nearest")


def _grey(picture: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(255 * picture.clip(0, 1)).astype(np.uint8)[..., None], 3, -1)


def _frame(panel: np.ndarray, box: list[int]) -> None:
    """Draw a square into a picture, as far as it lies in it."""
    top, bottom, left, right = (int(np.clip(end, 0, len(panel) - 2)) for end in box)
    for line in (np.s_[top:top + 2, left:right], np.s_[bottom:bottom + 2, left:right + 2],
                 np.s_[top:bottom, left:left + 2], np.s_[top:bottom, right:right + 2]):
        panel[line] = SQUARE


def _heated(square: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A square with what counted over it."""
    share = 0.55 * heat.clip(0, 1)[..., None]
    return np.rint(_grey(square) * (1 - share) + np.array(HEAT) * share).astype(np.uint8)


def probabilities_picture(found: Classification) -> str:
    """Bars with intervals as SVG; pale where a kind is excluded."""
    left, width, line = 130, 420, 34
    parts = [f'<svg viewBox="0 0 {left + width + 70} {line * len(found.kinds) + 24}" '
             f'width="{left + width + 70}" role="img" aria-label="Probabilities of the kinds">']
    for number, kind in enumerate(found.kinds):
        value, (low, high) = float(found.probabilities[number]), found.intervals[number]
        top, middle = number * line + 6, number * line + line / 2
        parts += [
            f'<text x="{left - 8}" y="{middle + 5}" text-anchor="end">{escape(kind)}</text>',
            f'<rect x="{left}" y="{top}" width="{value * width:.1f}" height="{line - 12}" '
            f'fill="{COLORS[number % len(COLORS)]}" '
            f'opacity="{1.0 if kind in found.prediction_set else 0.3}"/>',
            f'<line x1="{left + low * width:.1f}" x2="{left + high * width:.1f}" y1="{middle}" '
            f'y2="{middle}" stroke="#222" stroke-width="2"/>',
            f'<text x="{left + width + 8}" y="{middle + 5}">{value:.0%}</text>']
    bottom = line * len(found.kinds)
    parts += [f'<line x1="{left}" x2="{left}" y1="0" y2="{bottom}" stroke="#999"/>', *(
        f'<text x="{left + share * width}" y="{bottom + 18}" text-anchor="middle" fill="#666">'
        f'{share:.0%}</text>' for share in (0, 0.5, 1))]
    return "".join(parts) + "</svg>"
