# SPDX-License-Identifier: Apache-2.0
"""The colours of tags and findings, in contact sheets and panels. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ReadingRoomLib.phantoms.head_findings import Kind

COLORS: Mapping[Kind, tuple[int, int, int]] = {
    "epidural": (255, 176, 0), "subdural": (255, 97, 56), "intraparenchymal": (230, 40, 60),
    "subarachnoid": (230, 90, 200), "intraventricular": (160, 110, 255),
    "infarct": (70, 160, 255), "fracture": (60, 210, 180), "calcification": (160, 190, 90),
}
"""Of the outlines; tell kinds apart without red against green."""
TAG_COLORS = {"green": (60, 160, 80), "yellow": (225, 175, 30), "red": (205, 45, 45),
              "black": (40, 40, 40)}
