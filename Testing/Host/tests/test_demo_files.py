# SPDX-License-Identifier: Apache-2.0
"""The demo's own work on files: which planes it shows, and the scene it makes without the host."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk

from demo.pictures import Planes, halved
from MuscleSegLib.structures import STRUCTURES
from ReadingRoomLib.phantoms.pelvis import simulate_pelvis
from ReadingRoomLib.segmentation_files import SegmentDescription, write_seg_nrrd

SPACING = (6.0, 6.0, 10.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder as the command leaves it, with the phantom's truth as the result."""
    folder = tmp_path_factory.mktemp("Müller CT")
    phantom = simulate_pelvis({s.name: s.value for s in STRUCTURES}, SPACING)
    segments = [SegmentDescription(s.value, s.name, s.display_name, s.color) for s in STRUCTURES]
    sitk.WriteImage(phantom.image, str(folder / "ct.nii.gz"))
    sitk.WriteImage(phantom.labels, str(folder / "labels.nrrd"))
    sitk.WriteImage(
        sitk.Cast(phantom.labels, sitk.sitkFloat32) / 22.0, str(folder / "uncertainty.nrrd")
    )
    write_seg_nrrd(folder / "segmentation.seg.nrrd", phantom.labels, segments)
    return folder


def test_the_scene_is_made_without_panel_and_pictures(folder):
    """In a process of its own, as in the demo: no host is started and no Qt is imported."""
    script = (
        "import sys; from pathlib import Path\n"
        "from demo.sample import Sample; from demo.without_host import _write_scene\n"
        "folder = Path(sys.argv[1])\n"
        "_write_scene(Sample(folder / 'ct.nii.gz', 'Some CT', ''), folder)\n"
        "assert not [name for name in sys.modules if name.startswith('PySide6')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / "scene.mrb") as bundle:
        names = "\n".join(bundle.namelist())
    for part in (".mrml", "Some CT.nrrd", "Some CT muscles.seg.nrrd", "Some CT uncertainty.nrrd"):
        assert part in names


def test_a_plane_is_chosen_that_shows_many_structures(folder):
    planes = Planes(folder / "labels.nrrd")
    shown = len(np.unique(planes.labels[:, :, planes.best(2)])) - 1
    counts = [len(np.unique(planes.labels[:, :, k])) - 1 for k in range(planes.labels.shape[2])]
    assert shown >= 0.75 * max(counts)


def test_the_picture_is_centred_on_what_was_found(folder):
    right, anterior, superior = Planes(folder / "labels.nrrd").centre_of(2)
    assert abs(right) < SPACING[0]  # the phantom is the same on both sides
    assert -60 < anterior < 60
    assert -300 < superior < 150


def test_all_that_was_found_fits_into_the_picture(folder):
    planes = Planes(folder / "labels.nrrd")
    extent = (planes.last - planes.first + 1) * np.array(SPACING)
    for axis, (across, upward) in {0: (1, 2), 1: (0, 2), 2: (0, 1)}.items():
        width = planes.field_of_view(axis, (960, 640))
        assert width > extent[across]
        assert width * 640 / 960 > extent[upward]


def test_halving_takes_the_mean_of_four_pixels():
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[0, 0] = 200
    assert halved(picture).tolist() == [[[50, 50, 50], [0, 0, 0]]]
