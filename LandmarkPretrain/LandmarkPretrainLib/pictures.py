# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a model confuses, and of patches: right, wrong, unsure. Pillow only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.special import softmax

from .networks import NONE
from .patch_evaluation import PatchAnswers
from .patches import PIXELS
from .prepared_cases import Extractors, PreparedCase

CELLS, TABLE = (12, 32), 480  # pixels: smallest and largest cell, and the table, where that fits
LEGEND = 90  # pixels of the words in the corner
ENLARGED, GAP, LINE = 3, 10, 17
EACH = 8  # patches of each kind
TEXT, PAPER, MISTAKE = (40, 40, 40), (255, 255, 255), (178, 24, 43)


def draw_confusion(answers: PatchAnswers, names: Sequence[str], path: Path) -> None:
    """The true classes as rows, what was said as columns; each row is in shares of its patches.

    Args:
        answers: of test patches.
        names: of the landmarks.
        path: PNG.
    """
    counts = answers.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    labels = ("none", *names)
    cell = min(max(TABLE // len(labels), CELLS[0]), CELLS[1])
    side, font = cell * len(labels), ImageFont.load_default(11)
    margin = GAP + max(LEGEND, *(round(font.getlength(label)) for label in labels))
    picture = Image.new("RGB", (margin + side + GAP, margin + side + GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    for row in range(len(labels)):
        draw.text((margin - 4, margin + (row + 0.5) * cell), labels[row], TEXT, font, anchor="rm")
        for column in range(len(labels)):
            share = shares[row, column]
            goal = np.array((33, 102, 172) if row == column else MISTAKE)
            color = tuple((255 + (goal - 255) * np.sqrt(share)).astype(int).tolist())
            corner = margin + column * cell, margin + row * cell
            draw.rectangle([*corner, corner[0] + cell - 1, corner[1] + cell - 1], color,
                           outline=(238, 238, 238))
    heading = Image.new("RGB", (side, margin), PAPER)
    upright = Image.new("RGB", (margin, side), PAPER)
    down = ImageDraw.Draw(upright)
    for column, name in enumerate(labels):
        down.text((4, (column + 0.5) * cell), name, TEXT, font, anchor="lm")
    heading.paste(upright.rotate(90, expand=True))
    picture.paste(heading, (margin, 0))
    draw.text((6, 6), "rows: true", TEXT, font)
    draw.text((6, 20), "columns: said", TEXT, font)
    picture.save(path)


def draw_gallery(answers: PatchAnswers, cases: Sequence[PreparedCase], sizes_mm: Sequence[float],
                 names: Sequence[str], path: Path, seed: int = 0) -> None:
    """Patches that were named right, wrong, and with the least certainty.

    Args:
        answers: of the cases' patches.
        cases: they were asked of.
        sizes_mm: sides of the patches.
        names: of the landmarks.
        path: PNG.
        seed: which of those that were right are shown.
    """
    chance = softmax(answers.logits, 1).max(1)
    right = answers.ranks == 0
    landmark = answers.truth != NONE
    random = np.random.default_rng(seed)
    chosen = {
        "right": random.permutation(np.flatnonzero(right & landmark))[:EACH],
        "wrong": np.flatnonzero(~right)[np.argsort(-chance[~right])][:EACH],
        "unsure": np.argsort(chance)[:EACH],
    }
    extractors = Extractors(cases)
    labels = ("none", *names)
    tiles = {}
    for kind, numbers in chosen.items():
        tiles[kind] = []
        for number in numbers:
            planes = extractors[int(answers.cases[number])].planes(
                answers.points[number][None], sizes_mm[0])[0].numpy()
            said = labels[int(answers.logits[number].argmax())]
            truth = labels[int(answers.truth[number])]
            tiles[kind].append(Tile(planes, f"is {truth}", f"said {said}, {chance[number]:.0%}",
                                    said == truth))
    draw_tiles(tiles, path)


@dataclass(frozen=True)
class Tile:
    """A patch (3, pixels, pixels), prepared, with what it is, what was said, and if that is right.
    """

    planes: np.ndarray
    truth: str
    said: str
    right: bool


def draw_tiles(tiles: Mapping[str, Sequence[Tile]], path: Path) -> None:
    """Draw patches in columns, the three planes of each side by side.

    Args:
        tiles: by the heading of their column.
        path: PNG.
    """
    side = PIXELS * ENLARGED
    width, height = 3 * side + 4, side + 2 * LINE
    rows = max(map(len, tiles.values()), default=0)
    picture = Image.new("RGB", (len(tiles) * (width + GAP) + GAP, rows * (height + GAP) + 36),
                        PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    for column, (kind, own) in enumerate(tiles.items()):
        left = GAP + column * (width + GAP)
        draw.text((left, 8), f"{kind} (axial, coronal, sagittal)", TEXT, ImageFont.load_default(14))
        for row, tile in enumerate(own):
            top = 30 + row * (height + GAP)
            for place, plane in enumerate(tile.planes):
                grey = (np.clip(plane * 0.5 + 0.5, 0, 1) * 255).astype(np.uint8)
                picture.paste(Image.fromarray(grey).resize((side, side)),
                              (left + place * (side + 2), top))
            draw.text((left, top + side + 2), tile.truth, TEXT, font)
            draw.text((left, top + side + LINE), tile.said, TEXT if tile.right else MISTAKE, font)
    picture.save(path)
