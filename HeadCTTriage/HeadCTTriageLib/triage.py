# SPDX-License-Identifier: Apache-2.0
"""Triage tags, and the rules that give a simulated head its tag.

The tags are those of disaster medicine, as Watanabe (KAKENHI 18K16600) put them to head CT. A
person tags real scans; a simulated one is tagged by rules on what was put into it. The limits
follow the guidelines for the surgical management of traumatic brain injury (Bullock et al.,
Neurosurgery 2006: subdural blood above 10 mm, midline shift above 5 mm). That nearly all fresh
blood is urgent, and what cannot be survived, are our own simplification. They are stated here so
that they can be disagreed with, and say nothing about a real patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from ReadingRoomLib.phantoms.head_findings import BLEEDING, Finding

if TYPE_CHECKING:
    from ReadingRoomLib.phantoms.head import SimulatedHead


class Tag(IntEnum):
    """How soon somebody has to look, in the order of the published classes."""

    GREEN = 0  # no care by a specialist
    YELLOW = 1  # care by a specialist, not urgent
    RED = 2  # urgent care by a specialist
    BLACK = 3  # care cannot improve the outcome

    @property
    def urgent(self) -> bool:
        """Whether it is one of the two that the binary judgement tells from the others."""
        return self >= Tag.RED


ACUTE_HU = 45.0  # blood as dense is fresh
HOPELESS_ML, HOPELESS_SHIFT_MM = 100.0, 8.0
HOPELESS_WITHIN_ML, HOPELESS_VENTRICLES_ML = 60.0, 15.0  # blood in the brain and ventricles
URGENT_ML = 3.0  # of fresh blood anywhere
URGENT_SHIFT_MM = 5.0
URGENT_SUBDURAL_MM = 10.0  # of any age
URGENT_INFARCT_ML = 70.0  # swells
SMALL_ML = 0.05  # less is not seen


def tag_of(head: SimulatedHead, findings: Sequence[Finding]) -> Tag:
    """The tag of a simulated head by what it shows.

    Args:
        head: as it was simulated.
        findings: what was put into it.
    """
    shift = abs(head.midline_shift_mm)
    seen = [finding for finding in findings if head.volumes_ml.get(finding.kind, 0) >= SMALL_ML]
    fresh = sum(head.volumes_ml[kind] for kind in {
        finding.kind for finding in seen
        if finding.kind in BLEEDING and finding.density_hu >= ACUTE_HU})
    volume = head.volumes_ml.get
    if (fresh >= HOPELESS_ML and shift >= HOPELESS_SHIFT_MM
            or volume("intraparenchymal", 0) >= HOPELESS_WITHIN_ML
            and volume("intraventricular", 0) >= HOPELESS_VENTRICLES_ML):
        return Tag.BLACK
    if (fresh >= URGENT_ML or shift >= URGENT_SHIFT_MM
            or volume("infarct", 0) >= URGENT_INFARCT_ML
            or any(finding.kind == "subdural" and finding.thickness_mm >= URGENT_SUBDURAL_MM
                   for finding in seen)):
        return Tag.RED
    harmless = ("calcification",)
    return Tag.YELLOW if any(finding.kind not in harmless for finding in seen) else Tag.GREEN
