# SPDX-License-Identifier: Apache-2.0
"""Bones by the names that people and programs give them, as coded concepts.

Understands TotalSegmentator's names (``vertebrae_L3``, ``rib_left_4``, ``hip_right``), MuscleSeg's
(``Femur, left``) and Slicer's (``L3 vertebra``).
"""

from __future__ import annotations

import re

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

PRIVATE_SCHEME = "99READINGROOM"
"""For concepts that neither SNOMED CT nor DICOM has; 99 says that it is our own."""

LEFT, RIGHT = codes.SCT.Left, codes.SCT.Right

# The SNOMED CT codes are those of DICOM's context groups 7151 and 7304, from pydicom's dictionary.
_BONES = {
    "clavicle": codes.SCT.Clavicle,
    "clavicula": codes.SCT.Clavicle,
    "coccyx": codes.SCT.Coccyx,
    "femur": codes.SCT.Femur,
    "fibula": codes.SCT.Fibula,
    "hip": codes.SCT.BoneStructureOfPelvis,  # the hip bone alone is in none of DICOM's groups
    "humerus": codes.SCT.Humerus,
    "ilium": codes.SCT.Ilium,
    "ischium": codes.SCT.Ischium,
    "mandible": codes.SCT.Mandible,
    "patella": codes.SCT.Patella,
    "pelvis": codes.SCT.BoneStructureOfPelvis,
    "radius": codes.SCT.Radius,
    "rib": codes.SCT.Rib,
    "sacrum": codes.SCT.Sacrum,
    "scapula": codes.SCT.Scapula,
    "skull": codes.SCT.Skull,
    "sternum": codes.SCT.Sternum,
    "tibia": codes.SCT.Tibia,
    "ulna": codes.SCT.Ulna,
}
_VERTEBRAE = {
    f"{part}{number}".lower(): getattr(codes.SCT, f"{part}{number}Vertebra")
    for part, count in (("C", 7), ("T", 12), ("L", 5)) for number in range(1, count + 1)
}
_LONGEST_MEANING = 64  # characters, DICOM's Long String


def is_bone(name: str) -> bool:
    """Return whether a name is understood as that of a bone."""
    return bool(name) and bone_site(name)[0].scheme_designator != PRIVATE_SCHEME


def bone_site(name: str) -> tuple[Code, Code | None]:
    """Return the code of a bone, and that of its side.

    Args:
        name: as on a label; empty when it is not known, which gives the code of any bone.

    Returns:
        SNOMED CT where the name is understood, else a private code with the name itself; LEFT,
        RIGHT or None.
    """
    words = re.findall(r"[a-z]+\d*|\d+", name.lower())
    side = {"left": LEFT, "right": RIGHT}.get(next(
        (word for word in words if word in ("left", "right")), ""))
    for word in words:
        if code := _VERTEBRAE.get(word) or _BONES.get(word):
            return code, side
    if not name:
        return codes.SCT.Bone, None
    text = name.replace("\\", "/")[:_LONGEST_MEANING]  # DICOM parts values with backslashes
    return Code(text, PRIVATE_SCHEME, text), side
