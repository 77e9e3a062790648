# SPDX-License-Identifier: Apache-2.0
"""A stress set in files: the CTs of a list as they are, and with something done to each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.commands import Job
from ReadingRoomLib.datalists import Pair, content_of, measured_part, read_pairs
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.images import read_image
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

from .grids import upright
from .named_labels import reference_on
from .stress import KINDS, Body, check_kind, stressed
from .structures import labels_of

KEY = "segmentation"
DATALIST, UNCHANGED = "datalist.json", "as it was"
WARNING = ("Most of what is in these CTs was made: what is measured on them says whether a score "
           "rises, and no more.")


@dataclass(frozen=True)
class Options:
    """What is made.

    Attributes:
        data: list of CTs with their segmentations.
        kinds: of :data:`.stress.KINDS`; empty: all.
        part: of the list; empty: the test part where there is one, otherwise all.
    """

    data: Path
    kinds: tuple[str, ...] = ()
    part: str = ""


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Write the stress set and the list of it, in which ``site`` is what was done.

    Args:
        job: gets ``datalist.json`` and a folder for each kind.
        options: what is made.
        say: shows a person a line.

    Raises:
        BadInput: the list, a CT or a segmentation cannot be used, or a kind is not known.
    """
    kinds = options.kinds or tuple(KINDS)
    for kind in kinds:
        check_kind(kind)
    pairs = measured_part(read_pairs(options.data, KEY), options.part)
    simulated = content_of(options.data.absolute()).get("simulated") is True
    for folder in (UNCHANGED, *kinds):
        (job.folder / _folder(folder)).mkdir()
    job.progress.stage("make", len(pairs) * (len(kinds) + 1), "Making the stress set")
    entries = []
    for number, pair in enumerate(pairs):
        body, names = _read(job, pair)
        for step, kind in enumerate((UNCHANGED, *kinds)):
            made = body if kind == UNCHANGED else stressed(
                body, kind, (job.seed, number, list(KINDS).index(kind)))
            entries.append(_written(job.folder, kind, number, made, names, pair.patient))
            job.progress.advance(number * (len(kinds) + 1) + step + 1)
    entries.sort(key=lambda entry: [UNCHANGED, *kinds].index(entry["site"]))
    (job.folder / DATALIST).write_text(json.dumps(
        {**({"simulated": True} if simulated else {}), "training": entries}, indent=1), "utf-8")
    job.warn(WARNING)
    job.record(files={"data": DATALIST}, scans=len(entries), kinds=list(kinds),
               simulated=simulated)
    say(f"{len(pairs)} CTs as they were and in {len(kinds)} kinds, listed in {DATALIST}")


def _read(job: Job, pair: Pair) -> tuple[Body, frozenset[int]]:
    """A CT with its labels, upright, and the structures that are known."""
    def warn(sentence: str) -> None:
        job.warn(f"{pair.image.name}: {sentence}")

    source = read_image(pair.image, "CT")
    labels, named = reference_on(source, pair.companion, warn)
    volume, _ = upright(source)
    on_grid = sitk.Resample(labels, volume, sitk.Transform(), sitk.sitkNearestNeighbor)
    return Body(sitk.GetArrayFromImage(volume).astype(np.float32),
                sitk.GetArrayFromImage(on_grid), volume.GetSpacing()[::-1]), named


def _folder(kind: str) -> str:
    return kind.replace(" ", "_")


def _written(folder: Path, kind: str, number: int, body: Body, named: frozenset[int],
             patient: str) -> dict[str, str]:
    """Write a CT and its segmentation; the entry of the list.

    Where nothing is left to be found there is no segmentation, and the CT is of somebody else.
    """
    place = f"{_folder(kind)}/{number + 1:03d}"
    image = sitk.GetImageFromArray(np.rint(body.hounsfield).astype(np.int16))
    image.SetSpacing(body.spacing[::-1])
    sitk.WriteImage(image, str(folder / f"{place}.nrrd"), useCompression=True)
    entry = {"image": f"{place}.nrrd", "patient": patient, "site": kind}
    if not body.labels.any():
        return entry | {"patient": f"{kind} {number + 1:03d}"}
    known = [label for label in labels_of(True) if label.structure.value in named]
    write_seg_nrrd(folder / f"{place}.seg.nrrd", image_like(body.labels, image), [
        SegmentDescription(label.value, label.name, label.display_name, label.structure.color,
                           label.terminology) for label in known])
    return entry | {"segmentation": f"{place}.seg.nrrd"}
