# SPDX-License-Identifier: Apache-2.0
"""MR images without the patient, after DICOM PS3.15 Annex E.

Basic Application Level Confidentiality Profile with the options Clean Descriptors, Retain
Longitudinal Temporal Information with Modified Dates and, if asked for, Retain Patient
Characteristics (of them age and sex).

The profile lists what must go. Here it is the other way round: an image gets only what is listed
below, at every depth, and nothing else leaves; so private elements, overlays, curves, icons and
attributes of next year's standard are left out without being known. A test holds what leaves
against table E.1-1.
"""

from __future__ import annotations

import copy
import datetime
import hashlib
import hmac
import re
import tempfile
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from .errors import BadInput
from .volume_files import quiet

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset, FileDataset

SECRET_BYTES = 32
MOST_DAYS = 3650  # that dates are moved back
OLDEST = 89  # years; who is older is "90Y", as HIPAA's safe harbour wants it
MR_IMAGES = {"1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1",
             "1.2.840.10008.5.1.4.1.1.4.4"}
"""MR Image Storage, Enhanced and Legacy Converted Enhanced: what can be de-identified here."""

_METHOD = "DICOM PS3.15 Annex E, by ReadingRoom"
_CODES = {  # of CID 7050
    "113100": "Basic Application Confidentiality Profile",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}

# What an image gets: numbers and codes of acquisition and geometry, by keyword
_NUMBERS = """
    AcquisitionNumber InstanceNumber SeriesNumber NumberOfFrames ImagesInAcquisition
    ImagePositionPatient ImageOrientationPatient SliceLocation PixelSpacing SliceThickness
    SpacingBetweenSlices Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation
    SamplesPerPixel SmallestImagePixelValue LargestImagePixelValue PixelPaddingValue WindowCenter
    WindowWidth RescaleSlope RescaleIntercept LossyImageCompressionRatio RepetitionTime EchoTime
    InversionTime NumberOfAverages ImagingFrequency EchoNumbers MagneticFieldStrength
    NumberOfPhaseEncodingSteps EchoTrainLength PercentSampling PercentPhaseFieldOfView
    PixelBandwidth FlipAngle SAR dBdt AcquisitionMatrix AcquisitionDuration TemporalResolution
    NumberOfTemporalPositions TemporalPositionIdentifier TriggerTime EffectiveEchoTime
    InversionTimes GradientEchoTrainLength RFEchoTrainLength DiffusionBValue FrameAcquisitionNumber
    DimensionIndexValues InStackPositionNumber FrameAcquisitionDuration TemporalPositionIndex
    NumberOfKSpaceTrajectories MRAcquisitionFrequencyEncodingSteps
    MRAcquisitionPhaseEncodingStepsInPlane DimensionIndexPointer FunctionalGroupPointer
    ParallelReductionFactorInPlane TransmitterFrequency""".split()
_CODED = """
    ImageType Modality BodyPartExamined PatientPosition Laterality PhotometricInterpretation
    VOILUTFunction LossyImageCompression LossyImageCompressionMethod BurnedInAnnotation
    ScanningSequence SequenceVariant ScanOptions MRAcquisitionType AngioFlag VariableFlipAngleFlag
    InPlanePhaseEncodingDirection ContentQualification PixelPresentation VolumetricProperties
    VolumeBasedCalculationTechnique ComplexImageComponent AcquisitionContrast ResonantNucleus
    KSpaceFiltering EchoPulseSequence InversionRecovery MultipleSpinEcho PhaseContrast
    TimeOfFlightContrast SpectrallySelectedSuppression SpectrallySelectedExcitation
    SpatialPresaturation Tagging OversamplingPhase SteadyStatePulseSequence
    EchoPlanarPulseSequence MultiPlanarExcitation FlowCompensation MagnetizationTransfer
    T2Preparation BloodSignalNulling PartialFourier ParallelAcquisition FrameType
    GeometryOfKSpaceTraversal RectilinearPhaseEncodeReordering SegmentedKSpaceTraversal
    CoverageOfKSpace FrameLaterality PresentationLUTShape DimensionOrganizationType""".split()
_UIDS = """
    SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID
    DimensionOrganizationUID""".split()
