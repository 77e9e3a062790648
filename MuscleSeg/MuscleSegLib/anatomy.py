# SPDX-License-Identifier: Apache-2.0
"""Region maps of real anatomy for the simulation, made from published label maps.

Two sources of labels are understood:

- the pelvic reference labels of Hiasa et al. (28 structures of hip and thigh, left and right
  sharing a label, with a body mask), which carry all 22 structures of this module;
- label maps with the names of TotalSegmentator's 117 structures, which give the organs of trunk and
  chest as context. They lack most muscles of the thigh, so what is not named there is ignored by
  the loss instead of being taught as background.

Real CT of other parts of the body show what is none of the structures.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy import ndimage

from ReadingRoomLib.phantoms.region_map import IGNORED, RealScan, RegionMap, Tissue

# region codes beyond the labels of the sources
SKIN, FAT, INTERMUSCULAR, CAVITY, UNKNOWN, JOINT = 240, 241, 242, 243, 244, 245
ORGAN_OFFSET = 60  # TotalSegmentator label n becomes region 60 + n

# reference label -> label of this module; the others (spine, trunk muscles) are background
PELVIC_TARGETS = {1: 1, 2: 2, 3: 3, **{label: label - 1 for label in range(5, 24)}}
PELVIS, FEMUR, SACRUM, SPINE = 1, 2, 3, 4

TRUNK_TARGETS = {"hip": 1, "femur": 2, "sacrum": 3, "gluteus_maximus": 4, "gluteus_medius": 5,
                 "gluteus_minimus": 6}


def read_pelvic_reference(folder: Path) -> RegionMap:
    """Region map of one case of the pelvic reference labels.

    Args:
        folder: holds ``label.mhd`` and ``mask.mhd`` on one grid, slices 3 mm apart.
    """
    label_image = sitk.DICOMOrient(sitk.ReadImage(str(folder / "label.mhd")), "LPS")
    mask_image = sitk.DICOMOrient(sitk.ReadImage(str(folder / "mask.mhd")), "LPS")
    labels = sitk.GetArrayFromImage(label_image).astype(np.uint8)
    body = (sitk.GetArrayFromImage(mask_image) > 0) | (labels > 0)
    spacing = label_image.GetSpacing()[::-1]
    return region_map_of(labels, body, spacing)


def region_map_of(labels: np.ndarray, body: np.ndarray,
                  spacing: tuple[float, float, float]) -> RegionMap:
    """Region map of labels, at half the slice distance, cropped to the body.

    Args:
        labels: uint8 (z, y, x) in LPS axes, values of the pelvic reference labels
            (:data:`PELVIC_TARGETS`).
        body: bool, the mask of the body on the same grid.
        spacing: voxel size in mm, in array order (z, y, x).
    """
    labels, body = _crop(labels, body, margin=6)
    regions = np.where(labels > 0, labels, _fill_unnamed(labels, body, spacing)).astype(np.uint8)
    regions, spacing = _refine_slices(regions, spacing)

    tissue = np.zeros(256, np.uint8)
    target = np.zeros(256, np.uint8)
    for label in range(1, 29):
        tissue[label] = Tissue.BONE if label <= SPINE else Tissue.MUSCLE
        target[label] = PELVIC_TARGETS.get(label, 0)
    _name_filling(tissue, target)
    implants = (FEMUR, FEMUR, FEMUR, PELVIS, SPINE)
    return RegionMap(regions, spacing, tissue, target, implants)


def read_trunk_labels(label_file: Path, names_file: Path) -> RegionMap:
    """Region map of a label map with TotalSegmentator's structures (values named in a JSON)."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(label_file)), "LPS")
    labels = sitk.GetArrayFromImage(image).astype(np.uint8)
    names = {int(k): v["name"] for k, v in json.loads(names_file.read_text("utf-8")).items()}
    spacing = image.GetSpacing()[::-1]
    pad = (0, 30, 30)
    labels = np.pad(labels, [(p, p) for p in pad])

    limbs = [value for value, name in names.items()
             if name.split("_")[0] in ("humerus", "skull", "scapula")]
    trunk = (labels > 0) & ~np.isin(labels, limbs)
    hull = _hull_by_slice(trunk)
    body = ndimage.binary_dilation(hull, iterations=round(16 / spacing[1]),
                                   structure=_in_plane_cross())
    hips = [v for v, name in names.items() if name.startswith("hip_")]
    crest = np.nonzero(np.isin(labels, hips).any((1, 2)))[0].max()

    filling = np.where(hull, CAVITY, np.where(body, FAT, 0)).astype(np.uint8)
    # below the iliac crest lie muscles that these labels do not name: painted, never taught
    lower = filling[: crest + 1]
    lower[hull[: crest + 1]] = UNKNOWN
    skin = body & ~ndimage.binary_erosion(body, iterations=1, structure=_in_plane_cross())
    filling[skin] = SKIN
    regions = np.where(labels > 0, labels + ORGAN_OFFSET, filling).astype(np.uint8)

    tissue = np.zeros(256, np.uint8)
    target = np.zeros(256, np.uint8)
    _name_filling(tissue, target)
    for value, name in names.items():
        code = value + ORGAN_OFFSET
        tissue[code] = _tissue_of(name)
        plain = name.removesuffix("_left").removesuffix("_right")
        target[code] = TRUNK_TARGETS.get(plain, 0)
        if plain == "iliopsoas":
            # iliacus and psoas share this label below the crest; above it there is psoas alone
            upper = regions[crest + 1 :]
            upper[upper == code] = 59
            target[code] = IGNORED
            tissue[59], target[59] = Tissue.MUSCLE, 12
        if plain in ("vertebrae_S1",):
            target[code] = TRUNK_TARGETS["sacrum"]
    return RegionMap(regions, spacing, tissue, target)


