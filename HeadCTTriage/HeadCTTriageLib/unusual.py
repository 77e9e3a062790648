# SPDX-License-Identifier: Apache-2.0
"""What makes a head unlike those that the models know, so that they must not be believed."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.volume_files import quiet

from .brain import BONE_HU, CUBE_MM, LEAST_BRAIN_ML, Brain
from .kernels import is_sharp
from .motion import motion_mm

METAL_HU, METAL_ML = 2500.0, 0.3
NEAR_MM = 25.0  # from the brain, where metal is more than a tooth's filling
VESSEL_HU, VESSEL_ML = (100.0, 300.0), 6.0  # dense and not bone; fresh blood has 90 HU at most
DEEP_MM = 9.0  # below the skull, where its edge does not reach
ADULT_YEARS = 16.0
MOST_MOTION_MM = 1.2  # heads that lay still have 0.5 at most
BRAIN_HU = (-60.0, 130.0)  # with noise
MOST_NOISE_HU = 7.0  # in slices as they are judged; those that the models saw have 5 at most
OPEN_MM, MOST_OPEN = 15.0, 0.04  # of the vault without bone near it
"""Share of the surface of the upper half; real heads whose skull is whole have 0.01 at most."""


def unusual_features(ct: sitk.Image, brain: Brain, age: float | None = None,
                     kernel: str = "") -> list[str]:
    """Reasons not to judge a head, one sentence each; empty for usual ones.

    Args:
        ct: HU; any grid, LPS.
        brain: of the CT.
        age: of the patient, years, where it is known. It is not said, only that it is a child's.
        kernel: of the reconstruction, as the scanner names it; empty where it is not known.
    """
    with quiet():
        density = sitk.GetArrayFromImage(sitk.Resample(
            ct, brain.mask, sitk.Transform(), sitk.sitkLinear, -1000.0, sitk.sitkFloat32))
    # vessels full of contrast agent are holes in what was found by density
    inside = ndimage.binary_fill_holes(sitk.GetArrayViewFromImage(brain.mask) > 0)
    cube_ml = CUBE_MM**3 / 1000
    found = []
    if brain.cut_above or brain.cut_below:
        where = " and ".join(name for name, cut in (("top", brain.cut_above),
                                                    ("bottom", brain.cut_below)) if cut)
        found.append(f"The scan ends within the brain at its {where}: part of it is not seen.")
    near = ndimage.distance_transform_edt(~_without_cord(inside, brain)) * CUBE_MM < NEAR_MM
    if (near & (density > METAL_HU)).sum() * cube_ml > METAL_ML:
        found.append("There is metal at the skull or within it: streaks may hide or imitate blood.")
    deep = ndimage.distance_transform_edt(inside) * CUBE_MM > DEEP_MM
    dense = deep & (density > VESSEL_HU[0]) & (density < VESSEL_HU[1])
    if dense.sum() * cube_ml > VESSEL_ML:
        found.append("Vessels or tissue are as dense as with contrast agent: the models know only "
                     "scans without.")
    if age is not None:
        if age < ADULT_YEARS:
            found.append(f"The patient is a child below {ADULT_YEARS:.0f} years: the models know "
                         "only adults.")
    elif not (brain.cut_above or brain.cut_below) and brain.volume_ml < LEAST_BRAIN_ML:
        found.append("The brain is as small as an infant's: the models know only adults.")
    if _open_share(density, inside) > MOST_OPEN:
        found.append("Bone is missing above the brain, as after surgery: the models know only "
                     "heads that were not operated on.")
    if brain.back_in_front:
        found.append("The back of the head lies where the image says that the front is: left and "
                     "right may be exchanged, too.")
    if motion_mm(ct, brain) > MOST_MOTION_MM:
        found.append("The head moved during the scan: its skull jumps from slice to slice.")
    if is_sharp(kernel):
        found.append("The images were reconstructed with a sharp kernel, as for bone: its noise "
                     "hides blood.")
    return found


def noise_hu(slices: np.ndarray) -> float:
    """Standard deviation of the noise in the brain, HU, of the median slice.

    From the median of what each pixel differs by from the middle of its two neighbours, which edges
    hardly change.

    Args:
        slices: HU, (slices, height, width).
    """
    middle = slices[..., 1:-1]
    rough = np.abs(middle - (slices[..., :-2] + slices[..., 2:]) / 2)
    brain = (middle > BRAIN_HU[0]) & (middle < BRAIN_HU[1])
    each = [np.median(one[inside]) for one, inside in zip(rough, brain, strict=True)
            if inside.any()]
    # 1.48: from a median to a standard deviation; 1.5: variance of such a difference
    return float(1.48 / np.sqrt(1.5) * np.median(each)) if each else 0.0


def _without_cord(inside: np.ndarray, brain: Brain) -> np.ndarray:
    """Without what hangs on below the brain, or teeth would lie near it."""
    below = int((brain.lowest_mm - brain.mask.GetOrigin()[2]) / CUBE_MM)
    brain_only = inside.copy()
    brain_only[:max(0, below)] = False
    return brain_only


def _open_share(density: np.ndarray, inside: np.ndarray) -> float:
    """Share of the surface of the brain's upper half that has no bone near it."""
    surface = ndimage.binary_dilation(inside) & ~inside
    heights = np.flatnonzero(inside.any((1, 2)))
    surface[:(heights[0] + heights[-1]) // 2] = False
    surface[heights[-1] + 1:] = False  # beyond what the scan may show
    bone = density > BONE_HU
    if not surface.any() or not bone.any():
        return 0.0
    away = ndimage.distance_transform_edt(~bone) * CUBE_MM
    return float((away[surface] > OPEN_MM).mean())
