# SPDX-License-Identifier: Apache-2.0
"""How well a model, or another method, segments CTs whose segmentation is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import Pair, content_of, measured_part, read_pairs
from ReadingRoomLib.errors import BadInput

from . import comparison, heat_map
from .evaluation import (
    CASES,
    PUBLISHED,
    SCORES,
    CaseTime,
    StructureScore,
    measured,
    scores_of_case,
    sentences,
    write_scores,
    write_times,
)
from .label_names import read_names
from .multi_atlas import MultiAtlas
from .named_labels import reference_on
from .segmenters import ByAtlases, ByFiles, ByModel, Segmenter, require_files

KEY = "segmentation"
PICTURE = "heat_map.png"
STEPS = 100  # of the progress, for each case
SIMULATED = "These CTs are simulated: what is measured on them says nothing about real patients."
Method = Literal["model", "multi-atlas", "predictions"]


@dataclass(frozen=True)
class Options:
    """What is to be measured.

    Attributes:
        data: list of CTs with their segmentations, see :mod:`ReadingRoomLib.datalists`; the key of
            the second file is ``segmentation``.
        model: name of a model, or folder of one.
        recipe: what the model must have been trained as, or None.
        samples: Monte Carlo samples.
        part: of the list; empty: the test part where there is one, otherwise all.
        tolerance_mm: distance up to which surfaces count as the same, for the NSD.
        method: what segments.
        atlases: list of the atlases; None: the list itself, without the patient in question.
        most_atlases: that are registered to a CT.
        predictions: folder of segmentations that another program made.
        names: what labels mean that are not called as ours, see :mod:`.label_names`.
        against: result of another evaluation to compare with.
    """

    data: Path
    model: str = "starter"
    recipe: str | None = None
    samples: int = 10
    part: str = ""
    tolerance_mm: float = 1.0
    method: Method = "model"
    atlases: Path | None = None
    most_atlases: int = 5
    predictions: Path | None = None
    names: str = ""
    against: Path | None = None


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Segment the CTs of a list, compare, and write table and picture into the job's folder.

    Args:
        job: gets ``scores.csv``, ``cases.csv``, ``heat_map.png`` and what was measured.
        options: what is to be measured.
        say: shows a person a line.

    Raises:
        BadInput: the list, a CT, a segmentation or an option cannot be used.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    job.progress.stage("list", 1, "Reading the list")
    cases = measured_part(read_pairs(options.data, KEY), options.part)
    simulated = content_of(options.data.absolute()).get("simulated") is True
    if simulated:
        job.warn(SIMULATED)
    other = comparison.Evaluated.read(options.against) if options.against else None
    segmenter = _segmenter(job, options, cases)
    job.progress.stage("cases", STEPS * len(cases), "Segmenting and comparing")
    scores: list[StructureScore] = []
    times: list[CaseTime] = []
    refused: list[str] = []
    for number, case in enumerate(cases):
        def advance(share: float, number: int = number) -> None:
            job.progress.advance(round(STEPS * (number + share)))

        found, time, reason = _scored(job, segmenter, case, options, advance)
        scores += found
        times.append(time)
        refused += [reason] if reason else []
        advance(1.0)
    if len(refused) == len(cases):
        raise BadInput(refused[0])
    job.progress.stage("write", 1, "Writing the result")
    result = measured(scores) | _written(job, scores, times)
    known = [time.seconds for time in times if time.seconds is not None]
    job.record(method=options.method, cases=len(cases), refused=len(refused), simulated=simulated,
               tolerance_mm=options.tolerance_mm, published=PUBLISHED,
               seconds_per_case=round(fmean(known), 2) if known else None, **result)
    lines = sentences(result)
    if other:
        ours = comparison.Evaluated(options.method, scores, times, options.tolerance_mm)
        compared = comparison.compare(ours, other)
        job.record(comparison=compared)
        lines += comparison.sentences(compared)
    for line in lines:
        say(line)


def _segmenter(job: Job, options: Options, cases: list[Pair]) -> Segmenter:
    """The method that is asked for."""
    if options.method == "multi-atlas":
        listed = read_pairs(options.atlases or options.data, KEY)
        pairs = [pair for part in listed.values() for pair in part]
        job.record(atlases={"listed": len(pairs), "registered_to_each": options.most_atlases})
        return ByAtlases(MultiAtlas(pairs, options.most_atlases, job.seed, job.warn))
    if options.method == "predictions":
        if options.predictions is None or not options.predictions.is_dir():
            raise BadInput("The segmentations to score are missing: name their folder "
                           "(--predictions).")
        segmenter = ByFiles(options.predictions, read_names(options.names or None), job.warn)
        require_files(segmenter, cases)
        return segmenter
    from .segmentation import load_model  # needs PyTorch, which the other methods do without

    bundle = load_model(options.model, options.recipe)
    job.record(model=bundle.described())
    return ByModel(job, bundle, options.samples)


def _scored(job: Job, segmenter: Segmenter, case: Pair, options: Options,
            advance: Callable[[float], None]) -> tuple[list[StructureScore], CaseTime, str]:
    """The scores of a case, how many seconds its segmentation took, and why it was refused."""
    def warn(sentence: str) -> None:
        job.warn(f"{case.image.name}: {sentence}")

    source = segmenter.read(case)
    for sentence in source.warnings:
        warn(sentence)
    reference, named = reference_on(source, case.companion, warn,
                                    read_names(options.names or None))
    found = segmenter(case, source, lambda share: advance(0.8 * share))
    if found.refused:
        warn(f"it was refused, so all its structures count as missed: {found.refused}")
    if unknown := named - found.named:
        warn(f"{len(unknown)} of {len(named)} structures of the reference are not named by the "
             "segmentation and were not scored.")
    scores = scores_of_case(case, found.labels, reference, named & found.named,
                              options.tolerance_mm, found.doubt)
    return scores, CaseTime(case.patient, case.image.name, *found.took), found.refused


def _written(job: Job, scores: list[StructureScore], times: list[CaseTime]) -> dict[str, Any]:
    """Write tables and picture; what the manifest says of them."""
    write_scores(job.folder / SCORES, scores)
    write_times(job.folder / CASES, times)
    files = {"scores": SCORES, "cases": CASES}
    if heat_map.drawn(scores, job.folder / PICTURE, job.warn):
        files["heat_map"] = PICTURE
    return {"files": files}
