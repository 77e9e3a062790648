# SPDX-License-Identifier: Apache-2.0
"""DICOM series with every defect that a clinic's export can have."""

import datetime
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import ImplicitVRLittleEndian, RLELossless, generate_uid

from ReadingRoomLib import dicom_series
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import obliqueness_degrees, shear_degrees
from ReadingRoomLib.images import ImageInput, read_image

from .dicom_factory import (
    ORIGIN,
    body,
    set_colour,
    set_pixels,
    write_enhanced,
    write_report,
    write_series,
)

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
HEAD_CT = REAL_DATA / "ct_head_volumes" / "dcm_qa_ct_GE_head_28slices_dicom.zip"


def array(read: ImageInput) -> np.ndarray:
    """The voxels, slice by slice."""
    return sitk.GetArrayFromImage(read.image)


def refusal(path, modality="CT") -> str:
    """The one sentence that refuses the image, which never tells about the patient."""
    with pytest.raises(BadInput) as caught:
        read_image(path, modality)
    message = caught.value.message
    assert path.name in message
    assert "SECRET" not in message.upper()
    assert message.count(": ") == 1 and message.endswith(".")  # what is wrong, and what to do
    return message


def the_warning(read: ImageInput) -> str:
    [warning] = read.warnings
    assert "SECRET" not in warning.upper()
    return warning


def place_of(image: sitk.Image, index=(0, 0, 0)) -> tuple:
    return image.TransformIndexToPhysicalPoint(index)


# Complete series


def test_a_series_becomes_a_volume_in_hounsfield_units(tmp_path):
    write_series(tmp_path / "ct")
    read = read_image(tmp_path / "ct")
    assert np.array_equal(array(read), body(8))
    assert read.image.GetPixelID() == sitk.sitkInt16
    assert read.image.GetSpacing() == pytest.approx((2.0, 1.5, 3.0))
    assert read.image.GetOrigin() == pytest.approx(ORIGIN)
    assert np.allclose(np.reshape(read.image.GetDirection(), (3, 3)), np.eye(3))
    assert read.warnings == []
    assert read.name == "ct"


def test_the_order_of_files_and_names_does_not_matter(tmp_path):
    write_series(tmp_path / "up")
    paths = write_series(tmp_path / "down", body(8)[::-1], places=-3.0 * np.arange(8),
                         origin=(*ORIGIN[:2], ORIGIN[2] + 21))
    for number, path in enumerate(np.random.default_rng(0).permutation(paths)):
        Path(path).rename(tmp_path / "down" / f"{number}")  # no extension either
    assert read_image(tmp_path / "down").sha256 == read_image(tmp_path / "up").sha256


def test_one_file_means_its_series(tmp_path):
    first = write_series(tmp_path, count=5, prefix="A")
    second = write_series(tmp_path, count=6, prefix="B", number=4)
    assert read_image(first[2]).image.GetSize()[2] == 5
    assert read_image(second[0]).image.GetSize()[2] == 6


def test_paths_with_spaces_other_scripts_and_links(tmp_path):
    folder = tmp_path / "Müller, Jürgen 患者" / "CT Hüfte"
    write_series(folder)
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    links = tmp_path / "links"
    links.mkdir()
    for path in folder.iterdir():
        (links / path.name).symlink_to(path)
    hashes = {read_image(path).sha256 for path in (folder, tmp_path / "link", links)}
    assert len(hashes) == 1


@pytest.mark.skipif(os.name == "nt", reason="names are always Unicode there")
def test_a_folder_whose_name_is_no_unicode(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        write_series(folder)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert np.array_equal(array(read_image(folder)), body(8))


def test_subfolders_are_searched_and_circles_survived(tmp_path):
    write_series(tmp_path / "disc" / "DICOM" / "S1")
    (tmp_path / "disc" / "DICOM" / "again").symlink_to(tmp_path / "disc")
    assert read_image(tmp_path / "disc").image.GetSize()[2] == 8


def test_files_without_preamble(tmp_path):
    paths = write_series(tmp_path / "ct")
    for path in paths:
        dataset = pydicom.dcmread(path)
        del dataset.file_meta
        pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True)
    assert np.array_equal(array(read_image(tmp_path / "ct")), body(8))


