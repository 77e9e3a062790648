# SPDX-License-Identifier: Apache-2.0
"""The trials of a search as a picture: how good against size of patches and depth. Pillow only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, LEFT, BELOW, ABOVE, RIGHT = 980, 560, 80, 70, 70, 40
COLORS = ((27, 158, 119), (217, 95, 2), (117, 112, 179), (231, 41, 138))
TEXT, GRID, PAPER = (40, 40, 40), (222, 222, 222), (255, 255, 255)


def draw_search(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw trials: finished ones as discs, ones that were ended early as rings.

    Args:
        rows: of the table of trials.
        path: PNG.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(picture)
    fonts = {size: ImageFont.load_default(size) for size in (14, 16, 20)}
    shown = [row for row in rows if not math.isnan(row["top_1"])]
    sides = [float(row["patch_mm"]) for row in shown] or [1.0]
    low, high = math.log(min(sides) * 0.95), math.log(max(sides) * 1.05)

    def place(side: float, share: float) -> tuple[float, float]:
        along = (math.log(side) - low) / (high - low)
        return (LEFT + along * (WIDTH - LEFT - RIGHT),
                HEIGHT - BELOW - share * (HEIGHT - ABOVE - BELOW))

    for share in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        left, y = place(math.exp(low), share)
        draw.line([(left, y), (WIDTH - RIGHT, y)], GRID)
        draw.text((left - 8, y), f"{share:g}", TEXT, fonts[14], anchor="rm")
    for number in range(6):
        side = math.exp(low + (high - low) * number / 5)
        x, y = place(side, 0)
        draw.text((x, y + 6), f"{side:.3g}", TEXT, fonts[14], anchor="ma")
    draw.text((WIDTH / 2, HEIGHT - 26), "side of the patches, mm", TEXT, fonts[16], anchor="ma")
    draw.text((LEFT, 8), "Top-1 on the validation cases, by trial", TEXT, fonts[20])
    depths = sorted({row["depth"] for row in shown})
    for number, depth in enumerate(depths):
        color = COLORS[number % len(COLORS)]
        draw.text((LEFT + 130 * number, 38), f"{depth} blocks", color,
                  fonts[16])
        for row in shown:
            if row["depth"] == depth:
                x, y = place(float(row["patch_mm"]), row["top_1"])
                size = 6 if row["sizes"] == 1 else 9
                whole = row["state"] == "complete"
                draw.ellipse([x - size, y - size, x + size, y + size],
                             color if whole else PAPER, color, 2)
    draw.text((WIDTH - RIGHT, 38), "large: patches of two sizes; ring: ended early", TEXT,
              fonts[14], anchor="ra")
    picture.save(path)
