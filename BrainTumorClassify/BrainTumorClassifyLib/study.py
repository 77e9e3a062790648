# SPDX-License-Identifier: Apache-2.0
"""Reading the sequences of a patient, brought onto one grid and checked against each other."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.dicom_series import files_below
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import ImageInput, image_sha256, looks_like_hounsfield, read_image
from ReadingRoomLib.volume_files import file_format, quiet

from .alignment import GOOD_AGREEMENT, UNMOVED, align
from .brain_only import black_outside, cut_off, kept_brain
from .enhancement import exchanged, missing_agent
from .preparation import (
    brain_mask,
    coarse,
    correct_bias,
    everywhere,
    head_mask,
    on_grid,
    window,
)
from .sequences import LEAST_SLICES, NAMES, SEQUENCES, Choice, assign, find_series

HEAD_MM = (80.0, 320.0)  # across: of a head in a narrow field, and of one with its headrest
LONGEST = 1.8  # times that; with the neck it is 1.3, of a leg 2.4
FEWEST_VALUES = 24  # different ones; label maps have fewer
MOVED_MM = 10.0  # more than patients mostly move between two sequences


@dataclass(frozen=True)
class Study:
    """The sequences of one patient on one grid.

    Attributes:
        images: by sequence, float32, values as scanned, all on the grid of the contrast-enhanced T1
            (of the first of T1 and T2 where that is missing); 0 where a sequence does not reach,
            and black, see ``windows``, where skull and scalp were taken away.
        head, brain: masks on that grid, uint8.
        covered: by sequence, where it reaches, uint8.
        windows: by sequence, the values that are shown as 0 and 1.
        displacements_mm: by sequence, how far it was moved, mean over the head.
        missing: sequences that there are not.
        warnings: sentences for the user.
        names: by sequence, of its file or series.
        sha256: by sequence, of what was read.
        choices: by sequence, how it was recognised; empty when the user named files.
        cut_off: what enhances and was taken away although it goes on in what was kept, uint8; None
            where nothing was taken away.
    """

    images: dict[str, sitk.Image]
    head: sitk.Image
    brain: sitk.Image
    covered: dict[str, sitk.Image]
    windows: dict[str, tuple[float, float]]
    displacements_mm: dict[str, float]
    missing: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)
    cut_off: sitk.Image | None = None

    @property
    def reference(self) -> sitk.Image:
        """The image whose grid all have."""
        return self.images[_reference(self.images)]


def read_study(paths: Mapping[str, str | os.PathLike] | str | os.PathLike,
               may_be_missing: Collection[str] = (), bias_field: bool = False,
               seed: int = 0, brain_only: bool = False) -> Study:
    """Read the sequences of a patient.

    Args:
        paths: by sequence, a file (NIfTI, NRRD, MetaImage), a DICOM folder of one series or a file
            of it; or the DICOM folder of a whole study, whose series are recognised.
        may_be_missing: sequences that the model can do without.
        bias_field: whether to take the bias field out by N4.
        seed: of the alignment.
        brain_only: whether to make black what is neither brain nor dura nor a tumour on them.

    Raises:
        BadInput: something that cannot be judged; the sentence says what to do.
    """
    choices: dict[str, Choice] = {}
    warnings = []
    if isinstance(paths, Mapping):
        given = {name: Path(os.path.abspath(path)) for name, path in paths.items() if path}
        _check_names(given)
    else:
        choices = assign(find_series(_folder(paths)))
        given = {name: choice.series.path for name, choice in choices.items() if choice.series}
        warnings += [f"{NAMES[name]}: {choice.reason} Check that it is the right one."
                     for name, choice in choices.items()
                     if choice.series and choice.certainty != "sure"]
    _check_missing(given, may_be_missing)
    inputs = {name: read_image(given[name], "MR") for name in SEQUENCES if name in given}
    warnings += _check_patients(inputs, {name: _born(path) for name, path in given.items()})
    study = make_study({name: one.image for name, one in inputs.items()}, may_be_missing,
                       bias_field, seed, {name: one.name for name, one in inputs.items()},
                       brain_only=brain_only)
    warnings += [warning for one in inputs.values() for warning in one.warnings]
    names = {name: choices[name].series.label if choices else one.name
             for name, one in inputs.items()}
    return Study(**{**vars(study), "warnings": warnings + study.warnings, "names": names,
                    "choices": choices})


def make_study(images: Mapping[str, sitk.Image], may_be_missing: Collection[str] = (),
               bias_field: bool = False, seed: int = 0,
               names: Mapping[str, str] | None = None, aligned: bool = False,
               brain_only: bool = False) -> Study:
    """Bring the sequences of a patient onto one grid, and check them.

    Args:
        images: by sequence, 3D, LPS, any grids.
        may_be_missing, bias_field, seed, brain_only: as for :func:`read_study`.
        names: by sequence, for messages.
        aligned: whether the sequences lie on each other already, so that none is moved.

    Raises:
        BadInput: as :func:`read_study`.
    """
    _check_missing(images, may_be_missing)
    names = dict(NAMES) | dict(names or {})
    images = {name: images[name] for name in SEQUENCES if name in images}
    sha256 = {name: image_sha256(image) for name, image in images.items()}
    _check_twice(sha256, names)
    heads = {name: _checked_head(image, names[name]) for name, image in images.items()}
    main = _reference(images)
    fixed, head = sitk.Cast(images[main], sitk.sitkFloat32), heads[main]
    shown, covered, moved, warnings = {}, {}, {}, []
    for name, image in images.items():
        if name == main:
            shown[name], covered[name], moved[name] = fixed, everywhere(fixed), 0.0
            continue
        alignment = UNMOVED if aligned else align(fixed, image, head, names[name], seed)
        shown[name] = on_grid(image, fixed, alignment.transform)
        covered[name] = on_grid(everywhere(image), fixed, alignment.transform, nearest=True)
        moved[name] = alignment.displacement_mm
        if alignment.displacement_mm > MOVED_MM:
            warnings.append(f"{names[name]} was moved by {alignment.displacement_mm:.0f} mm onto "
                            f"{names[main]}: check that they lie on each other.")
        if alignment.agreement_after < GOOD_AGREEMENT:
            warnings.append(f"{names[name]} has little in common with {names[main]}: check that "
                            "they are of one patient and lie on each other.")
    brain = brain_mask(shown, head)
    warnings += exchanged(shown, brain, names)
    warnings += missing_agent(shown, brain, names)
    if bias_field:
        shown = {name: correct_bias(image, head) for name, image in shown.items()}
    windows = {name: window(image, brain) for name, image in shown.items()}
    missing = tuple(name for name in SEQUENCES if name not in images)
    study = Study(shown, head, brain, covered, windows, moved, missing, warnings, names, sha256)
    return without_skull(study) if brain_only else study


def without_skull(study: Study) -> Study:
    """The study without skull and scalp; as it was, with a warning, where no brain was found."""
    if (_array(study.brain) == _array(study.head)).all():
        warning = "The brain was not found, so that skull and scalp were left in the images."
        return replace(study, warnings=[*study.warnings, warning])
    kept = kept_brain(study.images, study.brain)
    images = {name: black_outside(image, kept, study.windows[name][0])
              for name, image in study.images.items()}
    return replace(study, images=images, cut_off=cut_off(study.images, study.brain, kept))


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayViewFromImage(image)


def _reference(images: Mapping[str, object]) -> str:
    return next(name for name in ("t1c", "t1", "t2") if name in images)


# What was given


def _folder(path: str | os.PathLike) -> Path:
    folder = Path(os.path.abspath(path))
    if not folder.is_dir():
        raise BadInput(f"{folder.name} is not a folder: choose the DICOM folder of the study, or "
                       "name one file for each sequence.")
    return folder


def _check_names(given: Mapping[str, Path]) -> None:
    unknown = sorted(set(given) - set(SEQUENCES))
    if unknown:
        raise BadInput(f"There is no sequence named {unknown[0]}: name t1, t2 and t1c.")
    seen: dict[Path, str] = {}
    for name, path in given.items():
        other = seen.setdefault(path.resolve(), name)
        if other != name:
            raise _twice(other, name)


def _twice(first: str, second: str) -> BadInput:
    return BadInput(f"The same image was given as {NAMES[first]} and as {NAMES[second]}: choose "
                    "one image for each sequence.")


def _check_twice(sha256: Mapping[str, str], names: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for name, value in sha256.items():
        other = seen.setdefault(value, name)
        if other != name:
            raise _twice(other, name)


def _check_missing(given: Mapping[str, object], may_be_missing: Collection[str]) -> None:
    if not given:
        raise BadInput("No sequence was given: choose T1, T2 and contrast-enhanced T1.")
    lacking = [name for name in SEQUENCES if name not in given and name not in may_be_missing]
    if lacking:
        raise BadInput(f"{' and '.join(map(NAMES.get, lacking))} is missing, and this model needs "
                       "it: choose it, or a model that was trained to do without.")


def _check_patients(inputs: Mapping[str, ImageInput],
                    born: Mapping[str, str]) -> list[str]:
    """Refuse sequences of different patients; nothing of what is compared is kept."""
    numbers = {one.patient for one in inputs.values() if one.patient}
    births = {day for day in born.values() if day}
    if len(births) > 1 or (len(numbers) > 1 and not births):
        raise BadInput("The sequences are of different patients: choose those of one.")
    warnings = []
    if len(numbers) > 1:
        warnings.append("The sequences carry different patient numbers but the same date of birth: "
                        "check that they are of one patient.")
    if len({one.acquired for one in inputs.values() if one.acquired}) > 1:
        warnings.append("The sequences were not taken on the same day: a tumour may have changed "
                        "between them.")
    return warnings


def _born(path: Path) -> str:
    """Date of birth in a DICOM file, or in the first one of a folder; empty where there is none."""
    import pydicom

    files = files_below(path) if path.is_dir() else [path]
    file = next((file for file in files if file_format(file) == "DICOM"), None)
    if file is None:
        return ""
    with quiet():
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True,
                                     specific_tags=["PatientBirthDate"])
            return str(header.get("PatientBirthDate") or "").strip()
        except Exception:  # over damaged files pydicom raises a dozen kinds
            return ""


# What the images show


def _checked_head(image: sitk.Image, name: str) -> sitk.Image:
    """The head in an image, when it is one as MRI shows it."""
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise BadInput(f"{name} is not a volume with one value per voxel: choose an MRI series.")
    if min(image.GetSize()) < LEAST_SLICES:
        raise BadInput(f"{name} has only {min(image.GetSize())} slices: choose a series that shows "
                       "the whole tumour.")
    values = sitk.GetArrayViewFromImage(image)
    if not np.isfinite(values).all():
        raise BadInput(f"{name} has no value (NaN or infinite) in some voxels: export it again.")
    some = values.ravel()[:: max(1, values.size // 200_000) | 1]
    if len(np.unique(some)) < FEWEST_VALUES:
        raise BadInput(f"{name} has too few different values for an image, as a segmentation has: "
                       "choose an MRI of the brain.")
    if some.min() < -500 and looks_like_hounsfield(some.astype(np.float32)):
        raise BadInput(f"{name} is a CT: choose an MRI of the brain.")
    try:
        head = head_mask(image)
    except BadInput:
        raise BadInput(f"{name} shows nothing against its background: choose an MRI of the brain."
                       ) from None
    extents = _extents(head)
    across = extents[:2]
    if (not HEAD_MM[0] <= across.min() <= across.max() <= HEAD_MM[1]
            or extents[2] > LONGEST * across.max()):
        raise BadInput(f"{name} shows something of {extents[0]:.0f} x {extents[1]:.0f} x "
                       f"{extents[2]:.0f} mm, which is not a head: choose an MRI of the brain.")
    return head


def _extents(mask: sitk.Image) -> np.ndarray:
    """Of a mask along L, P and S, mm."""
    mask = coarse(mask, 4.0)
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0.5)[:, ::-1]
    points = index * np.array(mask.GetSpacing()) @ np.reshape(mask.GetDirection(), (3, 3)).T
    return np.ptp(points, axis=0)
