# SPDX-License-Identifier: Apache-2.0
"""Accuracy of aligning two CTs, and processor time, against elastix with its own defaults.

The peer is itk-elastix (``pip install -e ".[bench]"``): its default rigid registration, and its
default B-spline registration after that. Without it only our own numbers are measured.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.images import read_image
from TemporalSubtractionLib.bone_parts import bone_parts
from TemporalSubtractionLib.bones import bone_mask
from TemporalSubtractionLib.deformation import with_soft_tissue
from TemporalSubtractionLib.follow_up import simulate_follow_up
from TemporalSubtractionLib.registration import find_motion

BONES = [*range(25, 51), *range(69, 79), *range(92, 117)]  # of TotalSegmentator's "total"
MOST_POINTS = 20_000
PEERS = {"elastix_rigid": ("rigid",), "elastix_bspline": ("rigid", "bspline")}

Points = np.ndarray  # (n, 3) mm, LPS
Register = Callable[[sitk.Image, sitk.Image], sitk.Transform]
"""Of the current and the prior CT; takes points of the former to those of the latter."""


def against_elastix(data: Path, seeds: tuple[int, ...] = (0,)) -> dict:
    """Errors and processor time of all methods on all pairs that are in ``data``, in turn."""
    methods = all_methods()
    return {name: _compared(methods, *pair) for name, pair in _pairs(data, seeds)}


def all_methods() -> dict[str, Register]:
    """By name, with elastix' own where it is installed."""
    methods: dict[str, Register] = {"ours": _ours, "ours_soft_tissue": _with_soft_tissue}
    if _has_elastix():
        methods |= {name: _elastix(maps) for name, maps in PEERS.items()}
    else:
        print('elastix: not measured. Install it with: pip install -e ".[bench]"', file=sys.stderr)
    return methods


def _compared(methods: dict[str, Register], current: sitk.Image, prior: sitk.Image, points: Points,
              truth: Points) -> dict:
    voxel = float(np.mean(current.GetSpacing()))
    result = {"points": len(points), "voxel_mm": round(voxel, 3),
              "before": _errors(points, truth, voxel)}
    for name, register in methods.items():
        started = time.process_time()  # of all threads; a shared machine's clock would mislead
        found = register(current, prior)
        moved = np.array([found.TransformPoint(point.tolist()) for point in points])
        result[name] = {**_errors(moved, truth, voxel),
                        "cpu_seconds": round(time.process_time() - started, 1)}
    for name in methods.keys() - {"ours"}:
        ratio = result[name]["cpu_seconds"] / result["ours"]["cpu_seconds"]
        result[name]["times_our_cpu_seconds"] = round(ratio, 2)
    return result


def _errors(points: Points, truth: Points, voxel: float) -> dict:
    apart = np.linalg.norm(points - truth, axis=1)
    return {"mean_mm": round(float(apart.mean()), 3),
            "mean_voxels": round(float(apart.mean()) / voxel, 3),
            "p95_mm": round(float(np.percentile(apart, 95)), 3)}


# --- pairs ---------------------------------------------------------------------------------------


def _pairs(data: Path, seeds: tuple[int, ...]) -> Iterator[tuple[str, tuple]]:
    lung = data / "ct_lung_longitudinal_pair_elastix"
    if lung.is_dir():
        yield "lung_pair", _lung_pair(lung)
    examples = data / "ct_totalsegmentator_examples"
    if not examples.is_dir():
        return
    ct = _ct(examples / "example_ct.nii.gz")
    labels = sitk.ReadImage(str(examples / "example_seg_fast_force_split.nii.gz"))
    array = sitk.GetArrayFromImage(labels)
    bones = sitk.GetImageFromArray(np.where(np.isin(array, BONES), array, 0))
    bones.CopyInformation(labels)
    thorax = _ct(examples / "aorta_case" / "ct.nii.gz")
    for seed in seeds:
        yield f"example_ct_{seed}", _simulated(ct, bones, seed)
        yield f"aorta_case_{seed}", _simulated(thorax, bone_parts(thorax), seed)


def _lung_pair(folder: Path) -> tuple:
    """Real scans of one patient, with corresponding points within the lung."""
    images, points = [], []
    for name in ("followup", "baseline"):
        image = _ct(folder / f"3DCT_lung_{name}.mha")
        lines = (folder / f"3DCT_lung_{name}.txt").read_text().split("\n")[2:]
        index = [[int(value) for value in line.split()] for line in lines if line.strip()]
        images.append(image)
        points.append(np.array([image.TransformIndexToPhysicalPoint(i) for i in index]))
    return (*images, *points)


def _simulated(prior: sitk.Image, bones: sitk.Image, seed: int) -> tuple:
    follow_up = simulate_follow_up(prior, bones, seed)
    index = np.argwhere(follow_up.bones > 0)
    if len(index) > MOST_POINTS:
        index = np.random.default_rng(seed).choice(index, MOST_POINTS, replace=False)
    points = np.array([prior.TransformIndexToPhysicalPoint(i[::-1].tolist()) for i in index])
    return follow_up.current, prior, points, points + follow_up.displacement[tuple(index.T)]


def _ct(path: Path) -> sitk.Image:
    return sitk.Cast(read_image(path, "CT").image, sitk.sitkFloat32)


# --- methods -------------------------------------------------------------------------------------


def _ours(current: sitk.Image, prior: sitk.Image) -> sitk.Transform:
    return find_motion(current, prior).transform(current)


def _with_soft_tissue(current: sitk.Image, prior: sitk.Image) -> sitk.Transform:
    motion = _ours(current, prior)
    bone = sitk.Resample(bone_mask(current), current, sitk.Transform(), sitk.sitkNearestNeighbor)
    before = sitk.Resample(bone_mask(prior), current, motion, sitk.sitkNearestNeighbor)
    return with_soft_tissue(current, prior, motion, bone | before)


def _has_elastix() -> bool:
    try:
        import itk

        return hasattr(itk, "elastix_registration_method")
    except ImportError:
        return False


def _elastix(maps: tuple[str, ...]) -> Register:
    def register(current: sitk.Image, prior: sitk.Image) -> sitk.Transform:
        import itk

        parameters = itk.ParameterObject.New()
        for name in maps:
            parameters.AddParameterMap(parameters.GetDefaultParameterMap(name))
        moving = _itk_image(prior)
        _, found = itk.elastix_registration_method(
            _itk_image(current), moving, parameter_object=parameters, log_to_console=False)
        with tempfile.TemporaryDirectory() as folder:  # or it would be written where we are
            field = itk.transformix_deformation_field(
                moving, found, output_directory=folder, log_to_console=False)
        return sitk.DisplacementFieldTransform(
            image_like(itk.GetArrayFromImage(field).astype(np.float64), current))

    return register


def _itk_image(image: sitk.Image):
    import itk

    result = itk.GetImageFromArray(sitk.GetArrayFromImage(image))
    result.SetSpacing(image.GetSpacing())
    result.SetOrigin(image.GetOrigin())
    result.SetDirection(itk.matrix_from_array(np.reshape(image.GetDirection(), (3, 3))))
    return result
