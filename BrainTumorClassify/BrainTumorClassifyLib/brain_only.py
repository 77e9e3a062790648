# SPDX-License-Identifier: Apache-2.0
"""Skull and scalp taken away: what stays is the brain with its dura, and every tumour on it.

Tumours of the meninges lie outside the brain, and what is as bright as they are is no brain to
:func:`.preparation.brain_mask`. So what enhances in a dent of the brain is kept, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import ConvexHull

from ReadingRoomLib.geometry import image_like, resample_like

from .enhancement import enhancement
from .preparation import BRAIN_MM, coarse, grown, on_grid
from .regions import ENHANCES, without_vessels

DURA_MM = 3.0  # the mask errs by up to one of its voxels of 2 mm, and dura is 1 mm thick
VAULT_MM = 6.0  # that a skull bulges over the flat bridge of a dent 60 mm wide; scalp lies beyond
LEAST_CONTACT = 0.3  # of a tumour's surface lies on brain; hardly any of that of mucosa or fat


def kept_brain(images: Mapping[str, sitk.Image], brain: sitk.Image) -> sitk.Image:
    """Return what is left of a head when skull and scalp are taken away, uint8.

    The brain and what enhances in its dents, without vessels, grown by :data:`DURA_MM`. A tumour
    between brain and skull lies within the brain's convex hull, or :data:`VAULT_MM` beyond, and
    borders on brain with :data:`LEAST_CONTACT` of its surface.

    Args:
        images: by sequence, on one grid. Without t1c only the brain and its dura are kept.
        brain: from :func:`.preparation.brain_mask`, on the same grid.
    """
    small = coarse(brain, BRAIN_MM)
    inside = _array(on_grid(brain, small, nearest=True)) > 0
    bright = _enhancing(images, brain, small) & ~inside
    near = _near_hull(bright, inside, small)
    dents = image_like(_in_contact(near, inside, small).astype(np.uint8), small)
    # grown on the fine grid, where a few mm are several voxels
    wide = (_array(resample_like(dents, brain)) > 0) | (_array(brain) > 0)
    return image_like(grown(wide, brain, DURA_MM).astype(np.uint8), brain)


def _near_hull(mask: np.ndarray, body: np.ndarray, image: sitk.Image) -> np.ndarray:
    """What of a mask lies within the convex hull of a body, or up to VAULT_MM outside its faces."""
    spacing = image.GetSpacing()[::-1]
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    border = np.argwhere(body & ~ndimage.binary_erosion(body))
    hull = ConvexHull((border[:, None] + corners).reshape(-1, 3) * spacing)
    index = np.argwhere(mask)
    for *normal, offset in hull.equations:
        index = index[(index * spacing) @ normal + offset <= VAULT_MM]
    near = np.zeros_like(mask)
    near[tuple(index.T)] = True
    return near


def _in_contact(mask: np.ndarray, body: np.ndarray, image: sitk.Image) -> np.ndarray:
    """The parts of a mask whose border lies on a body with LEAST_CONTACT of it."""
    labels, count = ndimage.label(mask)
    around = ndimage.grey_dilation(labels, size=3) * (labels == 0)
    touched = grown(body, image, BRAIN_MM)
    contact = ndimage.mean(touched, around, np.arange(1, count + 1))
    return np.isin(labels, 1 + np.flatnonzero(contact >= LEAST_CONTACT))


def cut_off(images: Mapping[str, sitk.Image], brain: sitk.Image, kept: sitk.Image) -> sitk.Image:
    """Return what enhances beyond the kept brain and goes on within it, uint8.

    As a tumour does that is cut through; scalp, which lies apart, does not.

    Args:
        images: by sequence, before anything was taken away.
        brain, kept: on their grid.
    """
    small = coarse(brain, BRAIN_MM)
    bright = _enhancing(images, brain, small)
    stays = _array(on_grid(kept, small, nearest=True)) > 0
    labels, _ = ndimage.label(bright)
    through = np.isin(labels, np.setdiff1d(np.unique(labels[stays]), [0]))
    lost = resample_like(image_like((through & ~stays).astype(np.uint8), small), brain)
    return image_like(((_array(lost) > 0) & (_array(kept) == 0)).astype(np.uint8), brain)


def black_outside(image: sitk.Image, kept: sitk.Image, black: float) -> sitk.Image:
    """Return the image with one value outside a mask on its grid, as float32."""
    return sitk.Mask(sitk.Cast(image, sitk.sitkFloat32), kept, black)


def _enhancing(images: Mapping[str, sitk.Image], brain: sitk.Image,
               grid: sitk.Image) -> np.ndarray:
    """What contrast agent made brighter and is thicker than vessels, bool on the coarse grid."""
    if "t1c" not in images:
        return np.zeros(grid.GetSize()[::-1], bool)
    t1, t1c = (coarse(images[name], BRAIN_MM) if name in images else None for name in ("t1", "t1c"))
    bright = enhancement(t1, t1c, on_grid(brain, grid, nearest=True)) > ENHANCES
    return without_vessels(bright, grid)


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayViewFromImage(image)
