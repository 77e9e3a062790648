# SPDX-License-Identifier: Apache-2.0
"""CTs that a model should be unsure of, made from CTs with a known segmentation.

Each kind changes the picture as its cause would, and the labels with it, so that what is left to be
found stays known:

========== =======================================================================================
swollen    a tumour in a muscle of one thigh pushes the tissue aside, volume for volume; oedema
metal      a hip prosthesis; streaks from the sinogram of the metal: beam hardening and too few
           photons (De Man et al., IEEE Trans. Nucl. Sci. 1999)
truncation a field of view smaller than the body, with the bright rim that reconstruction gives it
contrast   contrast agent: vessels, muscles and organs are denser
noise      far too low a dose
child      the same body at about half the size
elsewhere  the chest of a phantom: none of the structures is there
========== =======================================================================================

They are rough: made to ask whether a score rises, not to look real.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.phantoms.acquisition import blur
from ReadingRoomLib.phantoms.randomness import Randomness
from ReadingRoomLib.phantoms.region_map import AIR_HU, METAL_HU

from .body import find_body
from .structures import FEMUR, LEFT_OFFSET, STRUCTURES

THIGH = tuple(structure.value for structure in STRUCTURES if structure.group == "thigh")
SOFT_HU = (-20, 150)  # what takes up contrast agent
REACH = 4.0  # radii from a tumour, beyond which less than 3 % of its size is felt


@dataclass(frozen=True)
class Body:
    """A CT and its labels.

    Attributes:
        hounsfield: float32 (z, y, x) in LPS axes, HU.
        labels: uint8, values of ``labels_of(True)``, on the same grid.
        spacing: mm, (z, y, x).
    """

    hounsfield: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]


def stressed(body: Body, kind: str, seed: tuple[int, ...]) -> Body:
    """Do something of a kind to a body.

    Args:
        body: stays as it is.
        kind: of :data:`KINDS`.
        seed: the same numbers do the same.

    Raises:
        BadInput: there is no such kind, or the body has not what it needs.
    """
    check_kind(kind)
    changed = KINDS[kind](body, Randomness(*seed))
    return replace(changed, hounsfield=changed.hounsfield.clip(AIR_HU, METAL_HU))


def check_kind(kind: str) -> None:
    """Refuse a kind that is not in :data:`KINDS`."""
    if kind not in KINDS:
        raise BadInput(f'Nothing of the kind "{kind}" is known: choose one of '
                       f"{', '.join(KINDS)} (--kind).")


def _side(random: Randomness) -> int:
    return LEFT_OFFSET * int(random.chance(0.5))


def _places(shape, spacing, centre) -> list[np.ndarray]:
    """Distance of voxels from a point along each axis in mm, to be broadcast."""
    return list(np.meshgrid(*[(np.arange(n, dtype=np.float32) - c) * step
                              for n, c, step in zip(shape, centre, spacing, strict=True)],
                            indexing="ij", sparse=True))


def swollen(body: Body, random: Randomness) -> Body:
    """A tumour of 25 to 45 mm radius in a muscle of a thigh, and oedema around it."""
    side = _side(random)
    values = [value + side for value in THIGH]
    inside = np.flatnonzero(np.isin(body.labels, values))
    if not len(inside):
        raise BadInput("No muscle of the thigh is in this segmentation: leave out the kind swollen "
                       "(--kind).")
    middle = np.unravel_index(int(random.numpy.choice(inside)), body.labels.shape)
    radius = random.uniform(25, 45)
    box = tuple(slice(max(0, int(c - REACH * radius / step)),
                      min(n, int(c + REACH * radius / step) + 1))
                for c, step, n in zip(middle, body.spacing, body.labels.shape, strict=True))
    centre = [c - side.start for c, side in zip(middle, box, strict=True)]
    part = body.hounsfield[box]
    places = _places(part.shape, body.spacing, centre)
    distance = np.maximum(np.sqrt(sum(place**2 for place in places)), 1e-3)
    # what was a ball of r^3 - R^3 is now the shell from R to r: no tissue is lost
    shrink = np.cbrt(np.maximum(distance**3 - radius**3, 0)) / distance
    source = [place * shrink / step + c
              for place, step, c in zip(places, body.spacing, centre, strict=True)]
    hounsfield, labels = body.hounsfield.copy(), body.labels.copy()
    moved = ndimage.map_coordinates(part, source, order=1, mode="nearest")
    texture = random.smooth(part.shape, (8.0, 8.0, 8.0), body.spacing).numpy()
    oedema = np.exp(-((distance / (2 * radius)) ** 2)) * (moved > -150) * (moved < 0)
    moved += oedema * random.uniform(30, 70) * (1 + 0.3 * texture)
    tumour = distance < radius * (1 + 0.05 * texture)
    moved[tumour] = random.uniform(20, 50) + 12 * texture[tumour]
    hounsfield[box] = moved
    labels[box] = ndimage.map_coordinates(body.labels[box], source, order=0, mode="nearest")
    labels[box][tumour] = 0
    return replace(body, hounsfield=hounsfield, labels=labels)


def metal(body: Body, random: Randomness) -> Body:
    """The head and the stem of a hip prosthesis in a femur, with streaks."""
    bone = body.labels == FEMUR + _side(random)
    slices = np.flatnonzero(bone.any((1, 2)))
    if not len(slices):
        raise BadInput("No femur is in this segmentation: leave out the kind metal (--kind).")
    top = int(slices[-1])
    length = random.uniform(90, 150)
    radius = random.uniform(6, 9)
    centres = {z: ndimage.center_of_mass(bone[z]) for z in slices.tolist()}
    implant = np.zeros(bone.shape, bool)
    for z in slices[slices > top - length / body.spacing[0]].tolist():
        y, x = _places(bone.shape[1:], body.spacing[1:], centres[z])
        implant[z] = np.hypot(y, x) < radius
    head = int(max(top - 18 / body.spacing[0], slices[0]))
    z, y, x = _places(bone.shape, body.spacing,
                      (head, *centres[min(centres, key=lambda s: abs(s - head))]))
    implant |= np.sqrt(z**2 + y**2 + x**2) < random.uniform(14, 18)
    hounsfield = body.hounsfield.copy()
    for plane, mask in zip(hounsfield, implant, strict=True):
        if mask.any():
            plane += _streaks(mask, body.spacing[1], random)
    hounsfield[implant] = METAL_HU
    return replace(body, hounsfield=hounsfield)


def _streaks(mask: np.ndarray, pixel_mm: float, random: Randomness) -> np.ndarray:
    """What metal does to the reconstruction of a slice, HU."""
    from skimage.transform import iradon, radon

    angles = np.linspace(0, 180, 180, endpoint=False)
    size = max(mask.shape)
    square = np.zeros((size, size))
    square[: mask.shape[0], : mask.shape[1]] = mask
    through = radon(square, angles, circle=False) * pixel_mm  # mm of metal along each ray
    # long ways look shorter than they are, and few photons come out of them
    error = -0.03 * through**2 + random.normal(*through.shape).numpy() * 0.3 * through
    reconstructed = iradon(error, angles, output_size=size, circle=False)
    return (reconstructed[: mask.shape[0], : mask.shape[1]] / pixel_mm * 1000).astype(np.float32)


def truncation(body: Body, random: Randomness) -> Body:
    """A round field of view that leaves out part of the body."""
    rows, columns = find_body(body.hounsfield, body.spacing)
    wide = (columns.stop - columns.start) * body.spacing[2]
    centre = ((rows.start + rows.stop) / 2,
              (columns.start + columns.stop) / 2
              + random.uniform(-0.15, 0.15) * wide / body.spacing[2])
    radius = random.uniform(0.28, 0.38) * wide
    distance = np.hypot(*_places(body.labels.shape[1:], body.spacing[1:], centre))
    rim = random.uniform(80, 250) * np.exp((distance - radius) / 12)
    seen = distance < radius
    hounsfield = np.where(seen, body.hounsfield + rim.clip(0, 400), AIR_HU).astype(np.float32)
    return replace(body, hounsfield=hounsfield, labels=np.where(seen, body.labels, 0))


def contrast(body: Body, random: Randomness) -> Body:
    """Vessels of 250 to 450 HU beside the femurs; soft tissue that takes up contrast agent."""
    hounsfield = body.hounsfield.copy()
    uptake = random.smooth(hounsfield.shape, (60.0, 60.0, 60.0), body.spacing).numpy()
    soft = (hounsfield > SOFT_HU[0]) & (hounsfield < SOFT_HU[1])
    hounsfield += soft * (random.uniform(40, 80) * (1 + 0.4 * uptake.clip(-2, 2)))
    density, width = random.uniform(250, 450), random.uniform(4, 8)
    before, inwards = random.uniform(30, 45), random.uniform(10, 25)
    # x grows to the left: the middle of the body lies there for the right leg
    for side, direction in ((0, 1), (LEFT_OFFSET, -1)):
        bone = body.labels == FEMUR + side
        for z in np.flatnonzero(bone.any((1, 2))).tolist():
            y, x = ndimage.center_of_mass(bone[z])
            place = (y - before / body.spacing[1], x + direction * inwards / body.spacing[2])
            vessel = np.hypot(*_places(bone.shape[1:], body.spacing[1:], place)) < width
            hounsfield[z][vessel & (hounsfield[z] > -300)] = density
    return replace(body, hounsfield=hounsfield)


def noise(body: Body, random: Randomness) -> Body:
    """Noise of 70 to 120 HU, with the grain of a soft kernel."""
    grain = blur(random.normal(*body.hounsfield.shape),
                 (0.0, *(1.5 / step for step in body.spacing[1:])))
    scaled = grain.numpy() / float(grain.std()) * random.uniform(70, 120)
    return replace(body, hounsfield=body.hounsfield + scaled)


def child(body: Body, random: Randomness) -> Body:
    """Everything is 0.45 to 0.6 times as large."""
    scale = random.uniform(0.45, 0.6)
    return replace(body, spacing=tuple(step * scale for step in body.spacing))


def elsewhere(body: Body, random: Randomness) -> Body:
    """The chest of a phantom, of another person, with no labels."""
    import SimpleITK as sitk

    from ReadingRoomLib.phantoms.trunk import TrunkSettings, simulate_trunk

    seed = int(random.numpy.integers(2**31))
    image = simulate_trunk((seed,), TrunkSettings(spacing=(3.0, 2.0, 2.0), field_of_view="chest")
                           ).image
    hounsfield = sitk.GetArrayFromImage(image).astype(np.float32)
    return Body(hounsfield, np.zeros(hounsfield.shape, np.uint8), image.GetSpacing()[::-1])


KINDS: dict[str, Callable[[Body, Randomness], Body]] = {
    "swollen": swollen, "metal": metal, "truncation": truncation, "contrast": contrast,
    "noise": noise, "child": child, "elsewhere": elsewhere,
}
