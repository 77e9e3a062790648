# SPDX-License-Identifier: Apache-2.0
"""A simulated cohort: something to try the experiment on before one's own patients are ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.brain_mri import SimulatedBrain
from ReadingRoomLib.phantoms.brain_template import BrainTemplate, fetch_brain_template
from ReadingRoomLib.phantoms.brain_tumours import KINDS as DRAWN

from .cohort_files import DATALIST, PIXELS, save_patient_images, write_datalist
from .kinds import KINDS
from .regions import Region, few_slices
from .simulated_patients import simulated_patient, study_of
from .study import Study

PUBLISHED = dict(zip(KINDS, (114, 50, 124), strict=True))
"""Patients of Kunimatsu (KAKENHI 18K07629)."""
OFFERED = tuple(kind for kind in DRAWN if kind != "cavity")  # which is no tumour to outline
MOST_SLICES = 12  # of a patient; published were 3353 images of 288 patients
MOST_TRIES = 3  # a tumour may lie between the slices


def counts_of(texts: Sequence[str]) -> dict[str, int]:
    """What the option ``--count`` means: ``glioblastoma=20``; the published ones without it.

    Raises:
        BadInput: no kind that can be drawn, or no number.
    """
    found = {}
    for text in texts:
        kind, _, number = text.partition("=")
        if kind not in OFFERED or not number.isdecimal() or int(number) == 0 or kind in found:
            raise BadInput(f'"{text}" does not say how many patients of which kind: write each '
                           f"kind once, as {KINDS[0]}=20, from {', '.join(OFFERED)}.")
        found[kind] = int(number)
    return found or dict(PUBLISHED)


def run(job: Job, counts: Mapping[str, int], most_slices: int = MOST_SLICES,
        pixels: int = PIXELS) -> None:
    """Simulate patients and write their images and the list of them into the job's folder.

    Args:
        job: gets ``datalist.json`` and ``patients``.
        counts: patients by kind.
        most_slices: of a patient, evenly over the tumour.
        pixels: side of the images.

    Raises:
        BadInput, DownloadFailed: what the head is made from cannot be had.
    """
    job.progress.stage("simulate", sum(counts.values()), "Simulating the patients")
    template = fetch_brain_template()
    (job.folder / "patients").mkdir()
    entries, images = [], 0
    for number, kind in enumerate(_in_turn(counts)):
        brain, study, region = _patient(template, kind, (job.seed, number))
        region = few_slices(study.reference, region, most_slices)
        name = f"patients/{number + 1:04d}.npz"
        save_patient_images(job.folder / name, study, region, pixels)
        entries.append({"image": name, "label": kind, "patient": f"simulated {number + 1}",
                        "site": brain.site})
        images += len(region.slices)
        job.progress.advance(number + 1)
    write_datalist(job.folder / DATALIST, entries, simulated=True)
    job.warn("These patients are simulated: what is measured on them says nothing about real ones.")
    job.record(files={"data": DATALIST}, patients=dict(counts), images=images)


def _in_turn(counts: Mapping[str, int]) -> Iterator[str]:
    for kind, count in counts.items():
        yield from [kind] * count


def _patient(template: BrainTemplate, kind: str,
             seed: tuple[int, ...]) -> tuple[SimulatedBrain, Study, Region]:
    """A patient whose tumour is seen in some slice."""
    for attempt in range(MOST_TRIES):
        try:
            brain = simulated_patient(template, kind, (*seed, attempt))
            return brain, *study_of(brain)
        except BadInput:
            if attempt == MOST_TRIES - 1:
                raise
