# SPDX-License-Identifier: Apache-2.0
"""The 22 structures of hip and thigh, their label values, colours and SNOMED CT codes.

The list is that of Hiasa et al., "Automated Muscle Segmentation from Clinical CT using Bayesian
U-Net", IEEE TMI 2020: 3 bones, 9 hip muscles, 10 thigh muscles. The order is the label value.
"""

from dataclasses import dataclass

LEFT_OFFSET = 100
"""Added to the label value of a left structure when the sides are told apart."""

TERMINOLOGY_CONTEXT = "Segmentation category and type - MuscleSeg"
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
    code, category
        SNOMED CT type and category of the segment.
    """

    value: int
    name: str
    display_name: str
    group: str
    paired: bool
    color: tuple[int, int, int]
    code: Code
    category: Code = ANATOMICAL_STRUCTURE


# Sources of the SNOMED CT numbers, each check digit (Verhoeff) verified:
# - femur, sacrum, "Muscle of lower limb", sides: Slicer's terminology file
#   Modules/Loadable/Terminologies/Resources/SegmentationCategoryTypeModifier-DICOM-Master.json
# - pelvis: "Pelvis (bone)" of the DICOM context groups 7304 and 8134 (pydicom.sr)
# - gluteus maximus, medius, minimus: TotalSegmentator's totalsegmentator_snomed_mapping.csv
# - vastus medialis: HL7 FHIR value set "body-site" (SNOMED CT International edition)
# - the other muscles: Uberon's cross-references, bridge/uberon-bridge-to-sctid.owl, 2026-04-01
# - semimembranosus has no number in any of them, and vastus lateralis with intermedius is no
#   SNOMED CT concept: both carry Slicer's own parent "Muscle of lower limb".
_LOWER_LIMB_MUSCLE = Code("102292000", "Muscle of lower limb")
_ADDUCTORS = Code("181670005", "Adductor muscle of hip")

STRUCTURES = tuple(
    Structure(value, name, display_name, group, name != "sacrum", color, code)
    for value, (name, display_name, group, color, code) in enumerate(
        [
            ("pelvis", "Pelvis", "bone", (241, 214, 145), Code("118645006", "Pelvis")),
            ("femur", "Femur", "bone", (255, 238, 170), Code("71341001", "Femur")),
            ("sacrum", "Sacrum", "bone", (212, 188, 102), Code("54735007", "Sacrum")),
            ("gluteus_maximus", "Gluteus maximus", "hip", (200, 72, 62),
             Code("181674001", "Gluteus maximus muscle")),
            ("gluteus_medius", "Gluteus medius", "hip", (238, 136, 62),
             Code("78333006", "Gluteus medius muscle")),
            ("gluteus_minimus", "Gluteus minimus", "hip", (250, 200, 70),
             Code("75297007", "Gluteus minimus muscle")),
            ("iliacus", "Iliacus", "hip", (66, 160, 200), Code("244956009", "Iliacus muscle")),
            ("obturator_externus", "Obturator externus", "hip", (120, 94, 190),
             Code("245026009", "Obturator externus muscle")),
            ("obturator_internus", "Obturator internus", "hip", (90, 190, 120),
             Code("245025008", "Obturator internus muscle")),
            ("pectineus", "Pectineus", "hip", (226, 106, 160),
             Code("245017006", "Pectineus muscle")),
            ("piriformis", "Piriformis", "hip", (64, 120, 200),
             Code("245019009", "Piriformis muscle")),
            ("psoas_major", "Psoas major", "hip", (50, 140, 110),
             Code("244952006", "Psoas major muscle")),
            ("adductors", "Adductors", "thigh", (150, 190, 70), _ADDUCTORS),
            ("biceps_femoris", "Biceps femoris", "thigh", (86, 110, 170),
             Code("181672002", "Biceps femoris muscle")),
            ("gracilis", "Gracilis", "thigh", (235, 150, 190),
             Code("181689005", "Gracilis muscle")),
            ("rectus_femoris", "Rectus femoris", "thigh", (220, 80, 110),
             Code("181679006", "Rectus femoris muscle")),
            ("sartorius", "Sartorius", "thigh", (110, 205, 215),
             Code("181683006", "Sartorius muscle")),
            ("semimembranosus", "Semimembranosus", "thigh", (170, 120, 80), _LOWER_LIMB_MUSCLE),
            ("semitendinosus", "Semitendinosus", "thigh", (240, 170, 120),
             Code("181685004", "Semitendinosus muscle")),
            ("tensor_fasciae_latae", "Tensor fasciae latae", "thigh", (160, 90, 170),
             Code("181671009", "Tensor fasciae latae muscle")),
            ("vastus_lateralis_intermedius", "Vastus lateralis and intermedius", "thigh",
             (180, 90, 60), _LOWER_LIMB_MUSCLE),
            ("vastus_medialis", "Vastus medialis", "thigh", (130, 150, 235),
             Code("3478008", "Vastus medialis muscle")),
        ],
        start=1,
    )
)
"""All 22 structures; ``STRUCTURES[i].value == i + 1``."""

FEMUR = next(structure.value for structure in STRUCTURES if structure.name == "femur")


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


def terminology_entry(structure: Structure, side: str | None = None) -> str:
    """Return the terminology entry Slicer stores with a segment.

    ``context~category~type~modifier~anatomic context~region~region modifier``, each code as
    ``scheme^value^meaning`` (vtkSlicerTerminologiesModuleLogic). The side is the type modifier.
    """
    modifier = str(SIDE_CODES[side]) if side else "^^"
    return "~".join([TERMINOLOGY_CONTEXT, str(structure.category), str(structure.code), modifier,
                     ANATOMIC_CONTEXT, "^^", "^^"])


def terminology_document() -> dict:
    """Return the terminology as Slicer's Terminologies module loads it, kept in terminology.json.

    With it Slicer's segment list and terminology selector know every structure by name.
    """
    types = {}
    for structure in STRUCTURES:
        entry = types.setdefault(structure.code, {
            "recommendedDisplayRGBValue": list(structure.color), **_code_document(structure.code)})
        if structure.paired:
            entry["Modifier"] = [_code_document(code) for code in SIDE_CODES.values()]
    category = {**_code_document(ANATOMICAL_STRUCTURE), "showAnatomy": "false",
                "Type": list(types.values())}
    return {"SegmentationCategoryTypeContextName": TERMINOLOGY_CONTEXT,
            "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/"
                       "segment-context-schema.json#",
            "SegmentationCodes": {"Category": [category]}}


def _code_document(code: Code) -> dict:
    return {"CodingSchemeDesignator": code.scheme, "CodeValue": code.value,
            "CodeMeaning": code.meaning}
