# SPDX-License-Identifier: Apache-2.0
"""Names of the landmarks of a simulated trunk and what each of them is.

Lowest, highest, foremost and so on are meant in the patient's own axes before pose and elastic
deformation, which carry the points along.

Where the simulation departs from a landmark's meaning:

- ``lung_apex``: of the rounded apex, 36 mm off the midline. A wedge of lung beside the windpipe,
  20 mm off the midline, reaches 10 mm higher;
- ``costophrenic_recess``: a tip of the lung thinner than 6 mm goes on for 9 to 15 mm below it,
  beside the spine. In front the lung ends lower than behind, before a fat belly as low as L2 or
  L3, which is not so in people;
- ``symphysis_pubis_superior``: in the disc, 6 mm above the inner edges of the bones, which are
  round.

They stay: models have been trained on them, and the painting draws lungs in a box around them, so
that other lungs would give all images other noise.
"""

from __future__ import annotations

_ONE = {
    "carina": "where the trachea divides into the main bronchi",
    "aortic_bifurcation": "where the aorta divides into the common iliac arteries",
    "suprasternal_notch": "middle of the upper border of the manubrium",
    "xiphoid_tip": "lower end of the xiphoid process",
    "symphysis_pubis_superior": "middle of the upper border of the pubic symphysis",
    "sacral_promontory": "middle of the front edge of the upper face of S1",
    "celiac_trunk_origin": "where the celiac trunk leaves the aorta",
    "liver_inferior_tip": "lowest point of the right lobe of the liver",
    "heart_apex": "outer tip of the left ventricle",
    "aortic_arch_top": "highest point of the centre line of the aortic arch",
    "superior_mesenteric_artery_origin": "where the superior mesenteric artery leaves the aorta",
    "spleen_inferior_tip": "lower pole of the spleen",
    "brachiocephalic_trunk_origin": "where the brachiocephalic trunk leaves the aortic arch",
    "common_carotid_artery_left_origin": "where the left carotid artery leaves the aortic arch",
    "subclavian_artery_left_origin": "where the left subclavian artery leaves the aortic arch",
    "brachiocephalic_trunk_bifurcation": "where it divides into right carotid and subclavian",
    "pulmonary_trunk_bifurcation": "where it divides into the right and left pulmonary artery",
    "gastro_oesophageal_junction": "where the oesophagus enters the stomach",
    "gallbladder_fundus": "tip of the fundus of the gallbladder",
    "urinary_bladder_dome": "highest point of the urinary bladder",
    "coccyx_tip": "lower end of the coccyx",
    "portal_confluence": "where splenic and superior mesenteric vein become the portal vein",
    "iliac_vein_confluence": "where the common iliac veins become the inferior vena cava",
    "cavoatrial_junction": "where the superior vena cava enters the right atrium",
    "brachiocephalic_vein_confluence": "where the veins become the superior vena cava",
    "pylorus": "where the stomach ends",
    "sternal_angle": "middle of the joint between manubrium and body of the sternum",
    "spinous_process_C7_tip": "back end of the spinous process of C7",
    "spinous_process_T6_tip": "back end of the spinous process of T6",
    "spinous_process_L3_tip": "back end of the spinous process of L3",
    "aortic_root": "where the aorta leaves the left ventricle",
    "inferior_vena_cava_atrial_end": "where the inferior vena cava enters the right atrium",
}
_BOTH = {
    "femoral_head": "centre of the {side} femoral head",
    "anterior_superior_iliac_spine": "foremost end of the {side} iliac crest",
    "posterior_superior_iliac_spine": "hindmost end of the {side} iliac crest",
    "lung_apex": "highest point of the {side} lung",  # of its rounded part
    "lung_base": "highest point of the {side} half of the diaphragm, under the lung's base",
    "costophrenic_recess": "lowest point of the {side} lung, behind",  # where still 6 mm thick
    "kidney_upper_pole": "upper pole of the {side} kidney",
    "kidney_lower_pole": "lower pole of the {side} kidney",
    "kidney_hilum": "middle of the inner border of the {side} kidney",
    "ischial_tuberosity": "lowest point of the {side} ischial tuberosity",
    "renal_artery_origin": "where the {side} renal artery leaves the aorta",
    "common_iliac_artery_bifurcation": "where it divides into the {side} inner and outer iliac "
                                       "artery",
    "clavicle_sternal_end": "inner end of the {side} clavicle",
    "acromion": "outer tip of the {side} acromion",
    "glenoid": "middle of the socket of the {side} shoulder",
    "scapula_inferior_angle": "lowest point of the {side} scapula",
    "iliac_crest": "highest point of the {side} iliac crest",
    "greater_trochanter": "outermost point of the {side} greater trochanter",
    "lesser_trochanter": "tip of the {side} lesser trochanter",
    "upper_lobe_bronchus": "where the first lobar bronchus leaves the {side} main bronchus",
    "rib_1_tip": "front end of the bony first rib, {side}",
    "rib_6_tip": "front end of the bony sixth rib, {side}",
    "rib_12_tip": "free end of the twelfth rib, {side}",
    "sacroiliac_joint": "middle of the {side} sacroiliac joint",
}
_VERTEBRAE = ("L5", "L4", "L3", "L2", "L1", *(f"T{i}" for i in range(12, 0, -1)), "C7")

