# SPDX-License-Identifier: Apache-2.0
"""Size, density and composition of each muscle and bone, and how the two sides compare.

What is measured, and where it comes from:

- Ranges of density. Adipose tissue between and within muscles has -190 to -30 HU, muscle -29 to
  150 HU (Aubrey et al., "Measurement of skeletal muscle radiation attenuation and basis of its
  biological variation", Acta Physiologica 2014;210:489-497). Within muscle, 30 HU parts low from
  normal attenuation, as studies of myosteatosis have it (Kim et al., "Assessment of Myosteatosis on
  Computed Tomography by Automatic Generation of a Muscle Quality Map", JMIR Medical Informatics
  2020;8:e23049). Other studies use 0 to 34 or 0 to 30 HU; Long et al., PLoS ONE 2019;14:e0211629,
  compare seven ranges in the thigh. The one taken here leaves no gap and no overlap.
- Mean density falls with the fat that a muscle holds, by about 1 HU for 1 g in 100 mL (Goodpaster
  et al., "Skeletal muscle attenuation determined by computed tomography is associated with
  skeletal muscle lipid content", Journal of Applied Physiology 2000;89:104-110). It is that of all
  voxels of the structure.
- Cross-sectional areas of single muscles are read on axial slices (Momose et al., BMC
  Musculoskeletal Disorders 2017;18:457). Here it is the largest one, because no level is the best
  one for all muscles.
- How far the sides differ in density is also told in HU, as studies of hip osteoarthritis compare
  the healthy and the affected side (doi:10.1007/s11548-022-02797-8): HU have no natural zero, so a
  share of their mean says little near 0 HU.

Partial volume: a voxel on the border of a muscle holds some of the fat beside it, and counts as
fat, or as muscle of low attenuation, wherever the muscle is thin. So both fractions are given
twice: of the whole structure, as published, and of its inside, without the outermost voxel in each
slice. The second is the one to compare muscles of different size by. Volume, area and mean density
are of the whole structure only: without its border a muscle would be smaller than it is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.geometry import straighten, to_lps_axes

from .measurements import occupied
from .structures import LabelledStructure, labels_of

FAT_HU, LOW_HU, NORMAL_HU = (-190, -30), (-29, 29), (30, 150)
"""Lowest and highest value of each tissue, whole HU, both included."""

AXIAL_DEGREES = 5.0
"""Slices tilted by more are no axial ones: their labels are straightened before areas are taken."""

CUT_OFF = "cut off by the end of the scan: volume, area and asymmetry are not comparable"
OTHER_CUT_OFF = "other side cut off by the end of the scan: asymmetry is not comparable"
OTHER_MISSING = "other side not in the segmentation"

_VALUES = 256
_OTHER, _FAT, _LOW, _NORMAL = range(4)


@dataclass(frozen=True)
class MuscleMeasurement:
    """One structure of one side. What does not apply to it is None.

    Attributes:
        structure: identifier, such as ``gluteus_maximus``.
        side: ``left``, ``right`` or empty.
        volume_ml: in millilitres.
        mean_hu, sd_hu: of all its voxels, HU.
        fat_fraction: share of its voxels with the density of fat, 0 to 1; muscles only.
        low_attenuation_fraction: share of low attenuation among its voxels with the density of
            muscle, 0 to 1; muscles only.
        fat_fraction_inside, low_attenuation_fraction_inside: the same without the outermost voxel
            of each slice; None when nothing is left.
        max_area_cm2: largest axial cross-section; muscles only.
        max_area_s_mm: where that is, mm towards the head in the patient's coordinates.
        centroid_l_mm, centroid_p_mm, centroid_s_mm: LPS.
        volume_asymmetry_percent: |left - right| over their mean; None when not comparable.
        hu_asymmetry_percent: the same of the mean densities, where both are above 0 HU.
        hu_difference: mean density of the left minus that of the right, HU.
        cut_off: ``yes`` when it reaches an end of the scan, so that a part of it may be missing.
        remark: what does not compare, and why; or empty.
    """

    structure: str
    side: str
    volume_ml: float
    mean_hu: float
    sd_hu: float
    fat_fraction: float | None
    fat_fraction_inside: float | None
    low_attenuation_fraction: float | None
    low_attenuation_fraction_inside: float | None
    max_area_cm2: float | None
    max_area_s_mm: float | None
    centroid_l_mm: float
    centroid_p_mm: float
    centroid_s_mm: float
    volume_asymmetry_percent: float | None = None
    hu_asymmetry_percent: float | None = None
    hu_difference: float | None = None
    cut_off: str = ""
    remark: str = ""


def measure_muscles(ct: sitk.Image, labels: sitk.Image) -> list[MuscleMeasurement]:
    """Measure every structure that is there, in anatomical order, right before left.

    Args:
        ct: 3D, int16 Hounsfield units, any orientation.
        labels: uint8 on the same grid, values of ``labels_of(True)``.
    """
    labels, _ = to_lps_axes(labels)
    ct, _ = to_lps_axes(ct)
    tally = _Tally()
    tally.add(sitk.GetArrayViewFromImage(ct), sitk.GetArrayViewFromImage(labels))
    areas = largest_areas(labels)
    found = [_measurement(item, tally, labels, areas[item.value])
             for item in labels_of(True) if tally.count[item.value]]
    found = list(_compared(found))
    order = {item.structure.name: item.structure.value for item in labels_of(False)}
    return sorted(found, key=lambda one: (order[one.structure], one.side != "right"))


def write_muscles(path: Path, measurements: list[MuscleMeasurement]) -> None:
    """One line a structure and side, with a header; what does not apply is empty."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(MuscleMeasurement)])
        writer.writeheader()
        writer.writerows(asdict(measurement) for measurement in measurements)


