# SPDX-License-Identifier: Apache-2.0
"""Simulated patients: deformed as people differ, painted as CT, the same for the same seed."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from MuscleSegLib import cohort, simulate_command
from MuscleSegLib.cohort import deform, exponential, read_anatomies, simulate_patient
from MuscleSegLib.structures import STRUCTURES
from ReadingRoomLib.commands import run_job
from ReadingRoomLib.datalists import read_pairs
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.region_map import RegionMap, Tissue
from ReadingRoomLib.segmentation_files import read_seg_nrrd

STEPS = np.array([6.0, 6.0, 6.0])
SPACING = (9.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def anatomy() -> RegionMap:
    return cohort._phantom((4.0, 4.0, 6.0))


def test_a_constant_velocity_moves_everything_alike():
    velocity = np.zeros((3, 8, 9, 10), np.float32)
    velocity[1] = 5.0
    displacement = exponential(velocity, STEPS)
    assert np.allclose(displacement[1], 5.0, atol=1e-4)
    assert np.abs(displacement[[0, 2]]).max() == 0


def test_a_velocity_and_its_opposite_lead_back():
    random = np.random.default_rng(0)
    places = np.indices((20, 20, 20)).astype(np.float32)
    phase = random.uniform(0, 3, (3, 1, 1, 1))
    velocity = 8 * np.sin(places[::-1] / 4 + phase).astype(np.float32)
    there, back = exponential(velocity, STEPS), exponential(-velocity, STEPS)
    returned = there + np.stack([ndimage.map_coordinates(part, places + there / 6, order=1,
                                                         mode="nearest") for part in back])
    inner = (slice(None),) + (slice(4, -4),) * 3
    assert np.abs(there[inner]).max() > 5
    assert np.abs(returned[inner]).max() < 0.4


def test_no_region_is_folded_or_lost_and_shapes_differ(anatomy):
    first, same, other = (deform(anatomy, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.regions, same.regions)
    assert first.regions.shape == other.regions.shape
    assert (first.regions != other.regions).mean() > 0.02
    volumes = [np.bincount(one.regions.ravel(), minlength=256) for one in (anatomy, first, other)]
    for value in np.flatnonzero(anatomy.target):
        before, after, again = (volume[value] for volume in volumes)
        if before > 200:
            assert 0.5 < after / before < 2 and 0.5 < again / before < 2
    changes = volumes[1][1:240] / np.maximum(volumes[0][1:240], 1)
    assert np.std(changes[volumes[0][1:240] > 200]) > 0.01


def test_the_velocity_is_smooth_enough_for_a_diffeomorphism(anatomy):
    nodes = tuple(round(size / cohort.NODE_MM) for size in anatomy.size_mm)
    steps = anatomy.size_mm / nodes
    for seed in range(3):
        velocity = cohort._velocity(anatomy, nodes, steps, np.random.default_rng(seed))
        displacement = exponential(velocity, steps)
        jacobian = np.stack([np.stack(np.gradient(part, *steps)) for part in displacement])
        jacobian += np.eye(3).reshape(3, 3, 1, 1, 1)
        determinant = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
        assert (determinant > 0).mean() > 0.999 and np.median(determinant) == pytest.approx(1, 0.3)


def test_a_patient_looks_like_a_ct_with_its_labels(anatomy):
    patient = simulate_patient(anatomy, SPACING, (0, 3))
    ct, labels = (sitk.GetArrayFromImage(image) for image in (patient.image, patient.labels))
    assert ct.shape == labels.shape and ct.dtype == np.int16 and labels.dtype == np.uint8
    assert patient.image.GetSpacing() == (4.0, 4.0, 9.0)
    assert ct.min() >= -1024 and set(np.unique(labels)) <= set(range(23))
    assert len(np.unique(labels)) > 15
    muscle, bone = np.isin(labels, range(4, 23)), np.isin(labels, (1, 2, 3))
    assert -30 < np.median(ct[muscle]) < 90
    assert np.median(ct[bone]) > np.median(ct[muscle]) + 20
    assert np.median(ct[:, 0]) < -900  # air around the body
    again = simulate_patient(anatomy, SPACING, (0, 3))
    assert np.array_equal(ct, sitk.GetArrayFromImage(again.image))
    other = simulate_patient(anatomy, SPACING, (0, 4))
    assert not np.array_equal(labels, sitk.GetArrayFromImage(other.labels))


def test_fat_under_the_skin_grows_into_the_room_beside_the_body():
    regions = np.zeros((12, 60, 60), np.uint8)
    regions[:, 6:-6, 6:-6] = 1
    regions[:, 20:-20, 20:-20] = 2
    tissue = np.zeros(256, np.uint8)
    tissue[[1, 2]] = Tissue.FAT, Tissue.MUSCLE
    block = RegionMap(regions, (4.0, 2.0, 2.0), tissue, np.zeros(256, np.uint8))

    class Fat(np.random.Generator):
        """All else at rest, and as much fat as there can be."""

        def uniform(self, low, high):
            return high if (low, high) == cohort.FAT_MM else 0.0

        def normal(self, *_):
            return 0.0

    grown = deform(block, Fat(np.random.PCG64(0)))
    fat, muscle = ((grown.regions == code).mean((1, 2)) * grown.regions[0].size for code in (1, 2))
    assert fat[6] > 1.4 * (regions[6] == 1).sum()
    assert muscle[6] < 1.25 * (regions[6] == 2).sum()  # most of it stays under the skin
    assert not grown.regions[:, 0].any() and not grown.regions[:, :, -1].any()


def test_the_command_writes_a_list_that_the_other_commands_read(anatomy, tmp_path, monkeypatch):
    monkeypatch.setattr(simulate_command, "read_anatomies", lambda source: {"one": anatomy,
                                                                            "two": anatomy})
    said = []
    with run_job(module="MuscleSeg", command="simulate", output=tmp_path / "out", seed=5,
                 progress="none") as job:
        simulate_command.run(job, simulate_command.Options(None, 4, SPACING, 1), said.append)
    content = json.loads((tmp_path / "out" / "datalist.json").read_text("utf-8"))
    assert content["simulated"] is True
    assert [entry["made_from"] for entry in content["training"]] == ["one", "two", "one"]
    parts = read_pairs(tmp_path / "out" / "datalist.json", "segmentation")
    assert [pair.patient for pair in parts["validation"]] == ["simulated 004"]
    pairs = parts["training"]
    assert len({pair.patient for pair in pairs}) == 3
    labels, segments = read_seg_nrrd(pairs[0].companion)
    assert [segment.identifier for segment in segments] == [s.name for s in STRUCTURES]
    assert labels.GetSize() == sitk.ReadImage(str(pairs[0].image)).GetSize()
    assert any("simulated" in warning for warning in job.warnings) and "4 simulated" in said[0]


def test_somebody_must_be_left_to_train_on(tmp_path):
    with pytest.raises(BadInput, match="Nobody is left"), run_job(
            module="MuscleSeg", command="simulate", output=tmp_path / "out",
            progress="none") as job:
        simulate_command.run(job, simulate_command.Options(None, 2, SPACING, 2), print)


def test_a_folder_without_label_maps_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"label\.mhd"):
        read_anatomies(tmp_path)
