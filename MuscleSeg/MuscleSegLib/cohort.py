# SPDX-License-Identifier: Apache-2.0
"""A cohort of simulated patients, each a real anatomy deformed anew and painted as a CT.

The deformation is drawn from a statistical model that needs no population: a smooth random velocity
field that does not change in time, whose exponential is a diffeomorphism (Arsigny et al., "A
Log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006). To it are added how thick
the fat under the skin is and how much of the lean mass is left. Stature, girth and pose, the
mirror image and the densities of the tissues, with fat inside muscles, come from
:mod:`ReadingRoomLib.phantoms.ct_synthesis`.

Patients who were made from one anatomy are alike as no two people are: the list of a cohort names
the anatomy of each (``made_from``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy import ndimage

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like
from ReadingRoomLib.phantoms.ct_synthesis import SynthesisSettings, simulate
from ReadingRoomLib.phantoms.pelvis import simulate_pelvis
from ReadingRoomLib.phantoms.region_map import RegionMap, Tissue

from .anatomy import PELVIC_TARGETS, read_pelvic_reference, region_map_of
from .structures import STRUCTURES

LABELS, BODY = "label.mhd", "mask.mhd"  # of a case of the pelvic reference labels
PHANTOM = "phantom"  # the anatomy that needs no data
BODY_HU = -300

NODE_MM = 6.0  # between the points of the velocity field
SCALES_MM = ((70.0, 8.0), (30.0, 3.5), (14.0, 1.2))  # how smooth a field is, and how strong (SD)
LEAN_MM, LEAN_WIDTH_MM = 2.0, 8.0  # SD of what muscles lose or gain at their border
FAT_MM, FAT_WIDTH_MM = (-6.0, 14.0), 14.0  # range of what the fat under the skin gains
SQUARINGS = 6
ROOM_MM = 30.0  # beside the anatomy, into which it can grow
MARGIN = 1.1  # of the field of view around that


@dataclass(frozen=True)
class SimulatedPatient:
    """A CT in HU (int16) and its labels (uint8, values of ``STRUCTURES``), on one grid in LPS."""

    image: sitk.Image
    labels: sitk.Image


def read_anatomies(source: Path | None) -> dict[str, RegionMap]:
    """What patients can be made from, by name.

    Args:
        source: folder with cases of the pelvic reference labels, each a folder with ``label.mhd``
            and ``mask.mhd``, or one such case; None: the phantom of capsules, which needs no data.

    Raises:
        BadInput: there is no such case.
    """
    if source is None:
        return {PHANTOM: _phantom()}
    cases = [folder for folder in (source, *sorted(source.glob("*")))
             if (folder / LABELS).is_file() and (folder / BODY).is_file()]
    if not cases:
        raise BadInput(f"{source.name} holds no anatomy: choose a folder with cases of label maps, "
                       f"each a folder with {LABELS} and {BODY}.")
    return {case.name: read_pelvic_reference(case) for case in cases}


def simulate_patient(anatomy: RegionMap, spacing: tuple[float, float, float],
                     seed: tuple[int, ...]) -> SimulatedPatient:
    """Draw one patient.

    Args:
        anatomy: what the patient is made from.
        spacing: voxel size in mm, in array order (z, y, x).
        seed: the same numbers give the same patient.
    """
    body = deform(anatomy, np.random.default_rng(seed))
    shape = tuple(int(np.ceil(size * MARGIN / step)) for size, step in
                  zip(body.size_mm, spacing, strict=True))
    settings = SynthesisSettings(
        shape=shape, spacing=spacing, rotation=(5.0, 0.0, 0.0), scale=(0.94, 1.06),
        displacement=0.0, truncation_probability=0.0, scan_end_probability=0.0,
        metal_probability=0.05, thickness=(2.0, 5.0), noise=(5.0, 20.0))
    made = simulate(body, settings, seed, tuple(body.size_mm / 2))
    regions = made.regions.numpy()
    # the label map itself, which counts the planes of fat between muscles as muscle
    labels = body.target[regions]
    # the scan ends where the anatomy ends
    seen = np.flatnonzero(regions.any((1, 2)))
    kept = slice(seen[0], seen[-1] + 1)
    image = sitk.GetImageFromArray(made.image.numpy()[kept].round().astype(np.int16))
    image.SetSpacing([float(step) for step in reversed(spacing)])
    return SimulatedPatient(image, image_like(labels[kept], image))


def deform(anatomy: RegionMap, random: np.random.Generator) -> RegionMap:
    """The anatomy of another person: every region displaced by a random diffeomorphism."""
    room = [(0, 0), *((round(ROOM_MM / step),) * 2 for step in anatomy.spacing[1:])]
    anatomy = replace(anatomy, regions=np.pad(anatomy.regions, room))
    nodes = tuple(max(4, round(size / NODE_MM)) for size in anatomy.size_mm)
    steps = anatomy.size_mm / nodes
    velocity = _velocity(anatomy, nodes, steps, random)
    return _pulled(anatomy, exponential(velocity, steps))


def exponential(velocity: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Displacement that a constant velocity field leads to, by scaling and squaring.

    Args:
        velocity: (3, z, y, x) in mm, components in the same order.
        steps: distance of the points along each axis in mm, (z, y, x).

    Returns:
        Displacement in mm, of the same shape.
    """
    places = np.indices(velocity.shape[1:], dtype=np.float32)
    in_steps = velocity / np.reshape(steps, (3, 1, 1, 1)) / 2**SQUARINGS
    for _ in range(SQUARINGS):
        in_steps = in_steps + np.stack([
            ndimage.map_coordinates(part, places + in_steps, order=1, mode="nearest")
            for part in in_steps])
    return in_steps * np.reshape(steps, (3, 1, 1, 1))


