# SPDX-License-Identifier: Apache-2.0
"""Findings as DICOM, read back with pydicom and highdicom: places, codes, whose they are."""

from __future__ import annotations

import itertools
import re

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from scipy.spatial.transform import Rotation

from ReadingRoomLib.bone_codes import LEFT, PRIVATE_SCHEME, RIGHT, bone_site
from ReadingRoomLib.dicom_findings import (
    Algorithm,
    Finding,
    Quantity,
    read_series,
    write_findings,
)
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.images import read_image

from .dicom_factory import body, write_enhanced, write_series

ALGORITHM = Algorithm("ReadingRoom Test", "1.2", codes.DCM.NeighborhoodAnalysis,
                      {"method": "classical"})
COUNT = 8
HU_CHANGE = Code("HUCHANGE", PRIVATE_SCHEME, "Change of attenuation")


def two_findings(image):
    """Two bodies without symmetry, numbered 3 and 7 of a label image that holds a third."""
    array = np.zeros(image.GetSize()[::-1], np.uint16)
    slices = array.shape[0]
    array[1:3, 5:9, 6:8] = array[2, 5, 8] = 3
    array[slices - 3, 10:12, 20:25] = array[slices - 2, 10, 20] = 7
    array[4, 15:18, 15:18] = 5
    labels = sitk.GetImageFromArray(array)
    labels.CopyInformation(image)
    return labels


def finding(value=3, name="3 denser, L3", **more):
    site, side = bone_site("vertebrae_L3")
    return Finding(value, name, [
        Quantity(codes.SCT.Volume, 1.25, codes.UCUM.CubicCentimeter),
        Quantity(HU_CHANGE, -87.5, codes.UCUM.HounsfieldUnit, codes.SCT.Mean),
    ], site=site, side=side, **more)


def write(folder, labels, path, findings=None):
    files = folder / "seg.dcm", folder / "sr.dcm"
    write_findings(labels, findings or [finding(), finding(7, "7 thinner")], read_series(path),
                   ALGORITHM, *files)
    return hd.seg.segread(files[0]), hd.sr.srread(files[1])


def places_in_labels(labels, value):
    """Where the voxels of a label lie, mm, in some order."""
    indices = np.argwhere(sitk.GetArrayViewFromImage(labels) == value)[:, ::-1]
    return sorted(tuple(np.round(labels.TransformIndexToPhysicalPoint(index), 2) + 0.0)
                  for index in indices.tolist())


