# SPDX-License-Identifier: Apache-2.0
"""The sample: a real CT, and a simulated follow-up of it with lesions whose places are known."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import SimpleITK as sitk

from ReadingRoomLib.results import whole_file
from ReadingRoomLib.sampledata import fetch_example_ct

from .bone_parts import bone_parts
from .bones import bone_mask
from .follow_up import simulate_follow_up
from .lesions import in_follow_up, insert_lesions

SEED = 11
LESIONS = 6
NAMES = {"prior": "CTBonesPrior.nrrd", "current": "CTBonesCurrent.nrrd",
         "truth": "CTBonesTruth.nrrd"}


def make(folder: Path, which: Literal["prior", "current", "truth"]) -> Path:
    """Write the sample's scans into a folder, unless they are there.

    The prior scan is the packaged example CT. The current one is simulated from it: the patient
    lies otherwise, bones have moved by themselves, noise and sharpness differ, and there are six
    lesions of 10 to 18 mm, numbered in the truth.

    Args:
        folder: exists.
        which: the file that is asked for.

    Returns:
        Path of that file.

    Raises:
        DownloadFailed: the example CT cannot be had.
    """
    paths = {name: folder / file for name, file in NAMES.items()}
    if not all(path.is_file() for path in paths.values()):
        prior = sitk.DICOMOrient(sitk.Cast(sitk.ReadImage(str(fetch_example_ct(folder))),
                                           sitk.sitkInt16), "LPS")
        lesions = insert_lesions(prior, bone_mask(prior), LESIONS, SEED, diameters_mm=(10, 18),
                                 changes_hu=(150, 350), kinds=("denser", "thinner"))
        follow_up = simulate_follow_up(lesions.image, bone_parts(prior), SEED)
        images = {"prior": prior, "current": sitk.Cast(follow_up.current, sitk.sitkInt16),
                  "truth": in_follow_up(lesions, follow_up)}
        for name, image in images.items():
            with whole_file(paths[name]) as unfinished:
                sitk.WriteImage(image, str(unfinished), useCompression=True)
    return paths[which]
