# SPDX-License-Identifier: Apache-2.0
"""The job of the radiomics study: images with masks in, a table, plots and a report out.

The features of each tumour are a file in the work folder, named by what they depend on, so a study
that was cut off goes on there, and one that gets more patients computes only these.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import read_image
from ReadingRoomLib.results import file_sha256, whole_file
from ReadingRoomLib.volume_files import read_volume_file

from . import radiomics_report as report
from .radiomics import ARMS, THICK, Features, Recipe, both_arms, tumour_mask
from .radiomics_study import (
    LEAST_PATIENTS,
    PUBLISHED,
    Case,
    Stability,
    stability_of,
    summary_of,
)

FORMAT = 1  # of the files in the work folder
FILES = {"features": "features.csv", "values": "values.csv", "report": "report.html",
         "variation": "variation.png", "agreement": "agreement.png"}
TOO_FEW = (f"Intraclass correlation and concordance are not given: they need at least "
           f"{LEAST_PATIENTS} patients. The coefficient of variation alone does not say whether "
           "patients keep their order.")


@dataclass(frozen=True)
class Options:
    """What the study is.

    Attributes:
        cases: tumours, one for each patient and sequence.
        labels: of the masks that are tumour; all above 0 when none are given.
        recipe: how features are computed.
        work: folder for what is computed.
    """

    cases: Sequence[Case]
    labels: tuple[int, ...]
    recipe: Recipe
    work: Path


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Compute all features and write everything into the job's folder.

    Args:
        job: gets files and the manifest's entries.
        options: what the study is.
        say: shows a person a line.

    Raises:
        BadInput: an image or a mask cannot be used.
        ModuleNotFoundError: mirp or matplotlib is not installed.
    """
    report.check_drawing()  # what is missing is said before hours of work
    library = importlib.metadata.version("mirp")
    options.work.mkdir(parents=True, exist_ok=True)
    job.progress.stage("features", len(options.cases), "Computing features")
    found, widest = [], 0.0
    for number, case in enumerate(options.cases, 1):
        stored = _stored(case, options, library)
        found.append((case.sequence, {arm: _read(stored[arm]) for arm in ARMS}))
        for warning in stored["warnings"]:
            job.warn(warning)
        widest = max(widest, stored["widest_mm"])
        job.progress.advance(number)
    spacing = options.recipe.spacing_mm
    if spacing and widest > THICK * spacing:
        job.warn(f"Slices are up to {widest:.1f} mm apart and were resampled to {spacing:g} mm: "
                 "texture along them is mostly interpolation.")
    job.progress.stage("report", 1, "Writing the report")
    rows = stability_of(found)
    summaries = {sequence: summary_of([row for row in rows if row.sequence == sequence])
                 for sequence in dict.fromkeys(row.sequence for row in rows)}
    if any(each["small_but_poor"] is None for each in summaries.values()):
        job.warn(TOO_FEW)
    recipe = options.recipe.described() | {"version": library}
    _write(job, options.cases, found, rows, summaries, recipe)
    job.record(
        recipe=recipe, published=PUBLISHED, summary=summaries,
        patients={sequence: sum(case.sequence == sequence for case in options.cases)
                  for sequence in summaries})
    for line in report.lines(rows, summaries):
        say(line)


def _stored(case: Case, options: Options, library: str) -> dict[str, Any]:
    """What :func:`_compute` says, from the work folder where it is there already."""
    known = hashlib.sha256(json.dumps([
        FORMAT, library, asdict(options.recipe), sorted(options.labels), case.sequence,
        *(file_sha256(file) for file in (case.image, case.mask))]).encode()).hexdigest()
    path = options.work / f"{known[:32]}.json"
    if not path.exists():
        stored = _compute(case, options)
        with whole_file(path) as unfinished:
            unfinished.write_text(json.dumps(stored) + "\n", "utf-8")
    return json.loads(path.read_text("utf-8"))


def _read(features: dict[str, float | None]) -> Features:
    """Features as they were computed; JSON knows no NaN."""
    return {name: math.nan if value is None else value for name, value in features.items()}


def _compute(case: Case, options: Options) -> dict[str, Any]:
    """Features by arm, None for what cannot be computed, and warnings: as it is stored."""
    given = read_image(case.image, "MR")
    image, warnings = given.image, list(given.warnings)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise BadInput(f"{given.name} is not a volume with one value per voxel: choose an MRI "
                       "series.")
    name = f"{given.name} ({case.place})"
    mask = tumour_mask(read_volume_file(case.mask).image, image, options.labels, case.mask.name)
    arms = both_arms(image, mask, case.sequence, options.recipe, name)
    return {"warnings": warnings, "widest_mm": max(image.GetSpacing())} | {
        arm: {name: value if math.isfinite(value) else None for name, value in features.items()}
        for arm, features in arms.items()}


# ------------------------------------------------------------------------------------------ writing


def _write(job: Job, cases: Sequence[Case], found: Sequence[tuple[str, dict[str, Features]]],
           rows: Sequence[Stability], summaries: dict, recipe: dict) -> None:
    files = {role: name for role, name in FILES.items()
             if role != "agreement" or report.has_agreement(rows)}
    with (job.folder / files["values"]).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "sequence", "feature", *(f"{arm} N4" for arm in ARMS)])
        for case, (_, arms) in zip(cases, found, strict=True):
            writer.writerows([case.patient, case.sequence, feature,
                              *(_number(arms[arm][feature]) for arm in ARMS)]
                             for feature in arms[ARMS[0]])
    with (job.folder / files["features"]).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "class", "feature", "patients", "unchanged",
                         *(f"mean {arm} N4" for arm in ARMS), "coefficient of variation",
                         *(f"{name}{end}" for name in ("ICC(A,1)", "concordance")
                           for end in ("", " low", " high"))])
        writer.writerows([row.sequence, row.kind, row.feature, row.patients, row.unchanged,
                          *map(_number, (row.mean_without, row.mean_with, row.variation,
                                         row.icc.value, row.icc.low, row.icc.high,
                                         row.concordance.value, row.concordance.low,
                                         row.concordance.high))] for row in rows)
    report.draw_variation(rows, job.folder / files["variation"])
    if "agreement" in files:
        report.draw_agreement(rows, job.folder / files["agreement"])
    (job.folder / files["report"]).write_text(
        report.page(rows, summaries, recipe, job.folder, files, job.warnings), "utf-8")
    job.record(files=files)


def _number(value: float) -> str:
    """Seven digits; empty where there is no number."""
    return f"{value:.7g}" if math.isfinite(value) else ""