_DAYS = "StudyDate SeriesDate AcquisitionDate ContentDate".split()
_TIMES = "StudyTime SeriesTime AcquisitionTime ContentTime".split()
_MOMENTS = "AcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime".split()
_SEQUENCES = """
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence DimensionOrganizationSequence
    DimensionIndexSequence FrameContentSequence PlanePositionSequence PlaneOrientationSequence
    PixelMeasuresSequence FrameVOILUTSequence PixelValueTransformationSequence FrameAnatomySequence
    MRImageFrameTypeSequence MRTimingAndRelatedParametersSequence MREchoSequence
    MRModifierSequence MRImagingModifierSequence MRFOVGeometrySequence MRAveragesSequence
    MRDiffusionSequence MRMetaboliteMapSequence""".split()
_EMPTY = """
    PatientBirthDate PatientSex ReferringPhysicianName StudyID AccessionNumber
    PositionReferenceIndicator""".split()  # type 2: they must be there
_EQUIPMENT = "ManufacturerModelName DeviceSerialNumber SoftwareVersions".split()  # type 1, enhanced

_MAKERS = {"siemens": "SIEMENS", "philips": "Philips", "ge medical": "GE MEDICAL SYSTEMS",
           "ge health": "GE MEDICAL SYSTEMS", "canon": "CANON_MEC", "toshiba": "TOSHIBA",
           "hitachi": "Hitachi", "fujifilm": "FUJIFILM", "uih": "UIH", "united imaging": "UIH"}
_AGENTS = {"gadovist", "gadavist", "gadobutrol", "dotarem", "clariscan", "magnevist", "prohance",
           "omniscan", "multihance", "primovist", "eovist", "vueway", "elucirem", "magnescope",
           "gadolinium", "gd", "gd-dtpa", "gadoteridol", "gadoterate"}
_NO_AGENT = {"", "no", "none", "non", "nein", "ohne", "without", "n/a", "na", "-", "0", "なし"}
WORDS = frozenset("""
    t1 t2 t1w t2w t1wi t2wi se tse fse frfse gre ge flash fl2d fl3d tfl tfl3d tfe ffe spgr fspgr
    bravo mprage mp2rage rage vibe lava thrive space cube vista isovoxel spc propeller blade ir tir
    tirm flair dark fluid stir fs fatsat fat sat spair dixon water 2d 3d iso ax axial tra trans
    transverse transversal cor coronal sag sagittal obl oblique pre post nativ native plain ohne
    without contrast km gd gad gado ce enhanced +c c+ c + brain head hirn kopf p2 mdc inj
    """.split())
"""Of a description only these words leave."""


@dataclass(frozen=True)
class Pseudonym:
    """Under what a patient's images leave.

    Attributes:
        number: instead of name and number.
        days: by which dates are moved, below 0.
        seconds: by which times of the day are moved.
    """

    number: str
    days: int
    seconds: int = 0


