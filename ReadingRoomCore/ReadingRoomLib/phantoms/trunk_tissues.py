# SPDX-License-Identifier: Apache-2.0
"""What the structures of the trunk are made of, by the starts of their names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .trunk_patient import Phase

PHASES: tuple[Phase, ...] = ("none", "arterial", "portal", "late")
# start of a name: HU without agent, and more by arterial, portal and late phase. The longest start
# of a structure's name counts.
SOFT: Mapping[str, tuple[float, float, float, float]] = {
    "": (45, 10, 25, 20), "skin": (10, 5, 10, 10), "skeletal_muscle": (54, 3, 8, 8),
    "autochthon": (52, 3, 8, 8), "gluteus": (54, 3, 8, 8), "iliopsoas": (56, 3, 8, 8),
    "subcutaneous_fat": (-105, 0, 2, 2), "mesentery": (-100, 0, 4, 4),
    "torso_fat": (-100, 0, 4, 4), "mediastinum": (-85, 2, 6, 6),
    "liver": (58, 14, 52, 34), "spleen": (48, 75, 75, 50), "kidney": (34, 110, 150, 125),
    "renal_pelvis": (8, 2, 10, 420), "pancreas": (42, 60, 52, 34), "adrenal": (25, 35, 35, 25),
    "gallbladder": (8, 0, 1, 2), "stomach": (28, 10, 12, 10), "duodenum": (32, 22, 32, 22),
    "small_bowel": (30, 25, 35, 22), "colon": (20, 6, 12, 10), "urinary_bladder": (6, 0, 4, 60),
    "prostate": (42, 10, 28, 32), "uterus": (46, 20, 50, 42), "thyroid": (95, 70, 60, 45),
    "esophagus": (38, 12, 24, 20), "heart": (44, 150, 110, 70),
    "heart_myocardium": (46, 55, 65, 55),
    "heart_ventricle_right": (43, 110, 105, 72), "heart_atrium_right": (43, 120, 105, 72),
    "aorta": (42, 270, 115, 75), "pulmonary_artery": (42, 190, 105, 72),
    "pulmonary_vein": (42, 210, 108, 72), "brachiocephalic_trunk": (42, 265, 115, 75),
    "subclavian_artery": (42, 260, 112, 75), "common_carotid": (42, 260, 112, 75),
    "celiac": (42, 255, 112, 75), "superior_mesenteric_artery": (42, 255, 112, 75),
    "renal_arteries": (42, 250, 112, 75), "iliac_artery": (42, 255, 110, 75),
    "femoral_vessels": (42, 130, 75, 70), "inferior_vena_cava": (42, 25, 95, 75),
    "superior_vena_cava": (42, 160, 105, 75), "brachiocephalic_vein": (42, 150, 100, 75),
    "neck_veins": (42, 60, 95, 75), "iliac_vena": (42, 4, 60, 75), "renal_veins": (42, 80, 110, 75),
    "portal_vein": (42, 40, 130, 75), "superior_mesenteric_vein": (42, 40, 130, 75),
    "hepatic_veins": (42, 15, 115, 75), "atrial_appendage": (42, 200, 108, 72),
    "lung_vessels": (40, 180, 95, 65), "airway_wall": (10, 5, 10, 10),
    "spinal_cord": (36, 0, 4, 4), "spinal_canal": (10, 0, 2, 2), "brain": (34, 1, 3, 3),
    "intervertebral_discs": (85, 0, 4, 4), "costal_cartilages": (105, 0, 5, 5),
    "joint": (60, 2, 5, 5),
}
SPREAD = {"liver": 8.0, "thyroid": 25.0, "urinary_bladder": 5.0, "subcutaneous_fat": 7.0,
           "mesentery": 8.0, "costal_cartilages": 30.0, "intervertebral_discs": 14.0,
           "renal_pelvis": 5.0}
BONES = ("vertebrae", "rib_", "hip_", "sacrum", "femur", "humerus", "scapula", "clavicula",
          "sternum", "skull")
AIR = ("trachea", "bronchi")
BOWEL = ("stomach", "duodenum", "small_bowel", "colon")
MUSCLES = ("skeletal_muscle", "autochthon", "gluteus", "iliopsoas")
FATS = ("subcutaneous_fat", "mesentery", "torso_fat", "mediastinum")
# spongy bone in the middle of them, and share of full density that the cortex reaches at 1 mm
MARROW = {"vertebrae": (110, 260), "sacrum": (60, 190), "rib_": (70, 220), "hip_": (60, 230),
           "femur": (40, 200), "humerus": (40, 160), "sternum": (50, 170)}


def matching(names: Mapping[int, str], starts: tuple[str, ...]) -> list[int]:
    """Codes of the structures whose names start so."""
    return [code for code, name in names.items() if name.startswith(starts)]


def marked(regions: np.ndarray, codes: list[int]) -> np.ndarray:
    """Mask of the voxels that have one of the codes."""
    table = np.zeros(256, bool)
    table[codes] = True
    return table[regions]


def entry(table: Mapping, name: str):
    """What a table holds for the longest start of a name."""
    return table[max((start for start in table if name.startswith(start)), key=len)]
