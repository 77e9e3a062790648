# SPDX-License-Identifier: Apache-2.0
"""The three sequences of a patient: recognised, read, brought onto each other and checked."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from BrainTumorClassifyLib.alignment import GOOD_AGREEMENT, align
from BrainTumorClassifyLib.enhancement import brightening_ml, fluid_contrast
from BrainTumorClassifyLib.preparation import brain_mask, correct_bias, head_mask, on_grid
from BrainTumorClassifyLib.sequences import SEQUENCES, assign, find_series, recognise
from BrainTumorClassifyLib.study import make_study, read_study
from ReadingRoomLib.errors import BadInput

from .dicom_factory import set_colour, write_series
from .tumor_factory import moved, scan, write_study

DATA = Path(__file__).parents[3] / "shared" / "data"
FAST = {"spacing": (2.0, 2.0, 5.0)}
T1_TIMES = {"EchoTime": 9.1, "RepetitionTime": 520, "ScanningSequence": "SE"}
T2_TIMES = {"EchoTime": 98, "RepetitionTime": 4500, "ScanningSequence": "SE"}
MPRAGE = {"EchoTime": 2.3, "RepetitionTime": 1900, "InversionTime": 900,
          "ScanningSequence": ["GR", "IR"]}


# Headers


@pytest.mark.parametrize(("description", "expected"), [
    # Siemens
    ("t1_se_tra", "t1"), ("t1_tse_tra_320", "t1"), ("t1_mprage_sag_p2_iso", "t1"),
    ("t1_se_tra_KM", "t1c"), ("t1_mprage_tra_p2_iso KM", "t1c"), ("t1_fl2d_tra+Gd", "t1c"),
    ("t1_tirm_tra_dark-fluid", "t1"), ("t2_tse_tra_512", "t2"), ("t2_spc_sag_iso", "t2"),
    ("t2_tirm_tra_dark-fluid_fs", None), ("t2_space_dark-fluid_sag", None),
    ("ep2d_diff_3scan_trace_p2_ADC", None), ("t2_fl2d_tra_hemo", None), ("AAHead_Scout", None),
    ("ep2d_perf_p2", None), ("tof_fl3d_tra_multi-slab", None), ("SWI_Images", None),
    ("mIP_Images(SW)", None), ("t2_ciss3d_tra_iso", None), ("localizer", None),
    ("t1_se_tra nativ", "t1"), ("t1 tra nach KM", "t1c"), ("t1_vibe_fs_tra_post KM", "t1c"),
    # GE
    ("Ax T1", "t1"), ("AX T1 FLAIR", "t1"), ("Ax T1 FLAIR +C", "t1c"), ("AX T1 C+", "t1c"),
    ("Ax T1 SE POST GAD", "t1c"), ("Sag 3D T1 BRAVO", "t1"), ("3D FSPGR +C", "t1c"),
    ("AX T2 FRFSE", "t2"), ("Ax T2 PROPELLER", "t2"), ("Sag CUBE T2", "t2"),
    ("Ax T2 FLAIR", None), ("AX T2* GRE", None), ("Ax SWAN", None), ("Ax DWI b1000", None),
    ("3Plane Loc", None), ("ASSET calibration", None), ("AX T1 W/O CONTRAST", "t1"),
    ("AX T1 PRE", "t1"), ("Ax FIESTA-C", None), ("3D ASL (non-contrast)", None),
    # Philips
    ("T1W_SE", "t1"), ("sT1W_3D_TFE", "t1"), ("sT1W_3D_TFE Gd", "t1c"), ("T1W_TSE post", "t1c"),
    ("T2W_TSE", "t2"), ("T2W_TSE DRIVE", "t2"), ("FLAIR_longTR", None), ("T2W_FFE", None),
    ("SURVEY", None), ("DWI_SSh", None), ("VEN_BOLD", None), ("sB0map", None), ("PDW_TSE", None),
    # Canon and Toshiba, Japanese
    ("T1WI Ax", "t1"), ("T2WI Ax", "t2"), ("T1強調 横断", "t1"), ("T2強調画像", "t2"),
    ("造影T1強調", "t1c"), ("造影後 T1WI", "t1c"), ("造影前 T1WI", "t1"), ("単純 T1WI", "t1"),
    ("T1WI Gd", "t1c"), ("Ｔ１ＷＩ　Ｇｄ", "t1c"), ("拡散強調", None), ("位置決め", None),
    ("FSBB", None), ("MRA 血管", None),
    # French
    ("AX T1 SE", "t1"), ("AX T1 GADO", "t1c"), ("T1 EG 3D INJ", "t1c"), ("T1 sans injection", "t1"),
    ("AX T1 sans gado", "t1"), ("T1 avec gadolinium", "t1c"), ("AX T2 TSE", "t2"),
    ("repérage", None), ("Diffusion b1000", None), ("Perfusion", None),
    # German
    ("T1 axial ohne KM", "t1"), ("T1 axial mit KM", "t1c"), ("T1 vor Kontrastmittel", "t1"),
    ("Übersicht", None), ("T2 Stern", None), ("Subtraktion_SUB", None),
])
def test_series_are_recognised_by_their_descriptions(description, expected):
    found = recognise({"SeriesDescription": description})
    assert found.sequence == expected, found.reason
    assert found.reason


@pytest.mark.parametrize(("header", "expected"), [
    (T1_TIMES, "t1"), (T2_TIMES, "t2"), (MPRAGE, "t1"),
    ({**T1_TIMES, "ContrastBolusAgent": "Gadovist"}, "t1c"),
    ({**T1_TIMES, "ContrastBolusAgent": "NONE"}, "t1"),
    ({"EchoTime": 9, "RepetitionTime": 2200, "InversionTime": 860, "ScanningSequence": "SE"}, "t1"),
    ({"EchoTime": 120, "RepetitionTime": 9000, "InversionTime": 2500, "ScanningSequence": "IR"},
     None),
    ({"EchoTime": 20, "RepetitionTime": 650, "ScanningSequence": "GR"}, None),
    ({"EchoTime": 15, "RepetitionTime": 3000, "ScanningSequence": "SE"}, None),
    ({"EchoTime": 80, "RepetitionTime": 6000, "ScanningSequence": ["EP", "SE"]}, None),
    ({**T2_TIMES, "DiffusionBValue": 1000}, None),
    ({**T2_TIMES, "ImageType": ["DERIVED", "PRIMARY", "ADC"]}, None),
    ({**T1_TIMES, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, None),
    ({**T2_TIMES, "Modality": "CT"}, None), ({}, None),
])
def test_series_without_a_description_are_recognised_by_their_times(header, expected):
    assert recognise(header).sequence == expected


def test_words_and_times_that_agree_are_sure_and_those_that_do_not_are_unsure():
    assert recognise({"SeriesDescription": "T2 TSE", **T2_TIMES}).certainty == "sure"
    assert recognise({"SeriesDescription": "T2 TSE"}).certainty == "likely"
    assert recognise({"SeriesDescription": "T2 TSE", **T1_TIMES}).certainty == "unsure"
    agent = {"ContrastBolusAgent": "Dotarem"}
    assert recognise({"SeriesDescription": "T1 KM", **T1_TIMES, **agent}).certainty == "sure"
    # scanners keep the agent in the header of series that were taken before it was given
    assert recognise({"SeriesDescription": "T1 nativ", **T1_TIMES, **agent}).sequence == "t1"


def test_the_protocol_tells_only_when_the_description_does_not():
    ge = {"SeriesDescription": "AX T1", "ProtocolName": "BRAIN TUMOR W PERFUSION AND DWI"}
    assert recognise(ge).sequence == "t1"
    assert recognise({"SeriesDescription": "axial", "ProtocolName": "T2W_TSE"}).sequence == "t2"


def test_enhanced_headers_are_read_in_their_functional_groups():
    from pydicom.dataset import Dataset

    shared, echo, timing = Dataset(), Dataset(), Dataset()
    echo.EffectiveEchoTime, timing.RepetitionTime = 95.0, 4000.0
    shared.MREchoSequence, shared.MRTimingAndRelatedParametersSequence = [echo], [timing]
    header = Dataset()
    header.SharedFunctionalGroupsSequence = [shared]
    assert recognise(header).sequence == "t2"


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40))
def test_any_description_gets_an_answer_that_does_not_repeat_it(description):
    found = recognise({"SeriesDescription": description + " SecretName"})
    assert found.sequence in (None, *SEQUENCES)
    assert "secretname" not in found.reason.lower()


# Folders


def _pixels(sequence: str, count: int) -> tuple[np.ndarray, tuple]:
    image = scan(sequence, spacing=(2.0, 1.5, 5.0), field=(200, 240, 5 * count))
    return sitk.GetArrayFromImage(image), image.GetOrigin()


def _write(folder: Path, number: int, sequence: str, count: int = 22, patient: str = "P1",
           born: str = "19500101", **header) -> None:
    slices, origin = _pixels(sequence, count)

    def edit(dataset, index):
        dataset.PatientID, dataset.PatientBirthDate = patient, born
        dataset.SeriesDescription = ""
        for name, value in header.items():
            setattr(dataset, name, value)

    write_series(folder, slices, origin=origin, spacing=5.0, thickness=5.0, modality="MR",
                 number=number, prefix=f"S{number}_", edit=edit)


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    _write(folder / "a", 1, "t1", 3, SeriesDescription="localizer")
    _write(folder / "a", 2, "t1", SeriesDescription="T1 TSE tra", **T1_TIMES)
    _write(folder / "a", 3, "t2", SeriesDescription="T2 TSE tra", **T2_TIMES)
    _write(folder / "b", 4, "flair", 4, SeriesDescription="T2 FLAIR")
    _write(folder / "b", 5, "t1c", SeriesDescription="T1 TSE tra KM",
           ContrastBolusAgent="Gadovist", **T1_TIMES)
    return folder


def test_a_whole_study_is_read_from_its_folder(study_folder):
    study = read_study(study_folder)
    assert {name: choice.series.number for name, choice in study.choices.items()} == {
        "t1": "2", "t2": "3", "t1c": "5"}
    assert study.names["t1c"] == "series 5"
    assert study.missing == ()
    assert "P1" not in repr(study)
    # the series are those of their names, by what they show
    assert fluid_contrast(study.images["t1"], study.images["t2"], study.brain) > 0.2


def test_the_better_series_is_chosen_and_others_are_offered(tmp_path):
    _write(tmp_path, 2, "t2", 4, SeriesDescription="T2 TSE", **T2_TIMES)
    _write(tmp_path, 7, "t2", 4, SeriesDescription="T2 TSE", **T2_TIMES)
    _write(tmp_path, 8, "t2", 4, SeriesDescription="T2 TSE", **T1_TIMES)
    choice = assign(find_series(tmp_path))["t2"]
    assert choice.series.number == "7"
    assert [other.number for other in choice.others] == ["2", "8"]
    assert assign(find_series(tmp_path))["t1"].series is None


def test_of_t1s_that_do_not_tell_the_last_is_offered_as_the_one_with_agent(tmp_path):
    for number, time in ((3, "101500"), (9, "100000")):
        _write(tmp_path, number, "t1", 4, SeriesDescription="T1 SE", AcquisitionTime=time,
               **T1_TIMES)
    chosen = assign(find_series(tmp_path))
    assert chosen["t1"].series.number == "9"
    assert (chosen["t1c"].series.number, chosen["t1c"].certainty) == ("3", "unsure")


def test_two_echoes_in_one_series_are_not_taken_for_a_t2(tmp_path):
    slices, origin = _pixels("t2", 4)
    uid = generate_uid()
    for echo, prefix in ((12, "A"), (95, "B")):
        def edit(dataset, index, echo=echo):
            dataset.SeriesDescription, dataset.EchoTime = "PD+T2 dual T2", echo
        write_series(tmp_path, slices, origin=origin, modality="MR", uid=uid, prefix=prefix,
                     edit=edit)
    [series] = find_series(tmp_path)
    assert series.recognition.sequence is None


# Aligning


def _error_mm(found: sitk.Transform, motion: sitk.Transform) -> float:
    """Mean over the head of how far a point is mapped from where it belongs."""
    back = motion.GetInverse()
    points = np.random.default_rng(0).normal(0, 40, (200, 3)).tolist()
    return float(np.mean([np.linalg.norm(np.subtract(found.TransformPoint(p),
                                                     back.TransformPoint(p))) for p in points]))


@pytest.mark.parametrize(("sequence", "motion", "grid"), [
    ("t1", moved((4, -6, 8), (5, -9, 6)), {}),
    ("t2", moved((-3, 2, -4), (-4, 3, 2)), {"spacing": (0.9, 0.9, 6.0), "field": (220, 230, 120)}),
    ("t2", moved((2, 4, -3), (3, 3, -8)), {"spacing": (1.5, 1.5, 1.5), "field": (190, 220, 100)}),
])
def test_a_moved_sequence_is_brought_back(sequence, motion, grid):
    fixed = scan("t1c")
    moving = scan(sequence, motion=motion, seed=3, **grid)
    found = align(fixed, moving)
    assert _error_mm(found.transform, motion) < 1.0
    assert found.agreement_after > found.agreement_before
    assert found.displacement_mm > 4


def test_what_lies_well_stays_and_aligning_is_deterministic():
    fixed, moving = scan("t1c", **FAST), scan("t2", **FAST)
    first, second = align(fixed, moving), align(fixed, moving)
    assert first.displacement_mm < 0.7
    assert first.transform.GetParameters() == second.transform.GetParameters()


def test_a_header_that_is_far_off_is_made_good():
    moving = scan("t1", **FAST)
    moving.SetOrigin(np.add(moving.GetOrigin(), (60, -40, 90)).tolist())
    found = align(scan("t1c", **FAST), moving)
    assert _error_mm(found.transform, moved(shift=(-60, 40, -90))) < 1.0


def test_sequences_without_overlap_are_refused():
    low = scan("t1c", spacing=(2, 2, 4), field=(200, 240, 40), centre=(0, 0, -50))
    high = scan("t2", spacing=(2, 2, 4), field=(200, 240, 16), centre=(0, 0, 60))
    with pytest.raises(BadInput, match="^T2 "):
        align(low, high, name="T2")


def test_the_head_of_another_patient_agrees_too_little():
    other = sitk.AffineTransform(3)
    other.SetMatrix(np.diag([0.9, 1.1, 1.15]).ravel().tolist())
    fixed = scan("t1c", **FAST)
    own, strange = (align(fixed, scan("t2", motion=motion, **FAST)).agreement_after
                    for motion in (moved(), other))
    assert strange < GOOD_AGREEMENT < own


# Studies


@pytest.fixture(scope="module")
def images() -> dict[str, sitk.Image]:
    return {name: scan(name, seed=number, **FAST) for number, name in enumerate(SEQUENCES)}


def test_all_sequences_come_on_the_grid_of_t1c(tmp_path):
    paths = write_study(tmp_path, **FAST, t2={"spacing": (1.5, 1.5, 6.0), "field": (220, 250, 120)},
                        t1={"direction": np.diag([-1, -1, 1]), "spacing": (2, 2, 5)})
    study = read_study(paths)
    reference = sitk.ReadImage(paths["t1c"])
    for image in (*study.images.values(), study.head, study.brain, *study.covered.values()):
        assert image.GetSize() == reference.GetSize()
        assert image.GetOrigin() == pytest.approx(reference.GetOrigin())
        assert image.GetDirection() == pytest.approx(reference.GetDirection())
    assert all(image.GetPixelID() == sitk.sitkFloat32 for image in study.images.values())
    assert np.array_equal(sitk.GetArrayFromImage(study.images["t1c"]),
                          sitk.GetArrayFromImage(reference))
    assert set(study.sha256) == set(SEQUENCES) and study.names["t2"] == "t2.nii.gz"


def test_t1_and_t2_exchanged_are_refused(images):
    with pytest.raises(BadInput, match="exchanged"):
        make_study(images | {"t1": images["t2"], "t2": images["t1"]})
    with pytest.raises(BadInput, match="exchanged"):
        make_study(images | {"t1c": images["t2"], "t2": images["t1c"]})


def test_t1_and_t1c_exchanged_are_refused(images):
    with pytest.raises(BadInput, match="exchanged"):
        make_study(images | {"t1": images["t1c"], "t1c": images["t1"]})


def test_t1c_without_contrast_agent_is_refused(images):
    with pytest.raises(BadInput, match="no contrast agent"):
        make_study(images | {"t1c": scan("t1", seed=9, gain=1.3, bias=0.1, **FAST)})


def test_a_flair_given_as_t2_is_doubted(images):
    study = make_study(images | {"t2": scan("flair", **FAST)})
    assert any("FLAIR" in warning for warning in study.warnings)


def test_sequences_that_lie_on_each_other_are_not_moved(images):
    study = make_study(images, aligned=True)
    assert set(study.displacements_mm.values()) == {0.0}
    there = on_grid(images["t2"], study.reference)
    assert (sitk.GetArrayFromImage(study.images["t2"]) == sitk.GetArrayFromImage(there)).all()


def test_a_good_study_is_not_doubted(images):
    assert make_study(images).warnings == []


@pytest.mark.parametrize("missing", SEQUENCES)
def test_a_missing_sequence_is_refused_or_named(images, missing):
    some = {name: image for name, image in images.items() if name != missing}
    with pytest.raises(BadInput, match="is missing"):
        make_study(some)
    study = make_study(some, may_be_missing=(missing,))
    assert study.missing == (missing,)
    assert set(study.images) == set(some)


def test_the_same_image_twice_is_refused(tmp_path, good_files):
    paths = good_files
    with pytest.raises(BadInput, match="same image"):
        read_study({**paths, "t2": paths["t1"]})
    copy = shutil.copy(paths["t1"], tmp_path / "copy.nii.gz")
    with pytest.raises(BadInput, match="same image"):
        read_study({**paths, "t2": copy})


@pytest.mark.parametrize(("second", "outcome"), [
    ({"patient": "P2", "born": "19600101"}, "refused"), ({"born": "19600101"}, "refused"),
    ({"patient": "P2"}, "warned"), ({}, "accepted"), ({"StudyDate": "20210101"}, "another day")])
def test_sequences_of_different_patients_are_refused(tmp_path, second, outcome):
    times = {"SeriesDescription": ""}
    _write(tmp_path / "t1c", 1, "t1c", **times)
    _write(tmp_path / "t2", 2, "t2", **times, **second)
    paths = {"t1c": tmp_path / "t1c", "t2": tmp_path / "t2"}
    if outcome == "refused":
        with pytest.raises(BadInput, match="different patients") as caught:
            read_study(paths, may_be_missing=["t1"])
        assert not any(secret in caught.value.message for secret in ("P1", "P2", "1950", "1960"))
        return
    warnings = " ".join(read_study(paths, may_be_missing=["t1"]).warnings)
    assert ("different patient numbers" in warnings) == (outcome == "warned")
    assert ("same day" in warnings) == (outcome == "another day")


def _with(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    result = sitk.GetImageFromArray(array)
    result.CopyInformation(image)
    return result


@pytest.fixture(scope="module")
def good_files(tmp_path_factory) -> dict[str, str]:
    return write_study(tmp_path_factory.mktemp("good"), **FAST)


@pytest.mark.parametrize(("defect", "sentence"), [
    ("nan", "NaN"), ("empty", "empty"), ("labels", "segmentation"), ("ct", "CT"),
    ("colour", "colour"), ("4d", "time points"), ("one slice", "one slice"),
    ("two slices", "2 slices"), ("small", "not a head"), ("text", "not an image"),
    ("absent", "cannot be found")])
def test_bad_files_get_their_sentence(tmp_path, good_files, defect, sentence):
    paths = good_files | {"t2": shutil.copy(good_files["t2"], tmp_path / "t2.nii.gz")}
    image = sitk.ReadImage(paths["t2"])
    array = sitk.GetArrayFromImage(image)
    bad = {
        "nan": lambda: _with(np.where(array > 300, np.nan, array).astype(np.float32), image),
        "empty": lambda: _with(np.zeros_like(array), image),
        "labels": lambda: _with((array // 300).astype(np.uint8), image),
        "ct": lambda: _with((array - 1000).clip(-1000, 60).astype(np.int16), image),
        "colour": lambda: sitk.Compose([sitk.Cast(image, sitk.sitkUInt8)] * 3),
        "4d": lambda: sitk.JoinSeries([image, image]),
        "one slice": lambda: image[:, :, 12:13],
        "two slices": lambda: image[:, :, 12:14],
        "small": lambda: image[40:60, 50:80, :],
    }.get(defect)
    if defect == "nan":  # NIfTI is read with zeros instead
        paths["t2"] = str(tmp_path / "t2.nrrd")
    if defect == "absent":
        Path(paths["t2"]).unlink()
    elif defect == "text":
        Path(paths["t2"]).write_text("no image")
    else:
        sitk.WriteImage(bad(), paths["t2"])
    with pytest.raises(BadInput, match=sentence) as caught:
        read_study(paths)
    assert Path(paths["t2"]).name in caught.value.message
    assert caught.value.message.count(". ") == 0  # one sentence


def test_dicom_in_colour_and_folders_without_mri_are_refused(tmp_path):
    slices, origin = _pixels("t1", 4)
    write_series(tmp_path / "colour", slices, origin=origin, modality="MR",
                 edit=lambda dataset, index: set_colour(dataset))
    with pytest.raises(BadInput, match="colour"):
        read_study({"t1c": tmp_path / "colour"}, may_be_missing=("t1", "t2"))
    write_series(tmp_path / "ct", count=4)
    with pytest.raises(BadInput, match="no MR series"):
        read_study(tmp_path / "ct")
    with pytest.raises(BadInput, match="name t1, t2 and t1c"):
        read_study({"t3": tmp_path / "colour"})


# Preparation


def test_the_masks_hold_head_and_brain():
    from .tumor_factory import AIR, SKULL, anatomy

    images = {name: scan(name, spacing=(1.5, 1.5, 5)) for name in SEQUENCES}
    tissue = sitk.GetArrayFromImage(sitk.Resample(anatomy(), images["t1c"], sitk.Transform(),
                                                  sitk.sitkNearestNeighbor))
    head = head_mask(images["t1c"])
    brain = brain_mask(images, head)
    for mask, truth, least in ((head, tissue != AIR, 0.95), (brain, tissue > SKULL, 0.9)):
        found = sitk.GetArrayFromImage(mask) > 0
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > least


def test_n4_takes_out_a_bias_field():
    image = scan("t1", spacing=(2, 2, 5), noise=3, bias=0.3, tumour=False)
    head = head_mask(image)
    even = scan("t1", spacing=(2, 2, 5), noise=3, tumour=False)
    white = sitk.GetArrayFromImage(even) > 580
    white &= sitk.GetArrayFromImage(even) < 660

    def spread(one):
        values = sitk.GetArrayFromImage(one)[white]
        return values.std() / values.mean()

    assert spread(correct_bias(image, head)) < 0.5 * spread(image)


@functools.cache
def _quick() -> tuple[sitk.Image, sitk.Image, sitk.Image]:
    t1, t1c, t2 = (scan(name, spacing=(3, 3, 6), seed=4) for name in ("t1", "t1c", "t2"))
    return t1, t1c, brain_mask({"t1": t1, "t2": t2, "t1c": t1c}, head_mask(t1c))


@settings(max_examples=10, deadline=None)
@given(st.floats(0.5, 20.0), st.floats(0.0, 50.0))
def test_what_contrast_agent_brightened_does_not_depend_on_the_scale(gain, offset):
    t1, t1c, brain = _quick()
    before = brightening_ml(t1, t1c, brain)
    scaled = sitk.Cast(t1, sitk.sitkFloat32) * gain + offset
    assert before > 6
    assert brightening_ml(scaled, t1c, brain) == pytest.approx(before, rel=0.1)


def test_a_fine_image_is_averaged_onto_thick_slices():
    fine = scan("t1", spacing=(1.0, 1.0, 1.0), noise=0)
    thick = scan("t1", spacing=(2.0, 2.0, 6.0), noise=0)
    found, truth = (sitk.GetArrayFromImage(image).astype(float)
                    for image in (on_grid(fine, thick), thick))
    plain = sitk.GetArrayFromImage(sitk.Resample(fine, thick)).astype(float)
    inner = np.s_[2:-2, 4:-4, 4:-4]
    assert np.abs(found - truth)[inner].mean() < 0.8 * np.abs(plain - truth)[inner].mean()


# Real images


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared images")
@pytest.mark.parametrize("name", ["mri_pyradiomics_tumour_samples/brain1_image.nrrd",
                                  "mri_pyradiomics_tumour_samples/brain2_image.nrrd"])
def test_real_t1c_is_read_and_its_brain_found(name):
    study = read_study({"t1c": DATA / name}, may_be_missing=("t1", "t2"))
    litres = sitk.GetArrayFromImage(study.brain).sum() * np.prod(study.brain.GetSpacing()) / 1e6
    assert 0.9 < litres < 2.5  # generous at the skull base without a T2
    low, high = study.windows["t1c"]
    assert 0 <= low < high


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared images")
@pytest.mark.parametrize("name", ["mri_pyradiomics_tumour_samples/breast1_image.nrrd",
                                  "mri_leg_dixon_muscle/dixon_2echo_RR_W_018.nii.gz",
                                  "mri_pyradiomics_tumour_samples/brain1_label.nrrd",
                                  "ct_head_volumes/invesalius_cranium_ct.nii.gz"])
def test_real_images_of_other_things_are_refused(name):
    with pytest.raises(BadInput):
        read_study({"t1c": DATA / name}, may_be_missing=("t1", "t2"))
