# SPDX-License-Identifier: Apache-2.0
"""A pool of CTs in, the slices that a person should look at first out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.bundles import Bundle
from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import content_of, read_pairs
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like

from .collect_command import scans_in
from .contrasts import body_in, intensities_of, read_any
from .corrections import write_labels
from .earlier_queue import EarlierQueue
from .grids import on_input_grid, upright
from .review_folder import (
    CASES,
    QUEUE,
    SEGMENTATION,
    UNCERTAIN,
    Queue,
    QueuedCase,
    QueuedSlice,
    planes,
    write_queue,
)
from .review_queue import Candidate, choose_apart, level_of_share, marked, slice_score
from .segmentation import load_model, predict
from .segmentation_sources import stem_of

UNCERTAINTY = "uncertainty.nrrd"  # of a case while the queue is made
FULL = 65534  # stands for 1; in that file all of the body is one higher, and 0 is beside it
STEPS = 100  # of the progress, for each case
_MARKS = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


@dataclass(frozen=True)
class Options:
    """What is looked through.

    Attributes:
        pool: folder of CTs, or a list of them.
        model: name of a model, or folder of one.
        recipe: what it must have been trained as, or None.
        samples: Monte Carlo samples, at least 2.
        slices: to put into the queue, at most.
        share: of the body's pixels in these slices that are marked.
        level: uncertainty from which pixels are marked, instead of a share.
        apart_mm: between two slices of a CT.
        after: folder of an earlier queue, whose reviewed slices are left out and whose corrections
            are kept.
    """

    pool: Path
    model: str = "starter"
    recipe: str | None = None
    samples: int = 10
    slices: int = 20
    share: float = 0.1
    level: float | None = None
    apart_mm: float = 15.0
    after: Path | None = None


@dataclass(frozen=True)
class Scan:
    """A CT of the pool before it is read."""

    case: str
    image: Path
    patient: str


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Look through a pool and write the queue into the job's folder.

    Args:
        job: gets the files that :mod:`.corrections` describes.
        options: what is looked through.
        say: shows a person a line.

    Raises:
        BadInput: the pool is empty, none of its CTs can be used, or an earlier queue does not fit.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    job.progress.stage("pool", 1, "Looking for CTs")
    scans, simulated = scans_of(options.pool)
    before = EarlierQueue.read(options.after)
    bundle = load_model(options.model, options.recipe)
    job.progress.stage("cases", STEPS * len(scans), "Looking through the pool")
    cases, candidates = [], []
    for number, scan in enumerate(scans):
        def advance(share: float, number: int = number) -> None:
            job.progress.advance(round(STEPS * (number + share)))

        try:
            case, own = _looked_through(job, bundle, scan, options.samples, advance)
        except BadInput as error:  # one CT that cannot be used does not stop the others
            job.warn(f"{scan.case} was left out: {error.message}")
        else:
            before.check(case)
            cases.append(case)
            candidates += own
        advance(1.0)
    if not cases:
        raise BadInput(f"None of the {len(scans)} images of {options.pool.name} is a CT of hip or "
                       f"thigh that can be used. The first: {job.warnings[0]}")
    before.check_all_there(cases)
    reviewed = before.slices
    spacing = {each.case: each for each in candidates}
    shown = [Candidate(each.case, each.slice, each.slice * _step(spacing, each.case), 0.0)
             for each in reviewed]
    left = {(each.case, each.slice) for each in reviewed}
    chosen = choose_apart((each for each in candidates if (each.case, each.index) not in left),
                          options.slices, options.apart_mm, shown)
    if len(chosen) < options.slices:
        job.warn(f"The pool has only {len(chosen)} slices with muscles or bones that lie "
                 f"{options.apart_mm:g} mm apart and were not reviewed yet.")
    job.progress.stage("write", len(cases), "Writing the queue")
    queue, level = _write(job, options, cases, chosen, before, simulated)
    pool_slices = sum(case.slices for case in cases)
    job.record(
        model=bundle.described(), files={"queue": QUEUE}, cases=len(cases), simulated=simulated,
        slices=len(queue.slices), uncertainty_level=round(level, 4),
        marked_pixels=sum(each.marked for each in queue.slices), pool_slices=pool_slices,
        pool_pixels=sum(case.pixels for case in cases), reviewed_slices=len(reviewed),
        reviewed_share_of_slices=round(len(reviewed) / max(pool_slices, 1), 6),
        labelled_pixels=before.pixels, labelled_share_of_pixels=round(
            before.pixels / max(sum(case.pixels for case in cases), 1), 6),
        mean_score=_rounded_mean([each.score for each in candidates]))
    say(f"{len(queue.slices)} slices of {len({each.case for each in queue.slices})} CTs to review, "
        f"of {pool_slices} slices of {len(cases)} CTs; {len(reviewed)} were reviewed before.")


def scans_of(pool: Path) -> tuple[list[Scan], bool]:
    """The CTs of a folder, or of all parts of a list, and whether they are simulated.

    Raises:
        BadInput: there are none.
    """
    if pool.is_dir():
        return [Scan(_file_name(case), image.resolve(), case)
                for case, image in scans_in(pool).items()], False
    pairs = [pair for own in read_pairs(pool, "segmentation", needed=False).values()
             for pair in own]
    names: dict[str, int] = {}
    scans = []
    for pair in pairs:
        name = _file_name(stem_of(pair.image))
        names[name] = names.get(name, 0) + 1
        scans.append(Scan(name if names[name] == 1 else f"{name}-{names[name]}",
                          pair.image.resolve(), pair.patient))
    return scans, content_of(pool.absolute()).get("simulated") is True


def _file_name(text: str) -> str:
    """A name that a file may have everywhere."""
    return _MARKS.sub("_", text).strip(". ") or "case"


def _rounded_mean(scores: Sequence[float]) -> float | None:
    known = [score for score in scores if not np.isnan(score)]
    return round(float(np.mean(known)), 6) if known else None


# -------------------------------------------------------------------------------- looking through


def _looked_through(job: Job, bundle: Bundle, scan: Scan, samples: int,
                    advance: Callable[[float], None]) -> tuple[QueuedCase, list[Candidate]]:
    """Segment a CT, keep labels and uncertainty in its folder, and score its slices."""
    source, is_ct = read_any(scan.image, intensities_of(bundle.metadata))
    for sentence in source.warnings:
        job.warn(f"{scan.case}: {sentence}")
    volume, order = upright(source, bundle.metadata)
    prediction = predict(job, bundle, volume, samples,
                         lambda done, total: advance(0.9 * done / max(total, 1)), of=scan.case)
    axis = _slice_axis(source.image)
    labels = sitk.GetArrayFromImage(on_input_grid(prediction.labels, source, order, "nearest"))
    doubt = sitk.GetArrayFromImage(on_input_grid(prediction.uncertainty, source, order, "linear"))
    doubt = np.rint(doubt * FULL).clip(0, FULL).astype(np.uint16)
    del prediction
    folder = job.folder / CASES / scan.case
    write_labels(folder / SEGMENTATION, labels, source)
    body = body_in(source.image, is_ct)
    sitk.WriteImage(image_like((doubt + np.uint16(1)) * body, source.image),
                    str(folder / UNCERTAINTY), True)
    spacing = source.image.GetSpacing()
    area = float(np.prod(spacing)) / spacing[axis]
    candidates = [
        Candidate(scan.case, index, index * spacing[axis], slice_score(own, level / FULL, area))
        for index, (own, level) in enumerate(zip(planes(labels, axis), planes(doubt, axis),
                                                 strict=True))]
    case = QueuedCase(scan.case, str(scan.image), source.sha256, scan.patient, axis,
                      body.shape[2 - axis], int(np.count_nonzero(body)), queued=False)
    return case, candidates


def _slice_axis(image: sitk.Image) -> int:
    """The image axis along which axial slices are stacked."""
    direction = np.abs(np.reshape(image.GetDirection(), (3, 3)))
    return int(direction[2].argmax())


def _step(candidates: dict[str, Candidate], case: str) -> float:
    """Distance of a case's slices in mm, from its last candidate."""
    last = candidates[case]
    return last.place_mm / last.index if last.index else 0.0


