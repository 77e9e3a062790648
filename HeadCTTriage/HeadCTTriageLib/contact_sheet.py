# SPDX-License-Identifier: Apache-2.0
"""One picture that shows what was judged: all slices, where findings are, what was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from ReadingRoomLib.phantoms.head_findings import KINDS
from ReadingRoomLib.results import DISCLAIMER

from .colors import COLORS, TAG_COLORS
from .decisions import ENLARGED_VENTRICLES
from .judging import Judgement

CONTACT_SHEET = "contact_sheet.png"
BACKGROUND, TEXT, FAINT, ATTENTION = (12, 12, 12), (235, 235, 235), (150, 150, 150), (90, 170, 255)
COLUMNS, GAP, HEADER, LINE = 6, 4, 34, 18


def draw(judgement: Judgement, simulated: bool, path: Path) -> None:
    """The contact sheet of a judgement.

    Args:
        judgement: what is shown.
        simulated: whether the model learned from simulated heads, which the sheet then says.
        path: PNG.
    """
    low, high = judgement.interval
    tag = judgement.triage.name.lower()
    headline = (f"{judgement.decision.upper()}    {tag}    urgent with "
                f"{judgement.urgent_probability:.0%} ({low:.0%} to {high:.0%})")
    draw_contact_sheet(judgement.slices[:, 0], judgement.marks, judgement.answer.attention, tag,
                       headline, _lines(judgement, simulated), path)


def _lines(judgement: Judgement, simulated: bool) -> list[str]:
    found = [f"{region.written()['name']} {region.volume_ml:.1f} mL (slice {region.best_slice})"
             for region in judgement.regions[:4]]
    lines = ["Looks like: " + "; ".join(found)] if found else []
    shift = judgement.answer.shift_mm
    if shift is not None and abs(shift) >= 2:
        lines.append(f"Midline shift of about {abs(shift):.0f} mm to the "
                     f"{'left' if shift > 0 else 'right'}")
    if judgement.ventricle_index is not None:
        lines.append(f"Evans' index of the ventricles {judgement.ventricle_index:.2f} (above "
                     f"{ENLARGED_VENTRICLES} they count as enlarged)")
    lines += judgement.doubts
    learned = "Learned from simulated heads. " if simulated else ""
    return [*lines, learned + DISCLAIMER]


def draw_contact_sheet(slices: np.ndarray, regions: np.ndarray | None, attention: np.ndarray,
                       tag: str, headline: str, lines: Sequence[str], path: Path) -> None:
    """Write the picture.

    Args:
        slices: in the brain window, (n, height, width), 0 to 1, lowest first.
        regions: numbers of kinds from 1, (n, height / k, width / k), or None.
        attention: what share of the judgement each slice has, (n,), of sum 1.
        tag: its colour is that of the headline.
        headline, lines: what is written above and below.
        path: PNG.
    """
    from PIL import Image, ImageDraw

    count, height, width = slices.shape
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    size = (columns * (width + GAP) + GAP,
            HEADER + rows * (height + GAP) + GAP + LINE * (len(lines) + 1))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 0, size[0], HEADER - GAP), fill=TAG_COLORS[tag])
    draw.text((10, 5), headline, fill=(255, 255, 255), font=_font(17))
    most = max(float(attention.max()), 1e-6)
    for index in range(count):
        x = GAP + index % columns * (width + GAP)
        y = HEADER + index // columns * (height + GAP)
        marks = regions[index] if regions is not None else None
        sheet.paste(Image.fromarray(_outlined(slices[index], marks)), (x, y))
        draw.text((x + 4, y + 2), str(index + 1), fill=FAINT, font=_font(13))
        long = round((height - 8) * float(attention[index]) / most)
        draw.rectangle((x + width - 6, y + height - 4 - long, x + width - 3, y + height - 4),
                       fill=ATTENTION)
    y = size[1] - LINE * (len(lines) + 1)
    _legend(draw, regions, y, size[0])
    for number, line in enumerate(lines, 1):
        draw.text((10, y + LINE * number), line, fill=TEXT, font=_font(13))
    sheet.save(path, optimize=False)


def _legend(draw, regions: np.ndarray | None, y: int, width: int) -> None:
    from .reasons import NAMES

    draw.text((width - 190, y), "blue bar: weight of the slice", fill=ATTENTION, font=_font(13))
    x = 10
    for number in np.unique(regions[regions > 0]) if regions is not None else ():
        kind = KINDS[number - 1]
        draw.text((x, y), NAMES[kind], fill=COLORS[kind], font=_font(13))
        x += 14 + round(draw.textlength(NAMES[kind], font=_font(13)))


def _outlined(picture: np.ndarray, marks: np.ndarray | None) -> np.ndarray:
    """A slice in colours, (height, width, 3), with the outlines of what was found."""
    colored = np.repeat(np.rint(255 * picture.clip(0, 1)).astype(np.uint8)[..., None], 3, -1)
    if marks is None:
        return colored
    times = picture.shape[0] // marks.shape[0]
    full = np.kron(marks, np.ones((times, times), marks.dtype))
    for number in np.unique(full[full > 0]):
        inside = full == number
        edge = ndimage.binary_dilation(inside) & ~inside
        colored[edge] = COLORS[KINDS[number - 1]]
    return colored


def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)
