# SPDX-License-Identifier: Apache-2.0
"""Which series are judged, by what scanners write about them."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from HeadCTTriageLib.kernels import is_sharp
from HeadCTTriageLib.listen.choice import LEAST_SLICES, Series, describe

from .dicom_factory import write_enhanced, write_series

HEADS = Path(__file__).parents[3] / "shared" / "data" / "ct_head_volumes"
PLAIN = Series(slices=30, thickness_mm=5.0, tilt=18.0, agent="", kernel="H31s",
               description="Head 5.0", kinds=("ORIGINAL", "PRIMARY", "AXIAL"))


@pytest.mark.parametrize("kernel, sharp", [
    ("H31s", False), ("J40s", False), ("Hr40", False), ("Hr40f", False), ("STANDARD", False),
    ("SOFT", False), ("DETAIL", False), ("FC21", False), ("FC26", False), ("UB", False),
    ("B", False), ("C", False), ("", False), ("H60s", True), ("H70h", True), ("Hr59", True),
    ("Hr64", True), ("B75f", True), ("BONE", True), ("BONEPLUS", True), ("EDGE", True),
    ("FC30", True), ("FC81", True), ("D", True), ("YD", True), ("LUNG", True)])
def test_kernels_of_bone_are_told_from_others(kernel, sharp):
    assert is_sharp(kernel) is sharp
    assert is_sharp(kernel.lower()) is sharp


@pytest.mark.parametrize("change, reason", [
    ({}, None), ({"agent": "NONE"}, None), ({"kernel": ""}, None), ({"tilt": 30.0}, None),
    ({"agent": "Iohexol"}, "contrast agent"), ({"kernel": "H60s"}, "sharp kernel"),
    ({"slices": 1}, "only one slice"), ({"slices": LEAST_SLICES - 1}, "only 7 slices"),
    ({"tilt": 90.0}, "not axial"), ({"description": "CTA Head"}, "named"),
    ({"description": "Angio 0.6"}, "named"), ({"description": "Head Bone"}, "named"),
    ({"description": "Bonet, head"}, None),
    ({"kinds": ("DERIVED", "SECONDARY", "MIP")}, "projections"),
    ({"kinds": ("DERIVED", "SECONDARY", "AXIAL", "MPR")}, None)])
def test_series_are_refused_for_a_reason(change, reason):
    found = replace(PLAIN, **change).unsuitable()
    assert found is None if reason is None else reason in found


def test_thin_slices_are_better_but_not_any():
    order = [replace(PLAIN, thickness_mm=mm).rank for mm in (0.6, 1.0, 3.0, 5.0, 0.3, 8.0)]
    assert order == sorted(order)


def test_what_a_header_says_is_read(tmp_path):
    def edit(dataset, index):
        dataset.ConvolutionKernel = ["Hr40", "3"]
        dataset.ContrastBolusAgent = "Iohexol"
        dataset.SeriesDescription = "Head"

    turned = ((1.0, 0.0, 0.0), (0.0, np.cos(0.3), np.sin(0.3)))
    write_series(tmp_path, orientation=turned, edit=edit, thickness=4.0)
    found = describe(tmp_path)
    assert found == Series(8, 4.0, pytest.approx(np.degrees(0.3)), "Iohexol", "Hr40", "Head",
                           ("ORIGINAL", "PRIMARY", "AXIAL"))


def test_what_a_multi_frame_header_says_is_read(tmp_path):
    write_enhanced(tmp_path / "one.dcm", np.zeros((12, 24, 32), np.int16), range(12))
    found = describe(tmp_path)
    assert (found.slices, found.thickness_mm, found.tilt) == (12, 3.0, pytest.approx(0))


def test_a_header_without_a_place_is_told(tmp_path):
    write_series(tmp_path, edit=lambda dataset, index: delattr(dataset, "ImageOrientationPatient"))
    with pytest.raises(ValueError, match="no valid place"):
        describe(tmp_path)


@pytest.mark.skipif(not HEADS.is_dir(), reason="the real images are not here")
def test_a_real_head_is_suitable(tmp_path):
    with zipfile.ZipFile(HEADS / "dcm_qa_ct_GE_head_28slices_dicom.zip") as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        for number, name in enumerate(names):
            (tmp_path / f"{number}.dcm").write_bytes(archive.read(name))
    found = describe(tmp_path)
    assert found.unsuitable() is None and found.slices == 28 and 5 < found.tilt < 30