# file, mm at the feet's end and mm at the head's end that may show a structure, so are not taught
ELSEWHERE = (
    ("ct_visible_human/vhm_head_ct_1.5mm.nii.gz", 0, 0),
    ("ct_visible_human/vhf_lower_leg_ct_1.5mm.nii.gz", 0, 90),
    ("ct_chest_lungdx_A0001/ct_256x256x64.nii.gz", 25, 0),
    ("ct_totalsegmentator_examples/aorta_case/ct.nii.gz", 25, 0),
)


def read_elsewhere(data: Path) -> list[RealScan]:
    """Real CT of head, chest and lower legs, where none of the structures is."""
    scans = []
    for name, feet, head in ELSEWHERE:
        image = sitk.DICOMOrient(sitk.ReadImage(str(data / name), sitk.sitkInt16), "LPS")
        spacing = image.GetSpacing()[::-1]
        hounsfield = sitk.GetArrayFromImage(image)
        target = np.zeros(len(hounsfield), np.uint8)
        target[: round(feet / spacing[0])] = IGNORED
        target[len(target) - round(head / spacing[0]) :] = IGNORED
        scans.append(RealScan(hounsfield, spacing, target))
    return scans


def _tissue_of(name: str) -> Tissue:
    """Tissue of a TotalSegmentator structure."""
    first = name.split("_")[0]
    if name.startswith(("gluteus", "iliopsoas", "autochthon", "heart", "atrial")):
        return Tissue.ORGAN if name.startswith(("heart", "atrial")) else Tissue.MUSCLE
    if first in ("vertebrae", "rib", "hip", "femur", "sacrum", "humerus", "scapula", "clavicula",
                 "sternum", "skull"):
        return Tissue.BONE
    if first == "lung" or name == "trachea":
        return Tissue.LUNG
    if name in ("colon", "small_bowel", "stomach", "duodenum", "esophagus"):
        return Tissue.BOWEL
    if name in ("urinary_bladder", "gallbladder"):
        return Tissue.FLUID
    if name == "costal_cartilages":
        return Tissue.CARTILAGE
    if any(word in name for word in ("artery", "vein", "vena", "aorta", "trunk")):
        return Tissue.VESSEL
    return Tissue.ORGAN


def _name_filling(tissue: np.ndarray, target: np.ndarray) -> None:
    for code, kind in ((SKIN, Tissue.SKIN), (FAT, Tissue.FAT), (CAVITY, Tissue.CAVITY),
                       (INTERMUSCULAR, Tissue.INTERMUSCULAR), (UNKNOWN, Tissue.INTERMUSCULAR),
                       (JOINT, Tissue.CARTILAGE)):
        tissue[code] = kind
        target[code] = 0
    target[UNKNOWN] = IGNORED


def _crop(labels, body, margin):
    _, y, x = np.nonzero(body)
    rows = slice(max(0, y.min() - margin), y.max() + margin + 1)
    columns = slice(max(0, x.min() - margin), x.max() + margin + 1)
    return labels[:, rows, columns], body[:, rows, columns]


def _in_plane_cross() -> np.ndarray:
    return ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])[:, None, None]


def _hull_by_slice(mask: np.ndarray) -> np.ndarray:
    from skimage.morphology import convex_hull_image

    hull = np.zeros_like(mask)
    for index, plane in enumerate(mask):
        if plane.any():
            hull[index] = convex_hull_image(plane)
    return hull


def _fill_unnamed(labels, body, spacing) -> np.ndarray:
    """Say what the unnamed part of the body is: skin, fat, spaces between muscles, cavity."""
    wall = np.isin(labels, (1, 3, 4, 25, 26, 28, 13, 8, 24))
    cavity = _hull_by_slice(wall) & body
    filling = np.where(body, FAT, 0).astype(np.uint8)
    near = ndimage.binary_closing(labels > 0, iterations=round(9 / spacing[1]),
                                  structure=_in_plane_cross())
    filling[near & body] = INTERMUSCULAR
    # a slice belongs to the trunk while the abdominal wall or the pelvic ring is in it
    trunk = np.isin(labels, (26, 28, 1)).any((1, 2))
    filling[cavity & trunk[:, None, None]] = CAVITY
    skin = body & ~ndimage.binary_erosion(body, iterations=2, structure=_in_plane_cross())
    filling[skin] = SKIN
    # cartilage of hip and sacroiliac joints: what closes the gap between two bones
    bones = np.isin(labels, (PELVIS, FEMUR, SACRUM))
    filling[ndimage.binary_closing(bones, iterations=round(5 / spacing[1]),
                                   structure=_in_plane_cross())] = JOINT
    return filling


def _refine_slices(regions, spacing, factor: int = 2):
    """Halve the slice distance by shape: every region smoothed, the strongest one wins."""
    fine_shape = ((len(regions) - 1) * factor + 1, *regions.shape[1:])
    best = np.zeros(fine_shape, np.float32)
    result = np.zeros(fine_shape, np.uint8)
    reach = 4  # voxels that the smoothing looks at
    for code, box in enumerate(ndimage.find_objects(regions + 1)):
        if box is None:
            continue
        box = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)
        mask = torch.from_numpy(ndimage.gaussian_filter(
            (regions[box] == code).astype(np.float32), (0.4, 0.8, 0.8)))
        depth = (len(mask) - 1) * factor + 1
        score = F.interpolate(mask[None, None], size=(depth, *mask.shape[1:]), mode="trilinear",
                              align_corners=True)[0, 0].numpy()
        place = (slice(box[0].start * factor, box[0].start * factor + depth), *box[1:])
        better = score > best[place]
        best[place][better] = score[better]
        result[place][better] = code
    return result, (spacing[0] / factor, spacing[1], spacing[2])
