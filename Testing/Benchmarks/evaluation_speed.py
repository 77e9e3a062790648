# SPDX-License-Identifier: Apache-2.0
"""Scores of one large case: time and memory of ours, of surface-distance, and of MONAI's metrics.

Each runs in a process of its own, in turn; all compute Dice, average surface distance, normalised
surface Dice at 1 mm and the 95 % Hausdorff distance of 22 structures. The others are used plainly,
as their documentation shows.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MuscleSegLib.structures import STRUCTURES
from ReadingRoomLib.phantoms.pelvis import simulate_pelvis

SIZE = (300, 512, 512)
SPACING = (1.5, 0.9, 0.9)
TOLERANCE_MM = 1.0
VALUES = [structure.value for structure in STRUCTURES]
METHODS = ("ours", "surface-distance", "monai-by-structure", "monai")
ONE_HOT_BYTES = 300  # a voxel, that MONAI's metrics were seen to need with 23 one-hot channels


def case(size: tuple[int, int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A reference of the phantom's 22 structures and a prediction whose borders waver by 2 mm."""
    coarse = simulate_pelvis({s.name: s.value for s in STRUCTURES}, spacing=(1.8, 1.8, 3.0)).labels
    labels = sitk.GetArrayFromImage(coarse)
    places = [np.linspace(0, n - 1, m) for n, m in zip(labels.shape, size, strict=True)]
    reference = np.empty(size, np.uint8)
    predicted = np.empty(size, np.uint8)
    random = np.random.default_rng(0)
    waver = [ndimage.zoom(random.normal(0, 1.6, (20, 24, 30)),
                          [n / m for n, m in zip(labels.shape, (20, 24, 30), strict=True)], order=1)
             for _ in range(2)]
    rows, columns = (axis.round().astype(int) for axis in places[1:])
    for z, depth in enumerate(places[0].round().astype(int)):
        grid = np.ix_(rows, columns)
        reference[z] = labels[depth][grid]
        dy, dx = (part[depth][grid].round().astype(int) for part in waver)
        predicted[z] = labels[depth][(rows[:, None] + dy).clip(0, labels.shape[1] - 1),
                                     (columns[None] + dx).clip(0, labels.shape[2] - 1)]
    return predicted, reference


def of_one_case(rounds: int = 3, size: tuple[int, int, int] = SIZE) -> dict:
    """Processor seconds and peak memory of each method in turn, and the ratios to ours."""
    left_out = {}
    if importlib.util.find_spec("surface_distance") is None:
        left_out["surface-distance"] = 'not installed: pip install -e ".[bench]"'
    if (needed := np.prod(size) * ONE_HOT_BYTES / 2**30) > (free := _free_gib()):
        left_out["monai"] = f"needs about {needed:.0f} GiB, of which {free:.0f} are free"
    methods = [name for name in METHODS if name not in left_out]
    with tempfile.TemporaryDirectory() as folder:
        predicted, reference = case(size)
        np.save(Path(folder) / "predicted.npy", predicted)
        np.save(Path(folder) / "reference.npy", reference)
        del predicted, reference
        runs = [{name: _run(name, folder) for name in methods} for _ in range(rounds)]
    result = {"size": list(size), "structures": len(VALUES), "rounds": rounds,
              "left_out": left_out}
    for name in methods:
        own = [run[name] for run in runs]
        result[name] = {
            "cpu_seconds": round(statistics.median(run["cpu_seconds"] for run in own), 2),
            "peak_mib": round(max(run["peak_mib"] for run in own)),
            "mean": {key: round(value, 4) for key, value in own[0]["mean"].items()}}
        if name != "ours":
            result[name] |= {"times_our_cpu_seconds": round(statistics.median(
                run[name]["cpu_seconds"] / run["ours"]["cpu_seconds"] for run in runs), 1),
                "times_our_memory": round(result[name]["peak_mib"] / result["ours"]["peak_mib"], 1)}
    return result


def _free_gib() -> float:
    memory = Path("/proc/meminfo").read_text().split("MemAvailable:")[1]
    return int(memory.split()[0]) / 2**20


def _run(method: str, folder: str) -> dict:
    done = subprocess.run([sys.executable, __file__, method, folder], check=True, text=True,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


# --- in the child --------------------------------------------------------------------------------


def ours(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(structures, 4): Dice, ASD, NSD, HD95."""
    from ReadingRoomLib.metrics import score_labels

    scores = score_labels(predicted, reference, VALUES, SPACING, TOLERANCE_MM)
    return np.array([list(vars(score).values()) for score in scores.values()])


def surface_distance(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The same by the package surface-distance; its two ASD are averaged."""
    import surface_distance as peer

    rows = []
    for value in VALUES:
        truth, found = reference == value, predicted == value
        distances = peer.compute_surface_distances(truth, found, SPACING)
        rows.append([peer.compute_dice_coefficient(truth, found),
                     np.mean(peer.compute_average_surface_distance(distances)),
                     peer.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM),
                     peer.compute_robust_hausdorff(distances, 95)])
    return np.array(rows)


def monai(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The same by MONAI's metrics, on one-hot tensors."""
    import torch
    from monai.networks.utils import one_hot

    return _monai([one_hot(torch_mask(labels), len(VALUES) + 1, dtype=torch.uint8)
                   for labels in (predicted, reference)], False)


def _monai(masks: list, include_background: bool) -> np.ndarray:
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    options = {"include_background": include_background}
    spacing = options | {"spacing": list(SPACING)}
    limits = [TOLERANCE_MM] * (masks[0].shape[1] - (not include_background))
    columns = [compute_dice(*masks, **options),
               compute_average_surface_distance(*masks, symmetric=True, **spacing),
               compute_surface_dice(*masks, class_thresholds=limits, **spacing),
               compute_hausdorff_distance(*masks, percentile=95, **spacing)]
    return torch.stack([column[0] for column in columns], 1).numpy()


def monai_by_structure(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The same with one channel at a time, which takes less memory."""
    return np.concatenate([_monai([torch_mask(labels == value) for labels in
                                   (predicted, reference)], True) for value in VALUES])


def torch_mask(mask: np.ndarray):
    """A mask as MONAI's metrics take it, (1, 1, z, y, x)."""
    import torch

    return torch.from_numpy(mask)[None, None]


def _measure(method: str, folder: Path) -> dict:
    import time

    work = {"ours": ours, "surface-distance": surface_distance,
            "monai-by-structure": monai_by_structure, "monai": monai}[method]
    arrays = [np.load(folder / f"{name}.npy") for name in ("predicted", "reference")]
    small = np.resize(np.uint8(VALUES), (4, len(VALUES), 6))
    work(small, small)  # imports are no part of the work
    started = time.process_time()  # of all threads; a shared machine's clock would mislead
    scores = work(*arrays)
    seconds = time.process_time() - started
    peak = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmHWM"))  # of this process alone, unlike ru_maxrss
    names = ("dice", "asd_mm", "nsd", "hd95_mm")
    return {"cpu_seconds": seconds, "peak_mib": peak / 1024,
            "mean": dict(zip(names, np.nanmean(scores, axis=0).tolist(), strict=True))}


if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore")
    print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]))))
