# SPDX-License-Identifier: Apache-2.0
"""A review queue: what is shown, what a review teaches, and what the next queue leaves out."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from MuscleSegLib import contrasts, corrections, queue_command
from MuscleSegLib.__main__ import app
from MuscleSegLib.labelled_scans import read_scan
from MuscleSegLib.recipes import SEED
from MuscleSegLib.review_folder import (
    mark_reviewed,
    progress_of,
    read_queue,
    read_reviewed,
)
from MuscleSegLib.review_queue import Candidate, choose_apart, level_of_share, marked, slice_score
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.datalists import read_pairs
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.results import read_result
from ReadingRoomLib.segmentation_files import read_seg_nrrd, write_seg_nrrd

from .muscle_factory import BONE, MUSCLE, as_image, as_mr, thighs, write_tiny_bundle

APART = 20.0
SIZE = (120.0, 150.0, 240.0)


def candidates(*scores, case="a", step=5.0):
    return [Candidate(case, index, index * step, score) for index, score in enumerate(scores)]


# ----------------------------------------------------------------------------------------- choosing


def test_slices_of_a_scan_are_kept_apart_and_the_least_confident_come_first():
    pool = [*candidates(0.1, 0.9, 0.8, 0.7, 0.3), *candidates(0.85, np.nan, case="b")]
    chosen = choose_apart(pool, 10, 10.0)
    assert [(each.case, each.index) for each in chosen] == [("a", 1), ("b", 0), ("a", 3)]
    assert choose_apart(pool, 2, 10.0) == chosen[:2]
    before = [Candidate("a", 2, 10.0, 0.0)]
    assert [(each.case, each.index) for each in choose_apart(pool, 10, 10.0, before)] == [
        ("b", 0), ("a", 4), ("a", 0)]
    with_neighbours = choose_apart(pool, 10, 0.0)
    assert len(with_neighbours) == 6 and not any(np.isnan(each.score) for each in with_neighbours)


def test_the_score_is_the_mean_uncertainty_of_what_is_labelled():
    labels = np.zeros((10, 10), int)
    labels[2:8, 2:8] = 3
    doubt = np.where(labels > 0, 0.25, 0.9)
    assert slice_score(labels, doubt, 25.0) == pytest.approx(0.25)
    assert np.isnan(slice_score(labels, doubt, 13.0))  # 4.7 cm2 are no structure to speak of


def test_the_marked_share_is_that_of_all_shown_slices_together():
    calm, doubtful = np.full((10, 10), 0.01), np.full((10, 10), 0.01)
    doubtful[:4] = np.linspace(0.2, 0.8, 40).reshape(4, 10)
    body = np.ones((10, 10), bool)
    body[:, 0] = False
    level = level_of_share([calm[body], doubtful[body]], 0.1)
    assert not marked(calm, body, level).any()
    count = marked(doubtful, body, level).sum()
    assert 0 < count <= 18 and count >= 16
    assert not marked(doubtful, body, level)[:, 0].any()
    everything = level_of_share([calm[body]], 1.0)
    assert (marked(np.zeros((10, 10)), body, everything) == body).all()
    assert not marked(np.zeros((10, 10)), body, 0.0).any()  # all samples agree


@pytest.mark.parametrize("largest", [1.0, 1e-3, 1e-4])
def test_the_most_uncertain_are_told_apart_where_all_are_little_so(largest):
    doubt = np.random.default_rng(0).uniform(0, largest, (50, 80)).astype(np.float32)
    count = marked(doubt, np.ones(doubt.shape, bool), level_of_share([doubt], 0.1)).sum()
    assert 0.08 * doubt.size <= count <= 0.1 * doubt.size


# ------------------------------------------------------------------------------------------ a queue


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Two CTs of thighs, one with slices from the head down, and two images that are none."""
    folder = tmp_path_factory.mktemp("pool")
    sitk.WriteImage(as_image(thighs(size_mm=SIZE)), str(folder / "a.nrrd"))
    turned = sitk.Flip(as_image(thighs(size_mm=SIZE, noise=20.0)), (False, False, True))
    sitk.WriteImage(sitk.PermuteAxes(turned, (2, 0, 1)), str(folder / "b.nrrd"))
    air = np.full((20, 40, 40), -1000, np.int16)
    air[:, 5:25, 5:25] = -100  # a body without muscles and bones
    sitk.WriteImage(as_image(air), str(folder / "c.nrrd"))
    (folder / "d.nrrd").write_bytes(b"NRRD0004\nthis is none\n")
    return folder


