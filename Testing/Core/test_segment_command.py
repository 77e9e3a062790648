# SPDX-License-Identifier: Apache-2.0
"""``python -m MuscleSegLib segment`` from end to end, with what clinics feed it, and cancelled."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MuscleSegLib import contrasts
from MuscleSegLib.networks import BayesianUNet, ContextUNet
from MuscleSegLib.recipes import MODERN, SEED
from MuscleSegLib.segmentation import load_model, run
from ReadingRoomLib.bundle_data import WEIGHTS
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.errors import BadInput, ModelMissing, ModelUntrusted
from ReadingRoomLib.geometry import same_geometry
from ReadingRoomLib.results import read_result
from ReadingRoomLib.segmentation_files import read_seg_nrrd

from .muscle_factory import (
    BONE,
    FILTERS,
    MUSCLE,
    REPOSITORY,
    as_image,
    as_mr,
    process_context,
    thighs,
    tiny_network,
    write_tiny_bundle,
)

REAL_DATA = REPOSITORY.parent / "shared" / "data"
FILES = {"labels.nrrd", "segmentation.seg.nrrd", "uncertainty.nrrd", "measurements.csv",
         "result.json"}

# --- running it ----------------------------------------------------------------------------------

COMMAND = """
import os, sys
for number, path in ((1, stdout), (2, stderr)):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
os.environ.update(environment)
exec(before)
from MuscleSegLib.__main__ import app
sys.argv = ["muscleseg", *arguments]
app()
"""

# The real command, which stops for a while in the middle of one of its steps.
HOLD = """
import importlib, pathlib, time
module = importlib.import_module({module!r})
original = getattr(module, {function!r})
def held(*arguments, **options):
    result = original(*arguments, **options)
    pathlib.Path({marker!r}).touch()
    time.sleep(60)
    return result
setattr(module, {function!r}, held)
"""


@dataclass
class Ended:
    """A command that has ended; its standard output holds one JSON object a line."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def messages(self) -> list[dict]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def last(self) -> dict:
        return self.messages[-1]


