# SPDX-License-Identifier: Apache-2.0
"""Radiomic features of a tumour by the definitions of the IBSI, without and with N4.

The features are those of mirp (Zwanenburg et al., JOSS 2024), which is held against the reference
values of the Image Biomarker Standardisation Initiative (Zwanenburg et al., Radiology 2020) by its
authors, and by our tests.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import same_geometry
from ReadingRoomLib.logs import no_library_log

from .preparation import brain_mask, correct_bias, head_mask, on_grid, window

CLASSES = {"stat": "first order", "morph": "shape", "cm": "GLCM", "rlm": "GLRLM", "szm": "GLSZM",
           "dzm": "GLDZM", "ngt": "NGTDM", "ngl": "NGLDM"}
"""Classes of features, by the first part of a feature's name."""
OF_VALUES = ["statistics", "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm"]
OF_SHAPE = ["morphology"]
LEFT_OUT = {"morph_com", "morph_integ_int", "morph_moran_i", "morph_geary_c"}
"""Shape features that depend on grey values. mirp estimates the last two from random voxels, and
the error of that would be taken for an effect of N4."""
ARMS = ("without", "with")
"""Of the bias-field correction."""
FULL_SCALE = 1000.0  # what the window of the brain is scaled to
AROUND_MM = 12.0  # of the image that is kept around the tumour
LEAST_VOXELS = 64  # of the resampled tumour; fewer have no texture
KEPT = 0.5  # least share of a mask that must lie on its image
THICK = 3.0  # times the spacing: along slices that are thicker, texture is mostly interpolation
_SETTINGS_IN_NAME = re.compile(r"_(d1|a0\.0|3d|v_mrg|fbn|n\d+)(?=_|$)")
Features = dict[str, float]
"""Values by name, such as ``cm_contrast``; NaN where a feature cannot be computed."""


@dataclass(frozen=True)
class Recipe:
    """How features are computed.

    Attributes:
        spacing_mm: of the isotropic voxels that image (linear) and mask are resampled to; 0 for
            the voxels as scanned.
        bins: grey levels of the textures, between the lowest and highest value of the tumour
            (fixed bin number, as the IBSI advises for values without a unit).
    """

    spacing_mm: float = 1.0
    bins: int = 32

    def described(self) -> dict[str, str | float | int]:
        """All that was done, for a result."""
        return {
            "library": "mirp",
            "spacing_mm": self.spacing_mm,
            "interpolation": "image linear with anti-aliasing, mask linear and cut at 0.5"
                             if self.spacing_mm else "none",
            "normalisation": f"0 and {FULL_SCALE:g} are the percentiles of the brain that are shown"
                             " as black and white; nothing is cut off",
            "discretisation": f"fixed bin number, {self.bins}",
            "textures": "in three dimensions, matrices of all directions merged, distance 1",
        }


def both_arms(image: sitk.Image, mask: sitk.Image, sequence: str, recipe: Recipe = Recipe(),
              name: str = "The image") -> dict[str, Features]:
    """Features of a tumour without and with bias-field correction, all else alike.

    Args:
        image: of a head, values as scanned.
        mask: above 0 is tumour, see :func:`tumour_mask`.
        sequence: t1, t2 or t1c, by which the brain is found.
        recipe: how features are computed.
        name: of the image, for messages.

    Returns:
        Features by the names in :data:`ARMS`.

    Raises:
        BadInput: there is no head, or the tumour is too small.
    """
    head = head_mask(image)
    brain = brain_mask({sequence: image}, head)  # the same for both
    _check_size(mask, recipe, name)
    shape = shape_of_tumour(mask, recipe)
    shown = image, correct_bias(image, head)
    return {arm: shape | texture_of_tumour(normalised(one, brain), mask, recipe)
            for arm, one in zip(ARMS, shown, strict=True)}


def normalised(image: sitk.Image, brain: sitk.Image) -> sitk.Image:
    """The image as float32 on a scale that is 0 where the brain is black and FULL_SCALE in white.

    Args:
        image: any scale.
        brain: mask on the same grid.
    """
    low, high = window(image, brain)
    return (sitk.Cast(image, sitk.sitkFloat32) - low) * (FULL_SCALE / (high - low))