# ---------------------------------------------------------------------------------------- writing


def _write(job: Job, options: Options, cases: Sequence[QueuedCase], chosen: Sequence[Candidate],
           before: EarlierQueue, simulated: bool) -> tuple[Queue, float]:
    by_case = {case.case: [each for each in chosen if each.case == case.case] for case in cases}
    doubts = {name: _Doubt.read(job.folder, case, own) for case in cases
              if (own := by_case[name := case.case])}
    level = options.level
    if level is None:
        level = level_of_share((doubt.uncertainty[each.index][doubt.body[each.index]]
                                for name, doubt in doubts.items() for each in by_case[name]),
                               options.share)
    slices = []
    for done, case in enumerate(cases, 1):
        folder = job.folder / CASES / case.case
        if case.case in doubts:
            slices += doubts[case.case].mark(folder, case, by_case[case.case], level)
        before.keep(job, case, case.case in doubts)
        (folder / UNCERTAINTY).unlink()
        if case.case not in doubts:
            shutil.rmtree(folder)
        job.progress.advance(done)
    rank = {(each.case, each.index): number for number, each in enumerate(chosen, 1)}
    ranked = sorted((replace(each, rank=rank[each.case, each.slice]) for each in slices),
                    key=lambda each: each.rank)
    queue = Queue(tuple(replace(case, queued=case.case in doubts) for case in cases),
                  tuple(ranked), tuple(before.slices), simulated)
    write_queue(job.folder, queue)
    return queue, level


@dataclass(frozen=True)
class _Doubt:
    """The queued slices of a case, by index, and nothing else of it: body, uncertainty (0 to 1)."""

    body: dict[int, np.ndarray]
    uncertainty: dict[int, np.ndarray]

    @classmethod
    def read(cls, folder: Path, case: QueuedCase, chosen: Sequence[Candidate]) -> _Doubt:
        stored = planes(sitk.GetArrayFromImage(sitk.ReadImage(
            str(folder / CASES / case.case / UNCERTAINTY))), case.axis)
        own = {each.index: stored[each.index] for each in chosen}
        return cls({index: plane > 0 for index, plane in own.items()},
                   {index: (plane.clip(1) - np.uint16(1)) / np.float32(FULL)
                    for index, plane in own.items()})

    def mark(self, folder: Path, case: QueuedCase, chosen: Sequence[Candidate],
             level: float) -> list[QueuedSlice]:
        """Write which pixels of the queued slices are to be labelled."""
        image = sitk.ReadImage(str(folder / UNCERTAINTY))  # for its grid
        mask = np.zeros(image.GetSize()[::-1], np.uint8)
        slices = []
        for each in chosen:
            own = marked(self.uncertainty[each.index], self.body[each.index], level)
            planes(mask, case.axis)[each.index] = own
            middle = [(size - 1) / 2 for size in image.GetSize()]
            middle[case.axis] = each.index
            position = image.TransformContinuousIndexToPhysicalPoint(middle)
            slices.append(QueuedSlice(
                0, case.case, each.index, tuple(round(value, 3) for value in position),
                round(each.score, 6), int(np.count_nonzero(own)),
                int(np.count_nonzero(self.body[each.index]))))
        sitk.WriteImage(image_like(mask, image), str(folder / UNCERTAIN), True)
        return slices
