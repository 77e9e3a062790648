# SPDX-License-Identifier: Apache-2.0
"""Where lesions are looked for: vessels, lung, brain, bone, or what a file says.

The regions are found by brightness and shape. They need not be exact; what lies in them must not be
missing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.cubes import on_cubes
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like, resample_like
from ReadingRoomLib.volume_files import read_volume_file

from .vesselness import vessel_mask

CUBE_MM = 2.5
LUNG_HU, LEAST_LUNG_ML = -500.0, 150.0
NODULE_MM = 10.0  # lesions and vessels of a lung up to about twice as wide belong to it
BONE_HU, BESIDE_BONE_HU, LEAST_BONE_ML = 250.0, 130.0, 5.0
LARGEST_MARROW_CM2 = 60.0  # in a slice; the skull encloses more, and that is brain
SOFT_HU = (-20.0, 120.0)
APART_MM = 5.0  # brain and what it hangs together with by less than twice as much are parted
BRAIN_ML = (250.0, 2200.0)
KINDS = ("vessels", "lung", "brain", "bone")
_MODALITIES = {"vessels": ("MR", "other"), "lung": ("CT",), "brain": ("CT", "MR"), "bone": ("CT",)}


def search_region(image: sitk.Image, kind: str | Path, modality: str) -> sitk.Image:
    """Where lesions are looked for.

    Args:
        image: any grid; CT in HU.
        kind: one of :data:`KINDS`, or a file: a mask or label map, of which what is not 0 counts.
        modality: "CT", "MR" or "other".

    Returns:
        uint8 on the image's grid: 1 inside, 0 elsewhere; never empty.

    Raises:
        BadInput: the region cannot be found in the image or does not suit it, or the file cannot
            be used.
    """
    if kind not in KINDS:
        return _from_file(image, Path(kind))
    if modality not in _MODALITIES[str(kind)]:
        raise BadInput(f"The region {kind} cannot be found in an image of modality {modality}: "
                       "choose another region, or give a file in which it is drawn.")
    finders: dict[str, Callable[[sitk.Image], sitk.Image]] = {
        "vessels": vessel_mask, "lung": _lung, "bone": _bone,
        "brain": _brain_ct if modality == "CT" else _brain_mr}
    return finders[str(kind)](image)


def parted(region: str) -> tuple[str, str]:
    """Of what kind a region is, and where it comes from.

    Args:
        region: a kind; a file or folder; or both, ``vessels=FILE``, which says how candidates are
            looked for in what the file draws.

    Returns:
        One of :data:`KINDS` or "other"; the same kind, or the file or folder.
    """
    kind, equals, place = region.partition("=")
    if equals and kind in KINDS:
        return kind, place
    return (region if region in KINDS else "other"), region


def place_of(region: str, image: Path) -> str | Path:
    """Where the region of an image comes from: a kind, or a file, in a folder that named as it."""
    _, place = parted(region)
    if place in KINDS:
        return place
    return Path(place) / image.name if Path(place).is_dir() else Path(place)


def _from_file(image: sitk.Image, path: Path) -> sitk.Image:
    if not path.is_file():
        raise BadInput(f"There is no region {path.name}: choose {', '.join(KINDS)}, or a file with "
                       "a mask.")
    labels = read_volume_file(path).image
    mask = drawn(labels)
    if not sitk.GetArrayViewFromImage(mask).any():
        raise BadInput(f"The region {path.name} is empty: draw where lesions are to be looked for.")
    mask = resample_like(mask, image)
    if not sitk.GetArrayViewFromImage(mask).any():
        raise BadInput(f"The region {path.name} lies outside the image: choose the one that was "
                       "drawn on it.")
    return mask


def drawn(mask: sitk.Image) -> sitk.Image:
    """uint8: 1 where a mask or label map is neither 0 nor without a value (NaN)."""
    return sitk.Cast((mask > 0) | (mask < 0), sitk.sitkUInt8)


def _none(kind: str) -> BadInput:
    return BadInput(f"No {kind} can be found in the image: choose another region, or give a file "
                    "in which it is drawn.")


def _cubes(image: sitk.Image, below: float) -> tuple[np.ndarray, sitk.Image]:
    """The image on coarse cubes; a voxel beyond it has the value ``below``."""
    cubes = on_cubes(sitk.Cast(image, sitk.sitkFloat32), CUBE_MM)
    return np.pad(sitk.GetArrayFromImage(cubes), 1, constant_values=below), cubes


def _on_grid(padded: np.ndarray, cubes: sitk.Image, image: sitk.Image) -> sitk.Image:
    """A mask of padded coarse cubes on the image's grid, with a smooth border."""
    share = image_like(padded[1:-1, 1:-1, 1:-1].astype(np.float32), cubes)
    return sitk.Cast(resample_like(share, image, "linear") > 0.5, sitk.sitkUInt8)


