# SPDX-License-Identifier: Apache-2.0
"""Where each point of one CT lies in another one, of another person.

By elastix, affine and then by B-splines, with Mattes' mutual information (Klein et al., "elastix: a
toolbox for intensity-based medical image registration", IEEE TMI 2010). The package itk-elastix is
imported when it is used.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like

WINDOW_HU = (-200.0, 500.0)
BODY_HU = -150.0
REGISTRATION_MM, FIELD_MM = 4.0, 8.0  # voxels that are registered, and of the displacement
GRID_MM, RESOLUTIONS, ITERATIONS, POINTS = 24, 3, 250, 2000  # of the B-splines, and of both stages
LEAST_SHARED = 0.5  # share of the shorter scan that must lie within the other
BODY_ROOM = 2  # voxels around the body that the registration looks at
NEEDED = ("The method multi-atlas needs the Python package itk-elastix: install it with "
          "pip install 'readingroom[atlas]'.")


def import_elastix() -> Any:
    """The package itk with elastix in it.

    Raises:
        BadInput: it is not installed.
    """
    try:
        import itk

        itk.elastix_registration_method  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise BadInput(NEEDED) from error
    return itk


def place(target: sitk.Image, other: sitk.Image) -> tuple[np.ndarray, float]:
    """How far a CT must be moved to show the same part of the body as another, roughly.

    The middles of the bodies are laid on each other, and the scans moved along each other: they may
    begin and end at different heights.

    Args:
        target, other: float32, HU clipped to the window, of large voxels.

    Returns:
        mm in LPS from a point of the target to that of the other; and the correlation of the two
        there, within the body, -1 to 1.
    """
    body = sitk.GetArrayFromImage(_body(target)) > 0
    values = sitk.GetArrayViewFromImage(target)
    middles = [_middle(image) for image in (target, other)]
    lengths = [image.GetDepth() * image.GetSpacing()[2] for image in (target, other)]
    found = (middles[1] - middles[0], -1.0)
    reach = max(lengths) / 2
    for along in np.arange(-reach, reach + 1, target.GetSpacing()[2]):
        move = middles[1] - middles[0] + [0, 0, along]
        moved = sitk.GetArrayFromImage(sitk.Resample(
            other, target, sitk.TranslationTransform(3, move.tolist()), sitk.sitkLinear, np.nan))
        both = body & ~np.isnan(moved)
        slices = both.any((1, 2)).sum() * target.GetSpacing()[2]
        if slices < LEAST_SHARED * min(lengths) or np.ptp(moved[both]) == 0:
            continue
        likeness = float(np.corrcoef(values[both], moved[both])[0, 1])
        if likeness > found[1]:
            found = move, likeness
    return found


def _middle(image: sitk.Image) -> np.ndarray:
    voxels = np.argwhere(sitk.GetArrayFromImage(_body(image)))
    return np.array(image.TransformContinuousIndexToPhysicalPoint(voxels.mean(0)[::-1].tolist()))


def register(target: sitk.Image, moving: sitk.Image, move: np.ndarray,
             seed: int = 0) -> sitk.Transform:
    """Find where each point of one CT lies in another.

    Args:
        target, moving: float32, HU clipped to the window, voxels of REGISTRATION_MM.
        move: where to begin, from :func:`place`.
        seed: of the points that are looked at.

    Returns:
        From points of the target to points of the moving image, mm in LPS.

    Raises:
        RuntimeError: they cannot be laid together.
    """
    itk = import_elastix()
    mask = _itk_image(sitk.BinaryDilate(_body(target), [BODY_ROOM] * 3))
    shifted = sitk.Image(moving)
    shifted.SetOrigin((np.array(moving.GetOrigin()) - move).tolist())
    moved = _itk_image(shifted)
    _, found = itk.elastix_registration_method(
        _itk_image(target), moved, fixed_mask=mask, parameter_object=_parameters(itk, seed),
        log_to_console=False)
    grid = _grid(target, FIELD_MM)
    for number in range(found.GetNumberOfParameterMaps()):
        for name, values in (("Size", grid.GetSize()), ("Spacing", grid.GetSpacing()),
                             ("Origin", grid.GetOrigin())):
            found.SetParameter(number, name, [str(value) for value in values])
    with tempfile.TemporaryDirectory() as folder:  # or it would be written where we are
        displacement = itk.transformix_deformation_field(moved, found, output_directory=folder,
                                                         log_to_console=False)
    return sitk.DisplacementFieldTransform(
        image_like(itk.GetArrayFromImage(displacement).astype(np.float64) + move, grid))


def _parameters(itk: Any, seed: int) -> Any:
    parameters = itk.ParameterObject.New()
    for stage in ("affine", "bspline"):
        own = dict(parameters.GetDefaultParameterMap(stage, RESOLUTIONS))
        own |= {name: (str(value),) for name, value in {
            "Metric": "AdvancedMattesMutualInformation", "ImageSampler": "RandomCoordinate",
            "NumberOfSpatialSamples": POINTS, "MaximumNumberOfIterations": ITERATIONS,
            "RandomSeed": seed + 1, "WriteResultImage": "false"}.items()}
        own["AutomaticTransformInitialization"] = ("false",)  # it begins where `place` says
        if stage == "bspline":
            own |= {"FinalGridSpacingInPhysicalUnits": (str(GRID_MM),),
                    "GridSpacingSchedule": [str(2**level) for level in
                                            reversed(range(RESOLUTIONS))]}
        parameters.AddParameterMap(own)
    return parameters


def windowed(volume: sitk.Image) -> sitk.Image:
    """A CT in HU as it is registered: float32, clipped to the window, voxels of 4 mm."""
    return coarse(sitk.Clamp(volume, sitk.sitkFloat32, *WINDOW_HU), REGISTRATION_MM)


def coarse(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """An image of larger voxels, smoothed as far as they need it."""
    sigmas = [max(0.3, spacing_mm / 2 - step / 2) for step in image.GetSpacing()]
    return sitk.Resample(sitk.SmoothingRecursiveGaussian(image, sigmas), _grid(image, spacing_mm),
                         sitk.Transform(), sitk.sitkLinear, WINDOW_HU[0])


def _grid(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """An empty image over the same part of the body, with cubic voxels."""
    size = [max(4, int(np.ceil(count * step / spacing_mm)))
            for count, step in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing([spacing_mm] * 3)
    grid.SetOrigin(image.GetOrigin())
    grid.SetDirection(image.GetDirection())
    return grid


def _body(image: sitk.Image) -> sitk.Image:
    opened = sitk.BinaryMorphologicalOpening(image > BODY_HU, [1, 1, 1])  # the table is thin
    return opened if sitk.GetArrayViewFromImage(opened).any() else image > WINDOW_HU[0] - 1


def _itk_image(image: sitk.Image) -> Any:
    itk = import_elastix()
    result = itk.GetImageFromArray(sitk.GetArrayFromImage(image))
    result.SetSpacing(image.GetSpacing())
    result.SetOrigin(image.GetOrigin())
    result.SetDirection(itk.matrix_from_array(np.reshape(image.GetDirection(), (3, 3))))
    return result