class Deidentifier:
    """Takes the patient out of MR images; the same secret gives the same pseudonyms.

    Args:
        secret: :data:`SECRET_BYTES` that nobody else knows. Who knows it can find out which image
            a copy was made of; without it nobody can (HMAC with SHA-256).
        age_and_sex: whether these two are kept.
    """

    def __init__(self, secret: bytes, age_and_sex: bool = False) -> None:
        if len(secret) < SECRET_BYTES:
            raise ValueError(f"a secret has {SECRET_BYTES} bytes")
        self._secret, self.age_and_sex = secret, age_and_sex

    def digest(self, kind: str, value: str) -> bytes:
        """32 bytes that stand for a value: the same for the same, telling nothing of it."""
        return hmac.digest(self._secret, f"{kind}\0{value}".encode("utf-8", "surrogatepass"),
                           hashlib.sha256)

    def uid(self, uid: str) -> str:
        """A UID instead of one (derived from a UUID, PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self.digest('uid', uid)[:16], version=4).int}"

    def pseudonym(self, patient: str, number: str, earliest: float = 0.0,
                  latest: float = 86_399.0) -> Pseudonym:
        """Under what a patient's images leave.

        Args:
            patient: PatientID.
            number: to be used instead.
            earliest, latest: of the times in the study, seconds of the day; it will not be moved
                across midnight.
        """
        drawn = [int.from_bytes(self.digest(kind, patient)) for kind in ("days", "seconds")]
        room = max(1, int(86_400 - max(0.0, latest - earliest)))
        return Pseudonym(number, -(1 + drawn[0] % MOST_DAYS), drawn[1] % room - int(earliest))

    def deidentified(self, source: Dataset, pseudonym: Pseudonym,
                     description: str = "") -> FileDataset:
        """Return a copy of an MR image without the patient, not compressed.

        Args:
            source: with its pixels; it stays as it is.
            pseudonym: of the patient.
            description: of the series; by default what is left of its own, see
                :func:`cleaned_description`.

        Raises:
            BadInput: it is no MR image, or damaged. The sentence names neither file nor patient.
        """
        try:
            return self._deidentified(source, pseudonym, description)
        except BadInput:
            raise
        except Exception:  # over damaged values pydicom raises a dozen kinds
            raise BadInput("Its header is damaged.") from None

    def _deidentified(self, source: Dataset, pseudonym: Pseudonym,
                      description: str) -> FileDataset:
        from pydicom.dataset import FileDataset

        if str(source.get("SOPClassUID")) not in MR_IMAGES:
            raise BadInput("It is not an MR image.")
        pixels = stored_values(source)
        identity = identifying_words(source)
        cleaned = FileDataset("", {}, preamble=bytes(128))
        self._copy(source, cleaned, pseudonym, identity)
        self._describe(source, cleaned, description or cleaned_description(
            str(source.get("SeriesDescription") or ""), identity))
        self._name(source, cleaned, pseudonym)
        cleaned.SOPClassUID = str(source.SOPClassUID)
        _set_pixels(cleaned, pixels)
        cleaned.file_meta = _file_meta(cleaned)
        return cleaned

    def _copy(self, source: Dataset, cleaned: Dataset, pseudonym: Pseudonym,
              identity: frozenset[str]) -> None:
        """Elements that are listed above, with those of sequences."""
        for keywords, clean in (
            (_NUMBERS, lambda element: _number(element, identity)),
            (_CODED, lambda element: _code(element, identity)),
            (_UIDS, lambda element: self.uid(str(element.value))),
            (_DAYS, lambda element: moved_day(str(element.value), pseudonym.days)),
            (_TIMES, lambda element: moved_time(str(element.value), pseudonym.seconds)),
            (_MOMENTS, lambda element: moved_moment(str(element.value), pseudonym)),
        ):
            for keyword in keywords:
                element = _element(source, keyword)
                if element is not None and (value := clean(element)) is not None:
                    setattr(cleaned, keyword, value)
        for keyword in _SEQUENCES:
            element = _element(source, keyword)
            if element is not None and element.VR == "SQ":
                setattr(cleaned, keyword, [self._item(item, pseudonym, identity)
                                           for item in element.value])

    def _item(self, source: Dataset, pseudonym: Pseudonym, identity: frozenset[str]) -> Dataset:
        from pydicom.dataset import Dataset

        cleaned = Dataset()
        self._copy(source, cleaned, pseudonym, identity)
        return cleaned

    def _describe(self, source: Dataset, cleaned: Dataset, description: str) -> None:
        enhanced = str(source.SOPClassUID) != "1.2.840.10008.5.1.4.1.1.4"
        cleaned.SeriesDescription = description
        if enhanced:
            cleaned.ProtocolName = cleaned.PulseSequenceName = description or "UNKNOWN"
            for keyword in _EQUIPMENT:
                setattr(cleaned, keyword, "REMOVED")
        maker = str(source.get("Manufacturer") or "").lower()
        cleaned.Manufacturer = next((name for word, name in _MAKERS.items() if word in maker),
                                    "REMOVED" if enhanced else "")
        if "ContrastBolusAgent" in source:
            cleaned.ContrastBolusAgent = cleaned_agent(str(source.ContrastBolusAgent or ""))

    def _name(self, source: Dataset, cleaned: Dataset, pseudonym: Pseudonym) -> None:
        from pydicom.sr.coding import Code

        for keyword in _EMPTY:
            setattr(cleaned, keyword, "")
        for keyword in ("StudyDate", "StudyTime"):  # type 2
            setattr(cleaned, keyword, cleaned.get(keyword, ""))
        cleaned.PatientName = cleaned.PatientID = pseudonym.number
        kept = ["113100", "113105", "113107"]
        if self.age_and_sex:
            kept.append("113108")
            cleaned.PatientAge, cleaned.PatientSex = age_of(source), sex_of(source)
        cleaned.PatientIdentityRemoved = "YES"
        cleaned.LongitudinalTemporalInformationModified = "MODIFIED"
        cleaned.DeidentificationMethod = _METHOD
        cleaned.DeidentificationMethodCodeSequence = [
            _code_item(Code(value, "DCM", _CODES[value])) for value in kept]


# Values


def cleaned_description(text: str, without: Iterable[str] = ()) -> str:
    """What of a description is a word of :data:`WORDS`, in capitals.

    Args:
        text: of any length, in any script.
        without: words that are not let through even so, in lower case.
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    words = re.findall(r"\+c\b|\bc\+|\+|[a-z0-9]+", plain)
    without = set(without)
    kept = [word for word in words if word in WORDS and word not in without]
    return " ".join(dict.fromkeys(kept)).upper()[:64]


