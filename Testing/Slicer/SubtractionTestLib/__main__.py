# SPDX-License-Identifier: Apache-2.0
"""``subtract`` with options and files of the real command, for scans a known shift apart."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import SimpleITK as sitk
import typer

from ReadingRoomLib.commands import OutputOption, ProgressOption, make_app, run_job
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.segmentation_files import read_seg_nrrd

SHIFT = (6.0, -3.0, 9.0)  # mm, LPS, from a point of the prior scan to the same one of the current
BONE_HU, ERROR_HU = 150, 20.0

app = make_app("subtractiontest", "A quick subtraction for tests.", preload=("SimpleITK",))


@app.callback()
def main() -> None:
    """Let the app have commands, although it is only one."""


@app.command()
def subtract(
    prior: Path,
    current: Path,
    output: OutputOption,
    transform: Path | None = None,
    soft_tissue: Annotated[bool, typer.Option("--soft-tissue")] = False,
    bones: Path | None = None,
    method: str = "classical",
    model: str = "",
    device: str = "",
    seed: int = 0,
    progress: ProgressOption = "bar",
) -> None:
    """Subtract what is shifted from what is there."""
    with run_job(module="SubtractionTest", command="subtract", output=output,
                 progress=progress) as job:
        job.progress.stage("read", 1, "Reading the CTs")
        before, now = (sitk.ReadImage(str(path)) for path in (prior, current))
        if not (sitk.GetArrayViewFromImage(now) > BONE_HU).any():
            raise BadInput("There is no bone in the current CT: choose a scan of the skeleton.")
        motion = (sitk.ReadTransform(str(transform)) if transform
                  else sitk.TranslationTransform(3, [-part for part in SHIFT]))
        aligned = sitk.Resample(before, now, motion, sitk.sitkLinear, -1000, sitk.sitkInt16)
        bone = sitk.Or(now > BONE_HU, aligned > BONE_HU)
        change = sitk.Mask(sitk.Cast(now, sitk.sitkFloat32) - sitk.Cast(aligned, sitk.sitkFloat32),
                           bone)
        z = change / ERROR_HU
        labels, rows = candidates(z, change)
        error = sitk.Cast(now, sitk.sitkFloat32) * 0 + ERROR_HU
        quality = sitk.Resample(sitk.Cast(bone, sitk.sitkFloat32), [20, 20, 20])
        images = {"z": z, "expected": aligned, "error": error, "quality": quality,
                  "prior_aligned": aligned, "candidate_labels": labels, "bone": bone}
        for name, image in images.items():
            sitk.WriteImage(image, str(job.folder / f"{name}.nrrd"))
        sitk.WriteTransform(motion, str(job.folder / "transform.h5"))
        with open(job.folder / "candidates.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["number"])
            writer.writeheader()
            writer.writerows(rows)
        job.warn("This is only a test.")
        job.record(
            files={name: f"{name}.nrrd" for name in images}
            | {"transform": "transform.h5", "candidates": "candidates.csv"},
            aligned_share=0.925, good_quality=0.5, method=method,
            displacements=[displacement(motion, now, place) for place in (0.2, 0.8)],
            bones=[segment.name for segment in read_seg_nrrd(bones)[1]] if bones else [],
            soft_tissue=soft_tissue,
            options={"model": model, "device": device, "asked_seed": seed})


def displacement(motion, image, place):
    """How a transform moves a point, mm, LPS; place 0 is one corner of the image, 1 the other."""
    index = [place * (length - 1) for length in image.GetSize()]
    point = image.TransformContinuousIndexToPhysicalPoint(index)
    return np.subtract(motion.TransformPoint(point), point).tolist()


def candidates(z, change):
    """Connected voxels beyond 3, the largest first, as a label image and lines of the table."""
    parts = [sitk.ConnectedComponent(part) for part in (z > 3, z < -3)]
    array, changes = (sitk.GetArrayFromImage(image) for image in (z, change))
    found = []
    for part in map(sitk.GetArrayFromImage, parts):
        found += [part == value for value in range(1, part.max() + 1)]
    labels = np.zeros(array.shape, np.uint16)
    rows = []
    voxel_ml = np.prod(z.GetSpacing()) / 1000
    for number, inside in enumerate(sorted(found, key=np.sum, reverse=True), 1):
        labels[inside] = number
        index = np.argwhere(inside)[inside.sum() // 2][::-1]
        place = z.TransformIndexToPhysicalPoint(index.tolist())
        values = array[inside]
        volume = float(inside.sum() * voxel_ml)
        rows.append({
            "number": number, "kind": "denser" if values.mean() > 0 else "thinner",
            "score": float(inside.sum()), "volume_ml": volume,
            "diameter_mm": round(2 * (volume * 1000 * 3 / 4 / np.pi) ** (1 / 3), 3),
            "mean_z": float(values.mean()), "peak_z": float(values[abs(values).argmax()]),
            "hu_change": float(changes[inside].mean()),
            "x_mm": place[0], "y_mm": place[1], "z_mm": place[2], "bone": "L3" * (number == 1),
            "status": ""})
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(z)
    return image, rows


if __name__ == "__main__":
    app()
