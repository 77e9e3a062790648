# SPDX-License-Identifier: Apache-2.0
"""Speed and memory, against the published network run as its author runs it, in the same run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
import torch

from MuscleSegLib.inference import segment_modern
from MuscleSegLib.networks import BayesianUNet, ContextUNet
from MuscleSegLib.recipes import MODERN, SEED, to_channels
from MuscleSegLib.seed_inference import segment_seed
from ReadingRoomLib.phantoms.pelvis import simulate_pelvis

SIZE = 512
FIELD_OF_VIEW_MM = 460.0


def pelvis_to_knee(slices: int) -> tuple[np.ndarray, tuple[float, float, float]]:
    """A simulated 512x512 CT of 450 mm length: array in HU and spacing, (z, y, x)."""
    pixel = FIELD_OF_VIEW_MM / SIZE
    coarse = simulate_pelvis({}, spacing=(pixel * 2, pixel * 2, 5.0)).image
    origin = [-FIELD_OF_VIEW_MM / 2, -FIELD_OF_VIEW_MM / 2, coarse.GetOrigin()[2]]
    spacing = (pixel, pixel, 450.0 / slices)
    fine = sitk.Resample(coarse, (SIZE, SIZE, slices), sitk.Transform(), sitk.sitkLinear, origin,
                         spacing, coarse.GetDirection(), -1000, sitk.sitkInt16)
    return sitk.GetArrayFromImage(fine), spacing[::-1]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def published_pass(network: BayesianUNet, plane: np.ndarray, samples: int) -> torch.Tensor:
    """``samples`` full float32 passes over one whole slice, dropout on; mean probability."""
    image = to_channels(torch.from_numpy(plane.astype(np.float32))[None], SEED)
    network.eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.train()
    with torch.inference_mode():
        total = sum(torch.softmax(network(image), 1) for _ in range(samples))
    return (total / samples)[0]


def against_published(samples: int = 10, rounds: int = 3, slices: int = 24) -> dict:
    """Seconds per slice of the three ways, in turn, and the ratios.

    Weights are untrained, which changes no time.
    """
    ct, spacing = pelvis_to_knee(500)
    middle = len(ct) // 2
    part = ct[middle - slices // 2 : middle + slices // 2]
    few = part[: max(1, slices // 12)]
    torch.manual_seed(0)
    published, modern = BayesianUNet().eval(), ContextUNet(MODERN.channels).eval()
    seconds: dict[str, list[float]] = {"published": [], "seed": [], "modern": []}
    for _ in range(rounds):
        seconds["published"].append(
            _seconds(lambda: published_pass(published, part[0], samples)))
        seconds["seed"].append(
            _seconds(lambda: segment_seed(few, spacing, published, SEED, samples)) / len(few))
        seconds["modern"].append(
            _seconds(lambda: segment_modern(part, spacing, modern, MODERN, samples)) / len(part))
    ratios = {
        name: [p / s for p, s in zip(seconds["published"], seconds[name], strict=True)]
        for name in ("seed", "modern")
    }
    return {
        "samples": samples,
        "seconds_per_slice": {name: statistics.median(s) for name, s in seconds.items()},
        "times_faster_than_published": {
            name: {"median": statistics.median(r), "min": min(r), "max": max(r)}
            for name, r in ratios.items()
        },
    }


_MEMORY_SCRIPT = """
import json, resource, sys, tempfile, time
from pathlib import Path
import SimpleITK as sitk
sys.path.insert(0, sys.argv[3])
from speed import pelvis_to_knee
from MuscleSegLib.__main__ import app
slices, samples = int(sys.argv[1]), sys.argv[2]
with tempfile.TemporaryDirectory() as folder:
    ct, spacing = pelvis_to_knee(slices)
    image = sitk.GetImageFromArray(ct)
    image.SetSpacing(spacing[::-1])
    sitk.WriteImage(image, folder + "/ct.nrrd")
    del ct, image
    # the simulation's own memory must not count: a fresh process segments
    import subprocess
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "MuscleSegLib", "segment", folder + "/ct.nrrd",
                    "--output", folder + "/out", "--samples", samples, "--progress", "none"],
                   check=True)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(json.dumps({"slices": slices, "seconds": seconds, "peak_gib": peak}))
"""


def whole_scan(slices: int, samples: int = 10) -> dict:
    """Wall time and peak memory of the command on a simulated 512x512 CT of ``slices`` slices."""
    import json
    from pathlib import Path

    done = subprocess.run(
        [sys.executable, "-c", _MEMORY_SCRIPT, str(slices), str(samples),
         str(Path(__file__).parent)],
        capture_output=True, text=True, check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
