# SPDX-License-Identifier: Apache-2.0
"""What the answer hangs on: in the squares that the network sees, and as a volume on the images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from .regions import Region, plane_of, slices_in_order

if TYPE_CHECKING:
    from .networks import TumorNetwork

REACH = 1  # cells and slices to each side that are left out together
FEWEST_CELLS = 4  # in a row, for that


def left_out(network: TumorNetwork, seen: torch.Tensor, features: torch.Tensor,
             kind: int) -> torch.Tensor:
    """How much less a kind is believed when what is seen somewhere is left out.

    Occlusion (Zeiler and Fergus, ECCV 2014) of what the encoder sees in place of the image: a
    black square would be news to the network, a cell that is not counted is none. A place is left
    out together with its neighbours, in its slice and in those beside it.

    Args:
        network: in evaluation mode.
        seen: of :meth:`.TumorNetwork.see`, of one patient, (1, slices, code, height, width).
        features: of the patient, (1, features).
        kind: number of the class.

    Returns:
        By how much the logarithm of its odds falls, at least 0, (slices, height, width).
    """
    slices, _, height, width = seen.shape[1:]
    reach = REACH if min(height, width) >= FEWEST_CELLS else 0
    whole = network.describe(seen.mean((3, 4)), seen.amax((3, 4)))[0]
    row, column = torch.meshgrid(*(torch.arange(size, device=seen.device)
                                   for size in (height, width)), indexing="ij")
    parts = []
    for place in range(height * width):
        near = (((row - place // width).abs() <= reach)
                & ((column - place % width).abs() <= reach))
        rest = seen[0][..., ~near]
        if rest.shape[-1] == 0:  # of a single cell nothing is left
            rest = torch.zeros_like(seen[0][..., :1, 0])
        parts.append(network.describe(rest.mean(2)[None], rest.amax(2)[None])[0])
    without = torch.stack(parts)  # (places, slices, hidden)
    believed = _odds(network.decide(whole[None], features)[0], kind)
    fall = []
    for number in range(slices):
        near = slice(max(0, number - reach), number + reach + 1)
        known = whole.repeat(len(without), 1, 1)
        known[:, near] = without[:, near]
        left = network.decide(known, features.expand(len(without), -1))[0]
        fall.append((believed - _odds(left, kind)).clamp(min=0).view(height, width))
    return torch.stack(fall)


def _odds(logits: torch.Tensor, kind: int) -> torch.Tensor:
    """Logarithm of the odds of a kind against all others, (n,)."""
    others = [number for number in range(logits.shape[1]) if number != kind]
    return logits[:, kind] - logits[:, others].logsumexp(1)


def saliency_volume(reference: sitk.Image, region: Region, saliency: np.ndarray) -> sitk.Image:
    """Put squares where they were cut.

    Args:
        reference: gives the grid.
        region: of the squares.
        saliency: in the order and orientation of :func:`.pseudo_rgb.pseudo_rgb`,
            (slices, pixels, pixels), 0 to 1.

    Returns:
        float32 on the grid of ``reference``, 0 outside the squares; slices between those of the
        region are interpolated.
    """
    plane = plane_of(reference)
    region, saliency = _all_between(reference, region, saliency)
    volume = np.zeros(reference.GetSize()[::-1], np.float32)
    step = np.reshape(reference.GetDirection(), (3, 3)) * np.array(reference.GetSpacing())
    pixels = saliency.shape[-1]
    for square, number in zip(saliency, slices_in_order(reference, region), strict=True):
        inside = [slice(None)] * 3
        inside[2 - plane.axis] = slice(number, number + 1)
        index = np.indices(volume[tuple(inside)].shape)
        index[2 - plane.axis] = number
        index = np.moveaxis(index[::-1], 0, -1)
        points = index @ step.T + np.array(reference.GetOrigin()) - np.array(region.centre_mm)
        pixel = [(points @ way) * pixels / region.side_mm + (pixels - 1) / 2
                 for way in (plane.down, plane.across)]
        volume[tuple(inside)] = ndimage.map_coordinates(square, pixel, order=1, cval=0.0)
    image = sitk.GetImageFromArray(volume)
    image.CopyInformation(reference)
    return image


def _all_between(reference: sitk.Image, region: Region,
                 saliency: np.ndarray) -> tuple[Region, np.ndarray]:
    """The region with the slices that were passed over, and their squares between the others."""
    known = slices_in_order(reference, region)
    ascending = known if known[0] <= known[-1] else known[::-1]
    every = np.arange(ascending[0], ascending[-1] + 1)
    squares = saliency if known is ascending else saliency[::-1]
    places = np.interp(every, ascending, np.arange(len(ascending)))
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(squares) - 1)
    share = (places - below)[:, None, None]
    filled = (1 - share) * squares[below] + share * squares[above]
    whole = replace(region, slices=tuple(every.tolist()))
    return whole, filled if slices_in_order(reference, whole)[0] == every[0] else filled[::-1]
