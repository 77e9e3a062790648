# SPDX-License-Identifier: Apache-2.0
"""From a DICOM folder to the judgement of a head: PyTorch and onnxruntime, two cores and one.

Beside them stands what was published for a palm-sized device (Watanabe, KAKENHI 18K16600): 2.8 s on
a Jetson AGX Xavier, which is another machine, so it is no peer of the same run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1]))
from Core.dicom_factory import write_series  # noqa: E402

from HeadCTTriageLib.answers import RECIPES
from HeadCTTriageLib.engines import load_model
from HeadCTTriageLib.export_command import description_of, to_onnx
from HeadCTTriageLib.exported import write_exported
from ReadingRoomLib.phantoms.head import HeadSettings, simulate_head
from ReadingRoomLib.phantoms.head_template import fetch_head_template

PUBLISHED_SECONDS = 2.8
SLICES, SIZE, FIELD_MM = 32, 512, 230.0
_SCRIPT = """
import json, os, resource, sys, time
begun = time.perf_counter()
engine, cores, model, folder, rounds = sys.argv[1:]
cores, rounds = int(cores), int(rounds)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
os.environ["OMP_NUM_THREADS"] = str(cores)
from pathlib import Path
import SimpleITK as sitk
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(cores)
from ReadingRoomLib.images import read_image
if engine == "torch":
    import torch
    torch.set_num_threads(cores)
    from HeadCTTriageLib.engines import judge_of, load_model
    judge = judge_of(load_model(model), "cpu", 0.05, 0.05)
else:
    from HeadCTTriageLib.exported import read_exported
    judge = read_exported(Path(model)).judge(threads=cores)
from HeadCTTriageLib.contact_sheet import draw
seconds, stages = [], []
for number in range(rounds):
    started = time.perf_counter()
    source = read_image(folder, "CT")
    read = time.perf_counter() - started
    found = judge(source.image)
    draw(found, True, Path(folder).parent / f"sheet-{engine}.png")
    seconds.append(time.perf_counter() - started)
    stages.append({"read": read, **found.timings})
    if number == 0:
        cold = time.perf_counter() - begun
# getrusage would count what the parent had when it forked
status = Path("/proc/self/status")
peak = (int(status.read_text().split("VmHWM:")[1].split()[0]) if status.exists()
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 2**20
print(json.dumps({"cold": cold, "seconds": seconds[1:], "stages": stages[1:], "peak_gib": peak}))
"""


def of_judging(model: str = "starter", rounds: int = 21) -> dict:
    """Median and 95th percentile of seconds, warm; cold start; peak memory.

    Args:
        model: name or folder.
        rounds: judgements in each process; the first one is the cold one.
    """
    result: dict = {"published_seconds_on_a_jetson_agx_xavier": PUBLISHED_SECONDS,
                    "ct": f"simulated head, {SIZE}x{SIZE}x{SLICES}, DICOM"}
    with tempfile.TemporaryDirectory() as folder:
        series = write_head(Path(folder) / "series")
        exported = write_onnx(model, Path(folder) / "onnx")
        for cores in (2, 1):
            for engine, name in (("torch", model), ("onnx", str(exported))):
                measured = judge_in_turn(engine, cores, name, series, rounds)
                median, high = np.quantile(measured["seconds"], (0.5, 0.95))
                result[f"{engine}_on_{cores}"] = {
                    "median": round(float(median), 3), "95th_percentile": round(float(high), 3),
                    "cold_start": round(measured["cold"], 2),
                    "peak_gib": round(measured["peak_gib"], 2),
                    "stages": {stage: round(float(np.median(
                        [each[stage] for each in measured["stages"]])), 3)
                        for stage in measured["stages"][0]},
                }
    return result


def judge_in_turn(engine: str, cores: int, model: str, series: Path, rounds: int) -> dict:
    """Judge a head several times in a process of its own; see ``_SCRIPT`` for what it answers."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, engine, str(cores), model, str(series), str(rounds)],
        capture_output=True, text=True, check=True, start_new_session=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_onnx(model: str, folder: Path) -> Path:
    """Export a model, float32; returns the folder."""
    bundle = load_model(model)
    folder.mkdir()
    write_exported(folder, to_onnx(bundle.network, RECIPES[bundle.metadata["recipe"]], "float32"),
                   description_of(bundle, "float32"))
    return folder


def write_head(folder: Path) -> Path:
    """A simulated head as a DICOM series of a usual size; returns the folder."""
    head = simulate_head(fetch_head_template(), (), (5, 5), HeadSettings()).image
    pixel, step = FIELD_MM / SIZE, 160.0 / SLICES
    fine = sitk.Resample(
        head, (SIZE, SIZE, SLICES), sitk.Transform(), sitk.sitkLinear,
        (-FIELD_MM / 2, -FIELD_MM / 2, -85.0), (pixel, pixel, step), head.GetDirection(), -1000,
        sitk.sitkInt16)

    def set_pixel(dataset, index: int) -> None:
        dataset.PixelSpacing = [pixel, pixel]

    write_series(folder, sitk.GetArrayFromImage(fine), spacing=step, thickness=step,
                 origin=fine.GetOrigin(), edit=set_pixel)
    return folder