class Commands:
    """Starts real processes of the command; PyTorch is imported once for all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = itertools.count()
        self.running: list = []

    def start(self, *arguments: object, before: str = "", **environment: str):
        number = next(self.numbers)
        process = process_context().Process(target=exec, args=(COMMAND, {
            "arguments": [*map(str, arguments), "--progress", "json", "--device", "cpu"],
            "before": before,
            "environment": {"READINGROOM_LOGS": str(self.folder / "logs"),
                            "READINGROOM_CACHE": str(self.folder / "cache"), **environment},
            "stdout": str(self.folder / f"{number}.out"),
            "stderr": str(self.folder / f"{number}.err"),
        }))
        process.number = number
        process.start()
        self.running.append(process)
        return process

    def end(self, process) -> Ended:
        process.join(120)
        texts = [(self.folder / f"{process.number}.{kind}").read_text("utf-8")
                 for kind in ("out", "err")]
        return Ended(process.exitcode, *texts)

    def run(self, *arguments: object, **environment: str) -> Ended:
        return self.end(self.start(*arguments, **environment))

    def kill_all(self) -> None:
        for process in self.running:
            if process.is_alive():
                process.kill()
                process.join()


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Iterator[Commands]:
    runner = Commands(tmp_path_factory.mktemp("commands"))
    yield runner
    runner.kill_all()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def blind_model(tmp_path_factory) -> Path:
    """A model that finds nothing."""
    folder = tmp_path_factory.mktemp("models") / "blind"
    return write_tiny_bundle(folder, tiny_network(finds=False))


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("Müller, Jürgen 患者") / "CT Hüfte.nrrd"
    sitk.WriteImage(as_image(thighs()), str(path))
    return path


def run_here(ct: Path, output: Path, model: Path, samples=1, sides=False, seed=0) -> dict:
    """The same within this process, which saves its start; returns the manifest."""
    with run_job(module="MuscleSeg", command="segment", output=output, progress="none",
                 device="cpu", seed=seed) as job:
        run(job, ct, str(model), None, samples, sides)
    return read_result(output)


def array_of(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


# --- a good run ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(ct, model, tmp_path_factory) -> tuple[Path, dict]:
    """The folder and last message of a run as a researcher types it."""
    output = tmp_path_factory.mktemp("results") / "out"
    paths = [str(REPOSITORY / "ReadingRoomCore"), str(REPOSITORY / "MuscleSeg")]
    done = subprocess.run(
        [sys.executable, "-m", "MuscleSegLib", "segment", str(ct), "--output", str(output),
         "--model", str(model), "--samples", "4", "--seed", "7", "--sides", "--progress", "json",
         "--device", "cpu"],
        capture_output=True, encoding="utf-8", check=False, timeout=200,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.returncode == 0, done.stderr
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    stages = list(dict.fromkeys(m["stage"] for m in messages[:-1]))
    assert stages == ["read", "segment", "measure", "write"]
    assert all(m["done"] <= m["total"] for m in messages[:-1])
    return output, messages[-1]


def test_all_files_are_there_and_nothing_else(result):
    output, manifest = result
    assert {path.name for path in output.iterdir()} == FILES
    assert [path.name for path in output.parent.iterdir()] == ["out"]
    assert manifest["status"] == "completed" and Path(manifest["folder"]) == output
    assert read_result(output) == {k: v for k, v in manifest.items() if k != "folder"}
    assert set(manifest["files"].values()) == FILES - {"result.json"}


def test_manifest_says_what_was_run(result, ct, model):
    _, manifest = result
    assert manifest["inputs"][0]["name"] == ct.name and len(manifest["inputs"][0]["sha256"]) == 64
    assert manifest["model"]["name"] == "tiny" and manifest["model"]["recipe"] == "modern"
    assert manifest["model"]["simulated"] is True and len(manifest["model"]["sha256"]) == 64
    assert manifest["seed"] == 7 and manifest["device"] == "cpu"
    assert manifest["parameters"]["samples"] == 4 and manifest["parameters"]["sides"] is True
    assert {"read", "segment", "measure", "write", "total"} <= set(manifest["timings"])
    assert "not a medical device" in manifest["disclaimer"]
    assert "Müller" not in json.dumps(manifest, ensure_ascii=False)


def test_volumes_lie_on_the_grid_of_the_ct(result, ct):
    output, _ = result
    grid = sitk.ReadImage(str(ct))
    for name in ("labels.nrrd", "uncertainty.nrrd"):
        assert same_geometry(sitk.ReadImage(str(output / name)), grid, tolerance=1e-4)
    uncertainty = array_of(output / "uncertainty.nrrd")
    assert uncertainty.dtype == np.float32 and 0 <= uncertainty.min() < uncertainty.max() <= 1


def test_files_agree_with_each_other(result, ct):
    output, manifest = result
    labels = array_of(output / "labels.nrrd")
    values = {int(v): name for v, name in manifest["labels"].items()}
    assert values == {1: "pelvis_right", 4: "gluteus_maximus_right", 101: "pelvis_left",
                      104: "gluteus_maximus_left"}
    assert set(np.unique(labels)) == {0, *values}

    segmentation, segments = read_seg_nrrd(output / "segmentation.seg.nrrd")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(segmentation), labels)
    assert {segment.value: segment.identifier for segment in segments} == values

    with (output / "measurements.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == [{k: str(v) for k, v in entry.items()} for entry in manifest["structures"]]
    scan, uncertainty = array_of(ct), array_of(output / "uncertainty.nrrd")
    for row in rows:
        (value,) = [v for v, name in values.items() if name == f"{row['structure']}_{row['side']}"]
        mask = labels == value
        assert float(row["volume_ml"]) == pytest.approx(mask.sum() * 5 * 3 * 3 / 1000, abs=0.01)
        assert float(row["mean_hu"]) == pytest.approx(scan[mask].mean(), abs=0.06)
        assert float(row["uncertainty"]) == pytest.approx(uncertainty[mask].mean(), abs=1e-4)
        assert (row["check"], row["cut_off"]) == ("", "yes")


def test_what_is_found_is_right(result, ct):
    output, _ = result
    labels, clean = array_of(output / "labels.nrrd"), thighs(noise=0)
    middle = labels.shape[2] // 2
    for value, density in ((BONE, 700), (MUSCLE, 55)):
        for side, columns in ((0, slice(None, middle)), (100, slice(middle, None))):
            truth = clean[..., columns] == density
            found = labels[..., columns] == value + side
            assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.9


def test_the_seed_decides(result, ct, model, tmp_path):
    output, _ = result
    run_here(ct, tmp_path / "same", model, samples=4, sides=True, seed=7)
    run_here(ct, tmp_path / "other", model, samples=4, sides=True, seed=8)
    first, same, other = (array_of(folder / "uncertainty.nrrd")
                          for folder in (output, tmp_path / "same", tmp_path / "other"))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_without_sides_both_share_a_value(ct, model, tmp_path):
    manifest = run_here(ct, tmp_path / "out", model)
    assert manifest["labels"] == {"1": "pelvis", "4": "gluteus_maximus"}
    assert {entry["side"] for entry in manifest["structures"]} == {""}
    assert not array_of(tmp_path / "out" / "uncertainty.nrrd").any()


# --- orientation ---------------------------------------------------------------------------------

DIRECTIONS = [
    (permutation, flips)
    for permutation in itertools.permutations(range(3))
    for flips in itertools.product([False, True], repeat=3)
]


@pytest.fixture(scope="module")
def upright(ct, model, tmp_path_factory) -> np.ndarray:
    output = tmp_path_factory.mktemp("upright") / "out"
    run_here(ct, output, model, sides=True)
    return array_of(output / "labels.nrrd")


# ten of the forty-eight, among them every permutation and every axis both ways
@pytest.mark.parametrize(("permutation", "flips"), DIRECTIONS[1::5])
def test_left_stays_left_however_the_file_is_stored(
    ct, model, upright, tmp_path, permutation, flips
):
    stored = sitk.Flip(sitk.PermuteAxes(sitk.ReadImage(str(ct)), permutation), flips)
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(stored, str(path))
    run_here(path, tmp_path / "out", model, sides=True)
    labels = sitk.ReadImage(str(tmp_path / "out" / "labels.nrrd"))
    assert same_geometry(labels, sitk.ReadImage(str(path)), tolerance=1e-3)
    back = sitk.GetArrayFromImage(sitk.DICOMOrient(labels, "LPS"))
    np.testing.assert_array_equal(back, upright)
    # the thicker bone is the left one, and left is where x grows to
    assert (back == 101).sum() > 1.5 * (back == 1).sum()


@pytest.mark.parametrize("degrees", [10.0, 35.0])
def test_an_oblique_scan_is_segmented_on_its_own_grid(model, tmp_path, degrees):
    image = as_image(thighs())
    turned = sitk.Euler3DTransform(
        image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in image.GetSize()]),
        0.0, 0.0, np.radians(degrees))
    image.SetOrigin(turned.TransformPoint(image.GetOrigin()))
    image.SetDirection(turned.GetMatrix())  # the patient lies askew in the scanner
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(image, str(path))
    run_here(path, tmp_path / "out", model, sides=True)
    labels = sitk.ReadImage(str(tmp_path / "out" / "labels.nrrd"))
    assert same_geometry(labels, sitk.ReadImage(str(path)), tolerance=1e-3)
    found, clean = sitk.GetArrayFromImage(labels), thighs(noise=0)
    middle = clean.shape[2] // 2
    for value, half in ((101, slice(middle, None)), (1, slice(None, middle))):
        truth = clean[..., half] == 700
        bone = found[..., half] == value
        assert 2 * (truth & bone).sum() / (truth.sum() + bone.sum()) > 0.8


@pytest.mark.parametrize("spacing", [(10.0, 1.0, 1.0), (0.8, 4.0, 4.0)])
def test_odd_voxels(model, tmp_path, spacing):
    path = tmp_path / "ct.nrrd"
    scan = thighs(spacing, size_mm=(60.0, 150.0, 260.0))
    sitk.WriteImage(as_image(scan, spacing), str(path))
    manifest = run_here(path, tmp_path / "out", model)
    volume = {entry["structure"]: entry["volume_ml"] for entry in manifest["structures"]}
    truth = (thighs(spacing, size_mm=(60.0, 150.0, 260.0), noise=0) == 700).sum()
    assert volume["pelvis"] == pytest.approx(truth * np.prod(spacing) / 1000, rel=0.12)


def test_metal_is_said(model, tmp_path):
    scan = thighs()
    scan[5:15, 25:32, 20:27] = 3071
    path = tmp_path / "ct.nrrd"
    sitk.WriteImage(as_image(scan), str(path))
    assert any("metal" in w for w in run_here(path, tmp_path / "out", model)["warnings"])


# --- bad input -----------------------------------------------------------------------------------


def refused(commands: Commands, ct: Path, model: Path, output: Path, *options: str) -> dict:
    """Run a command that must be refused, leaving nothing; return its last message."""
    before = set(output.parent.iterdir()) if output.parent.exists() else set()
    ended = commands.run("segment", ct, "--output", output, "--model", model, *options)
    assert ended.exit_code == {"BAD_INPUT": 10, "MODEL_MISSING": 11, "MODEL_UNTRUSTED": 12,
                               "OUTPUT_FAILED": 14}[ended.last["error"]], ended.stderr
    assert set(output.parent.iterdir()) == before
    assert ended.last["message"].endswith(".") and "Traceback" not in ended.stdout
    return ended.last


def written(image: sitk.Image, path: Path) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def magnetic_resonance(folder: Path) -> Path:
    random = np.random.default_rng(0)
    values = (thighs() + 1000) * 0.4 * random.uniform(0.8, 1.2, thighs().shape)
    return written(as_image(values.clip(0).astype(np.uint16)), folder / "t1.nii.gz")


def test_mr_is_segmented_by_a_model_of_any_contrast(tmp_path, monkeypatch):
    """The network set by hand sees, once they are scaled, about the HU that the image was."""
    mr, scaled_to = as_mr(thighs())
    monkeypatch.setattr(contrasts, "RANGE", scaled_to)
    model = write_tiny_bundle(tmp_path / "any", intensities="random")
    labels = {}
    for name, array in (("ct", thighs()), ("mr", mr)):
        result = run_here(written(as_image(array), tmp_path / f"{name}.nrrd"), tmp_path / name,
                          model)
        assert any("no CT" in text for text in result["warnings"]) == (name == "mr")
        labels[name] = array_of(tmp_path / name / "labels.nrrd")
    assert {BONE, MUSCLE} <= set(np.unique(labels["mr"]))
    assert np.mean(labels["mr"] != labels["ct"]) < 0.01
    with pytest.raises(BadInput, match="CT"):
        run_here(tmp_path / "mr.nrrd", tmp_path / "other", write_tiny_bundle(tmp_path / "ours"))


def four_dimensions(folder: Path) -> Path:
    volumes = sitk.JoinSeries([as_image(thighs())] * 3)
    return written(volumes, folder / "perfusion.nii.gz")


def colours(folder: Path) -> Path:
    planes = sitk.Cast(as_image(np.zeros((8, 20, 20), np.int16)), sitk.sitkUInt8)
    return written(sitk.Compose([planes] * 3), folder / "colours.nrrd")


def one_slice(folder: Path) -> Path:
    return written(as_image(thighs()[:1]), folder / "scout.nrrd")


def all_air(folder: Path) -> Path:
    noise = np.random.default_rng(0).normal(-1000, 8, (12, 40, 40)).astype(np.int16)
    return written(as_image(noise), folder / "air.nrrd")


def truncated(folder: Path) -> Path:
    path = written(as_image(thighs()), folder / "cut.nrrd")
    path.write_bytes(path.read_bytes()[:-20_000])
    return path


def a_letter(folder: Path) -> Path:
    path = folder / "letter.docx"
    path.write_bytes(b"PK\x03\x04 Dear colleague,")
    return path


def absent(folder: Path) -> Path:
    return folder / "nowhere.nrrd"


def empty_folder(folder: Path) -> Path:
    (folder / "dicom").mkdir()
    return folder / "dicom"


@pytest.mark.parametrize(("make", "words"), [
    (magnetic_resonance, "Hounsfield"), (four_dimensions, ""), (colours, ""), (one_slice, "slice"),
    (all_air, "air"), (truncated, ""), (a_letter, ""), (absent, "cannot be found"),
    (empty_folder, ""),
])
def test_input_that_is_no_ct_is_refused(commands, model, tmp_path, make: Callable, words: str):
    (tmp_path / "results").mkdir()
    path = make(tmp_path)
    message = refused(commands, path, model, tmp_path / "results" / "out")
    assert message["error"] == "BAD_INPUT"
    assert path.name in message["message"] and words in message["message"]


def test_a_ct_of_something_else_is_refused(commands, ct, blind_model, tmp_path):
    message = refused(commands, ct, blind_model, tmp_path / "out")
    assert message["error"] == "BAD_INPUT" and "No hip or thigh" in message["message"]


def test_a_speck_of_bone_is_no_hip(commands, model, tmp_path):
    scan = thighs(noise=2)
    scan[scan > 0] = -60  # no muscle, and next to no bone
    scan[10:12, 28:32, 20:24] = 700
    path = written(as_image(scan), tmp_path / "chest.nrrd")
    assert "No hip or thigh" in refused(commands, path, model, tmp_path / "out")["message"]


@pytest.mark.parametrize("name", [
    "ct_head_volumes/invesalius_cranium_ct.nii.gz", "ct_chest_lungdx_A0001/ct_256x256x64.nii.gz",
])
def test_real_head_and_chest_are_refused_by_the_starter_model(name, tmp_path):
    if not (REAL_DATA / name).exists():
        pytest.skip("the real images are not here")
    image = sitk.ReadImage(str(REAL_DATA / name))
    middle = image.GetSize()[2] // 2
    part = image[:, :, max(0, middle - 15) : middle + 15]
    path = written(part, tmp_path / "part.nii.gz")
    with pytest.raises(BadInput, match="No hip or thigh"):
        run_here(path, tmp_path / "out", "starter")
    assert not (tmp_path / "out").exists()


def test_results_are_not_overwritten_unless_asked_for(commands, ct, model, tmp_path):
    output = tmp_path / "out"
    first = commands.run("segment", ct, "-o", output, "-m", model, "--samples", 1)
    assert first.exit_code == 0
    before = (output / "result.json").read_bytes()
    assert refused(commands, ct, model, output, "--samples", "1")["error"] == "OUTPUT_FAILED"
    assert (output / "result.json").read_bytes() == before
    again = commands.run("segment", ct, "-o", output, "-m", model, "--samples", 2, "--overwrite")
    assert again.exit_code == 0 and again.last["parameters"]["samples"] == 2
    assert {path.name for path in output.iterdir()} == FILES
    failed = commands.run("segment", output / "no.nrrd", "-o", output, "-m", model, "--overwrite")
    assert failed.exit_code == 10 and read_result(output)["parameters"]["samples"] == 2


def test_output_that_cannot_be_written(commands, ct, model, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    ended = commands.run("segment", ct, "-o", blocked / "out", "-m", model)
    assert ended.exit_code == 14 and ended.last["error"] == "OUTPUT_FAILED"
    if os.geteuid() != 0:  # root may write everywhere
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        assert refused(commands, ct, model, locked / "out")["error"] == "OUTPUT_FAILED"
    if Path("/sys/kernel").is_dir():  # not even root may make folders there
        assert refused(commands, ct, model, Path("/sys/kernel/out"))["error"] == "OUTPUT_FAILED"


def test_wrong_options_are_answered_in_json(commands, ct, model, tmp_path):
    ended = commands.run("segment", ct, "-o", tmp_path / "out", "-m", model, "--samples", 0)
    assert ended.exit_code == 2 and "samples" in ended.last["message"]
    assert not list(tmp_path.iterdir())


# --- models --------------------------------------------------------------------------------------


@pytest.fixture
def own_model(model, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(model, tmp_path / "model"))


@pytest.mark.parametrize("name", [WEIGHTS, "configs/metadata.json", "configs/inference.json",
                                  "docs/README.md", "configs/hashes.json"])
def test_a_model_altered_by_one_byte_is_refused(commands, ct, own_model, tmp_path, name):
    path = own_model / name
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert refused(commands, ct, own_model, tmp_path / "out")["error"] == "MODEL_UNTRUSTED"


def test_a_pickle_in_a_model_is_refused_and_not_opened(commands, ct, own_model, tmp_path):
    class Malice:
        def __reduce__(self):
            return os.system, (f"touch '{tmp_path / 'ran'}'",)

    (own_model / "models" / "model.pt").write_bytes(pickle.dumps(Malice()))
    assert refused(commands, ct, own_model, tmp_path / "out")["error"] == "MODEL_UNTRUSTED"
    (own_model / "models" / "model.pt").replace(own_model / WEIGHTS)
    assert refused(commands, ct, own_model, tmp_path / "out")["error"] == "MODEL_UNTRUSTED"
    assert not (tmp_path / "ran").exists()


def test_an_unknown_model_is_missing(commands, ct, tmp_path):
    message = refused(commands, ct, "no-such-model", tmp_path / "out")
    assert message["error"] == "MODEL_MISSING" and "no-such-model" in message["message"]


def test_the_recipe_must_be_the_models(commands, ct, model, tmp_path):
    message = refused(commands, ct, model, tmp_path / "out", "--recipe", "seed")
    assert message["error"] == "BAD_INPUT" and "modern" in message["message"]
    assert load_model(str(model), "modern").metadata["name"] == "tiny"
    with pytest.raises(ModelMissing, match="starter-published"):
        load_model("starter-published", None)


@pytest.mark.parametrize("model", ["nobody", "nobody-seed"])
def test_the_recipe_of_a_family_is_named_once(model):
    with pytest.raises(ModelMissing) as caught:
        load_model(model, "seed")
    assert "nobody-seed" in caught.value.message and "seed-seed" not in caught.value.message


def test_pixels_that_the_network_never_saw_are_refused(commands, ct, tmp_path):
    model = write_tiny_bundle(tmp_path / "model", pixel_mm=[0.7, 1.1])
    message = refused(commands, ct, model, tmp_path / "out")
    assert message["error"] == "BAD_INPUT"
    assert "3 mm wide" in message["message"] and "0.7 to 1.1 mm" in message["message"]


@pytest.mark.parametrize("difference", ["recipe", "classes", "channels"])
def test_a_model_made_for_something_else_is_refused(tmp_path, difference):
    network, metadata = tiny_network(), {}
    if difference == "recipe":
        metadata = {"recipe": "future"}
    elif difference == "classes":
        network = ContextUNet(MODERN.channels, 40, FILTERS)
    else:
        metadata = {"recipe": "seed"}
    folder = write_tiny_bundle(tmp_path / "model", network, **metadata)
    with pytest.raises(ModelUntrusted, match="not made for this module"):
        load_model(str(folder), None)


# --- cancel --------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("stage", "module", "function"), [
    ("reading", "MuscleSegLib.segmentation", "read_any"),
    ("model", "ReadingRoomLib.models", "load_bundle"),
    ("segmenting", "MuscleSegLib.inference", "summarise_uncertainties"),
    ("measuring", "MuscleSegLib.segmentation", "measure"),
    ("writing", "MuscleSegLib.segmentation", "write_seg_nrrd"),
])
def test_cancel_at_every_stage_leaves_nothing(commands, ct, model, tmp_path, stage, module,
                                              function):
    marker, folder = tmp_path / "held", tmp_path / "results"
    folder.mkdir()
    process = commands.start(
        "segment", ct, "-o", folder / "out", "-m", model,
        before=HOLD.format(module=module, function=function, marker=str(marker)),
    )
    wait_for(marker, process)
    if stage == "writing":  # something is there that must go
        assert any(path.name == "labels.nrrd" for path in folder.rglob("*"))
    process.terminate()
    began = time.monotonic()
    ended = commands.end(process)
    assert ended.exit_code == 130 and ended.last["error"] == "CANCELLED"
    assert not list(folder.iterdir())
    assert time.monotonic() - began < 30  # and not after the sixty seconds it would have slept


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_what_a_killed_run_leaves_is_no_result_and_does_not_hinder_the_next(
    commands, ct, model, tmp_path
):
    marker, output = tmp_path / "held", tmp_path / "results" / "out"
    output.parent.mkdir()
    process = commands.start(
        "segment", ct, "-o", output, "-m", model,
        before=HOLD.format(module="MuscleSegLib.segmentation", function="write_csv",
                           marker=str(marker)),
    )
    wait_for(marker, process)
    os.kill(process.pid, signal.SIGKILL)
    assert commands.end(process).exit_code == -signal.SIGKILL
    assert not output.exists()
    for left in output.parent.iterdir():
        with pytest.raises(BadInput):
            read_result(left)
    ended = commands.run("segment", ct, "-o", output, "-m", model, "--samples", 1)
    assert ended.exit_code == 0 and read_result(output)["status"] == "completed"
    assert [path.name for path in output.parent.iterdir()] == ["out"]


def wait_for(marker: Path, process) -> None:
    deadline = time.monotonic() + 100
    while not marker.exists():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)


def test_memory_that_runs_out_is_said(commands, ct, model, tmp_path):
    fail = """
import MuscleSegLib.inference as module
def out_of_memory(*arguments):
    raise MemoryError
module.summarise_uncertainties = out_of_memory
"""
    process = commands.start("segment", ct, "-o", tmp_path / "out", "-m", model, before=fail)
    ended = commands.end(process)
    assert ended.exit_code == 13 and ended.last["error"] == "OUT_OF_MEMORY"
    assert not list(tmp_path.iterdir())


def test_the_published_recipe_runs_too(ct, tmp_path):
    torch.manual_seed(0)
    network = BayesianUNet(filters=2)
    with torch.no_grad():
        network.head.bias[BONE] = 20  # everything is bone
    folder = write_tiny_bundle(tmp_path / "model", network, recipe=SEED.name, spacing=None)
    manifest = run_here(ct, tmp_path / "out", folder, samples=2)
    assert manifest["model"]["recipe"] == "seed" and "1" in manifest["labels"]
