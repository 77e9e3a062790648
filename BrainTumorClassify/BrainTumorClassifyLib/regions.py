# SPDX-License-Identifier: Apache-2.0
"""The region of interest: the same square on the three sequences, in the slices that hold tumour.

As published (Kunimatsu, KAKENHI 18K07629): a square around the tumour, of one size and place on T1,
T2 and contrast-enhanced T1. It comes from a box (a markups ROI), from a segment, or is proposed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import image_like, same_geometry
from ReadingRoomLib.volume_files import file_format, read_volume_file

from .enhancement import enhancement
from .preparation import BRAIN_MM, depth_mm, grown, on_grid, opened

if TYPE_CHECKING:
    from .study import Study

SIDES_MM = (10.0, 200.0)  # smallest and largest square
MARGIN_MM = 5.0  # around a segment
THICKER = 1.5  # times the other voxel sides, for slices to be told by their thickness
LEAST_HEAD, MOSTLY_HEAD = 0.1, 0.5  # share of the squares that lies in the head
ENHANCES = 0.35  # of the brain's median
LEAST_TUMOUR_ML = 0.5
WIDEST_MM = 1.25 * BRAIN_MM  # pixels of masks; with fields of usual size two pixels make one
THIN_MM = 3.5  # half the width of vessels, which are no tumours
RIM_MM = 2.0  # half the width of the border of a cavity
THICK_MM = 6.0  # half the width of what is bright in T2 and neither cortex nor fluid of sulci
LEAST_CAVITY_ML, CAVITY_MM = 3.0, 5.0  # volume, and radius of the smallest ball within
SURFACE_MM = 12.0  # from the surface of the brain, which a cavity of an operation reaches
FLUID_T2, FLUID_T1, SWOLLEN = 1.6, 0.7, 1.3  # in medians of the brain; the latter in T2
LEAST_PROPOSED_ML = 1.5  # sinuses have thick places of 1 mL
LARGEST_PROPOSED_MM = 120.0  # side of a square
MOST_CUT_OFF = 0.01  # share of what enhances in the squares that stripping the skull took away
LARGEST_HOLE_MM2 = 2500.0  # of a ring that enhances, in a slice


@dataclass(frozen=True)
class Region:
    """The same square on several slices.

    Attributes:
        centre_mm: LPS; of the square, and of the slices.
        side_mm: of the square, whose sides run along the rows and columns of the slices.
        slices: their numbers on the grid of the study, along :func:`slice_axis`, ascending.
    """

    centre_mm: tuple[float, float, float]
    side_mm: float
    slices: tuple[int, ...]

    def written(self) -> dict:
        """For a result; :func:`read_region` reads it."""
        return {"centre_mm": [round(value, 3) for value in self.centre_mm],
                "side_mm": round(self.side_mm, 3), "slices": list(self.slices)}


MARKUPS_SCHEMA = ("https://raw.githubusercontent.com/slicer/slicer/master/modules/loadable/markups/"
                  "resources/schema/markups-schema-v1.0.3.json#")


@dataclass(frozen=True)
class Proposal:
    """A region that was found without a user.

    Attributes:
        region: None where nothing was found.
        confidence: 0 to 1, how far the best candidate is above the second; not a probability.
        reason: a sentence for the user.
    """

    region: Region | None
    confidence: float
    reason: str


@dataclass(frozen=True)
class Plane:
    """How the slices of a grid lie, unit vectors, LPS.

    Attributes:
        axis: of the grid, along which slices are counted.
        across, down: to the right and downwards in a picture: the patient's left to the right, the
            front or the top up.
        along: from slice to slice, towards L, P or S, whichever is nearest.
    """

    axis: int
    across: np.ndarray
    down: np.ndarray
    along: np.ndarray


# Geometry


def slice_axis(image: sitk.Image) -> int:
    """Return the axis of the grid along which slices are stacked.

    That with the thickest voxels; where none is clearly thicker, that nearest to S.
    """
    spacing = np.array(image.GetSpacing())
    thickest = int(spacing.argmax())
    if spacing[thickest] > THICKER * np.delete(spacing, thickest).max():
        return thickest
    return int(np.abs(np.reshape(image.GetDirection(), (3, 3))[2]).argmax())


def plane_of(image: sitk.Image) -> Plane:
    """Return how the slices lie; the same however the axes of the grid are stored."""
    axis = slice_axis(image)
    direction = np.reshape(image.GetDirection(), (3, 3))
    along = _towards(direction[:, axis], np.eye(3)[np.abs(direction[:, axis]).argmax()])
    normal = int(np.abs(along).argmax())
    right, below = {2: ((1, 0, 0), (0, 1, 0)), 1: ((1, 0, 0), (0, 0, -1)),
                    0: ((0, 1, 0), (0, 0, -1))}[normal]
    first, second = np.delete(direction, axis, axis=1).T
    if abs(first @ right) < abs(second @ right):
        first, second = second, first
    return Plane(axis, _towards(first, right), _towards(second, below), along)


def slice_places(image: sitk.Image, plane: Plane) -> np.ndarray:
    """Return where the slices lie along ``plane.along``, mm, by their number."""
    index = np.zeros((image.GetSize()[plane.axis], 3))
    index[:, plane.axis] = np.arange(len(index))
    step = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    return (index @ step.T + np.array(image.GetOrigin())) @ plane.along


def slices_in_order(image: sitk.Image, region: Region) -> list[int]:
    """Numbers of a region's slices, the lowest first, however the grid is stored."""
    places = slice_places(image, plane_of(image))
    return sorted(region.slices, key=lambda number: places[number])