def tumour_mask(mask: sitk.Image, image: sitk.Image, labels: Collection[int] = (),
                name: str = "The mask") -> sitk.Image:
    """The tumour, uint8 on the grid of the image.

    Args:
        mask: labels, on any grid.
        image: whose tumour it is.
        labels: that are tumour; all above 0 when none are given.
        name: of the mask, for messages.

    Raises:
        BadInput: it is empty, or lies mostly beside the image.
    """
    values = sitk.GetArrayViewFromImage(mask)
    chosen = np.isin(values, list(labels)) if labels else values > 0
    if not chosen.any():
        wanted = f" with the label {' or '.join(map(str, labels))}" if labels else ""
        raise BadInput(f"{name} marks no voxel{wanted}: choose the mask of the tumour.")
    tumour = sitk.GetImageFromArray(chosen.astype(np.uint8))
    tumour.CopyInformation(mask)
    if same_geometry(mask, image):
        return tumour
    moved = on_grid(tumour, image, nearest=True)
    before, after = (_millilitres(each) for each in (tumour, moved))
    if after < KEPT * before:
        raise BadInput(f"{name} does not lie on its image: choose the mask of the same scan.")
    return moved


def shape_of_tumour(mask: sitk.Image, recipe: Recipe = Recipe()) -> Features:
    """Shape features of a mask, uint8, 1 is tumour; see :data:`LEFT_OUT`."""
    flat = sitk.Cast(mask, sitk.sitkFloat32) * 0  # no grey values, of which the others would be
    with np.errstate(invalid="ignore"):
        found = _features(flat, mask, recipe, OF_SHAPE)
    return {name: value for name, value in found.items() if name not in LEFT_OUT}


def texture_of_tumour(image: sitk.Image, mask: sitk.Image, recipe: Recipe = Recipe()) -> Features:
    """First-order and texture features of the voxels of a mask.

    Args:
        image: of any values.
        mask: uint8, 1 is tumour, on the same grid.
        recipe: how they are computed.
    """
    return _features(image, mask, recipe, OF_VALUES)


def class_of(feature: str) -> str:
    """The class of a feature by its name, one of those in :data:`CLASSES`."""
    return CLASSES[feature.split("_")[0]]


def _check_size(mask: sitk.Image, recipe: Recipe, name: str) -> None:
    spacing = recipe.spacing_mm or float(np.prod(mask.GetSpacing()) ** (1 / 3))
    count = 1000 * _millilitres(mask) / spacing**3
    if count < LEAST_VOXELS:
        raise BadInput(f"The tumour in {name} has only {count:.0f} voxels of {spacing:.3g} mm, too "
                       "few for textures: choose a smaller spacing (--spacing), or leave it out.")


def _features(image: sitk.Image, mask: sitk.Image, recipe: Recipe,
              families: list[str]) -> Features:
    """What mirp computes, its names without what the recipe says already."""
    from mirp import extract_features
    from mirp.data_import.import_image import import_image
    from mirp.data_import.import_mask import import_mask

    image, mask = _around_tumour(image, mask)
    given = (*import_image(sitk.GetArrayFromImage(image).astype(np.float32)),
             *import_mask(sitk.GetArrayFromImage(mask)))
    for one in given:  # arrays have no spacing of their own
        one.image_spacing = tuple(image.GetSpacing()[::-1])
    with no_library_log():  # mirp's would go to standard output
        table, = extract_features(
            image=given[0], mask=given[1], write_features=False, export_features=True,
            new_spacing=recipe.spacing_mm or None, spline_order=1,
            base_feature_families=families, base_discretisation_method="fixed_bin_number",
            base_discretisation_n_bins=recipe.bins, glcm_spatial_method="3d_volume_merge",
            glrlm_spatial_method="3d_volume_merge")
    return {_SETTINGS_IN_NAME.sub("", name): float(value)
            for name, value in table.iloc[0].to_dict().items() if name.split("_")[0] in CLASSES}


def _around_tumour(image: sitk.Image, mask: sitk.Image) -> tuple[sitk.Image, sitk.Image]:
    """Both, cut to a box around the tumour: the rest would only be resampled for nothing."""
    inside = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
    more = np.ceil(AROUND_MM / np.array(image.GetSpacing())).astype(int)
    low = np.maximum(inside.min(0) - more, 0)
    high = np.minimum(inside.max(0) + more + 1, image.GetSize())
    return tuple(sitk.RegionOfInterest(each, (high - low).tolist(), low.tolist())
                 for each in (image, mask))


def _millilitres(mask: sitk.Image) -> float:
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(mask))
                 * np.prod(mask.GetSpacing()) / 1000)