def largest_areas(labels: sitk.Image) -> dict[int, tuple[float, float]]:
    """Return the largest axial cross-section of each label.

    Args:
        labels: uint8 with axes along L, P and S.

    Returns:
        by value, the area in cm2 and where it is, mm along S: that of the middle of the structure
        in that slice, should the slices be tilted a little.
    """
    labels = straighten(labels, AXIAL_DEGREES, fill=0, interpolation="nearest")
    array = sitk.GetArrayViewFromImage(labels)
    best = np.zeros(_VALUES)
    at = np.zeros((_VALUES, 3))
    for z, plane in enumerate(array):
        box = occupied(plane)
        if box is None:
            continue
        values = plane[box].ravel()
        count = np.bincount(values, minlength=_VALUES)
        larger = np.flatnonzero(count > best)
        for axis, places in enumerate(_places(box)):
            total = np.bincount(values, places.ravel(), _VALUES)
            at[larger, axis] = total[larger] / count[larger]
        at[larger, 2] = z
        best[larger] = count[larger]
    pixel_cm2 = labels.GetSpacing()[0] * labels.GetSpacing()[1] / 100
    return {int(value): (best[value] * pixel_cm2, _place(labels, at[value])[2])
            for value in np.flatnonzero(best)}


class _Tally:
    """Sums over the voxels of each label, slice by slice: no copy of the scan is made."""

    def __init__(self) -> None:
        self.count, self.hu, self.squares, self.ends = np.zeros((4, _VALUES))
        self.places = np.zeros((_VALUES, 3))
        self.tissues, self.inner = np.zeros((2, _VALUES, 4))

    def add(self, ct: np.ndarray, labels: np.ndarray) -> None:
        """Args are (z, y, x): HU, and label values."""
        for z, plane in enumerate(labels):
            box = occupied(plane)
            if box is None:
                continue
            values, hu = plane[box].ravel(), ct[z][box].ravel().astype(np.float64)
            count = _sums(values)
            self.count += count
            self.hu += _sums(values, hu)
            self.squares += _sums(values, hu * hu)
            self.places[:, 2] += count * z
            for axis, places in enumerate(_places(box)):
                self.places[:, axis] += _sums(values, places.ravel())
            kinds = values.astype(np.intp) * 4 + _tissues(hu)
            inside = _inside(plane)[box].ravel()
            self.tissues += np.bincount(kinds, minlength=4 * _VALUES).reshape(-1, 4)
            self.inner += np.bincount(kinds[inside], minlength=4 * _VALUES).reshape(-1, 4)
            edges = [plane[0], plane[-1], plane[:, 0], plane[:, -1]]
            if z in (0, len(labels) - 1):
                edges.append(values)
            self.ends += sum(_sums(edge) for edge in edges)