def _velocity(anatomy: RegionMap, nodes: tuple[int, ...], steps: np.ndarray,
              random: np.random.Generator) -> np.ndarray:
    """Random velocity (3, z, y, x) in mm at the nodes.

    The field says from where a voxel is fetched: it points out of what shrinks.
    """
    velocity = np.zeros((3, *nodes), np.float32)
    for width, strength in SCALES_MM:
        for part in velocity:
            field = ndimage.gaussian_filter(random.standard_normal(nodes), width / steps)
            part += strength * random.uniform(0.5, 1.5) * field / field.std()
    tissue = anatomy.tissue[anatomy.regions]
    body = tissue != Tissue.AIR
    lean = body & (tissue != Tissue.FAT) & (tissue != Tissue.SKIN)
    velocity -= random.normal(0, LEAN_MM) * _inwards(lean, nodes, steps, LEAN_WIDTH_MM)
    velocity += random.uniform(*FAT_MM) * _inwards(body, nodes, steps, FAT_WIDTH_MM)
    return velocity


def _inwards(mask: np.ndarray, nodes: tuple[int, ...], steps: np.ndarray,
             width: float) -> np.ndarray:
    """Vectors (3, z, y, x) into a mask across the slices' planes, of length 1 at its border."""
    share = F.adaptive_avg_pool3d(torch.from_numpy(mask)[None].float(), nodes)[0].numpy()
    smooth = ndimage.gaussian_filter(share, width / steps, mode="nearest")
    gradient = np.stack(np.gradient(smooth, *steps))
    gradient[0] = 0  # neither end of the scan is a border of the body
    return (gradient * width * np.sqrt(2 * np.pi)).astype(np.float32)


def _pulled(anatomy: RegionMap, displacement: np.ndarray) -> RegionMap:
    """Regions fetched from where the displacement (mm, at the nodes) says, slice by slice."""
    depth, height, width = anatomy.regions.shape
    source = torch.from_numpy(anatomy.regions).reshape(-1)
    field = torch.from_numpy(displacement.astype(np.float32))
    # between nodes along z first, so that no field of the whole size is held
    layers = F.interpolate(field.flatten(2)[None], size=(depth, field[0, 0].numel()),
                           mode="bilinear")[0].reshape(3, depth, *field.shape[2:])
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    regions = torch.empty((depth, height, width), dtype=torch.uint8)
    for z, plane in enumerate(regions):
        moved = F.interpolate(layers[None, :, z], size=(height, width), mode="bilinear")[0]
        dz, dy, dx = (part / step for part, step in zip(moved, anatomy.spacing, strict=True))
        # beyond the ends the anatomy goes on as it ended; beyond the sides is air
        index = ((dz + z).round_().long().clamp_(0, depth - 1) * height
                 + (dy + y).round_().long().clamp_(0, height - 1)) * width \
            + (dx + x).round_().long().clamp_(0, width - 1)
        plane.copy_(source[index])
    return replace(anatomy, regions=regions.numpy())


def _phantom(spacing: tuple[float, float, float] = (3.0, 3.0, 4.0)) -> RegionMap:
    """The pelvis of capsules as an anatomy."""
    values: Mapping[str, int] = {structure.name: structure.value for structure in STRUCTURES}
    made = simulate_pelvis(values, spacing)
    to_reference = np.zeros(256, np.uint8)
    for reference, value in PELVIC_TARGETS.items():
        to_reference[value] = reference
    body = ndimage.binary_opening(sitk.GetArrayFromImage(made.image) > BODY_HU)
    return region_map_of(to_reference[sitk.GetArrayFromImage(made.labels)], body, spacing[::-1])