def cleaned_agent(text: str) -> str:
    """The name of a contrast agent that is known; of another only that there was one, or none."""
    plain = unicodedata.normalize("NFKC", text).strip().lower()
    if plain in _NO_AGENT:
        return "NONE"
    known = next((word for word in re.findall(r"[a-z-]+", plain) if word in _AGENTS), "")
    return known.upper() or "CONTRAST AGENT"


def moved_day(text: str, days: int) -> str | None:
    """A DICOM date moved by some days; None when it is none."""
    try:
        day = datetime.datetime.strptime(text.strip().replace(".", "")[:8], "%Y%m%d").date()
        return (day + datetime.timedelta(days)).strftime("%Y%m%d").rjust(8, "0")
    except (ValueError, OverflowError):
        return None


def seconds_of(text: str) -> float | None:
    """Seconds of the day of a DICOM time; None when it is none."""
    found = re.fullmatch(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(\.\d{1,6})?)?)?",
                         text.strip(), re.ASCII)
    if not found:
        return None
    hours, minutes, seconds, part = found.groups()
    return 3600 * int(hours) + 60 * int(minutes or 0) + int(seconds or 0) + float(part or 0)


def moved_time(text: str, seconds: int) -> str | None:
    """A DICOM time moved by some seconds, to a hundredth; None when it is none."""
    second = seconds_of(text)
    if second is None:
        return None
    hundredths = round(100 * (second + seconds)) % 8_640_000
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60:02}{minutes % 60:02}{rest // 100:02}.{rest % 100:02}"


def moved_moment(text: str, pseudonym: Pseudonym) -> str | None:
    """A DICOM date and time, moved; None when it is none, or less than a day is told.

    The offset from UTC, which tells a country, is left out.
    """
    text = re.sub(r"[+-]\d{4}$", "", text.strip())
    day = moved_day(text[:8], pseudonym.days) if len(text) >= 8 else None
    if day is None or len(text) == 8:
        return day
    time = moved_time(text[8:], pseudonym.seconds)
    return None if time is None else day + time


def age_of(source: Dataset) -> str:
    """Age in years as DICOM writes it, "090Y" for all above 89; empty where it is not known."""
    from .dicom_series import age_years

    years = age_years(source)
    return "" if years is None or years < 0 else f"{min(int(years), OLDEST + 1):03}Y"


def sex_of(source: Dataset) -> str:
    """M, F, O, or empty where it is not known."""
    value = str(source.get("PatientSex") or "").strip().upper()
    return value if value in ("M", "F", "O") else ""


def identifying_words(source: Dataset) -> frozenset[str]:
    """Words of names and numbers of persons in a header, at any depth, in lower case."""
    found: set[str] = set()

    def look(dataset: Dataset) -> None:
        for tag in dataset.keys():
            element = _element(dataset, tag)
            if element is None:
                continue
            if element.VR == "SQ":
                for item in element.value:
                    look(item)
            elif element.VR == "PN" or tag.group == 0x0010 and element.VR in ("LO", "SH", "DA"):
                text = unicodedata.normalize("NFKC", str(element.value or "")).lower()
                found.update(word for word in re.findall(r"\w+", text) if len(word) >= 3)
    look(source)
    return frozenset(found)


def _element(source: Dataset, key: object) -> DataElement | None:
    """An element with its value read; None where it is absent, empty or damaged."""
    if key not in source:
        return None
    try:
        element = source[key]
        empty = element.value is None or (element.VR != "SQ" and str(element.value) == "")
    except Exception:  # over damaged values pydicom raises a dozen kinds
        return None
    return None if empty else element


def _number(element: DataElement, identity: frozenset[str]) -> object:
    if element.VR == "AT":
        return element.value
    values = element.value if element.VM > 1 else [element.value]
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    if not np.isfinite(numbers).all():
        return None
    if element.VR in ("DS", "IS"):  # written anew: the text of a number may be padded with anything
        texts = [f"{int(value)}" if value == int(value) and abs(value) < 1e9
                 else f"{value:.10g}"[:16] for value in numbers]
        if any(len(text) >= 5 and text in identity for text in texts):
            return None
        return texts if element.VM > 1 else texts[0]
    return element.value


def _code(element: DataElement, identity: frozenset[str]) -> list[str] | str | None:
    values = [str(value) for value in (element.value if element.VM > 1 else [element.value])]
    if all(re.fullmatch(r"[A-Z0-9_ ]{0,16}", value, re.ASCII)
           and not identity & set(value.lower().replace("_", " ").split()) for value in values):
        return values if len(values) > 1 else values[0]
    return None


def _code_item(code: object) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


# Pixels


def stored_values(source: Dataset) -> np.ndarray:
    """The grey values of an image as stored, (frames, rows, columns).

    Bits that are no part of the value are 0: overlays may hide there. Compressed pixels are
    decompressed, because comments may hide in their stream.

    Raises:
        BadInput: there are none, they are in colour, or damaged.
    """
    if "PixelData" not in source or "Rows" not in source:
        raise BadInput("It has no pixels.")
    if int(source.get("SamplesPerPixel") or 1) != 1:
        raise BadInput("It is in colour, as pictures of the screen are.")
    try:
        compressed = source.file_meta.TransferSyntaxUID.is_compressed
        pixels = _decompressed(source) if compressed else source.pixel_array
        shape = int(source.get("NumberOfFrames") or 1), int(source.Rows), int(source.Columns)
        return _used_bits(np.asarray(pixels).reshape(shape), int(source.BitsStored),
                          int(source.HighBit), bool(source.PixelRepresentation))
    except Exception:  # over damaged files pydicom raises a dozen kinds
        raise BadInput("Its pixels are damaged or not complete.") from None


def _decompressed(source: Dataset) -> np.ndarray:
    """By GDCM, which knows all kinds of compression; values as stored, not rescaled."""
    from pydicom.dataset import FileDataset

    bare = FileDataset("", {}, preamble=bytes(128),
                       file_meta=copy.deepcopy(source.file_meta))
    for keyword in ("SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "BitsAllocated",
                    "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
                    "PhotometricInterpretation", "NumberOfFrames", "PixelData"):
        if keyword in source:
            bare.add(source[keyword])
    bare.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"  # of which GDCM expects no place in space
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.dcm"
        bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
        bare.save_as(path)
        with quiet():
            return sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))


