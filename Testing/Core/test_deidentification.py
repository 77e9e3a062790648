# SPDX-License-Identifier: Apache-2.0
"""What leaves of an MR image: its pixels, its geometry, and nothing of the patient."""

from __future__ import annotations

import datetime
import io

import numpy as np
import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from ReadingRoomLib.deidentification import (
    SECRET_BYTES,
    WORDS,
    Deidentifier,
    cleaned_agent,
    cleaned_description,
    moved_day,
    moved_moment,
    moved_time,
    seconds_of,
    stored_values,
)
from ReadingRoomLib.errors import BadInput

from .dicom_factory import set_colour, set_pixels, write_enhanced

SECRET = bytes(range(SECRET_BYTES))
TEXT_VRS = {"LO", "SH", "LT", "ST", "UT", "UC", "PN", "AE", "UR"}
MARK = "Zq7Secret"  # in every text of an image
PIXELS = np.arange(30, dtype=np.uint16).reshape(5, 6) * 100


def _image(pixels: np.ndarray = PIXELS, **values) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    meta.SourceApplicationEntityTitle = MARK
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = "1.2.3", MARK.encode()
    image = FileDataset("", {}, file_meta=meta, preamble=MARK.encode().ljust(128))
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.FrameOfReferenceUID, image.Modality = generate_uid(), "MR"
    image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    image.PatientName, image.PatientID = f"{MARK}^Taro", f"{MARK}-1"
    image.PatientBirthDate, image.StudyDate, image.StudyTime = "19500203", "20200131", "235900"
    image.EchoTime, image.RepetitionTime = "98.5", "4500"
    image.ImagePositionPatient, image.PixelSpacing = [1.5, -2, 30], [0.5, 0.75]
    set_pixels(image, pixels)
    for name, value in values.items():
        setattr(image, name, value)
    return image


def _cleaned(image: Dataset, **options) -> FileDataset:
    deidentifier = Deidentifier(SECRET, **options)
    return deidentifier.deidentified(
        image, deidentifier.pseudonym(str(image.get("PatientID")), "0001", 86_340, 86_340))


def _bytes(image: FileDataset) -> bytes:
    stream = io.BytesIO()
    image.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _value(vr: str) -> object:
    """Something telling for an element of any kind."""
    if vr == "SQ":
        item = Dataset()
        item.PatientName, item.PatientID = f"{MARK}^Inner", MARK
        item.add_new(0x00091001, "LO", MARK)
        inner = Dataset()
        inner.PatientComments = MARK
        item.RequestAttributesSequence = [inner]
        return [item]
    return {"DA": "19610718", "DT": "19610718010203", "TM": "010203", "AS": "033Y",
            "UI": "1.2.826.999.7.5.3", "DS": "61718.25", "IS": "617182", "PN": f"{MARK}^X",
            "CS": "ZQ7SECRET", "AT": 0x00100010}.get(
        vr, MARK if vr in TEXT_VRS else MARK.encode() if vr in ("OB", "UN", "OW") else
        np.frombuffer(b"Zq7S", "<u2")[0].item() if vr in ("US", "SS") else
        617182 if vr in ("UL", "SL", "UV", "SV") else 61718.25 if vr in ("FD", "FL") else b"")


def _all_keywords() -> list[str]:
    return sorted(entry[4] for tag, entry in DicomDictionary.items()
                  if entry[4] and tag >> 16 > 8 and tag >> 16 not in (0x0028, 0x7FE0)
                  or entry[4] and tag >> 16 == 8 and entry[4] != "SpecificCharacterSet")


def _full_image() -> FileDataset:
    """With every element that DICOM knows, private ones, overlays and curves."""
    image = _image()
    kept = {element.keyword for element in image}
    for keyword in _all_keywords():
        vr = dictionary_VR(keyword).split(" ")[0]
        if keyword not in kept and vr not in ("OF", "OD", "OL", "OV"):
            setattr(image, keyword, _value(vr))
    image.add_new(0x00090010, "LO", MARK)
    image.add_new(0x00091001, "UN", MARK.encode())
    for group in (0x6000, 0x6002, 0x601E):
        image.add_new((group, 0x0022), "LO", MARK)
        image.add_new((group, 0x3000), "OW", MARK.encode() + b"\0")
    image.add_new((0x5000, 0x3000), "OW", MARK.encode() + b"\0")
    return image


def test_of_all_that_dicom_knows_nothing_telling_leaves():
    image = _full_image()
    assert len(image) > 3000
    written = _bytes(_cleaned(image))
    for telling in (MARK, MARK.upper(), "ZQ7", "Taro", "Inner", "19500203", "20200131", "19610718",
                    "033Y", "1.2.826.999.7.5.3"):
        assert telling.encode() not in written, telling
    for uid in (image.SOPInstanceUID, image.StudyInstanceUID, image.SeriesInstanceUID):
        assert uid.encode() not in written


def test_table_e_1_1_of_the_standard_is_obeyed():
    """The table as KitwareMedical's dicom-anonymizer keeps it, read from the standard's text."""
    # replaced, of which the profile and its options want so
    replaced = {"SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
                "PatientName", "PatientID", "SeriesDescription", "ProtocolName",
                "ContrastBolusAgent", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate",
                "StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime",
                "AcquisitionDateTime", "FrameAcquisitionDateTime", "FrameReferenceDateTime",
                "DimensionOrganizationUID"}
    image = _full_image()
    cleaned = _cleaned(image)
    checked = 0
    for place in table.ALL_TAGS:
        if len(place) > 2:  # groups that repeat
            assert not [tag for tag in cleaned.keys() if tag.group & 0xFF00 == place[0]]
            continue
        keyword = keyword_for_tag(place)
        if place[0] == 2 or place not in cleaned or not keyword:
            continue
        checked += 1
        value = cleaned[place].value
        if keyword in replaced:
            assert value != image[place].value, keyword
        else:
            assert str(value) == "", keyword
    assert checked > 20


def test_what_is_shown_and_where_it_lies_stays():
    image = _image(MagneticFieldStrength="3", SeriesDescription="t2_tse_tra Yamada 320")
    cleaned = pydicom.dcmread(io.BytesIO(_bytes(_cleaned(image))))
    np.testing.assert_array_equal(cleaned.pixel_array, PIXELS)
    for keyword in ("ImagePositionPatient", "PixelSpacing", "EchoTime", "RepetitionTime",
                    "MagneticFieldStrength", "ImageType", "Rows", "Columns"):
        assert cleaned[keyword].value == image[keyword].value, keyword
    assert cleaned.SeriesDescription == "T2 TSE TRA"
    assert cleaned.PatientName == cleaned.PatientID == "0001"
    assert (cleaned.PatientIdentityRemoved, cleaned.LongitudinalTemporalInformationModified) == (
        "YES", "MODIFIED")
    assert [item.CodeValue for item in cleaned.DeidentificationMethodCodeSequence] == [
        "113100", "113105", "113107"]
    assert cleaned.PatientBirthDate == "" and cleaned.AccessionNumber == ""
    assert cleaned.file_meta.MediaStorageSOPInstanceUID == cleaned.SOPInstanceUID
    assert image.PatientName == f"{MARK}^Taro"  # the original is as it was


def test_age_and_sex_stay_if_asked_for_and_high_ages_are_one():
    image = _image(PatientSex="F")
    cleaned = _cleaned(image, age_and_sex=True)
    assert (cleaned.PatientAge, cleaned.PatientSex) == ("069Y", "F")
    assert cleaned.DeidentificationMethodCodeSequence[-1].CodeValue == "113108"
    assert _cleaned(_image(PatientBirthDate="19220203"), age_and_sex=True).PatientAge == "090Y"
    assert "PatientAge" not in _cleaned(image) and _cleaned(image).PatientSex == ""


def test_uids_stay_related_and_without_the_secret_cannot_be_made():
    first, second = _image(), _image()
    second.StudyInstanceUID = first.StudyInstanceUID
    one, other = _cleaned(first), _cleaned(second)
    assert one.StudyInstanceUID == other.StudyInstanceUID
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert Deidentifier(bytes(SECRET_BYTES)).uid("1.2") != Deidentifier(SECRET).uid("1.2")
    with pytest.raises(ValueError):
        Deidentifier(b"short")


@given(st.text(max_size=80))
def test_any_uid_becomes_a_valid_one(text):
    uid = pydicom.uid.UID(Deidentifier(SECRET).uid(text))
    assert uid.is_valid and len(uid) <= 64 and uid.startswith("2.25.")


@given(st.dates(datetime.date(1900, 1, 1)), st.dates(datetime.date(1900, 1, 1)),
       st.text(max_size=12))
def test_dates_move_all_alike_and_keep_their_distance(first, second, patient):
    days = Deidentifier(SECRET).pseudonym(patient, "1").days
    assert -3650 <= days < 0
    moved = [datetime.datetime.strptime(moved_day(day.strftime("%Y%m%d").rjust(8, "0"), days),
                                        "%Y%m%d").date() for day in (first, second)]
    assert moved[1] - moved[0] == second - first and moved[0] != first


@given(st.integers(0, 86_399), st.integers(0, 86_399), st.integers(0, 86_399), st.text(max_size=9))
def test_times_of_a_study_keep_their_order_and_its_day(a, b, c, patient):
    earliest, between, latest = sorted((a, b, c))
    pseudonym = Deidentifier(SECRET).pseudonym(patient, "1", earliest, latest)
    moved = [seconds_of(moved_time(f"{t // 3600:02}{t // 60 % 60:02}{t % 60:02}",
                                   pseudonym.seconds)) for t in (earliest, between, latest)]
    assert moved == sorted(moved)
    assert moved[2] - moved[0] == pytest.approx(latest - earliest)


@given(st.text(max_size=30))
def test_what_is_no_date_or_time_does_not_leave(text):
    pseudonym = Deidentifier(SECRET).pseudonym("p", "1")
    for moved in (moved_day(text, -5), moved_time(text, 5), moved_moment(text, pseudonym)):
        assert moved is None or moved.replace(".", "").isdigit()


@given(st.text(max_size=100))
def test_of_descriptions_only_known_words_leave(text):
    left = cleaned_description(text)
    assert set(left.lower().split()) <= WORDS | {"+", "c"}
    assert len(left) <= 64


def test_a_word_that_is_the_patients_name_does_not_leave():
    assert cleaned_description("T1 TRA Tanaka") == "T1 TRA"
    assert cleaned_description("T1 TRA", {"tra"}) == "T1"
    assert _cleaned(_image(PatientName="Tra^Nguyen", SeriesDescription="T1 TRA")
                    ).SeriesDescription == "T1"
    assert "YAMADA" not in _cleaned(_image(PatientName="Yamada", ImageType=["ORIGINAL", "YAMADA"])
                                    ).get("ImageType", [])


@pytest.mark.parametrize(("text", "left"), [
    ("Gadovist 7 ml Dr. Suzuki", "GADOVIST"), ("", "NONE"), ("なし", "NONE"), ("none", "NONE"),
    ("Suzuki", "CONTRAST AGENT")])
def test_contrast_agents_are_told_by_known_names(text, left):
    assert cleaned_agent(text) == left


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=60, max_size=60), st.sampled_from([8, 12, 16]), st.booleans())
def test_bits_that_are_no_part_of_a_value_are_empty(content, stored, signed):
    raw = np.frombuffer(content, "<u2").reshape(5, 6)
    image = _image(raw)
    image.BitsStored, image.HighBit, image.PixelRepresentation = stored, stored - 1, int(signed)
    values = stored_values(image)[0]
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    assert low <= values.min() and values.max() <= high
    np.testing.assert_array_equal(values.astype(np.int64) & ((1 << stored) - 1),
                                  raw & ((1 << stored) - 1))
    cleaned = pydicom.dcmread(io.BytesIO(_bytes(_cleaned(image))))
    np.testing.assert_array_equal(cleaned.pixel_array, values)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_compressed_images_leave_with_the_same_values_and_no_stream(syntax, kind):
    pixels = (np.arange(64 * 48).reshape(64, 48) % 700).astype(kind)
    image = _image(pixels, RescaleSlope="2", RescaleIntercept="-7")
    image.BitsStored, image.HighBit = 12, 11
    image.compress(syntax, generate_instance_uid=False)
    cleaned = pydicom.dcmread(io.BytesIO(_bytes(_cleaned(image))))
    np.testing.assert_array_equal(cleaned.pixel_array, pixels)
    assert not cleaned.file_meta.TransferSyntaxUID.is_compressed
    assert image.file_meta.MediaStorageSOPClassUID == MRImageStorage


def test_enhanced_images_keep_the_place_of_each_frame(tmp_path):
    places = [0.0, 4.0, 8.0]
    image = pydicom.dcmread(write_enhanced(tmp_path / "x.dcm", np.zeros((3, 8, 9)), places))
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    image.PerFrameFunctionalGroupsSequence[1].PatientID = MARK
    image.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].PatientComments = MARK
    cleaned = _cleaned(image)
    found = [frame.PlanePositionSequence[0].ImagePositionPatient[2]
             for frame in cleaned.PerFrameFunctionalGroupsSequence]
    assert np.diff(found).tolist() == [4.0, 4.0]
    assert cleaned.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    assert MARK.encode() not in _bytes(cleaned)


@pytest.mark.parametrize("edit", [
    lambda image: setattr(image, "SOPClassUID", SecondaryCaptureImageStorage),
    lambda image: delattr(image, "PixelData"),
    lambda image: setattr(image, "PixelData", image.PixelData[:-7]),
    lambda image: set_colour(image),
    lambda image: setattr(image, "BitsStored", 40),
    lambda image: image.add_new("SamplesPerPixel", "LO", MARK),
    lambda image: delattr(image, "SOPInstanceUID"),
])
def test_what_cannot_be_copied_is_refused_without_naming_it(edit):
    image = _image()
    edit(image)
    with pytest.raises(BadInput) as refused:
        _cleaned(image)
    assert MARK not in refused.value.message and refused.value.__cause__ is None
