# SPDX-License-Identifier: Apache-2.0
"""Is it worth asking about what the network is unsure of? Arms, seeds and costs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import Pair, check_apart, content_of, part_patients, read_pairs
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.live_training import claim_folder
from ReadingRoomLib.results import file_sha256, whole_file

from . import active_learning_report as report
from .active_learning import ARMS, WHOLE, Plan, Point, Scans, run_arm
from .active_learning_curves import draw_curves, measured, write_csv
from .active_learning_network import RECIPE
from .body import BODY_HU
from .heat_map import check_drawing
from .labelled_scans import read_scan
from .simulated_annotator import Cost

CURVES, PICTURE, REPORT = "curves.csv", "curves.png", "report.html"
TESTED = 0.3  # of the patients of a list without a test part
STEPS = 100  # of the progress, for each run
SIMULATED = "These patients are simulated: what is measured on them says nothing about real ones."
FEW_SEEDS, LITTLE = 5, 0.3  # seeds, and Dice of the best arm


@dataclass(frozen=True)
class Options:
    """What is compared.

    Attributes:
        data: list of CTs with their segmentations, see :mod:`ReadingRoomLib.datalists`; the pool
            is all but the test part, which is drawn by patient where there is none.
        work: folder that keeps each finished run.
        arms: of :data:`.active_learning.ARMS`.
        seeds: how many; the first is that of the job.
        plan: how the arms are run.
    """

    data: Path
    work: Path
    arms: tuple[str, ...] = ("random", "foreground", "entropy", "pixels", "everything")
    seeds: int = 5
    plan: Plan = field(default_factory=Plan)


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Run the arms, compare them, and write curves and report into the job's folder.

    Args:
        job: gets ``curves.csv``, ``curves.png``, ``report.html`` and what was measured.
        options: what is compared.
        say: shows a person a line.

    Raises:
        BadInput: the list, an image or an option cannot be used.
    """
    check_drawing()  # what is missing is said before the work
    _check(options)
    job.progress.stage("list", 1, "Reading the list")
    parts = _parts(options.data, job.seed)
    simulated = content_of(options.data.absolute()).get("simulated") is True
    if simulated:
        job.warn(SIMULATED)
    if options.seeds < FEW_SEEDS:
        job.warn(f"{options.seeds} seeds are few: take {FEW_SEEDS} or more for intervals that mean "
                 "something.")
    scans = _read(job, parts)
    _claim(options, parts, job.seed)
    runs = _run_all(job, options, scans)
    _check_learned(job, runs)
    job.progress.stage("write", 1, "Writing the report")
    found = measured(runs, _cost_of(scans)) | {
        "published": report.PUBLISHED_RESULT, "simulated": simulated, "seeds": options.seeds,
        "plan": asdict(options.plan), "voxel_mm": list(RECIPE.spacing),
        "pool_patients": len({scan.patient for scan in scans.pool}),
        "tested_patients": len({scan.patient for scan in scans.tested}),
        "arms": {arm: ARMS[arm] for arm in options.arms}}
    found["finding"] = report.sentences(found)
    write_csv(job.folder / CURVES, runs, [scan.patient for scan in scans.tested])
    draw_curves(found, job.folder / PICTURE)
    (job.folder / REPORT).write_text(report.page(found, job.folder / PICTURE, job.warnings),
                                     "utf-8")
    job.record(files={"report": REPORT, "curves": CURVES, "picture": PICTURE}, **found)
    for line in report.lines(found):
        say(line)


def _check(options: Options) -> None:
    unknown = [arm for arm in options.arms if arm not in ARMS]
    if unknown or not options.arms:
        raise BadInput(f'There is no arm "{(unknown or [""])[0]}": choose from {", ".join(ARMS)} '
                       "(--arms).")
    if len(set(options.arms)) != len(options.arms):
        raise BadInput("Name each arm once (--arms).")