def make(pool, model, output, **options):
    with run_job(module="MuscleSeg", command="queue", output=output, progress="none",
                 device="cpu", overwrite=True) as job:
        queue_command.run(job, queue_command.Options(
            pool, model, samples=4, slices=options.pop("slices", 6), apart_mm=APART, **options),
            lambda line: None)
    return read_result(output)


@pytest.fixture(scope="module")
def made(pool, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "queue"
    return folder, make(pool, model, folder)


@pytest.fixture
def queued(made, tmp_path):
    """A queue to work on."""
    return shutil.copytree(made[0], tmp_path / "queue")


def test_a_queue_holds_what_a_person_needs(made, pool):
    folder, result = made
    queue = read_queue(folder)
    assert [case.case for case in queue.cases] == ["a", "b"] and all(
        case.queued for case in queue.cases)
    assert [each.rank for each in queue.slices] == [1, 2, 3, 4, 5, 6]
    scores = [each.score for each in queue.slices]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 0
    for case in queue.cases:
        image = sitk.ReadImage(case.image)
        places = sorted(each.slice for each in queue.slices if each.case == case.case)
        step = image.GetSpacing()[case.axis]
        assert all(later - earlier >= APART / step for earlier, later in
                   zip(places, places[1:], strict=False))
        assert case.axis == {"a": 2, "b": 0}[case.case]
        assert case.slices == image.GetSize()[case.axis] == 24
        mask = sitk.ReadImage(str(folder / "cases" / case.case / "uncertain.nrrd"))
        assert mask.GetSize() == image.GetSize()
        planes = np.moveaxis(sitk.GetArrayFromImage(mask), 2 - case.axis, 0)
        assert set(np.flatnonzero(planes.any((1, 2)))) <= set(places)
        for each in (each for each in queue.slices if each.case == case.case):
            assert planes[each.slice].sum() == each.marked
            index = image.TransformPhysicalPointToContinuousIndex(each.position_mm)
            assert index[case.axis] == pytest.approx(each.slice, abs=1e-2)
        labels, segments = read_seg_nrrd(folder / "cases" / case.case / "segmentation.seg.nrrd")
        assert labels.GetSize() == image.GetSize() and len(segments) == 22
        assert {BONE, MUSCLE} <= set(np.unique(sitk.GetArrayFromImage(labels)))
    total = sum(each.pixels for each in queue.slices)
    assert 0 < result["marked_pixels"] <= 0.1 * total
    assert result["pool_slices"] == 48 and result["reviewed_slices"] == 0


def test_a_ct_is_read_once_and_only_its_queued_slices_are_kept(pool, model, tmp_path, monkeypatch):
    """All CTs with queued slices were once in memory at the same time, as a whole."""
    images, doubts = [], []
    read_image, read_doubt = queue_command.read_any, queue_command._Doubt.read
    monkeypatch.setattr(queue_command, "read_any", lambda path, intensities: (
        images.append(path.name), read_image(path, intensities))[1])
    monkeypatch.setattr(queue_command._Doubt, "read", lambda *arguments: (
        doubts.append(read_doubt(*arguments)), doubts[-1])[1])
    make(pool, model, tmp_path / "queue")
    assert sorted(images) == ["a.nrrd", "b.nrrd", "c.nrrd", "d.nrrd"] and len(doubts) == 2
    for doubt in doubts:
        assert set(vars(doubt)) == {"body", "uncertainty"}
        for plane in (*doubt.body.values(), *doubt.uncertainty.values()):
            assert plane.ndim == 2 and (plane.base is None or plane.base.size == plane.size)


def test_what_is_no_ct_of_the_thigh_is_said_and_left_out(made, pool, model, tmp_path):
    warnings = " ".join(made[1]["warnings"])
    assert "c was left out: No hip or thigh" in warnings and "d was left out" in warnings
    bad = tmp_path / "bad"
    bad.mkdir()
    shutil.copy(pool / "c.nrrd", bad)
    with pytest.raises(BadInput, match="None of the 1 images of bad"):
        make(bad, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no scan"):
        make(tmp_path / "empty", model, tmp_path / "out")


def test_a_pool_of_mr_is_for_a_model_of_any_contrast(tmp_path, monkeypatch, model):
    hounsfield = thighs(size_mm=SIZE)
    tissue = hounsfield > -500
    mr, scaled_to = as_mr(hounsfield)
    monkeypatch.setattr(contrasts, "RANGE", scaled_to)
    pool = tmp_path / "pool"
    pool.mkdir()
    sitk.WriteImage(as_image(mr), str(pool / "mr.nrrd"))
    with pytest.raises(BadInput, match="None of the 1 images"):
        make(pool, model, tmp_path / "out")
    other = str(write_tiny_bundle(tmp_path / "any", intensities="random"))
    result = make(pool, other, tmp_path / "queue")
    assert result["cases"] == 1 and result["pool_pixels"] == tissue.sum()
    case, each = first_of(tmp_path / "queue", "mr")
    correct(tmp_path / "queue", case, lambda planes: planes[each.slice].__setitem__(..., 2))
    mark_reviewed(tmp_path / "queue", "mr", each.slice)
    collect(tmp_path / "queue", tmp_path / "corrected")
    [pair] = read_pairs(tmp_path / "corrected" / "datalist.json", "segmentation")["training"]
    target = sitk.GetArrayFromImage(sitk.ReadImage(str(pair.companion)))
    assert set(np.unique(target)) == {0, 2, 255}
    assert (tissue[target == 0] == 0).all(), "air alone is background"
    assert (target == 2).sum() == each.marked


def test_the_same_seed_makes_the_same_queue(made, pool, model, tmp_path):
    make(pool, model, tmp_path / "again")
    assert read_queue(tmp_path / "again") == read_queue(made[0])


# --------------------------------------------------------------------------------------- the review


def correct(folder, case, change):
    """Save a correction as the panel does; ``change`` gets the labels with the slices first."""
    shown, segments = read_seg_nrrd(folder / "cases" / case.case / "segmentation.seg.nrrd")
    labels = sitk.GetArrayFromImage(shown)
    change(np.moveaxis(labels, 2 - case.axis, 0))
    corrected = sitk.GetImageFromArray(labels)
    corrected.CopyInformation(shown)
    (folder / "corrections").mkdir(exist_ok=True)
    write_seg_nrrd(folder / "corrections" / f"{case.case}.seg.nrrd", corrected, segments)


def collect(folder, output, rest="unknown"):
    with run_job(module="MuscleSeg", command="corrections", output=output,
                 progress="none") as job:
        corrections.run(job, corrections.Options(folder, rest), lambda line: None)
    return read_result(output)


def first_of(folder, case):
    queue = read_queue(folder)
    return queue.case(case), next(each for each in queue.slices if each.case == case)


def taught(output):
    [pair] = read_pairs(output / "datalist.json", "segmentation")["training"]
    sentences = []
    return read_scan(pair, SEED, sentences.append), pair, sentences


@pytest.mark.parametrize("name", ["a", "b"])
def test_corrections_come_back_and_all_else_is_unknown(queued, tmp_path, name):
    case, each = first_of(queued, name)
    uncertain = np.moveaxis(sitk.GetArrayFromImage(sitk.ReadImage(
        str(queued / "cases" / name / "uncertain.nrrd"))), 2 - case.axis, 0)[each.slice] > 0

    def change(planes):
        planes[each.slice][uncertain] = 2  # femur

    correct(queued, case, change)
    mark_reviewed(queued, name, each.slice)
    result = collect(queued, tmp_path / "out")
    labels, segments = read_seg_nrrd(tmp_path / "out" / "segmentations" / f"{name}.seg.nrrd")
    assert [segment.value for segment in segments][-1] == 255 and len(segments) == 23
    planes = np.moveaxis(sitk.GetArrayFromImage(labels), 2 - case.axis, 0)
    assert (planes[each.slice][uncertain] == 2).all()
    planes[each.slice][uncertain] = 0
    assert set(np.unique(planes)) == {0, 255}  # nothing that nobody reviewed is taught
    assert result["labelled_pixels"] == each.marked == uncertain.sum()
    scan, pair, sentences = taught(tmp_path / "out")
    assert pair.patient == name and not any("teach" in sentence for sentence in sentences)
    values, counts = np.unique(scan.target, return_counts=True)
    assert set(values) == {0, 2, 255} and counts[1] == each.marked
    assert (scan.hounsfield[scan.target == 0] <= -300).all()  # only air is background
    assert len(scan.named) == 22


def test_a_whole_slice_can_be_right_and_the_rest_can_be_taken_as_shown(queued, tmp_path):
    case, each = first_of(queued, "a")
    correct(queued, case, lambda planes: None)
    mark_reviewed(queued, "a", each.slice, "all")
    assert collect(queued, tmp_path / "all")["labelled_pixels"] == each.pixels
    mark_reviewed(queued, "a", each.slice, "marked")
    assert read_reviewed(queued) == [type(read_reviewed(queued)[0])("a", each.slice, "marked")]
    assert collect(queued, tmp_path / "marked")["labelled_pixels"] == each.marked
    assert collect(queued, tmp_path / "shown", "shown")["labelled_pixels"] == each.pixels
    mark_reviewed(queued, "a", each.slice, None)
    with pytest.raises(BadInput, match="Nothing of queue was reviewed"):
        collect(queued, tmp_path / "none")


def test_what_was_reviewed_is_left_out_of_the_next_queue_and_kept(queued, pool, model, tmp_path):
    case, each = first_of(queued, "b")

    def change(planes):
        planes[each.slice] = 2

    correct(queued, case, change)
    mark_reviewed(queued, "b", each.slice)
    before = collect(queued, tmp_path / "before")
    answer = CliRunner().invoke(app, [  # refreshed in its place
        "queue", str(pool), "--output", str(queued), "--model", model, "--samples", "4", "--slices",
        "20", "--apart", str(APART), "--overwrite", "--progress", "none", "--device", "cpu"])
    assert answer.exit_code == 0 and "1 were reviewed before" in answer.output
    result = read_result(queued)
    queue = read_queue(queued)
    step = 5.0  # mm between slices
    assert result["reviewed_slices"] == 1 == progress_of(queued).pool_reviewed
    assert result["labelled_pixels"] == each.marked
    assert all(abs(other.slice - each.slice) * step >= APART for other in queue.slices
               if other.case == "b")
    assert not read_reviewed(queued) and progress_of(queued).reviewed == 0
    after = collect(queued, tmp_path / "after")
    assert after["labelled_pixels"] == before["labelled_pixels"]
    own = [read_seg_nrrd(tmp_path / name / "segmentations" / "b.seg.nrrd")[0]
           for name in ("before", "after")]
    assert (sitk.GetArrayFromImage(own[0]) == sitk.GetArrayFromImage(own[1])).all()
    shown = collect(queued, tmp_path / "shown", "shown")
    assert shown["labelled_pixels"] == each.pixels
    # what is shown for the rest of the case has the corrections in it
    known = sitk.GetArrayFromImage(sitk.ReadImage(str(queued / "corrections" / "b.known.nrrd"))) > 0
    shown = sitk.GetArrayFromImage(read_seg_nrrd(
        queued / "cases" / "b" / "segmentation.seg.nrrd")[0])
    assert known.sum() == each.marked and (shown[known] == 2).all()


def test_corrections_are_not_lost_with_a_ct_that_left_the_pool(queued, pool, model, tmp_path):
    case, each = first_of(queued, "b")
    correct(queued, case, lambda planes: None)
    mark_reviewed(queued, "b", each.slice)
    smaller = tmp_path / "smaller"
    smaller.mkdir()
    shutil.copy(pool / "a.nrrd", smaller)
    with pytest.raises(BadInput, match="b was reviewed in the earlier queue"):
        make(smaller, model, queued, after=queued)
    assert read_reviewed(queued)


def test_a_list_is_a_pool_too(pool, model, tmp_path):
    (tmp_path / "list.json").write_text(json.dumps({"simulated": True, "training": [
        {"image": str(pool / "a.nrrd"), "patient": "17"}]}), "utf-8")
    result = make(tmp_path / "list.json", model, tmp_path / "out", slices=1)
    queue = read_queue(tmp_path / "out")
    assert queue.cases[0].patient == "17" and queue.simulated and result["simulated"]
    assert len(queue.slices) == 1


def test_a_queue_that_was_damaged_is_refused(queued, tmp_path):
    case, each = first_of(queued, "a")
    mark_reviewed(queued, "a", each.slice)
    with pytest.raises(BadInput, match="its correction is missing"):
        collect(queued, tmp_path / "out")
    mark_reviewed(queued, "a", 99)
    with pytest.raises(BadInput, match="names slice 99 of a"):
        collect(queued, tmp_path / "out")
    (queued / "reviewed.json").write_text("[1", "utf-8")
    with pytest.raises(BadInput, match="cannot be read"):
        progress_of(queued)
    content = json.loads((queued / "queue.json").read_text("utf-8"))
    content["cases"][0]["case"] = "../a"
    (queued / "queue.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(BadInput, match="no valid name"):
        read_queue(queued)
    with pytest.raises(BadInput, match="holds no review queue"):
        read_queue(tmp_path)
