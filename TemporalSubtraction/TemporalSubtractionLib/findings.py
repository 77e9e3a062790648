# SPDX-License-Identifier: Apache-2.0
"""Accepted candidates as DICOM objects that are filed with the current CT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ReadingRoomLib.bone_codes import PRIVATE_SCHEME, bone_site
from ReadingRoomLib.commands import Job
from ReadingRoomLib.dicom_findings import (
    Algorithm,
    Finding,
    Quantity,
    read_series,
    write_findings,
)
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import AIR_HU
from ReadingRoomLib.images import read_image
from ReadingRoomLib.results import read_result
from ReadingRoomLib.volume_files import quiet, read_volume_file

from .candidate_table import ACCEPTED, DENSER, MIXED, THINNER, CandidateRow, read_rows
from .patch_registration import WINDOW_HU

SEGMENTATION, REPORT = "findings_seg.dcm", "findings_sr.dcm"
NEEDED = {"candidates", "candidate_labels", "expected"}  # files of the result, by role
LEAST_LIKE = 0.6  # correlation of the CT with what was expected of it; another patient: near 0
COLORS = {DENSER: (0, 158, 115), THINNER: (230, 129, 0), MIXED: (117, 112, 179)}

# What neither SNOMED CT nor DICOM has. z has a code, DICOM's 113071.
EQUAL_BALL = Code("EQUALBALL", PRIVATE_SCHEME, "Diameter of the ball of equal volume")
HU_CHANGE = Code("HUCHANGE", PRIVATE_SCHEME, "Change of attenuation since the prior CT")
BECAME_DENSER = Code("DENSER", PRIVATE_SCHEME, "Denser than in the prior CT")
BECAME_THINNER = Code("THINNER", PRIVATE_SCHEME, "Less dense than in the prior CT")
BECAME_MIXED = Code("MIXED", PRIVATE_SCHEME, "Denser and less dense side by side")
BECAME = {DENSER: BECAME_DENSER, THINNER: BECAME_THINNER, MIXED: BECAME_MIXED}
ALGORITHM = "ReadingRoom TemporalSubtraction"


def run(job: Job, result: Path, current: Path, accepted: Sequence[int] | None = None) -> None:
    """Write accepted candidates of a result as DICOM into the job's folder.

    Args:
        job: gets files and the manifest's entries.
        result: folder that ``subtract`` wrote, perhaps with decisions in its ``candidates.csv``.
        current: DICOM series of the current CT.
        accepted: numbers of candidates, instead of the decisions.

    Raises:
        BadInput: nothing is accepted, or the CT is no DICOM or not the one that was compared.
    """
    manifest = read_result(result)
    files = manifest["files"]
    if not NEEDED <= files.keys():
        raise BadInput(f"{result.name} holds no candidates: choose a folder that subtract wrote.")
    rows = _chosen(_rows(result / files["candidates"]), accepted)
    job.progress.stage("read", 2, "Reading the current CT")
    source = read_series(current)
    scan = read_image(current)
    expected = read_volume_file(result / files["expected"]).image
    with quiet():
        _check_same(scan.image, expected, source.name)
    job.progress.advance(1)
    labels = read_volume_file(result / files["candidate_labels"]).image
    job.progress.advance(2)
    job.progress.stage("write", 1, "Writing DICOM")
    method = manifest.get("method", "classical")
    algorithm = Algorithm(
        ALGORITHM, manifest["versions"]["readingroom"],
        codes.DCM.NeighborhoodAnalysis if method == "classical"
        else codes.DCM.ArtificialIntelligence, {"method": method})
    write_findings(labels, [_finding(row) for row in rows], source, algorithm,
                   job.folder / SEGMENTATION, job.folder / REPORT)
    job.record(files={"segmentation": SEGMENTATION, "report": REPORT}, method=method,
               accepted=[row.number for row in rows],
               inputs=[{"name": scan.name, "sha256": scan.sha256}])
    job.progress.advance(1)


def parse_numbers(text: str) -> list[int] | None:
    """Return the numbers of a list such as ``1,3``; None for an empty one.

    Raises:
        BadInput: it is no such list.
    """
    if not text.strip():
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise BadInput(f"--accepted {text} is no list of numbers: write it as 1,3,5.") from error


def _rows(path: Path) -> list[CandidateRow]:
    """Read the table, which people may have edited."""
    try:
        rows = read_rows(path)
        if not {row.kind for row in rows} <= BECAME.keys():
            raise ValueError("a kind that does not exist")
        return rows
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path.name} is not as subtract writes it: keep all of its columns, with "
                       "commas between them, and change the column status only.") from error


def _chosen(rows: Sequence[CandidateRow], numbers: Sequence[int] | None) -> list[CandidateRow]:
    if numbers is None:
        chosen = [row for row in rows if row.status == ACCEPTED]
        if not chosen:
            raise BadInput("No candidate is accepted: write accepted into the column status of "
                           "candidates.csv, or name the numbers (--accepted 1,3).")
        return chosen
    there = {row.number for row in rows}
    for number in numbers:
        if number not in there:
            raise BadInput(f"There is no candidate {number}: choose numbers of candidates.csv.")
    return [row for row in rows if row.number in numbers]


def _check_same(current: sitk.Image, expected: sitk.Image, name: str) -> None:
    """Refuse a CT that is not as expected: findings must not be filed with another patient."""
    there = sitk.Resample(current, expected, sitk.Transform(), sitk.sitkLinear, AIR_HU)
    compared = sitk.GetArrayViewFromImage(expected) != 0
    pair = [sitk.GetArrayViewFromImage(image)[compared].clip(*WINDOW_HU).astype(np.float32)
            for image in (there, expected)]
    alike = np.std(pair[0]) > 0 and np.corrcoef(*pair)[0, 1] >= LEAST_LIKE
    if not alike:
        raise BadInput(f"{name} does not show what was compared: choose the current CT of the "
                       "comparison.")


def _finding(row: CandidateRow) -> Finding:
    site, side = bone_site(row.bone)
    return Finding(
        value=row.number,
        name=row.name + (f", {row.bone}" if row.bone else "").replace("\\", "/"),
        quantities=[
            Quantity(codes.SCT.Volume, row.volume_ml, codes.UCUM.CubicCentimeter),
            Quantity(codes.SCT.Diameter, row.diameter_mm, codes.UCUM.Millimeter,
                     method=EQUAL_BALL),
            Quantity(HU_CHANGE, row.hu_change, codes.UCUM.HounsfieldUnit, codes.SCT.Mean),
            Quantity(codes.DCM.ZScore, row.mean_z, codes.UCUM.NoUnits, codes.SCT.Mean),
            Quantity(codes.DCM.ZScore, row.peak_z, codes.UCUM.NoUnits,
                     codes.DCM.PeakValueWithinROI),
        ],
        evaluations=[(codes.SCT.DifferenceInAttenuation, BECAME[row.kind])],
        site=site, side=side, color=COLORS[row.kind],
    )
