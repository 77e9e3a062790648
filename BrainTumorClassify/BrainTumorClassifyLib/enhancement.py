# SPDX-License-Identifier: Apache-2.0
"""What sequences say when held against each other: contrast agent, fluid, mistaken sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.errors import BadInput

from .preparation import BRAIN_MM, coarse, depth_mm, on_grid

BINS = 40
BRIGHTENS = 0.5  # of the brain's median; vessels and tumours do by more
NO_AGENT_ML, LITTLE_AGENT_ML = 3.0, 6.0  # that brightens more than darkens
INWARD_MM = 5.0  # from the border of the brain, where skull and misplaced voxels are
TAIL_PERCENT = 3.0  # of the brain; fluid within it is more
EXCHANGED = -0.1  # fluid contrast; T1 and T2 as they should be have 0.4 to 0.7
BRIGHT = 0.5  # fluid in a T2


def enhancement(t1: sitk.Image | None, t1c: sitk.Image, brain: sitk.Image) -> np.ndarray:
    """Return how much brighter T1 became with contrast agent, in medians of the brain.

    What to expect of T1c without agent is its median where T1 is as bright, so the two may come
    from different pulse sequences. Without T1 the brain's median is expected everywhere.

    Args:
        t1, t1c, brain: on one grid.

    Returns:
        float32 (z, y, x); 0 where nothing changed, 1 where it became brighter by as much as brain.
    """
    after = sitk.GetArrayFromImage(t1c).astype(np.float32)
    inside = sitk.GetArrayViewFromImage(brain) > 0
    median = max(float(np.median(after[inside])), 1e-6)
    if t1 is None:
        return after / median - 1
    before = sitk.GetArrayFromImage(t1).astype(np.float32)
    edges = np.unique(np.quantile(before[inside], np.linspace(0, 1, BINS + 1)))
    number = np.clip(np.digitize(before[inside], edges) - 1, 0, max(len(edges) - 2, 0))
    middles, expected = (ndimage.median(values[inside], number, np.unique(number))
                         for values in (before, after))
    # what is brighter than all brain, as fat, stays brighter by as much
    beyond = np.maximum(before / max(float(middles[-1]), 1e-6), 1.0)
    return ((after - np.interp(before, middles, expected) * beyond) / median).astype(np.float32)


def brightening_ml(t1: sitk.Image, t1c: sitk.Image, brain: sitk.Image) -> float:
    """Return the volume within the brain that contrast agent made brighter, with vessels, mL.

    What became darker is taken off, so that noise and what lies a little out of place cancel.
    """
    small = [coarse(image, BRAIN_MM) for image in (t1, t1c)]
    mask = on_grid(brain, small[0], nearest=True)
    change = enhancement(*small, mask)[_well_within(mask)]
    voxels = int((change > BRIGHTENS).sum()) - int((change < -BRIGHTENS).sum())
    return voxels * float(np.prod(mask.GetSpacing())) / 1000


def fluid_contrast(dark: sitk.Image, bright: sitk.Image, brain: sitk.Image) -> float:
    """Return how clearly fluid is dark in the first image and bright in the second, -1 to 1.

    Fluid stands out most of all in a brain. So the difference of the two has a longer tail upwards;
    downwards, when they were exchanged. This is the skewness by quantiles of that difference
    (Hinkley, *On power transformations to symmetry*, Biometrika 1975); nan without a brain.
    """
    first, second = _standardised_brain((dark, bright), brain)
    if not first.size:
        return float("nan")
    low, middle, high = np.percentile(second - first, [TAIL_PERCENT, 50, 100 - TAIL_PERCENT])
    return float((high + low - 2 * middle) / max(high - low, 1e-6))


def fluid_brightness(dark: sitk.Image, bright: sitk.Image, brain: sitk.Image) -> float:
    """Return how bright in the second image is what is darkest in the first.

    In interquartile ranges from the brain's median: about 2 to 3 for the fluid of a T2, -3 for that
    of a FLAIR; nan without a brain.
    """
    first, second = _standardised_brain((dark, bright), brain)
    if not first.size:
        return float("nan")
    return float(np.median(second[first <= np.percentile(first, 2 * TAIL_PERCENT)]))


def _standardised_brain(images: Sequence[sitk.Image], brain: sitk.Image) -> list[np.ndarray]:
    """Values of each image well within the brain, in interquartile ranges from their median."""
    inside = _well_within(coarse(brain, BRAIN_MM))
    values = [sitk.GetArrayFromImage(coarse(image, BRAIN_MM))[inside] for image in images]
    if not inside.any():
        return values
    quartiles = [np.percentile(each, [25, 50, 75]) for each in values]
    return [(each - middle) / max(high - low, 1e-6)
            for each, (low, middle, high) in zip(values, quartiles, strict=True)]


def _well_within(brain: sitk.Image) -> np.ndarray:
    return depth_mm(sitk.GetArrayViewFromImage(brain) > 0.5, brain) > INWARD_MM


def exchanged(images: Mapping[str, sitk.Image], brain: sitk.Image,
              names: Mapping[str, str]) -> list[str]:
    """Return doubts whether T2 is T2.

    Raises:
        BadInput: T2 was exchanged with T1 or with contrast-enhanced T1.
    """
    dark_ones = [name for name in ("t1", "t1c") if name in images and "t2" in images]
    for name in dark_ones:
        if fluid_contrast(images[name], images["t2"], brain) < EXCHANGED:
            raise BadInput(f"{names[name]} shows fluid bright and {names['t2']} shows it dark: T1 "
                           "and T2 were exchanged, so give them the other way round.")
    if any(not fluid_brightness(images[name], images["t2"], brain) >= BRIGHT for name in dark_ones):
        return [f"Fluid is not bright in {names['t2']}: check that it is a T2, not a FLAIR."]
    return []


def missing_agent(images: Mapping[str, sitk.Image], brain: sitk.Image,
                  names: Mapping[str, str]) -> list[str]:
    """Return doubts whether contrast agent was given.

    Raises:
        BadInput: contrast-enhanced T1 is nowhere brighter than T1, or T1 is brighter.
    """
    if "t1" not in images or "t1c" not in images:
        return []
    volume = brightening_ml(images["t1"], images["t1c"], brain)
    if brightening_ml(images["t1c"], images["t1"], brain) > max(volume, NO_AGENT_ML):
        raise BadInput(f"{names['t1']} shows contrast agent and {names['t1c']} does not: they were "
                       "exchanged, so give them the other way round.")
    if volume < NO_AGENT_ML:
        raise BadInput(f"{names['t1c']} shows no contrast agent, not even in vessels: choose the "
                       "T1 that was taken after it was given.")
    if volume < LITTLE_AGENT_ML:
        return [f"{names['t1c']} shows little contrast agent ({volume:.1f} mL are brighter than in "
                "T1): check that it was taken after it was given."]
    return []
