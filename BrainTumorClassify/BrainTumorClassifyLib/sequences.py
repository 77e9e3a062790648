# SPDX-License-Identifier: Apache-2.0
"""Which series of an MRI study is T1, T2 and contrast-enhanced T1, as far as DICOM headers tell.

Two witnesses are heard: the words of a description (English, German, French, Japanese; Siemens, GE,
Philips, Canon) and the times of the pulse sequence. Where they agree the answer is sure. Reasons
name the word or the time, never the description, which may name a patient.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ReadingRoomLib.dicom_series import files_below
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.volume_files import file_format, quiet

SEQUENCES = ("t1", "t2", "t1c")
NAMES = {"t1": "T1", "t2": "T2", "t1c": "contrast-enhanced T1"}
CERTAINTIES = ("unsure", "likely", "sure")
LEAST_SLICES = 3

_START, _END = r"(?<![a-z])(?:", r")(?![a-z])"  # digits may stand beside a word: "t1gd"
_OTHER_KINDS = {  # the first that fits gives the reason
    "a localizer": _START + r"loc|localis\w+|locali[sz]\w*|lokali[sz]\w*|scout|survey|rep[eé]rage|"
                   r"3 ?pl(?:ane)?|three plane|[uü]bersicht|aahead\w*|aascout|smartbrain|asset|cal|"
                   r"calibration|ref(?:erence)? scan" + _END + "|位置決め",
    "diffusion": _START + r"dwi|diff|diffusion\w*|adc|e?adc|trace\w*|dti|tensor|b ?\d{3,4}|resolve|"
                 r"fa map" + _END + "|拡散",
    "susceptibility": r"t2w? ?\*|" + _START + r"swi\w*|swan|swip|t2 ?star|t2 ?stern|h(?:a?e)mo\w*|"
                      r"t2w? ?ffe|t2w? ?gre|t2 ?fl2d|fsbb|merge|medic|minip" + _END,
    "perfusion": _START + r"perf\w*|pwi|dsc|dce|asl|p?casl|r?cb[fv]|mtt|ttp|tmax|dyn\w*" + _END
                 + "|灌流",
    "angiography": _START + r"mra|mrv|angio\w*|tof|veno\w*|pc ?3d|3d ?pc|twist|tricks|inhance\w*|"
                   r"phase ?contrast" + _END + "|血管",
    "spectroscopy": _START + r"spectro\w*|spektro\w*|mrs|svs|csi" + _END,
    "functional": _START + r"fmri|bold|resting" + _END,
    "a map": _START + r"map|maps|mapping|\w+map|karte|t1 ?rho" + _END,
    "a subtraction": _START + r"sub|subtr\w*|subtraction|soustraction|differenz" + _END + "|差分",
    "a projection": _START + r"mip|mips|proj\w*|vrt" + _END,
    "cisternography": _START + r"ciss|fiesta\w*|b ?ffe|balanced|true ?fisp|trufi" + _END,
    "fat suppressed by inversion": _START + r"stir" + _END,
    "of the spine": _START + r"spine|spinal|wirbel\w*|hws|bws|lws|rachis|lumbar|脊椎" + _END,
}
_FLAIR = _START + r"flair|dark ?fl\w*|tirm|fluid ?att\w*" + _END
_PROTON_DENSITY = _START + r"pdw?|dpw?|proton ?dens\w*|protonen\w*|densit[eé]" + _END + "|プロトン"
_T1 = (r"t1(?![0-9])|" + _START
       + r"mp ?rage|mp2rage|f?spgr|bravo|vibe|thrive|lava|tfl3d\w*" + _END)
_T2 = r"t2(?![0-9])"
_BEFORE_AGENT = (
    _START + r"pre(?! ?op)|nativ\w*|sans|without|w ?/ ?o|wo|ohne|vor|avant|non ?contrast|noncon\w*|"
    r"unenh\w*|non ?enh\w*|no ?(?:contrast|gad\w*|gd|cm)|plain|sin|senza" + _END
    + "|単純|造影前|造影なし|造影無し|非造影")
_AFTER_AGENT = (
    r"\+ ?c(?![a-z])|(?<![a-z])c ?\+|\+ ?(?:gd|gad\w*|km|ce)|t1w?c(?![a-z])|" + _START
    + r"w?gd|gd ?dtpa|gad|gado\w*|km|ce|mdc|post(?! ?(?:op|proc))|contrast\w*|kontrast\w*|inj|"
    r"inject\w*|enhanced|enh|magnevist|dotarem|clariscan|prohance|omniscan|primovist" + _END
    + "|造影|ガド")
_NO_AGENT = re.compile(
    r"\s*(?:no|none|non|nein|ohne|0|n/?a|without.*|no (?:contrast|iv).*|-*|なし)\s*")
_PATIENT_AXES = ("sagittal", "coronal", "axial")  # planes at right angles to L, P and S


@dataclass(frozen=True)
class Recognition:
    """What a series is.

    Attributes:
        sequence: of :data:`SEQUENCES`; None when it is none of them.
        certainty: of :data:`CERTAINTIES`; "sure" when words and times agree, "likely" when only one
            of them tells, "unsure" when they contradict each other.
        reason: a sentence for the user.
        agent_told: whether a word told that contrast agent was given or not yet given.
    """

    sequence: str | None
    certainty: str
    reason: str
    agent_told: bool = True


@dataclass(frozen=True)
class Series:
    """A series of a folder, by its headers.

    Attributes:
        path: one of its files, by which the whole is read.
        number: SeriesNumber, by which messages name it.
        slices: number of images, or of frames.
        recognition: what it is.
        plane: "axial", "coronal" or "sagittal", by the nearest; None when it is not known.
        pixel_mm, slice_mm: distances of pixels and of slices; nan when they are not known.
        derived: whether it was computed from another series, as reformatted ones are.
        description: SeriesDescription, to be shown to who chooses, never to be written.
        time: of the acquisition, to order the series of a study; empty when it is not known.
    """

    path: Path
    number: str
    slices: int
    recognition: Recognition
    plane: str | None = None
    pixel_mm: float = float("nan")
    slice_mm: float = float("nan")
    derived: bool = False
    description: str = field(default="", repr=False)
    time: str = field(default="", repr=False)

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"series {self.number}" if self.number else "the series without a number"


@dataclass(frozen=True)
class Choice:
    """The series chosen for a sequence.

    Attributes:
        series: the chosen one; None where there is none.
        certainty: of :data:`CERTAINTIES`.
        reason: a sentence for the user.
        others: what else could be this sequence, the best first.
    """

    series: Series | None
    certainty: str
    reason: str
    others: tuple[Series, ...] = ()


# One series


def recognise(header: Mapping) -> Recognition:
    """Tell which sequence the header of an MR image belongs to.

    Args:
        header: ``pydicom.Dataset`` of one image, or a dict with DICOM keywords; of enhanced
            multi-frame images, too. Only keywords of the acquisition are looked at.
    """
    if str(header.get("Modality") or "MR") != "MR":
        return Recognition(None, "sure", "It is not an MR series.")
    kind = _kind_of_image(header)
    if kind:
        return Recognition(None, "sure", f"Its image type says that it is {kind}.")
    text = _telling_text(header)
    for kind, pattern in _OTHER_KINDS.items():
        found = re.search(pattern, text)
        if found:
            return Recognition(None, "sure", _said(found, kind))
    words, by_words = _weighting_by_words(text)
    times, by_times = _weighting_by_times(header)
    weighting = words or times
    if weighting is None:
        return Recognition(None, "unsure", "Neither its description nor its times tell what it is.")
    reason = " ".join(filter(None, (by_words, by_times)))
    if words and times and words != times:
        certainty = "unsure"
        reason += " The two do not fit."
    else:
        certainty = "sure" if words and times else "likely"
    if weighting not in ("T1", "T2"):
        return Recognition(None, certainty, reason)
    if weighting == "T2":
        return Recognition("t2", certainty, reason)
    agent = _with_agent(header, text)
    return replace(agent, certainty=min(certainty, agent.certainty, key=CERTAINTIES.index),
                   reason=f"{reason} {agent.reason}")


def _said(found: re.Match, kind: str) -> str:
    return f"Its description says {kind} (“{found.group().strip()}”)."


def _plain(text: object) -> str:
    """A text in lower case, full-width letters as plain ones, blanks for what separates words."""
    folded = unicodedata.normalize("NFKC", str(text or "")).lower()
    return " ".join(re.sub(r"[_\-.,;:()\[\]<>^|]+", " ", folded).split())


def _telling_text(header: Mapping) -> str:
    """The first of the names that tells anything; GE's protocol names that of the whole study."""
    telling = "|".join([*_OTHER_KINDS.values(), _FLAIR, _PROTON_DENSITY, _T1, _T2])
    texts = [_plain(header.get(name))
             for name in ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")]
    return next((text for text in texts if re.search(telling, text)), texts[0])


def _kind_of_image(header: Mapping) -> str | None:
    image_type = {str(value).upper() for value in _list(header.get("ImageType"))}
    kinds = {"LOCALIZER": "a localizer", "ADC": "diffusion", "TRACEW": "diffusion",
             "DIFFUSION": "diffusion", "PROJECTION IMAGE": "a projection", "MIP": "a projection",
             "MNIP": "a projection", "P": "a phase image", "PHASE MAP": "a phase image",
             "CBF": "perfusion", "RCBV": "perfusion", "RCBF": "perfusion", "MTT": "perfusion",
             "TTP": "perfusion", "SUBTRACTION": "a subtraction", "SUB": "a subtraction",
             "SCREEN SAVE": "a screen shot", "SW": "susceptibility", "VELOCITY": "a flow image"}
    contrast = {"DIFFUSION": "diffusion", "FLOW_ENCODED": "angiography", "PERFUSION": "perfusion",
                "T2_STAR": "susceptibility", "TOF": "angiography"}
    found = next((kinds[value] for value in sorted(image_type & kinds.keys())), None)
    if found or not _number(header, "DiffusionBValue", "MRDiffusionSequence"):
        return found or contrast.get(str(header.get("AcquisitionContrast") or "").upper())
    return "diffusion"


def _weighting_by_words(text: str) -> tuple[str | None, str]:
    """T1, T2, FLAIR or PD by the description, and the reason; T1 FLAIR is a kind of T1."""
    t1, t2, flair = (re.search(pattern, text) for pattern in (_T1, _T2, _FLAIR))
    if t1 and not t2:
        return "T1", _said(t1, "T1")
    if flair:
        return "FLAIR", _said(flair, "FLAIR, whose fluid is dark")
    density = re.search(_PROTON_DENSITY, text)
    if density:
        return "PD", _said(density, "proton density")
    if t2 and not t1:
        return "T2", _said(t2, "T2")
    return None, ""


def _weighting_by_times(header: Mapping) -> tuple[str | None, str]:
    """T1, T2, FLAIR, PD, T2* or EPI by the pulse sequence, and the reason.

    The limits are those of clinical brain protocols at 1.5 and 3 T.
    """
    echo = _number(header, "EchoTime", "MREchoSequence", "EffectiveEchoTime")
    repetition = _number(header, "RepetitionTime", "MRTimingAndRelatedParametersSequence")
    inversion = _number(header, "InversionTime", "MRModifierSequence", "InversionTimes")
    scanning = {str(value).upper() for value in _list(header.get("ScanningSequence"))}
    pulses = str(header.get("EchoPulseSequence") or "").upper()
    if echo is None or repetition is None:
        return None, ""
    gradient = ("GR" in scanning and "SE" not in scanning) or pulses == "GRADIENT"
    said = f"Its echo time is {echo:g} ms and its repetition time {repetition:g} ms"
    said += f", inversion time {inversion:g} ms." if inversion else "."
    if "EP" in scanning:
        return "EPI", said
    if gradient:
        if echo >= 12:
            return "T2*", said
        strong_t1 = (inversion or 0) > 400 or repetition <= 60 or 100 <= repetition <= 400
        return ("T1" if strong_t1 else None), said
    if inversion and inversion >= 1500 and echo >= 50:
        return "FLAIR", said
    if echo <= 35 and (repetition <= 1200 or (inversion and 300 <= inversion <= 1400)):
        return "T1", said
    if echo <= 45 and repetition >= 1500:
        return "PD", said
    if echo >= 60 and repetition >= 1500:
        return "T2", said
    return None, said


def _with_agent(header: Mapping, text: str) -> Recognition:
    """Whether contrast agent was given before a T1."""
    agents = [header.get("ContrastBolusAgent"), *(
        item.get("ContrastBolusIngredient") or item.get("ContrastBolusAgentNumber") or "yes"
        for item in _list(header.get("ContrastBolusAgentSequence")))]
    agent = any(not _NO_AGENT.fullmatch(str(value or "").lower()) for value in agents)
    before, after = re.search(_BEFORE_AGENT, text), re.search(_AFTER_AGENT, text)
    if before:
        return Recognition("t1", "likely" if agent else "sure",
                           _said(before, "that no contrast agent was given yet"))
    if after:
        return Recognition("t1c", "sure" if agent else "likely", _said(after, "contrast agent"))
    if agent:
        return Recognition("t1c", "likely", "Its header names a contrast agent.", False)
    return Recognition("t1", "likely", "Nothing tells of contrast agent.", False)


def _list(value: object) -> list:
    """Values of an element that may hold none, one or several."""
    if value is None or isinstance(value, (str, bytes)):
        return str(value).split("\\") if value else []
    return list(value) if isinstance(value, Iterable) else [value]


def _number(header: Mapping, name: str, group: str = "", inner: str = "") -> float | None:
    """A number of the header, or, of enhanced images, of the functional groups."""
    found = header.get(name)
    frames = [*_list(header.get("SharedFunctionalGroupsSequence")),
              *_list(header.get("PerFrameFunctionalGroupsSequence"))[:1]]
    for frame in frames:
        for item in _list(frame.get(group)):
            if found in (None, ""):
                found = item.get(inner or name)
    try:
        return float(np.ravel(found)[0]) if found not in (None, "") else None
    except (TypeError, ValueError):
        return None


# All series of a folder

TAGS = [
    "SOPClassUID", "Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription",
    "ProtocolName", "SequenceName", "PulseSequenceName", "ImageType", "AcquisitionContrast",
    "ScanningSequence", "EchoPulseSequence", "EchoTime", "RepetitionTime", "InversionTime",
    "DiffusionBValue", "ContrastBolusAgent", "ContrastBolusAgentSequence", "AcquisitionTime",
    "AcquisitionDateTime", "SeriesTime", "NumberOfFrames", "Rows", "PixelSpacing",
    "SpacingBetweenSlices", "SliceThickness", "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]
"""What is read of a header to tell what its series is."""


def find_series(folder: Path) -> list[Series]:
    """Return the MR series in a folder and its subfolders, by their numbers.

    Raises:
        BadInput: there is no MR series.
    """
    import pydicom

    groups: dict[str, list] = {}
    with quiet():
        for path in files_below(folder):
            if file_format(path) != "DICOM":
                continue
            try:
                header = pydicom.dcmread(path, stop_before_pixels=True, force=True,
                                         specific_tags=list(TAGS))
            except Exception:  # over damaged files pydicom raises a dozen kinds
                continue
            if header.get("Modality") == "MR" and "Rows" in header:
                groups.setdefault(str(header.get("SeriesInstanceUID")), []).append((path, header))
        series = [series_of(files) for files in groups.values()]
    if not series:
        raise BadInput(f"{folder.name} holds no MR series: choose the folder that the study was "
                       "exported to.")
    return sorted(series, key=_order)


def series_of(files: Sequence[tuple]) -> Series:
    """Tell what a series is.

    Args:
        files: path and header of each of its images; of all but the first, ``EchoTime`` and
            ``NumberOfFrames`` are enough.
    """
    path, header = files[0]
    recognition = recognise(header)
    echoes = {value for _, each in files if (value := _number(each, "EchoTime")) is not None}
    if recognition.sequence and len(echoes) > 1 and max(echoes) > 1.5 * min(echoes):
        recognition = Recognition(None, "sure", "It holds images of several echo times: export one "
                                  "echo as a series of its own.")
    measures = [_number(header, *names) for names in (
        ("PixelSpacing", "PixelMeasuresSequence"),
        ("SpacingBetweenSlices", "PixelMeasuresSequence"),
        ("SliceThickness", "PixelMeasuresSequence"))]
    number = header.get("SeriesNumber")
    frames = sum(int(each.get("NumberOfFrames") or 1) for _, each in files)
    time = (str(header.get("AcquisitionDateTime") or "")[8:] or header.get("AcquisitionTime")
            or header.get("SeriesTime") or "")
    return Series(
        path=path, number="" if number is None else str(number), slices=frames,
        recognition=recognition, plane=_plane(header), pixel_mm=measures[0] or float("nan"),
        slice_mm=measures[1] or measures[2] or float("nan"),
        derived="DERIVED" in _list(header.get("ImageType")),
        description=str(header.get("SeriesDescription") or ""), time=str(time))


def _plane(header: Mapping) -> str | None:
    values = header.get("ImageOrientationPatient")
    for frame in [*_list(header.get("SharedFunctionalGroupsSequence")),
                  *_list(header.get("PerFrameFunctionalGroupsSequence"))[:1]]:
        for item in _list(frame.get("PlaneOrientationSequence")):
            values = values or item.get("ImageOrientationPatient")
    try:
        rows, columns = np.array(values, float).reshape(2, 3)
    except (TypeError, ValueError):
        return None
    return _PATIENT_AXES[int(np.abs(np.cross(rows, columns)).argmax())]


def _order(series: Series) -> tuple:
    return (int(series.number) if series.number.isdigit() else 10**9, series.number,
            str(series.path))


def assign(series: Iterable[Series]) -> dict[str, Choice]:
    """Choose a series of a study for each sequence.

    The surer comes first, then axial slices, those that were not computed from others, those that
    cover more of the head, and of equals the later: what is repeated had failed. Where headers do
    not tell whether contrast agent was given, the order in time does, which is never sure.

    Args:
        series: of one study, from :func:`find_series`.

    Returns:
        For each of :data:`SEQUENCES` what was chosen and why, to be corrected by the user.
    """
    found = [one for one in series if one.slices >= LEAST_SLICES]
    found = _split_by_time(found)
    chosen = {}
    for sequence in SEQUENCES:
        candidates = sorted((one for one in found if one.recognition.sequence == sequence),
                            key=_quality, reverse=True)
        if not candidates:
            chosen[sequence] = Choice(None, "sure", f"No series was recognised as "
                                      f"{NAMES[sequence]}.")
            continue
        best, *others = candidates
        reason = f"{best.label.capitalize()}: {best.recognition.reason}"
        if others:
            reason += f" {len(others)} more could be {NAMES[sequence]}."
        chosen[sequence] = Choice(best, best.recognition.certainty, reason, tuple(others))
    return chosen


def _quality(series: Series) -> tuple:
    covered = min(series.slices * np.nan_to_num(series.slice_mm, nan=1.0), 120.0) // 20
    return (CERTAINTIES.index(series.recognition.certainty), series.plane in ("axial", None),
            not series.derived, covered, _order(series)[:2])


def _split_by_time(found: list[Series]) -> list[Series]:
    """Tell T1 before from T1 after contrast agent by time, when no header tells of one of them."""
    def alike(sequence: str) -> list[Series]:
        return sorted((one for one in found if one.recognition.sequence == sequence),
                      key=lambda one: (one.time, _order(one)))

    before, after = alike("t1"), alike("t1c")
    swap: dict[Series, str] = {}
    if len(before) >= 2 and not after and not before[-1].recognition.agent_told:
        swap[before[-1]] = "t1c"
    elif len(after) >= 2 and not before and not after[0].recognition.agent_told:
        swap[after[0]] = "t1"
    reasons = {"t1c": "It is the last T1 of the study, so contrast agent may have been given.",
               "t1": "It is the first T1 of the study, so no contrast agent may have been given."}
    return [replace(one, recognition=Recognition(swap[one], "unsure", reasons[swap[one]]))
            if one in swap else one for one in found]
