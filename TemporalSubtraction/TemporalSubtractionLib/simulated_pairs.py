# SPDX-License-Identifier: Apache-2.0
"""Prior and current CT of a patient with known truth, made from one real CT and aligned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ReadingRoomLib.volume_files import quiet

from .bone_parts import bone_parts
from .bones import bone_mask
from .follow_up import FollowUp, simulate_follow_up
from .lesions import Lesion, Lesions, in_follow_up, insert_lesions
from .quality import alignment_quality
from .registration import find_motion

CTS = {
    "TotalSegmentator trunk": "ct_totalsegmentator_examples/example_ct.nii.gz",
    "TotalSegmentator thorax": "ct_totalsegmentator_examples/aorta_case/ct.nii.gz",
    "LungDx A0001": "ct_chest_lungdx_A0001/ct_256x256x64.nii.gz",
    "TotalSegmentator s0244": "labels_totalsegmentator_gt_s0327_s0328/ct244_bone.nii.gz",
    "TotalSegmentator s0328": "labels_totalsegmentator_gt_s0327_s0328/ct328_bone.nii.gz",
    "Visible Human male": "ct_visible_human/vhm_head_ct_1.5mm.nii.gz",
    "Visible Human female": "ct_visible_human/vhf_lower_leg_ct_1.5mm.nii.gz",
    "InVesalius cranium": "ct_head_volumes/invesalius_cranium_ct.nii.gz",
}
"""File in the folder of the data by name of the patient."""


@dataclass(frozen=True)
class SimulatedPair:
    """A real CT and a simulated follow-up, aligned as in practice.

    Attributes:
        patient: name of the patient.
        current, prior: HU.
        transform, quality: of the alignment.
        lesions: that are new, in the order of their numbers.
        truth: number of the lesion in every voxel of ``current``, 0 elsewhere.
    """

    patient: str
    current: sitk.Image
    prior: sitk.Image
    transform: sitk.Transform
    quality: sitk.Image
    lesions: tuple[Lesion, ...]
    truth: sitk.Image


def patients(data: Path) -> Iterator[tuple[str, sitk.Image]]:
    """Names and CTs, float32 along L, P and S, of those that are in the folder."""
    for name, file in CTS.items():
        if (data / file).is_file():
            ct = sitk.ReadImage(str(data / file), sitk.sitkFloat32)
            yield name, sitk.DICOMOrient(ct, "LPS")


def simulated_pair(patient: str, prior: sitk.Image, seed: int, lesions: int = 0) -> SimulatedPair:
    """Let bones move, lesions grow and another scanner look; then align.

    Args:
        patient: name.
        prior: HU, along L, P and S.
        seed: the same number gives the same pair.
        lesions: how many are wanted.

    Raises:
        BadInput: the two cannot be aligned.
    """
    grown, follow_up = changed_scan(prior, seed, lesions)
    current = sitk.Cast(sitk.Cast(follow_up.current, sitk.sitkInt16), sitk.sitkFloat32)
    with quiet():
        transform = find_motion(current, prior).transform(current)
        quality = alignment_quality(current, prior, transform)
        truth = in_follow_up(grown, follow_up)
    return SimulatedPair(patient, current, prior, transform, quality, grown.lesions, truth)


def changed_scan(prior: sitk.Image, seed: int, lesions: int) -> tuple[Lesions, FollowUp]:
    """A CT with new lesions, and its follow-up; arguments as for :func:`simulated_pair`."""
    grown = insert_lesions(prior, bone_mask(prior), lesions, seed)
    return grown, simulate_follow_up(grown.image, bone_parts(prior), seed)