def _parts(data: Path, seed: int) -> dict[str, Sequence[Pair]]:
    """The entries of pool and test, parted by patient."""
    parts = read_pairs(data, "segmentation")
    if parts.get("test"):
        check_apart(parts)
        pool = [pair for part, own in parts.items() if part != "test" for pair in own]
        return {"pool": pool, "test": parts["test"]}
    entries = [pair for own in parts.values() for pair in own]
    if len({pair.patient for pair in entries}) < 2:
        raise BadInput(f"{data.name} names one patient only: what is learned must be measured on "
                       "another one.")
    parted = part_patients(entries, {"pool": 1 - TESTED, "test": TESTED}, lambda pair: 0, seed)
    if not parted["test"]:  # of two patients
        last = parted["pool"][-1].patient
        parted = {"pool": [pair for pair in entries if pair.patient != last],
                  "test": [pair for pair in entries if pair.patient == last]}
    return parted


def _read(job: Job, parts: dict[str, Sequence[Pair]]) -> Scans:
    job.progress.stage("read", sum(map(len, parts.values())), "Reading the scans")
    done = 0
    scans = {}
    for part, pairs in parts.items():
        scans[part] = []
        for pair in pairs:
            scans[part].append(read_scan(pair, RECIPE, job.warn))
            done += 1
            job.progress.advance(done)
    for part, own in scans.items():
        if not any(scan.slices_of for scan in own):
            raise BadInput(f"The {part} part has no muscle and no bone that is known: check the "
                           "segmentations of the list.")
    return Scans([scan for scan in scans["pool"] if scan.slices_of],
                 [scan for scan in scans["test"] if scan.slices_of])


def _claim(options: Options, parts: dict[str, Sequence[Pair]], seed: int) -> None:
    """Only the same patients and the same plan may go on in a work folder."""
    claim_folder(options.work, {
        "plan": asdict(options.plan), "seed": seed,
        "scans": {part: [[file_sha256(pair.image), file_sha256(pair.companion), pair.patient]
                         for pair in pairs] for part, pairs in parts.items()}}, options.work)


def _run_all(job: Job, options: Options, scans: Scans) -> dict[str, dict[int, list[Point]]]:
    """All runs, seed by seed, those taken from the work folder that are finished."""
    total = len(options.arms) * options.seeds
    job.progress.stage("runs", STEPS * total, "Learning and asking")
    runs: dict[str, dict[int, list[Point]]] = {arm: {} for arm in options.arms}
    done = 0
    for seed in range(job.seed, job.seed + options.seeds):
        for arm in options.arms:
            def advance(share: float, done: int = done) -> None:
                job.progress.advance(round(STEPS * (done + share)))

            runs[arm][seed] = _kept(options.work / f"{arm}-{seed}.json", partial(
                run_arm, arm, seed, scans, options.plan, options.work, advance))
            done += 1
            advance(0.0, done)
    return runs


def _check_learned(job: Job, runs: dict[str, dict[int, list[Point]]]) -> None:
    """Say where the training, not the labels, limits what the arms reach."""
    ends = {arm: float(np.mean([points[-1].dice for points in own.values()]))
            for arm, own in runs.items()}
    best = max(ends.values())
    if best < LITTLE:
        job.warn(f"No arm got beyond a Dice of {best:.2f}: the networks learned too little to "
                 "tell the arms apart or to say what everything is worth. Take more steps "
                 "(--first-steps, --steps).")
    elif len(ends) > 1 and ends.get(WHOLE, 1.0) <= best < 1.0:
        job.warn("With everything labelled the Dice is no higher than with part of it: so few "
                 "steps cannot use so many labels, and more steps (--first-steps, --steps) would "
                 "make everything worth more, and the cost to reach it higher.")


def _kept(path: Path, compute: Callable[[], list[Point]]) -> list[Point]:
    """The points of a file, or computed and put into it."""
    if not path.exists():
        with whole_file(path) as unfinished:
            unfinished.write_text(json.dumps([asdict(point) for point in compute()]), "utf-8")
    return [Point(each["round"], Cost(**each["cost"]), tuple(each["dice"]))
            for each in json.loads(path.read_text("utf-8"))]


def _cost_of(scans: Scans) -> Cost:
    """What labelling all of the pool costs, corrections apart."""
    return Cost(sum(len(scan.target) for scan in scans.pool),
                sum(int(np.count_nonzero(scan.hounsfield > BODY_HU)) for scan in scans.pool))
