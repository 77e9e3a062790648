# SPDX-License-Identifier: Apache-2.0
"""The 22 structures of hip and thigh, their label values, colours and SNOMED CT codes.

The list is that of Hiasa et al., "Automated Muscle Segmentation from Clinical CT using Bayesian
U-Net", IEEE TMI 2020: 3 bones, 9 hip muscles, 10 thigh muscles. The order is the label value.
"""

from dataclasses import dataclass

LEFT_OFFSET = 100
"""Added to the label value of a left structure when the sides are told apart."""

TERMINOLOGY_CONTEXT = "Segmentation category and type - DICOM master list"
ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class Code:
    """One SNOMED CT concept: its number and its meaning in words."""

    value: str
    meaning: str
    scheme: str = "SCT"

    def __str__(self) -> str:
        """Slicer's spelling inside a terminology entry: ``SCT^71341001^Femur``."""
        return f"{self.scheme}^{self.value}^{self.meaning}"


ANATOMICAL_STRUCTURE = Code("123037004", "Anatomical Structure")
SIDE_CODES = {"left": Code("7771000", "Left"), "right": Code("24028007", "Right")}


@dataclass(frozen=True)
class Structure:
    """One bone or muscle.

    Attributes
    ----------
    value
        Label value, 1 to 22. With sides apart this is the right (or unpaired) structure.
    name
        Identifier in files, ``gluteus_maximus``.
    display_name
        Name for people, ``Gluteus maximus``.
    group
        ``bone``, ``hip`` or ``thigh``.
    paired
        Whether there is one on each side of the body.
    color
        Red, green, blue, each 0 to 255. Neighbours in the body differ clearly.
    category, code
        SNOMED CT category and type of the segment.
    """

    value: int
    name: str
    display_name: str
    group: str
    paired: bool
    color: tuple[int, int, int]
    code: Code
    category: Code = ANATOMICAL_STRUCTURE


def _structures() -> tuple[Structure, ...]:
    rows = [
        ("pelvis", "Pelvis (hip bone)", "bone", (241, 214, 145), "29836001", "Hip"),
        ("femur", "Femur", "bone", (255, 238, 170), "71341001", "Femur"),
        ("sacrum", "Sacrum", "bone", (212, 188, 102), "54735007", "Sacrum"),
        ("gluteus_maximus", "Gluteus maximus", "hip", (200, 72, 62),
         "181674001", "Gluteus maximus muscle"),
        ("gluteus_medius", "Gluteus medius", "hip", (238, 136, 62),
         "78333006", "Gluteus medius muscle"),
        ("gluteus_minimus", "Gluteus minimus", "hip", (250, 200, 70),
         "75297007", "Gluteus minimus muscle"),
        ("iliacus", "Iliacus", "hip", (66, 160, 200), "", ""),
        ("obturator_externus", "Obturator externus", "hip", (120, 94, 190), "", ""),
        ("obturator_internus", "Obturator internus", "hip", (90, 190, 120), "", ""),
        ("pectineus", "Pectineus", "hip", (226, 106, 160), "", ""),
        ("piriformis", "Piriformis", "hip", (64, 120, 200), "", ""),
        ("psoas_major", "Psoas major", "hip", (50, 140, 110), "", ""),
        ("adductors", "Adductors", "thigh", (150, 190, 70), "", ""),
        ("biceps_femoris", "Biceps femoris", "thigh", (86, 110, 170), "", ""),
        ("gracilis", "Gracilis", "thigh", (235, 150, 190), "", ""),
        ("rectus_femoris", "Rectus femoris", "thigh", (220, 80, 110), "", ""),
        ("sartorius", "Sartorius", "thigh", (110, 205, 215), "", ""),
        ("semimembranosus", "Semimembranosus", "thigh", (170, 120, 80), "", ""),
        ("semitendinosus", "Semitendinosus", "thigh", (240, 170, 120), "", ""),
        ("tensor_fasciae_latae", "Tensor fasciae latae", "thigh", (160, 90, 170), "", ""),
        ("vastus_lateralis_intermedius", "Vastus lateralis and intermedius", "thigh",
         (180, 90, 60), "", ""),
        ("vastus_medialis", "Vastus medialis", "thigh", (130, 150, 235), "", ""),
    ]
    return tuple(
        Structure(value, name, display_name, group, name != "sacrum", color,
                  Code(number or "102292000", meaning or "Muscle of lower limb"))
        for value, (name, display_name, group, color, number, meaning) in enumerate(rows, start=1)
    )


STRUCTURES = _structures()
"""All 22 structures; ``STRUCTURES[i].value == i + 1``."""


@dataclass(frozen=True)
class LabelledStructure:
    """A structure as one label of a result: its value, and its side where sides are apart."""

    value: int
    structure: Structure
    side: str | None

    @property
    def name(self) -> str:
        """Identifier in files: ``femur``, or ``femur_left`` with sides apart."""
        return f"{self.structure.name}_{self.side}" if self.side else self.structure.name

    @property
    def display_name(self) -> str:
        """Name for people: ``Femur``, or ``Femur, left`` with sides apart."""
        name = self.structure.display_name
        return f"{name}, {self.side}" if self.side else name

    @property
    def terminology(self) -> str:
        """Slicer's terminology entry of the segment."""
        return terminology_entry(self.structure, self.side)


def structure_named(name: str) -> Structure:
    """Return the structure with that identifier; ``KeyError`` when there is none."""
    for structure in STRUCTURES:
        if structure.name == name:
            return structure
    raise KeyError(f"No structure is called '{name}'.")


def labels_of(sides: bool) -> tuple[LabelledStructure, ...]:
    """Return every label a result can hold, by ascending value.

    Parameters
    ----------
    sides
        Whether left and right are told apart: right keeps 1 to 22, left adds `LEFT_OFFSET`;
        the sacrum keeps its value and has no side.
    """
    if not sides:
        return tuple(LabelledStructure(s.value, s, None) for s in STRUCTURES)
    right = [LabelledStructure(s.value, s, "right" if s.paired else None) for s in STRUCTURES]
    left = [LabelledStructure(s.value + LEFT_OFFSET, s, "left") for s in STRUCTURES if s.paired]
    return tuple(right + left)


def label_of(value: int) -> LabelledStructure:
    """Return what a label value above 22 or of an unsided result means, ``KeyError`` if nothing."""
    for label in labels_of(sides=value > LEFT_OFFSET):
        if label.value == value:
            return label
    raise KeyError(f"No structure has the label value {value}.")


def terminology_entry(structure: Structure, side: str | None = None) -> str:
    """Return the terminology entry Slicer stores with a segment.

    ``context~category~type~modifier~anatomic context~region~region modifier``, each code as
    ``scheme^value^meaning`` (vtkSlicerTerminologiesModuleLogic). The side is the type modifier.
    """
    modifier = str(SIDE_CODES[side]) if side else "^^"
    return "~".join([TERMINOLOGY_CONTEXT, str(structure.category), str(structure.code), modifier,
                     ANATOMIC_CONTEXT, "^^", "^^"])
