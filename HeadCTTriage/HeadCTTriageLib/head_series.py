# SPDX-License-Identifier: Apache-2.0
"""Which series of a DICOM database are head CTs, as far as their headers tell. No pixel is read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

HEAD = re.compile(r"head|brain|skull|crani|cereb|stroke|kopf|sch[aä]del|hirn|頭|脳", re.IGNORECASE)
NOT_PLAIN = re.compile(
    r"angio|\bcta\b|perfusion|\bctp\b|contrast|\bkm\b|bone|knochen|sinus|face|neck|hals"
    r"|scout|topo|locali[sz]er|dose|report", re.IGNORECASE)
LEAST_SLICES = 8


@dataclass(frozen=True)
class Series:
    """A series of a database.

    Attributes:
        uid, study: SeriesInstanceUID and StudyInstanceUID.
        modality, body_part, description, study_description, image_type: of its header.
        slices: number of its images.
        label: what a user may know it by.
    """

    uid: str
    study: str
    modality: str
    body_part: str
    description: str
    study_description: str
    image_type: str
    slices: int
    label: str = ""


def is_head_ct(series: Series) -> bool:
    """Whether a series is likely a CT of a head without contrast agent.

    A header may be wrong or empty, so what this lets through is looked at again when it is judged,
    and a physician can always choose a series by hand.
    """
    texts = (series.body_part, series.description, series.study_description)
    return (series.modality == "CT" and series.slices >= LEAST_SLICES
            and "LOCALIZER" not in series.image_type.upper()
            and any(HEAD.search(text) for text in texts)
            and not NOT_PLAIN.search(series.description))


def head_cts(series: Iterable[Series]) -> list[Series]:
    """One head CT of each study, that with the most slices."""
    best: dict[str, Series] = {}
    for one in sorted(filter(is_head_ct, series), key=lambda one: (-one.slices, one.uid)):
        best.setdefault(one.study, one)
    return list(best.values())
