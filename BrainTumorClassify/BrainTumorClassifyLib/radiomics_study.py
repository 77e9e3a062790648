# SPDX-License-Identifier: Apache-2.0
"""How far bias-field correction changes radiomic features, feature by feature.

Two questions, because they have different answers. The coefficient of variation within patients
says how far a value moves, against its size. The intraclass correlation and Lin's concordance say
whether patients can still be told apart by it: a feature that hardly differs between patients may
move little and yet lose their order.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ReadingRoomLib.datalists import PARTS, content_of
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.estimates import Estimate

from .agreement import concordance, intraclass_correlations, within_subject_variation
from .radiomics import ARMS, Features, class_of
from .sequences import SEQUENCES

PUBLISHED = {"source": "Kunimatsu, KAKENHI 18K07629 (2018-2022)",
             "claim": "bias-field (N4) correction hardly changes radiomic features",
             "coefficient_of_variation": 0.2}
SMALL_VARIATION = PUBLISHED["coefficient_of_variation"]
GOOD_CORRELATION = 0.75  # from here on reliability is good: Koo & Li, J Chiropr Med 2016
LEAST_PATIENTS = 10
"""For a correlation at all; with 10, the interval of 0.75 reaches from about 0.26 to 0.93, and
Koo & Li ask for 30."""
SAME = 1e-6  # of a value; what changes less was not changed: rounding
ICC = "ICC(2,1)"
"""Of one value, the offset between the arms counted as error: absolute agreement. It is what McGraw
& Wong (Psychological Methods 1996) call ICC(A,1)."""


@dataclass(frozen=True)
class Case:
    """A tumour in one sequence.

    Attributes:
        image, mask: files; ``image`` may also be a DICOM folder.
        sequence: t1, t2 or t1c.
        patient: whose tumour it is.
        place: where it was named, for messages.
    """

    image: Path
    mask: Path
    sequence: str
    patient: str
    place: str


@dataclass(frozen=True)
class Stability:
    """What the correction does to one feature in one sequence.

    Attributes:
        sequence, kind, feature: which; ``kind`` is the class of the feature.
        patients: whose feature could be computed in both arms.
        unchanged: whether it is the same in both arms in all of them, as shape is.
        mean_without, mean_with: over the patients.
        variation: coefficient of variation within patients, root mean square over them; NaN where
            the feature has both signs, because its zero then means nothing.
        icc, concordance: between the arms; NaN with fewer than LEAST_PATIENTS patients.
    """

    sequence: str
    kind: str
    feature: str
    patients: int
    unchanged: bool
    mean_without: float
    mean_with: float
    variation: float
    icc: Estimate
    concordance: Estimate


# ------------------------------------------------------------------------------------------- cases


def read_cases(path: Path, sequences: Collection[str] = ()) -> list[Case]:
    """The tumours of a list: a MONAI datalist with masks as labels.

    ::

        {"training": [{"image": "17/t1c.nrrd", "label": "17/tumour.nrrd", "patient": "17",
                       "sequence": "t1c"}]}

    Paths are relative to the folder of the list; all its parts are put together.

    Args:
        path: of the JSON file.
        sequences: only these; all when none are given.

    Raises:
        BadInput: the list cannot be used.
    """
    path = Path(path).absolute()
    content = content_of(path)
    cases = [_case(entry, f"item {number} of {part}", path.parent)
             for part in PARTS for number, entry in enumerate(content.get(part, []), 1)]
    cases = [case for case in cases if not sequences or case.sequence in sequences]
    if not cases:
        raise BadInput(f"{path.name} has no image of {' or '.join(sequences)}: choose a sequence "
                       "that it has (--sequence).")
    return _checked(cases)


def paired_cases(images: Sequence[Path], masks: Sequence[Path], sequences: Sequence[str],
                 ) -> list[Case]:
    """Tumours that are named one by one.

    Args:
        images, masks: as many of one as of the other.
        sequences: of each image, or one for all. The first images of all sequences are one
            patient's, the second another's, and so on.

    Raises:
        BadInput: a file is missing, or it is not clear what belongs together.
    """
    if len(images) != len(masks):
        raise BadInput(f"There are {len(images)} images and {len(masks)} masks: name one mask for "
                       "each image, in the same order.")
    if len(sequences) == 1:
        sequences = [*sequences] * len(images)
    if len(sequences) != len(images):
        raise BadInput(f"There are {len(images)} images and {len(sequences)} sequences: name one "
                       "for each image, in the same order, or one for all.")
    counts: dict[str, int] = {}
    cases = []
    for number, (image, mask, sequence) in enumerate(zip(images, masks, sequences, strict=True), 1):
        counts[sequence] = counts.get(sequence, 0) + 1
        entry = {"image": str(image), "label": str(mask), "sequence": sequence,
                 "patient": str(counts[sequence])}
        cases.append(_case(entry, f"image {number}", Path.cwd()))
    return _checked(cases)


def _case(entry: Any, place: str, folder: Path) -> Case:
    if not isinstance(entry, dict):
        entry = {}
    for key in ("image", "label", "patient", "sequence"):
        if not isinstance(entry.get(key), str | int) or str(entry[key]).strip() == "":
            raise BadInput(f'The list is wrong at {place}: "{key}" is missing; write {{"image": '
                           '..., "label": the mask, "patient": ..., "sequence": ...}.')
    sequence = str(entry["sequence"]).strip().lower()
    if sequence not in SEQUENCES:
        raise BadInput(f'The list is wrong at {place}: its sequence is "{entry["sequence"]}", but '
                       f"must be one of {', '.join(SEQUENCES)}.")
    image, mask = (folder / Path(str(entry[key])).expanduser() for key in ("image", "label"))
    for file in (image, mask):
        if not file.exists():
            raise BadInput(f"{file.name} ({place}) cannot be found: check its path, which counts "
                           "from the folder of the list.")
    return Case(image, mask, sequence, str(entry["patient"]).strip(), place)


def _checked(cases: list[Case]) -> list[Case]:
    """Refuse two tumours of a patient in one sequence: they are alike, and would count twice."""
    seen: dict[tuple[str, str], Case] = {}
    for case in cases:
        other = seen.setdefault((case.patient, case.sequence), case)
        if other is not case:
            raise BadInput(f"The list has two images of one patient in {case.sequence} "
                           f"({other.place}, {case.place}): leave one of them.")
    return cases


# -------------------------------------------------------------------------------------- statistics


def stability_of(found: Iterable[tuple[str, Mapping[str, Features]]]) -> list[Stability]:
    """What the correction does to every feature, by sequence.

    Args:
        found: for each tumour its sequence, and its features by arm.
    """
    by_sequence: dict[str, list[Mapping[str, Features]]] = {}
    for sequence, arms in found:
        by_sequence.setdefault(sequence, []).append(arms)
    return [_stability(sequence, feature, np.array(
                [[patient[arm].get(feature, np.nan) for arm in ARMS] for patient in patients]))
            for sequence, patients in by_sequence.items() for feature in patients[0][ARMS[0]]]


def _stability(sequence: str, feature: str, values: np.ndarray) -> Stability:
    """Of values (patients, arms)."""
    values = values[np.isfinite(values).all(1)]
    count = len(values)
    nothing = Estimate(np.nan, np.nan, np.nan, count)
    unchanged = bool(count and np.allclose(values[:, 0], values[:, 1], rtol=SAME, atol=0))
    means = values.mean(0).tolist() if count else [np.nan, np.nan]
    both_signs = bool(count and values.min() < 0 < values.max())
    variation = np.nan
    if count and not both_signs:
        variation = 0.0 if unchanged else within_subject_variation(values)
    enough = count >= LEAST_PATIENTS
    return Stability(
        sequence, class_of(feature), feature, count, unchanged, *means, variation,
        intraclass_correlations(values)[ICC] if enough else nothing,
        concordance(*values.T) if enough else nothing)


def summary_of(rows: Sequence[Stability]) -> dict[str, int | None]:
    """Numbers of features of one sequence.

    Returns:
        ``features``; ``unchanged``, which no correction can change; ``changed``, all others. Of the
        latter ``no_variation``, which have both signs; ``small_variation``, below SMALL_VARIATION;
        and among these ``small_but_poor``, whose ICC is below GOOD_CORRELATION, and
        ``small_but_perhaps_poor``, the lower end of whose interval is. These two are None where
        there are too few patients.
    """
    changed = [row for row in rows if not row.unchanged]
    small = [row for row in changed if row.variation < SMALL_VARIATION]
    known = [row for row in small if math.isfinite(row.icc.value)]
    enough = any(row.patients >= LEAST_PATIENTS for row in rows)
    return {
        "features": len(rows),
        "unchanged": len(rows) - len(changed),
        "changed": len(changed),
        "no_variation": sum(math.isnan(row.variation) for row in changed),
        "small_variation": len(small),
        "small_but_poor": _below(known, "value") if enough else None,
        "small_but_perhaps_poor": _below(known, "low") if enough else None,
    }


def _below(rows: Sequence[Stability], end: str) -> int:
    return sum(getattr(row.icc, end) < GOOD_CORRELATION for row in rows)
