# SPDX-License-Identifier: Apache-2.0
"""Where to look in a case: candidates in a region, and normal places of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ReadingRoomLib.errors import BadInput

from .candidates import find_candidates, match, normal_points
from .lesion_sets import LesionCase
from .region import KINDS, parted, place_of, search_region
from .transfer_samples import Places, SampleSettings

PATCH_MM = {"vessels": 24.0, "lung": 40.0, "brain": 48.0, "bone": 40.0, "other": 40.0}
MODALITIES = {"vessels": "MR", "lung": "CT", "bone": "CT"}


def named(region: str) -> str:
    """A region for people, without folders."""
    kind, place = parted(region)
    if place in KINDS:
        return kind
    return f"{Path(place).name}, drawn" + ("" if kind == "other" else f" ({kind})")


def find_places(image: sitk.Image, case: LesionCase, settings: SampleSettings,
                seed: int) -> Places:
    """Candidates of a case, which lesions they lie on, and normal places.

    Args:
        image: as it was read.
        case: with its lesions.
        settings: with the region, see :func:`.region.parted`; a folder has a file for each case,
            named as its image.
        seed: of what is drawn.

    Raises:
        BadInput: the region is not to be found; the sentence names the case.
    """
    kind, _ = parted(settings.region)
    try:
        region = search_region(image, place_of(settings.region, case.image), settings.modality)
    except BadInput as error:
        raise BadInput(f"{case.image.name} ({case.place}): {error.message}") from error
    found = find_candidates(image, region, kind)
    # false candidates are half of what is normal already, so the rest is drawn anywhere
    normals = normal_points(region, case.lesions, settings.normals, seed, np.empty((0, 3)))
    return Places(found.points, match(found.points, case.lesions), normals)
