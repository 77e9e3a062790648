# SPDX-License-Identifier: Apache-2.0
"""Simulated patients with known landmarks or lesions: to try everything before one's own data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.commands import Job

from .landmark_files import Landmarks, write_markups

Kind = Literal["trunk", "mra"]
DATALIST = "datalist.json"
WARNING = "These patients are simulated: what is measured on them says nothing about real ones."


@dataclass(frozen=True)
class Options:
    """What is simulated.

    Attributes:
        kind: "trunk" (CT with landmarks) or "mra" (MRA of the head with aneurysms).
        count: patients.
        first: number of the first one; the same number is the same patient.
        spacing_mm: of the voxels; 0: the usual ones.
    """

    kind: Kind
    count: int
    first: int = 0
    spacing_mm: float = 0.0


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Simulate patients and write images, landmarks or lesions, and the list of them.

    Args:
        job: gets ``datalist.json`` and the folder ``patients``.
        options: what is simulated.
        say: shows a person a line.
    """
    job.progress.stage("simulate", options.count, "Simulating the patients")
    (job.folder / "patients").mkdir()
    one = {"trunk": _trunk, "mra": _mra}[options.kind]
    entries = []
    for number in range(options.first, options.first + options.count):
        stem = job.folder / "patients" / f"{number:04d}"
        entries.append(one(stem, (job.seed, number), options.spacing_mm)
                       | {"patient": f"simulated {number}"})
        job.progress.advance(number - options.first + 1)
    (job.folder / DATALIST).write_text(
        json.dumps({"simulated": True, "training": entries}, indent=1), "utf-8")
    job.warn(WARNING)
    job.record(files={"data": DATALIST}, patients=options.count, kind=options.kind)
    say(f"{options.count} patients, listed in {DATALIST}")


def _trunk(stem: Path, seed: tuple[int, ...], spacing_mm: float) -> Mapping[str, Any]:
    from ReadingRoomLib.phantoms.trunk import TrunkSettings, simulate_trunk

    trunk = simulate_trunk(seed, TrunkSettings(spacing=(spacing_mm,) * 3) if spacing_mm
                           else TrunkSettings())
    return _written(stem, trunk.image, "landmarks", Landmarks(
        tuple(trunk.landmarks), np.array(list(trunk.landmarks.values())).reshape(-1, 3)))


def _mra(stem: Path, seed: tuple[int, ...], spacing_mm: float) -> Mapping[str, Any]:
    from ReadingRoomLib.phantoms.head_vessels import MRASettings, simulate_mra

    scan = simulate_mra(seed, MRASettings(spacing=(spacing_mm,) * 3) if spacing_mm
                        else MRASettings())
    lesions = scan.aneurysms
    return _written(stem, scan.image, "lesions", Landmarks(
        tuple(f"aneurysm {number}" for number in range(1, len(lesions) + 1)),
        np.array([lesion.centre for lesion in lesions]).reshape(-1, 3),
        descriptions=tuple(f"diameter_mm={lesion.diameter_mm:.2f}" for lesion in lesions)))


def _written(stem: Path, image: sitk.Image, companion: str,
             points: Landmarks) -> Mapping[str, Any]:
    """Write an image and its points; the entry of the list that names both."""
    image_file, point_file = f"{stem.name}.nrrd", f"{stem.name}.mrk.json"
    sitk.WriteImage(image, str(stem.with_name(image_file)), True)
    write_markups(stem.with_name(point_file), points)
    return {"image": f"patients/{image_file}", companion: f"patients/{point_file}"}