def evenly(count: int, most: int) -> np.ndarray:
    """Places of at most so many of ``count`` things, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def few_slices(image: sitk.Image, region: Region, most: int) -> Region:
    """The region on at most so many of its slices, the first and the last among them."""
    in_order = slices_in_order(image, region)
    return replace(region, slices=tuple(sorted(
        in_order[place] for place in evenly(len(in_order), most))))


def _towards(vector: np.ndarray, way: Sequence[float]) -> np.ndarray:
    return vector if vector @ np.asarray(way) >= 0 else -vector


# Where a region comes from


def read_region(study: Study, source: object, margin_mm: float = MARGIN_MM) -> Region:
    """Return the region that a user gave.

    Args:
        study: on whose slices it lies.
        source: path of a markups ROI (``.mrk.json``), of a JSON file or of a mask (NIfTI, NRRD,
            MetaImage); or what such a JSON file holds: six bounds in LPS mm (from and to along each
            axis), ``{"bounds": ...}``, or what :meth:`Region.written` gives; or a mask.
        margin_mm: around a mask.

    Raises:
        BadInput: it cannot be read, or no slice lies in it.
    """
    if isinstance(source, sitk.Image):
        return region_from_mask(study, source, margin_mm)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            raise BadInput(f"{path.name} cannot be found: check its name.")
        if path.suffix.lower() != ".json" and file_format(path):
            return region_from_mask(study, read_volume_file(path).image, margin_mm)
        source = _json(path)
    if isinstance(source, Mapping) and "side_mm" in source:
        return _written(source, study)
    return region_from_box(study, source)


def region_from_box(study: Study, box: Mapping | Sequence[float]) -> Region:
    """Return the square that holds a box, on the slices whose middle lies in it.

    Args:
        study: on whose slices it lies.
        box: six bounds in LPS mm (from and to along each axis), or the content of a markups file
            with one ROI, which may be turned.

    Raises:
        BadInput: it is no box, or no slice lies in it.
    """
    centre, axes, sizes = _box(box)
    plane = plane_of(study.reference)
    depth = int(np.abs(plane.along @ axes).argmax())
    half = sizes[depth] / 2 / abs(plane.along @ axes[:, depth])
    places = slice_places(study.reference, plane)
    slices = np.flatnonzero(np.abs(places - centre @ plane.along) <= half + 1e-6)
    if not len(slices):
        raise BadInput("The region of interest holds no slice of the contrast-enhanced T1: make it "
                       "thicker, or move it into the head.")
    return _region(centre, np.delete(sizes, depth).max(), slices, places, plane)


def region_from_mask(study: Study, mask: sitk.Image, margin_mm: float = MARGIN_MM) -> Region:
    """Return the square around a segment, on all slices that hold some of it.

    Args:
        study: on whose slices it lies.
        mask: above 0 is tumour; any grid.
        margin_mm: beyond the largest extent of the tumour, on each side.

    Raises:
        BadInput: the segment is empty, or lies beyond the slices.
    """
    inside = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
    if not len(inside):
        raise BadInput("The segment is empty: choose one that marks the tumour.")
    reference, plane = study.reference, plane_of(study.reference)
    step = np.reshape(mask.GetDirection(), (3, 3)) * np.array(mask.GetSpacing())
    points = inside @ step.T + np.array(mask.GetOrigin())
    low, high = [], []
    for way in (plane.across, plane.down, plane.along):
        edge = np.abs(way @ step).sum() / 2  # half a voxel of the mask
        low.append((points @ way).min() - edge)
        high.append((points @ way).max() + edge)
    middle, extent = (np.add(low, high)) / 2, np.subtract(high, low)
    places = slice_places(reference, plane)
    if same_geometry(mask, reference):
        slices = np.unique(inside[:, plane.axis])
    else:
        slices = np.flatnonzero((places >= low[2]) & (places <= high[2]))
        if not len(slices):  # a thin segment between two slices
            nearest = int(np.abs(places - middle[2]).argmin())
            apart = reference.GetSpacing()[plane.axis]
            slices = np.array([nearest] if abs(places[nearest] - middle[2]) <= apart / 2 else [],
                              int)
    if not len(slices):
        raise BadInput("The segment lies beyond the slices of the contrast-enhanced T1: check that "
                       "it belongs to these images.")
    centre = middle @ np.stack([plane.across, plane.down, plane.along])
    return _region(centre, extent[:2].max() + 2 * margin_mm, slices, places, plane)


def _region(centre: np.ndarray, side: float, slices: np.ndarray, places: np.ndarray,
            plane: Plane) -> Region:
    """With the centre moved to the middle of the slices."""
    middle = places[slices].min() / 2 + places[slices].max() / 2
    centre = centre + (middle - centre @ plane.along) * plane.along
    return Region(tuple(float(value) for value in centre), float(side),
                  tuple(int(number) for number in np.sort(slices)))


def _written(source: Mapping, study: Study) -> Region:
    try:
        region = Region(tuple(float(value) for value in source["centre_mm"]),
                        float(source["side_mm"]), tuple(int(value) for value in source["slices"]))
    except (KeyError, TypeError, ValueError):
        raise _no_box() from None
    count = study.reference.GetSize()[slice_axis(study.reference)]
    numbers = np.array([*region.centre_mm, region.side_mm])
    if (len(region.centre_mm) != 3 or not np.isfinite(numbers).all() or not region.slices
            or min(region.slices) < 0 or max(region.slices) >= count):
        raise BadInput("The region of interest does not fit these images: choose the one that was "
                       "drawn on them.")
    return region


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadInput(f"{path.name} is neither a region of interest (JSON) nor a mask that can be "
                       "read.") from None


def _no_box() -> BadInput:
    return BadInput("The region of interest is not a box: give six numbers in mm, from and to "
                    "along L, P and S, or a markups file with one ROI.")


def _box(box: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre (3), axes (3 x 3, in columns) and sizes (3) of a box, LPS mm."""
    try:
        if isinstance(box, Mapping) and "markups" in box:
            centre, axes, sizes = _markups_box(box)
        else:
            bounds = np.array(box["bounds"] if isinstance(box, Mapping) else box, float)
            low, high = bounds.reshape(3, 2).T
            centre, axes, sizes = (low + high) / 2, np.eye(3), high - low
    except (KeyError, TypeError, ValueError):
        raise _no_box() from None
    if not np.isfinite([*centre, *axes.ravel(), *sizes]).all() or (sizes < 0).any():
        raise _no_box()
    return centre, axes, sizes


