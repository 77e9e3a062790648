# SPDX-License-Identifier: Apache-2.0
"""Which scans of an archive belong into a study: first ones, of heads that were not operated on.

The published study left out repeats within a short time and scans after surgery, and does not say
how they were found. Here they are found by dates and by words of the description; each that is left
out is listed with the reason, so that a person can look.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass

REPEAT_DAYS = 14
AFTER_SURGERY = re.compile(
    r"""\b(?: post[\s_-]*(?:op\b|operat\w*|surg\w*) | after\s+(?:surg\w*|operation)
          | s\s*/\s*p\b | status\s+post | craniotom\w* | craniectom\w* | cranioplast\w*
          | shunt\w* | drain\w* | \bevd\b | clipp\w* | coil\w* | evacuat\w*
          | postoperativ\w* | op[\s_-]*kontrolle | nach\s+op\b )
        | 術後 | 開頭 | ドレーン | シャント | クリッピング""",
    re.IGNORECASE | re.VERBOSE)
"""Words for a head that was operated on, in English, German and Japanese."""


@dataclass(frozen=True)
class Examination:
    """A scan of an archive.

    Attributes:
        name: of its folder or file.
        patient: number that is the same for all scans of a patient, and no one else's.
        acquired: day; None where it is not known.
        description: of study, series, protocol, request.
    """

    name: str
    patient: str
    acquired: datetime.date | None
    description: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A scan that does not belong into the study, and why, in a sentence."""

    examination: Examination
    reason: str


def curate(examinations: Iterable[Examination], repeat_days: int = REPEAT_DAYS,
           ) -> tuple[list[Examination], list[LeftOut]]:
    """Part an archive.

    A repeat is a scan within ``repeat_days`` of the last one of the patient, whether that one was
    kept or not: a patient who is scanned every day for a month was examined once. After surgery
    means that the scan's own description says so, or that an earlier one of the patient's did.

    Args:
        examinations: in any order.
        repeat_days: 0 keeps scans of the same day only once.

    Returns:
        What is kept, by patient and day, and what is left out.

    Raises:
        ValueError: ``repeat_days`` is below 0.
    """
    if repeat_days < 0:
        raise ValueError(f"{repeat_days} days cannot lie between two scans")
    kept: list[Examination] = []
    left_out: list[LeftOut] = []
    latest: dict[str, Examination] = {}
    operated: dict[str, Examination] = {}
    for one in sorted(examinations, key=_by_patient_and_day):
        if one.acquired is None:
            left_out.append(LeftOut(one, "its day is not known, so it may be a repeat"))
            continue
        before = latest.get(one.patient)
        latest[one.patient] = one
        if said := AFTER_SURGERY.search(one.description):
            operated.setdefault(one.patient, one)
            left_out.append(LeftOut(one, f'its description says "{said.group().strip()}"'))
        elif one.patient in operated:
            left_out.append(LeftOut(one, f"{operated[one.patient].name}, which is earlier, was "
                                         "taken after surgery"))
        elif before and (one.acquired - before.acquired).days <= repeat_days:
            left_out.append(LeftOut(one, f"it repeats {before.name} within {repeat_days} days"))
        else:
            kept.append(one)
    return kept, left_out


def _by_patient_and_day(one: Examination) -> tuple:
    return one.patient, one.acquired or datetime.date.min, one.name
