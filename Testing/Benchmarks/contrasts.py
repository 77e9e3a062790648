# SPDX-License-Identifier: Apache-2.0
"""A model of any contrast on simulated patients, painted as MR: what it is worth beside a CT.

Nothing here is a real MR. Each tissue gets the grey value that it has, roughly, in a sequence;
slices are thicker and pixels larger than those of the CT, there is a bias field and Rician noise.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MuscleSegLib import evaluate_command, simulate_command
from MuscleSegLib.contrasts import shown_to
from MuscleSegLib.inference import segment
from MuscleSegLib.recipes import RECIPES
from MuscleSegLib.repainting import BONES
from MuscleSegLib.segmentation import load_model
from MuscleSegLib.structures import STRUCTURES
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.results import DISCLAIMER, read_result

SEED, SAMPLES = 0, 4
SPACING = (1.6, 1.6, 6.0)  # of the MR, mm, (x, y, z)
# grey values of air, fat, muscle, other soft tissue, marrow, compact bone
SEQUENCES = {
    "T1-weighted": (0.02, 0.95, 0.35, 0.42, 0.80, 0.06),
    "T2-weighted": (0.02, 0.80, 0.22, 0.50, 0.65, 0.05),
    "fat-suppressed": (0.02, 0.10, 0.40, 0.60, 0.14, 0.04),
}
FAT_HU, AIR_HU, COMPACT_HU = -30, -300, 300
SHOWN_AT = (0.5, 0.2)  # slices of the picture, as shares of the length from the feet
BIAS, NOISE = 0.3, 0.025  # of the field, either way; standard deviation, on the scale of the greys
NOTE = ("Simulated patients of the three anatomies that the model learned from, painted as MR: no "
        "real MR, and no stranger.")


def of_any_contrast(output: Path, cohort: Path, model: str, patients: int) -> dict:
    """Dice and distance on the CTs and on each sequence, by patient.

    Args:
        output: gets ``contrasts`` with the images and the scores.
        cohort: of simulated patients, see :mod:`muscles`.
        model: name or folder of a model of any contrast.
        patients: how many of the cohort.
    """
    entries = json.loads((cohort / simulate_command.DATALIST).read_text("utf-8"))["training"]
    result: dict = {"dataset": NOTE, "model": model}
    for name in ("CT", *SEQUENCES):
        folder = output / "contrasts" / name
        listed = [_painted(folder, cohort, entry, name, number)
                  for number, entry in enumerate(entries[:patients])]
        path = folder / "list.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"simulated": True, "training": listed}), "utf-8")
        with run_job(module="MuscleSeg", command="evaluate", output=folder / "scores",
                     progress="none", device="cpu", seed=SEED, overwrite=True) as job:
            evaluate_command.run(job, evaluate_command.Options(
                path, model=model, samples=SAMPLES), print)
        found = read_result(folder / "scores")
        result[name] = {key: found[key] for key in (
            "patients", "refused", "missed", "measured", "estimates")}
    draw({name: output / "contrasts" / name / "001.nrrd" for name in SEQUENCES}, model,
         output / "contrasts" / "any-contrast.png")
    return result


def draw(images: dict[str, Path], model: str, path: Path) -> None:
    """Draw slices of hip and thigh of each image, with the outlines that a model finds."""
    from matplotlib.figure import Figure

    bundle = load_model(model, None)
    figure = Figure(figsize=(3.6 * len(images), 6.0), layout="constrained")
    axes = figure.subplots(len(SHOWN_AT), len(images), squeeze=False)
    colors = {structure.value: np.array(structure.color) / 255 for structure in STRUCTURES}
    for column, (name, file) in enumerate(images.items()):
        volume = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(volume)
        labels = segment(shown_to(bundle.metadata, array), volume.GetSpacing()[::-1],
                         bundle.network, RECIPES[bundle.metadata["recipe"]], SAMPLES).labels
        for row, share in enumerate(SHOWN_AT):
            z = int(share * len(array))
            axes[row, column].imshow(array[z], cmap="gray", vmax=np.percentile(array, 99.5))
            for value in np.unique(labels[z][labels[z] > 0]):
                axes[row, column].contour(labels[z] == value, [0.5], colors=[colors[value]],
                                          linewidths=0.8)
            axes[row, column].axis("off")
        axes[0, column].set_title(f"{name} (simulated)", fontsize=10)
    figure.supxlabel(DISCLAIMER, fontsize=8, color="#444444")
    figure.savefig(path, dpi=110)


def _painted(folder: Path, cohort: Path, entry: dict, name: str, number: int) -> dict:
    """The entry of a patient with the image of a sequence, or with the CT as it is."""
    files = {key: str((cohort / entry[key]).absolute()) for key in ("image", "segmentation")}
    if name in SEQUENCES:
        target = folder / f"{number + 1:03}.nrrd"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            ct, labels = (sitk.ReadImage(files[key]) for key in ("image", "segmentation"))
            image = painted(ct, labels, SEQUENCES[name], number)
            sitk.WriteImage(image, str(target), useCompression=True)
        files["image"] = str(target.absolute())
    return entry | files


def painted(ct: sitk.Image, labels: sitk.Image, greys: tuple[float, ...],
            seed: int) -> sitk.Image:
    """An image like an MR of the patient of a CT, int16, not below 0."""
    hounsfield, target = sitk.GetArrayFromImage(ct), sitk.GetArrayViewFromImage(labels)
    parts, _ = ndimage.label(ndimage.binary_opening(hounsfield > AIR_HU, iterations=2))
    body = ndimage.binary_dilation(parts == np.bincount(parts.ravel())[1:].argmax() + 1,
                                   iterations=2)
    hounsfield[~body] = AIR_HU - 1  # the table of an MR is not seen
    air, fat, muscle, soft, marrow, compact = greys
    tissue = np.select(
        [hounsfield < AIR_HU, np.isin(target, BONES) & (hounsfield <= COMPACT_HU),
         hounsfield < FAT_HU, hounsfield > COMPACT_HU, target > 0],
        [air, marrow, fat, compact, muscle], soft).astype(np.float32)
    sigmas = [np.sqrt(max(0.0, wanted**2 - have**2) / 12) / have for wanted, have in
              zip(SPACING[::-1], ct.GetSpacing()[::-1], strict=True)]
    smooth = image_like(ndimage.gaussian_filter(tissue, sigmas), ct)
    size = [max(1, int(n * have / wanted)) for n, have, wanted in
            zip(ct.GetSize(), ct.GetSpacing(), SPACING, strict=True)]
    image = sitk.Resample(smooth, size, sitk.Transform(), sitk.sitkLinear, ct.GetOrigin(), SPACING,
                          ct.GetDirection(), air)
    values, random = sitk.GetArrayFromImage(image), np.random.default_rng(seed)
    field = ndimage.zoom(random.uniform(-1, 1, (3, 3, 3)), np.array(values.shape) / 3, order=3)
    values *= 1 + BIAS * field[: len(values), : values.shape[1], : values.shape[2]]
    noise = random.normal(0, NOISE, (2, *values.shape))
    return image_like((1000 * np.hypot(values + noise[0], noise[1])).astype(np.int16), image)