def _markups_box(content: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rois = [one for one in content["markups"] if one.get("type") == "ROI"]
    if len(rois) != 1:
        raise BadInput(f"The markups file holds {len(rois)} ROIs: save the one around the tumour "
                       "in a file of its own.")
    [roi] = rois
    centre = np.array(roi["center"], float).reshape(3)
    sizes = np.array(roi["size"], float).reshape(3)
    axes = np.array(roi.get("orientation", np.eye(3)), float).reshape(3, 3)
    # files of Slicer say LPS or RAS; old ones say 1 for LPS and 0 for RAS
    if str(roi.get("coordinateSystem", "LPS")).upper() in ("RAS", "0"):
        to_lps = np.diag([-1.0, -1.0, 1.0])
        centre, axes = to_lps @ centre, to_lps @ axes
    return centre, axes, sizes


def markups_of(image: sitk.Image, region: Region) -> dict:
    """A region as the content of a markups file of Slicer: a box, turned as the slices are.

    Args:
        image: on whose slices it lies.
        region: to write; :func:`region_from_box` reads the same slices and square.
    """
    plane = plane_of(image)
    places = slice_places(image, plane)[list(region.slices)]
    centre = np.array(region.centre_mm, float)
    centre += ((places.min() + places.max()) / 2 - centre @ plane.along) * plane.along
    axes = np.column_stack([plane.across, np.cross(plane.along, plane.across), plane.along])
    depth = np.ptp(places) + image.GetSpacing()[plane.axis]
    return {"@schema": MARKUPS_SCHEMA, "markups": [{
        "type": "ROI", "coordinateSystem": "LPS", "coordinateUnits": "mm", "locked": False,
        "roiType": "Box", "insideOut": False, "center": centre.tolist(),
        "orientation": axes.ravel().tolist(),
        "size": [region.side_mm, region.side_mm, float(depth)],
        "controlPoints": [{"id": "1", "position": centre.tolist(), "positionStatus": "defined"}],
    }]}


# What a region holds


def check_region(study: Study, region: Region) -> list[str]:
    """Return sentences about what makes a region doubtful.

    Raises:
        BadInput: it is too small or too large, or lies outside the head.
    """
    if not SIDES_MM[0] <= region.side_mm <= SIDES_MM[1]:
        size = "small" if region.side_mm < SIDES_MM[0] else "large"
        raise BadInput(f"The region of interest is too {size} ({region.side_mm:.0f} mm): draw a "
                       f"square of {SIDES_MM[0]:.0f} to {SIDES_MM[1]:.0f} mm around the tumour.")
    study = _coarser(study)
    inside = _inside(study, region)
    head = _array(study.head) > 0
    voxel = np.prod(study.reference.GetSpacing())
    thickness = study.reference.GetSpacing()[slice_axis(study.reference)]
    share = (inside & head).sum() * voxel / (region.side_mm**2 * thickness * len(region.slices))
    if share < LEAST_HEAD:
        raise BadInput("The region of interest lies outside the head: draw it around the tumour.")
    warnings = []
    if share < MOSTLY_HEAD:
        warnings.append("Most of the region of interest lies outside the head.")
    if len(region.slices) == 1:
        warnings.append("The region of interest is on one slice only: draw it over all slices that "
                        "show tumour.")
    for sequence, covered in study.covered.items():
        if (_array(covered)[inside & head] > 0).mean() < 0.99:
            warnings.append(f"{sequence} does not reach all of the region of interest; what it "
                            "lacks is black.")
    if abnormal_ml(study, region) < LEAST_TUMOUR_ML:
        warnings.append("Nothing in the region of interest enhances or stands out in T2: check "
                        "that it is around the tumour.")
    if cut_off_share(study, region) > MOST_CUT_OFF:
        warnings.append("With skull and scalp a part of what enhances in the region of interest "
                        "was taken away: keep them.")
    if cavity_ml(study, region) >= LEAST_CAVITY_ML:
        warnings.append("The region of interest holds a smooth cavity full of fluid with a thin "
                        "border, as after an operation: the models know tumours before treatment "
                        "only.")
    return warnings


def _coarser(study: Study) -> Study:
    """The study with larger pixels and the same slices, on which masks are quick."""
    axis, spacing = slice_axis(study.reference), study.reference.GetSpacing()
    thick = spacing[axis] > THICKER * max(spacing[other] for other in range(3) if other != axis)
    # slices must stay the thickest
    widest = min(WIDEST_MM, spacing[axis] / THICKER) if thick else WIDEST_MM
    factors = [1 if other == axis else max(1, int(widest / step))
               for other, step in enumerate(spacing)]
    if max(factors) == 1:
        return study
    images = {name: sitk.BinShrink(image, factors) for name, image in study.images.items()}
    grid = next(iter(images.values()))
    masks = {name: on_grid(mask, grid, nearest=True) for name, mask in study.covered.items()}
    return replace(study, images=images, covered=masks,
                   head=on_grid(study.head, grid, nearest=True),
                   brain=on_grid(study.brain, grid, nearest=True),
                   cut_off=study.cut_off and on_grid(study.cut_off, grid, nearest=True))


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayViewFromImage(image)


def _inside(study: Study, region: Region) -> np.ndarray:
    """Voxels of the study in the squares of a region, bool (z, y, x)."""
    reference, plane = study.reference, plane_of(study.reference)
    shape = reference.GetSize()[::-1]
    step = np.reshape(reference.GetDirection(), (3, 3)) * np.array(reference.GetSpacing())
    from_centre = np.array(reference.GetOrigin()) - np.array(region.centre_mm)
    grid = np.meshgrid(*[np.arange(count) for count in shape], indexing="ij", sparse=True)
    z, y, x = grid
    inside = np.isin(grid[2 - plane.axis], region.slices)
    for way in (plane.across, plane.down):
        a, b, c = way @ step
        inside = inside & (np.abs(a * x + b * y + c * z + from_centre @ way) <= region.side_mm / 2)
    return inside


def abnormal_ml(study: Study, region: Region) -> float:
    """Return the volume in a region that enhances, or is bright in T2 without being fluid, mL.

    Vessels, sulci and other thin things are left out.
    """
    study = _coarser(study)
    inside, brain = _inside(study, region), _array(study.brain) > 0
    abnormal = without_vessels(_enhancing(study) & brain, study.reference)
    if "t2" in study.images:
        swollen = (_ratio(study, "t2") > SWOLLEN) & ~_fluid(study) & brain
        abnormal |= opened(swollen, study.reference, THICK_MM)
    return _ml(abnormal & inside, study)


def cut_off_share(study: Study, region: Region) -> float:
    """Return what share of what enhances in a region went with skull and scalp, 0 to 1.

    Only of what goes on in the kept brain, without vessels; 0 where nothing was taken away.
    """
    if study.cut_off is None:
        return 0.0
    study = _coarser(study)
    inside = _inside(study, region)
    lost = (_array(study.cut_off) > 0) & inside
    stays = without_vessels(_enhancing(study), study.reference) & inside & ~lost
    return float(lost.sum() / max((lost | stays).sum(), 1))


def cavity_ml(study: Study, region: Region) -> float:
    """Return the volume of fluid in a region that looks like the cavity of an operation, mL.

    It is wide, reaches near the surface of the brain, as ventricles do not, and its border enhances
    thinly or not at all, as that of a necrotic tumour does not. 0 without T2.
    """
    if "t2" not in study.images:
        return 0.0
    study = _coarser(study)
    reference, brain = study.reference, _array(study.brain) > 0
    fluid = opened(_fluid(study) & brain, reference, CAVITY_MM) & _inside(study, region)
    solid = opened(_enhancing(study), reference, RIM_MM)
    depth = depth_mm(brain, reference)
    labels, count = ndimage.label(fluid)
    volume = 0.0
    for number in range(1, count + 1):
        cavity = labels == number
        border = grown(cavity, reference, 5.0) & ~cavity
        if depth[cavity].min() <= SURFACE_MM and solid[border].mean() < 0.1:
            volume += _ml(cavity, study)
    return volume


def _enhancing(study: Study) -> np.ndarray:
    """What contrast agent made brighter, bool (z, y, x)."""
    if "t1c" not in study.images:
        return np.zeros(study.reference.GetSize()[::-1], bool)
    return enhancement(study.images.get("t1"), study.images["t1c"], study.brain) > ENHANCES


def _fluid(study: Study) -> np.ndarray:
    """What is far brighter than brain in T2 and far darker in T1, bool (z, y, x)."""
    fluid = _ratio(study, "t2") > FLUID_T2
    dark = next((name for name in ("t1", "t1c") if name in study.images), None)
    return fluid & (_ratio(study, dark) < FLUID_T1) if dark else fluid


def _ratio(study: Study, sequence: str) -> np.ndarray:
    """Values in medians of the brain."""
    values = _array(study.images[sequence])
    return values / max(float(np.median(values[_array(study.brain) > 0])), 1e-6)


def _ml(mask: np.ndarray, study: Study) -> float:
    return float(mask.sum() * np.prod(study.reference.GetSpacing()) / 1000)


# Without a user


def proposed_region(study: Study) -> tuple[Region, str]:
    """The region that :func:`propose_region` finds, and why it is that.

    Raises:
        BadInput: nothing was found.
    """
    proposal = propose_region(study)
    if proposal.region is None:
        raise BadInput(proposal.reason)
    return proposal.region, proposal.reason


def propose_region(study: Study, margin_mm: float = MARGIN_MM) -> Proposal:
    """Look for the tumour: the thickest thing in the brain that contrast agent made brighter.

    Rings are filled. Vessels, sinuses and meninges are thin, and the latter two lie on the surface.
    So candidates are ranked by the radius of the largest ball within, times brightness, times how
    deep they reach, up to :data:`SURFACE_MM`. Best effort: the user decides.
    """
    if "t1c" not in study.images:
        return Proposal(None, 0.0, "Without contrast-enhanced T1 no region can be proposed: draw "
                                   "one.")
    study = _coarser(study)
    reference, brain = study.reference, _array(study.brain) > 0
    bright = enhancement(study.images.get("t1"), study.images["t1c"], study.brain)
    mask = (bright > ENHANCES) & brain
    solid = without_vessels(mask, reference)
    radius = depth_mm(solid, reference)
    depth = depth_mm(brain, reference).clip(0, SURFACE_MM)
    labels, count = ndimage.label(solid)
    numbers = np.arange(1, count + 1)
    own = labels > 0  # sorting all voxels takes long
    likely = (ndimage.maximum(radius[own], labels[own], numbers)
              * ndimage.mean(bright[own].clip(0, 2), labels[own], numbers)
              * ndimage.maximum(depth[own], labels[own], numbers) / SURFACE_MM)
    found = []
    for number in numbers[np.argsort(-np.asarray(likely))]:
        tumour = labels == number
        region = region_from_mask(study, image_like(tumour.astype(np.uint8), reference), margin_mm)
        # all sinuses together, or all of the dura, are too large
        if _ml(tumour, study) >= LEAST_PROPOSED_ML and region.side_mm <= LARGEST_PROPOSED_MM:
            found.append((region, float(likely[number - 1]), _ml(tumour, study)))
    if not found:
        return Proposal(None, 0.0, "Nothing but vessels enhances in the brain: draw a region of "
                                   "interest.")
    region, score, volume = found[0]
    second = found[1][1] if len(found) > 1 else 0.0
    return Proposal(region, 1 - second / score, "It is around the thickest thing that enhances, "
                    f"{volume:.1f} mL on {len(region.slices)} slices.")


def without_vessels(mask: np.ndarray, image: sitk.Image) -> np.ndarray:
    """What enhances, without vessels, with the holes of rings.

    Dura and sinuses encircle all of the brain; such large holes are none of a tumour.
    """
    axis = slice_axis(image)
    pixel = np.prod(image.GetSpacing()) / image.GetSpacing()[axis]
    solid = mask.copy()
    for plane in np.moveaxis(solid, 2 - axis, 0):
        labels, count = ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)
        areas = ndimage.sum_labels(labels > 0, labels, np.arange(1, count + 1)) * pixel
        plane |= np.isin(labels, 1 + np.flatnonzero(areas <= LARGEST_HOLE_MM2))
    return opened(solid, image, THIN_MM)
