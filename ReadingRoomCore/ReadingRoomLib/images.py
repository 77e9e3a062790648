# SPDX-License-Identifier: Apache-2.0
"""Reading the image that a computation works on, and refusing what would give a wrong answer.

:func:`read_image` takes what clinicians have (a DICOM folder or one of its files, NIfTI, NRRD,
MetaImage) and returns a volume whose geometry and values can be relied on, or says in one
sentence why not and what to do. Messages name the file, the folder or the series number, never
what a header says about the patient.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .dicom_series import read_dicom
from .errors import BadInput
from .geometry import AIR_HU, image_like, shear_degrees, unshear
from .volume_files import RawVolume, file_format, read_volume_file

CT_OFFSET = -1024
"""Rescale intercept of nearly all CT scanners that store unsigned values, in HU."""

MAX_UNKNOWN_FRACTION = 0.001
"""Of the voxels; so many without a value (NaN, infinite) are replaced, more are refused."""

_VOXEL_SIZES_MM = (0.01, 30.0)
_SAMPLES = 1_000_000
_AIR_TOLERANCE_HU = 75
_FAT_HU = -100
_SHEAR_DEGREES = 0.1


@dataclass
class ImageInput:
    """A volume that was read and found usable.

    Attributes
    ----------
    image : SimpleITK.Image
        3D, one component, LPS, mm. CT: int16 Hounsfield units. The grid is the stored one, with
        its orientation; only a gantry tilt and uneven slices are resampled, which a warning says.
    name : str
        Name of the file or folder.
    warnings : list of str
        One sentence each about what was corrected or should be looked at.
    sha256 : str
        Of voxels and geometry, whatever the file format.
    acquired, patient, age
        As of :class:`~ReadingRoomLib.volume_files.RawVolume`: to compare two scans with each other,
        and to know a child; never to be written or shown.
    kernel : str
        Of the reconstruction, as the scanner names it; empty when it is not known.
    """

    image: sitk.Image
    name: str
    warnings: list[str] = field(default_factory=list)
    sha256: str = ""
    acquired: datetime.date | None = field(default=None, repr=False)
    patient: str | None = field(default=None, repr=False)
    age: float | None = field(default=None, repr=False)
    kernel: str = ""


def read_image(path: str | os.PathLike, modality: str = "CT") -> ImageInput:
    """Read a volume.

    Parameters
    ----------
    path : path
        Folder with one DICOM series; or one file of a series, which means the whole series
        beside it; or a NIfTI, NRRD or MetaImage file.
    modality : str
        What the computation is made for, as DICOM names it: ``"CT"``, ``"MR"``.

    Raises
    ------
    BadInput
        When the image cannot be used; the message says what to do.
    """
    path = Path(os.path.abspath(path))  # so that "." has a name
    if not path.exists():
        raise BadInput(f"{path.name} cannot be found: check its name.")
    if path.is_dir() or file_format(path) == "DICOM":
        raw = read_dicom(path, modality)
    else:
        raw = read_volume_file(path)
    image, warnings = _checked(raw, path.name, modality)
    return ImageInput(image, path.name, warnings, image_sha256(image), raw.acquired, raw.patient,
                      raw.age, raw.kernel)


def image_sha256(image: sitk.Image) -> str:
    """Return the SHA-256 over size, spacing, origin, direction, voxel type and voxels."""
    numbers = [*image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()]
    digest = hashlib.sha256(image.GetPixelIDTypeAsString().encode())
    digest.update(struct.pack("<3Q", *image.GetSize()))
    digest.update(struct.pack(f"<{len(numbers)}d", *[value + 0.0 for value in numbers]))
    for plane in sitk.GetArrayViewFromImage(image):
        digest.update(np.ascontiguousarray(plane))
    return digest.hexdigest()


def _checked(raw: RawVolume, name: str, modality: str) -> tuple[sitk.Image, list[str]]:
    image, warnings = raw.image, list(raw.warnings)
    _check_geometry(image, name)
    values = _sample(image)
    if values.size == 0 or values.min() == values.max():
        raise BadInput(f"{name} is empty, all its voxels are the same: choose another image.")
    offset = 0
    if modality == "CT":
        offset = _offset_to_hounsfield(values, raw, name, warnings)
        _check_body(values + offset, name)
    image = _lean(image, name, modality, offset, warnings)
    tilt = shear_degrees(image)
    if tilt > _SHEAR_DEGREES:
        image = unshear(image, fill=float(sitk.GetArrayViewFromImage(image).min()))
        warnings.append(
            f"{name} was scanned with the gantry tilted by {tilt:.1f} degrees: "
            "its slices were shifted into line."
        )
    return image, warnings


def _check_geometry(image: sitk.Image, name: str) -> None:
    smallest, largest = min(image.GetSpacing()), max(image.GetSpacing())
    if smallest < _VOXEL_SIZES_MM[0] or largest > _VOXEL_SIZES_MM[1]:
        raise BadInput(
            f"{name} has voxels of {smallest:g} to {largest:g} mm, which no scan of a patient "
            "has: export it again with its voxel size in millimetres."
        )
    if abs(np.linalg.det(np.reshape(image.GetDirection(), (3, 3)))) < 0.5:
        raise BadInput(f"{name} gives no valid directions of its axes: export it again.")


def _sample(image: sitk.Image) -> np.ndarray:
    """Return about a million of the voxels, evenly spread, those without a value left out."""
    values = sitk.GetArrayViewFromImage(image).reshape(-1)
    step = max(values.size // _SAMPLES, 1) | 1  # odd, so that not every sample is of one column
    values = values[::step].astype(np.float32)
    return values[np.isfinite(values)]


def _offset_to_hounsfield(
    values: np.ndarray, raw: RawVolume, name: str, warnings: list[str]
) -> int:
    """Return what must be added to the values to make them Hounsfield units: 0 or CT_OFFSET.

    A CT whose DICOM header lost its rescale values is trusted when its values are plausible as
    they are, or after the usual offset: air must then be where air belongs. The same goes for
    rescale values that leave neither air nor fat below zero, as some exports reset them to 1 and
    0. Without a header that says CT, nothing is guessed: an MR could pass for a CT that lost its
    offset.
    """
    if raw.calibrated and values.min() < _FAT_HU:
        return 0
    from_ct_scanner = raw.modality == "CT"
    if looks_like_hounsfield(values):
        if from_ct_scanner:
            warnings.append(
                f"{name} has no valid calibration to Hounsfield units; "
                "its values look like Hounsfield units and are taken as such."
            )
        return 0
    shifted = values + CT_OFFSET
    air = shifted[shifted < -500]
    if (
        from_ct_scanner
        and looks_like_hounsfield(shifted)
        and air.size
        and abs(float(np.median(air)) - AIR_HU) < _AIR_TOLERANCE_HU
    ):
        warnings.append(
            f"{name} has no valid calibration to Hounsfield units; the usual "
            f"{CT_OFFSET} was added, so densities may be off by some tens of units."
        )
        return CT_OFFSET
    low, high = np.percentile(values, [0.1, 99.9])
    raise BadInput(
        f"{name} does not look like Hounsfield units (its values run from {low:g} to {high:g}): "
        "choose a CT with its original values, not an MR, a label map or a windowed picture."
    )


def looks_like_hounsfield(values: np.ndarray) -> bool:
    """Return whether the values of a CT's voxels are plausible as Hounsfield units.

    Plausible is: air and soft tissue, or, in a CT cropped within the body, fat and soft tissue
    without a pile of voxels at the lowest value, as windowing leaves it; and next to nothing
    that is lighter than vacuum but for one padding value.

    Parameters
    ----------
    values : ndarray
        Finite values of voxels from all over the image.
    """
    too_light = values[values < -1100]
    if too_light.size:
        _, counts = np.unique(too_light, return_counts=True)
        if too_light.size - counts.max() > 0.05 * values.size:
            return False
    air = np.mean(values < -200)
    fat = np.mean((values >= -140) & (values <= -60))
    soft_tissue = np.mean((values > -60) & (values <= 150))
    windowed = np.mean(values == values.min()) >= 0.01
    with_air = air >= 0.001 and fat + soft_tissue >= 0.005
    within_body = fat >= 0.01 and soft_tissue >= 0.05 and not windowed
    only_air = air >= 0.999  # said in a sentence of its own, see _check_body
    return bool(with_air or within_body or only_air)


def _check_body(values: np.ndarray, name: str) -> None:
    if np.mean(values > -300) < 0.001:
        raise BadInput(f"{name} shows nothing but air: choose an image with the patient in it.")


def _lean(
    image: sitk.Image, name: str, modality: str, offset: int, warnings: list[str]
) -> sitk.Image:
    """Return a CT as int16, anything else as it is or as float32, without NaN and infinity.

    Rounding a CT to whole Hounsfield units is far below its noise. What is int16 already is not
    copied, and of nothing else is more than one copy made at a time.
    """
    is_ct = modality == "CT"
    if image.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64):
        return _lean_float(image, name, is_ct, offset, warnings)
    if not is_ct or (image.GetPixelID() == sitk.sitkInt16 and not offset):
        return image
    return sitk.ShiftScale(image, float(offset), 1.0, sitk.sitkInt16)  # cuts off at the limits


def _lean_float(
    image: sitk.Image, name: str, is_ct: bool, offset: int, warnings: list[str]
) -> sitk.Image:
    planes = sitk.GetArrayViewFromImage(image)
    lean = np.empty(planes.shape, np.int16 if is_ct else np.float32)
    limits = np.iinfo(np.int16)
    unknown = 0
    for plane, target in zip(planes, lean, strict=True):
        known = np.isfinite(plane)
        unknown += plane.size - int(np.count_nonzero(known))
        if is_ct:
            plane = np.where(known, plane + offset, AIR_HU)
            plane = np.clip(np.rint(plane), limits.min, limits.max)
        else:
            plane = np.where(known, plane, 0.0)
        target[...] = plane
    if unknown > MAX_UNKNOWN_FRACTION * planes.size:
        raise BadInput(
            f"{name} has no value (NaN or infinite) in {unknown / planes.size:.1%} of its voxels: "
            "export it again."
        )
    if unknown:
        warnings.append(
            f"{name} has no value (NaN or infinite) in {unknown} voxels: "
            f"{'air' if is_ct else 'zero'} was put there."
        )
    result = image_like(lean, image)
    return result