def places_in_segmentation(segmentation, number):
    """The same, from what the file says of each of its frames and pixels."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    orientation = np.array(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    found = []
    for frame, about in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        if about.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        corner = np.array(about.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            found.append(corner + column * spacing[1] * orientation[0]
                         + row * spacing[0] * orientation[1])
    return sorted(tuple(np.round(place, 2) + 0.0) for place in found)


def same_places(first, second):
    return len(first) == len(second) and np.allclose(first, second, atol=0.02)


AXES = [np.array(axes) for axes in itertools.product(*[np.vstack([np.eye(3), -np.eye(3)])] * 2)
        if axes[0] @ axes[1] == 0]
ORIENTATIONS = st.tuples(
    st.sampled_from(AXES), st.tuples(*[st.floats(-25, 25).map(lambda v: round(v, 1))] * 3))


@settings(max_examples=12, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ORIENTATIONS, st.permutations(range(COUNT)), st.permutations(range(3)),
       st.tuples(*[st.booleans()] * 3))
def test_findings_lie_where_the_labels_lie(tmp_path_factory, orientation, order, axes, flips):
    """In whatever order the files come, however the patient lies, however the labels run."""
    folder = tmp_path_factory.mktemp("any")
    directions, angles = orientation
    directions = directions @ Rotation.from_euler("xyz", angles, degrees=True).as_matrix().T
    write_series(folder / "ct", body(COUNT)[list(order)], places=[3.0 * k for k in order],
                 orientation=directions)
    labels = two_findings(read_image(folder / "ct").image)
    turned = sitk.Flip(sitk.PermuteAxes(labels, list(axes)), list(flips))
    segmentation, _ = write(folder, turned, folder / "ct")
    for number, value in ((1, 3), (2, 7)):
        assert same_places(places_in_segmentation(segmentation, number),
                           places_in_labels(labels, value))


def test_each_frame_refers_to_the_image_in_its_place(tmp_path):
    paths = write_series(tmp_path / "ct")
    by_place = {pydicom.dcmread(path).ImagePositionPatient[2]: pydicom.dcmread(path).SOPInstanceUID
                for path in paths}
    segmentation, report = write(tmp_path, two_findings(read_image(paths[0]).image), paths[0])
    assert segmentation.NumberOfFrames == 4  # those of 8 slices where a finding is
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        place = frame.PlanePositionSequence[0].ImagePositionPatient[2]
        assert source.ReferencedSOPInstanceUID == by_place[place]


def test_patient_study_and_frame_of_reference_are_those_of_the_ct(tmp_path):
    paths = write_series(tmp_path / "ct", number=4)
    ct = pydicom.dcmread(paths[0])
    objects = write(tmp_path, two_findings(read_image(paths[0]).image), tmp_path / "ct")
    for dataset in objects:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex",
                        "StudyInstanceUID", "StudyDate", "AccessionNumber"):
            assert dataset[keyword].value == ct[keyword].value, keyword
        assert dataset.SeriesInstanceUID != ct.SeriesInstanceUID
        assert "not a medical device" in dataset.SeriesDescription
    segmentation, report = objects
    assert segmentation.FrameOfReferenceUID == ct.FrameOfReferenceUID
    assert (segmentation.SeriesNumber, report.SeriesNumber) == (401, 402)
    assert report.VerificationFlag == "UNVERIFIED" and report.PreliminaryFlag == "PRELIMINARY"


def test_segments_are_coded_and_tracked(tmp_path):
    write_series(tmp_path / "ct")
    segmentation, _ = write(tmp_path, two_findings(read_image(tmp_path / "ct").image),
                            tmp_path / "ct")
    first, second = segmentation.SegmentSequence
    assert segmentation.SegmentationType == "BINARY"
    assert (first.SegmentLabel, second.SegmentLabel) == ("3 denser, L3", "7 thinner")
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"
    assert first.AnatomicRegionSequence[0].CodeValue == "36470004"  # L3 vertebra
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("ReadingRoom Test", "1.2")
    assert algorithm.AlgorithmParameters == "method=classical"
    assert first.TrackingUID != second.TrackingUID and first.TrackingID == "3 denser, L3"


def test_report_has_a_group_for_each_finding_that_refers_to_its_segment(tmp_path):
    write_series(tmp_path / "ct")
    findings = [finding(3, evaluations=[(codes.SCT.DifferenceInAttenuation,
                                         Code("DENSER", PRIVATE_SCHEME, "Denser"))]),
                finding(7, "7 thinner")]
    segmentation, report = write(tmp_path, two_findings(read_image(tmp_path / "ct").image),
                                 tmp_path / "ct", findings)
    content = hd.sr.MeasurementReport.from_sequence([report])
    groups = content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    for number, (group, segment) in enumerate(
            zip(groups, segmentation.SegmentSequence, strict=True), 1):
        assert group.tracking_uid == segment.TrackingUID
        assert group.tracking_identifier == segment.TrackingID
        referred = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert referred.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        assert referred.ReferencedSegmentNumber == number
        values = {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}
        assert values == {"Volume": (1.25, "cm3"), "Change of attenuation": (-87.5, "[hnsf'U]")}
        assert group.finding_type == codes.SCT.Lesion
        assert [site.value for site in group.finding_sites] == [codes.SCT.L3Vertebra]
    answers = groups[0].get_qualitative_evaluations()
    assert (codes.SCT.DifferenceInAttenuation.value, PRIVATE_SCHEME) in [
        (answer.name.value, answer.value.scheme_designator) for answer in answers]
    texts = str(report)
    assert "ReadingRoom Test" in texts and "Algorithm Version" in texts


def test_unique_identifiers_are_new_each_time_and_nothing_else_differs(tmp_path):
    write_series(tmp_path / "ct")
    labels = two_findings(read_image(tmp_path / "ct").image)
    texts = []
    for _ in range(2):
        objects = write(tmp_path, labels, tmp_path / "ct")
        assert objects[0].SOPInstanceUID not in "".join(texts)
        texts.append("".join(map(str, objects)))
    changing = re.compile(r".* (UI|TM|DT|DA): .*")
    first, second = (changing.sub("", text) for text in texts)
    assert first == second


def test_multi_frame_ct(tmp_path):
    places = [3.0 * k for k in (3, 0, 1, 2, 7, 6, 5, 4)]
    path = write_enhanced(tmp_path / "ct.dcm", body(COUNT), places)
    labels = two_findings(read_image(path).image)
    segmentation, _ = write(tmp_path, labels, path)
    for number, value in ((1, 3), (2, 7)):
        assert same_places(places_in_segmentation(segmentation, number),
                           places_in_labels(labels, value))


def test_slices_of_a_tilted_gantry_get_what_lies_on_them(tmp_path):
    """The image was shifted into line, the files were not."""
    tilt = np.array([0.0, np.sin(0.2), np.cos(0.2)])
    write_series(tmp_path / "ct", along=tilt)
    scan = read_image(tmp_path / "ct")
    assert "tilted" in scan.warnings[0]
    labels = two_findings(scan.image)
    segmentation, _ = write(tmp_path, labels, tmp_path / "ct")
    for number, value in ((1, 3), (2, 7)):
        found = np.array(places_in_segmentation(segmentation, number))
        wanted = np.array(places_in_labels(labels, value))
        assert np.allclose(found.mean(axis=0), wanted.mean(axis=0), atol=1.0)
        assert 0.7 < len(found) / len(wanted) < 1.4


def test_names_that_were_taken_out_stay_empty(tmp_path):
    def edit(dataset, index):
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber"):
            delattr(dataset, keyword)

    write_series(tmp_path / "ct", edit=edit)
    segmentation, report = write(tmp_path, two_findings(read_image(tmp_path / "ct").image),
                                 tmp_path / "ct")
    assert not segmentation.PatientName and not report.PatientID


def test_letters_of_any_language_are_kept(tmp_path):
    """Those of a bone, and the patient's in the narrower character set of the CT."""
    def edit(dataset, index):
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName = "Müller^Jürgen"

    write_series(tmp_path / "ct", edit=edit)
    labels = two_findings(read_image(tmp_path / "ct").image)
    site, _ = bone_site("第3腰椎 \\ Wirbel")
    odd = Finding(3, "3 第3腰椎", [], site=site)
    for dataset in write(tmp_path, labels, tmp_path / "ct", [odd]):
        assert dataset.PatientName == "Müller^Jürgen"
        assert "第3腰椎 / Wirbel" in str(dataset) and "3 第3腰椎" in str(dataset)