def _used_bits(pixels: np.ndarray, stored: int, high: int, signed: bool) -> np.ndarray:
    allocated = pixels.dtype.itemsize * 8
    if not 0 < stored <= high + 1 <= allocated or pixels.dtype.kind not in "iu":
        raise ValueError("impossible bits")
    raw = pixels.astype(f"u{pixels.dtype.itemsize}", copy=False) if signed else pixels
    raw = (raw >> (high + 1 - stored)) & ((1 << stored) - 1)
    if signed:
        sign = 1 << (stored - 1)
        return ((raw.astype(np.int64) ^ sign) - sign).astype(f"i{pixels.dtype.itemsize}")
    return raw


def _set_pixels(cleaned: Dataset, pixels: np.ndarray) -> None:
    cleaned.BitsAllocated = pixels.dtype.itemsize * 8
    cleaned.HighBit = cleaned.BitsStored - 1
    cleaned.PixelRepresentation = int(pixels.dtype.kind == "i")
    cleaned["PixelData"] = _pixel_element(pixels)


def _pixel_element(pixels: np.ndarray) -> DataElement:
    from pydicom.dataelem import DataElement

    values = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    return DataElement("PixelData", "OB" if pixels.dtype.itemsize == 1 else "OW",
                       values + b"\0" * (len(values) % 2))


def _file_meta(cleaned: Dataset) -> Dataset:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (cleaned.SOPClassUID,
                                                                     cleaned.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta
