# SPDX-License-Identifier: Apache-2.0
"""Names and codes of the structures of a simulated trunk.

Names are those of TotalSegmentator's classes where it has one; the others are painted, but in the
labels they belong to another structure or to none.
"""

from __future__ import annotations

_SIDED = ("autochthon", "gluteus_maximus", "gluteus_medius", "gluteus_minimus", "iliopsoas",
          "kidney", "adrenal_gland", "lung_upper_lobe", "lung_lower_lobe", "brachiocephalic_vein",
          "common_carotid_artery", "subclavian_artery", "iliac_artery", "iliac_vena", "clavicula",
          "scapula", "humerus", "hip", "femur")
_SINGLE = ("lung_middle_lobe_right", "spleen", "liver", "gallbladder", "stomach", "pancreas",
           "duodenum", "small_bowel", "colon", "urinary_bladder", "prostate", "thyroid_gland",
           "esophagus",
           "trachea", "heart", "aorta", "inferior_vena_cava", "superior_vena_cava",
           "portal_vein_and_splenic_vein", "pulmonary_vein", "brachiocephalic_trunk", "sacrum",
           "sternum", "costal_cartilages", "spinal_cord")
_VERTEBRAE = (*(f"vertebrae_C{i}" for i in (5, 6, 7)), *(f"vertebrae_T{i}" for i in range(1, 13)),
              *(f"vertebrae_L{i}" for i in range(1, 6)))
_RIBS = tuple(f"rib_{side}_{i}" for side in ("left", "right") for i in range(1, 13))

PUBLIC: dict[str, str | None] = {
    **dict.fromkeys(("skin", "subcutaneous_fat", "skeletal_muscle", "mediastinum", "mesentery",
                     "intervertebral_discs", "joint", "spinal_canal", "airway_wall", "bronchi",
                     "femoral_vessels", "neck_veins", "renal_arteries", "renal_veins",
                     "renal_pelvis", "celiac_trunk", "superior_mesenteric_artery",
                     "pulmonary_artery", "uterus", "lung_vessels"), None),
    **dict.fromkeys(("heart_myocardium", "heart_ventricle_left", "heart_ventricle_right",
                     "heart_atrium_left", "heart_atrium_right"), "heart"),
    "hepatic_veins": "liver",
    "superior_mesenteric_vein": None,
}
"""Structures that TotalSegmentator does not name: the one they belong to, or None."""

CODES: dict[str, int] = {name: code for code, name in enumerate((
    *_SINGLE, *(f"{name}_{side}" for name in _SIDED for side in ("left", "right")), *_VERTEBRAE,
    *_RIBS, *PUBLIC), 1)}
"""Structure to its code in the map of regions, and in the labels where it is one of them."""