def _sums(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    return np.bincount(values, weights, _VALUES)


def _places(box: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of each voxel of a box."""
    rows, columns = np.mgrid[box]
    return columns, rows


def _tissues(hu: np.ndarray) -> np.ndarray:
    kinds = np.full(hu.shape, _OTHER)
    for kind, (low, high) in ((_FAT, FAT_HU), (_LOW, LOW_HU), (_NORMAL, NORMAL_HU)):
        kinds[(hu >= low) & (hu <= high)] = kind
    return kinds


def _inside(plane: np.ndarray) -> np.ndarray:
    """Which voxels have their own label on all four sides: every structure eroded at once."""
    inside = np.zeros(plane.shape, bool)
    middle = plane[1:-1, 1:-1]
    inside[1:-1, 1:-1] = ((middle == plane[:-2, 1:-1]) & (middle == plane[2:, 1:-1])
                          & (middle == plane[1:-1, :-2]) & (middle == plane[1:-1, 2:]))
    return inside


def _measurement(item: LabelledStructure, tally: _Tally, labels: sitk.Image,
                 area: tuple[float, float]) -> MuscleMeasurement:
    value = item.value
    n = tally.count[value]
    mean = tally.hu[value] / n
    centroid = _place(labels, tally.places[value] / n)
    is_muscle = item.structure.group != "bone"
    fat, low = _fractions(tally.tissues[value]) if is_muscle else (None, None)
    fat_inside, low_inside = _fractions(tally.inner[value]) if is_muscle else (None, None)
    return MuscleMeasurement(
        structure=item.structure.name, side=item.side or "",
        volume_ml=round(n * float(np.prod(labels.GetSpacing())) / 1000, 3),
        mean_hu=round(mean, 2),
        sd_hu=round(float(np.sqrt(max(0.0, tally.squares[value] / n - mean**2))), 2),
        fat_fraction=fat, fat_fraction_inside=fat_inside,
        low_attenuation_fraction=low, low_attenuation_fraction_inside=low_inside,
        max_area_cm2=round(area[0], 3) if is_muscle else None,
        max_area_s_mm=round(area[1], 2) if is_muscle else None,
        centroid_l_mm=round(centroid[0], 2), centroid_p_mm=round(centroid[1], 2),
        centroid_s_mm=round(centroid[2], 2),
        cut_off="yes" if tally.ends[value] else "",
        remark=CUT_OFF if tally.ends[value] else "",
    )


def _fractions(tissues: np.ndarray) -> tuple[float | None, float | None]:
    """Fat of all, and low attenuation of muscle; None of nothing."""
    muscle = tissues[_LOW] + tissues[_NORMAL]
    return (round(tissues[_FAT] / tissues.sum(), 4) if tissues.sum() else None,
            round(tissues[_LOW] / muscle, 4) if muscle else None)


def _place(image: sitk.Image, index: np.ndarray) -> tuple[float, ...]:
    return image.TransformContinuousIndexToPhysicalPoint([float(part) for part in index])


def _compared(found: list[MuscleMeasurement]) -> Iterator[MuscleMeasurement]:
    """The measurements with what their two sides say of each other."""
    by_name = {(one.structure, one.side): one for one in found}
    for one in found:
        if not one.side:
            yield one
            continue
        left, right = (by_name.get((one.structure, side)) for side in ("left", "right"))
        if left is None or right is None:
            yield replace(one, remark=one.remark or OTHER_MISSING)
        elif left.cut_off or right.cut_off:
            yield replace(one, remark=one.remark or OTHER_CUT_OFF)
        else:
            positive = min(left.mean_hu, right.mean_hu) > 0
            yield replace(
                one, volume_asymmetry_percent=_asymmetry(left.volume_ml, right.volume_ml),
                hu_asymmetry_percent=_asymmetry(left.mean_hu, right.mean_hu) if positive else None,
                hu_difference=round(left.mean_hu - right.mean_hu, 2))


def _asymmetry(left: float, right: float) -> float:
    return round(200 * abs(left - right) / (left + right), 2)