MEANINGS: dict[str, str] = {
    **_ONE,
    **{f"{name}_{side}": text.format(side=side) for name, text in _BOTH.items()
       for side in ("left", "right")},
    **{f"vertebra_{level}_centre": f"middle of the vertebral body of {level}"
       for level in _VERTEBRAE},
}
"""Landmark to its definition."""

_FIRST = (
    # the published start with 20: few, far apart, seen without contrast agent
    "carina", "aortic_bifurcation", "suprasternal_notch", "xiphoid_tip",
    "symphysis_pubis_superior", "sacral_promontory", "femoral_head_left", "femoral_head_right",
    "anterior_superior_iliac_spine_left", "anterior_superior_iliac_spine_right",
    "lung_apex_left", "lung_apex_right", "kidney_upper_pole_left", "kidney_upper_pole_right",
    "ischial_tuberosity_left", "ischial_tuberosity_right", "aortic_arch_top", "heart_apex",
    "liver_inferior_tip", "coccyx_tip",
    # up to the published 60
    "kidney_lower_pole_left", "kidney_lower_pole_right", "kidney_hilum_left",
    "kidney_hilum_right", "renal_artery_origin_left", "renal_artery_origin_right",
    "celiac_trunk_origin", "superior_mesenteric_artery_origin", "spleen_inferior_tip",
    "gastro_oesophageal_junction", "urinary_bladder_dome", "gallbladder_fundus",
    "lung_base_left", "lung_base_right", "common_iliac_artery_bifurcation_left",
    "common_iliac_artery_bifurcation_right", "brachiocephalic_trunk_origin",
    "common_carotid_artery_left_origin", "subclavian_artery_left_origin",
    "pulmonary_trunk_bifurcation", "clavicle_sternal_end_left", "clavicle_sternal_end_right",
    "acromion_left", "acromion_right", "glenoid_left", "glenoid_right",
    "scapula_inferior_angle_left", "scapula_inferior_angle_right", "iliac_crest_left",
    "iliac_crest_right", "posterior_superior_iliac_spine_left",
    "posterior_superior_iliac_spine_right", "greater_trochanter_left",
    "greater_trochanter_right", "vertebra_C7_centre", "vertebra_T1_centre",
    "vertebra_T12_centre", "vertebra_L1_centre", "vertebra_L3_centre", "vertebra_L5_centre",
)
LANDMARKS: tuple[str, ...] = (*_FIRST, *(name for name in MEANINGS if name not in _FIRST))
"""All names, in the order in which a network is grown."""
PUBLISHED_COUNTS = (20, 60)
"""How many landmarks the published network began and ended with."""