def _closed(mask: np.ndarray, radius_mm: float) -> np.ndarray:
    """Closing with a ball, by distances, which is quick for large balls."""
    room = int(np.ceil(radius_mm / CUBE_MM)) + 1
    padded = np.pad(mask, room)
    grown = ndimage.distance_transform_edt(~padded) * CUBE_MM <= radius_mm
    return (ndimage.distance_transform_edt(grown) * CUBE_MM > radius_mm)[(slice(room, -room),) * 3]


def _lung(image: sitk.Image) -> sitk.Image:
    """Air that the body encloses in axial slices, with what is dense inside it."""
    values, cubes = _cubes(image, -1000.0)
    body = ~_outside_air(values < LUNG_HU)
    parts, count = ndimage.label((values < LUNG_HU) & body)
    large = np.bincount(parts.ravel(), minlength=count + 1) * CUBE_MM**3 / 1000 > LEAST_LUNG_ML
    large[0] = False
    lung = large[parts]
    if not lung.any():
        raise _none("lung")
    return _on_grid(_closed(lung, NODULE_MM) & body, cubes, image)


def _outside_air(air: np.ndarray) -> np.ndarray:
    """Air that hangs together with the border of its axial slice."""
    outside = np.zeros_like(air)
    for plane, out in zip(air, outside, strict=True):
        parts, _ = ndimage.label(plane)
        border = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
        out[:] = np.isin(parts, np.setdiff1d(border, 0))
    return outside


def _bone(image: sitk.Image) -> sitk.Image:
    """Dense bone by hysteresis, and what it encloses in a slice but for the brain."""
    dense = sitk.DoubleThreshold(sitk.Cast(image, sitk.sitkFloat32), BESIDE_BONE_HU, BONE_HU,
                                 1e6, 1e6)
    voxel_ml = float(np.prod(image.GetSpacing())) / 1000
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(dense),
                                  max(1, int(LEAST_BONE_ML / voxel_ml)))
    bone = sitk.GetArrayFromImage(parts) > 0
    if not bone.any():
        raise _none("bone")
    pixel_cm2 = float(np.prod(image.GetSpacing()[:2])) / 100
    for plane in bone:
        holes, _ = ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)
        small = np.bincount(holes.ravel()) * pixel_cm2 <= LARGEST_MARROW_CM2
        small[0] = False
        plane |= small[holes]
    return image_like(bone.astype(np.uint8), image)


def _brain_ct(image: sitk.Image) -> sitk.Image:
    values, cubes = _cubes(image, -1000.0)
    skull = ndimage.binary_closing(values > BONE_HU, iterations=2)
    soft = (values > SOFT_HU[0]) & (values < SOFT_HU[1]) & ~skull
    return _on_grid(_largest_core(soft, "brain", skull), cubes, image)


def _brain_mr(image: sitk.Image) -> sitk.Image:
    lowest = float(sitk.GetArrayViewFromImage(image).min())
    values, cubes = _cubes(image, lowest)
    values = np.maximum(values, lowest)  # less is beyond the image
    bounded = np.minimum(values, np.percentile(values, 98))  # vessels and fat
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(bounded))
    return _on_grid(_largest_core(bounded > otsu.GetThreshold(), "brain"), cubes, image)


def _largest_core(tissue: np.ndarray, kind: str, bone: np.ndarray | None = None) -> np.ndarray:
    """The largest body that is left when thin connections are cut, with the holes in it filled.

    With ``bone`` it must lie within bone: most of its surface is near some.
    """
    depth = ndimage.distance_transform_edt(tissue) * CUBE_MM
    parts, count = ndimage.label(depth > APART_MM)
    if not count:
        raise _none(kind)
    core = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    body = (ndimage.distance_transform_edt(~core) * CUBE_MM <= APART_MM + CUBE_MM) & tissue
    body = _closed(body, NODULE_MM)
    volume = body.sum() * CUBE_MM**3 / 1000
    if not BRAIN_ML[0] < volume < BRAIN_ML[1]:
        raise _none(kind)
    if bone is not None:
        surface = ndimage.binary_dilation(body) & ~body
        surface[[0, -1]] = surface[:, [0, -1]] = surface[:, :, [0, -1]] = False
        apart = ndimage.distance_transform_edt(~bone) * CUBE_MM if bone.any() else None
        if apart is None or (apart[surface] <= 4 * CUBE_MM).mean() < 0.7:
            raise _none(kind)
    return body