def test_implicit_and_big_endian(tmp_path):
    expected = body(8)
    for path in write_series(tmp_path / "implicit"):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True)
    assert np.array_equal(array(read_image(tmp_path / "implicit")), expected)
    for path in write_series(tmp_path / "big"):
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array.astype(">u2")
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        dataset.PixelData = pixels.tobytes()
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False)
    assert np.array_equal(array(read_image(tmp_path / "big")), expected)


def test_rle_compression(tmp_path):
    for path in write_series(tmp_path / "ct"):
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    assert np.array_equal(array(read_image(tmp_path / "ct")), body(8))


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_jpeg_compression(tmp_path, compressor):
    """GDCM compresses the pixels; they are then moved into the headers of the series."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    for path in write_series(tmp_path / "ct"):
        dataset = pydicom.dcmread(path)
        writer.SetFileName(str(tmp_path / "compressed.dcm"))
        writer.Execute(sitk.GetImageFromArray(dataset.pixel_array[None]))
        compressed = pydicom.dcmread(tmp_path / "compressed.dcm")
        assert compressed.file_meta.TransferSyntaxUID.is_compressed
        dataset.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
        dataset.PixelData = compressed.PixelData
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    assert np.array_equal(array(read_image(tmp_path / "ct")), body(8))


def test_a_compression_that_cannot_be_read_is_named(tmp_path):
    for path in write_series(tmp_path / "ct"):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2KLossless
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(100)])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    assert "IM0000.dcm (High-Throughput JPEG 2000" in refusal(tmp_path / "ct")


def test_multi_frame_ct(tmp_path):
    path = write_enhanced(tmp_path / "enhanced.dcm", body(8), 3.0 * np.arange(8))
    read = read_image(path)
    assert np.array_equal(array(read), body(8))
    assert read.image.GetSpacing() == pytest.approx((2.0, 1.5, 3.0))
    assert read.image.GetOrigin() == pytest.approx(ORIGIN)


def test_multi_frame_ct_with_frames_in_any_order_and_gaps(tmp_path):
    order = [3, 0, 7, 1, 2, 6, 5, 4]
    shuffled = write_enhanced(tmp_path / "a.dcm", body(8)[order], 3.0 * np.array(order))
    assert np.array_equal(array(read_image(shuffled)), body(8))
    kept = [0, 1, 2, 5, 6, 7]
    gap = write_enhanced(tmp_path / "b.dcm", body(8)[kept], 3.0 * np.array(kept))
    assert "lacks about 2 slices" in refusal(gap)


@pytest.mark.parametrize("spacing", [0.4, 10.0])
def test_thin_and_thick_slices(tmp_path, spacing):
    write_series(tmp_path / "ct", spacing=spacing, thickness=spacing)
    assert read_image(tmp_path / "ct").image.GetSpacing()[2] == pytest.approx(spacing)


def test_700_slices(tmp_path):
    write_series(tmp_path / "ct", count=700, spacing=1.0)
    read = read_image(tmp_path / "ct")
    assert np.array_equal(array(read), body(700))


# Which series


def test_scouts_reports_and_other_modalities_are_left_out(tmp_path):
    def scout(dataset, index):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    folder = tmp_path / "study"
    write_series(folder, prefix="CT")
    coronal = ((1.0, 0, 0), (0, 0, -1.0))
    write_series(folder, count=1, prefix="SC", number=1, edit=scout, orientation=coronal)
    write_series(folder, count=5, prefix="MR", number=7, modality="MR")
    write_series(folder, count=2, prefix="BT", number=8)  # two slices are no volume
    write_report(folder / "SR.dcm")
    (folder / "readme.txt").write_text("not DICOM")
    read = read_image(folder)
    assert np.array_equal(array(read), body(8))
    warning = the_warning(read)
    for part in ("MR images (5)", "scouts (1)", "reports", "CT images outside the volume (2)"):
        assert part in warning


def test_a_scout_within_the_series_is_left_out(tmp_path):
    def scout(dataset, index):
        if index == 0:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    write_series(tmp_path / "ct", edit=scout)
    assert read_image(tmp_path / "ct").image.GetSize()[2] == 7


def test_bolus_tracking_in_one_place_is_no_volume(tmp_path):
    write_series(tmp_path / "study", prefix="CT")
    write_series(tmp_path / "study", prefix="BT", number=2, places=[10.0] * 6)
    assert read_image(tmp_path / "study").image.GetSize()[2] == 8


def test_two_volumes_are_named_and_asked_for(tmp_path):
    write_series(tmp_path / "study", prefix="A", number=2)
    write_series(tmp_path / "study", prefix="B", number=4, count=12)
    message = refusal(tmp_path / "study")
    assert "series 2 (8 slices), series 4 (12 slices)" in message
    assert "choose one file" in message


def test_a_series_without_a_number(tmp_path):
    write_series(tmp_path / "ct", number=None, count=1)
    assert "the series without a number" in refusal(tmp_path / "ct")


def test_mr_given_as_ct_and_ct_given_as_mr(tmp_path):
    paths = write_series(tmp_path / "mr", modality="MR")
    assert "no CT slices but MR images (8)" in refusal(tmp_path / "mr")
    assert "no CT slices but MR images (8)" in refusal(paths[0])
    assert read_image(tmp_path / "mr", "MR").image.GetSize()[2] == 8
    write_series(tmp_path / "ct")
    assert "no MR slices but CT images (8)" in refusal(tmp_path / "ct", "MR")


def test_colour_pictures(tmp_path):
    write_series(tmp_path / "ct", edit=lambda dataset, index: set_colour(dataset))
    assert "no CT slices but colour pictures (8)" in refusal(tmp_path / "ct")


def test_empty_folders_and_folders_of_something_else(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no DICOM images" in refusal(tmp_path / "empty")
    (tmp_path / "empty" / "letter.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "empty" / "zero").touch()
    assert "holds no DICOM images" in refusal(tmp_path / "empty")
    write_report(tmp_path / "empty" / "report.dcm")
    assert "reports" in refusal(tmp_path / "empty")


def test_limits_are_checked_before_pixels_are_read(tmp_path, monkeypatch):
    paths = write_series(tmp_path / "ct")
    monkeypatch.setattr(dicom_series, "MAX_VOXELS", 1000)
    monkeypatch.setattr(dicom_series, "_read_file", None)
    monkeypatch.setattr(dicom_series, "_pixels", None)
    shutil.copy(paths[0], tmp_path / "ct" / "copy.dcm")
    assert "larger than can be handled" in refusal(tmp_path / "ct")
    monkeypatch.setattr(dicom_series, "MAX_FILES", 5)
    assert "too many files" in refusal(tmp_path / "ct")


def test_images_without_a_position(tmp_path):
    def lose_position(dataset, index):
        del dataset.ImagePositionPatient

    def lose_directions(dataset, index):
        dataset.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]

    for name, edit in [("a", lose_position), ("b", lose_directions)]:
        write_series(tmp_path / name, edit=edit)
        assert "without valid position and pixel size (8)" in refusal(tmp_path / name)


# Day and patient


def with_(**values):
    """Returns what writes these values into every header."""
    def edit(dataset, index):
        for name, value in values.items():
            setattr(dataset, name, value)
    return edit


@pytest.mark.parametrize("values, day", [
    ({}, (2020, 1, 1)),
    ({"AcquisitionDate": "20200204"}, (2020, 2, 4)),
    ({"AcquisitionDate": "20200204", "AcquisitionDateTime": "20200203235959"}, (2020, 2, 3)),
    ({"AcquisitionDate": "", "SeriesDate": "20200207"}, (2020, 2, 7)),
    ({"AcquisitionDate": "99999999"}, (2020, 1, 1)),
    ({"StudyDate": ""}, None),
])
def test_the_day_of_the_scan(tmp_path, values, day):
    write_series(tmp_path / "ct", edit=with_(**values))
    acquired = read_image(tmp_path / "ct").acquired
    assert acquired == (datetime.date(*day) if day else None)


@pytest.mark.parametrize("values, age", [
    ({"PatientAge": "007Y"}, 7), ({"PatientAge": "018M"}, 1.5), ({"PatientAge": "026W"}, 0.5),
    ({"PatientAge": "003D"}, 0.01),
    ({"PatientAge": "044Y", "PatientBirthDate": "20130101"}, 44),
    ({"PatientAge": "", "PatientBirthDate": "20130101"}, 7),
    ({"PatientAge": "some", "PatientBirthDate": "20130101"}, 7),
    ({"PatientAge": "", "PatientBirthDate": "20300101"}, None),
    ({"PatientAge": "", "PatientBirthDate": ""}, None),
])
def test_the_age_of_the_patient(tmp_path, values, age):
    write_series(tmp_path / "ct", edit=with_(**values))
    source = read_image(tmp_path / "ct")
    assert source.age == (None if age is None else pytest.approx(age, abs=0.01))
    assert ", age=" not in repr(source)


def test_the_kernel_of_the_reconstruction(tmp_path):
    write_series(tmp_path / "ct", edit=with_(ConvolutionKernel=["Hr64h", "3"]))
    write_series(tmp_path / "other")
    assert read_image(tmp_path / "ct").kernel == "Hr64h"
    assert read_image(tmp_path / "other").kernel == ""


def test_two_scans_of_a_patient_can_be_told_from_those_of_two(tmp_path):
    numbers = {"first": "7", "again": " 7 ", "other": "8", "without": "", "foreign": "Öz-7"}
    found = {}
    for name, number in numbers.items():
        edit = with_(PatientID=number, SpecificCharacterSet="ISO_IR 192")
        write_series(tmp_path / name, edit=edit)
        found[name] = read_image(tmp_path / name).patient
    assert found["first"] == found["again"]
    assert len({found["first"], found["other"], found["foreign"]}) == 3
    assert found["without"] is None


def test_nothing_of_the_patient_can_be_read_off(tmp_path):
    """Neither from what is printed nor by trying out numbers against the hash."""
    write_series(tmp_path / "ct")
    read = read_image(tmp_path / "ct")
    assert read.patient is not None and read.acquired is not None
    printed = repr(read) + str(read)
    assert read.patient not in printed and "2020" not in printed
    assert "secret" not in printed.lower()
    assert read.patient != hashlib.sha256(b"SECRET-ID").hexdigest()
    other = subprocess.run(
        [sys.executable, "-c", "import sys\nfrom ReadingRoomLib.images import read_image\n"
         "print(read_image(sys.argv[1]).patient)", str(tmp_path / "ct")],
        env={**os.environ, "PYTHONPATH": str(Path(dicom_series.__file__).parents[1])},
        capture_output=True, text=True, check=True)
    assert len(other.stdout.strip()) == 64 and other.stdout.strip() != read.patient


# Slices


def test_one_slice(tmp_path):
    [path] = write_series(tmp_path / "ct", count=1)
    assert "only one slice" in refusal(path)
    assert "only one slice" in refusal(tmp_path / "ct")


def test_copies_of_slices_are_dropped(tmp_path):
    paths = write_series(tmp_path / "ct")
    for path in paths[2:5]:
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    read = read_image(tmp_path / "ct")
    assert np.array_equal(array(read), body(8))
    assert "3 slices twice" in the_warning(read)


def test_different_slices_in_one_place_are_refused(tmp_path):
    uid = generate_uid()
    write_series(tmp_path / "ct", uid=uid, prefix="A")
    write_series(tmp_path / "ct", body(8) + 7, uid=uid, prefix="B")
    message = refusal(tmp_path / "ct")
    assert "different slices in the same place (100.0 mm)" in message


@pytest.mark.parametrize(
    ("lost", "text"),
    [([4], "lacks about 1 slice between 109.0 mm and 115.0 mm"),
     ([3, 4, 5, 6], "lacks about 4 slices between 106.0 mm and 121.0 mm")],
)
def test_missing_slices_are_refused_with_their_place(tmp_path, lost, text):
    paths = write_series(tmp_path / "ct", count=20)
    for index in lost:
        paths[index].unlink()
    assert text in refusal(tmp_path / "ct")


def test_a_slice_missing_between_overlapping_slices(tmp_path):
    paths = write_series(tmp_path / "ct", count=20, spacing=2.0, thickness=5.0)
    paths[7].unlink()
    assert "lacks about 1 slice" in refusal(tmp_path / "ct")


def test_rounded_positions_are_fine(tmp_path):
    places = np.round(2.5 * np.arange(10) + np.tile([0, 0.02], 5), 2)
    write_series(tmp_path / "ct", places=places)
    read = read_image(tmp_path / "ct")
    assert read.warnings == []
    assert np.array_equal(array(read), body(10))


def test_slightly_uneven_slices_are_kept_with_a_warning(tmp_path):
    places = 3.0 * np.arange(10)
    places[4] += 0.2
    write_series(tmp_path / "ct", places=places)
    read = read_image(tmp_path / "ct")
    assert "out of place by up to 0.20 mm" in the_warning(read)
    assert np.array_equal(array(read), body(10))


def ramp(places) -> np.ndarray:
    """Values that grow with the place, in a body that is enough of one."""
    slices = body(len(places))
    slices[:, 8:16, 8:16] = np.round(10 * np.asarray(places))[:, None, None]
    return slices


def test_unevenly_spaced_slices_are_resampled(tmp_path):
    # 12 thin slices below, 8 thick ones above, as heads are scanned
    places = np.concatenate([3.0 * np.arange(12), 33.0 + 6.0 * np.arange(1, 9)])
    write_series(tmp_path / "ct", ramp(places), places=places, thickness=6.0)
    read = read_image(tmp_path / "ct")
    assert "one slice every 3.00 mm" in the_warning(read)
    assert read.image.GetSpacing()[2] == pytest.approx(3.0)
    assert read.image.GetSize()[2] == 28
    expected = 30.0 * np.arange(28)
    assert np.abs(array(read)[:, 12, 12] - expected).max() <= 1


def test_thick_slices_that_do_not_fill_their_gaps_are_missing_ones(tmp_path):
    places = np.concatenate([3.0 * np.arange(12), 33.0 + 6.0 * np.arange(1, 9)])
    write_series(tmp_path / "ct", places=places, thickness=3.0)
    assert "lacks about 1 slice between 133.0 mm" in refusal(tmp_path / "ct")


@pytest.mark.parametrize("degrees", [18.0, -9.0])
def test_a_tilted_gantry_is_corrected(tmp_path, degrees):
    angle = np.radians(degrees)
    tilted = ((1.0, 0.0, 0.0), (0.0, np.cos(angle), -np.sin(angle)))
    count = 16
    slices = body(count)
    slices[:, 12, 20] = 3000  # runs straight along the table
    write_series(tmp_path / "ct", slices, spacing=5.0, orientation=tilted, along=(0, 0, 1))
    read = read_image(tmp_path / "ct")

    assert f"tilted by {abs(degrees):.1f} degrees" in the_warning(read)
    assert shear_degrees(read.image) < 1e-6
    assert obliqueness_degrees(read.image) == pytest.approx(abs(degrees), abs=1e-3)
    assert read.image.GetSpacing() == pytest.approx((2.0, 1.5, 5.0 * np.cos(angle)))
    # The line is where it was in the patient.
    start = np.add(ORIGIN, 20 * 2.0 * np.array(tilted[0]) + 12 * 1.5 * np.array(tilted[1]))
    for k in range(count):
        plane = array(read)[k].astype(float)
        bright = np.argwhere(plane > 1200)
        weights = plane[tuple(bright.T)]
        row, column = (bright * weights[:, None]).sum(axis=0) / weights.sum()
        point = read.image.TransformContinuousIndexToPhysicalPoint((column, row, float(k)))
        assert np.allclose(point, start + [0, 0, 5.0 * k], atol=0.6)


def test_oblique_slices_stacked_straight_are_kept(tmp_path):
    angle = np.radians(20)
    oblique = ((np.cos(angle), np.sin(angle), 0.0), (-np.sin(angle), np.cos(angle), 0.0))
    write_series(tmp_path / "ct", orientation=oblique)
    read = read_image(tmp_path / "ct")
    assert read.warnings == []
    assert np.array_equal(array(read), body(8))
    assert obliqueness_degrees(read.image) == pytest.approx(20, abs=1e-3)


def test_flipped_axes_keep_left_on_the_left(tmp_path):
    """Rows that run from left to right: the same voxels, in other places."""
    flipped = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    write_series(tmp_path / "ct", orientation=flipped, origin=(40.0, -30.0, 100.0))
    read = read_image(tmp_path / "ct")
    assert place_of(read.image, (0, 0, 0)) == pytest.approx((40.0, -30.0, 100.0))
    assert place_of(read.image, (31, 0, 0))[0] == pytest.approx(40.0 - 31 * 2.0)
    assert place_of(read.image, (0, 0, 7))[2] == pytest.approx(100.0 - 7 * 3.0)
    # The bone marker is in the first columns, which now lie on the patient's left (+x).
    bone = np.argwhere(array(read) > 600)
    points = [place_of(read.image, [int(i) for i in index[::-1]]) for index in bone[:: 50]]
    assert min(point[0] for point in points) > 5


def test_slices_that_are_not_parallel_or_of_other_sizes(tmp_path):
    def turn(dataset, index):
        if index == 3:
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 0.99, 0.141]

    def shrink(dataset, index):
        if index == 3:
            set_pixels(dataset, np.zeros((10, 10), np.uint16))

    def zoom(dataset, index):
        if index == 3:
            dataset.PixelSpacing = [1.0, 1.0]

    def shift(dataset, index):
        if index == 3:
            dataset.ImagePositionPatient = [-30.0, -30.0, 109.0]

    for name, edit, text in [
        ("a", turn, "not parallel"), ("b", shrink, "different sizes"),
        ("c", zoom, "different sizes"), ("d", shift, "shifted sideways"),
    ]:
        write_series(tmp_path / name, edit=edit)
        assert text in refusal(tmp_path / name)


# Values


def test_rescale_missing_but_values_are_hounsfield_units(tmp_path):
    def strip(dataset, index):
        set_pixels(dataset, body(8)[index])
        del dataset.RescaleSlope, dataset.RescaleIntercept

    write_series(tmp_path / "ct", edit=strip)
    read = read_image(tmp_path / "ct")
    assert "are taken as such" in the_warning(read)
    assert np.array_equal(array(read), body(8))


def test_rescale_missing_and_the_usual_offset_fits(tmp_path):
    def strip(dataset, index):
        del dataset.RescaleSlope, dataset.RescaleIntercept

    write_series(tmp_path / "ct", edit=strip)
    read = read_image(tmp_path / "ct")
    assert "the usual -1024 was added" in the_warning(read)
    assert np.array_equal(array(read), body(8))


def test_rescale_values_that_say_nothing(tmp_path):
    def reset(dataset, index):
        dataset.RescaleIntercept = 0

    write_series(tmp_path / "ct", edit=reset)
    read = read_image(tmp_path / "ct")
    assert "the usual -1024 was added" in the_warning(read)
    assert np.array_equal(array(read), body(8))


def test_rescale_missing_and_no_offset_fits(tmp_path):
    def strip(dataset, index):
        set_pixels(dataset, ((body(8)[index] + 1000) / 8).astype(np.uint16))
        del dataset.RescaleSlope, dataset.RescaleIntercept

    write_series(tmp_path / "ct", edit=strip)
    assert "does not look like Hounsfield units" in refusal(tmp_path / "ct")


def test_rescale_slope_and_padding(tmp_path):
    expected = body(8)
    expected[:, :3] = -2000  # outside the field of view

    def edit(dataset, index):
        set_pixels(dataset, ((expected[index] + 3024) // 2).astype(np.uint16))
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -3024

    write_series(tmp_path / "ct", edit=edit)
    assert np.abs(array(read_image(tmp_path / "ct")) - expected).max() <= 1


def test_nothing_but_air_or_nothing_at_all(tmp_path):
    air = np.random.default_rng(0).integers(-1020, -980, (8, 24, 32)).astype(np.int16)
    write_series(tmp_path / "air", air)
    assert "nothing but air" in refusal(tmp_path / "air")
    write_series(tmp_path / "empty", np.full((8, 24, 32), -1024, np.int16))
    assert "is empty" in refusal(tmp_path / "empty")


# Damaged files


def test_a_truncated_file_is_named(tmp_path):
    paths = write_series(tmp_path / "ct")
    content = paths[4].read_bytes()
    for kept in (len(content) - 2, len(content) // 2):
        paths[4].write_bytes(content[:kept])
        assert "IM0004.dcm" in refusal(tmp_path / "ct")


def test_a_file_cut_within_its_header(tmp_path):
    paths = write_series(tmp_path / "ct")
    paths[4].write_bytes(paths[4].read_bytes()[:200])
    assert "lacks about 1 slice" in refusal(tmp_path / "ct")
    assert "damaged DICOM file" in refusal(paths[4])


@pytest.mark.skipif(not HEAD_CT.exists(), reason="the real head CT is not on this computer")
def test_a_real_head_ct_with_tilted_gantry_and_two_slice_thicknesses(tmp_path):
    shutil.unpack_archive(HEAD_CT, tmp_path / "head")
    read = read_image(tmp_path / "head")
    assert read.image.GetSpacing()[2] == pytest.approx(4.0, abs=0.01)
    assert any("unevenly spaced" in warning for warning in read.warnings)
    assert any("tilted by 18.5 degrees" in warning for warning in read.warnings)