# What cannot be written


def test_a_ct_that_is_no_dicom_is_refused(tmp_path):
    path = tmp_path / "ct.nrrd"
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkInt16), str(path))
    with pytest.raises(BadInput, match="ct.nrrd is not DICOM.*choose the DICOM series"):
        read_series(path)
    with pytest.raises(BadInput, match="cannot be found"):
        read_series(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no DICOM images"):
        read_series(tmp_path / "empty")


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_ct_that_nothing_can_refer_to_is_refused(tmp_path, keyword):
    write_series(tmp_path / "ct", edit=lambda dataset, index: delattr(dataset, keyword))
    labels = two_findings(read_image(tmp_path / "ct").image)
    with pytest.raises(BadInput, match=f"{keyword}.*export the series again"):
        write(tmp_path, labels, tmp_path / "ct")


def test_findings_outside_the_ct_are_refused(tmp_path):
    write_series(tmp_path / "ct")
    labels = two_findings(read_image(tmp_path / "ct").image)
    labels.SetOrigin([position + 500 for position in labels.GetOrigin()])
    with pytest.raises(BadInput, match="3 denser, L3 does not lie in"):
        write(tmp_path, labels, tmp_path / "ct")
    with pytest.raises(BadInput, match="8 denser has no place"):
        write(tmp_path, labels, tmp_path / "ct", [finding(8, "8 denser")])


def test_a_multi_frame_ct_in_two_files_is_refused(tmp_path):
    first = write_enhanced(tmp_path / "a.dcm", body(COUNT)[:4], [0.0, 3.0, 6.0, 9.0])
    second = write_enhanced(tmp_path / "b.dcm", body(COUNT)[4:], [12.0, 15.0, 18.0, 21.0])
    dataset = pydicom.dcmread(second)
    dataset.SeriesInstanceUID = pydicom.dcmread(first).SeriesInstanceUID
    dataset.save_as(second)
    with pytest.raises(BadInput, match="export it as single slices"):
        read_series(tmp_path)


# Bones


@pytest.mark.parametrize(("name", "code", "side"), [
    ("vertebrae_L3", codes.SCT.L3Vertebra, None),
    ("T12 vertebra", codes.SCT.T12Vertebra, None),
    ("vertebrae_T1", codes.SCT.T1Vertebra, None),
    ("rib_left_11", codes.SCT.Rib, LEFT),
    ("Femur, right", codes.SCT.Femur, RIGHT),
    ("hip_left", codes.SCT.BoneStructureOfPelvis, LEFT),
    ("sternum", codes.SCT.Sternum, None),
    ("", codes.SCT.Bone, None),
    ("Kniescheibe", Code("Kniescheibe", PRIVATE_SCHEME, "Kniescheibe"), None),
    ("hamatum_left", Code("hamatum_left", PRIVATE_SCHEME, "hamatum_left"), LEFT),
])
def test_bones_are_known_by_their_names(name, code, side):
    assert bone_site(name) == (code, side)


def test_a_long_name_of_a_bone_that_is_not_known_is_written(tmp_path):
    write_series(tmp_path / "ct")
    site, _ = bone_site("a bone that nobody has ever heard of " * 3)
    labels = two_findings(read_image(tmp_path / "ct").image)
    odd = Finding(3, "3 denser", [], site=site)
    segmentation, report = write(tmp_path, labels, tmp_path / "ct", [odd])
    region = segmentation.SegmentSequence[0].AnatomicRegionSequence[0]
    assert region.CodeMeaning == "a bone that nobody has ever heard of a bone that nobody has ever"
    assert region.LongCodeValue == region.CodeMeaning
